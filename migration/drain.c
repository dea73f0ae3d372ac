/*
 * Closes what is left on the group that traffic leaves, at a pace: when the drain is overdue, from its
 * beginning for idle connections where that is set, or when a rollback is to close them. Control thread. When
 * a drain is over is decided in migration/machine.c; the closing itself is done by the proxy.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"

/* Closings are done in batches, no closer together than this. */
#define BATCH_US (20 * CLOCK_US_PER_MS)

enum closing { CLOSE_NONE, CLOSE_IDLE, CLOSE_ANY };

static enum closing closing_now(const struct migration *m)
{
    const struct config_migration *config = &m->setup.config->migration;
    const struct machine *s = &m->machine;

    if (s->phase == MIGRATION_DRAINING && !s->held) {
        if (s->overdue && config->drain.on_timeout == CONFIG_DRAIN_CLOSE) {
            return CLOSE_ANY;
        }
        return config->drain.idle_first ? CLOSE_IDLE : CLOSE_NONE;
    }
    if (s->phase == MIGRATION_ROLLING_BACK && s->share_bp == 0 &&
        (s->overdue || config->rollback.connections == CONFIG_BACK_CLOSE)) {
        return CLOSE_ANY;
    }
    return CLOSE_NONE;
}

bool drain_is_closing(const struct migration *m)
{
    return closing_now(m) == CLOSE_ANY;
}

void drain_turn(struct migration *m)
{
    const struct config_migration *config = &m->setup.config->migration;
    struct pace_rules rules = {.rate = config->drain.close_rate, .jitter_bp = config->drain.jitter_bp};
    enum closing closing = closing_now(m);
    uint32_t group = machine_leaving(&m->machine);
    struct migration_close what = {.group = group, .idle_us = config->drain.idle_after_us};

    if (closing == CLOSE_NONE || group == ROUTING_NONE || routing_open(m->options.routing, group) == 0) {
        m->pace = (struct pace){0};
        return;
    }
    what.max = pace_take(&m->pace, &rules, m->clock_us(m->clock_context), &m->random);
    what.idle_only = closing == CLOSE_IDLE;
    what.idle_first = config->drain.idle_first;
    if (what.max > 0 && m->options.close_connections != NULL) {
        m->options.close_connections(m->options.context, &what);
    }
}

uint64_t drain_closed(const struct migration *m)
{
    uint64_t all = m->options.drained == NULL ? 0 : m->options.drained(m->options.context);

    return all < m->drained_from ? 0 : all - m->drained_from;
}

uint64_t drain_wake_us(const struct migration *m, uint64_t now_us)
{
    if (m->pace.next_us == 0) {
        return CLOCK_NEVER;
    }
    return m->pace.next_us < now_us + BATCH_US ? now_us + BATCH_US : m->pace.next_us;
}

uint64_t drain_left_us(const struct migration *m, uint64_t now_us)
{
    const struct config_migration *config = &m->setup.config->migration;
    uint32_t group = machine_leaving(&m->machine);
    uint64_t open = group == ROUTING_NONE ? 0 : routing_open(m->options.routing, group);
    uint64_t served = machine_served_us(&m->machine, now_us);
    uint64_t hold = machine_hold_us(&m->machine, &m->setup.rules);

    if (m->machine.phase == MIGRATION_ROLLING_BACK && m->machine.share_bp > 0) {
        return served < m->setup.rules.back_us ? m->setup.rules.back_us - served : 0;
    }
    if (drain_is_closing(m)) {
        return config->drain.close_rate == 0 ? 0 : open * CLOCK_US_PER_S / config->drain.close_rate;
    }
    if (m->machine.overdue) {
        return CLOCK_NEVER; /* it waits for its clients */
    }
    return served < hold ? hold - served : 0;
}
