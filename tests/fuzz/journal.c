/*
 * The reader of the journal. First byte odd: the rest is the file as it stands. Even: each line of the rest
 * gets its checksum first, since no fuzzer would find one. What was read must survive compaction and being
 * written again.
 */
#include "migration/journal_internal.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* The records written as a file of their own; owned by the caller. */
static char *write_again(const struct journal_records *records, size_t *len)
{
    json_t *header = journal_header();
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    FUZZ_CHECK(out != NULL && header != NULL);
    for (size_t i = 0; i <= records->len; i++) {
        size_t line_len = 0;
        char *line = journal_line_encode(i == 0 ? header : records->list[i - 1], &line_len);
        FUZZ_CHECK(line != NULL);
        fwrite(line, 1, line_len, out);
        free(line);
    }
    fclose(out);
    json_decref(header);
    return text;
}

static void try_file(const char *text, size_t len)
{
    struct journal_scan scan;
    struct journal_scan again;
    struct err_text err = {""};
    int rc = journal_scan_text(text, len, "journal", &scan, &err);
    if (rc != 0) {
        FUZZ_CHECK(err.text[0] != '\0' && scan.records.len == 0);
        return;
    }
    FUZZ_CHECK(scan.good_bytes <= len);
    FUZZ_CHECK(journal_records_compact(&scan.records) == 0);
    size_t size = 0;
    char *written = write_again(&scan.records, &size);
    FUZZ_CHECK(journal_scan_text(written, size, "journal", &again, &err) == 0);
    FUZZ_CHECK(again.records.len == scan.records.len && again.good_bytes == size);
    for (size_t i = 0; i < again.records.len; i++) {
        FUZZ_CHECK(json_equal(again.records.list[i], scan.records.list[i]));
    }
    journal_records_clear(&again.records);
    journal_records_clear(&scan.records);
    free(written);
}

static void try_lines(const char *text, size_t len)
{
    char *file = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&file, &size);
    FUZZ_CHECK(out != NULL);
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t line = end == NULL ? len : (size_t)(end - text);
        fprintf(out, "%08lx ", crc32(0, (const Bytef *)text, (uInt)line));
        fwrite(text, 1, line, out);
        fputc('\n', out);
        line += end != NULL;
        text += line;
        len -= line;
    }
    fclose(out);
    try_file(file, size);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *text = fuzz_text(data + 1, size - 1);
    (data[0] % 2 != 0 ? try_file : try_lines)(text, size - 1);
    free(text);
    return 0;
}
