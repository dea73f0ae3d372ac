/*
 * A small world for simulations of the migration: a real routing, a real journal in a folder of its own, the
 * real controller, and a clock that only moves when told. No sockets, no threads, no waiting. One thread.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "balancer/routing.h"
#include "core/config.h"
#include "core/events.h"
#include "migration/journal.h"
#include "migration/migration.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORLD_STEPS_MAX 32
#define WORLD_GROUPS 3
#define WORLD_LEASES_MAX 64

/* Short connections that a group serves all the time, each with one response. */
struct world_traffic {
    uint64_t per_second;  /* 0: none */
    uint64_t error_every; /* one in so many is refused; 0: none */
    uint64_t response_us; /* typical; they spread from a half to twice that */
    uint64_t since_us, served, errors;
};

struct world {
    char dir[64];
    uint64_t now_us;
    uint64_t wall_ahead_us; /* of now_us */
    char between[16], weekdays[32], time_zone[64];
    struct config_service config; /* two backends a group; groups old, new (and spare when groups_len is 3) */
    struct config_group groups[WORLD_GROUPS];
    struct config_backend backends[WORLD_GROUPS][2];
    struct config_step steps[WORLD_STEPS_MAX];
    uint64_t room;           /* connections that may be open at most; 0: not looked at */
    uint64_t certificate_us; /* when the certificate of each backend ends, wall time; 0: not known */
    bool asks;               /* as if hooks were asked before each step; they allow it */
    bool same_address;       /* of b1 in each group, from the next boot on */
    struct routing *routing;
    struct journal *journal;
    struct events_ring *events;
    struct migration *migration;
    struct lease leases[WORLD_GROUPS][WORLD_LEASES_MAX];
    size_t leases_len[WORLD_GROUPS];
    struct world_traffic traffic[WORLD_GROUPS];
    unsigned closed;                      /* connections that a drain closed */
    size_t idle;                          /* of those open on the group that is left, so many are idle */
    void (*before_turn)(struct world *w); /* may be NULL */
};

/* A world without plan, not booted; its folder is created. Ends the process when that fails. */
void world_init(struct world *w);
/* Starts the daemon's part: reads the journal, goes on. Returns 0 or the error of what failed. */
int world_boot(struct world *w, struct err_text *err);
/* Ends it: in order, or as a kill does (connections are gone either way). */
void world_stop(struct world *w, bool killed);
/* Moves the clock to at_us, waking the migration whenever it asked for that. */
void world_run_to(struct world *w, uint64_t at_us);
/* Connections of a group: opens n, or closes n. */
void world_open(struct world *w, uint32_t group, size_t n);
void world_close(struct world *w, uint32_t group, size_t n);
/* Changes what a group serves from now on. */
void world_set_traffic(struct world *w, uint32_t group, const struct world_traffic *traffic);
/* Both backends of a group, or all but the first. */
void world_set_one_down(struct world *w, uint32_t group);
void world_set_state(struct world *w, uint32_t group, enum backend_state state);
/* Removes the folder. */
void world_destroy(struct world *w);

#endif
