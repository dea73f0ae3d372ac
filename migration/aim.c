/*
 * What share the routing gets: that of the machine, or with aim = "live" the one that brings the open
 * connections to it. Steers only where the plan goes up: a rollback, a share by hand and a target that cannot
 * serve get exactly what the machine says. Control thread. The controller is migration/steer.c.
 */
#include "migration/migration_internal.h"

#include "core/units.h"

bool aim_steers(const struct migration *m)
{
    const struct machine *s = &m->machine;

    return m->setup.config->migration.aim == CONFIG_AIM_LIVE && !s->by_hand && !s->held && s->share_bp > 0 &&
           (s->phase == MIGRATION_RAMPING || s->phase == MIGRATION_PAUSED);
}

uint32_t aim_share_bp(struct migration *m)
{
    struct steer_input input = {.now_us = m->clock_us(m->clock_context),
                                .aim_bp = m->machine.share_bp,
                                .limit_bp = m->setup.config->migration.aim_limit_bp};
    uint32_t share_bp;

    if (!aim_steers(m)) {
        steer_begin(&m->steer);
        machine_route(&m->machine, &(uint32_t){0}, &(uint32_t){0}, &share_bp);
        return share_bp;
    }
    input.arrivals = rate_count(m);
    for (size_t group = 0; group < routing_groups(m->options.routing); group++) {
        input.open += routing_open(m->options.routing, group);
    }
    input.open_target = routing_open(m->options.routing, m->machine.target);
    return steer_look(&m->steer, &input);
}

void aim_turn(struct migration *m)
{
    if (m->machine.phase != MIGRATION_IDLE && aim_share_bp(m) != routing_share_bp(m->options.routing)) {
        migration_route(m);
    }
}
