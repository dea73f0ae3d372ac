/*
 * Builds views from the model and puts them in force. Control thread. Only what changed is built anew: groups
 * and the split are shared between views. Reading a view is lease.c's.
 */
#include "balancer/share.h"
#include "balancer/view_internal.h"

#include <stdlib.h>

static const struct strategy *strategy_of(enum config_balance balance)
{
    switch (balance) {
    case CONFIG_BALANCE_WEIGHTED:
        return &strategy_weighted;
    case CONFIG_BALANCE_LEAST_LATENCY:
        return &strategy_least_latency;
    case CONFIG_BALANCE_LEAST_CONNECTIONS:
        return &strategy_least_connections;
    case CONFIG_BALANCE_HASH:
        return &strategy_hash;
    case CONFIG_BALANCE_ROUND_ROBIN:
        break;
    }
    return &strategy_round_robin;
}

void view_group_put(struct view_group *group)
{
    if (group == NULL || --group->count > 0) {
        return;
    }
    for (unsigned kind = 0; kind < VIEW_KINDS; kind++) {
        free(group->pools[kind].members);
        free(group->pools[kind].limits);
        free(group->pools[kind].parts);
        free(group->pools[kind].plan);
    }
    free(group);
}

void view_split_put(struct view_split *split)
{
    if (split != NULL && --split->count == 0) {
        free(split);
    }
}

void view_destroy(void *view_ptr)
{
    struct routing_view *view = view_ptr;
    for (uint32_t g = 0; g < view->groups_len; g++) {
        view_group_put(view->groups[g]);
    }
    view_split_put(view->split);
    free(view);
}

/* What members may have at most; nothing where none has a limit, so that a pick then looks at none. */
static int build_limits(struct strategy_pool *pool)
{
    bool any = false;
    for (uint32_t i = 0; i < pool->len; i++) {
        any |= backend_limit_effective(pool->members[i].backend) > 0;
    }
    if (!any) {
        return 0;
    }
    pool->limits = calloc(pool->len, sizeof(*pool->limits));
    if (pool->limits == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < pool->len; i++) {
        pool->limits[i] = backend_limit_effective(pool->members[i].backend);
    }
    return 0;
}

/* In a panic that uses all, backends without health serve too. */
static bool takes_part(const struct backend *backend, enum view_kind kind, bool all)
{
    return backend->backup == (kind == VIEW_BACKUP) &&
           (all ? backend_eligible(backend) : backend_usable(backend));
}

/* How much of its weight each has while some start slowly. Where all have come equally far there is nothing
 * to hold back: they share what there is. */
static int build_parts(struct strategy_pool *pool)
{
    const struct backend *leader = pool->members[0].backend;
    if (leader == NULL) {
        return 0; /* nobody is there */
    }
    uint32_t first = leader->ramp.part;
    bool differ = false;
    for (uint32_t i = 1; i < pool->len; i++) {
        differ |= pool->members[i].backend->ramp.part != first;
    }
    if (!differ) {
        return 0;
    }
    pool->parts = calloc(pool->len, sizeof(*pool->parts));
    if (pool->parts == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < pool->len; i++) {
        pool->parts[i] = (uint16_t)pool->members[i].backend->ramp.part;
    }
    if (pool->strategy == &strategy_round_robin) {
        pool->strategy = &strategy_weighted; /* in turn, but for those */
        pool->even = true;
    }
    return 0;
}

static int build_pool(const struct routing *routing, const struct model_group *group, enum view_kind kind,
                      bool all, struct strategy_pool *pool)
{
    pool->strategy = strategy_of(group->balance);
    pool->board = group->board;
    pool->cursor = &group->cursors[kind];
    pool->key = routing->ring_key;
    pool->by_name = routing->assign == CONFIG_ASSIGN_SNI;
    pool->prefix_ipv4 = routing->prefix_ipv4;
    pool->prefix_ipv6 = routing->prefix_ipv6;
    pool->group_len = group->backends_len;
    uint64_t weights = 0;
    for (uint32_t i = 0; i < group->backends_len; i++) {
        const struct backend *backend = group->backends[i];
        weights += backend_weight_effective(backend);
        pool->len += takes_part(backend, kind, all);
    }
    pool->weight_reference = weights > group->weight_created ? weights : group->weight_created;
    if (pool->len == 0) {
        return 0;
    }
    pool->members = calloc(pool->len, sizeof(*pool->members));
    if (pool->members == NULL) {
        return ERR_NOMEM;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < group->backends_len; i++) {
        struct backend *backend = group->backends[i];
        if (takes_part(backend, kind, all)) {
            pool->members[n++] =
                (struct strategy_member){.backend = backend,
                                         .slot = backend->slot,
                                         .weight = (uint16_t)backend_weight_effective(backend)};
        }
    }
    int rc = build_limits(pool);
    rc = rc == 0 ? build_parts(pool) : rc;
    return rc == 0 && pool->strategy->build != NULL ? pool->strategy->build(pool) : rc;
}

static int build_group(const struct routing *routing, struct model_group *group)
{
    struct view_group *built = calloc(1, sizeof(*built));
    if (built == NULL) {
        return ERR_NOMEM;
    }
    built->count = 1;
    built->queue = group->queue;
    built->panics = panic_is(group);
    built->panic = group->panic.action;
    bool all = built->panics && built->panic == CONFIG_PANIC_USE_ALL;
    for (unsigned kind = 0; kind < VIEW_KINDS; kind++) {
        if (build_pool(routing, group, (enum view_kind)kind, all, &built->pools[kind]) != 0) {
            view_group_put(built);
            return ERR_NOMEM;
        }
    }
    group->built = built;
    return 0;
}

/* A new counting when the split changed. Within one migration it goes on from where the last one stood. */
static int build_split(struct routing *routing)
{
    const struct view_split *last = routing->split;
    if (last != NULL && last->share_bp == routing->share_bp && last->active == routing->active &&
        last->target == routing->target) {
        return 0;
    }
    struct view_split *split = aligned_alloc(CACHE_LINE, sizeof(*split));
    if (split == NULL) {
        return ERR_NOMEM;
    }
    atomic_init(&split->tickets, 0);
    atomic_init(&split->followers, 0);
    split->share_bp = routing->share_bp;
    split->active = routing->active;
    split->target = routing->target;
    split->phase_bp = 0;
    split->count = 1;
    if (last != NULL && last->active == split->active && last->target == split->target) {
        uint64_t tickets = atomic_load_explicit(&routing->split->tickets, memory_order_relaxed);
        split->phase_bp = share_phase_after(tickets, last->phase_bp, last->share_bp);
    }
    view_split_put(routing->split);
    routing->split = split;
    return 0;
}

uint32_t routing_count_phase(const struct routing *routing)
{
    const struct view_split *split = routing->split;
    return share_phase_after(atomic_load_explicit(&routing->split->tickets, memory_order_relaxed),
                             split->phase_bp, split->share_bp);
}

void routing_set_count_phase(struct routing *routing, uint32_t phase_bp)
{
    atomic_store_explicit(&routing->split->tickets, 0, memory_order_relaxed);
    routing->split->phase_bp = phase_bp % SHARE_BP_FULL;
}

static struct routing_view *build_view(struct routing *routing)
{
    struct routing_view *view = calloc(1, sizeof(*view) + routing->groups_len * sizeof(struct view_group *));
    if (view == NULL) {
        return NULL;
    }
    view->split = routing->split;
    view->split->count++;
    view->assign = routing->assign;
    view->fallback = routing->fallback;
    view->fallback_when_full = routing->fallback_when_full;
    view->share_key = routing->share_key;
    view->prefix_ipv4 = routing->prefix_ipv4;
    view->prefix_ipv6 = routing->prefix_ipv6;
    view->groups_len = routing->groups_len;
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        view->groups[g] = routing->groups[g].built;
        view->groups[g]->count++;
    }
    return view;
}

int routing_publish(struct routing *routing, struct err_text *err)
{
    if (!routing->changed) {
        return 0;
    }
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        if (routing->groups[g].built == NULL && build_group(routing, &routing->groups[g]) != 0) {
            return err_set(err, ERR_NOMEM, "%s: out of memory, the routing stays as it was",
                           routing->service);
        }
    }
    const struct view_split *split = routing->split;
    struct routing_view *view = build_split(routing) == 0 ? build_view(routing) : NULL;
    if (view == NULL) {
        return err_set(err, ERR_NOMEM, "%s: out of memory, the routing stays as it was", routing->service);
    }
    struct routing_view *old = atomic_exchange(&routing->view, view);
    routing->changed = false;
    queue_published(view, split != routing->split);
    if (old != NULL && routing->retire != NULL) {
        routing->retire(routing->retire_context, old, view_destroy);
    } else if (old != NULL) {
        view_destroy(old);
    }
    if (routing->listener != NULL) {
        routing->listener(routing->listener_context);
    }
    return 0;
}

const struct routing_view *routing_view(const struct routing *routing)
{
    return atomic_load(&routing->view);
}
