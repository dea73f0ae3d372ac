/*
 * Lines of the admin protocol: what is split into words can be quoted and split into the same words again.
 */
#include "admin/tokens.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = fuzz_text(data, size);
    char *written = NULL;
    size_t written_len = 0;
    struct tokens words;
    struct tokens again;
    struct err_text err;
    if (tokens_split(line, size, &words, &err) != 0) {
        free(line);
        return 0;
    }
    FILE *out = open_memstream(&written, &written_len);
    for (size_t i = 0; out != NULL && i < words.len; i++) {
        fputs(i > 0 ? " " : "", out);
        FUZZ_CHECK(tokens_is_text(words.word[i], strlen(words.word[i])));
        tokens_quote(out, words.word[i]);
    }
    if (out != NULL && fclose(out) == 0) {
        FUZZ_CHECK(tokens_split(written, written_len, &again, &err) == 0 && again.len == words.len);
        for (size_t i = 0; i < words.len; i++) {
            FUZZ_CHECK(strcmp(words.word[i], again.word[i]) == 0);
        }
    }
    free(written);
    free(line);
    return 0;
}
