/*
 * Reading, subtracting and judging histograms; recording is inline in the header. Pure; a reading belongs to
 * one thread, the histogram itself may be written meanwhile by its owner.
 */
#include "core/histogram.h"

#define SUB_BUCKETS (1u << HISTOGRAM_SUB_BITS)

uint64_t histogram_bucket_low(unsigned index)
{
    if (index < SUB_BUCKETS) {
        return index;
    }
    unsigned shift = (index >> HISTOGRAM_SUB_BITS) - 1u;
    return (uint64_t)(SUB_BUCKETS + (index & (SUB_BUCKETS - 1u))) << shift;
}

void histogram_read_add(const struct histogram *h, struct histogram_reading *reading)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        reading->bucket[i] += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        count += reading->bucket[i];
    }
    reading->count = count;
    reading->sum_us += atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

void histogram_reading_subtract(const struct histogram_reading *newer, const struct histogram_reading *older,
                                struct histogram_reading *out)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        out->bucket[i] = newer->bucket[i] - older->bucket[i];
        count += out->bucket[i];
    }
    out->count = count;
    out->sum_us = newer->sum_us - older->sum_us;
}

uint64_t histogram_quantile(const struct histogram_reading *reading, double q)
{
    if (reading->count == 0) {
        return 0;
    }
    /* The rank of the sample asked for, from 1 to count. */
    double wanted = q * (double)reading->count;
    uint64_t rank = 1;
    if (wanted >= (double)reading->count) {
        rank = reading->count;
    } else if (wanted > 1.0) {
        rank = (uint64_t)wanted + ((double)(uint64_t)wanted < wanted ? 1 : 0);
    }
    uint64_t seen = 0;
    unsigned i = 0;
    for (; i < HISTOGRAM_BUCKETS - 1u; i++) {
        seen += reading->bucket[i];
        if (seen >= rank) {
            break;
        }
    }
    uint64_t low = histogram_bucket_low(i);
    return low + (histogram_bucket_low(i + 1) - low) / 2;
}
