/*
 * The contract between a view and the strategies, one file each. A pool is what a strategy chooses from: the
 * usable backends of one group and one kind (regular or backup), immutable once built.
 *
 *     view group ──owns──▶ pool ──owns──▶ members, limits, plan      pool ──borrows──▶ cursor (of the group),
 * board
 *
 * build runs on the control thread when the members change; pick on any worker, without locks or allocation.
 */
#ifndef BALANCER_STRATEGY_INTERNAL_H
#define BALANCER_STRATEGY_INTERNAL_H

#include "balancer/backend_internal.h"
#include "core/siphash.h"

/* A counter that all workers draw from; outlives the views, so that a publish does not restart a rotation. */
struct strategy_cursor {
    _Atomic uint64_t next;
} __attribute__((aligned(64)));

struct strategy_member {
    struct backend *backend; /* borrowed: the model holds it */
    uint32_t slot;           /* on the board */
    uint16_t weight;         /* 1 to 65535 */
};

struct strategy_pool {
    const struct strategy *strategy;
    const struct board *board;
    struct strategy_cursor *cursor;
    struct strategy_member *members;
    uint32_t *limits; /* owned; connections by member, 0: no limit. NULL: none of them has one */
    uint16_t *parts;  /* owned; by member, of BACKEND_PART_FULL: how much of its weight a slow start lets it
                         have. NULL: all of them the whole */
    bool even;        /* weights do not count but for their parts */
    uint32_t len;
    void *plan; /* owned; whatever the strategy prepared, one block for free() */
    /* For strategies that hash the client. */
    struct siphash_key key;
    bool by_name; /* of the server asked for, where there is one */
    unsigned prefix_ipv4, prefix_ipv6;
    uint64_t weight_reference; /* sum of weights of the whole group, usable or not; see strategy_hash.c */
    uint32_t group_len;        /* backends of the whole group */
};

struct strategy {
    /* Prepares pool->plan from the members; len is at least 1. NULL: nothing to prepare. 0 or ERR_NOMEM. */
    int (*build)(struct strategy_pool *pool);
    /* The index of a member. One that was tried already, or is full, may be returned: the caller looks on
     * from there. */
    uint32_t (*pick)(const struct strategy_pool *pool, const struct routing_pick_input *input,
                     const struct routing_attempts *attempts);
};

extern const struct strategy strategy_round_robin;
extern const struct strategy strategy_weighted;
extern const struct strategy strategy_least_latency;
extern const struct strategy strategy_least_connections;
extern const struct strategy strategy_hash;

static inline uint64_t strategy_draw(const struct strategy_pool *pool)
{
    return atomic_fetch_add_explicit(&pool->cursor->next, 1, memory_order_relaxed);
}

static inline bool strategy_tried(const struct routing_attempts *attempts, const struct backend *backend)
{
    for (unsigned i = 0; i < attempts->count; i++) {
        if (attempts->tried[i] == backend) {
            return true;
        }
    }
    return false;
}

/* The member has as many connections as it may. Sequentially consistent, see queue.c. */
static inline bool strategy_full(const struct strategy_pool *pool, uint32_t member)
{
    if (pool->limits == NULL || pool->limits[member] == 0) {
        return false;
    }
    const struct board_claim *claim = &pool->board->claims[pool->members[member].slot];
    return atomic_load(&claim->count) > pool->limits[member]; /* one of the claims is the model's */
}

/* Of no use to this connection now. */
static inline bool strategy_barred(const struct strategy_pool *pool, uint32_t member,
                                   const struct routing_attempts *attempts)
{
    return strategy_tried(attempts, pool->members[member].backend) || strategy_full(pool, member);
}

/* Of BACKEND_PART_FULL. */
static inline uint32_t strategy_part(const struct strategy_pool *pool, uint32_t member)
{
    return pool->parts == NULL ? BACKEND_PART_FULL : pool->parts[member];
}

/* A weight that holds its part: below 2^26. */
static inline uint32_t strategy_weight(const struct strategy_pool *pool, uint32_t member)
{
    uint32_t weight = pool->even ? 1 : pool->members[member].weight;
    return pool->parts == NULL ? weight : weight * pool->parts[member];
}

/* A member that starts slowly takes part in so many of the picks as it has of its weight: for strategies that
 * would otherwise run to whoever is idle. */
static inline bool strategy_held_back(const struct strategy_pool *pool, uint32_t member,
                                      struct random_state *random)
{
    return pool->parts != NULL && pool->parts[member] < BACKEND_PART_FULL &&
           random_below(random, BACKEND_PART_FULL) >= pool->parts[member];
}

#endif
