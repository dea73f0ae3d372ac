/*
 * The recent past of both groups, as slices that slide: what the figures of the gate are made of. A slice
 * lasts a thirtieth of the window, and longer while new has had few attempts in it, so that with little
 * traffic the window reaches back as far as it needs. Pure; one thread at a time.
 */
#ifndef MIGRATION_GATE_WINDOW_H
#define MIGRATION_GATE_WINDOW_H

#include "core/stats.h"

#include <stddef.h>
#include <stdint.h>

#define GATE_SLICES 30u

/* What came in during a while, of one group. */
struct gate_counts {
    uint64_t attempts, errors;         /* errors <= attempts */
    uint64_t kinds[STATS_ERROR_COUNT]; /* the errors by kind */
    struct histogram_reading connect_us, response_us;
};

struct gate_slice {
    struct gate_counts old, new_counts;
};

struct gate_window {
    uint64_t slice_us;       /* a slice is closed after this long */
    uint64_t slice_attempts; /* but not before new had this many attempts in it */
    uint64_t opened_us;      /* the present slice */
    uint64_t closed;         /* slices closed so far */
    struct gate_slice sum;   /* of all slices kept */
    struct gate_slice ring[GATE_SLICES];
};

/* Empty, as of now_us. window_us: how far it reaches back; min_attempts: of new, that it should hold. */
void gate_window_clear(struct gate_window *window, uint64_t window_us, uint64_t min_attempts,
                       uint64_t now_us);
/* Adds what came in until now_us. Returns the number of slices closed by that (0 or 1). */
unsigned gate_window_add(struct gate_window *window, const struct gate_slice *more, uint64_t now_us);
/* Sums the last `slices` slices, the present one included. */
void gate_window_last(const struct gate_window *window, unsigned slices, struct gate_slice *out);

/* Samples at or above the lower edge of a bucket. */
uint64_t gate_samples_from(const struct histogram_reading *reading, unsigned bucket);
/* The first bucket whose values are all at or above value_us; HISTOGRAM_BUCKETS when there is none. */
unsigned gate_bucket_from(uint64_t value_us);
/* The first bucket with no more than the part (1 - quantile) of the samples at or above it. */
unsigned gate_bucket_beyond(const struct histogram_reading *reading, double quantile);

#endif
