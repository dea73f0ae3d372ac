/*
 * A log-linear histogram of durations in microseconds: 16 linear steps in each power of two (relative error
 * at most 1/16), from 0 to about 2^36 us. Single writer with relaxed atomics, any reader; merged and windowed
 * by adding and subtracting readings, so counts only ever grow. The layout follows the idea of HdrHistogram
 * (Tene).
 */
#ifndef CORE_HISTOGRAM_H
#define CORE_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 4u
#define HISTOGRAM_MAX_BITS 36u
#define HISTOGRAM_BUCKETS ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1u) << HISTOGRAM_SUB_BITS)

struct histogram {
    _Atomic uint64_t sum_us;
    _Atomic uint32_t bucket[HISTOGRAM_BUCKETS];
};

/* A reading: plain numbers, for one thread. */
struct histogram_reading {
    uint64_t count;
    uint64_t sum_us;
    uint32_t bucket[HISTOGRAM_BUCKETS]; /* modulo 2^32: differences of readings stay right across a wrap */
};

/* Which bucket a value belongs to: 0 to HISTOGRAM_BUCKETS - 1; larger values go to the last. */
static inline unsigned histogram_index(uint64_t value_us)
{
    if (value_us < (1u << HISTOGRAM_SUB_BITS)) {
        return (unsigned)value_us;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(value_us);
    if (top >= HISTOGRAM_MAX_BITS) {
        return HISTOGRAM_BUCKETS - 1u;
    }
    unsigned shift = top - HISTOGRAM_SUB_BITS;
    return ((shift + 1u) << HISTOGRAM_SUB_BITS) +
           (unsigned)((value_us >> shift) & ((1u << HISTOGRAM_SUB_BITS) - 1u));
}

/* The smallest value of a bucket and of the next one. */
uint64_t histogram_bucket_low(unsigned index);

/* Records one value. Only the owning thread. */
static inline void histogram_record(struct histogram *h, uint64_t value_us)
{
    _Atomic uint32_t *slot = &h->bucket[histogram_index(value_us)];
    atomic_store_explicit(slot, atomic_load_explicit(slot, memory_order_relaxed) + 1u, memory_order_relaxed);
    atomic_store_explicit(&h->sum_us, atomic_load_explicit(&h->sum_us, memory_order_relaxed) + value_us,
                          memory_order_relaxed);
}

/* Adds what h holds now to the reading (count is recomputed from the buckets). Any thread. */
void histogram_read_add(const struct histogram *h, struct histogram_reading *reading);
/* newer - older into out (out may be either). */
void histogram_reading_subtract(const struct histogram_reading *newer, const struct histogram_reading *older,
                                struct histogram_reading *out);
/* The value below which the part q (0 to 1) of the samples lies: middle of its bucket, in us; 0 with no
 * samples. */
uint64_t histogram_quantile(const struct histogram_reading *reading, double q);

#endif
