/*
 * Reads the two clocks and writes times as people read them. Any thread.
 * Whoever decides something by time gets it as an argument and does not call this.
 */
#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static uint64_t clock_read_us(clockid_t id)
{
    struct timespec now = {0};
    (void)clock_gettime(id, &now); /* cannot fail for these two clocks */
    return (uint64_t)now.tv_sec * CLOCK_US_PER_S + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t clock_mono_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_us(void)
{
    return clock_read_us(CLOCK_REALTIME);
}

void clock_format_wall(uint64_t wall_us, char *out, size_t out_size)
{
    time_t seconds = (time_t)(wall_us / CLOCK_US_PER_S);
    unsigned ms = (unsigned)(wall_us % CLOCK_US_PER_S / CLOCK_US_PER_MS);
    struct tm tm = {0};
    if (!gmtime_r(&seconds, &tm)) {
        tm = (struct tm){.tm_mday = 1, .tm_year = 70};
    }
    (void)snprintf(out, out_size, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1,
                   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ms);
}

/* Writes value / 10 with one decimal, none when that is 0. */
static void format_tenths(uint64_t tenths, const char *unit, char *out, size_t out_size)
{
    if (tenths % 10 == 0) {
        (void)snprintf(out, out_size, "%" PRIu64 "%s", tenths / 10, unit);
    } else {
        (void)snprintf(out, out_size, "%" PRIu64 ".%" PRIu64 "%s", tenths / 10, tenths % 10, unit);
    }
}

/* Writes total as "BIGbigSMALLsmall", the second part left out when it is 0. */
static void format_pair(uint64_t total, uint64_t small_per_big, const char *big, const char *small, char *out,
                        size_t out_size)
{
    if (total % small_per_big == 0) {
        (void)snprintf(out, out_size, "%" PRIu64 "%s", total / small_per_big, big);
    } else {
        (void)snprintf(out, out_size, "%" PRIu64 "%s%" PRIu64 "%s", total / small_per_big, big,
                       total % small_per_big, small);
    }
}

/* value / unit to the nearest; no overflow for large values. */
static uint64_t divide_rounded(uint64_t value, uint64_t unit)
{
    return value / unit + (value % unit >= unit - unit / 2 ? 1 : 0);
}

/* The unit is chosen after rounding, so that 59.96 s becomes "1m" and not "60s". */
void clock_format_duration(uint64_t duration_us, char *out, size_t out_size)
{
    uint64_t seconds = divide_rounded(duration_us, CLOCK_US_PER_S);
    uint64_t minutes = divide_rounded(duration_us, 60 * CLOCK_US_PER_S);
    if (duration_us == CLOCK_NEVER) {
        (void)snprintf(out, out_size, "never");
    } else if (duration_us == 0) {
        (void)snprintf(out, out_size, "0s");
    } else if (duration_us < CLOCK_US_PER_MS) {
        (void)snprintf(out, out_size, "%" PRIu64 "us", duration_us);
    } else if (duration_us < 10 * CLOCK_US_PER_MS - 50) {
        format_tenths(divide_rounded(duration_us, 100), "ms", out, out_size);
    } else if (divide_rounded(duration_us, CLOCK_US_PER_MS) < 1000) {
        format_tenths(divide_rounded(duration_us, CLOCK_US_PER_MS) * 10, "ms", out, out_size);
    } else if (divide_rounded(duration_us, 100 * CLOCK_US_PER_MS) < 100) {
        format_tenths(divide_rounded(duration_us, 100 * CLOCK_US_PER_MS), "s", out, out_size);
    } else if (seconds < 60) {
        format_tenths(seconds * 10, "s", out, out_size);
    } else if (seconds < 3600) {
        format_pair(seconds, 60, "m", "s", out, out_size);
    } else if (minutes < 1440) {
        format_pair(minutes, 60, "h", "m", out, out_size);
    } else {
        format_pair(divide_rounded(duration_us, 3600 * CLOCK_US_PER_S), 24, "d", "h", out, out_size);
    }
}
