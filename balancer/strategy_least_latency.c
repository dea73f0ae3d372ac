/*
 * Least-latency: the member whose expected cost (latency_cost) for its weight is lowest. Pools of up to
 * SCAN_MAX are compared whole; of larger ones two members are drawn, each as often as its weight says (alias
 * method: Walker 1977, Vose 1991), and the better is taken: the power of two choices (Mitzenmacher 2001),
 * which also keeps workers with slightly old knowledge from running to the same member. pick runs on the
 * workers.
 */
#include "balancer/latency_internal.h"
#include "balancer/strategy_internal.h"

#include <stdlib.h>

#define SCAN_MAX 4u

/* Column i holds member i up to the threshold (of 2^32) and the alias above it. */
struct alias_column {
    uint32_t threshold;
    uint32_t alias;
};

static void fill_columns(const struct strategy_pool *pool, struct alias_column *columns, uint64_t *mass,
                         uint32_t *work)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < pool->len; i++) {
        total += strategy_weight(pool, i);
    }
    /* A column has room for `total`; member i brings weight * len. Light ones from the front of work, heavy
     * ones from its back. */
    uint32_t light = 0;
    uint32_t heavy = pool->len;
    for (uint32_t i = 0; i < pool->len; i++) {
        mass[i] = (uint64_t)strategy_weight(pool, i) * pool->len;
        columns[i] = (struct alias_column){.threshold = UINT32_MAX, .alias = i};
        if (mass[i] < total) {
            work[light++] = i;
        } else {
            work[--heavy] = i;
        }
    }
    while (light > 0 && heavy < pool->len) {
        uint32_t giver = work[heavy];
        uint32_t taker = work[--light];
        columns[taker].alias = giver;
        columns[taker].threshold = (uint32_t)((double)mass[taker] / (double)total * 4294967295.0);
        mass[giver] -= total - mass[taker];
        if (mass[giver] < total) {
            heavy++;
            work[light++] = giver;
        }
    }
}

static int build_columns(struct strategy_pool *pool)
{
    struct alias_column *columns = calloc(pool->len, sizeof(*columns));
    uint64_t *mass = calloc(pool->len, sizeof(*mass));
    uint32_t *work = calloc(pool->len, sizeof(*work));
    int rc = ERR_NOMEM;
    if (columns != NULL && mass != NULL && work != NULL) {
        fill_columns(pool, columns, mass, work);
        pool->plan = columns;
        columns = NULL;
        rc = 0;
    }
    free(columns);
    free(mass);
    free(work);
    return rc;
}

static uint32_t draw_by_weight(const struct strategy_pool *pool, struct random_state *random)
{
    const struct alias_column *columns = pool->plan;
    uint64_t bits = random_next(random);
    uint32_t i = (uint32_t)(((bits >> 32) * pool->len) >> 32);
    return (uint32_t)bits <= columns[i].threshold ? i : columns[i].alias;
}

static float member_cost(const struct strategy_pool *pool, uint32_t i, uint64_t now_us)
{
    const struct strategy_member *member = &pool->members[i];
    float part = (float)strategy_part(pool, i) / (float)BACKEND_PART_FULL;
    return latency_cost(pool->board, member->slot, part, now_us) / (float)member->weight;
}

static uint32_t pick_of_all(const struct strategy_pool *pool, const struct routing_pick_input *input,
                            const struct routing_attempts *attempts)
{
    /* Where to begin decides ties. */
    uint32_t i = (uint32_t)(strategy_draw(pool) % pool->len);
    uint32_t best = i;
    float best_cost = -1.0f;
    for (uint32_t seen = 0; seen < pool->len; seen++) {
        if (!strategy_barred(pool, i, attempts) && !strategy_held_back(pool, i, input->random)) {
            float cost = member_cost(pool, i, input->now_us);
            if (best_cost < 0.0f || cost < best_cost) {
                best = i;
                best_cost = cost;
            }
        }
        i = i + 1 == pool->len ? 0 : i + 1;
    }
    return best;
}

static uint32_t pick_of_two(const struct strategy_pool *pool, const struct routing_pick_input *input,
                            const struct routing_attempts *attempts)
{
    uint32_t a = draw_by_weight(pool, input->random);
    uint32_t b = draw_by_weight(pool, input->random);
    if (a == b) {
        b = a + 1 + random_below(input->random, pool->len - 1);
        b = b >= pool->len ? b - pool->len : b;
        if (strategy_held_back(pool, b, input->random) && !strategy_barred(pool, a, attempts)) {
            return a;
        }
    }
    if (strategy_barred(pool, a, attempts)) {
        return b;
    }
    if (strategy_barred(pool, b, attempts)) {
        return a;
    }
    return member_cost(pool, b, input->now_us) < member_cost(pool, a, input->now_us) ? b : a;
}

static uint32_t pick_fastest(const struct strategy_pool *pool, const struct routing_pick_input *input,
                             const struct routing_attempts *attempts)
{
    return pool->len <= SCAN_MAX ? pick_of_all(pool, input, attempts) : pick_of_two(pool, input, attempts);
}

const struct strategy strategy_least_latency = {.build = build_columns, .pick = pick_fastest};
