/*
 * What a worker does with a view: picks a backend for a connection and takes a claim on it, reports what
 * became of it, gives it back. Runs on the workers; no lock, no allocation, a bounded number of steps.
 */
#include "balancer/latency_internal.h"
#include "balancer/share.h"
#include "balancer/view_internal.h"

#include <string.h>

static uint32_t decide_group(const struct routing_view *view, const struct routing_pick_input *input)
{
    struct view_split *split = view->split;
    if (split->target == ROUTING_NONE || split->target == split->active) {
        return split->active;
    }
    bool to_target;
    if (view->assign == CONFIG_ASSIGN_CLIENT && input->client.family != 0) {
        uint32_t place =
            share_client_place(&view->share_key, &input->client, view->prefix_ipv4, view->prefix_ipv6);
        to_target = place < split->share_bp;
    } else {
        uint64_t ticket = atomic_fetch_add_explicit(&split->tickets, 1, memory_order_relaxed);
        to_target = share_ticket_to_target(ticket, split->phase_bp, split->share_bp);
    }
    return to_target ? split->target : split->active;
}

/* A member of the pool that was not tried: the strategy's choice, else the next behind it. At most one step
 * more than there were tries, since a backend is in a pool once. */
static struct strategy_member *choose(const struct strategy_pool *pool,
                                      const struct routing_pick_input *input,
                                      const struct routing_attempts *attempts)
{
    if (pool->len == 0) {
        return NULL;
    }
    uint32_t i = pool->strategy->pick(pool, input, attempts);
    for (uint32_t steps = 0; steps <= attempts->count && steps < pool->len; steps++) {
        if (!strategy_tried(attempts, pool->members[i].backend)) {
            return &pool->members[i];
        }
        i = i + 1 == pool->len ? 0 : i + 1;
    }
    return NULL;
}

static int claim(const struct view_group *group, const struct routing_pick_input *input,
                 struct routing_attempts *attempts, struct lease *lease)
{
    struct strategy_member *member = choose(&group->pools[VIEW_REGULAR], input, attempts);
    if (member == NULL) {
        member = choose(&group->pools[VIEW_BACKUP], input, attempts);
    }
    if (member == NULL) {
        return ERR_UNAVAILABLE;
    }
    struct backend *backend = member->backend;
    const struct board *board = group->pools[VIEW_REGULAR].board;
    atomic_fetch_add_explicit(&board->claims[member->slot].count, 1, memory_order_relaxed);
    struct latency_lane *lane = board_lane(board, input->worker, member->slot);
    latency_picked(lane, input->now_us);
    latency_fly(lane, 1);
    attempts->tried[attempts->count++] = backend;
    lease->backend = backend;
    lease->stats = &backend->stats[input->worker];
    lease->in_turn = false;
    lease->connecting = true;
    return 0;
}

/* The group that may help out, or ROUTING_NONE. */
static uint32_t other_group(const struct routing_view *view, uint32_t group)
{
    const struct view_split *split = view->split;
    if (!view->fallback || split->target == ROUTING_NONE || split->target == split->active) {
        return ROUTING_NONE;
    }
    return group == split->active ? split->target : split->active;
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
    if (!attempts->decided || (attempts->group != split->active && attempts->group != split->target)) {
        attempts->group = decide_group(view, input);
        attempts->decided = true;
    }
    lease->group = attempts->group;
    if (claim(view->groups[attempts->group], input, attempts, lease) == 0) {
        return 0;
    }
    uint32_t other = other_group(view, attempts->group);
    if (other == ROUTING_NONE || claim(view->groups[other], input, attempts, lease) != 0) {
        return ERR_UNAVAILABLE;
    }
    lease->group = other;
    lease->spilled = true;
    return 0;
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
