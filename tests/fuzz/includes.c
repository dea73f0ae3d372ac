/*
 * A configuration in several files: the input is cut into them, and they include one another in every way
 * that comes out. Names lead nowhere else, since slashes are left only where a comment begins or ends;
 * numbers and quotes that are not closed lie in the files as in any. What is told of a fault names one of the
 * files.
 */
#include "core/config.h"
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES 4u
#define CUT '\x01' /* what stands between the files */

/* libconfig loses the buffer of a string that a fault of syntax ends; 64 bytes a bad file, and not ours. */
const char *__lsan_default_suppressions(void); /* NOLINT(bugprone-reserved-identifier) */
const char *__lsan_default_suppressions(void)  /* NOLINT(bugprone-reserved-identifier) */
{
    return "leak:libconfig\n";
}

static char folder[64];

static void leave(void)
{
    char path[96];
    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(path, sizeof(path), "%s/%u", folder, i);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static void enter(void)
{
    if (folder[0] != '\0') {
        return;
    }
    (void)snprintf(folder, sizeof(folder), "/tmp/shunt-includes-XXXXXX");
    FUZZ_CHECK(mkdtemp(folder) != NULL);
    (void)atexit(leave);
}

static void write_file(unsigned number, const char *text, size_t len)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/%u", folder, number);
    if (len == 0) {
        (void)unlink(path);
        return;
    }
    FILE *file = fopen(path, "w");
    FUZZ_CHECK(file != NULL);
    FUZZ_CHECK(fwrite(text, 1, len, file) == len && fclose(file) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors;
    struct config *config = NULL;
    char path[96];
    char *text = fuzz_text(data, size);
    enter();
    for (size_t i = 0; i < size; i++) {
        bool comment = text[i] == '/' && (text[i + 1] == '*' || (i > 0 && text[i - 1] == '*'));
        text[i] = (char)(text[i] == '/' && !comment ? '_' : text[i]);
    }
    const char *at = text;
    for (unsigned i = 0; i < FILES; i++) {
        size_t left = size - (size_t)(at - text);
        const char *cut = i + 1 < FILES ? memchr(at, CUT, left) : NULL;
        write_file(i, at, cut != NULL ? (size_t)(cut - at) : left);
        at = cut != NULL ? cut + 1 : text + size;
    }
    (void)snprintf(path, sizeof(path), "%s/0", folder);
    if (config_load(path, &config, &errors) == 0) {
        config_free(config);
    } else {
        FUZZ_CHECK(errors.len > 0);
    }
    for (size_t i = 0; i < errors.len; i++) {
        const char *where = errors.list[i].path;
        FUZZ_CHECK(errors.list[i].text[0] != '\0');
        FUZZ_CHECK(where == NULL || strncmp(where, folder, strlen(folder)) == 0);
    }
    config_errors_clear(&errors);
    free(text);
    return 0;
}
