/*
 * Weighted: each member as often as its weight says, interleaved, exact over every cycle of `total` picks of
 * all workers together. The members lie side by side on a line of length total; ticket k lands at k * step
 * mod total, where step is near total divided by the golden ratio and has no factor in common with total. So
 * a cycle visits every point once (exact), and successive points keep far apart (smooth): a Kronecker
 * sequence on a lattice, see the three-distance theorem (Sós 1958). No state but a cursor, no schedule to
 * build, whatever the weights.
 */
#include "balancer/strategy_internal.h"

#include <stdlib.h>

struct weighted_plan {
    uint64_t total;
    uint64_t step;
    uint64_t end[]; /* end[i]: where member i ends on the line */
};

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int build_line(struct strategy_pool *pool)
{
    struct weighted_plan *plan = malloc(sizeof(*plan) + pool->len * sizeof(plan->end[0]));
    if (plan == NULL) {
        return ERR_NOMEM;
    }
    /* Weights of 10, 20, 30 are those of 1, 2, 3 with a shorter cycle. */
    uint64_t common = 0;
    for (uint32_t i = 0; i < pool->len; i++) {
        common = greatest_common_divisor(common, pool->members[i].weight);
    }
    plan->total = 0;
    for (uint32_t i = 0; i < pool->len; i++) {
        plan->total += pool->members[i].weight / common;
        plan->end[i] = plan->total;
    }
    plan->step = (uint64_t)((double)plan->total * 0.6180339887498949) + 1;
    while (greatest_common_divisor(plan->step, plan->total) != 1) {
        plan->step++;
    }
    pool->plan = plan;
    return 0;
}

static uint32_t pick_weighted(const struct strategy_pool *pool, const struct routing_pick_input *input,
                              const struct routing_attempts *attempts)
{
    (void)input;
    (void)attempts;
    const struct weighted_plan *plan = pool->plan;
    /* total is below 2^16 times the members, step not much above it: the product fits for 2^16 members. */
    uint64_t at = strategy_draw(pool) % plan->total * plan->step % plan->total;
    uint32_t low = 0;
    uint32_t high = pool->len - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (at < plan->end[middle]) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

const struct strategy strategy_weighted = {.build = build_line, .pick = pick_weighted};
