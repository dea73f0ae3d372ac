/*
 * Slices of counts and histograms that slide, and questions to histograms. No clock of its own; what the
 * figures mean is decided in migration/gate.c.
 */
#include "migration/gate_window.h"

#include <string.h>

static void add_reading(struct histogram_reading *to, const struct histogram_reading *more)
{
    to->count += more->count;
    to->sum_us += more->sum_us;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        to->bucket[i] += more->bucket[i];
    }
}

static void add_counts(struct gate_counts *to, const struct gate_counts *more)
{
    to->attempts += more->attempts;
    to->errors += more->errors;
    for (unsigned i = 0; i < STATS_ERROR_COUNT; i++) {
        to->kinds[i] += more->kinds[i];
    }
    add_reading(&to->connect_us, &more->connect_us);
    add_reading(&to->response_us, &more->response_us);
}

static void subtract_counts(struct gate_counts *from, const struct gate_counts *less)
{
    from->attempts -= less->attempts;
    from->errors -= less->errors;
    for (unsigned i = 0; i < STATS_ERROR_COUNT; i++) {
        from->kinds[i] -= less->kinds[i];
    }
    histogram_reading_subtract(&from->connect_us, &less->connect_us, &from->connect_us);
    histogram_reading_subtract(&from->response_us, &less->response_us, &from->response_us);
}

void gate_window_clear(struct gate_window *window, uint64_t window_us, uint64_t min_attempts, uint64_t now_us)
{
    memset(window, 0, sizeof(*window));
    window->slice_us = window_us / GATE_SLICES;
    window->slice_attempts = (min_attempts + GATE_SLICES - 1) / GATE_SLICES;
    window->opened_us = now_us;
}

unsigned gate_window_add(struct gate_window *window, const struct gate_slice *more, uint64_t now_us)
{
    struct gate_slice *present = &window->ring[window->closed % GATE_SLICES];

    add_counts(&present->old, &more->old);
    add_counts(&present->new_counts, &more->new_counts);
    add_counts(&window->sum.old, &more->old);
    add_counts(&window->sum.new_counts, &more->new_counts);
    if (now_us - window->opened_us < window->slice_us ||
        present->new_counts.attempts < window->slice_attempts) {
        return 0;
    }
    window->closed++;
    window->opened_us = now_us;
    present = &window->ring[window->closed % GATE_SLICES];
    subtract_counts(&window->sum.old, &present->old);
    subtract_counts(&window->sum.new_counts, &present->new_counts);
    memset(present, 0, sizeof(*present));
    return 1;
}

void gate_window_last(const struct gate_window *window, unsigned slices, struct gate_slice *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < slices && i < GATE_SLICES && i <= window->closed; i++) {
        const struct gate_slice *slice = &window->ring[(window->closed - i) % GATE_SLICES];

        add_counts(&out->old, &slice->old);
        add_counts(&out->new_counts, &slice->new_counts);
    }
}

uint64_t gate_samples_from(const struct histogram_reading *reading, unsigned bucket)
{
    uint64_t samples = 0;

    for (unsigned i = bucket; i < HISTOGRAM_BUCKETS; i++) {
        samples += reading->bucket[i];
    }
    return samples;
}

unsigned gate_bucket_from(uint64_t value_us)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram_bucket_low(i) >= value_us) {
            return i;
        }
    }
    return HISTOGRAM_BUCKETS;
}

unsigned gate_bucket_beyond(const struct histogram_reading *reading, double quantile)
{
    double most = (1 - quantile) * (double)reading->count;
    uint64_t above = 0;
    unsigned i = HISTOGRAM_BUCKETS;

    while (i > 0 && (double)(above + reading->bucket[i - 1]) <= most) {
        above += reading->bucket[--i];
    }
    return i;
}
