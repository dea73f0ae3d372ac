/*
 * Least-connections: the member with the fewest claims for its weight, of the whole pool. A claim is an open
 * connection or one being opened; counting the model's own claim too makes it (open + 1) / weight, so that of
 * idle members the heavier goes first. Ties fall to the next one in rotation. pick runs on the workers.
 */
#include "balancer/strategy_internal.h"

#include <stdlib.h>

/* The plan is the largest weight of the pool: a member of that weight without connections cannot be beaten.
 */
static int build_limit(struct strategy_pool *pool)
{
    uint16_t *largest = calloc(1, sizeof(*largest));
    if (largest == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < pool->len; i++) {
        if (pool->members[i].weight > *largest) {
            *largest = pool->members[i].weight;
        }
    }
    pool->plan = largest;
    return 0;
}

struct fewest {
    uint32_t index;
    uint64_t claims, weight;
};

/* Looks at the members from..to; true when what it found cannot be beaten. Two straight runs are measurably
 * quicker than one that wraps around. */
static bool find_fewest(const struct strategy_pool *pool, const struct routing_attempts *attempts,
                        uint32_t from, uint32_t to, struct fewest *best)
{
    const uint16_t largest = *(const uint16_t *)pool->plan;
    const struct board_claim *board = pool->board->claims;
    uint64_t best_claims = best->claims;
    uint64_t best_weight = best->weight;
    const struct strategy_member *member = pool->members + from;
    const struct strategy_member *end = pool->members + to;
    for (; member < end; member++) {
        uint64_t claims = atomic_load_explicit(&board[member->slot].count, memory_order_relaxed);
        uint64_t weight = member->weight;
        /* claims / weight < best_claims / best_weight, without dividing */
        if (claims * best_weight >= best_claims * weight || strategy_tried(attempts, member->backend) ||
            (pool->limits != NULL && strategy_full(pool, (uint32_t)(member - pool->members)))) {
            continue;
        }
        best->index = (uint32_t)(member - pool->members);
        best_claims = claims;
        best_weight = weight;
        if (claims <= 1 && weight == largest) {
            return true;
        }
    }
    best->claims = best_claims;
    best->weight = best_weight;
    return false;
}

/* While some start slowly. Their part counts twice: they take part in so many picks only, or they would get
 * all that comes while little is open; and they are to have open only so much of what the others have, or
 * they would be filled up at once while much is. (open + part) / (weight * part) is, idle, the same as of the
 * others. */
static uint32_t pick_fewest_of_parts(const struct strategy_pool *pool, const struct routing_pick_input *input,
                                     const struct routing_attempts *attempts, uint32_t start)
{
    uint32_t best = start;
    double best_cost = -1.0;
    uint32_t i = start;
    for (uint32_t seen = 0; seen < pool->len; seen++) {
        if (!strategy_barred(pool, i, attempts) && !strategy_held_back(pool, i, input->random)) {
            double part = (double)strategy_part(pool, i) / BACKEND_PART_FULL;
            const struct board_claim *claim = &pool->board->claims[pool->members[i].slot];
            double open = (double)atomic_load_explicit(&claim->count, memory_order_relaxed) - 1.0;
            double cost = (open + part) / (part * pool->members[i].weight);
            if (best_cost < 0.0 || cost < best_cost) {
                best = i;
                best_cost = cost;
            }
        }
        i = i + 1 == pool->len ? 0 : i + 1;
    }
    return best;
}

static uint32_t pick_fewest(const struct strategy_pool *pool, const struct routing_pick_input *input,
                            const struct routing_attempts *attempts)
{
    uint32_t start = (uint32_t)(strategy_draw(pool) % pool->len);
    if (pool->parts != NULL) {
        return pick_fewest_of_parts(pool, input, attempts, start);
    }
    /* Begins with one so loaded that any other is better. */
    struct fewest best = {.index = start, .claims = UINT32_MAX, .weight = 1};
    if (!find_fewest(pool, attempts, start, pool->len, &best)) {
        (void)find_fewest(pool, attempts, 0, start, &best);
    }
    return best.index;
}

const struct strategy strategy_least_connections = {.build = build_limit, .pick = pick_fewest};
