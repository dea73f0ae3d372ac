/*
 * The journal on disk: lock, open, append with fdatasync, rewrite in compact form. Control thread only; an
 * append that must last waits for the disk, and with it the control thread, never a worker. What a line and
 * a file mean is in migration/journal_text.c, single steps with a file are in migration/journal_file.c.
 */
#include "migration/journal.h"

#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log.h"
#include "migration/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A migration with all its records fits in this. */
#define JOURNAL_ROOM_BYTES (UINT64_C(256) * 1024)

struct journal {
    int dir;  /* fd of state_dir */
    int lock; /* fd of "journal.lock", flocked while we live */
    int fd;   /* "journal", for appending */
    char *path;
    uint64_t good_bytes;   /* up to here every line is whole */
    uint64_t compact_size; /* after the last rewrite, or at open */
    uint64_t last_number;
    bool torn; /* bytes may stand behind good_bytes: cut before the next append */
    bool held; /* another program writes */
    struct journal_records records;
    char notes[512];
};

static void close_both(int dir, int lock)
{
    int saved = errno;

    if (lock >= 0) {
        close(lock);
    }
    if (dir >= 0) {
        close(dir);
    }
    errno = saved;
}

static int take_lock(const char *dir, struct journal *journal, struct err_text *err)
{
    int rc = journal_file_open(journal->dir, journal->path, "journal.lock", O_CREAT, &journal->lock, err);

    if (rc != 0) {
        return rc;
    }
    if (flock(journal->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return err_set(
                err, ERR_EXISTS,
                "%s is in use by another shuntd: stop that one, or give this one its own state_dir", dir);
        }
        return err_set_errno(err, "state_dir: cannot lock %s/journal.lock", dir);
    }
    return 0;
}

/* A lock that was handed over is of the open file, so it is held as long as anybody has it open. */
static int adopt_lock(const char *dir, int lock, struct journal *journal, struct err_text *err)
{
    struct stat theirs, ours;
    if (fstat(lock, &theirs) != 0 || fstatat(journal->dir, "journal.lock", &ours, 0) != 0 ||
        theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino) {
        return err_set(err, ERR_STATE,
                       "%s is not the state_dir of the program that runs: another one needs a restart", dir);
    }
    journal->lock = lock;
    return 0;
}

/* lock < 0: its own. */
static int open_dir(const char *dir, int lock, struct journal *journal, struct err_text *err)
{
    if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
        return err_set_errno(err, "state_dir: cannot create %s", dir);
    }
    journal->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (journal->dir < 0) {
        return err_set_errno(err, "state_dir: cannot open %s", dir);
    }
    return lock < 0 ? take_lock(dir, journal, err) : adopt_lock(dir, lock, journal, err);
}

static int cut_back(struct journal *journal)
{
    if (ftruncate(journal->fd, (off_t)journal->good_bytes) != 0) {
        return ERR_SYSTEM;
    }
    if (lseek(journal->fd, (off_t)journal->good_bytes, SEEK_SET) < 0) {
        return ERR_SYSTEM;
    }
    journal->torn = false;
    return 0;
}

/* Writes one line behind the good ones; on failure the file may be torn. */
static int put_line(struct journal *journal, const json_t *record, bool durable)
{
    size_t len = 0;
    char *line;
    int rc;

    if (journal->torn && cut_back(journal) != 0) {
        return ERR_SYSTEM;
    }
    line = journal_line_encode(record, &len);
    if (line == NULL) {
        errno = ENOMEM;
        return ERR_SYSTEM;
    }
    journal->torn = true;
    errno = failpoint("journal-append");
    rc = errno != 0 ? ERR_SYSTEM : journal_file_write(journal->fd, line, len);
    if (rc == 0 && durable) {
        rc = journal_file_sync(journal->fd);
    }
    free(line);
    if (rc == 0) {
        journal->torn = false;
        journal->good_bytes += len;
    }
    return rc;
}

/* Cuts what is torn and begins an empty file with its header. */
static int repair(struct journal *journal, struct err_text *err)
{
    json_t *header;
    int rc;

    if (cut_back(journal) != 0) {
        return err_set_errno(err, "cannot cut %s to its last good line", journal->path);
    }
    if (journal->good_bytes > 0) {
        return 0;
    }
    header = journal_header();
    rc = header == NULL ? ERR_NOMEM : put_line(journal, header, true);
    json_decref(header);
    if (rc != 0 || fsync(journal->dir) != 0) {
        return err_set_errno(err, "cannot begin %s", journal->path);
    }
    return 0;
}

static int write_compact(struct journal *journal, int fd, uint64_t *size)
{
    json_t *header = journal_header();
    int rc = header == NULL ? ERR_NOMEM : 0;

    *size = 0;
    for (size_t i = 0; i <= journal->records.len && rc == 0; i++) {
        size_t len = 0;
        char *line = journal_line_encode(i == 0 ? header : journal->records.list[i - 1], &len);

        rc = line == NULL ? ERR_NOMEM : journal_file_write(fd, line, len);
        *size += len;
        free(line);
    }
    json_decref(header);
    return rc == 0 ? journal_file_sync(fd) : rc;
}

/* Writes a new file beside the old one and puts it in its place. Any failure leaves the old one in force. */
static int compact(struct journal *journal)
{
    uint64_t size = 0;
    int fd;

    if (journal_records_compact(&journal->records) != 0) {
        return ERR_NOMEM;
    }
    (void)unlinkat(journal->dir, "journal.new", 0);
    if (journal_file_open(journal->dir, journal->path, "journal.new", O_CREAT | O_EXCL, &fd, NULL) != 0) {
        return ERR_SYSTEM;
    }
    if (write_compact(journal, fd, &size) != 0 || (errno = failpoint("journal-rename")) != 0 ||
        renameat(journal->dir, "journal.new", journal->dir, "journal") != 0) {
        close(fd);
        unlinkat(journal->dir, "journal.new", 0);
        return ERR_SYSTEM;
    }
    close(journal->fd);
    journal->fd = fd;
    journal->good_bytes = journal->compact_size = size;
    journal->torn = false;
    (void)failpoint("journal-renamed");
    /* Without this the rename may not outlive a power failure; the old file then serves as well. */
    return fsync(journal->dir) == 0 ? 0 : ERR_SYSTEM;
}

/* Whether the file that we write is the one that a restart would read, with all that we wrote. */
static bool is_in_place(const struct journal *journal)
{
    struct stat ours;
    struct stat found;

    return fstat(journal->fd, &ours) == 0 &&
           fstatat(journal->dir, "journal", &found, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_ino == found.st_ino && ours.st_dev == found.st_dev &&
           (uint64_t)ours.st_size >= journal->good_bytes;
}

/* The folder itself was removed: makes it, or takes the one that somebody has made in its place. */
static int renew_dir(struct journal *journal)
{
    struct stat st;
    int dir = journal->dir;
    int lock = journal->lock;
    char *path;
    int rc;

    if (fstat(dir, &st) == 0 && st.st_nlink > 0) {
        return 0;
    }
    path = strndup(journal->path, strlen(journal->path) - strlen("/journal"));
    if (path == NULL) {
        return ERR_NOMEM;
    }
    journal->dir = journal->lock = -1;
    rc = open_dir(path, -1, journal, NULL);
    free(path);
    close_both(rc == 0 ? dir : journal->dir, rc == 0 ? lock : journal->lock);
    if (rc != 0) {
        journal->dir = dir;
        journal->lock = lock;
    }
    return rc;
}

/* Somebody has removed or cut the file, or put another in its place: what counts is in memory and is written
 * anew. A record in a file that no restart finds would be none. */
static int put_in_place(struct journal *journal, struct err_text *err)
{
    if (is_in_place(journal)) {
        return 0;
    }
    if (renew_dir(journal) != 0 || compact(journal) != 0) {
        return err_set_errno(err, "%s was removed or cut, and cannot be written anew", journal->path);
    }
    log_line(LOG_LEVEL_WARN, "the journal was removed or cut by somebody: written anew",
             LOG_TEXT("path", journal->path));
    return 0;
}

static void note(struct journal *journal, const char *text)
{
    size_t len = strlen(journal->notes);

    snprintf(journal->notes + len, sizeof(journal->notes) - len, "%s%s", len > 0 ? "; " : "", text);
}

static int load(struct journal *journal, struct err_text *err)
{
    struct journal_scan scan;
    char *text = NULL;
    size_t len = 0;
    int rc = journal_file_read(journal->fd, journal->path, &text, &len, err);

    if (rc != 0) {
        return rc;
    }
    rc = journal_scan_text(text, len, journal->path, &scan, err);
    free(text);
    if (rc != 0) {
        return rc;
    }
    journal->records = scan.records;
    journal->good_bytes = journal->compact_size = scan.good_bytes;
    journal->last_number = scan.last_number;
    if (journal->held) {
        return 0; /* what looks torn may be a record on its way */
    }
    if (scan.note[0] != '\0') {
        note(journal, scan.note);
    }
    rc = repair(journal, err);
    if (rc == 0 && journal->good_bytes > JOURNAL_COMPACT_AT) {
        uint64_t before = journal->good_bytes;
        char words[128];

        if (compact(journal) == 0) {
            snprintf(words, sizeof(words), "compacted from %" PRIu64 " to %" PRIu64 " bytes", before,
                     journal->good_bytes);
        } else {
            snprintf(words, sizeof(words), "could not be compacted and goes on as it is: %s",
                     strerror(errno));
        }
        note(journal, words);
    }
    return rc;
}

static int open_with(const char *dir, int lock, struct journal **out, struct err_text *err)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    int rc;

    if (journal == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the journal");
    }
    journal->dir = journal->lock = journal->fd = -1;
    journal->held = lock >= 0;
    if (asprintf(&journal->path, "%s/journal", dir) < 0) {
        journal->path = NULL;
        rc = err_set(err, ERR_NOMEM, "no memory for the journal");
    } else {
        rc = open_dir(dir, lock, journal, err);
    }
    if (rc == 0) {
        rc = journal_file_open(journal->dir, journal->path, "journal", O_CREAT, &journal->fd, err);
    }
    if (rc == 0) {
        rc = load(journal, err);
    }
    if (rc != 0) {
        if (journal->lock == lock) {
            journal->lock = -1; /* the caller's still */
        }
        journal_close(journal);
        return rc;
    }
    *out = journal;
    return 0;
}

int journal_open(const char *dir, struct journal **out, struct err_text *err)
{
    return open_with(dir, -1, out, err);
}

int journal_open_held(const char *dir, int lock, struct journal **out, struct err_text *err)
{
    return open_with(dir, lock, out, err);
}

int journal_folder(const struct journal *journal)
{
    return journal->dir;
}

int journal_lock(const struct journal *journal)
{
    return journal->lock;
}

void journal_hold(struct journal *journal)
{
    (void)(put_in_place(journal, NULL) == 0);
    if (journal->torn && cut_back(journal) != 0) {
        (void)fdatasync(journal->fd); /* whoever reads it next cuts it */
    }
    journal->held = true;
}

void journal_release(struct journal *journal)
{
    if (journal->held && journal->lock >= 0) {
        close(journal->lock);
        journal->lock = -1;
    }
}

int journal_resume(struct journal *journal, struct err_text *err)
{
    struct journal_records before = journal->records;
    int mine = journal->fd;
    int rc;

    if (!journal->held) {
        return 0;
    }
    /* it may have been put in place anew */
    rc = journal_file_open(journal->dir, journal->path, "journal", 0, &journal->fd, err);
    if (rc != 0) {
        journal->fd = mine;
        return rc;
    }
    journal->records = (struct journal_records){0};
    journal->held = false;
    rc = load(journal, err);
    if (rc != 0) {
        journal->held = true;
        journal_records_clear(&journal->records);
        journal->records = before;
        close(journal->fd);
        journal->fd = mine;
        return rc;
    }
    journal_records_clear(&before);
    close(mine);
    return 0;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL) {
        return;
    }
    journal_records_clear(&journal->records);
    if (journal->fd >= 0) {
        if (journal->torn && !journal->held) {
            (void)cut_back(journal);
        }
        if (!journal->held) {
            (void)fdatasync(journal->fd); /* what was not worth waiting for */
        }
        close(journal->fd);
    }
    close_both(journal->dir, journal->lock);
    free(journal->path);
    free(journal);
}

const char *journal_open_notes(const struct journal *journal)
{
    return journal->notes;
}

static int stamp(struct journal *journal, const json_t *record, json_t **out)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)record);

    if (copy == NULL ||
        json_object_set_new(copy, "n", json_integer((json_int_t)journal->last_number + 1)) != 0 ||
        json_object_set_new(copy, "t", json_integer((json_int_t)clock_wall_us())) != 0) {
        json_decref(copy);
        return ERR_NOMEM;
    }
    *out = copy;
    return 0;
}

int journal_append(struct journal *journal, json_t *record, bool durable, struct err_text *err)
{
    json_t *stamped = NULL;
    int rc;

    if (journal->held) {
        return err_set(err, ERR_STATE, "the journal is with another program, to which this one hands over");
    }
    rc = put_in_place(journal, err);
    if (rc != 0) {
        return rc;
    }
    if (stamp(journal, record, &stamped) != 0) {
        return err_set(err, ERR_NOMEM, "no memory for a record of the journal");
    }
    if (put_line(journal, stamped, durable) != 0) {
        rc = err_set_errno(err, "cannot write %s", journal->path);
        /* At once, so that a record whose sync failed is not found by a restart as if it counted. */
        if (journal->torn) {
            (void)cut_back(journal);
        }
        json_decref(stamped);
        return rc;
    }
    (void)failpoint("journal-done");
    journal->last_number++;
    journal_records_drop_progress(&journal->records, stamped);
    rc = journal_records_add(&journal->records, stamped);
    json_decref(stamped);
    if (rc == 0 && journal->good_bytes > JOURNAL_COMPACT_RUNNING_AT &&
        journal->good_bytes > 2 * journal->compact_size) {
        (void)compact(journal); /* what failed is tried again at the next append; nothing is lost */
    }
    /* It is on disk, so it counts even if memory for the copy in reports was short. */
    return 0;
}

int journal_check(const struct journal *journal, struct err_text *err)
{
    struct statvfs disk;
    struct stat dir;

    if (fstat(journal->dir, &dir) == 0 && dir.st_nlink == 0) {
        return err_set(err, ERR_SYSTEM, "the folder of %s was removed: make it again", journal->path);
    }
    errno = failpoint("journal-room");
    if (errno != 0 || fstatvfs(journal->fd, &disk) != 0) {
        return err_set_errno(err, "cannot write %s", journal->path);
    }
    if (disk.f_flag & ST_RDONLY) {
        return err_set(err, ERR_SYSTEM, "%s is on a file system that is mounted read-only", journal->path);
    }
    if (disk.f_bavail * disk.f_frsize < JOURNAL_ROOM_BYTES) {
        return err_set(err, ERR_SYSTEM, "less than %u KiB are free for %s",
                       (unsigned)(JOURNAL_ROOM_BYTES / 1024), journal->path);
    }
    return 0;
}

void journal_each(const struct journal *journal, const char *service,
                  void (*fn)(void *context, const json_t *record), void *context)
{
    for (size_t i = 0; i < journal->records.len; i++) {
        const json_t *record = journal->records.list[i];
        const char *of = json_string_value(json_object_get(record, "service"));

        if (service == NULL || (of != NULL && strcmp(of, service) == 0)) {
            fn(context, record);
        }
    }
}
