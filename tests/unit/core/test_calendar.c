/*
 * Time zones against the C library for a hundred and fifty years, damaged files, windows of the week with
 * their edges, and what is refused.
 */
#include "core/calendar.h"
#include "core/clock.h"
#include "core/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const char *const names[] = {"Europe/Berlin",
                                    "America/New_York",
                                    "Asia/Kolkata",
                                    "Australia/Lord_Howe",
                                    "America/Santiago",
                                    "Africa/Casablanca",
                                    "Pacific/Auckland",
                                    "Asia/Tokyo",
                                    "America/Nuuk",
                                    "Europe/Dublin",
                                    "UTC"};

static struct zone *load(const char *name)
{
    struct zone *zone = NULL;
    struct err_text err = {""};

    if (zone_load(name, &zone, &err) != 0) {
        fail_msg("%s: %s", name, err.text);
    }
    return zone;
}

static void offsets_are_those_of_the_library(void **state)
{
    struct random_state random;

    (void)state;
    random_seed(&random, 7);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct zone *zone = load(names[i]);

        setenv("TZ", names[i], 1);
        tzset();
        for (int n = 0; n < 20000; n++) {
            time_t at = (time_t)random_below(&random, UINT32_MAX) - 500000000;
            struct tm tm;

            assert_non_null(localtime_r(&at, &tm));
            if (zone_offset_s(zone, at) != tm.tm_gmtoff) {
                fail_msg("%s at %lld: %d, the library says %ld", names[i], (long long)at,
                         zone_offset_s(zone, at), tm.tm_gmtoff);
            }
        }
        zone_destroy(zone);
    }
    unsetenv("TZ");
    tzset();
}

static void names_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {"",    "/etc/passwd", "../../../etc/passwd", "Europe/Nowhere", "Europe",
                                      "a b", "CET\n"};
    struct zone *zone = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err_text err = {""};

        assert_true(zone_load(bad[i], &zone, &err) < 0);
        assert_true(err.text[0] != '\0');
    }
    assert_null(zone);
}

/* A file cut anywhere, or with any byte changed, is read or refused, and what was read answers. */
static void damaged_files_do_no_harm(void **state)
{
    static unsigned char bytes[8192];
    static unsigned char copy[8192];
    FILE *in = fopen("/usr/share/zoneinfo/Europe/Berlin", "re");
    struct random_state random;
    size_t len;

    (void)state;
    assert_non_null(in);
    len = fread(bytes, 1, sizeof(bytes), in);
    fclose(in);
    random_seed(&random, 3);
    for (size_t i = 0; i < len + 20000; i++) {
        struct zone *zone = NULL;
        size_t part = i < len ? i : len;

        memcpy(copy, bytes, len);
        if (i >= len) {
            copy[random_below(&random, (uint32_t)len)] = (unsigned char)random_below(&random, 256);
        }
        if (zone_parse(copy, part, &zone, NULL) == 0) {
            assert_in_range(zone_offset_s(zone, 1800000000) + 200000, 0, 400000);
            zone_destroy(zone);
        }
    }
}

/* Wall time of a text in UTC. */
static uint64_t at(const char *text)
{
    struct tm tm = {0};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &tm));
    return (uint64_t)timegm(&tm) * CLOCK_US_PER_S;
}

static struct calendar_window window_of(const char *between, const char *weekdays)
{
    struct calendar_window window;
    struct err_text err = {""};

    if (calendar_parse(between, weekdays, &window, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return window;
}

static void windows_open_and_close_to_the_minute(void **state)
{
    static const struct {
        const char *between, *weekdays, *zone, *when;
        bool open;
        const char *next;
    } cases[] = {
        /* 2026-01-30 is a Friday */
        {"09:00-17:00", "mon-fri", "UTC", "2026-01-30 08:59", false, "2026-01-30 09:00"},
        {"09:00-17:00", "mon-fri", "UTC", "2026-01-30 09:00", true, "2026-01-30 09:00"},
        {"09:00-17:00", "mon-fri", "UTC", "2026-01-30 16:59", true, "2026-01-30 16:59"},
        {"09:00-17:00", "mon-fri", "UTC", "2026-01-30 17:00", false, "2026-02-02 09:00"},
        {"09:00-17:00", "mon-fri", "Europe/Berlin", "2026-01-30 08:00", true, "2026-01-30 08:00"},
        {"09:00-17:00", "mon-fri", "Europe/Berlin", "2026-07-31 15:00", false, "2026-08-03 07:00"},
        {"09:00-17:00", "mon-fri", "America/New_York", "2026-01-30 14:00", true, "2026-01-30 14:00"},
        {"22:00-06:00", "fri", "UTC", "2026-01-30 23:00", true, "2026-01-30 23:00"},
        {"22:00-06:00", "fri", "UTC", "2026-01-31 05:59", true, "2026-01-31 05:59"},
        {"22:00-06:00", "fri", "UTC", "2026-01-31 06:00", false, "2026-02-06 22:00"},
        {"22:00-06:00", "fri", "UTC", "2026-01-31 23:00", false, "2026-02-06 22:00"},
        {"00:00-24:00", "sat-mon", "UTC", "2026-01-30 23:59", false, "2026-01-31 00:00"},
        {NULL, "Sun, tue", "UTC", "2026-01-30 23:59", false, "2026-02-01 00:00"},
        {"09:00-17:00", NULL, "UTC", "2026-01-31 12:00", true, "2026-01-31 12:00"},
        /* the hour that does not exist: 2:00 to 3:00 on 2026-03-29 in Berlin */
        {"02:15-02:45", NULL, "Europe/Berlin", "2026-03-29 01:00", false, "2026-03-30 00:15"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct calendar_window window = window_of(cases[i].between, cases[i].weekdays);
        struct zone *zone = load(cases[i].zone);

        assert_int_equal(calendar_is_open(&window, zone, at(cases[i].when)), cases[i].open);
        assert_true(calendar_next_open_us(&window, zone, at(cases[i].when)) == at(cases[i].next));
        zone_destroy(zone);
    }
}

static void what_is_no_window_is_refused(void **state)
{
    static const char *const spans[] = {"",
                                        "9-17",
                                        "09:00",
                                        "09:00-",
                                        "09:00-09:00",
                                        "25:00-26:00",
                                        "09:60-10:00",
                                        "24:00-01:00",
                                        "09:00-17:00x",
                                        "09:00 17:00",
                                        "ab:cd-ef:gh"};
    static const char *const days[] = {"", "mo", "mon-", "mon,", "monday", "mon fri", "mon-fri;", "1-5"};
    struct calendar_window window;

    (void)state;
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
        assert_int_equal(calendar_parse(spans[i], NULL, &window, NULL), ERR_PARSE);
    }
    for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
        assert_int_equal(calendar_parse(NULL, days[i], &window, NULL), ERR_PARSE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_are_those_of_the_library),
        cmocka_unit_test(names_that_are_none_are_refused),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(windows_open_and_close_to_the_minute),
        cmocka_unit_test(what_is_no_window_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
