/*
 * Text to number for what operators write: durations, shares, sizes, counts. Used by the configuration and
 * the admin commands alike, so that both accept the same. Pure; any thread. All return 0 or ERR_PARSE /
 * ERR_RANGE, leave *out untouched on failure, accept no trailing text, no sign, no blanks.
 */
#ifndef CORE_UNITS_H
#define CORE_UNITS_H

#include "core/err.h"

#include <stddef.h>
#include <stdint.h>

/* A share or a rate in basis points: 10000 is 100 %. */
#define UNITS_BP_FULL 10000u

/* "500us", "500ms", "2s", "1.5s", "5m", "1h", "2d", and sums in falling order ("1h30m"); "0" alone is 0. To
 * us. Above 36500 days ERR_RANGE, so that sums of times cannot overflow. */
MUST_CHECK int units_parse_duration(const char *text, uint64_t *out_us);

/* "25%", "0.25%", "100%": 0 to 10000 basis points; more than two decimals is ERR_PARSE, above 100 %
 * ERR_RANGE. The percent sign may be left out only if percent_optional (admin commands). */
MUST_CHECK int units_parse_share(const char *text, int percent_optional, uint32_t *out_bp);

/* "65536", "64KiB", "1MiB", "2GiB": bytes. */
MUST_CHECK int units_parse_size(const char *text, uint64_t *out_bytes);

/* A number of events in a period as one value: so ordered by number first. */
#define UNITS_RATE(count, period_s) (((uint64_t)(count) << 12) | (uint64_t)(period_s))
#define UNITS_RATE_COUNT(rate) ((rate) >> 12)
#define UNITS_RATE_PERIOD_S(rate) ((rate)&0xfffu)
#define UNITS_RATE_COUNT_MAX UINT64_C(1000000000)
/* "100/s", "600/m", "1000/h": UNITS_RATE. A count above UNITS_RATE_COUNT_MAX is ERR_RANGE. */
MUST_CHECK int units_parse_rate(const char *text, uint64_t *out);
/* The inverse. out_size of 32 always suffices. */
void units_format_rate(uint64_t rate, char *out, size_t out_size);

/* "1MiB/s": bytes a second. */
MUST_CHECK int units_parse_speed(const char *text, uint64_t *out_bytes);

/* Decimal digits only, at most max. */
MUST_CHECK int units_parse_count(const char *text, uint64_t max, uint64_t *out);

/* 2500 → "25%", 25 → "0.25%", 2310 → "23.1%". out_size of 16 always suffices. */
void units_format_share(uint32_t share_bp, char *out, size_t out_size);

/* The candidate nearest to text by edit distance (optimal string alignment; Damerau 1964), or NULL when none
 * is near enough to suggest. candidates: n strings; NULL entries are passed over. */
const char *units_nearest(const char *text, const char *const *candidates, size_t n);

#endif
