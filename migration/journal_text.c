/*
 * The text of the journal: lines with checksums, what a file says, and what of it still counts. Works on
 * memory only, so that every damage can be tried in a test. Files, locks and the disk are in
 * migration/journal.c.
 */
#include "migration/journal_internal.h"

#include "core/units.h"
#include "migration/migration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define CRC_DIGITS 8u

int journal_records_add(struct journal_records *records, json_t *record)
{
    if (records->len == records->size) {
        size_t size = records->size == 0 ? 64 : records->size * 2;
        json_t **list = realloc(records->list, size * sizeof(json_t *));

        if (list == NULL) {
            return ERR_NOMEM;
        }
        records->list = list;
        records->size = size;
    }
    records->list[records->len++] = json_incref(record);
    return 0;
}

void journal_records_clear(struct journal_records *records)
{
    for (size_t i = 0; i < records->len; i++) {
        json_decref(records->list[i]);
    }
    free(records->list);
    *records = (struct journal_records){0};
}

char *journal_line_encode(const json_t *record, size_t *len)
{
    char *text = json_dumps(record, JSON_COMPACT | JSON_ENSURE_ASCII);
    char *line = NULL;

    if (text != NULL) {
        size_t text_len = strlen(text);
        unsigned long crc = crc32(0, (const unsigned char *)text, (unsigned)text_len);

        *len = CRC_DIGITS + 1 + text_len + 1;
        line = malloc(*len + 1);
        if (line != NULL) {
            snprintf(line, *len + 1, "%08lx %s\n", crc, text);
        }
    }
    free(text);
    return line;
}

json_t *journal_line_decode(const char *line, size_t len)
{
    char digits[CRC_DIGITS + 1];
    json_t *record;

    if (len < CRC_DIGITS + 3 || len > JOURNAL_LINE_MAX || line[CRC_DIGITS] != ' ') {
        return NULL;
    }
    snprintf(digits, sizeof(digits), "%08lx",
             crc32(0, (const unsigned char *)line + CRC_DIGITS + 1, (unsigned)(len - CRC_DIGITS - 1)));
    if (memcmp(digits, line, CRC_DIGITS) != 0) {
        return NULL;
    }
    record = json_loadb(line + CRC_DIGITS + 1, len - CRC_DIGITS - 1, 0, NULL);
    if (record != NULL && !json_is_object(record)) {
        json_decref(record);
        return NULL;
    }
    return record;
}

json_t *journal_header(void)
{
    return json_pack("{s:s, s:i}", "format", JOURNAL_FORMAT, "version", JOURNAL_VERSION);
}

static int check_header(const json_t *record, const char *path, struct err_text *err)
{
    const char *format = json_string_value(json_object_get(record, "format"));
    json_int_t version = json_integer_value(json_object_get(record, "version"));

    if (format == NULL || strcmp(format, JOURNAL_FORMAT) != 0) {
        return err_set(err, ERR_CORRUPT,
                       "%s is not a journal of shunt: move it away, or set another state_dir", path);
    }
    if (version > JOURNAL_VERSION || version < 1) {
        return err_set(err, ERR_UNAVAILABLE,
                       "%s was written by a newer shunt (format %" JSON_INTEGER_FORMAT
                       ", this one knows %d): run that one, or set another state_dir",
                       path, version, JOURNAL_VERSION);
    }
    return 0;
}

/* Length of the line at offset without its newline; *whole: there is a newline. */
static size_t line_length(const char *text, size_t len, size_t offset, bool *whole)
{
    const char *end = memchr(text + offset, '\n', len - offset);

    *whole = end != NULL;
    return end == NULL ? len - offset : (size_t)(end - (text + offset));
}

static bool good_line_follows(const char *text, size_t len, size_t offset)
{
    bool whole;

    while (offset < len) {
        size_t length = line_length(text, len, offset, &whole);
        json_t *record = whole ? journal_line_decode(text + offset, length) : NULL;

        if (record != NULL) {
            json_decref(record);
            return true;
        }
        offset += length + 1;
    }
    return false;
}

static bool is_all_nul(const char *text, size_t len)
{
    return len == 0 || (text[0] == '\0' && memcmp(text, text + 1, len - 1) == 0);
}

/*
 * Whether what stands behind the last good line may be what is left of one write: one line at most, or the
 * NULs that a file system leaves where a power failure took the bytes. Before the first good line only a
 * beginning of our own header is: any other text is somebody else's file, or all of a journal damaged.
 */
static bool is_torn(const char *text, size_t len, size_t offset, size_t length)
{
    json_t *record;
    size_t size = 0;
    char *header;
    bool ours;

    if (is_all_nul(text + offset, len - offset)) {
        return true;
    }
    if (offset > 0) {
        return offset + length + 1 >= len && length <= JOURNAL_LINE_MAX;
    }
    record = journal_header();
    header = record == NULL ? NULL : journal_line_encode(record, &size);
    json_decref(record);
    ours = header != NULL && len < size && memcmp(header, text, len) == 0;
    free(header);
    return ours;
}

/* Says why a line stops the start; nothing in the file may be changed then. */
static int refuse_line(const char *path, size_t line, size_t offset, bool good_follow, struct err_text *err)
{
    const char *what = "is damaged, and more than one line with it";

    if (good_follow) {
        what = "is damaged, and good lines follow it";
    } else if (offset == 0) {
        what = "is not the beginning of a journal: it is damaged, or somebody else's file";
    }
    return err_set(err, ERR_CORRUPT,
                   "%s line %zu (byte %zu) %s: restore the file from a copy, or move it away to begin anew "
                   "(all traffic then goes to the first group)",
                   path, line, offset, what);
}

static bool is_phase(const char *name)
{
    for (unsigned phase = 0; name != NULL && phase < MIGRATION_PHASE_COUNT; phase++) {
        if (strcmp(name, migration_phase_name((enum migration_phase)phase)) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_share(const json_t *record, const char *key)
{
    json_int_t share_bp = json_integer_value(json_object_get(record, key));

    return share_bp >= 0 && share_bp <= (json_int_t)UNITS_BP_FULL;
}

/* A whole line of which no program of ours can be the author: nobody knows where the traffic belongs. */
static int check_state(const json_t *record, const char *path, size_t line, struct err_text *err)
{
    const char *kind = json_string_value(json_object_get(record, "kind"));
    const char *phase = json_string_value(json_object_get(record, "phase"));
    const char *what = NULL;

    if (kind == NULL || (strcmp(kind, "state") != 0 && strcmp(kind, "progress") != 0)) {
        return 0;
    }
    if (!is_phase(phase)) {
        what = "phase";
    } else if (!is_share(record, "share_bp") || !is_share(record, "back_bp")) {
        what = "share";
    }
    if (what == NULL) {
        return 0;
    }
    return err_set(
        err, ERR_CORRUPT,
        "%s line %zu says what cannot be (%s%s%.40s): restore the file from a copy, or move it away to "
        "begin anew (all traffic then goes to the first group)",
        path, line, what, phase != NULL ? ", in the phase " : "", phase != NULL ? phase : "");
}

/* Takes a good record into the scan. */
static int take_record(struct journal_scan *scan, json_t *record, size_t line, const char *path,
                       struct err_text *err)
{
    json_int_t number = json_integer_value(json_object_get(record, "n"));
    int rc;

    if (line == 1) {
        return check_header(record, path, err);
    }
    if (number <= 0 || (uint64_t)number <= scan->last_number) {
        return err_set(err, ERR_CORRUPT,
                       "%s line %zu: record %" JSON_INTEGER_FORMAT " after %" PRIu64
                       ": lines were moved or copied; restore the file, or move it away to begin anew",
                       path, line, number, scan->last_number);
    }
    rc = check_state(record, path, line, err);
    if (rc != 0) {
        return rc;
    }
    scan->last_number = (uint64_t)number;
    journal_records_drop_progress(&scan->records, record);
    if (journal_records_add(&scan->records, record) != 0) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", path);
    }
    return 0;
}

int journal_scan_text(const char *text, size_t len, const char *path, struct journal_scan *scan,
                      struct err_text *err)
{
    size_t offset = 0;
    int rc = 0;

    *scan = (struct journal_scan){0};
    for (size_t line = 1; offset < len && rc == 0; line++) {
        bool whole;
        size_t length = line_length(text, len, offset, &whole);
        json_t *record = whole ? journal_line_decode(text + offset, length) : NULL;

        if (record == NULL) {
            bool good_follow = whole && good_line_follows(text, len, offset + length + 1);

            if (good_follow || !is_torn(text, len, offset, length)) {
                rc = refuse_line(path, line, offset, good_follow, err);
                break;
            }
            snprintf(scan->note, sizeof(scan->note), "%s: cut %zu bytes of an unfinished record at line %zu",
                     path, len - offset, line);
            break;
        }
        rc = take_record(scan, record, line, path, err);
        json_decref(record);
        offset += length + 1;
        scan->good_bytes = offset;
    }
    if (rc != 0) {
        journal_records_clear(&scan->records);
    }
    return rc;
}

static const char *text_of(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));

    return text == NULL ? "" : text;
}

static bool same(const json_t *a, const json_t *b, const char *key)
{
    return strcmp(text_of(a, key), text_of(b, key)) == 0;
}

void journal_records_drop_progress(struct journal_records *records, const json_t *next)
{
    if (strcmp(text_of(next, "kind"), "progress") != 0) {
        return;
    }
    for (size_t i = records->len; i > 0; i--) {
        json_t *record = records->list[i - 1];

        if (!same(record, next, "service")) {
            continue;
        }
        if (strcmp(text_of(record, "kind"), "progress") == 0) {
            json_decref(record);
            memmove(&records->list[i - 1], &records->list[i], (records->len - i) * sizeof(json_t *));
            records->len--;
        }
        return;
    }
}

/* What newer records have said, while a journal is gone through from its end. */
struct seen {
    json_t *keys;    /* "service, kind, key" of records that replace older ones */
    json_t *stories; /* service → { id of a migration: true } */
};

/* 1: the record belongs to a migration older than the last JOURNAL_KEEP_MIGRATIONS. */
static int is_old_story(struct seen *seen, const json_t *record)
{
    json_t *ids = json_object_get(seen->stories, text_of(record, "service"));
    const char *id = text_of(record, "id");

    if (ids == NULL) {
        ids = json_object();
        if (json_object_set_new(seen->stories, text_of(record, "service"), ids) != 0) {
            return ERR_NOMEM;
        }
    }
    if (json_object_get(ids, id) != NULL) {
        return 0;
    }
    if (json_object_size(ids) >= JOURNAL_KEEP_MIGRATIONS) {
        return 1;
    }
    return json_object_set_new(ids, id, json_true()) != 0 ? ERR_NOMEM : 0;
}

/* 1: a newer record says all that this one does. A state record has no key; a progress record is replaced by
 * either. */
static int is_replaced(struct seen *seen, const json_t *record)
{
    const char *kind = text_of(record, "kind");
    bool is_progress = strcmp(kind, "progress") == 0;
    bool is_state = !is_progress && json_object_get(record, "key") == NULL;
    char *key = NULL;
    int replaced;

    if (strcmp(kind, "note") == 0) { /* belongs to the story and says nothing of the state */
        return is_old_story(seen, record);
    }
    if (asprintf(&key, "%s\n%s\n%s", text_of(record, "service"), is_state || is_progress ? "" : kind,
                 text_of(record, "key")) < 0) {
        return ERR_NOMEM;
    }
    replaced = json_object_get(seen->keys, key) != NULL;
    if (!replaced && json_object_set_new(seen->keys, key, json_true()) != 0) {
        replaced = ERR_NOMEM;
    }
    free(key);
    return is_state && replaced >= 0 ? is_old_story(seen, record) : replaced;
}

static void reverse(struct journal_records *records)
{
    for (size_t i = 0; i < records->len / 2; i++) {
        json_t *first = records->list[i];

        records->list[i] = records->list[records->len - 1 - i];
        records->list[records->len - 1 - i] = first;
    }
}

int journal_records_compact(struct journal_records *records)
{
    struct seen seen = {.keys = json_object(), .stories = json_object()};
    struct journal_records kept = {0};
    int rc = seen.keys == NULL || seen.stories == NULL ? ERR_NOMEM : 0;

    for (size_t i = records->len; i > 0 && rc >= 0; i--) {
        rc = is_replaced(&seen, records->list[i - 1]);
        if (rc == 0) {
            rc = journal_records_add(&kept, records->list[i - 1]);
        }
    }
    json_decref(seen.keys);
    json_decref(seen.stories);
    if (rc < 0) {
        journal_records_clear(&kept);
        return ERR_NOMEM;
    }
    reverse(&kept);
    journal_records_clear(records);
    *records = kept;
    return 0;
}
