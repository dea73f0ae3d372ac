/*
 * Slow start: a backend that comes back takes part with a weight that rises in a straight line from a
 * hundredth to the whole. Which backends come back cold is told here, and how far each has come; what a
 * strategy makes of a part of a weight is its own. Control thread; time is an argument, and whoever drives it
 * has the clock.
 */
#include "balancer/view_internal.h"

/* In steps of less than a hundredth, so that a ramp is smooth and yet a view is not built for nothing. */
#define STEP (BACKEND_PART_FULL / 128u)
#define FIRST (BACKEND_PART_FULL / 100u)

void slow_start_begin(struct routing *routing, struct backend *backend)
{
    if (backend->slow_start_us == 0) {
        return;
    }
    backend->ramp = (struct backend_ramp){.rising = true, .part = FIRST};
    routing_touch_group(routing, backend->group);
    if (routing->starting != NULL) {
        routing->starting(routing->starting_context);
    }
}

void slow_start_end(struct routing *routing, struct backend *backend)
{
    if (backend->ramp.rising) {
        backend->ramp = (struct backend_ramp){.part = BACKEND_PART_FULL};
        routing_touch_group(routing, backend->group);
    }
}

/* What it has come to; FULL at the end. */
static uint32_t part_at(const struct backend *backend, uint64_t now_us)
{
    uint64_t elapsed_us = now_us > backend->ramp.since_us ? now_us - backend->ramp.since_us : 0;
    if (elapsed_us >= backend->slow_start_us) {
        return BACKEND_PART_FULL;
    }
    const uint32_t room = BACKEND_PART_FULL - FIRST;
    double reached = (double)room * (double)elapsed_us / (double)backend->slow_start_us;
    uint32_t steps = (uint32_t)reached / STEP;
    return FIRST + steps * STEP;
}

static bool rise(struct routing *routing, struct backend *backend, uint64_t now_us)
{
    if (!backend->ramp.rising) {
        return false;
    }
    if (backend->ramp.since_us == 0) {
        backend->ramp.since_us = now_us > 0 ? now_us : 1;
    }
    uint32_t part = part_at(backend, now_us);
    if (part == BACKEND_PART_FULL) {
        slow_start_end(routing, backend);
        return false;
    }
    if (part != backend->ramp.part) {
        backend->ramp.part = part;
        routing_touch_group(routing, backend->group);
    }
    return true;
}

bool routing_slow_start(struct routing *routing, uint64_t now_us)
{
    bool any = false;
    for (uint32_t g = 0; g < routing->groups_len; g++) {
        for (uint32_t i = 0; i < routing->groups[g].backends_len; i++) {
            any |= rise(routing, routing->groups[g].backends[i], now_us);
        }
    }
    return any;
}

uint32_t backend_slow_start_percent(const struct backend *backend)
{
    return backend->ramp.rising ? backend->ramp.part * 100 / BACKEND_PART_FULL : 100;
}
