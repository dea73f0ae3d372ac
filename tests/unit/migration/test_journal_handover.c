/*
 * A journal that goes from one program to another and back: one writer at a time, nothing lost, and whoever
 * only waits for it touches nothing.
 */
#include "migration/journal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/shunt-handover-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const files[] = {"journal", "journal.lock", "journal.new"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static int put(struct journal *journal, int value)
{
    struct err_text err;
    json_t *record =
        json_pack("{s:s, s:s, s:s, s:i}", "service", "web", "kind", "state", "phase", "idle", "value", value);
    int rc = journal_append(journal, record, true, &err);
    json_decref(record);
    return rc;
}

static void keep_value(void *context, const json_t *record)
{
    *(int *)context = (int)json_integer_value(json_object_get(record, "value"));
}

static int last(const struct journal *journal)
{
    int value = 0;
    journal_each(journal, "web", keep_value, &value);
    return value;
}

static void one_writer_at_a_time(void **state)
{
    (void)state;
    struct journal *former = NULL;
    struct journal *next = NULL;
    struct err_text err;
    assert_int_equal(journal_open(folder, &former, &err), 0);
    assert_int_equal(put(former, 1), 0);
    assert_int_equal(journal_open(folder, &next, &err), ERR_EXISTS);
    assert_int_equal(journal_open_held(folder, dup(journal_lock(former)), &next, &err), 0);
    assert_int_equal(last(next), 1);
    assert_int_equal(put(next, 99), ERR_STATE);
    assert_int_equal(put(former, 2), 0); /* while the next one builds */
    journal_hold(former);
    assert_int_equal(put(former, 98), ERR_STATE);
    assert_int_equal(journal_resume(next, &err), 0);
    assert_int_equal(last(next), 2);
    assert_int_equal(put(next, 3), 0);
    /* It is taken back, and given again. */
    journal_hold(next);
    assert_int_equal(journal_resume(former, &err), 0);
    assert_int_equal(last(former), 3);
    assert_int_equal(put(former, 4), 0);
    journal_hold(former);
    assert_int_equal(journal_resume(next, &err), 0);
    journal_release(former);
    journal_close(former);
    assert_int_equal(last(next), 4);
    assert_int_equal(put(next, 5), 0);
    assert_int_equal(journal_open(folder, &former, &err), ERR_EXISTS); /* the lock went over */
    journal_close(next);
    assert_int_equal(journal_open(folder, &former, &err), 0);
    assert_int_equal(last(former), 5);
    journal_close(former);
}

/* What looks torn to a reader may be on its way. */
static void a_reader_repairs_nothing(void **state)
{
    (void)state;
    struct journal *former = NULL;
    struct journal *next = NULL;
    struct err_text err;
    struct stat before, after;
    char path[128];
    assert_int_equal(journal_open(folder, &former, &err), 0);
    assert_int_equal(put(former, 1), 0);
    (void)snprintf(path, sizeof(path), "%s/journal", folder);
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "half a li", 9), 9);
    assert_int_equal(fstat(fd, &before), 0);
    assert_int_equal(journal_open_held(folder, dup(journal_lock(former)), &next, &err), 0);
    assert_int_equal(last(next), 1);
    journal_close(next);
    assert_int_equal(fstat(fd, &after), 0);
    assert_true(before.st_size == after.st_size);
    assert_int_equal(close(fd), 0);
    journal_close(former);
}

static void another_folder_is_refused(void **state)
{
    (void)state;
    struct journal *next = NULL;
    struct err_text err;
    int lock = open("/dev/null", O_RDONLY);
    struct journal *former = NULL;
    assert_int_equal(journal_open(folder, &former, &err), 0);
    assert_int_equal(journal_open_held(folder, lock, &next, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "state_dir"));
    assert_int_equal(close(lock), 0); /* it is the caller's still */
    journal_close(former);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_writer_at_a_time),
        TEST(a_reader_repairs_nothing),
        TEST(another_folder_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
