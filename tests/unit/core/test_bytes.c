/* Escapes both ways, and lists of ranges. */
#include "core/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void escapes_are_expanded(void **state)
{
    (void)state;
    uint8_t out[16];
    size_t len = 0;
    assert_int_equal(bytes_unescape("a\\r\\n\\t\\0\\\\\\\"\\x7f\\xA0", out, sizeof(out), &len), 0);
    assert_int_equal(len, 9);
    assert_memory_equal(out, "a\r\n\t\0\\\"\x7f\xa0", 9);
    assert_int_equal(bytes_unescape("", out, sizeof(out), &len), 0);
    assert_int_equal(len, 0);
    assert_int_equal(bytes_unescape("abc", NULL, 0, &len), 0);
    assert_int_equal(len, 3);
    assert_int_equal(bytes_unescape("abc", out, 2, &len), ERR_LIMIT);
    static const char *const wrong[] = {"\\", "\\q", "\\x", "\\x1", "\\xg0", "\\x0g", "a\\"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(bytes_unescape(wrong[i], out, sizeof(out), &len), ERR_PARSE);
    }
}

static void bytes_are_made_printable(void **state)
{
    (void)state;
    char out[64];
    bytes_escape("a\r\n\t\0\\\x1b\xff z", 10, out, sizeof(out));
    assert_string_equal(out, "a\\r\\n\\t\\x00\\\\\\x1b\\xff z");
    bytes_escape("", 0, out, sizeof(out));
    assert_string_equal(out, "");
    bytes_escape("12345678", 8, out, 9);
    assert_string_equal(out, "12345678");
    bytes_escape("123456789", 9, out, 9);
    assert_string_equal(out, "12345...");
    for (size_t size = 8; size < 40; size++) {
        memset(out, 'x', sizeof(out));
        bytes_escape("\x01\x02\x03\x04\x05\x06\x07\x08", 8, out, size);
        assert_true(strlen(out) < size);
        assert_int_equal(out[size], 'x');
    }
}

/* What was escaped comes back, for every byte. */
static void there_and_back(void **state)
{
    (void)state;
    uint8_t all[256];
    uint8_t back[256];
    char text[2048];
    size_t len = 0;
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (uint8_t)i;
    }
    bytes_escape(all, sizeof(all), text, sizeof(text));
    assert_int_equal(bytes_unescape(text, back, sizeof(back), &len), 0);
    assert_int_equal(len, sizeof(all));
    assert_memory_equal(all, back, sizeof(all));
}

static void ranges(void **state)
{
    (void)state;
    struct bytes_ranges list;
    assert_int_equal(bytes_ranges_parse("200-299, 304,400-400", 100, 599, &list), 0);
    assert_int_equal(list.len, 3);
    static const uint32_t in[] = {200, 250, 299, 304, 400};
    static const uint32_t out[] = {0, 199, 300, 303, 305, 399, 401};
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
        assert_true(bytes_ranges_have(&list, in[i]));
    }
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++) {
        assert_false(bytes_ranges_have(&list, out[i]));
    }
    static const char *const wrong[] = {"", "x", "200-", "-200", "200,", ",", "200--300", "200 0", "200;300"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(bytes_ranges_parse(wrong[i], 100, 599, &list), ERR_PARSE);
    }
    assert_int_equal(bytes_ranges_parse("300-200", 100, 599, &list), ERR_RANGE);
    assert_int_equal(bytes_ranges_parse("99", 100, 599, &list), ERR_RANGE);
    assert_int_equal(bytes_ranges_parse("100-600", 100, 599, &list), ERR_RANGE);
    assert_int_equal(bytes_ranges_parse("101,101,101,101,101,101,101,101,101,101,101,101,101,101,101,101,101",
                                        100, 599, &list),
                     ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_are_expanded),
        cmocka_unit_test(bytes_are_made_printable),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
