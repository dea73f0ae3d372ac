/*
 * Round-robin: the members in turn, exact over all workers by one shared cursor. Weights do not count, except
 * that a weight of 0 keeps a backend out of the pool. pick runs on the workers.
 */
#include "balancer/strategy_internal.h"

static uint32_t pick_next(const struct strategy_pool *pool, const struct routing_pick_input *input,
                          const struct routing_attempts *attempts)
{
    (void)input;
    (void)attempts;
    return (uint32_t)(strategy_draw(pool) % pool->len);
}

const struct strategy strategy_round_robin = {.build = NULL, .pick = pick_next};
