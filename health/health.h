/*
 * Active health checks of one service's groups. Runs on the control thread and its event base; reaches the
 * data path only through routing_set_state and routing_publish. The verdict (rise, fall) is pure:
 * health/verdict.h.
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
    char reason[96]; /* "connected", "connection refused", "timed out after 1s" */
};

/*
 * Starts the checks of every group whose health.type is not "none". base, routing, config (the service's
 * part) and events are borrowed and must outlive it. The first checks are spread over half a second (at once
 * when the interval is shorter), the later ones over the interval.
 */
MUST_CHECK int health_create(struct event_base *base, struct routing *routing,
                             const struct config_service *config, struct events_ring *events,
                             struct health **out, struct err_text *err);
/* Cancels what is under way and frees. */
void health_destroy(struct health *health);
/* ERR_NOT_FOUND when the backend has no check. */
MUST_CHECK int health_last(const struct health *health, const struct backend *backend,
                           struct health_result *out);
/* Checks that were not made because we ran short of descriptors or memory ourselves. They say nothing
 * of a backend and count neither for nor against it. */
uint64_t health_skipped(const struct health *health);

#endif
