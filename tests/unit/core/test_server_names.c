/* Names and wildcards: the most specific one counts, whatever the order they were written in. */
#include "core/server_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void test_the_most_specific_counts(void **state)
{
    (void)state;
    static const char *const texts[] = {"*.example.com", "DB.example.com.", "*.eu.example.com",
                                        "*.com",         "example.com",     "*.db.example.com"};
    static const struct {
        const char *name;
        size_t place;
    } cases[] = {{"db.example.com", 1},      {"a.example.com", 0},
                 {"a.b.example.com", 0},     {"a.eu.example.com", 2},
                 {"a.b.eu.example.com", 2},  {"eu.example.com", 0},
                 {"example.com", 4},         {"other.com", 3},
                 {"com", SERVER_NAMES_NONE}, {"a.db.example.com", 5},
                 {"", SERVER_NAMES_NONE},    {"example.org", SERVER_NAMES_NONE},
                 {"xexample.com", 3},        {"db.example.comx", SERVER_NAMES_NONE}};
    struct server_names *names = NULL;
    struct err_text err;
    assert_int_equal(server_names_create(texts, sizeof(texts) / sizeof(texts[0]), &names, &err), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(server_names_find(names, cases[i].name), cases[i].place);
    }
    assert_int_equal(server_names_find(NULL, "a"), SERVER_NAMES_NONE);
    server_names_destroy(names);
}

static void test_what_is_no_name(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",    "*",   "*.",      ".",    "..",  "a..b",  ".a",       "a b",
                                        "a/b", "a:1", "a.*.com", "*a.b", "**.", "*.*.a", "b\xc3\xbc"};
    static const char *const right[] = {"a",      "a.b", "A.b.", "*.a", "_x.y", "xn--bcher-kva.example",
                                        "1.2.3.4"};
    char name[SERVER_NAMES_TEXT_MAX + 2];
    struct err_text err;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(server_name_check(wrong[i], &err), ERR_PARSE);
    }
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        assert_int_equal(server_name_check(right[i], &err), 0);
    }
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(server_name_check(name, &err), ERR_PARSE);
    assert_int_equal(server_name_check(name + 1, &err), 0);
}

static void test_twice(void **state)
{
    (void)state;
    static const char *const texts[] = {"a.b", "c", "A.B."};
    static const char *const apart[] = {"*.a.b", "a.b"};
    struct server_names *names = NULL;
    struct err_text err;
    assert_int_equal(server_names_create(texts, 3, &names, &err), ERR_EXISTS);
    assert_non_null(strstr(err.text, "twice"));
    assert_int_equal(server_names_create(apart, 2, &names, &err), 0);
    server_names_destroy(names);
}

static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    static char texts[COUNT][32];
    static const char *list[COUNT];
    struct server_names *names = NULL;
    struct err_text err;
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "host-%d.example.com", i);
        list[i] = texts[i];
    }
    assert_int_equal(server_names_create(list, COUNT, &names, &err), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(server_names_find(names, list[i]), i);
    }
    assert_int_equal(server_names_find(names, "host-10000.example.com"), SERVER_NAMES_NONE);
    server_names_destroy(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_most_specific_counts),
        cmocka_unit_test(test_what_is_no_name),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
