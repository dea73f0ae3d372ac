/*
 * When the next check is due: pure, no clock. Three paces: `interval` as a rule, `fast_interval` while the
 * last check spoke against the state, `down_interval` while the backend is down.
 */
#ifndef HEALTH_CADENCE_H
#define HEALTH_CADENCE_H

#include "core/config.h"
#include "health/verdict.h"

struct cadence {
    uint64_t shift_us; /* from the crowded first round to its own place within the interval; 0: it is there */
};

void cadence_init(struct cadence *cadence, uint64_t shift_us);

/* The time between the check that gave verdict and the next. A pace of 0 in config counts as `interval`. */
uint64_t cadence_interval(const struct config_health *config, const struct verdict *verdict);

/* When the next check starts, after one that was due at due_us has ended at now_us. Keeps the pace; what was
 * missed (a check longer than the interval) is left out, so the result is never before now_us. */
uint64_t cadence_next(struct cadence *cadence, const struct config_health *config,
                      const struct verdict *verdict, uint64_t due_us, uint64_t now_us);

#endif
