/*
 * Waiting for a backend that has room. Who waits is in the list of its group, in order of arrival over all
 * workers; who gives a connection back wakes the first for whom there is room now, and so does whoever
 * changes the routing. Being woken is not a claim: the one who is picks anew, so that a share, a state or a
 * limit that changed meanwhile counts. Runs on the workers and, after a publish, on the control thread.
 *
 * Nobody is forgotten: who begins to wait is counted first and then looks whether there is room; who gives
 * back makes room first and then looks whether somebody waits. Both in sequentially consistent order, so one
 * of them sees the other (Dekker's mutual exclusion rests on the same). Never more are woken than there is
 * room for, so a lost race costs a look and not a stampede.
 */
#include "balancer/queue_internal.h"

#include "balancer/view_internal.h"

#include <stdlib.h>
#include <string.h>

struct queue *queue_create(unsigned workers)
{
    size_t bytes = sizeof(struct queue) + workers * sizeof(struct queue_lane);
    struct queue *queue = aligned_alloc(CACHE_LINE, bytes);
    if (queue == NULL) {
        return NULL;
    }
    memset(queue, 0, bytes);
    if (lock_init(&queue->lock) != 0) {
        free(queue);
        return NULL;
    }
    queue->workers = workers;
    list_init(&queue->waiters);
    return queue;
}

void queue_destroy(struct queue *queue)
{
    if (queue != NULL) {
        lock_destroy(&queue->lock);
        free(queue);
    }
}

/* ---- who has room for whom */

/* Connections that the backends which a new connection would go to could take now; UINT64_MAX: one of them
 * has no limit. */
static uint64_t group_room(const struct view_group *group)
{
    const struct strategy_pool *pool = &group->pools[VIEW_REGULAR];
    pool = pool->len > 0 ? pool : &group->pools[VIEW_BACKUP];
    uint64_t room = 0;
    for (uint32_t i = 0; i < pool->len; i++) {
        uint32_t claims = atomic_load(&pool->board->claims[pool->members[i].slot].count);
        if (pool->limits == NULL || pool->limits[i] == 0) {
            return UINT64_MAX;
        }
        room += claims <= pool->limits[i] ? pool->limits[i] + UINT64_C(1) - claims : 0;
    }
    return room;
}

enum finding { FINDS_ROOM, FINDS_FULL, FINDS_NOTHING };

/* What a pick of this connection would come to in a group. */
static enum finding look(const struct view_group *group, const struct routing_attempts *attempts)
{
    for (unsigned kind = 0; kind < VIEW_KINDS; kind++) {
        const struct strategy_pool *pool = &group->pools[kind];
        bool left = false;
        for (uint32_t i = 0; i < pool->len; i++) {
            bool tried = strategy_tried(attempts, pool->members[i].backend);
            if (!tried && !strategy_full(pool, i)) {
                return FINDS_ROOM;
            }
            left |= !tried;
        }
        if (left) {
            return FINDS_FULL;
        }
    }
    return FINDS_NOTHING;
}

/* The group that takes what this one has no room for: where that is set, or in a panic that hands over. */
static uint32_t helper_of(const struct routing_view *view, uint32_t group)
{
    const struct view_group *own = view->groups[group];
    uint32_t other = view_other_group(view, group);
    if (other == ROUTING_NONE) {
        return ROUTING_NONE;
    }
    bool panics = own->panics && own->panic == CONFIG_PANIC_OTHER_GROUP && !view->groups[other]->panics;
    return view->fallback_when_full || panics ? other : ROUTING_NONE;
}

/* In a panic that refuses there is nothing to wait for. */
static bool group_refuses(const struct view_group *group)
{
    return group->panics && group->panic == CONFIG_PANIC_REFUSE;
}

/* Whether this one is to be woken: there is room for it, or there is nothing left that it could wait for,
 * which it must learn. Of the helping group only room counts. */
static bool concerns(const struct view_group *own, const struct view_group *helper,
                     const struct routing_attempts *attempts)
{
    return group_refuses(own) || look(own, attempts) != FINDS_FULL ||
           (helper != NULL && !attempts->fixed && look(helper, attempts) == FINDS_ROOM);
}

/* How many may be woken at a time: as many as there is room for; all of them when there is nobody to wait
 * for. */
static uint64_t count_room(const struct view_group *own, const struct view_group *helper)
{
    bool none = own->pools[VIEW_REGULAR].len + own->pools[VIEW_BACKUP].len == 0;
    uint64_t room = none || group_refuses(own) ? UINT64_MAX : group_room(own);
    uint64_t more = helper != NULL ? group_room(helper) : 0;
    return room < UINT64_MAX - more ? room + more : UINT64_MAX;
}

/* Wakes those at the front for whom there is room. */
static void wake(const struct routing_view *view, uint32_t group, bool all)
{
    const struct view_group *own = view->groups[group];
    struct queue *queue = own->queue;
    if (atomic_load(&queue->waiting) == 0) {
        return;
    }
    uint32_t other = helper_of(view, group);
    const struct view_group *helper = other != ROUTING_NONE ? view->groups[other] : NULL;
    lock_take(&queue->lock);
    uint64_t room = all ? UINT64_MAX : count_room(own, helper);
    list_each (node, &queue->waiters) {
        struct routing_waiter *waiter = list_entry(node, struct routing_waiter, node);
        if (queue->woken >= room) {
            break;
        }
        if (!waiter->woken && (all || concerns(own, helper, &waiter->attempts))) {
            waiter->woken = true;
            queue->woken++;
            waiter->wake(waiter);
        }
    }
    lock_release(&queue->lock);
}

void routing_wake(const struct routing *routing, uint32_t group)
{
    const struct routing_view *view = routing_view(routing);
    if (group >= view->groups_len) {
        return;
    }
    wake(view, group, false);
    uint32_t other = view_other_group(view, group);
    if (other != ROUTING_NONE && helper_of(view, other) == group) {
        wake(view, other, false);
    }
}

void queue_published(const struct routing_view *view, bool all)
{
    for (uint32_t g = 0; g < view->groups_len; g++) {
        wake(view, g, all);
    }
}

/* ---- coming and going */

/* At its place; mostly the last one. False: the queue has as many as it may. */
static bool enter(struct queue *queue, struct routing_waiter *waiter, bool bounded)
{
    lock_take(&queue->lock);
    uint32_t waiting = atomic_load_explicit(&queue->waiting, memory_order_relaxed);
    bool room = !bounded || waiting < atomic_load_explicit(&queue->size, memory_order_relaxed);
    if (room) {
        struct list *after = queue->waiters.prev;
        while (after != &queue->waiters &&
               list_entry(after, struct routing_waiter, node)->arrival > waiter->arrival) {
            after = after->prev;
        }
        list_append(after->next, &waiter->node);
        atomic_store(&queue->waiting, waiting + 1);
    }
    lock_release(&queue->lock);
    return room;
}

static void leave(struct queue *queue, struct routing_waiter *waiter)
{
    lock_take(&queue->lock);
    list_remove(&waiter->node);
    atomic_store(&queue->waiting, atomic_load_explicit(&queue->waiting, memory_order_relaxed) - 1);
    queue->woken -= waiter->woken;
    lock_release(&queue->lock);
}

int routing_wait(struct routing *routing, struct routing_waiter *waiter,
                 const struct routing_attempts *attempts, uint64_t now_us)
{
    waiter->group = attempts->full;
    waiter->attempts = *attempts;
    waiter->since_us = now_us;
    waiter->woken = false;
    if (waiter->arrival == 0) {
        waiter->arrival = atomic_fetch_add_explicit(&routing->arrivals, 1, memory_order_relaxed) + 1;
    }
    if (!enter(routing->groups[waiter->group].queue, waiter, true)) {
        return ERR_LIMIT;
    }
    routing_wake(routing, waiter->group);
    return 0;
}

/* A share that changed sends it to wait elsewhere, where it takes the place that its arrival gives it. It was
 * let in once, so no bound keeps it out. */
static void move(struct routing *routing, struct routing_waiter *waiter, uint32_t group)
{
    uint32_t from = waiter->group;
    leave(routing->groups[from].queue, waiter);
    waiter->group = group;
    (void)enter(routing->groups[group].queue, waiter, false);
    routing_wake(routing, group);
    routing_wake(routing, from);
}

int routing_wait_turn(struct routing *routing, struct routing_waiter *waiter,
                      const struct routing_pick_input *input, struct routing_attempts *attempts,
                      struct lease *lease)
{
    uint32_t group = waiter->group;
    struct queue *queue = routing->groups[group].queue;
    struct routing_pick_input turn = *input;
    turn.waited = true;
    /* First this, then the look: who makes room after the look wakes it again. */
    lock_take(&queue->lock);
    queue->woken -= waiter->woken;
    waiter->woken = false;
    lock_release(&queue->lock);
    int rc = routing_pick(routing_view(routing), &turn, attempts, lease);
    if (rc == ERR_LIMIT && attempts->full != group) {
        move(routing, waiter, attempts->full);
        return rc;
    }
    if (rc != ERR_LIMIT) {
        leave(queue, waiter);
    }
    if (rc == 0) {
        uint64_t waited_us = input->now_us > waiter->since_us ? input->now_us - waiter->since_us : 0;
        histogram_record(&queue->lanes[input->worker].waited_us, waited_us);
    }
    routing_wake(routing, group); /* what it was woken for may be left to the next */
    return rc;
}

void routing_wait_leave(struct routing *routing, struct routing_waiter *waiter)
{
    leave(routing->groups[waiter->group].queue, waiter);
    routing_wake(routing, waiter->group);
}

uint64_t routing_wait_due_us(const struct routing *routing, const struct routing_waiter *waiter)
{
    const struct queue *queue = routing->groups[waiter->group].queue;
    return waiter->since_us + atomic_load_explicit(&queue->timeout_us, memory_order_relaxed);
}

/* ---- control thread */

void routing_set_queue(struct routing *routing, uint32_t group, uint32_t size, uint64_t timeout_us)
{
    struct queue *queue = routing->groups[group].queue;
    atomic_store_explicit(&queue->size, size, memory_order_relaxed);
    atomic_store_explicit(&queue->timeout_us, timeout_us, memory_order_relaxed);
}

void routing_queue_read(const struct routing *routing, size_t group, struct routing_queue_reading *out)
{
    const struct queue *queue = routing->groups[group].queue;
    memset(out, 0, sizeof(*out));
    out->waiting = atomic_load_explicit(&queue->waiting, memory_order_relaxed);
    out->size = atomic_load_explicit(&queue->size, memory_order_relaxed);
    out->timeout_us = atomic_load_explicit(&queue->timeout_us, memory_order_relaxed);
    for (unsigned worker = 0; worker < queue->workers; worker++) {
        histogram_read_add(&queue->lanes[worker].waited_us, &out->waited_us);
    }
}
