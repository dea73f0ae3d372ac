/* Sets of prefixes: their text, their files, and the look-up against a plain walk over the list. */
#include "core/clock.h"
#include "core/prefixes.h"
#include "core/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct prefix prefix_of(const char *text)
{
    struct prefix prefix;
    struct err_text err = {""};
    if (prefix_parse(text, &prefix, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return prefix;
}

static struct addr_ip ip_of(const char *text)
{
    return prefix_of(text).ip;
}

static void test_text(void **state)
{
    (void)state;
    assert_int_equal(prefix_of("10.0.0.0/8").bits, 8);
    assert_int_equal(prefix_of("192.0.2.7").bits, 32);
    assert_int_equal(prefix_of("2001:db8::/32").bits, 32);
    assert_int_equal(prefix_of("::1").bits, 128);
    assert_int_equal(prefix_of("0.0.0.0/0").bits, 0);
    assert_int_equal(prefix_of("::/0").ip.family, 6);
}

static void test_text_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",           "10",     "10.0.0.0/",      "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8 ", "10.0.0.1/8",
        "10.0.0/8",   "::/129", "2001:db8::1/32", "example.org", "/8",          "10.0.0.0//8", "10.0.0.0/8/8",
        " 10.0.0.0/8"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct prefix prefix;
        struct err_text err = {""};
        if (prefix_parse(wrong[i], &prefix, &err) != ERR_PARSE || strlen(err.text) == 0) {
            fail_msg("accepted: \"%s\"", wrong[i]);
        }
    }
    struct prefix prefix;
    struct err_text err;
    assert_int_equal(prefix_parse("10.0.0.1/8", &prefix, &err), ERR_PARSE);
    assert_non_null(strstr(err.text, "\"10.0.0.0/8\" or \"10.0.0.1\"?"));
}

static bool contains(const struct prefixes *set, const char *ip)
{
    struct addr_ip address = ip_of(ip);
    return prefixes_contain(set, &address);
}

static void test_edges_of_ranges(void **state)
{
    (void)state;
    static const char *const list[] = {
        "10.0.0.0/8",    "10.1.0.0/16",     "11.0.0.0/16", "192.0.2.7", "255.255.255.255",        "0.0.0.0",
        "2001:db8::/32", "2001:db8:1::/48", "::1",         "ffff::/16", "2001:db9::8000:0:0:0/65"};
    struct prefixes *set;
    assert_int_equal(prefixes_load(list, sizeof(list) / sizeof(list[0]), &set, NULL), 0);
    static const char *const in[] = {"10.0.0.0",
                                     "10.255.255.255",
                                     "11.0.0.0",
                                     "11.0.255.255",
                                     "192.0.2.7",
                                     "255.255.255.255",
                                     "0.0.0.0",
                                     "2001:db8::",
                                     "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                                     "::1",
                                     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                                     "2001:db9::8000:0:0:0",
                                     "2001:db9::ffff:ffff:ffff:ffff"};
    static const char *const out[] = {"9.255.255.255",
                                      "11.1.0.0",
                                      "192.0.2.6",
                                      "192.0.2.8",
                                      "255.255.255.254",
                                      "0.0.0.1",
                                      "2001:db7:ffff::",
                                      "2001:db9::",
                                      "::",
                                      "::2",
                                      "fffe:ffff::",
                                      "2001:db9::7fff:ffff:ffff:ffff",
                                      "2001:db9:0:1::"};
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
        if (!contains(set, in[i])) {
            fail_msg("not in: %s", in[i]);
        }
    }
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++) {
        if (contains(set, out[i])) {
            fail_msg("in: %s", out[i]);
        }
    }
    const struct addr_ip unix_peer = {.family = 0};
    assert_false(prefixes_contain(set, &unix_peer));
    prefixes_destroy(set);
}

static void test_everything_and_nothing(void **state)
{
    (void)state;
    static const char *const all[] = {"0.0.0.0/0", "::/0"};
    struct prefixes *set;
    assert_int_equal(prefixes_load(all, 2, &set, NULL), 0);
    assert_true(contains(set, "0.0.0.0"));
    assert_true(contains(set, "255.255.255.255"));
    assert_true(contains(set, "::"));
    assert_true(contains(set, "ffff::ffff"));
    assert_false(prefixes_empty(set));
    prefixes_destroy(set);
    assert_int_equal(prefixes_load(NULL, 0, &set, NULL), 0);
    assert_true(prefixes_empty(set));
    assert_false(contains(set, "10.0.0.1"));
    assert_false(contains(set, "::1"));
    prefixes_destroy(set);
    assert_true(prefixes_empty(NULL));
    assert_false(contains(NULL, "10.0.0.1"));
}

/* Ten of the sixteen bytes repeat, so that prefixes overlap, touch and nest. */
static struct prefix random_prefix(struct random_state *random)
{
    struct prefix prefix = {.ip = {.family = random_below(random, 2) != 0 ? 4 : 6}};
    unsigned most = prefix.ip.family == 4 ? 32 : 128;
    for (unsigned i = 0; i < most / 8; i++) {
        prefix.ip.bytes[i] = (uint8_t)random_below(random, i < 2 ? 4 : 256);
    }
    prefix.bits = random_below(random, most + 1);
    addr_ip_mask(&prefix.ip, prefix.bits, prefix.bits);
    return prefix;
}

static bool covers(const struct prefix *prefix, const struct addr_ip *ip)
{
    struct addr_ip masked = *ip;
    addr_ip_mask(&masked, prefix->bits, prefix->bits);
    return prefix->ip.family == ip->family && memcmp(masked.bytes, prefix->ip.bytes, 16) == 0;
}

static void test_against_a_walk(void **state)
{
    (void)state;
    enum { PREFIXES = 60, LOOKS = 400, ROUNDS = 200 };
    struct random_state random;
    random_seed(&random, 4711);
    for (int round = 0; round < ROUNDS; round++) {
        struct prefix list[PREFIXES];
        struct prefixes *set;
        size_t n = random_below(&random, PREFIXES);
        for (size_t i = 0; i < n; i++) {
            list[i] = random_prefix(&random);
            list[i].bits += list[i].bits < 4 ? 4 : 0; /* else everything is covered by something */
            addr_ip_mask(&list[i].ip, list[i].bits, list[i].bits);
        }
        assert_int_equal(prefixes_create(list, n, &set, NULL), 0);
        for (int look = 0; look < LOOKS; look++) {
            struct addr_ip ip = random_prefix(&random).ip;
            bool expected = false;
            for (size_t i = 0; i < n; i++) {
                expected |= covers(&list[i], &ip);
            }
            assert_int_equal(prefixes_contain(set, &ip), expected);
        }
        prefixes_destroy(set);
    }
}

static char *write_file(char *path, const char *text)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void test_files(void **state)
{
    (void)state;
    char path[] = "/tmp/shunt-prefixes-XXXXXX";
    char text[64];
    struct prefixes *set;
    struct err_text err;
    write_file(path, "# who\n\n10.0.0.0/8 # all of them\r\n\t2001:db8::/32\n192.0.2.7");
    (void)snprintf(text, sizeof(text), "@%s", path);
    const char *list[] = {"172.16.0.0/12", text};
    assert_int_equal(prefixes_load(list, 2, &set, &err), 0);
    assert_true(contains(set, "10.1.1.1"));
    assert_true(contains(set, "172.31.0.1"));
    assert_true(contains(set, "192.0.2.7"));
    assert_true(contains(set, "2001:db8::1"));
    prefixes_destroy(set);
    unlink(path);
    assert_int_equal(prefixes_load(list, 2, &set, &err), ERR_SYSTEM);
    assert_non_null(strstr(err.text, path));
}

static void test_file_with_a_fault(void **state)
{
    (void)state;
    char path[] = "/tmp/shunt-prefixes-XXXXXX";
    char text[64];
    char where[64];
    char line[400];
    struct prefixes *set;
    struct err_text err;
    write_file(path, "10.0.0.0/8\nnonsense\n");
    (void)snprintf(text, sizeof(text), "@%s", path);
    (void)snprintf(where, sizeof(where), "%s:2: ", path);
    const char *list[] = {text};
    assert_int_equal(prefixes_load(list, 1, &set, &err), ERR_PARSE);
    assert_memory_equal(err.text, where, strlen(where));
    unlink(path);
    char long_path[] = "/tmp/shunt-prefixes-XXXXXX";
    memset(line, ' ', sizeof(line));
    line[sizeof(line) - 1] = '\0';
    write_file(long_path, line);
    (void)snprintf(text, sizeof(text), "@%s", long_path);
    assert_int_equal(prefixes_load(list, 1, &set, &err), ERR_PARSE);
    unlink(long_path);
}

/* A table of 100 000 prefixes, half of them in reach: the figure is printed, the bound is generous because
 * machines differ, and far below what one system call costs. */
static void test_a_hundred_thousand(void **state)
{
    (void)state;
    enum { PREFIXES = 100000, LOOKS = 2000000 };
    struct random_state random;
    struct prefixes *set;
    struct prefix *list = calloc(PREFIXES, sizeof(*list));
    assert_non_null(list);
    random_seed(&random, 7);
    for (size_t i = 0; i < PREFIXES; i++) {
        uint64_t bits = random_next(&random);
        list[i] = (struct prefix){.ip = {.family = i % 10 == 0 ? 6 : 4}, .bits = i % 10 == 0 ? 48 : 24};
        memcpy(list[i].ip.bytes, &bits, sizeof(bits));
        addr_ip_mask(&list[i].ip, 24, 48);
    }
    uint64_t began_us = clock_mono_us();
    assert_int_equal(prefixes_create(list, PREFIXES, &set, NULL), 0);
    uint64_t built_us = clock_mono_us();
    uint64_t found = 0;
    for (int i = 0; i < LOOKS; i++) {
        uint64_t bits = random_next(&random);
        struct addr_ip ip = {.family = 4};
        memcpy(ip.bytes, &bits, 4);
        found += prefixes_contain(set, &ip);
    }
    uint64_t looked_us = clock_mono_us();
    print_message("%d prefixes: built in %.1f ms, %.1f ns a look-up (%.2f %% inside)\n", PREFIXES,
                  (double)(built_us - began_us) / 1e3, (double)(looked_us - built_us) * 1e3 / LOOKS,
                  100.0 * (double)found / LOOKS);
    assert_true((looked_us - built_us) * 1000 / LOOKS < 2000);
    assert_true(found > 0);
    prefixes_destroy(set);
    free(list);
}

/* A pipe would hold the reader for as long as nobody writes to it. */
static void a_pipe_is_refused(void **state)
{
    char folder[] = "/tmp/shunt-prefixes-XXXXXX";
    char path[64];
    char text[sizeof(path) + 1];
    const char *list[] = {text};
    struct prefixes *set = NULL;
    struct err_text err;
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/list", folder);
    (void)snprintf(text, sizeof(text), "@%s", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(prefixes_load(list, 1, &set, &err), ERR_SYSTEM);
    assert_non_null(strstr(err.text, "is a pipe"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_text_refused),
        cmocka_unit_test(test_edges_of_ranges),
        cmocka_unit_test(test_everything_and_nothing),
        cmocka_unit_test(test_against_a_walk),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_file_with_a_fault),
        cmocka_unit_test(a_pipe_is_refused),
        cmocka_unit_test(test_a_hundred_thousand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
