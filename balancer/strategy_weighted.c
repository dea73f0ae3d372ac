/*
 * Weighted: each member as often as its weight says, interleaved, exact over every cycle of `total` picks of
 * all workers together; `total` is the sum of the weights after dividing out what they have in common.
 *
 * Small totals: a schedule of one cycle is written out when the pool is built, by the smooth weighted
 * round-robin of nginx (commit 52327e0627f4), and a shared cursor walks over it. Large ones: the members lie
 * side by side on a line of length total, and ticket k lands at k * step mod total, where step is near total
 * divided by the golden ratio and has no factor in common with total. A cycle visits every point once
 * (exact), and successive points keep far apart: a Kronecker sequence on a lattice, see the three-distance
 * theorem (Sós 1958). That is nearly as smooth and needs no schedule. pick runs on the workers.
 */
#include "balancer/strategy_internal.h"

#include <stdlib.h>

#define SCHEDULE_MAX UINT64_C(65536)        /* entries */
#define SCHEDULE_WORK_MAX UINT64_C(4000000) /* entries times members: a few milliseconds */

struct weighted_plan {
    uint64_t total;
    uint64_t step;      /* of the line; 0: there is a schedule */
    uint16_t *schedule; /* members in turn; behind end[], in the same block */
    uint64_t end[];     /* end[i]: where member i ends on the line */
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

/* Each turn every member gains its weight, the richest is chosen and pays the total. gained: len zeroes. */
static void write_schedule(struct weighted_plan *plan, uint32_t len, int64_t *gained)
{
    for (uint64_t turn = 0; turn < plan->total; turn++) {
        uint32_t richest = 0;
        for (uint32_t i = 0; i < len; i++) {
            gained[i] += (int64_t)(plan->end[i] - (i > 0 ? plan->end[i - 1] : 0));
            if (gained[i] > gained[richest]) {
                richest = i;
            }
        }
        gained[richest] -= (int64_t)plan->total;
        plan->schedule[turn] = (uint16_t)richest;
    }
}

static void choose_step(struct weighted_plan *plan)
{
    plan->step = (uint64_t)((double)plan->total * 0.6180339887498949) + 1;
    while (greatest_common_divisor(plan->step, plan->total) != 1) {
        plan->step++;
    }
}

/* The weights, with what a slow start leaves of them, such that their sum is below 2^32. */
static uint64_t weight_at(const struct strategy_pool *pool, uint32_t member, unsigned shift)
{
    uint64_t weight = (uint64_t)strategy_weight(pool, member) >> shift;
    return weight > 0 ? weight : 1;
}

static unsigned find_shift(const struct strategy_pool *pool)
{
    uint64_t total = 0;
    unsigned shift = 0;
    for (uint32_t i = 0; i < pool->len; i++) {
        total += strategy_weight(pool, i);
    }
    while ((total >> shift) >= UINT64_C(1) << 31) {
        shift++;
    }
    return shift;
}

static int build_cycle(struct strategy_pool *pool)
{
    uint64_t common = 0;
    uint64_t total = 0;
    unsigned shift = pool->parts != NULL ? find_shift(pool) : 0;
    for (uint32_t i = 0; i < pool->len; i++) {
        uint64_t weight = weight_at(pool, i, shift);
        common = greatest_common_divisor(common, weight);
        total += weight;
    }
    common = common > 0 ? common : 1;
    total /= common;
    bool scheduled = total <= SCHEDULE_MAX && total * pool->len <= SCHEDULE_WORK_MAX;
    size_t line_bytes = pool->len * sizeof(uint64_t);
    struct weighted_plan *plan =
        malloc(sizeof(*plan) + line_bytes + (scheduled ? total * sizeof(plan->schedule[0]) : 0));
    int64_t *gained = calloc((size_t)pool->len + 1, sizeof(*gained));
    if (plan == NULL || gained == NULL) {
        free(plan);
        free(gained);
        return ERR_NOMEM;
    }
    plan->total = total;
    plan->step = 0;
    uint64_t end = 0;
    for (uint32_t i = 0; i < pool->len; i++) {
        end += weight_at(pool, i, shift) / common;
        plan->end[i] = end;
    }
    plan->schedule = (uint16_t *)(void *)(plan->end + pool->len);
    if (scheduled) {
        write_schedule(plan, pool->len, gained);
    } else {
        choose_step(plan);
    }
    free(gained);
    pool->plan = plan;
    return 0;
}

static uint32_t pick_weighted(const struct strategy_pool *pool, const struct routing_pick_input *input,
                              const struct routing_attempts *attempts)
{
    (void)input;
    (void)attempts;
    const struct weighted_plan *plan = pool->plan;
    uint64_t turn = strategy_draw(pool) % plan->total;
    if (plan->step == 0) {
        return plan->schedule[turn];
    }
    /* Below 2^16 members of weights below 2^16: total and step are below 2^32, their product fits. */
    uint64_t at = turn * plan->step % plan->total;
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

const struct strategy strategy_weighted = {.build = build_cycle, .pick = pick_weighted};
