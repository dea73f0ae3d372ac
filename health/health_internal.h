/*
 * What the files of the schedule share: health.c (when, and what follows), agent_apply.c (what follows from
 * an agent's line), trial.c (a check by hand). Control thread.
 */
#ifndef HEALTH_HEALTH_INTERNAL_H
#define HEALTH_HEALTH_INTERNAL_H

#include "core/list.h"
#include "health/cadence.h"
#include "health/ejection_internal.h"
#include "health/health.h"
#include "health/probe_internal.h"
#include "health/verdict.h"

#include <event2/event.h>

struct check {
    struct health *health;              /* borrowed: the owner */
    struct backend *backend;            /* borrowed from the routing */
    const struct config_health *config; /* borrowed */
    const struct probe_means *means;    /* borrowed from the owner */
    const struct probe_type *type;
    struct probe *probe; /* owned */
    struct event *timer; /* owned */
    uint64_t due_us;     /* when the next check is to start */
    uint64_t started_us;
    struct cadence cadence;
    struct verdict verdict;
    struct health_result last;
    bool warned;         /* the last result had a warning */
    struct watch *watch; /* borrowed: its live connections; NULL: they are not watched */
    /* What the agent said and nobody took back. */
    bool agent_silent; /* the last time it did not answer */
    enum backend_admin agent_admin;
    uint32_t agent_weight; /* percent */
};

struct health {
    bool renewed;                        /* states of backends that were checked before go on */
    struct event_base *base;             /* borrowed */
    struct routing *routing;             /* borrowed */
    struct events_ring *events;          /* borrowed */
    struct event *publish_event;         /* owned; active: states changed in this loop turn */
    const struct config_service *config; /* borrowed */
    struct probe_means *means;           /* owned; one a group of the routing */
    size_t means_len;
    uint64_t files;     /* stamp of what was read for them */
    struct list trials; /* of struct health_trial: checks by hand under way */
    uint64_t skipped;
    bool short_of; /* the last check was skipped; said once */
    struct ejections ejections;
    struct check **checks; /* owned, each; in a fixed place */
    size_t checks_len, checks_room;
};

/* The group of that name in config, or NULL. */
const struct config_group *health_find_config(const struct config_service *config, const char *name);
/* NULL when the backend has no check. */
struct check *health_find(struct health *health, const struct backend *backend);
/* All of spec but done, trace and context. */
void health_fill_spec(const struct check *check, struct probe_spec *spec);
/* A probe for this check, as it was made for it at first, and putting it in the place of the one there: what
 * that had under way is forgotten, and the next check begins at once. ERR_NOMEM. */
MUST_CHECK int health_make_probe(const struct check *check, struct probe **out);
void health_take_probe(struct check *check, struct probe *probe);
/* The checks go: those by hand end, untold of the backend. */
void health_end_trials(struct health *health);
/* Takes what an agent said, or its silence, into account. */
void health_apply_agent(struct check *check, const struct probe_result *result);

#endif
