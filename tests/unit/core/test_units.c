/* Durations, shares, sizes and counts as operators write them; the nearest name. */
#include "core/units.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define UNTOUCHED 4711u

static void durations(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t us;
    } cases[] = {
        {"0", ERR_OK, 0},
        {"0s", ERR_OK, 0},
        {"500us", ERR_OK, 500},
        {"500ms", ERR_OK, 500000},
        {"2s", ERR_OK, 2000000},
        {"1.5s", ERR_OK, 1500000},
        {"0.000001s", ERR_OK, 1},
        {"5m", ERR_OK, 300000000},
        {"1h", ERR_OK, UINT64_C(3600000000)},
        {"2d", ERR_OK, UINT64_C(172800000000)},
        {"1h30m", ERR_OK, UINT64_C(5400000000)},
        {"1d2h3m4s5ms6us", ERR_OK, UINT64_C(93784005006)},
        {"1m90s", ERR_OK, 150000000},
        {"1h0.5m", ERR_OK, UINT64_C(3630000000)},
        {"36500d", ERR_OK, UINT64_C(3153600000000000)},
        {"36501d", ERR_RANGE, 0},
        {"36500d1us", ERR_RANGE, 0},
        {"99999999999999999999999s", ERR_RANGE, 0},
        {"99999999999999999999999s?", ERR_PARSE, 0},
        {"", ERR_PARSE, 0},
        {"1", ERR_PARSE, 0},
        {"s", ERR_PARSE, 0},
        {"00", ERR_PARSE, 0},
        {"-1s", ERR_PARSE, 0},
        {"+1s", ERR_PARSE, 0},
        {" 1s", ERR_PARSE, 0},
        {"1s ", ERR_PARSE, 0},
        {"1 s", ERR_PARSE, 0},
        {"1S", ERR_PARSE, 0},
        {"1sec", ERR_PARSE, 0},
        {"1w", ERR_PARSE, 0},
        {"1.s", ERR_PARSE, 0},
        {".5s", ERR_PARSE, 0},
        {"1.5", ERR_PARSE, 0},
        {"1.5h30m", ERR_PARSE, 0},
        {"0.5us", ERR_PARSE, 0},
        {"0.0000001s", ERR_PARSE, 0},
        {"0.99999999999999999999d", ERR_PARSE, 0},
        {"30m1h", ERR_PARSE, 0},
        {"1m1m", ERR_PARSE, 0},
        {"1h30", ERR_PARSE, 0},
        {"1,5s", ERR_PARSE, 0},
        {"never", ERR_PARSE, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t us = UNTOUCHED;
        int rc = units_parse_duration(cases[i].text, &us);
        if (rc != cases[i].rc) {
            print_error("%s\n", cases[i].text);
        }
        assert_int_equal(rc, cases[i].rc);
        assert_int_equal(us, cases[i].rc ? UNTOUCHED : cases[i].us);
    }
}

static void shares(void **state)
{
    static const struct {
        const char *text;
        int rc, rc_optional;
        uint32_t bp;
    } cases[] = {
        {"25%", ERR_OK, ERR_OK, 2500},
        {"0%", ERR_OK, ERR_OK, 0},
        {"100%", ERR_OK, ERR_OK, 10000},
        {"100.00%", ERR_OK, ERR_OK, 10000},
        {"0.25%", ERR_OK, ERR_OK, 25},
        {"0.01%", ERR_OK, ERR_OK, 1},
        {"23.1%", ERR_OK, ERR_OK, 2310},
        {"007%", ERR_OK, ERR_OK, 700},
        {"25", ERR_PARSE, ERR_OK, 2500},
        {"0.25", ERR_PARSE, ERR_OK, 25},
        {"100.01%", ERR_RANGE, ERR_RANGE, 0},
        {"101%", ERR_RANGE, ERR_RANGE, 0},
        {"18446744073709551617%", ERR_RANGE, ERR_RANGE, 0},
        {"0.001%", ERR_PARSE, ERR_PARSE, 0},
        {"0.000%", ERR_PARSE, ERR_PARSE, 0},
        {"-1%", ERR_PARSE, ERR_PARSE, 0},
        {"%", ERR_PARSE, ERR_PARSE, 0},
        {"", ERR_PARSE, ERR_PARSE, 0},
        {".5%", ERR_PARSE, ERR_PARSE, 0},
        {"5.%", ERR_PARSE, ERR_PARSE, 0},
        {"5 %", ERR_PARSE, ERR_PARSE, 0},
        {"5%%", ERR_PARSE, ERR_PARSE, 0},
        {"1e1%", ERR_PARSE, ERR_PARSE, 0},
        {"nan%", ERR_PARSE, ERR_PARSE, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t bp = UNTOUCHED;
        assert_int_equal(units_parse_share(cases[i].text, 0, &bp), cases[i].rc);
        assert_int_equal(bp, cases[i].rc ? UNTOUCHED : cases[i].bp);
        bp = UNTOUCHED;
        assert_int_equal(units_parse_share(cases[i].text, 1, &bp), cases[i].rc_optional);
        assert_int_equal(bp, cases[i].rc_optional ? UNTOUCHED : cases[i].bp);
    }
}

static void every_share_survives_text(void **state)
{
    (void)state;
    for (uint32_t bp = 0; bp <= UNITS_BP_FULL; bp++) {
        char text[16];
        uint32_t again = UNTOUCHED;
        units_format_share(bp, text, sizeof(text));
        assert_int_equal(units_parse_share(text, 0, &again), ERR_OK);
        assert_int_equal(again, bp);
    }
    char text[16];
    units_format_share(2310, text, sizeof(text));
    assert_string_equal(text, "23.1%");
    units_format_share(25, text, sizeof(text));
    assert_string_equal(text, "0.25%");
    units_format_share(1, text, sizeof(text));
    assert_string_equal(text, "0.01%");
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t bytes;
    } cases[] = {
        {"0", ERR_OK, 0},
        {"65536", ERR_OK, 65536},
        {"64KiB", ERR_OK, 65536},
        {"1MiB", ERR_OK, 1048576},
        {"2GiB", ERR_OK, UINT64_C(2147483648)},
        {"18446744073709551615", ERR_OK, UINT64_MAX},
        {"18446744073709551616", ERR_RANGE, 0},
        {"16777216TiB", ERR_RANGE, 0},
        {"18014398509481983KiB", ERR_OK, UINT64_MAX - 1023},
        {"18014398509481984KiB", ERR_RANGE, 0},
        {"64K", ERR_PARSE, 0},
        {"64kib", ERR_PARSE, 0},
        {"64 KiB", ERR_PARSE, 0},
        {"1.5MiB", ERR_PARSE, 0},
        {"-1", ERR_PARSE, 0},
        {"", ERR_PARSE, 0},
        {"KiB", ERR_PARSE, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t bytes = UNTOUCHED;
        assert_int_equal(units_parse_size(cases[i].text, &bytes), cases[i].rc);
        assert_int_equal(bytes, cases[i].rc ? UNTOUCHED : cases[i].bytes);
    }
}

static void counts(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        int rc;
        uint64_t value;
    } cases[] = {
        {"0", 0, ERR_OK, 0},
        {"1", 0, ERR_RANGE, 0},
        {"65535", 65535, ERR_OK, 65535},
        {"65536", 65535, ERR_RANGE, 0},
        {"0065535", 65535, ERR_OK, 65535},
        {"7", 5, ERR_RANGE, 0},
        {"18446744073709551615", UINT64_MAX, ERR_OK, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, ERR_RANGE, 0},
        {"99999999999999999999", UINT64_MAX, ERR_RANGE, 0},
        {"-1", 10, ERR_PARSE, 0},
        {"0x1", 10, ERR_PARSE, 0},
        {"1 ", 10, ERR_PARSE, 0},
        {"", 10, ERR_PARSE, 0},
        {"99x", 10, ERR_PARSE, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t value = UNTOUCHED;
        assert_int_equal(units_parse_count(cases[i].text, cases[i].max, &value), cases[i].rc);
        assert_int_equal(value, cases[i].rc ? UNTOUCHED : cases[i].value);
    }
}

static void the_nearest_name_is_suggested(void **state)
{
    static const char *const names[] = {"type", "interval", "timeout", NULL, "rise", "fall", "hold", ""};
    size_t n = sizeof(names) / sizeof(names[0]);
    char long_name[200];
    (void)state;
    assert_string_equal(units_nearest("intreval", names, n), "interval"); /* neighbours swapped */
    assert_string_equal(units_nearest("interva", names, n), "interval");
    assert_string_equal(units_nearest("intervall", names, n), "interval");
    assert_string_equal(units_nearest("time_out", names, n), "timeout");
    assert_string_equal(units_nearest("rsie", names, n), "rise");
    assert_string_equal(units_nearest("rise", names, n), "rise");
    assert_null(units_nearest("certificate", names, n));
    assert_null(units_nearest("x", names, n));
    assert_null(units_nearest("", (const char *const[]){"7"}, 1));
    assert_null(units_nearest("b", (const char *const[]){"7"}, 1));
    assert_null(units_nearest("", names, n));
    assert_null(units_nearest("rise", NULL, 0));
    memset(long_name, 'a', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    assert_null(units_nearest(long_name, names, n));
}

static void rates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        uint64_t rate;
    } cases[] = {{"100/s", ERR_OK, UNITS_RATE(100, 1)},
                 {"600/m", ERR_OK, UNITS_RATE(600, 60)},
                 {"1/h", ERR_OK, UNITS_RATE(1, 3600)},
                 {"0/s", ERR_OK, UNITS_RATE(0, 1)},
                 {"1000000000/s", ERR_OK, UNITS_RATE(1000000000, 1)},
                 {"1000000001/s", ERR_RANGE, 7},
                 {"99999999999999999999999/s", ERR_RANGE, 7},
                 {"100", ERR_PARSE, 7},
                 {"100/", ERR_PARSE, 7},
                 {"100/d", ERR_PARSE, 7},
                 {"100 /s", ERR_PARSE, 7},
                 {"/s", ERR_PARSE, 7},
                 {"-1/s", ERR_PARSE, 7},
                 {"", ERR_PARSE, 7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t rate = 7;
        char shown[32];
        assert_int_equal(units_parse_rate(cases[i].text, &rate), cases[i].rc);
        assert_int_equal(rate, cases[i].rate);
        if (cases[i].rc == ERR_OK) {
            units_format_rate(rate, shown, sizeof shown);
            assert_string_equal(shown, cases[i].text);
        }
    }
}

static void speeds(void **state)
{
    (void)state;
    uint64_t bytes = 7;
    assert_int_equal(units_parse_speed("1MiB/s", &bytes), ERR_OK);
    assert_int_equal(bytes, 1048576);
    assert_int_equal(units_parse_speed("5000/s", &bytes), ERR_OK);
    assert_int_equal(bytes, 5000);
    static const char *const wrong[] = {
        "1MiB", "/s", "1MiB/m", "1Mbit/s", "s", "", "100000000000000000000000000000000000000/s"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(units_parse_speed(wrong[i], &bytes), ERR_PARSE);
        assert_int_equal(bytes, 5000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(shares),
        cmocka_unit_test(every_share_survives_text),
        cmocka_unit_test(sizes),
        cmocka_unit_test(counts),
        cmocka_unit_test(rates),
        cmocka_unit_test(speeds),
        cmocka_unit_test(the_nearest_name_is_suggested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
