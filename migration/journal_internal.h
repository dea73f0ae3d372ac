/*
 * Inside the journal: the text of a line, reading a file, what a compact file keeps. Control thread only.
 *
 *   journal file:  b5a1c2d3 {"format": "shunt-journal", "version": 1}
 *                  0f3e9a77 {"service": "web", "kind": "state", …, "n": 1, "t": 1769…}
 *
 * Eight hexadecimal digits of CRC-32 (as zlib and RFC 1952 have it) over the JSON text, a blank, the JSON
 * text on one line, a newline.
 */
#ifndef MIGRATION_JOURNAL_INTERNAL_H
#define MIGRATION_JOURNAL_INTERNAL_H

#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_FORMAT "shunt-journal"
#define JOURNAL_VERSION 1
#define JOURNAL_LINE_MAX ((size_t)64 * 1024) /* a longer line is not ours */
/* Open rewrites a file larger than this; append one that has grown to this and to twice its compact size. */
#define JOURNAL_COMPACT_AT ((uint64_t)384 * 1024)
#define JOURNAL_COMPACT_RUNNING_AT ((uint64_t)512 * 1024) /* some 6 MiB in memory */
/* Migrations of a service whose story a compact file keeps. */
#define JOURNAL_KEEP_MIGRATIONS 5u

/* Records in order, each counted once. */
struct journal_records {
    json_t **list;
    size_t len, size;
};

/* Takes its own reference. ERR_NOMEM. */
MUST_CHECK int journal_records_add(struct journal_records *records, json_t *record);
void journal_records_clear(struct journal_records *records);

/* The line of a record, with newline; owned by the caller, NULL without memory. */
char *journal_line_encode(const json_t *record, size_t *len);
/* Of a line without its newline: the record (owned by the caller), or NULL when it is damaged. */
json_t *journal_line_decode(const char *line, size_t len);
json_t *journal_header(void);

/* What a scan of the text of a journal found. */
struct journal_scan {
    struct journal_records records; /* without the header */
    size_t good_bytes;              /* up to the end of the last good line */
    uint64_t last_number;
    char note[256]; /* what stands behind good_bytes; empty when nothing */
};

/*
 * Reads a journal from memory. What may be left of one write at its end is left out and noted. Errors:
 * ERR_CORRUPT (any other damage, a state that cannot be, another file; err names line and byte),
 * ERR_UNAVAILABLE (newer version), ERR_NOMEM. On failure scan is cleared.
 */
MUST_CHECK int journal_scan_text(const char *text, size_t len, const char *path, struct journal_scan *scan,
                                 struct err_text *err);

/*
 * Opens one of our files in the folder dir, for reading and writing. flags: O_CREAT, O_EXCL or none. path: of
 * the journal there, for messages. What a symbolic link, a pipe or a device stands for is never opened: the
 * folder may belong to a lesser user than the one that we are. ERR_SYSTEM: err says what was found.
 */
MUST_CHECK int journal_file_open(int dir, const char *path, const char *name, int flags, int *fd,
                                 struct err_text *err);
/* Reads all of it; *text (owned by the caller) has len bytes. ERR_SYSTEM, ERR_CORRUPT (too large), ERR_NOMEM.
 */
MUST_CHECK int journal_file_read(int fd, const char *path, char **text, size_t *len, struct err_text *err);
/* Writes all of it, or ERR_SYSTEM with errno; a failpoint may end it halfway, or kill between the halves. */
MUST_CHECK int journal_file_write(int fd, const char *text, size_t len);
/* Waits for the disk. ERR_SYSTEM with errno. */
MUST_CHECK int journal_file_sync(int fd);

/* Leaves out of records what no longer counts. Order is kept. ERR_NOMEM: unchanged. */
MUST_CHECK int journal_records_compact(struct journal_records *records);
/* A "progress" record makes the one before it of the same service worthless; drops that one. */
void journal_records_drop_progress(struct journal_records *records, const json_t *next);

#endif
