/*
 * The shell around outlier detection (outlier.h) and what is said of panic: which backends of the service are
 * watched, when they are looked at, what is told. Control thread.
 */
#ifndef HEALTH_EJECTION_INTERNAL_H
#define HEALTH_EJECTION_INTERNAL_H

#include "core/config.h"
#include "core/err.h"
#include "health/outlier.h"

struct health;

/* A backend whose live connections are watched. */
struct watch {
    struct health *health;             /* borrowed: the owner */
    struct backend *backend;           /* borrowed from the routing */
    const struct outlier_rules *rules; /* borrowed from the owner; of its group */
    bool kept;                         /* it should be out and cannot; said once */
};

struct ejections {
    struct outlier_rules *rules; /* owned; one a group of the routing */
    bool *watched;               /* owned; likewise: whether the rules are in force */
    bool *panics;                /* owned; likewise: what was told last */
    bool *on_backups;            /* owned; likewise */
    size_t groups;
    struct watch **watches; /* owned, each; in a fixed place */
    size_t watches_len, watches_room;
    struct event *look; /* owned */
};

/* Begins to watch the groups that config says so of; lets go of what was held against the others. ERR_NOMEM:
 * ejections_destroy must be called all the same. */
MUST_CHECK int ejections_create(struct health *health, const struct config_service *config);
void ejections_destroy(struct health *health);
/* Backends came or are to leave: begins to watch the ones, lets go of the others. Before the same is done for
 * checks. ERR_NOMEM: those that are missing are watched after the next call. */
MUST_CHECK int ejections_follow(struct health *health);
/* NULL: it is not watched. */
struct watch *ejections_find(struct health *health, const struct backend *backend);
/* A check of the backend ended. watch may be NULL. */
void ejections_note_check(struct watch *watch, bool passed);

#endif
