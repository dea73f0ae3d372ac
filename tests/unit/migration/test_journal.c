/*
 * The journal on a real disk: records come back, torn ends are cut at every byte, damage is told from a torn
 * end, full disks leave no half line, two daemons do not share one, a long one is made short.
 */
#include "migration/journal.h"

#include "core/failpoint.h"
#include "migration/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char root[64];
    char dir[80];
    char file[96];
};

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    if (place == NULL) {
        return -1;
    }
    snprintf(place->root, sizeof(place->root), "/tmp/shunt-journal-XXXXXX");
    if (mkdtemp(place->root) == NULL) {
        free(place);
        return -1;
    }
    snprintf(place->dir, sizeof(place->dir), "%s/state", place->root);
    snprintf(place->file, sizeof(place->file), "%s/journal", place->dir);
    *state = place;
    return failpoint_set(NULL, NULL);
}

static void remove_files(const struct place *place)
{
    static const char *const names[] = {"journal", "journal.lock", "journal.new"};
    char path[128];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", place->dir, names[i]);
        unlink(path);
    }
}

static int remove_place(void **state)
{
    struct place *place = *state;

    remove_files(place);
    rmdir(place->dir);
    if (rmdir(place->root) != 0) {
        return -1; /* something was left behind */
    }
    free(place);
    return failpoint_set(NULL, NULL);
}

static struct journal *open_good(const struct place *place)
{
    struct journal *journal = NULL;
    struct err_text err = {""};
    int rc = journal_open(place->dir, &journal, &err);

    if (rc != 0) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(rc, 0);
    return journal;
}

static int open_bad(const struct place *place, struct err_text *err)
{
    struct journal *journal = NULL;
    int rc = journal_open(place->dir, &journal, err);

    assert_null(journal);
    return rc;
}

static int append(struct journal *journal, const char *service, const char *kind, int value)
{
    char id[32];
    json_t *record;
    int rc;

    snprintf(id, sizeof(id), "%s-%d", service, value / 1000);
    record = json_pack("{s:s, s:s, s:s, s:s, s:i}", "service", service, "kind", kind, "id", id, "phase",
                       "idle", "value", value);
    assert_non_null(record);
    rc = journal_append(journal, record, true, NULL);
    json_decref(record);
    return rc;
}

struct tally {
    int count, last, progress;
};

static void count_record(void *context, const json_t *record)
{
    struct tally *tally = context;

    tally->count++;
    tally->last = (int)json_integer_value(json_object_get(record, "value"));
    tally->progress += strcmp(json_string_value(json_object_get(record, "kind")), "progress") == 0;
    assert_true(json_integer_value(json_object_get(record, "n")) > 0);
    assert_true(json_integer_value(json_object_get(record, "t")) > 0);
}

static struct tally tally_of(const struct journal *journal, const char *service)
{
    struct tally tally = {0};

    journal_each(journal, service, count_record, &tally);
    return tally;
}

static size_t read_all(const struct place *place, char *text, size_t size)
{
    int fd = open(place->file, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, text, size);
    close(fd);
    assert_true(n >= 0 && (size_t)n < size);
    return (size_t)n;
}

static void write_all_of(const struct place *place, const char *text, size_t len)
{
    int fd = open(place->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
}

static void records_come_back(void **state)
{
    struct place *place = *state;
    struct journal *journal = open_good(place);
    struct stat st;

    assert_int_equal(stat(place->dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(append(journal, i % 2 != 0 ? "web" : "api", "state", i), 0);
    }
    assert_int_equal(tally_of(journal, "web").count, 3);
    journal_close(journal);
    journal = open_good(place);
    assert_string_equal(journal_open_notes(journal), "");
    assert_int_equal(tally_of(journal, NULL).count, 5);
    assert_int_equal(tally_of(journal, "api").last, 4);
    assert_int_equal(tally_of(journal, "none").count, 0);
    journal_close(journal);
}

static void expect_after_reopening(struct journal **journal, const struct place *place, int count)
{
    journal_close(*journal);
    *journal = open_good(place);
    assert_int_equal(tally_of(*journal, "web").count, count);
}

/* A file that was removed, cut, or put another in its place, is written anew with all that counts; a folder
 * that was removed is made again, and where that cannot be the append fails. */
static void removed_from_its_place_it_is_written_anew(void **state)
{
    struct place *place = *state;
    struct journal *journal = open_good(place);

    assert_int_equal(append(journal, "web", "state", 1), 0);
    assert_int_equal(unlink(place->file), 0);
    assert_int_equal(append(journal, "web", "state", 2), 0);
    write_all_of(place, "", 0); /* the same file, cut */
    assert_int_equal(append(journal, "web", "state", 3), 0);
    assert_int_equal(unlink(place->file), 0);
    write_all_of(place, "another", 7);
    assert_int_equal(append(journal, "web", "state", 4), 0);
    expect_after_reopening(&journal, place, 4);

    remove_files(place);
    assert_int_equal(rmdir(place->dir), 0);
    assert_int_equal(append(journal, "web", "state", 5), 0);
    expect_after_reopening(&journal, place, 5);

    remove_files(place);
    assert_int_equal(rmdir(place->dir), 0);
    assert_int_equal(symlink("nowhere/below", place->dir), 0);
    assert_int_equal(append(journal, "web", "state", 6), ERR_SYSTEM);
    assert_int_equal(append(journal, "web", "state", 6), ERR_SYSTEM);
    assert_int_equal(journal_check(journal, NULL), ERR_SYSTEM);
    assert_int_equal(unlink(place->dir), 0);
    assert_int_equal(append(journal, "web", "state", 6), 0);
    assert_int_equal(journal_check(journal, NULL), 0);
    expect_after_reopening(&journal, place, 6);
    journal_close(journal);
}

static void two_daemons_do_not_share_one(void **state)
{
    struct place *place = *state;
    struct journal *journal = open_good(place);
    struct err_text err;

    assert_int_equal(open_bad(place, &err), ERR_EXISTS);
    assert_non_null(strstr(err.text, "in use by another shuntd"));
    journal_close(journal);
    journal_close(open_good(place));
}

static void a_missing_parent_is_said(void **state)
{
    struct place *place = *state;
    struct place deeper = *place;
    struct err_text err;

    snprintf(deeper.dir, sizeof(deeper.dir), "%s/no/such", place->root);
    assert_int_equal(open_bad(&deeper, &err), ERR_SYSTEM);
    assert_non_null(strstr(err.text, "cannot create"));
}

/* Whatever length the file has when the power goes, what comes back is a whole prefix of what was written. */
static void cut_at_every_byte(void **state)
{
    struct place *place = *state;
    struct journal *journal = open_good(place);
    char text[8192];
    size_t len;

    for (int i = 1; i <= 6; i++) {
        assert_int_equal(append(journal, "web", "state", i), 0);
    }
    journal_close(journal);
    len = read_all(place, text, sizeof(text));
    for (size_t cut = 0; cut <= len; cut++) {
        int lines = 0;

        for (size_t i = 0; i < cut; i++) {
            lines += text[i] == '\n';
        }
        write_all_of(place, text, cut);
        journal = open_good(place);
        assert_int_equal(tally_of(journal, "web").count, lines > 0 ? lines - 1 : 0);
        assert_int_equal(tally_of(journal, "web").last, lines > 0 ? lines - 1 : 0);
        assert_int_equal(*journal_open_notes(journal) != '\0', cut > 0 && text[cut - 1] != '\n');
        /* and it can be written on */
        assert_int_equal(append(journal, "web", "state", 77), 0);
        journal_close(journal);
        journal = open_good(place);
        assert_string_equal(journal_open_notes(journal), "");
        assert_int_equal(tally_of(journal, "web").last, 77);
        journal_close(journal);
    }
}

/* A flipped bit anywhere before the last line is damage, which nobody may paper over; the file stays as it
 * is. */
static void damage_in_the_middle_is_refused(void **state)
{
    struct place *place = *state;
    struct journal *journal = open_good(place);
    char text[8192];
    char after[8192];
    struct err_text err;
    size_t len;
    size_t last;

    for (int i = 1; i <= 4; i++) {
        assert_int_equal(append(journal, "web", "state", i), 0);
    }
    journal_close(journal);
    len = read_all(place, text, sizeof(text));
    for (last = len - 1; text[last - 1] != '\n'; last--) {
    }
    /* not the newline before the last line: losing it makes one unfinished line of two */
    for (size_t at = 0; at < last - 1; at++) {
        text[at] ^= 4;
        write_all_of(place, text, len);
        assert_int_equal(open_bad(place, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.text, "damaged"));
        assert_int_equal(read_all(place, after, sizeof(after)), len);
        assert_memory_equal(text, after, len);
        text[at] ^= 4;
    }
    /* in the last line it cannot be told from a torn write */
    text[last + 20] ^= 4;
    write_all_of(place, text, len);
    journal = open_good(place);
    assert_int_equal(tally_of(journal, "web").count, 3);
    assert_non_null(strstr(journal_open_notes(journal), "cut"));
    journal_close(journal);
}

static void write_header(const struct place *place, const char *format, int version)
{
    json_t *header = json_pack("{s:s, s:i}", "format", format, "version", version);
    size_t len = 0;
    char *line = journal_line_encode(header, &len);

    assert_non_null(line);
    mkdir(place->dir, 0750);
    write_all_of(place, line, len);
    free(line);
    json_decref(header);
}

/* Whole lines that say what cannot be: a program that went by them would send the traffic anywhere. */
static void impossible_states_are_refused(void **state)
{
    static const char *const states[] = {
        "{\"service\":\"web\",\"kind\":\"state\",\"phase\":\"rampling\",\"share_bp\":100,\"n\":2}",
        "{\"service\":\"web\",\"kind\":\"progress\",\"phase\":7,\"share_bp\":100,\"n\":2}",
        "{\"service\":\"web\",\"kind\":\"state\",\"share_bp\":100,\"n\":2}",
        "{\"service\":\"web\",\"kind\":\"state\",\"phase\":\"ramping\",\"share_bp\":10001,\"n\":2}",
        "{\"service\":\"web\",\"kind\":\"state\",\"phase\":\"ramping\",\"share_bp\":-1,\"n\":2}",
        "{\"service\":\"web\",\"kind\":\"state\",\"phase\":\"rolling-back\",\"back_bp\":20000,\"n\":2}",
    };
    struct place *place = *state;
    struct journal *journal = open_good(place);
    char text[8192];
    char after[8192];
    struct err_text err;
    size_t len;

    assert_int_equal(append(journal, "web", "state", 1), 0);
    journal_close(journal);
    len = read_all(place, text, sizeof(text));
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        json_t *record = json_loads(states[i], 0, NULL);
        size_t line_len = 0;
        char *line = journal_line_encode(record, &line_len);

        assert_non_null(line);
        memcpy(text + len, line, line_len);
        write_all_of(place, text, len + line_len);
        assert_int_equal(open_bad(place, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.text, "line 3 says what cannot be"));
        assert_non_null(strstr(err.text, "move it away"));
        assert_int_equal(read_all(place, after, sizeof(after)), len + line_len);
        free(line);
        json_decref(record);
    }
    write_all_of(place, text, len);
    journal = open_good(place);
    assert_int_equal(tally_of(journal, "web").count, 1);
    journal_close(journal);
}

static void other_formats_are_refused(void **state)
{
    struct place *place = *state;
    struct err_text err;

    write_header(place, JOURNAL_FORMAT, JOURNAL_VERSION + 1);
    assert_int_equal(open_bad(place, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "newer shunt"));
    write_header(place, "something-else", 1);
    assert_int_equal(open_bad(place, &err), ERR_CORRUPT);
}

static void a_full_disk_leaves_no_half_line(void **state)
{
    static const char *const places[] = {"journal-append:1:enospc", "journal-half:1:enospc",
                                         "journal-sync:1:eio"};
    struct place *place = *state;
    struct journal *journal = open_good(place);
    int value = 1;

    assert_int_equal(append(journal, "web", "state", value), 0);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char before[8192];
        char after[8192];
        size_t len = read_all(place, before, sizeof(before));
        json_t *record = json_pack("{s:s, s:s}", "service", "web", "kind", "state");
        struct err_text err;

        assert_int_equal(failpoint_set(places[i], NULL), 0);
        assert_int_equal(journal_append(journal, record, true, &err), ERR_SYSTEM);
        assert_non_null(strstr(err.text, place->file));
        json_decref(record);
        assert_int_equal(read_all(place, after, sizeof(after)), len);
        assert_memory_equal(before, after, len);
        assert_int_equal(tally_of(journal, "web").count, value);
        assert_int_equal(append(journal, "web", "state", ++value), 0);
    }
    journal_close(journal);
    journal = open_good(place);
    assert_int_equal(tally_of(journal, "web").last, value);
    assert_int_equal(tally_of(journal, "web").count, value);
    journal_close(journal);
}

/* Kills a child at a failpoint of its third append; says how many records came back. */
static int survivors(const struct place *place, const char *where)
{
    pid_t child = fork();
    int status = 0;
    struct journal *journal;
    int count;

    assert_true(child >= 0);
    if (child == 0) {
        if (journal_open(place->dir, &journal, NULL) != 0 || failpoint_set(where, NULL) != 0) {
            _exit(3);
        }
        for (int i = 1; i <= 5; i++) {
            if (append(journal, "web", "state", i) != 0) {
                _exit(4);
            }
        }
        _exit(5);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    journal = open_good(place);
    count = tally_of(journal, "web").count;
    assert_int_equal(tally_of(journal, "web").last, count);
    journal_close(journal);
    assert_int_equal(unlink(place->file), 0);
    return count;
}

static void killed_at_each_point_of_an_append(void **state)
{
    struct place *place = *state;

    assert_int_equal(survivors(place, "journal-append:3:kill"), 2);
    assert_int_equal(survivors(place, "journal-half:5:kill"), 2);
    assert_int_equal(survivors(place, "journal-half:6:kill"), 3); /* written, not synced: a kill keeps it */
    assert_int_equal(survivors(place, "journal-sync:3:kill"), 3);
    assert_int_equal(survivors(place, "journal-done:3:kill"), 3);
}

static void fill(struct journal *journal, int from, int to)
{
    for (int i = from; i < to; i++) {
        char blank[400];
        json_t *record;
        char id[16];

        memset(blank, 'x', sizeof(blank) - 1);
        blank[sizeof(blank) - 1] = '\0';
        snprintf(id, sizeof(id), "web-%d", i / 100);
        record = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s}", "service", "web", "kind", "state", "id", id,
                           "phase", "idle", "value", i, "text", blank);
        assert_int_equal(journal_append(journal, record, false, NULL), 0);
        json_decref(record);
    }
}

static int weight(struct journal *journal, int value)
{
    json_t *record = json_pack("{s:s, s:s, s:s, s:i}", "service", "web", "kind", "weight", "key", "new/b1",
                               "value", value);
    int rc = journal_append(journal, record, true, NULL);

    json_decref(record);
    return rc;
}

static void a_long_one_is_made_short(void **state)
{
    struct place *place = *state;
    struct journal *journal = open_good(place);
    struct stat st;

    assert_int_equal(append(journal, "api", "state", 7), 0);
    assert_int_equal(weight(journal, 1), 0);
    assert_int_equal(weight(journal, 2), 0);
    fill(journal, 0, 900);
    journal_close(journal);
    assert_int_equal(stat(place->file, &st), 0);
    assert_true(st.st_size > (off_t)JOURNAL_COMPACT_AT);

    journal = open_good(place);
    assert_non_null(strstr(journal_open_notes(journal), "compacted"));
    assert_int_equal(tally_of(journal, "api").last, 7);
    /* the last five migrations of a hundred records each, and the newest weight */
    assert_int_equal(tally_of(journal, "web").count, 501);
    assert_int_equal(tally_of(journal, "web").last, 899);
    journal_close(journal);
    assert_int_equal(stat(place->file, &st), 0);
    assert_true(st.st_size < (off_t)JOURNAL_COMPACT_AT);

    journal = open_good(place);
    assert_string_equal(journal_open_notes(journal), "");
    assert_int_equal(tally_of(journal, "web").count, 501);
    assert_int_equal(append(journal, "web", "state", 9), 0);
    journal_close(journal);
}

static void a_compaction_that_fails_costs_nothing(void **state)
{
    static const char *const places[] = {"journal-sync:1:enospc", "journal-half:9:enospc",
                                         "journal-rename:1:eio"};
    struct place *place = *state;
    struct journal *journal = open_good(place);

    fill(journal, 0, 900);
    journal_close(journal);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        assert_int_equal(failpoint_set(places[i], NULL), 0);
        journal = open_good(place);
        assert_non_null(strstr(journal_open_notes(journal), "could not be compacted"));
        assert_int_equal(tally_of(journal, "web").last, 899);
        journal_close(journal);
    }
    journal = open_good(place);
    assert_int_equal(tally_of(journal, "web").count, 500);
    journal_close(journal);
}

static void it_does_not_grow_without_end_while_running(void **state)
{
    struct place *place = *state;
    struct journal *journal = open_good(place);
    struct stat st;

    fill(journal, 0, 20000);
    assert_int_equal(stat(place->file, &st), 0);
    assert_true(st.st_size < 2 * (off_t)JOURNAL_COMPACT_RUNNING_AT);
    assert_int_equal(tally_of(journal, "web").last, 19999);
    journal_close(journal);
    journal = open_good(place);
    assert_int_equal(tally_of(journal, "web").last, 19999);
    journal_close(journal);
}

static void progress_replaces_progress(void **state)
{
    struct place *place = *state;
    struct journal *journal = open_good(place);

    assert_int_equal(append(journal, "web", "state", 1), 0);
    for (int i = 2; i < 50; i++) {
        assert_int_equal(append(journal, "web", "progress", i), 0);
        assert_int_equal(append(journal, "api", "progress", i), 0);
    }
    assert_int_equal(tally_of(journal, "web").count, 2);
    assert_int_equal(tally_of(journal, "web").last, 49);
    assert_int_equal(tally_of(journal, "api").progress, 1);
    journal_close(journal);
    journal = open_good(place);
    assert_int_equal(tally_of(journal, "web").count, 2);
    assert_int_equal(tally_of(journal, "web").last, 49);
    journal_close(journal);
}

#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_PLACE(records_come_back),
        IN_A_PLACE(removed_from_its_place_it_is_written_anew),
        IN_A_PLACE(two_daemons_do_not_share_one),
        IN_A_PLACE(a_missing_parent_is_said),
        IN_A_PLACE(cut_at_every_byte),
        IN_A_PLACE(damage_in_the_middle_is_refused),
        IN_A_PLACE(other_formats_are_refused),
        IN_A_PLACE(impossible_states_are_refused),
        IN_A_PLACE(a_full_disk_leaves_no_half_line),
        IN_A_PLACE(killed_at_each_point_of_an_append),
        IN_A_PLACE(a_long_one_is_made_short),
        IN_A_PLACE(a_compaction_that_fails_costs_nothing),
        IN_A_PLACE(it_does_not_grow_without_end_while_running),
        IN_A_PLACE(progress_replaces_progress),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
