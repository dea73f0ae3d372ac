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

static uint32_t pick_fewest(const struct strategy_pool *pool, const struct routing_pick_input *input,
                            const struct routing_attempts *attempts)
{
    (void)input;
    const uint16_t *largest = pool->plan;
    uint32_t i = (uint32_t)(strategy_draw(pool) % pool->len);
    uint32_t best = i;
    uint64_t best_claims = UINT32_MAX; /* of one so loaded that any other is better */
    uint64_t best_weight = 1;
    for (uint32_t seen = 0; seen < pool->len; seen++) {
        const struct strategy_member *member = &pool->members[i];
        uint64_t claims =
            atomic_load_explicit(&pool->board->claims[member->slot].count, memory_order_relaxed);
        /* claims / weight < best_claims / best_weight, without dividing */
        if (claims * best_weight < best_claims * member->weight &&
            !strategy_tried(attempts, member->backend)) {
            best = i;
            best_claims = claims;
            best_weight = member->weight;
            if (claims <= 1 && member->weight == *largest) {
                break;
            }
        }
        i = i + 1 == pool->len ? 0 : i + 1;
    }
    return best;
}

const struct strategy strategy_least_connections = {.build = build_limit, .pick = pick_fewest};
