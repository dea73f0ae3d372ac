/*
 * The estimate of a backend's response time: one lane a worker, written by it alone, folded at a pick by
 * whoever picks. Time is an argument. Which backend follows from the costs: strategy_least_latency.c.
 */
#include "balancer/latency_internal.h"

#define RELAXED memory_order_relaxed

float latency_decay(uint64_t elapsed_us)
{
    uint64_t halvings = elapsed_us / LATENCY_HALF_LIFE_US;
    if (halvings >= 62) {
        return 0.0f;
    }
    float rest = (float)(elapsed_us % LATENCY_HALF_LIFE_US) / (float)LATENCY_HALF_LIFE_US;
    return (1.0f - rest / 2.0f) / (float)(UINT64_C(1) << halvings);
}

/* Workers stamp with their own reading of the clock: another's stamp may be slightly ahead. */
static uint64_t elapsed_since(uint64_t then_us, uint64_t now_us)
{
    return now_us > then_us ? now_us - then_us : 0;
}

void latency_picked(struct latency_lane *lane, uint64_t now_us)
{
    atomic_store_explicit(&lane->picked_us, now_us > 0 ? now_us : 1, RELAXED);
}

void latency_sample(struct latency_lane *lane, uint64_t sample_us, uint64_t now_us)
{
    float sample = sample_us > 0 ? (float)sample_us : 1.0f;
    float estimate = atomic_load_explicit(&lane->estimate_us, RELAXED);
    if (sample < estimate) {
        uint64_t since = elapsed_since(atomic_load_explicit(&lane->sampled_us, RELAXED), now_us);
        estimate = sample + (estimate - sample) * latency_decay(since);
    } else {
        estimate = sample;
    }
    atomic_store_explicit(&lane->estimate_us, estimate, RELAXED);
    atomic_store_explicit(&lane->sampled_us, now_us, RELAXED);
}

void latency_failed(struct latency_lane *lane, uint64_t now_us)
{
    latency_sample(lane, (uint64_t)LATENCY_PENALTY_US, now_us);
}

void latency_fly(struct latency_lane *lane, int32_t change)
{
    uint32_t flying = atomic_load_explicit(&lane->flying, RELAXED);
    atomic_store_explicit(&lane->flying, flying + (uint32_t)change, RELAXED);
}

float latency_cost(const struct board *board, uint32_t slot, float part, uint64_t now_us)
{
    float estimate = 0.0f;
    uint32_t flying = 0;
    uint64_t tried_us = 0;
    for (unsigned worker = 0; worker < board->workers; worker++) {
        const struct latency_lane *lane = board_lane(board, worker, slot);
        uint64_t picked_us = atomic_load_explicit(&lane->picked_us, RELAXED);
        uint64_t sampled_us = atomic_load_explicit(&lane->sampled_us, RELAXED);
        float measured = atomic_load_explicit(&lane->estimate_us, RELAXED);
        flying += atomic_load_explicit(&lane->flying, RELAXED);
        tried_us = picked_us > tried_us ? picked_us : tried_us;
        if (measured > estimate) {
            uint64_t heard_us = picked_us > sampled_us ? picked_us : sampled_us;
            measured *= latency_decay(elapsed_since(heard_us, now_us));
            estimate = measured > estimate ? measured : estimate;
        }
    }
    if (estimate <= 0.0f && tried_us > 0) {
        estimate = LATENCY_PENALTY_US * latency_decay(elapsed_since(tried_us, now_us));
    }
    return estimate * ((float)flying / part + 1.0f);
}
