/*
 * What is no journal of ours is neither read as one nor changed: somebody else's file, one that is damaged
 * from its beginning or in more than its last line, a symbolic link, a pipe. What one write may leave behind
 * is cut.
 */
#include "migration/journal.h"
#include "migration/journal_internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char file[96];
static char other[96]; /* what links lead to */

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/shunt-foreign-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(file, sizeof(file), "%s/journal", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"journal", "journal.lock", "journal.new", "other"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static void put(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
}

static size_t get(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, text, size);
    close(fd);
    assert_true(n >= 0 && (size_t)n < size);
    return (size_t)n;
}

/* Writes a journal of three records, which is handed back as text. */
static size_t write_good(char *text, size_t size)
{
    struct journal *journal = NULL;
    struct err_text err;

    unlink(file);
    assert_int_equal(journal_open(folder, &journal, &err), 0);
    for (int i = 0; i < 3; i++) {
        json_t *record = json_pack("{s:s, s:s, s:i}", "service", "web", "kind", "note", "value", i);

        assert_int_equal(journal_append(journal, record, true, NULL), 0);
        json_decref(record);
    }
    journal_close(journal);
    return get(file, text, size);
}

static void is_refused(const char *words, int code)
{
    struct journal *journal = NULL;
    struct err_text err = {""};

    assert_int_equal(journal_open(folder, &journal, &err), code);
    assert_null(journal);
    if (strstr(err.text, words) == NULL) {
        fail_msg("\"%s\" is not in: %s", words, err.text);
    }
}

static void is_refused_and_kept(const char *text, size_t len, const char *words)
{
    char after[8192];

    put(file, text, len);
    is_refused(words, ERR_CORRUPT);
    assert_int_equal(get(file, after, sizeof(after)), len);
    assert_memory_equal(text, after, len);
}

static void is_opened(const char *text, size_t len, const char *noted)
{
    struct journal *journal = NULL;
    struct err_text err = {""};

    put(file, text, len);
    if (journal_open(folder, &journal, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_non_null(strstr(journal_open_notes(journal), noted));
    journal_close(journal);
}

static void another_file_stays_as_it_is(void **state)
{
    static const char accounts[] = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";

    (void)state;
    is_refused_and_kept(accounts, strlen(accounts), "not the beginning of a journal");
    is_refused_and_kept(accounts, 29, "not the beginning of a journal"); /* no newline */
    is_refused_and_kept("\n", 1, "not the beginning of a journal");
    is_refused_and_kept("x", 1, "not the beginning of a journal");
}

static void damaged_from_its_beginning(void **state)
{
    char text[4096];
    char changed[8192];
    size_t len = write_good(text, sizeof(text));
    size_t size = 0;
    size_t header = (size_t)(strchr(text, '\n') + 1 - text);

    (void)state;
    for (size_t i = 0; i < len; i++) { /* as an editor on another system leaves it */
        if (text[i] == '\n') {
            changed[size++] = '\r';
        }
        changed[size++] = text[i];
    }
    is_refused_and_kept(changed, size, "not the beginning of a journal");
    text[0] ^= 1;
    is_refused_and_kept(text, header, "not the beginning of a journal");
}

static void more_than_the_last_line(void **state)
{
    char text[4096];
    size_t len = write_good(text, sizeof(text));
    size_t last = len - 1;

    (void)state;
    while (text[last - 1] != '\n') {
        last--;
    }
    text[last + 12] ^= 1;
    is_opened(text, len, "cut"); /* the last alone cannot be told from a torn write */
    text[last - 12] ^= 1;
    is_refused_and_kept(text, len, "more than one line");
}

static void what_one_write_leaves(void **state)
{
    char text[8192];
    char good[4096];
    size_t len = write_good(good, sizeof(good));

    (void)state;
    is_opened("", 0, "");
    is_opened(good, 5, "cut"); /* not even the header was written */
    memset(text, 0, sizeof(text));
    is_opened(text, 4096, "cut");
    memcpy(text, good, len);
    is_opened(text, len + 3000, "cut");
    memcpy(text + len, good, 4);
    is_opened(text, len + 3000, "cut");
}

static void links_are_not_followed(void **state)
{
    static const char *const names[] = {"journal", "journal.lock"};
    char path[128];
    char after[64];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
        put(other, "mine", 4);
        assert_int_equal(symlink(other, path), 0);
        is_refused("is a symbolic link", ERR_SYSTEM);
        assert_int_equal(get(other, after, sizeof(after)), 4);
        unlink(path);
        assert_int_equal(unlink(other), 0);
        assert_int_equal(symlink(other, path), 0); /* it leads nowhere: nothing is made there either */
        is_refused("is a symbolic link", ERR_SYSTEM);
        assert_int_not_equal(access(other, F_OK), 0);
        unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        is_refused("is no plain file", ERR_SYSTEM);
        unlink(path);
    }
}

/* The compact form is written beside the old one: not through what somebody has put there. */
static void a_link_beside_it_is_not_followed(void **state)
{
    char path[128];
    char text[4096];
    char after[64];
    struct journal *journal = NULL;
    struct err_text err;
    json_t *record = json_pack("{s:s, s:s}", "service", "web", "kind", "note");

    (void)state;
    write_good(text, sizeof(text));
    snprintf(path, sizeof(path), "%s/journal.new", folder);
    put(other, "mine", 4);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(journal_open(folder, &journal, &err), 0);
    unlink(file); /* so that the next append writes all of it anew */
    assert_int_equal(journal_append(journal, record, true, NULL), 0);
    json_decref(record);
    journal_close(journal);
    assert_int_equal(get(other, after, sizeof(after)), 4);
    assert_memory_equal(after, "mine", 4);
    assert_true(get(file, text, sizeof(text)) > 100);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(another_file_stays_as_it_is), IN_A_FOLDER(damaged_from_its_beginning),
        IN_A_FOLDER(more_than_the_last_line),     IN_A_FOLDER(what_one_write_leaves),
        IN_A_FOLDER(links_are_not_followed),      IN_A_FOLDER(a_link_beside_it_is_not_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
