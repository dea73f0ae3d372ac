/* Times as text, and the clocks' direction. */
#include "core/clock.h"
#include "core/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void wall_time_is_rfc3339_in_utc(void **state)
{
    char text[32];
    (void)state;
    clock_format_wall(0, text, sizeof(text));
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format_wall(UINT64_C(1769860800123999), text, sizeof(text));
    assert_string_equal(text, "2026-01-31T12:00:00.123Z");
    clock_format_wall(UINT64_C(951782400000000), text, sizeof(text)); /* a leap day */
    assert_string_equal(text, "2000-02-29T00:00:00.000Z");
}

static void a_text_that_does_not_fit_is_cut(void **state)
{
    char text[5];
    (void)state;
    clock_format_wall(0, text, sizeof(text));
    assert_string_equal(text, "1970");
    clock_format_duration(CLOCK_NEVER, text, sizeof(text));
    assert_string_equal(text, "neve");
}

static void durations_read_well(void **state)
{
    static const struct {
        uint64_t us;
        const char *text;
    } cases[] = {
        {0, "0s"},
        {1, "1us"},
        {350, "350us"},
        {999, "999us"},
        {1000, "1ms"},
        {1500, "1.5ms"},
        {9949, "9.9ms"},
        {9950, "10ms"},
        {12000, "12ms"},
        {500000, "500ms"},
        {999499, "999ms"},
        {999500, "1s"},
        {2500000, "2.5s"},
        {9949999, "9.9s"},
        {9950000, "10s"},
        {59499999, "59s"},
        {59500000, "1m"},
        {60000000, "1m"},
        {190000000, "3m10s"},
        {UINT64_C(3599500000), "1h"},
        {UINT64_C(3900000000), "1h5m"},
        {UINT64_C(86399999999), "1d"},
        {UINT64_C(183600000000), "2d3h"},
        {CLOCK_NEVER - 1, "213503982d8h"},
        {CLOCK_NEVER, "never"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[32];
        clock_format_duration(cases[i].us, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
}

/* What is written can be read again, and differs by no more than the rounding shown. */
static void durations_can_be_read_again(void **state)
{
    (void)state;
    for (uint64_t us = 1; us < UINT64_C(400) * 86400 * CLOCK_US_PER_S; us += us / 7 + 1) {
        char text[32];
        uint64_t again = 0;
        clock_format_duration(us, text, sizeof(text));
        assert_int_equal(units_parse_duration(text, &again), ERR_OK);
        uint64_t error = again > us ? again - us : us - again;
        assert_true(error <= us / 18);
    }
}

static void the_clocks_run_forward(void **state)
{
    (void)state;
    uint64_t before = clock_mono_us();
    assert_true(clock_mono_us() >= before);
    assert_true(clock_wall_us() > UINT64_C(1700000000) * CLOCK_US_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wall_time_is_rfc3339_in_utc), cmocka_unit_test(a_text_that_does_not_fit_is_cut),
        cmocka_unit_test(durations_read_well),         cmocka_unit_test(durations_can_be_read_again),
        cmocka_unit_test(the_clocks_run_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
