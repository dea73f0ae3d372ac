/*
 * The two clocks. Durations and deadlines use the monotonic one, in microseconds; wall time only labels
 * records. What decides something takes the time as an argument; only the shells call these. Any thread.
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define CLOCK_US_PER_MS UINT64_C(1000)
#define CLOCK_US_PER_S UINT64_C(1000000)
/* "Never" as a deadline or a duration. */
#define CLOCK_NEVER UINT64_MAX

/* CLOCK_MONOTONIC in microseconds. */
uint64_t clock_mono_us(void);

/* CLOCK_REALTIME in microseconds since 1970-01-01T00:00:00Z. */
uint64_t clock_wall_us(void);

/* Writes wall_us as RFC 3339 in UTC with milliseconds ("2026-01-31T12:00:00.123Z", 24 characters and NUL). */
void clock_format_wall(uint64_t wall_us, char *out, size_t out_size);

/*
 * Writes a duration as an operator reads it: "350us", "12ms", "2.5s", "3m10s", "1h5m", "2d3h"; "never" for
 * CLOCK_NEVER. The inverse of units_parse_duration up to rounding. out_size of 32 always suffices.
 */
void clock_format_duration(uint64_t duration_us, char *out, size_t out_size);

#endif
