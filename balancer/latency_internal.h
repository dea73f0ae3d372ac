/*
 * How fast a backend is, as learned from its turns: a peak-sensitive, time-decaying average after the Peak
 * EWMA of Finagle (Twitter). A sample above the estimate replaces it at once; one below pulls it down by as
 * much as time has passed since the last. Nothing heard for a while halves what is believed each second, so a
 * backend that was slow once is tried again; having been tried, it counts with its old figure until it
 * answers or time passes, so it is probed and not flooded.
 */
#ifndef BALANCER_LATENCY_INTERNAL_H
#define BALANCER_LATENCY_INTERNAL_H

#include "balancer/backend_internal.h"

#define LATENCY_HALF_LIFE_US UINT64_C(1000000)
/* What is believed of a backend that was tried and never answered, or that failed: bad, not hopeless. */
#define LATENCY_PENALTY_US 1000000.0f

/* 2 ^ -(elapsed / half-life), straight between the powers of two (at most 6 % off). */
float latency_decay(uint64_t elapsed_us);

/* The lane's own worker only. */
void latency_picked(struct latency_lane *lane, uint64_t now_us);
void latency_sample(struct latency_lane *lane, uint64_t sample_us, uint64_t now_us);
/* An attempt failed: counts as a sample of the penalty, so that refusing quickly does not look fast. */
void latency_failed(struct latency_lane *lane, uint64_t now_us);
void latency_fly(struct latency_lane *lane, int32_t change);

/*
 * What one more connection at this backend is expected to cost: the highest of the workers' estimates, as
 * they are now, times (turns and connects under way + 1). 0: never tried. part, above 0 and up to 1: of a
 * backend that starts slowly, which is to have so much less under way than the others. Any thread.
 */
float latency_cost(const struct board *board, uint32_t slot, float part, uint64_t now_us);

#endif
