/* Host names against names in certificates: exact before wildcard, one label for a star, bytes no name has.
 */
#include "proxy/tls_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void names_become_comparable(void **state)
{
    (void)state;
    char out[TLS_NAMES_MAX + 1];
    assert_true(tls_names_normalize("Web.EXAMPLE.", strlen("Web.EXAMPLE."), out));
    assert_string_equal(out, "web.example");
    assert_true(tls_names_normalize("*.a-b_c.1", strlen("*.a-b_c.1"), out));
    assert_string_equal(out, "*.a-b_c.1");
    assert_false(tls_names_normalize("", 0, out));
    assert_false(tls_names_normalize(".", 1, out));
    assert_false(tls_names_normalize(".a", 2, out));
    assert_false(tls_names_normalize("a b", 3, out));
    assert_false(tls_names_normalize("good.example\0.evil", sizeof("good.example\0.evil") - 1, out));
    char longest[TLS_NAMES_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    assert_true(tls_names_normalize(longest, TLS_NAMES_MAX, out));
    assert_false(tls_names_normalize(longest, TLS_NAMES_MAX + 1, out));
}

/* The values found for a host, in order, as text. */
static const char *found(const struct tls_names *names, const char *host)
{
    static char text[64];
    size_t first = 0;
    size_t n = tls_names_find(names, host, &first);
    text[0] = '\0';
    for (size_t i = 0; i < n && names->list != NULL; i++) {
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", i > 0 ? " " : "",
                       names->list[first + i].value);
    }
    return text;
}

static void exact_before_wildcard(void **state)
{
    (void)state;
    struct tls_names names = {.len = 0};
    static const struct {
        const char *name;
        uint32_t value;
    } all[] = {{"b.example", 5}, {"*.example", 2},   {"a.example", 3},          {"a.example", 1},
               {"example", 4},   {"*.a.example", 6}, {"*.deep.down.example", 7}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        assert_int_equal(tls_names_add(&names, all[i].name, all[i].value), 0);
    }
    tls_names_sort(&names);
    assert_string_equal(found(&names, "a.example"), "1 3");
    assert_string_equal(found(&names, "b.example"), "5");
    assert_string_equal(found(&names, "c.example"), "2");
    assert_string_equal(found(&names, "x.a.example"), "6");
    assert_string_equal(found(&names, "x.b.example"), ""); /* a star is one label */
    assert_string_equal(found(&names, "example"), "4");
    assert_string_equal(found(&names, "other"), "");
    assert_string_equal(found(&names, ""), "");
    assert_string_equal(found(&names, "*.example"), ""); /* no host is called so */
    assert_string_equal(found(&names, "x.deep.down.example"), "7");
    tls_names_clear(&names);
}

static void a_long_host_is_looked_for_too(void **state)
{
    (void)state;
    struct tls_names names = {.len = 0};
    char host[TLS_NAMES_MAX + 1];
    memset(host, 'a', TLS_NAMES_MAX);
    host[TLS_NAMES_MAX] = '\0';
    assert_string_equal(found(&names, host), "");
    host[1] = '.';
    assert_int_equal(tls_names_add(&names, "*.b", 1), 0);
    tls_names_sort(&names);
    assert_string_equal(found(&names, host), "");
    tls_names_clear(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_become_comparable),
                                       cmocka_unit_test(exact_before_wildcard),
                                       cmocka_unit_test(a_long_host_is_looked_for_too)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
