/*
 * From results of checks to the state of a backend: pure, no clock, no socket. Any thread, one at a time.
 *
 * Nothing is known at the start, so the first check decides at once, both ways: a backend that answers serves
 * without waiting for `rise`, one that does not gets no connection for the length of `fall` checks. After
 * that a state changes only when `rise` (or `fall`) checks in a row speak against it. So a backend whose
 * checks alternate keeps its state, and between two changes lie at least min(rise, fall) checks.
 */
#ifndef HEALTH_VERDICT_H
#define HEALTH_VERDICT_H

#include "balancer/routing.h"

#include <stdbool.h>
#include <stdint.h>

struct verdict {
    enum backend_state state; /* UNKNOWN, UP or DOWN */
    uint32_t against;         /* checks in a row that spoke against the state */
};

void verdict_init(struct verdict *verdict);

/* Takes one result into account. rise, fall: at least 1 (0 counts as 1). Returns whether the state changed.
 */
bool verdict_step(struct verdict *verdict, bool passed, uint32_t rise, uint32_t fall);

#endif
