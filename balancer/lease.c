/*
 * What a worker does with a view: picks a backend for a connection and takes a claim on it, reports what
 * became of it, gives it back. Runs on the workers; no lock, no allocation, a bounded number of steps.
 */
#include "balancer/latency_internal.h"
#include "balancer/share.h"
#include "balancer/view_internal.h"

#include <string.h>

#define DRAWS 4u /* times that a strategy is asked for a member that is not full */

/* Where the client, or the name it asks for, stands on the scale of the share. False: it is counted instead.
 */
static bool find_place(const struct routing_view *view, const struct routing_pick_input *input,
                       uint32_t *place)
{
    if (view->assign == CONFIG_ASSIGN_SNI && input->server_name != NULL) {
        *place = share_name_place(&view->share_key, input->server_name);
        return true;
    }
    if (view->assign != CONFIG_ASSIGN_CONNECTION && input->client.family != 0) {
        *place = share_client_place(&view->share_key, &input->client, view->prefix_ipv4, view->prefix_ipv6);
        return true;
    }
    return false;
}

static uint32_t decide_group(const struct routing_view *view, const struct routing_pick_input *input)
{
    struct view_split *split = view->split;
    uint32_t place = 0;
    if (split->target == ROUTING_NONE || split->target == split->active) {
        return split->active;
    }
    bool to_target;
    if (find_place(view, input, &place)) {
        to_target = place < split->share_bp;
    } else {
        uint64_t ticket = atomic_fetch_add_explicit(&split->tickets, 1, memory_order_relaxed);
        to_target = share_ticket_to_target(ticket, split->phase_bp, split->share_bp);
    }
    return to_target ? split->target : split->active;
}

/* What becomes of an earlier decision when the share is another one now. By client that is plain. By
 * connection those of the side that gained stay, and of the others as many follow as bring the whole in line,
 * in exact turn: for a share that went from a to b, (b - a) / (1 - a) of those that were decided for the
 * active group, or 1 - b / a of those for the target. No ticket is drawn for it: it has had one. */
static uint32_t follow_share(const struct routing_view *view, const struct routing_pick_input *input,
                             const struct routing_attempts *attempts)
{
    struct view_split *split = view->split;
    uint32_t was_bp = attempts->share_bp;
    uint32_t now_bp = split->share_bp;
    uint32_t place = 0;
    if (was_bp == now_bp) {
        return attempts->group;
    }
    if (split->target == ROUTING_NONE || split->target == split->active) {
        return split->active;
    }
    if (find_place(view, input, &place)) {
        return place < now_bp ? split->target : split->active;
    }
    bool gains = now_bp > was_bp;
    if ((attempts->group == split->target) == gains) {
        return attempts->group;
    }
    uint32_t moved_bp = gains ? (now_bp - was_bp) * SHARE_BP_FULL / (SHARE_BP_FULL - was_bp)
                              : (was_bp - now_bp) * SHARE_BP_FULL / was_bp;
    uint64_t turn = atomic_fetch_add_explicit(&split->followers, 1, memory_order_relaxed);
    bool moves = share_ticket_to_target(turn, 0, moved_bp);
    return moves == gains ? split->target : split->active;
}

/* Takes a claim on a member, unless that is full. */
static bool reserve(const struct strategy_pool *pool, uint32_t member)
{
    _Atomic uint32_t *count = &pool->board->claims[pool->members[member].slot].count;
    if (pool->limits == NULL || pool->limits[member] == 0) {
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
        return true;
    }
    uint32_t claims = atomic_load(count);
    while (claims <= pool->limits[member]) { /* one of the claims is the model's */
        if (atomic_compare_exchange_weak(count, &claims, claims + 1)) {
            return true;
        }
    }
    return false;
}

/* Where no member has a limit: the strategy's choice, else the next behind it that was not tried. At most one
 * step more than there were tries, since a backend is in a pool once. */
static int search_unlimited(const struct strategy_pool *pool, const struct routing_pick_input *input,
                            const struct routing_attempts *attempts, uint32_t *member)
{
    uint32_t i = pool->strategy->pick(pool, input, attempts);
    for (uint32_t steps = 0; steps <= attempts->count && steps < pool->len; steps++) {
        if (!strategy_tried(attempts, pool->members[i].backend)) {
            *member = i;
            return reserve(pool, i) ? 0 : ERR_LIMIT;
        }
        i = i + 1 == pool->len ? 0 : i + 1;
    }
    return ERR_UNAVAILABLE;
}

/* Where some have: the strategy is asked a few times, so that those that have room keep the proportions that
 * it gives them; then every member is looked at once. */
static int search_limited(const struct strategy_pool *pool, const struct routing_pick_input *input,
                          const struct routing_attempts *attempts, uint32_t *member)
{
    uint32_t i = 0;
    int rc = ERR_UNAVAILABLE;
    for (unsigned draw = 0; draw < DRAWS; draw++) {
        i = pool->strategy->pick(pool, input, attempts);
        if (!strategy_tried(attempts, pool->members[i].backend) && reserve(pool, i)) {
            *member = i;
            return 0;
        }
    }
    for (uint32_t seen = 0; seen < pool->len; seen++) {
        if (!strategy_tried(attempts, pool->members[i].backend)) {
            if (reserve(pool, i)) {
                *member = i;
                return 0;
            }
            rc = ERR_LIMIT;
        }
        i = i + 1 == pool->len ? 0 : i + 1;
    }
    return rc;
}

/* Somebody waits who came earlier. A connection that has tried a backend already is not a new one. */
static bool must_wait(const struct view_group *group, const struct routing_pick_input *input,
                      const struct routing_attempts *attempts)
{
    return !input->waited && attempts->count == 0 &&
           atomic_load_explicit(&group->queue->waiting, memory_order_relaxed) > 0;
}

/* A claim on a member of the pool that was not tried. ERR_LIMIT: all of those are full. */
static int search(const struct view_group *group, const struct strategy_pool *pool,
                  const struct routing_pick_input *input, const struct routing_attempts *attempts,
                  uint32_t *member)
{
    if (pool->len == 0) {
        return ERR_UNAVAILABLE;
    }
    if (pool->limits == NULL) {
        return search_unlimited(pool, input, attempts, member);
    }
    return must_wait(group, input, attempts) ? ERR_LIMIT : search_limited(pool, input, attempts, member);
}

static int claim(const struct view_group *group, const struct routing_pick_input *input,
                 struct routing_attempts *attempts, struct lease *lease)
{
    const struct strategy_pool *pool = &group->pools[VIEW_REGULAR];
    uint32_t index = 0;
    int rc = search(group, pool, input, attempts, &index);
    if (rc == ERR_UNAVAILABLE) {
        pool = &group->pools[VIEW_BACKUP];
        rc = search(group, pool, input, attempts, &index);
    }
    if (rc != 0) {
        return rc;
    }
    const struct strategy_member *member = &pool->members[index];
    struct backend *backend = member->backend;
    struct latency_lane *lane = board_lane(pool->board, input->worker, member->slot);
    latency_picked(lane, input->now_us);
    latency_fly(lane, 1);
    attempts->tried[attempts->count++] = backend;
    lease->backend = backend;
    lease->stats = &backend->stats[input->worker];
    lease->in_turn = false;
    lease->connecting = true;
    return 0;
}

uint32_t view_other_group(const struct routing_view *view, uint32_t group)
{
    const struct view_split *split = view->split;
    if (!view->fallback || split->target == ROUTING_NONE || split->target == split->active) {
        return ROUTING_NONE;
    }
    return group == split->active ? split->target : split->active;
}

/* The connection's group is in panic. True with *rc when that settles it; else it goes the usual way, with
 * what is left of the group (or, where all of it is used, with that, which the view was built for). */
static bool pick_in_panic(const struct routing_view *view, const struct routing_pick_input *input,
                          struct routing_attempts *attempts, struct lease *lease, int *rc)
{
    enum config_panic action = view->groups[attempts->group]->panic;
    *rc = action == CONFIG_PANIC_REFUSE ? ERR_UNAVAILABLE : 0;
    if (action == CONFIG_PANIC_REFUSE) {
        return true;
    }
    uint32_t other = attempts->fixed ? ROUTING_NONE : view_other_group(view, attempts->group);
    if (action != CONFIG_PANIC_OTHER_GROUP || other == ROUTING_NONE || view->groups[other]->panics ||
        claim(view->groups[other], input, attempts, lease) != 0) {
        return false;
    }
    lease->group = other;
    lease->spilled = true;
    return true;
}

int routing_pick(const struct routing_view *view, const struct routing_pick_input *input,
                 struct routing_attempts *attempts, struct lease *lease)
{
    memset(lease, 0, sizeof(*lease));
    if (attempts->count >= ROUTING_ATTEMPTS_MAX) {
        return ERR_UNAVAILABLE;
    }
    const struct view_split *split = view->split;
    /* A decision for a group that has left the split since (a migration ended in between) no longer stands.
     */
    if (attempts->fixed) {
        if (attempts->group >= view->groups_len) {
            return ERR_UNAVAILABLE;
        }
    } else if (!attempts->decided || (attempts->group != split->active && attempts->group != split->target)) {
        attempts->group = decide_group(view, input);
        attempts->decided = true;
    } else {
        attempts->group = follow_share(view, input, attempts);
    }
    attempts->share_bp = split->share_bp;
    lease->group = attempts->group;
    attempts->full = attempts->group;
    if (view->groups[attempts->group]->panics) {
        int rc = 0;
        if (pick_in_panic(view, input, attempts, lease, &rc)) {
            return rc;
        }
    }
    int own = claim(view->groups[attempts->group], input, attempts, lease);
    if (own == 0 || (own == ERR_LIMIT && !view->fallback_when_full)) {
        return own;
    }
    uint32_t other = attempts->fixed ? ROUTING_NONE : view_other_group(view, attempts->group);
    int rc = other == ROUTING_NONE ? ERR_UNAVAILABLE : claim(view->groups[other], input, attempts, lease);
    if (rc == 0) {
        lease->group = other;
        lease->spilled = true;
    } else if (own == ERR_LIMIT) {
        rc = ERR_LIMIT; /* it waits for its own group */
    } else {
        attempts->full = other;
    }
    return rc;
}

static struct latency_lane *lane_of(const struct lease *lease)
{
    const struct backend *backend = lease->backend;
    return board_lane(backend->board, (unsigned)(lease->stats - backend->stats), backend->slot);
}

void lease_release(struct lease *lease, int outcome, uint64_t now_us)
{
    lease_turn_cancel(lease);
    if (lease->connecting) {
        latency_fly(lane_of(lease), -1);
        lease->connecting = false;
    }
    if (outcome >= 0 && outcome < STATS_ERROR_COUNT) {
        stats_add(&lease->stats->errors[outcome], 1);
        /* An abort in mid-stream says nothing about how soon an answer comes. */
        if (outcome != STATS_ERROR_ABORT) {
            latency_failed(lane_of(lease), now_us);
        }
        if (!lease->excused) {
            backend_note_failure(lease->backend, (enum stats_error)outcome);
        }
    }
    struct backend *backend = lease->backend;
    memset(lease, 0, sizeof(*lease));
    backend_put(backend);
}

void lease_connected(struct lease *lease, uint64_t connect_us, uint64_t now_us)
{
    struct latency_lane *lane = lane_of(lease);
    if (lease->connecting) {
        latency_fly(lane, -1);
        lease->connecting = false;
    }
    stats_add(&lease->stats->connections, 1);
    backend_note_connected(lease->backend);
    histogram_record(&lease->stats->connect_us, connect_us);
    /* Until answers are measured the connect time is all that is known. */
    if (atomic_load_explicit(&lease->stats->turns, memory_order_relaxed) == 0) {
        latency_sample(lane, connect_us, now_us);
    }
}

void lease_turn_begin(struct lease *lease)
{
    if (!lease->in_turn) {
        lease->in_turn = true;
        latency_fly(lane_of(lease), 1);
    }
}

void lease_turn_end(struct lease *lease, uint64_t response_us, uint64_t now_us)
{
    lease_turn_cancel(lease);
    stats_add(&lease->stats->turns, 1);
    backend_note_answered(lease->backend);
    histogram_record(&lease->stats->response_us, response_us);
    latency_sample(lane_of(lease), response_us, now_us);
}

void lease_turn_cancel(struct lease *lease)
{
    if (lease->in_turn) {
        lease->in_turn = false;
        latency_fly(lane_of(lease), -1);
    }
}
