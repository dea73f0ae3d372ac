/* The world of tests/sim/world.h. Whatever it cannot do ends the process: a simulation that lies is worse. */
#include "tests/sim/world.h"

#include "core/clock.h"
#include "migration/migration_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "world: cannot %s\n", what);
        exit(70);
    }
}

static uint64_t world_clock(void *context)
{
    return ((const struct world *)context)->now_us;
}

static uint64_t world_wall(void *context)
{
    const struct world *w = context;

    return w->now_us + w->wall_ahead_us;
}

static void close_connections(void *context, const struct migration_close *what)
{
    struct world *w = context;
    size_t left = w->leases_len[what->group];
    size_t able = what->idle_only ? (left < w->idle ? left : w->idle) : left;
    size_t n = what->max < able ? (size_t)what->max : able;

    w->idle -= n < w->idle ? n : w->idle;
    w->closed += (unsigned)n;
    world_close(w, what->group, n);
}

static uint64_t drained(void *context)
{
    return ((const struct world *)context)->closed;
}

static uint64_t certificate_end(void *context, const struct backend *backend)
{
    return backend != NULL ? ((const struct world *)context)->certificate_us : 0;
}

static void tell_room(void *context, uint64_t *open, uint64_t *most)
{
    const struct world *w = context;

    *open = 0;
    for (size_t g = 0; g < WORLD_GROUPS; g++) {
        *open += w->leases_len[g];
    }
    *most = w->room == 0 ? UINT64_MAX : w->room;
}

void world_init(struct world *w)
{
    static const char *const names[WORLD_GROUPS] = {"old", "new", "spare"};
    static const char *const backend_names[2] = {"b1", "b2"};

    memset(w, 0, sizeof(*w));
    /* In memory where that is possible: a kill loses nothing there either, and hundreds of forced writes are
     * quick. */
    snprintf(w->dir, sizeof(w->dir), "%s/shunt-sim-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    must(mkdtemp(w->dir) != NULL, "make a folder");
    w->now_us = CLOCK_US_PER_S;
    for (size_t g = 0; g < WORLD_GROUPS; g++) {
        for (size_t b = 0; b < 2; b++) {
            w->backends[g][b].name = strdup(backend_names[b]);
            w->backends[g][b].weight = 1;
        }
        w->groups[g] =
            (struct config_group){.name = strdup(names[g]), .backends = w->backends[g], .backends_len = 2};
    }
    w->config.name = strdup("web");
    w->config.groups = w->groups;
    w->config.groups_len = 2;
    w->config.fallback = true;
    w->config.migration.steps = w->steps;
    w->config.migration.time_zone = w->time_zone;
    snprintf(w->time_zone, sizeof(w->time_zone), "UTC");
    w->config.migration.drain.timeout_us = 600 * CLOCK_US_PER_S;
    w->config.migration.drain.idle_after_us = 10 * CLOCK_US_PER_S;
    w->config.migration.rollback.timeout_us = 600 * CLOCK_US_PER_S;
    must(events_create(512, &w->events) == 0, "make events");
}

static int make_routing(struct world *w, struct err_text *err)
{
    struct routing_backend_spec backends[WORLD_GROUPS][2];
    struct routing_group_spec groups[WORLD_GROUPS];
    struct routing_spec spec = {.service = w->config.name,
                                .prefix_ipv4 = 32,
                                .prefix_ipv6 = 64,
                                .salt = "salt",
                                .fallback = true,
                                .workers = 1,
                                .groups = groups,
                                .groups_len = w->config.groups_len};

    for (size_t g = 0; g < w->config.groups_len; g++) {
        for (size_t b = 0; b < 2; b++) {
            backends[g][b] = (struct routing_backend_spec){.name = w->backends[g][b].name,
                                                           .weight = w->backends[g][b].weight};
            if (w->same_address && b == 0) {
                must(addr_parse("127.0.0.1:80", NULL, &backends[g][b].address, NULL) == 0, "parse");
            }
        }
        groups[g] = (struct routing_group_spec){
            .name = w->groups[g].name, .backends = backends[g], .backends_len = 2};
    }
    return routing_create(&spec, &w->routing, err);
}

int world_boot(struct world *w, struct err_text *err)
{
    struct migration_options options = {.config = &w->config,
                                        .events = w->events,
                                        .close_connections = close_connections,
                                        .room = tell_room,
                                        .certificate_end_us = certificate_end,
                                        .drained = drained,
                                        .context = w};
    int rc = make_routing(w, err);

    if (rc == 0) {
        rc = journal_open(w->dir, &w->journal, err);
    }
    if (rc == 0) {
        options.routing = w->routing;
        options.journal = w->journal;
        rc = migration_create_with_clock(&options, world_clock, w, &w->migration, err);
    }
    if (rc == 0) {
        w->migration->wall_us = world_wall;
        w->migration->setup.rules.step_asks = w->asks;
    }
    return rc;
}

void world_stop(struct world *w, bool killed)
{
    for (uint32_t g = 0; g < WORLD_GROUPS; g++) {
        world_close(w, g, w->leases_len[g]);
    }
    if (w->migration != NULL) {
        if (killed) {
            migration_abandon(w->migration);
        } else {
            migration_destroy(w->migration);
        }
    }
    journal_close(w->journal);
    routing_destroy(w->routing);
    w->migration = NULL;
    w->journal = NULL;
    w->routing = NULL;
}

static void serve_one(struct world *w, uint32_t group, struct world_traffic *traffic)
{
    struct random_state random;
    struct routing_pick_input input = {.now_us = w->now_us, .random = &random};
    struct routing_attempts attempts = {
        .group = group, .share_bp = routing_share_bp(w->routing), .decided = true};
    struct lease lease;

    random_seed(&random, w->now_us);
    traffic->served++;
    if (routing_pick(routing_view(w->routing), &input, &attempts, &lease) != 0) {
        return;
    }
    if (traffic->error_every > 0 && traffic->served / traffic->error_every > traffic->errors) {
        traffic->errors++;
        lease_release(&lease, STATS_ERROR_CONNECT, w->now_us);
        return;
    }
    lease_connected(&lease, 300, w->now_us);
    lease_turn_begin(&lease);
    lease_turn_end(&lease,
                   traffic->response_us / 2 + traffic->response_us * (traffic->served * 37 % 100) * 3 / 200,
                   w->now_us);
    lease_release(&lease, -1, w->now_us);
}

/* What the groups have served up to now. */
static void serve(struct world *w)
{
    for (uint32_t group = 0; group < w->config.groups_len; group++) {
        struct world_traffic *traffic = &w->traffic[group];
        uint64_t due = (w->now_us - traffic->since_us) * traffic->per_second / CLOCK_US_PER_S;

        while (traffic->served < due) {
            serve_one(w, group, traffic);
        }
    }
}

void world_set_traffic(struct world *w, uint32_t group, const struct world_traffic *traffic)
{
    w->traffic[group] = *traffic;
    w->traffic[group].since_us = w->now_us;
}

void world_run_to(struct world *w, uint64_t at_us)
{
    for (;;) {
        uint64_t wake = w->migration == NULL ? CLOCK_NEVER : migration_wake_us(w->migration);

        if (wake > at_us) {
            break;
        }
        w->now_us = wake > w->now_us ? wake : w->now_us;
        if (w->before_turn != NULL) {
            w->before_turn(w);
        }
        serve(w);
        migration_turn(w->migration);
        must(migration_wake_us(w->migration) > w->now_us, "go on: the migration wakes without end");
    }
    w->now_us = at_us > w->now_us ? at_us : w->now_us;
}

void world_open(struct world *w, uint32_t group, size_t n)
{
    struct random_state random;
    struct routing_pick_input input = {.now_us = w->now_us, .random = &random};

    random_seed(&random, w->now_us);
    for (; n > 0; n--) {
        struct routing_attempts attempts = {
            .group = group, .share_bp = routing_share_bp(w->routing), .decided = true};

        must(w->leases_len[group] < WORLD_LEASES_MAX, "open more connections");
        must(routing_pick(routing_view(w->routing), &input, &attempts,
                          &w->leases[group][w->leases_len[group]]) == 0,
             "open a connection");
        must(w->leases[group][w->leases_len[group]].group == group, "open a connection on that group");
        lease_connected(&w->leases[group][w->leases_len[group]], 1000, w->now_us);
        w->leases_len[group]++;
    }
}

void world_close(struct world *w, uint32_t group, size_t n)
{
    must(n <= w->leases_len[group], "close so many connections");
    for (; n > 0; n--) {
        lease_release(&w->leases[group][--w->leases_len[group]], -1, w->now_us);
    }
}

void world_set_one_down(struct world *w, uint32_t group)
{
    routing_set_state(w->routing, routing_backend_at(w->routing, group, 1), BACKEND_DOWN);
    must(routing_publish(w->routing, NULL) == 0, "publish");
}

void world_set_state(struct world *w, uint32_t group, enum backend_state state)
{
    for (size_t b = 0; b < 2; b++) {
        routing_set_state(w->routing, routing_backend_at(w->routing, group, b), state);
    }
    must(routing_publish(w->routing, NULL) == 0, "publish");
}

void world_destroy(struct world *w)
{
    static const char *const names[] = {"journal", "journal.lock", "journal.new"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", w->dir, names[i]);
        unlink(path);
    }
    must(rmdir(w->dir) == 0, "remove its folder");
    events_destroy(w->events);
    for (size_t g = 0; g < WORLD_GROUPS; g++) {
        free(w->groups[g].name);
        free(w->backends[g][0].name);
        free(w->backends[g][1].name);
    }
    free(w->config.name);
}
