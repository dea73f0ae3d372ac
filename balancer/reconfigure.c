/*
 * Groups and backends that come and go while connections are open. In two halves, so that a reload is all or
 * nothing: what can fail is made first, then the model is changed without failing. A backend that leaves
 * takes no new connection once the view is published; it is freed when its last connection has ended. Control
 * thread.
 */
#include "balancer/view_internal.h"

#include <stdlib.h>
#include <string.h>

/* What the new specification says of a backend that stays. */
struct backend_terms {
    uint32_t limit;
    uint64_t slow_start_us;
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
    change->backends = calloc(spec->backends_len + 1, sizeof(struct backend *));
    change->terms = calloc(spec->backends_len + 1, sizeof(*change->terms));
    if (change->backends == NULL || change->terms == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for group \"%s\"", spec->name);
    }
    for (size_t i = 0; i < spec->backends_len; i++) {
        struct backend *same = find_same(group, &spec->backends[i]);
        if (same != NULL) {
            change->terms[change->backends_len] = (struct backend_terms){
                .limit = spec->backends[i].limit, .slow_start_us = spec->backends[i].slow_start_us};
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
                "group \"%s\": no more than %u backends at a time fit beside those it began with; a "
                "restart makes room",
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
        one->group = routing_find_group(routing, groups[i].name);
        rc = routing_check_group(&groups[i], err);
        if (rc == 0 && one->group != ROUTING_NONE) {
            rc = prepare_old(routing, one, &groups[i], err);
        } else if (rc == 0 && next == routing->groups_room) {
            rc = err_set(err, ERR_LIMIT, "group \"%s\": %u groups were added already; a restart makes room",
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

/* Those that leave, behind those that stay; their number. They are let go of after the view was published. */
static void apply_old(struct routing *routing, struct group_change *change, struct routing_leaving *leaving)
{
    struct model_group *group = &routing->groups[change->group];
    bool others = group->backends_len > 0;
    for (uint32_t i = 0; i < group->backends_len; i++) {
        if (!is_kept(change, group->backends[i])) {
            leaving->list[leaving->len++] = group->backends[i];
        }
    }
    free((void *)group->backends);
    group->backends = change->backends;
    group->backends_len = change->backends_len;
    group->balance = change->balance;
    routing_set_queue(routing, change->group, change->queue_size, change->queue_timeout_us);
    group->panic = change->panic;
    for (uint32_t i = 0; i < change->fresh_from; i++) {
        group->backends[i]->limit = change->terms[i].limit;
        group->backends[i]->slow_start_us = change->terms[i].slow_start_us;
    }
    for (uint32_t i = change->fresh_from; others && i < group->backends_len; i++) {
        slow_start_begin(routing, group->backends[i]);
    }
    free(change->terms);
    change->terms = NULL;
    change->backends = NULL;
    routing_touch_group(routing, change->group);
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

int routing_change_apply(struct routing *routing, struct routing_change *change, struct err_text *err)
{
    size_t most = 0;
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        most += routing->groups[g].backends_len;
    }
    struct routing_leaving leaving = {.list = calloc(most + 1, sizeof(struct backend *))};
    if (leaving.list == NULL) {
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
    /* A group that is not meant any more stays, empty: its number is known all over. */
    for (uint32_t g = 0; g < before; g++) {
        struct model_group *group = &routing->groups[g];
        for (uint32_t i = 0; !is_listed(change, g) && i < group->backends_len; i++) {
            leaving.list[leaving.len++] = group->backends[i];
        }
        if (!is_listed(change, g)) {
            group->backends_len = 0;
            routing_touch_group(routing, g);
        }
    }
    int rc = routing_publish(routing, err);
    for (size_t i = 0; rc == 0 && i < leaving.len; i++) {
        let_go(routing, leaving.list[i]);
    }
    /* Without memory for a view the old one stays in force and the next publish takes it up: then those that
     * leave are kept for good, which is little and safe. */
    free((void *)leaving.list);
    free(change);
    return rc;
}
