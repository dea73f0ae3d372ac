/*
 * Health of one service's groups: active checks, outliers found by live traffic, what is said of panic. Runs
 * on the control thread and its event base; reaches the data path only through routing_set_state,
 * routing_set_ejection and routing_publish. The verdict (rise, fall) is pure: health/verdict.h; so is what
 * takes an outlier out: health/outlier.h.
 */
#ifndef HEALTH_HEALTH_H
#define HEALTH_HEALTH_H

#include "balancer/routing.h"
#include "core/config.h"
#include "core/err.h"
#include "core/events.h"

#include <stdint.h>

struct event_base;
struct health;

/* What the last check of a backend saw. */
struct health_result {
    uint64_t checks; /* done so far; 0: none yet, the rest is meaningless */
    bool passed;
    uint64_t wall_us; /* when it ended */
    uint64_t duration_us;
    uint64_t certificate_us; /* wall time at which the server's certificate ends, as last seen; 0: never */
    char reason[160];        /* "connected", "connection refused", "timed out after 1s" */
};

/*
 * Starts the checks of every group whose health.type is not "none". base, routing, config (the service's
 * part) and events are borrowed and must outlive it. The first checks are spread over half a second (at once
 * when the interval is shorter), the later ones over the interval. Reads the files with passwords and
 * certificates. Sets and publishes the state of each backend before its first check. Errors: ERR_NOMEM;
 * ERR_SYSTEM, ERR_INVALID (a file that cannot be read, or not be used).
 */
MUST_CHECK int health_create(struct event_base *base, struct routing *routing,
                             const struct config_service *config, struct events_ring *events,
                             struct health **out, struct err_text *err);
/* The same after a reload: backends whose state is known keep it until checks speak against it. */
MUST_CHECK int health_renew(struct event_base *base, struct routing *routing,
                            const struct config_service *config, struct events_ring *events,
                            struct health **out, struct err_text *err);
/* Reads the files that the checks of config need, and lets them go again: whether health_create would find
 * them well. Errors as of that. */
MUST_CHECK int health_examine(const struct config_service *config, struct err_text *err);
/* What checks go by (authorities, certificates, passwords): whether the files have changed. Of the files now,
 * 0: there are none; and of those that are in force. Ask the file system; control thread. */
uint64_t health_files_now(const struct config_service *config);
uint64_t health_files_in_force(const struct health *health);
/* Reads those files again, for checks that begin from then on; where a password is another one, checks by
 * hand end as not passed and those of the group are made at once. All or nothing: after an error (as those
 * of health_create) what was before stays. */
MUST_CHECK int health_reread(struct health *health, struct err_text *err);
/* Whether a backend that is new in the group of that name must pass a check before it gets connections:
 * health.initial, where that is not set the group is one that a migration moves to. */
bool health_must_prove(const struct config_service *config, const struct routing *routing, const char *group);
/*
 * Backends came or are to leave (routing_set_leaving): begins the checks of those that have none, and lets go
 * of those of backends that leave, which must be before these go. What comes is taken as at the start, what
 * comes back as it was. Changes states and leaves publishing to the caller. ERR_NOMEM: those that are missing
 * are made by the next call.
 */
MUST_CHECK int health_follow(struct health *health);
/* Cancels what is under way and frees. The states of backends stay; a later health_create goes on from them.
 */
void health_destroy(struct health *health);
/* ERR_NOT_FOUND when the backend has no check. */
MUST_CHECK int health_last(const struct health *health, const struct backend *backend,
                           struct health_result *out);
/*
 * Live connections are watched too, in groups that have `outlier` set: call this when routing_spec.alarm was
 * raised (a few milliseconds later is soon enough; once for many alarms is enough).
 */
void health_look(struct health *health);
/* Checks that were not made because we ran short of descriptors or memory ourselves. They say nothing
 * of a backend and count neither for nor against it. */
uint64_t health_skipped(const struct health *health);

/* ---- a check by hand */

struct health_trial;

/* How it went. reason is borrowed for the call. */
typedef void health_trial_fn(void *context, bool passed, const char *reason, uint64_t duration_us);

/*
 * Checks a backend now, beside its schedule and without weight in its verdict. lines, when set, is called for
 * each piece of the exchange as one printable line ("> PING\\r\\n"); secrets are masked. done is called once,
 * from the loop, or from health_destroy, which ends it as not passed; health_trial_destroy must follow (from
 * within done too) and cancels when it comes before. ERR_NOT_FOUND when the backend has no check; ERR_NOMEM.
 */
MUST_CHECK int health_try(struct health *health, const struct backend *backend, health_trial_fn *done,
                          void (*line)(void *context, const char *text), void *context,
                          struct health_trial **out);
void health_trial_destroy(struct health_trial *trial);

#endif
