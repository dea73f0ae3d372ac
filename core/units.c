/*
 * Text to number for what operators write, and the nearest known name for a misspelt one. Pure; any thread.
 * Messages and limits that depend on a setting are the caller's.
 */
#include "core/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Longer durations are mistakes; the bound also keeps sums of times from overflowing. */
#define DURATION_MAX_US (UINT64_C(36500) * 86400 * 1000000)
/* Names longer than this get no suggestion. */
#define NEAREST_LENGTH_MAX 64

/* isdigit without the locale. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/*
 * Reads decimal digits at *cursor and moves it behind them. ERR_PARSE without a digit; ERR_RANGE above max,
 * also then the cursor is moved, so that the caller can tell bad text from a number too large.
 */
static int read_digits(const char **cursor, uint64_t max, uint64_t *out)
{
    const char *p = *cursor;
    uint64_t value = 0;
    bool too_large = false;
    if (!is_digit(*p)) {
        return ERR_PARSE;
    }
    for (; is_digit(*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (too_large || digit > max || value > (max - digit) / 10) {
            too_large = true;
            continue;
        }
        value = value * 10 + digit;
    }
    *cursor = p;
    *out = value;
    return too_large ? ERR_RANGE : ERR_OK;
}

struct unit {
    const char *name;
    uint64_t us;
};

/* In falling order. The whole run of letters is compared, so "m" is not mistaken for "ms". */
static const struct unit duration_units[] = {{"d", UINT64_C(86400000000)},
                                             {"h", UINT64_C(3600000000)},
                                             {"m", 60000000},
                                             {"s", 1000000},
                                             {"ms", 1000},
                                             {"us", 1}};
#define DURATION_UNITS (sizeof(duration_units) / sizeof(duration_units[0]))

/* Reads the letters at *cursor. Returns the index of the unit, or DURATION_UNITS. */
static size_t read_duration_unit(const char **cursor)
{
    size_t len = 0;
    while ((*cursor)[len] >= 'a' && (*cursor)[len] <= 'z') {
        len++;
    }
    for (size_t i = 0; i < DURATION_UNITS; i++) {
        if (strlen(duration_units[i].name) == len && memcmp(*cursor, duration_units[i].name, len) == 0) {
            *cursor += len;
            return i;
        }
    }
    return DURATION_UNITS;
}

/* Reads ".DIGITS" into numerator and denominator (a power of ten); 0/1 when there is none. */
static int read_fraction(const char **cursor, size_t digits_max, uint64_t *numerator, uint64_t *denominator)
{
    *numerator = 0;
    *denominator = 1;
    if (**cursor != '.') {
        return ERR_OK;
    }
    (*cursor)++;
    const char *start = *cursor;
    if (read_digits(cursor, UINT64_MAX, numerator) || (size_t)(*cursor - start) > digits_max) {
        return ERR_PARSE;
    }
    for (const char *p = start; p < *cursor; p++) {
        *denominator *= 10;
    }
    return ERR_OK;
}

/* One part of a duration ("1.5s"). *unit is the index of the last unit read (in), of this one (out). */
static int read_duration_part(const char **cursor, size_t first_unit, size_t *unit, uint64_t *out_us)
{
    uint64_t whole = 0;
    uint64_t numerator = 0;
    uint64_t denominator = 1;
    int rc = read_digits(cursor, DURATION_MAX_US, &whole);
    if (rc == ERR_PARSE || read_fraction(cursor, 6, &numerator, &denominator)) {
        return ERR_PARSE;
    }
    *unit = read_duration_unit(cursor);
    /* A fraction ends the duration: "1.5h30m" reads like a slip. */
    if (*unit == DURATION_UNITS || *unit < first_unit || (denominator > 1 && **cursor != '\0')) {
        return ERR_PARSE;
    }
    uint64_t us = duration_units[*unit].us;
    if (numerator * us % denominator != 0) {
        return ERR_PARSE; /* finer than a microsecond */
    }
    if (rc || whole > DURATION_MAX_US / us) {
        return ERR_RANGE;
    }
    *out_us = whole * us + numerator * us / denominator;
    return ERR_OK;
}

int units_parse_duration(const char *text, uint64_t *out_us)
{
    uint64_t sum = 0;
    size_t first_unit = 0;
    int result = ERR_OK;
    if (strcmp(text, "0") == 0) {
        *out_us = 0;
        return ERR_OK;
    }
    do {
        uint64_t part = 0;
        size_t unit = 0;
        int rc = read_duration_part(&text, first_unit, &unit, &part);
        if (rc == ERR_PARSE) {
            return rc;
        }
        if (rc || part > DURATION_MAX_US - sum) {
            result = ERR_RANGE; /* read on: bad text behind it is the more useful finding */
        } else {
            sum += part;
        }
        first_unit = unit + 1;
    } while (*text != '\0');
    if (result == ERR_OK) {
        *out_us = sum;
    }
    return result;
}

int units_parse_share(const char *text, int percent_optional, uint32_t *out_bp)
{
    uint64_t whole = 0;
    uint64_t numerator = 0;
    uint64_t denominator = 1;
    int rc = read_digits(&text, 100, &whole);
    if (rc == ERR_PARSE || read_fraction(&text, 2, &numerator, &denominator)) {
        return ERR_PARSE;
    }
    if (*text == '%') {
        text++;
    } else if (!percent_optional) {
        return ERR_PARSE;
    }
    if (*text != '\0') {
        return ERR_PARSE;
    }
    uint64_t share_bp = whole * 100 + numerator * (100 / denominator);
    if (rc || share_bp > UNITS_BP_FULL) {
        return ERR_RANGE;
    }
    *out_bp = (uint32_t)share_bp;
    return ERR_OK;
}

int units_parse_size(const char *text, uint64_t *out_bytes)
{
    static const struct {
        const char *name;
        unsigned shift;
    } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
    uint64_t value = 0;
    int rc = read_digits(&text, UINT64_MAX, &value);
    if (rc == ERR_PARSE) {
        return rc;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(text, units[i].name) == 0) {
            if (rc || value > UINT64_MAX >> units[i].shift) {
                return ERR_RANGE;
            }
            *out_bytes = value << units[i].shift;
            return ERR_OK;
        }
    }
    return ERR_PARSE;
}

static const struct {
    const char *name;
    unsigned period_s;
} rate_units[] = {{"/s", 1}, {"/m", 60}, {"/h", 3600}};

int units_parse_rate(const char *text, uint64_t *out)
{
    uint64_t count = 0;
    int rc = read_digits(&text, UNITS_RATE_COUNT_MAX, &count);
    for (size_t i = 0; rc != ERR_PARSE && i < sizeof(rate_units) / sizeof(rate_units[0]); i++) {
        if (strcmp(text, rate_units[i].name) == 0) {
            *out = rc == ERR_OK ? UNITS_RATE(count, rate_units[i].period_s) : *out;
            return rc;
        }
    }
    return ERR_PARSE;
}

void units_format_rate(uint64_t rate, char *out, size_t out_size)
{
    const char *name = "";
    for (size_t i = 0; i < sizeof(rate_units) / sizeof(rate_units[0]); i++) {
        if (rate_units[i].period_s == UNITS_RATE_PERIOD_S(rate)) {
            name = rate_units[i].name;
        }
    }
    snprintf(out, out_size, "%" PRIu64 "%s", UNITS_RATE_COUNT(rate), name);
}

int units_parse_speed(const char *text, uint64_t *out_bytes)
{
    char size[32];
    size_t len = strlen(text);
    if (len < 3 || len >= sizeof(size) || strcmp(text + len - 2, "/s") != 0) {
        return ERR_PARSE;
    }
    memcpy(size, text, len - 2);
    size[len - 2] = '\0';
    return units_parse_size(size, out_bytes);
}

int units_parse_count(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    int rc = read_digits(&text, max, &value);
    if (rc == ERR_PARSE || *text != '\0') {
        return ERR_PARSE;
    }
    if (rc == ERR_OK) {
        *out = value;
    }
    return rc;
}

void units_format_share(uint32_t share_bp, char *out, size_t out_size)
{
    unsigned whole = share_bp / 100;
    unsigned rest = share_bp % 100;
    if (rest == 0) {
        (void)snprintf(out, out_size, "%u%%", whole);
    } else if (rest % 10 == 0) {
        (void)snprintf(out, out_size, "%u.%u%%", whole, rest / 10);
    } else {
        (void)snprintf(out, out_size, "%u.%02u%%", whole, rest);
    }
}

static unsigned min_of(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance: insertions, deletions, changes, and swaps of neighbours. Keeps the last
 * three rows of the table. Both lengths at most NEAREST_LENGTH_MAX. */
static unsigned edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned rows[3][NEAREST_LENGTH_MAX + 1];
    for (size_t j = 0; j <= b_len; j++) {
        rows[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3];
        const unsigned *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned cost = a[i - 1] == b[j - 1] ? 0 : 1;
            unsigned best = min_of(min_of(above[j], row[j - 1]) + 1, above[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = min_of(best, above2[j - 2] + 1);
            }
            row[j] = best;
        }
    }
    return rows[a_len % 3][b_len];
}

const char *units_nearest(const char *text, const char *const *candidates, size_t n)
{
    size_t len = strlen(text);
    const char *nearest = NULL;
    unsigned nearest_distance = 0;
    if (len > NEAREST_LENGTH_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        size_t candidate_len = candidates[i] ? strlen(candidates[i]) : 0;
        if (candidate_len == 0 || candidate_len > NEAREST_LENGTH_MAX) {
            continue;
        }
        unsigned distance = edit_distance(text, len, candidates[i], candidate_len);
        /* A third of the longer name may be wrong; more would suggest unrelated words. */
        size_t longer = len > candidate_len ? len : candidate_len;
        size_t limit = (longer + 2) / 3;
        /* And something must be right: "" or "b" is not meant to be "7". */
        if (distance <= limit && distance < longer && (!nearest || distance < nearest_distance)) {
            nearest = candidates[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}
