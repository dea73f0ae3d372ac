/*
 * What a step waits for besides its hold: hours in which it may advance, connections that the target must
 * have taken. Looks at the clock on the wall and at the counters of the routing; what follows from that is
 * decided in migration/machine_clock.c. Control thread.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <inttypes.h>
#include <stdio.h>

int waits_create(struct setup *setup, struct err_text *err)
{
    const struct config_migration *config = &setup->config->migration;
    int rc;

    if (config->between == NULL && config->weekdays == NULL) {
        return 0;
    }
    rc = calendar_parse(config->between, config->weekdays, &setup->window, err);
    return rc == 0 ? zone_load(config->time_zone == NULL ? "local" : config->time_zone, &setup->zone, err)
                   : rc;
}

static uint64_t count_target(const struct migration *m)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < routing_backends(m->options.routing, m->machine.target); i++) {
        struct stats_backend_reading reading;

        backend_read(routing_backend_at(m->options.routing, m->machine.target, i), &reading);
        sum += reading.connections;
    }
    return sum;
}

void waits_look(struct migration *m)
{
    const struct machine *s = &m->machine;

    m->shut = m->setup.zone != NULL &&
              !calendar_is_open(&m->setup.window, m->setup.zone, m->wall_us(m->clock_context));
    m->samples = 0;
    if (s->phase != MIGRATION_RAMPING || plan_min_samples(m->setup.plan, s->step) == 0) {
        m->counted_step = 0;
        return;
    }
    m->samples = count_target(m);
    if (m->counted_step != s->step ||
        m->counted_number != s->number) { /* the step is new: counts from here */
        m->counted_step = s->step;
        m->counted_number = s->number;
        m->counted_from = m->samples;
    }
    if (m->samples < m->counted_from) { /* a backend and its counters are gone */
        m->counted_from = m->samples;
    }
    m->samples -= m->counted_from;
}

bool waits_any(const struct migration *m)
{
    const struct machine *s = &m->machine;
    uint64_t now_us = m->clock_us(m->clock_context);

    return s->phase == MIGRATION_RAMPING && !s->released &&
           machine_served_us(s, now_us) >= machine_hold_us(s, &m->setup.rules) &&
           (m->shut || machine_wants_samples(s, &m->setup.rules, m->samples) || judge_waits(m));
}

uint64_t waits_open_us(const struct migration *m)
{
    uint64_t wall_us;
    uint64_t open_us;

    if (!m->shut) {
        return 0;
    }
    wall_us = m->wall_us(m->clock_context);
    open_us = calendar_next_open_us(&m->setup.window, m->setup.zone, wall_us);
    return open_us == CLOCK_NEVER ? CLOCK_NEVER : open_us - wall_us;
}

/* "09:00-17:00 mon-fri (Europe/Berlin)" */
static void name_window(const struct migration *m, char *out, size_t out_size)
{
    const struct config_migration *config = &m->setup.config->migration;

    snprintf(out, out_size, "%s%s%s (%s)", config->between == NULL ? "" : config->between,
             config->between != NULL && config->weekdays != NULL ? " " : "",
             config->weekdays == NULL ? "" : config->weekdays, config->time_zone);
}

void waits_narrate(const struct migration *m, char *out, size_t out_size)
{
    uint64_t wants = plan_min_samples(m->setup.plan, m->machine.step);
    const char *target = migration_group_name(m, m->machine.target);

    if (m->samples < wants) {
        snprintf(out, out_size,
                 "holding: %s has taken %" PRIu64 " of %" PRIu64
                 " connections that this step wants; `skip %s` does "
                 "not wait",
                 target, m->samples, wants, m->options.config->name);
    } else if (!m->shut) {
        snprintf(out, out_size, "holding for the gate: %s; `skip %s` does not wait", judge_message(m),
                 m->options.config->name);
    } else {
        char window[200];
        char left[32];

        name_window(m, window, sizeof(window));
        clock_format_duration(waits_open_us(m), left, sizeof(left));
        snprintf(out, out_size, "holding until %s, in %s; `skip %s` does not wait", window, left,
                 m->options.config->name);
    }
}
