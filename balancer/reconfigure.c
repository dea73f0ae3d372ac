/*
 * Groups and backends that come and go while connections are open. In two halves, so that a reload is all or
 * nothing: what can fail is made first, then the model is changed without failing. A backend that leaves
 * takes no new connection once the view is published; it stays in sight, so that drains wait for it and
 * operators see it, until its last connection has ended. Control thread.
 */
#include "balancer/view_internal.h"

#include <stdlib.h>
#include <string.h>

/* What the new specification says of a backend that stays. */
struct backend_terms {
    uint32_t weight; /* only where it had been removed */
    uint32_t limit;
    uint64_t slow_start_us;
    bool unproven; /* as weight */
};

struct group_change {
    uint32_t group; /* ROUTING_NONE: a new one */
    const char *name;
    enum config_balance balance;
    struct routing_panic panic;
    struct model_group made;     /* of a new one */
    struct backend **backends;   /* of an old one: as it will be; owned until applied */
    struct backend_terms *terms; /* of those that stay, at the same index; owned */
    uint32_t backends_len;
    uint32_t fresh_from; /* backends from here on are new */
    uint32_t queue_size;
    uint64_t queue_timeout_us;
};

struct routing_change {
    size_t len;
    struct group_change groups[];
};

static struct backend *find_same(const struct model_group *group, const struct routing_backend_spec *spec)
{
    for (uint32_t i = 0; i < group->backends_len; i++) {
        struct backend *backend = group->backends[i];
        if (strcmp(backend->name, spec->name) == 0 && addr_equal(&backend->address, &spec->address) &&
            backend->backup == spec->backup) {
            return backend;
        }
    }
    return NULL;
}

static void drop_group(struct group_change *change)
{
    for (uint32_t i = change->fresh_from; change->backends != NULL && i < change->backends_len; i++) {
        backend_put(change->backends[i]); /* nobody has seen it */
    }
    free((void *)change->backends);
    free(change->terms);
    if (change->group == ROUTING_NONE) {
        model_group_clear(&change->made);
    }
}

void routing_change_drop(struct routing_change *change)
{
    for (size_t i = 0; change != NULL && i < change->len; i++) {
        drop_group(&change->groups[i]);
    }
    free(change);
}

/* The backends that stay, then those that come. */
static int prepare_old(struct routing *routing, struct group_change *change,
                       const struct routing_group_spec *spec, struct err_text *err)
{
    const struct model_group *group = &routing->groups[change->group];
    /* Room for all of them to stay in sight. */
    change->backends = calloc(spec->backends_len + group->backends_len + 1, sizeof(struct backend *));
    change->terms = calloc(spec->backends_len + 1, sizeof(*change->terms));
    if (change->backends == NULL || change->terms == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for group \"%s\"", spec->name);
    }
    for (size_t i = 0; i < spec->backends_len; i++) {
        struct backend *same = find_same(group, &spec->backends[i]);
        if (same != NULL) {
            change->terms[change->backends_len] =
                (struct backend_terms){.weight = spec->backends[i].weight,
                                       .limit = spec->backends[i].limit,
                                       .slow_start_us = spec->backends[i].slow_start_us,
                                       .unproven = spec->backends[i].unproven};
            change->backends[change->backends_len++] = same;
        }
    }
    change->fresh_from = change->backends_len;
    for (size_t i = 0; i < spec->backends_len; i++) {
        if (find_same(group, &spec->backends[i]) != NULL) {
            continue;
        }
        uint32_t slot = board_free_slot(group->board);
        if (slot == UINT32_MAX) {
            return err_set(
                err, ERR_LIMIT,
                "group \"%s\": no more than %u backends at a time fit beside those it began with; an "
                "upgrade or a restart makes room",
                spec->name, group->board->slots);
        }
        struct backend *fresh = backend_create(&spec->backends[i], change->group, group->board, slot);
        if (fresh == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory for backend \"%s\"", spec->backends[i].name);
        }
        change->backends[change->backends_len++] = fresh;
    }
    return 0;
}

/* One that is gone is there again under its number. */
static uint32_t find_number(const struct routing *routing, const char *name)
{
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        if (strcmp(routing->groups[g].name, name) == 0) {
            return g;
        }
    }
    return ROUTING_NONE;
}

int routing_change_prepare(struct routing *routing, const struct routing_group_spec *groups,
                           size_t groups_len, struct routing_change **out, struct err_text *err)
{
    struct routing_change *change = calloc(1, sizeof(*change) + groups_len * sizeof(change->groups[0]));
    uint32_t next = routing->groups_len;
    int rc = 0;
    if (change == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the groups");
    }
    for (size_t i = 0; rc == 0 && i < groups_len; i++) {
        struct group_change *one = &change->groups[change->len++];
        one->name = groups[i].name;
        one->balance = groups[i].balance;
        one->queue_size = groups[i].queue_size;
        one->queue_timeout_us = groups[i].queue_timeout_us;
        one->panic = groups[i].panic;
        one->group = find_number(routing, groups[i].name);
        rc = routing_check_group(&groups[i], err);
        if (rc == 0 && one->group != ROUTING_NONE) {
            rc = prepare_old(routing, one, &groups[i], err);
        } else if (rc == 0 && next == routing->groups_room) {
            rc = err_set(err, ERR_LIMIT,
                         "group \"%s\": %u groups were added already; an upgrade or a restart makes "
                         "room",
                         groups[i].name, ROUTING_GROUPS_SPARE);
        } else if (rc == 0) {
            rc = model_group_fill(&one->made, next++, &groups[i], routing->workers);
            model_group_connect(&one->made, routing);
            rc = rc == 0 ? 0 : err_set(err, rc, "out of memory for group \"%s\"", groups[i].name);
        }
    }
    if (rc != 0) {
        routing_change_drop(change);
        return rc;
    }
    *out = change;
    return 0;
}

static bool is_kept(const struct group_change *change, const struct backend *backend)
{
    for (uint32_t i = 0; i < change->backends_len; i++) {
        if (change->backends[i] == backend) {
            return true;
        }
    }
    return false;
}

static void put_backend(void *backend)
{
    backend_put(backend);
}

/* Once no worker reads a view that knows it, the model's claim goes; the last lease frees. */
static void let_go(struct routing *routing, struct backend *backend)
{
    if (routing->retire != NULL) {
        routing->retire(routing->retire_context, backend, put_backend);
    } else {
        backend_put(backend);
    }
}

/* While something of it is open, and no other has its name. */
static bool stays_in_sight(const struct group_change *change, const struct backend *backend)
{
    for (uint32_t i = 0; change != NULL && i < change->backends_len; i++) {
        if (strcmp(change->backends[i]->name, backend->name) == 0) {
            return false;
        }
    }
    return backend_open(backend) > 0;
}

static void remove_backend(struct routing *routing, struct backend *backend)
{
    routing_set_leaving(routing, backend, true);
    backend->removed = true;
}

/* As if it were new, but for what it has open and has counted. */
static void bring_back(struct routing *routing, struct backend *backend, const struct backend_terms *terms,
                       bool others)
{
    backend->removed = false;
    backend->leaving = false;
    backend->weight = terms->weight;
    backend->state = terms->unproven ? BACKEND_DOWN : BACKEND_UNKNOWN;
    backend->assumed = terms->unproven;
    backend->admin = BACKEND_READY;
    backend->forced = BACKEND_AUTO;
    backend->agent_admin = BACKEND_READY;
    backend->agent_percent = 100;
    backend->agent_limit = 0;
    backend->ejection = (struct backend_ejection){.total = backend->ejection.total};
    if (others) {
        slow_start_begin(routing, backend);
    }
}

/* What the specification says of those that stay, and of those that are new. */
static void apply_terms(struct routing *routing, struct group_change *change, bool others)
{
    for (uint32_t i = 0; i < change->fresh_from; i++) {
        struct backend *backend = change->backends[i];
        backend->limit = change->terms[i].limit;
        backend->slow_start_us = change->terms[i].slow_start_us;
        if (backend->removed) {
            bring_back(routing, backend, &change->terms[i], others);
        }
    }
    for (uint32_t i = change->fresh_from; others && i < change->backends_len; i++) {
        slow_start_begin(routing, change->backends[i]);
    }
}

/* Those that leave for good are let go of after the view was published. */
static void apply_old(struct routing *routing, struct group_change *change, struct routing_leaving *leaving)
{
    struct model_group *group = &routing->groups[change->group];
    struct backend **before = group->backends;
    uint32_t before_len = group->backends_len;
    uint32_t meant = change->backends_len;
    group->removed = false;
    for (uint32_t i = 0; i < before_len; i++) {
        if (is_kept(change, before[i])) {
            continue;
        }
        if (stays_in_sight(change, before[i])) {
            change->backends[change->backends_len++] = before[i];
        } else {
            leaving->list[leaving->len++] = before[i];
        }
    }
    group->backends = change->backends;
    group->backends_len = change->backends_len;
    group->balance = change->balance;
    routing_set_queue(routing, change->group, change->queue_size, change->queue_timeout_us);
    group->panic = change->panic;
    for (uint32_t i = meant; i < group->backends_len; i++) {
        remove_backend(routing, group->backends[i]);
    }
    change->backends_len = meant;
    apply_terms(routing, change, before_len > 0);
    free((void *)before);
    free(change->terms);
    change->terms = NULL;
    change->backends = NULL;
    routing_touch_group(routing, change->group);
}

/* Those with nothing open leave the group; all of it, or only what was removed before. */
static void thin_out(struct routing *routing, uint32_t g, bool all, struct routing_leaving *leaving)
{
    struct model_group *group = &routing->groups[g];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < group->backends_len; i++) {
        struct backend *backend = group->backends[i];
        if ((all || backend->removed) && !stays_in_sight(NULL, backend)) {
            leaving->list[leaving->len++] = backend;
            continue;
        }
        if (all) {
            remove_backend(routing, backend);
        }
        group->backends[kept++] = backend;
    }
    if (kept < group->backends_len || (all && !group->removed)) {
        routing_touch_group(routing, g);
    }
    group->backends_len = kept;
    group->removed |= all;
}

static bool is_listed(const struct routing_change *change, uint32_t group)
{
    for (size_t i = 0; i < change->len; i++) {
        if (change->groups[i].group == group) {
            return true;
        }
    }
    return false;
}

static size_t count_backends(const struct routing *routing)
{
    size_t count = 0;
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        count += routing->groups[g].backends_len;
    }
    return count;
}

/* Puts in force what was changed. Without memory for a view the old one stays in force and the next publish
 * takes it up: then those that leave are kept for good, which is little and safe. */
static int publish_without(struct routing *routing, struct routing_leaving *leaving, struct err_text *err)
{
    int rc = routing_publish(routing, err);
    for (size_t i = 0; rc == 0 && i < leaving->len; i++) {
        let_go(routing, leaving->list[i]);
    }
    free((void *)leaving->list);
    return rc;
}

int routing_change_apply(struct routing *routing, struct routing_change *change, struct err_text *err)
{
    struct routing_leaving leaving = {.list = calloc(count_backends(routing) + 1, sizeof(struct backend *))};
    if (leaving.list == NULL) {
        routing_change_drop(change);
        return err_set(err, ERR_NOMEM, "%s: out of memory, its groups stay as they were", routing->service);
    }
    uint32_t before = routing->groups_len;
    for (size_t i = 0; i < change->len; i++) {
        struct group_change *one = &change->groups[i];
        if (one->group != ROUTING_NONE) {
            apply_old(routing, one, &leaving);
            continue;
        }
        one->group = routing->groups_len;
        routing->groups[routing->groups_len++] = one->made;
        routing->changed = true;
    }
    for (uint32_t g = 0; g < before; g++) {
        if (!is_listed(change, g)) {
            thin_out(routing, g, true, &leaving);
        }
    }
    free(change);
    return publish_without(routing, &leaving, err);
}

/* The group of this name, made as one that was removed where there is none. */
static int recall_group(struct routing *routing, const struct routing_group_spec *spec, uint32_t *out,
                        struct err_text *err)
{
    *out = find_number(routing, spec->name);
    if (*out != ROUTING_NONE) {
        return 0;
    }
    if (routing->groups_len == routing->groups_room) {
        return err_set(err, ERR_LIMIT, "group \"%s\": no room for more groups before a restart", spec->name);
    }
    struct routing_group_spec empty = *spec;
    struct model_group made = {.removed = true};
    empty.room = spec->backends_len;
    empty.backends_len = 0;
    if (model_group_fill(&made, routing->groups_len, &empty, routing->workers) != 0) {
        model_group_clear(&made);
        return err_set(err, ERR_NOMEM, "out of memory for group \"%s\"", spec->name);
    }
    model_group_connect(&made, routing);
    *out = routing->groups_len;
    routing->groups[routing->groups_len++] = made;
    routing->changed = true;
    return 0;
}

int routing_recall(struct routing *routing, const char *group_name, const struct routing_backend_spec *spec,
                   struct backend **out, struct err_text *err)
{
    const struct routing_group_spec whole = {.name = group_name, .backends = spec, .backends_len = 1};
    uint32_t g = ROUTING_NONE;
    int rc = routing_check_group(&whole, err);
    rc = rc == 0 ? recall_group(routing, &whole, &g, err) : rc;
    if (rc != 0) {
        return rc;
    }
    if (routing_find_backend(routing, g, spec->name) != NULL) {
        return err_set(err, ERR_EXISTS, "backend \"%s/%s\" is there", group_name, spec->name);
    }
    struct model_group *group = &routing->groups[g];
    uint32_t slot = board_free_slot(group->board);
    if (slot == UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "group \"%s\": no room for more backends before a restart",
                       group_name);
    }
    struct backend **backends =
        realloc((void *)group->backends, (group->backends_len + 1) * sizeof(struct backend *));
    group->backends = backends != NULL ? backends : group->backends;
    struct backend *backend = backends != NULL ? backend_create(spec, g, group->board, slot) : NULL;
    if (backend == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for backend \"%s\"", spec->name);
    }
    backend->leaving = true;
    backend->removed = true;
    group->backends[group->backends_len++] = backend;
    routing_touch_group(routing, g);
    *out = backend;
    return 0;
}

bool routing_sweep(struct routing *routing)
{
    bool left = false;
    struct routing_leaving leaving = {.list = calloc(count_backends(routing) + 1, sizeof(struct backend *))};
    if (leaving.list == NULL) {
        return true;
    }
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        thin_out(routing, g, false, &leaving);
        for (uint32_t i = 0; i < routing->groups[g].backends_len; i++) {
            left |= routing->groups[g].backends[i]->removed;
        }
    }
    (void)(publish_without(routing, &leaving, NULL) == 0);
    return left;
}
