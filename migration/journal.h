/*
 * The journal: what must survive a crash, one line a record in state_dir, append-only, each with a checksum.
 * A record counts once journal_append returned 0: it is then on disk (fdatasync). A torn last line is cut at
 * open and reported. Control thread only.
 */
#ifndef MIGRATION_JOURNAL_H
#define MIGRATION_JOURNAL_H

#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

/*
 * Opens (creates) the journal in dir, takes an exclusive lock (ERR_EXISTS when another process holds it),
 * reads all records, cuts a torn tail, and rewrites the file in compact form when it has grown (only the
 * records that count for each service are kept). Errors: ERR_SYSTEM, ERR_CORRUPT (damage that is not a torn
 * tail; nothing was changed), ERR_UNAVAILABLE (a newer format).
 */
MUST_CHECK int journal_open(const char *dir, struct journal **out, struct err_text *err);
/*
 * The same for a program that is to take over from another, which still writes and handed it the descriptor
 * of its lock: both hold that then, and whoever goes last lets go. The journal is held (see journal_hold):
 * read, not repaired. lock: taken over on success. ERR_STATE when it is not the lock of this dir.
 */
MUST_CHECK int journal_open_held(const char *dir, int lock, struct journal **out, struct err_text *err);
/* Closes. What is still to be written is, unless it is held. NULL is allowed. */
void journal_close(struct journal *journal);

/* The descriptor of the lock, to be handed to another program. Borrowed. */
int journal_lock(const struct journal *journal);
/* The descriptor of the folder that it is in. Borrowed. */
int journal_folder(const struct journal *journal);
/* From now on another program writes: every append fails (ERR_STATE), and nothing touches the file. */
void journal_hold(struct journal *journal);
/* Lets go of the lock of a held one for good. */
void journal_release(struct journal *journal);
/* Takes it back once no other writes: reads anew what is there, also what was written meanwhile. On failure
 * it stays held. Errors as journal_open. Does nothing when it is not held. */
MUST_CHECK int journal_resume(struct journal *journal, struct err_text *err);
/* What was cut or compacted at open, for the log; empty when nothing. */
const char *journal_open_notes(const struct journal *journal);

/* Appends {…record, "t": wall_us, "n": sequence} and waits for the disk when durable. record is borrowed. The
 * whole file is written anew first where somebody has removed or cut it meanwhile.
 * ERR_SYSTEM: not written; the journal stays usable and a later append may succeed (the file is first cut
 * back to its last good line). */
MUST_CHECK int journal_append(struct journal *journal, json_t *record, bool durable, struct err_text *err);
/* Whether an append would find room now: 0, or ERR_SYSTEM with the cause. Writes nothing. */
MUST_CHECK int journal_check(const struct journal *journal, struct err_text *err);
/* Calls fn for each record read at open and appended since, oldest first, of one service (NULL: all). */
void journal_each(const struct journal *journal, const char *service,
                  void (*fn)(void *context, const json_t *record), void *context);

#endif
