/*
 * The model of one service's routing: groups, backends, what health and operators said of them, the split.
 * Control thread only. What workers read of it is built by view.c.
 */
#include "balancer/share.h"
#include "balancer/view_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int check_name(const char *what, const char *name, struct err_text *err)
{
    if (name == NULL || name[0] == '\0') {
        return err_set(err, ERR_INVALID, "%s has no name", what);
    }
    if (strlen(name) >= ROUTING_NAME_MAX) {
        return err_set(err, ERR_RANGE, "%s name \"%.40s...\" is longer than %u bytes", what, name,
                       ROUTING_NAME_MAX - 1);
    }
    return 0;
}

int routing_check_group(const struct routing_group_spec *group, struct err_text *err)
{
    int rc = check_name("group", group->name, err);
    if (rc == 0 && group->backends_len > ROUTING_BACKENDS_MAX) {
        rc = err_set(err, ERR_RANGE, "group \"%s\" has %zu backends, the limit is %u", group->name,
                     group->backends_len, ROUTING_BACKENDS_MAX);
    }
    for (size_t i = 0; rc == 0 && i < group->backends_len; i++) {
        const struct routing_backend_spec *backend = &group->backends[i];
        rc = check_name("backend", backend->name, err);
        if (rc == 0 && backend->weight > ROUTING_WEIGHT_MAX) {
            rc = err_set(err, ERR_RANGE, "backend \"%s/%s\": weight %u is above %u", group->name,
                         backend->name, backend->weight, ROUTING_WEIGHT_MAX);
        }
        for (size_t j = 0; rc == 0 && j < i; j++) {
            if (strcmp(backend->name, group->backends[j].name) == 0) {
                rc = err_set(err, ERR_EXISTS, "backend \"%s/%s\" is there twice", group->name, backend->name);
            }
        }
    }
    return rc;
}

static int check_spec(const struct routing_spec *spec, struct err_text *err)
{
    if (spec->service == NULL || spec->groups_len == 0 || spec->workers == 0) {
        return err_set(err, ERR_INVALID, "service \"%s\": needs a name, a group and a worker",
                       spec->service != NULL ? spec->service : "");
    }
    if (spec->prefix_ipv4 > 32 || spec->prefix_ipv6 > 128 || spec->groups_len >= ROUTING_NONE) {
        return err_set(err, ERR_RANGE, "service \"%s\": client prefix /%u or /%u is out of range",
                       spec->service, spec->prefix_ipv4, spec->prefix_ipv6);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < spec->groups_len; i++) {
        rc = routing_check_group(&spec->groups[i], err);
        for (size_t j = 0; rc == 0 && j < i; j++) {
            if (strcmp(spec->groups[i].name, spec->groups[j].name) == 0) {
                rc = err_set(err, ERR_EXISTS, "group \"%s\" is there twice", spec->groups[i].name);
            }
        }
    }
    return rc;
}

/* Room on the board for backends that come later. */
static uint32_t board_room(const struct routing_group_spec *spec)
{
    size_t slots = 2 * spec->backends_len + spec->room + ROUTING_BACKENDS_SPARE;
    return slots < UINT32_MAX ? (uint32_t)slots : UINT32_MAX;
}

int model_group_fill(struct model_group *group, uint32_t index, const struct routing_group_spec *spec,
                     unsigned workers)
{
    memcpy(group->name, spec->name, strlen(spec->name) + 1);
    group->balance = spec->balance;
    group->panic = spec->panic;
    group->board = board_create(board_room(spec), workers);
    group->cursors = aligned_alloc(CACHE_LINE, VIEW_KINDS * sizeof(*group->cursors));
    group->backends = calloc(spec->backends_len + 1, sizeof(struct backend *));
    group->queue = queue_create(workers);
    if (group->board == NULL || group->cursors == NULL || group->backends == NULL || group->queue == NULL) {
        return ERR_NOMEM;
    }
    atomic_init(&group->queue->size, spec->queue_size);
    atomic_init(&group->queue->timeout_us, spec->queue_timeout_us);
    for (unsigned kind = 0; kind < VIEW_KINDS; kind++) {
        atomic_init(&group->cursors[kind].next, 0);
    }
    for (uint32_t i = 0; i < spec->backends_len; i++) {
        group->backends[i] = backend_create(&spec->backends[i], index, group->board, i);
        if (group->backends[i] == NULL) {
            return ERR_NOMEM;
        }
        group->backends_len++;
        group->weight_created += spec->backends[i].weight;
    }
    return 0;
}

void model_group_connect(struct model_group *group, const struct routing *routing)
{
    if (group->board != NULL) {
        group->board->alarm = routing->alarm;
        group->board->alarm_context = routing->alarm_context;
    }
}

void model_group_clear(struct model_group *group)
{
    view_group_put(group->built);
    for (uint32_t i = 0; i < group->backends_len; i++) {
        backend_put(group->backends[i]);
    }
    free((void *)group->backends);
    free(group->cursors);
    queue_destroy(group->queue);
    board_put(group->board);
}

/* Two keys from one salt: with one key alone the clients of the target would fill only a part of its ring. */
static void make_keys(struct routing *routing, const char *salt)
{
    siphash_key_from_text(&routing->share_key, salt);
    routing->ring_key.k0 = siphash(&routing->share_key, "ring.0", 6);
    routing->ring_key.k1 = siphash(&routing->share_key, "ring.1", 6);
}

int routing_create(const struct routing_spec *spec, struct routing **out, struct err_text *err)
{
    int rc = check_spec(spec, err);
    if (rc != 0) {
        return rc;
    }
    struct routing *routing =
        calloc(1, sizeof(*routing) + (spec->groups_len + ROUTING_GROUPS_SPARE) * sizeof(routing->groups[0]));
    if (routing == NULL || (routing->service = strdup(spec->service)) == NULL) {
        free(routing);
        return err_set(err, ERR_NOMEM, "service \"%s\": out of memory", spec->service);
    }
    routing->groups_room = (uint32_t)spec->groups_len + ROUTING_GROUPS_SPARE;
    routing->assign = spec->assign;
    routing->prefix_ipv4 = spec->prefix_ipv4;
    routing->prefix_ipv6 = spec->prefix_ipv6;
    routing->fallback = spec->fallback;
    routing->fallback_when_full = spec->fallback_when_full;
    routing->workers = spec->workers;
    routing->retire = spec->retire;
    routing->retire_context = spec->retire_context;
    routing->alarm = spec->alarm;
    routing->alarm_context = spec->alarm_context;
    routing->starting = spec->starting;
    routing->starting_context = spec->starting_context;
    routing->target = ROUTING_NONE;
    routing->changed = true;
    make_keys(routing, spec->salt != NULL ? spec->salt : spec->service);
    for (uint32_t g = 0; rc == 0 && g < spec->groups_len; g++) {
        routing->groups_len++;
        rc = model_group_fill(&routing->groups[g], g, &spec->groups[g], routing->workers);
        model_group_connect(&routing->groups[g], routing);
    }
    rc = rc == 0 ? routing_publish(routing, NULL) : rc;
    if (rc != 0) {
        routing_destroy(routing);
        return err_set(err, rc, "service \"%s\": out of memory", spec->service);
    }
    *out = routing;
    return 0;
}

void routing_destroy(struct routing *routing)
{
    if (routing == NULL) {
        return;
    }
    struct routing_view *view = atomic_load_explicit(&routing->view, memory_order_relaxed);
    if (view != NULL) {
        view_destroy(view);
    }
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        model_group_clear(&routing->groups[g]);
    }
    view_split_put(routing->split);
    free(routing->service);
    free(routing);
}

const char *routing_service(const struct routing *routing)
{
    return routing->service;
}

size_t routing_groups(const struct routing *routing)
{
    return routing->groups_len;
}

static const struct model_group *group_at(const struct routing *routing, size_t group)
{
    assert(group < routing->groups_len);
    return &routing->groups[group];
}

const char *routing_group_name(const struct routing *routing, size_t group)
{
    return group_at(routing, group)->name;
}

enum config_balance routing_group_balance(const struct routing *routing, size_t group)
{
    return group_at(routing, group)->balance;
}

uint32_t routing_find_group(const struct routing *routing, const char *name)
{
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        if (strcmp(routing->groups[g].name, name) == 0 && !routing_group_is_gone(routing, g)) {
            return g;
        }
    }
    return ROUTING_NONE;
}

bool routing_group_is_removed(const struct routing *routing, size_t group)
{
    return group_at(routing, group)->removed;
}

bool routing_group_is_gone(const struct routing *routing, size_t group)
{
    return group_at(routing, group)->removed && group_at(routing, group)->backends_len == 0;
}

uint32_t routing_other_group(const struct routing *routing, uint32_t group)
{
    uint32_t other = ROUTING_NONE;
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        if (g == group || routing->groups[g].removed) {
            continue;
        }
        if (other != ROUTING_NONE) {
            return ROUTING_NONE;
        }
        other = g;
    }
    return other;
}

size_t routing_backends(const struct routing *routing, size_t group)
{
    return group_at(routing, group)->backends_len;
}

struct backend *routing_backend_at(const struct routing *routing, size_t group, size_t index)
{
    assert(index < group_at(routing, group)->backends_len);
    return routing->groups[group].backends[index];
}

struct backend *routing_find_backend(const struct routing *routing, size_t group, const char *name)
{
    const struct model_group *in = group_at(routing, group);
    for (uint32_t i = 0; i < in->backends_len; i++) {
        if (strcmp(in->backends[i]->name, name) == 0) {
            return in->backends[i];
        }
    }
    return NULL;
}

size_t routing_usable(const struct routing *routing, size_t group)
{
    const struct model_group *in = group_at(routing, group);
    size_t usable[VIEW_KINDS] = {0, 0};
    for (uint32_t i = 0; i < in->backends_len; i++) {
        usable[in->backends[i]->backup ? VIEW_BACKUP : VIEW_REGULAR] += backend_usable(in->backends[i]);
    }
    return usable[VIEW_REGULAR] > 0 ? usable[VIEW_REGULAR] : usable[VIEW_BACKUP];
}

uint64_t routing_open(const struct routing *routing, size_t group)
{
    const struct model_group *in = group_at(routing, group);
    uint64_t open = 0;
    for (uint32_t i = 0; i < in->backends_len; i++) {
        open += backend_open(in->backends[i]);
    }
    return open;
}

uint32_t routing_active(const struct routing *routing)
{
    return routing->active;
}

uint32_t routing_target(const struct routing *routing)
{
    return routing->target;
}

uint32_t routing_share_bp(const struct routing *routing)
{
    return routing->share_bp;
}

void routing_set_active(struct routing *routing, uint32_t group)
{
    assert(group < routing->groups_len);
    routing->changed |= routing->active != group;
    routing->active = group;
}

void routing_set_target(struct routing *routing, uint32_t group_or_none)
{
    assert(group_or_none < routing->groups_len || group_or_none == ROUTING_NONE);
    routing->changed |= routing->target != group_or_none;
    routing->target = group_or_none;
}

void routing_set_share(struct routing *routing, uint32_t share_bp)
{
    assert(share_bp <= SHARE_BP_FULL);
    routing->changed |= routing->share_bp != share_bp;
    routing->share_bp = share_bp;
}

void routing_touch_group(struct routing *routing, uint32_t group)
{
    view_group_put(routing->groups[group].built);
    routing->groups[group].built = NULL;
    routing->changed = true;
}

/* What a view is built from, of one backend. */
struct part {
    bool usable, eligible, cold, assumed;
    uint32_t weight;
};

static struct part part_of(const struct backend *backend)
{
    return (struct part){.usable = backend_usable(backend),
                         .eligible = backend_eligible(backend),
                         .cold = backend_is_cold(backend),
                         .assumed = backend->assumed,
                         .weight = backend_weight_effective(backend)};
}

static void touch_if_changed(struct routing *routing, struct backend *backend, struct part was)
{
    struct part is = part_of(backend);
    /* Down is only assumed of one that is still to be checked: then it neither went nor comes back. */
    if (is.cold && !was.cold && !is.assumed) {
        slow_start_end(routing, backend);
    } else if (was.cold && !is.cold && !was.assumed) {
        slow_start_begin(routing, backend);
    }
    if (was.usable != is.usable || was.eligible != is.eligible || was.weight != is.weight) {
        routing_touch_group(routing, backend->group);
    }
}

void routing_set_state(struct routing *routing, struct backend *backend, enum backend_state state)
{
    struct part was = part_of(backend);
    backend->state = state;
    backend->assumed = false;
    touch_if_changed(routing, backend, was);
}

void routing_assume_state(struct routing *routing, struct backend *backend, enum backend_state state)
{
    struct part was = part_of(backend);
    backend->state = state;
    backend->assumed = true;
    touch_if_changed(routing, backend, was);
}

void routing_set_admin(struct routing *routing, struct backend *backend, enum backend_admin admin)
{
    struct part was = part_of(backend);
    backend->admin = admin;
    touch_if_changed(routing, backend, was);
}

void routing_set_forced(struct routing *routing, struct backend *backend, enum backend_forced forced)
{
    struct part was = part_of(backend);
    /* Even when it serves as before: who watches it wants to know. */
    routing->changed |= backend->forced != forced;
    backend->forced = forced;
    touch_if_changed(routing, backend, was);
}

void routing_set_ejection(struct routing *routing, struct backend *backend,
                          const struct backend_ejection *ejection)
{
    struct part was = part_of(backend);
    backend->ejection = *ejection;
    touch_if_changed(routing, backend, was);
}

void routing_set_weight(struct routing *routing, struct backend *backend, uint32_t weight)
{
    assert(weight <= ROUTING_WEIGHT_MAX);
    if (backend->weight != weight) {
        backend->weight = weight;
        routing_touch_group(routing, backend->group);
    }
}

static void set_limit(struct routing *routing, struct backend *backend, uint32_t *which, uint32_t limit)
{
    uint32_t was = backend_limit_effective(backend);
    *which = limit;
    if (was != backend_limit_effective(backend)) {
        routing_touch_group(routing, backend->group);
    }
}

void routing_set_limit(struct routing *routing, struct backend *backend, uint32_t limit)
{
    set_limit(routing, backend, &backend->limit, limit);
}

void routing_set_agent_limit(struct routing *routing, struct backend *backend, uint32_t limit)
{
    set_limit(routing, backend, &backend->agent_limit, limit);
}

void routing_set_agent(struct routing *routing, struct backend *backend, enum backend_admin admin,
                       uint32_t percent)
{
    struct part was = part_of(backend);
    backend->agent_admin = admin;
    backend->agent_percent = percent;
    touch_if_changed(routing, backend, was);
}

void routing_set_listener(struct routing *routing, void (*fn)(void *context), void *context)
{
    routing->listener = fn;
    routing->listener_context = context;
}

void routing_set_leaving(struct routing *routing, struct backend *backend, bool leaving)
{
    struct part was = part_of(backend);
    backend->leaving = leaving;
    touch_if_changed(routing, backend, was);
}
