/*
 * Consistent hash: a client address (with assign = "sni" a server's name) always goes to the same member. A
 * ring (Karger et al. 1997) on which each member has points that depend on its name and weight alone, so one
 * that leaves hands over only its own clients and gets the same back. The ring is cut into as many arcs as
 * points, with an index of where each begins: finding the successor takes a step or two instead of a binary
 * search. pick runs on the workers.
 */
#include "balancer/share.h"
#include "balancer/strategy_internal.h"

#include <stdlib.h>
#include <string.h>

#define POINTS_PER_BACKEND 256u        /* at most on average, at least half of it */
#define POINTS_MAX (UINT64_C(1) << 17) /* of a ring, about */
#define STEPS_MAX 64u                  /* looked at when members were tried before or are full */

struct ring_point {
    uint32_t at;
    uint32_t member;
};

struct ring_plan {
    uint32_t len;
    unsigned shift; /* at >> shift is the arc */
    uint32_t *arc;  /* first point of each arc; behind the points, in the same block */
    struct ring_point point[];
};

/*
 * How many points a weight gives. The scale is held by the weights of the whole group, usable or not, rounded
 * up to a power of two: neither a backend going down nor most changes of a weight move the points of others.
 */
static uint32_t points_of(const struct strategy_pool *pool, uint32_t member)
{
    uint32_t weight = pool->members[member].weight;
    uint64_t wanted = (uint64_t)pool->group_len * POINTS_PER_BACKEND;
    wanted = wanted < POINTS_MAX ? wanted : POINTS_MAX;
    uint64_t reference = 1;
    while (reference < pool->weight_reference) {
        reference *= 2;
    }
    uint64_t points = (weight * wanted + reference / 2) / reference;
    /* A slow start has the first of them: its clients come one after the other and stay. */
    points = points * strategy_part(pool, member) / BACKEND_PART_FULL;
    return points > 0 ? (uint32_t)points : 1;
}

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Sorts the points of one arc; there are few. */
static void sort_arc(struct ring_point *points, size_t len)
{
    for (size_t i = 1; i < len; i++) {
        struct ring_point moved = points[i];
        size_t j = i;
        while (j > 0 && points[j - 1].at > moved.at) {
            points[j] = points[j - 1];
            j--;
        }
        points[j] = moved;
    }
}

/* A counting sort by arc in two passes over the points, which are made anew in each. */
static void fill_ring(const struct strategy_pool *pool, struct ring_plan *plan, uint32_t arcs)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint32_t m = 0; m < pool->len; m++) {
            const char *name = backend_name(pool->members[m].backend);
            uint64_t seed = siphash(&pool->key, name, strlen(name));
            uint32_t points = points_of(pool, m);
            for (uint32_t i = 0; i < points; i++) {
                uint32_t at = (uint32_t)(mix(seed + i * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
                uint32_t *arc = &plan->arc[at >> plan->shift];
                if (pass == 0) {
                    arc[1]++; /* how many; one off, so that the sums below are where each begins */
                } else {
                    plan->point[(*arc)++] = (struct ring_point){.at = at, .member = m};
                }
            }
        }
        for (uint32_t a = 0; pass == 0 && a < arcs; a++) {
            plan->arc[a + 1] += plan->arc[a];
        }
    }
    /* Filling moved each beginning to its end, which is the beginning of the next. */
    memmove(plan->arc + 1, plan->arc, arcs * sizeof(plan->arc[0]));
    plan->arc[0] = 0;
    for (uint32_t a = 0; a < arcs; a++) {
        sort_arc(plan->point + plan->arc[a], plan->arc[a + 1] - plan->arc[a]);
    }
}

static int build_ring(struct strategy_pool *pool)
{
    uint64_t len = 0;
    for (uint32_t m = 0; m < pool->len; m++) {
        len += points_of(pool, m);
    }
    unsigned bits = 1;
    while (bits < 31 && (UINT64_C(1) << bits) < len) {
        bits++;
    }
    uint32_t arcs = UINT32_C(1) << bits;
    struct ring_plan *plan =
        calloc(1, sizeof(*plan) + len * sizeof(plan->point[0]) + (arcs + UINT64_C(2)) * sizeof(plan->arc[0]));
    if (plan == NULL) {
        return ERR_NOMEM;
    }
    plan->len = (uint32_t)len;
    plan->shift = 32 - bits;
    plan->arc = (uint32_t *)(void *)(plan->point + len);
    fill_ring(pool, plan, arcs);
    pool->plan = plan;
    return 0;
}

static uint32_t pick_on_ring(const struct strategy_pool *pool, const struct routing_pick_input *input,
                             const struct routing_attempts *attempts)
{
    const struct ring_plan *plan = pool->plan;
    bool by_name = pool->by_name && input->server_name != NULL;
    if (!by_name && input->client.family == 0) {
        return (uint32_t)(strategy_draw(pool) % pool->len); /* no address to go by: in turn */
    }
    uint64_t hash = by_name
                        ? share_name_hash(&pool->key, input->server_name)
                        : share_client_hash(&pool->key, &input->client, pool->prefix_ipv4, pool->prefix_ipv6);
    uint32_t at = (uint32_t)(hash >> 32);
    uint32_t i = plan->arc[at >> plan->shift];
    while (i < plan->len && plan->point[i].at < at) {
        i++;
    }
    i = i < plan->len ? i : 0;
    /* Further along the ring for a retry and past a full member, so that its clients spread over the others
     * (bounded loads: Mirrokni, Thorup, Zadimoghaddam 2018). */
    for (unsigned step = 0; step < STEPS_MAX && (attempts->count > 0 || pool->limits != NULL); step++) {
        if (!strategy_barred(pool, plan->point[i].member, attempts)) {
            break;
        }
        i = i + 1 < plan->len ? i + 1 : 0;
    }
    return plan->point[i].member;
}

const struct strategy strategy_hash = {.build = build_ring, .pick = pick_on_ring};
