/*
 * The words of a migration: one line for each change, the reason in the status, ids. Pure but for reading the
 * routing; control thread. Refusals have their own words in migration/refusal.c.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"
#include "core/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void narrate_id(const struct migration *m, const struct machine *state, char *out, size_t out_size)
{
    if (state->number == 0) {
        out[0] = '\0';
    } else {
        snprintf(out, out_size, "%s-%" PRIu32, m->options.config->name, state->number);
    }
}

void narrate_down(const struct migration *m, uint32_t group, char *out, size_t out_size)
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < routing_backends(m->options.routing, group) && len < out_size; i++) {
        const struct backend *backend = routing_backend_at(m->options.routing, group, i);
        const char *state = NULL;
        int n;

        if (backend_admin(backend) != BACKEND_READY) {
            state = backend_admin_name(backend_admin(backend));
        } else if (backend_standing(backend) == BACKEND_DOWN) {
            state = backend_forced(backend) == BACKEND_FORCED_DOWN ? "forced down"
                    : backend_ejection(backend)->out               ? "ejected"
                                                                   : backend_state_name(BACKEND_DOWN);
        } else if (backend_weight(backend) == 0) {
            state = "weight 0";
        }
        if (state == NULL) {
            continue;
        }
        n = snprintf(out + len, out_size - len, "%s%s (%s)", len > 0 ? ", " : "", backend_name(backend),
                     state);
        len += n < 0 ? 0 : (size_t)n;
    }
}

/* "25% → 50% (step 3 of 4)" */
static void narrate_share(const struct migration *m, const struct machine *before,
                          const struct machine *after, char *out, size_t out_size)
{
    char from[16];
    char to[16];
    char step[48] = " by hand";

    units_format_share(before->share_bp, from, sizeof(from));
    units_format_share(after->share_bp, to, sizeof(to));
    if (!after->by_hand) {
        snprintf(step, sizeof(step), " (step %" PRIu32 " of %" PRIu32 ")", after->step,
                 plan_steps(m->setup.plan));
    }
    snprintf(out, out_size, "share %s → %s%s", from, to, step);
}

/* "web-1 started: 1% for 5m, then 25%" */
static void narrate_start(const struct migration *m, const struct machine *after, char *out, size_t out_size)
{
    char id[96];
    char share[16];
    char next[16];
    char hold[32];

    narrate_id(m, after, id, sizeof(id));
    units_format_share(after->share_bp, share, sizeof(share));
    if (after->phase == MIGRATION_PREFLIGHT) {
        units_format_share(plan_share_bp(m->setup.plan, after->step + 1), next, sizeof(next));
        snprintf(out, out_size, "%s started: asks its hooks before %s", id, next);
        return;
    }
    if (after->by_hand) {
        snprintf(out, out_size, "%s opened by hand: %s of new connections to %s", id, share,
                 migration_group_name(m, after->target));
        return;
    }
    if (plan_is_manual(m->setup.plan, after->step)) {
        snprintf(hold, sizeof(hold), "as long as you say");
    } else {
        clock_format_duration(plan_hold_us(m->setup.plan, after->step), hold, sizeof(hold));
    }
    if (after->step < plan_steps(m->setup.plan)) {
        units_format_share(plan_share_bp(m->setup.plan, after->step + 1), next, sizeof(next));
    } else {
        snprintf(next, sizeof(next), "drain");
    }
    snprintf(out, out_size, "%s started: %s for %s, then %s", id, share, hold, next);
}

static void narrate_restart(const struct migration *m, const struct machine *before,
                            const struct machine *after, char *out, size_t out_size)
{
    char share[16];
    char served[32];
    char id[96];

    narrate_id(m, after, id, sizeof(id));
    units_format_share(after->share_bp, share, sizeof(share));
    clock_format_duration(after->served_us, served, sizeof(served));
    if (before->phase != after->phase && after->phase == MIGRATION_PAUSED) {
        snprintf(out, out_size, "%s goes on after a restart, paused at %s: its plan was changed meanwhile",
                 id, share);
    } else if (after->phase == MIGRATION_ROLLED_BACK) {
        snprintf(out, out_size, "%s had not begun, and its plan was changed meanwhile: given up", id);
    } else {
        snprintf(out, out_size, "%s goes on after a restart: %s at %s, %s of its time served", id,
                 migration_phase_name(after->phase), share, served);
    }
}

static void narrate_back(const struct migration *m, const struct machine *before, const struct machine *after,
                         char *out, size_t out_size)
{
    char from[16];
    char to[16];
    char limit[32];
    bool closes = m->setup.config->migration.rollback.connections == CONFIG_BACK_CLOSE;

    units_format_share(before->share_bp, from, sizeof(from));
    units_format_share(after->share_bp, to, sizeof(to));
    if (before->phase == MIGRATION_PREFLIGHT) {
        snprintf(out, out_size, "given up before the first step: nothing was sent to %s",
                 migration_group_name(m, after->target));
        return;
    }
    if (after->share_bp > 0) {
        clock_format_duration(m->setup.rules.back_us, limit, sizeof(limit));
        snprintf(out, out_size, "rollback %s → %s, on the way to 0%% in %s", from, to, limit);
        return;
    }
    clock_format_duration(m->setup.rules.back_drain_us, limit, sizeof(limit));
    snprintf(out, out_size, "rollback %s → 0%%: %" PRIu64 " connections left on %s, %s%s", from,
             routing_open(m->options.routing, after->target), migration_group_name(m, after->target),
             closes ? "closed from now on" : "drain up to ", closes ? "" : limit);
}

/* The time of the drain is over and connections are left. */
static void narrate_overdue(const struct migration *m, const struct machine *s, char *out, size_t out_size)
{
    const struct config_migration *config = &m->setup.config->migration;
    uint32_t group = machine_leaving(s);
    uint64_t open = group == ROUTING_NONE ? 0 : routing_open(m->options.routing, group);
    bool waits = s->phase == MIGRATION_DRAINING && config->drain.on_timeout == CONFIG_DRAIN_WAIT;

    if (waits) {
        snprintf(out, out_size, "the drain's time is over: waits for %" PRIu64 " connections left on %s",
                 open, migration_group_name(m, group));
    } else if (config->drain.close_rate == 0) {
        snprintf(out, out_size, "the drain's time is over: closing %" PRIu64 " connections left on %s", open,
                 migration_group_name(m, group));
    } else {
        snprintf(out, out_size,
                 "the drain's time is over: closing %" PRIu64 " connections left on %s, %" PRIu32 " a second",
                 open, migration_group_name(m, group), config->drain.close_rate);
    }
}

/* How many the drain had to close; empty when all ended by themselves. */
static void narrate_closed(const struct migration *m, char *out, size_t out_size)
{
    uint64_t closed = drain_closed(m);

    out[0] = '\0';
    if (closed > 0) {
        snprintf(out, out_size, "; the drain closed %" PRIu64 " connection%s", closed,
                 closed == 1 ? "" : "s");
    }
}

static void narrate_phase(const struct migration *m, const struct machine *before,
                          const struct machine *after, enum machine_event event, char *out, size_t out_size)
{
    const char *old = migration_group_name(m, before->active);
    const char *target = migration_group_name(m, after->target);
    char share[16];
    char limit[32];
    char closed[64];
    char toll[200];

    narrate_closed(m, closed, sizeof(closed));
    toll_narrate(m, toll, sizeof(toll));
    units_format_share(before->share_bp, share, sizeof(share));
    clock_format_duration(m->setup.rules.drain_us, limit, sizeof(limit));
    switch (after->phase) {
    case MIGRATION_PREFLIGHT:
        snprintf(out, out_size, "resumed: asks its hooks before the first step");
        break;
    case MIGRATION_RAMPING:
        snprintf(out, out_size, "resumed at %s", share);
        break;
    case MIGRATION_PAUSED:
        snprintf(out, out_size, "%s at %s",
                 event == MACHINE_STEP_DUE && machine_is_manual(before, &m->setup.rules)
                     ? "waits for `resume`"
                 : event == MACHINE_STEP_DUE || event == MACHINE_SKIP ? "the plan is done: paused"
                                                                      : "paused",
                 share);
        break;
    case MIGRATION_DRAINING:
        if (before->phase == MIGRATION_DRAINING) {
            snprintf(out, out_size, "commit given: completes when %s is drained", old);
        } else {
            snprintf(out, out_size, "draining %s: %" PRIu64 " connections open there, up to %s", old,
                     routing_open(m->options.routing, before->active), limit);
        }
        break;
    case MIGRATION_AWAITING_COMMIT:
        snprintf(out, out_size, "%s is drained: waits for `commit %s`", old, m->options.config->name);
        break;
    case MIGRATION_COMPLETED:
        snprintf(out, out_size, "completed: all traffic on %s; %s is free%s", target, old, closed);
        break;
    case MIGRATION_ROLLING_BACK:
        narrate_back(m, before, after, out, out_size);
        break;
    case MIGRATION_ROLLED_BACK:
        snprintf(out, out_size, "rolled back: all traffic on %s%s%s", old, toll, closed);
        break;
    default:
        snprintf(out, out_size, "%s → %s", migration_phase_name(before->phase),
                 migration_phase_name(after->phase));
        break;
    }
}

static bool moves_by_itself(const struct machine *s)
{
    return s->phase == MIGRATION_PREFLIGHT || s->phase == MIGRATION_RAMPING || s->phase == MIGRATION_DRAINING;
}

static void narrate_lost(const struct migration *m, const struct machine *s, char *out, size_t out_size)
{
    const char *target = migration_group_name(m, s->target);
    const char *active = migration_group_name(m, s->active);

    if (routing_serving(m->options.routing, s->active) == 0) {
        snprintf(out, out_size, "%sno usable backend in %s, and none in %s: clients are turned away",
                 moves_by_itself(s) ? "holding: " : "", target, active);
    } else if (m->options.config->fallback) {
        snprintf(out, out_size, "%sno usable backend in %s; traffic of %s goes to %s",
                 moves_by_itself(s) ? "holding: " : "", target, target, active);
    } else {
        snprintf(out, out_size,
                 "%sno usable backend in %s, and fallback is off: its clients are turned away; `abort %s`",
                 moves_by_itself(s) ? "holding: " : "", target, m->options.config->name);
    }
}

void narrate_change(const struct migration *m, const struct machine *before, const struct machine *after,
                    enum machine_event event, char *out, size_t out_size)
{
    const char *target = after->target == ROUTING_NONE ? "" : migration_group_name(m, after->target);

    if (event == MACHINE_TARGET_LOST) {
        narrate_lost(m, after, out, out_size);
    } else if (event == MACHINE_TARGET_BACK) {
        snprintf(out, out_size, "%s has a usable backend again%s", target,
                 moves_by_itself(after) ? ": goes on" : "");
    } else if (event == MACHINE_JOURNAL_FAILED) {
        snprintf(out, out_size, "frozen at the present share: %s", m->journal_error);
    } else if (event == MACHINE_JOURNAL_RETRY) {
        snprintf(out, out_size, "the journal can be written again: goes on");
    } else if (event == MACHINE_RESTART) {
        narrate_restart(m, before, after, out, out_size);
    } else if (event == MACHINE_DRAIN_DEADLINE) {
        narrate_overdue(m, after, out, out_size);
    } else if (after->number != before->number) {
        narrate_start(m, after, out, out_size);
    } else if (after->share_bp != before->share_bp && after->phase != MIGRATION_ROLLING_BACK) {
        narrate_share(m, before, after, out, out_size);
    } else {
        narrate_phase(m, before, after, event, out, out_size);
    }
}

enum events_severity narrate_severity(const struct machine *after, enum machine_event event)
{
    if (event == MACHINE_JOURNAL_FAILED) {
        return EVENTS_ERROR;
    }
    if (event == MACHINE_TARGET_LOST || event == MACHINE_DRAIN_DEADLINE || event == MACHINE_GATE_FAIL ||
        event == MACHINE_GATE_TOO_FEW || after->phase == MIGRATION_ROLLING_BACK ||
        after->phase == MIGRATION_ROLLED_BACK) {
        return EVENTS_WARN;
    }
    return EVENTS_INFO;
}

const char *narrate_kind(const struct machine *before, const struct machine *after)
{
    return before->phase == after->phase && before->share_bp != after->share_bp ? "share" : "phase";
}

static void narrate_left(const struct migration *m, uint32_t group, uint64_t now_us, char *out,
                         size_t out_size)
{
    uint64_t left_us = drain_left_us(m, now_us);
    uint64_t open = routing_open(m->options.routing, group);
    const char *name = migration_group_name(m, group);
    char left[32];

    clock_format_duration(left_us, left, sizeof(left));
    if (m->machine.phase == MIGRATION_ROLLING_BACK && m->machine.share_bp > 0) {
        snprintf(out, out_size, "going back, share 0%% in %s", left);
    } else if (drain_is_closing(m)) {
        snprintf(out, out_size, "closing %" PRIu64 " connections left on %s, about %s", open, name, left);
    } else if (left_us == CLOCK_NEVER) {
        snprintf(out, out_size, "waits for %" PRIu64 " connections left on %s; its time is over", open, name);
    } else {
        snprintf(out, out_size, "%" PRIu64 " connections left on %s, up to %s", open, name, left);
    }
}

/* Why it goes, or went, back: the reason given, or at least by whom. */
static void narrate_cause(const struct migration *m, char *out, size_t out_size)
{
    if (m->why[0] != '\0') {
        snprintf(out, out_size, "%s", m->why);
    } else {
        snprintf(out, out_size, "aborted by %s", m->actor);
    }
}

void narrate_reason(const struct migration *m, uint64_t now_us, char *out, size_t out_size)
{
    const struct machine *s = &m->machine;
    const char *service = m->options.config->name;

    out[0] = '\0';
    if (s->detached) {
        snprintf(out, out_size, "frozen: %s", m->journal_error);
    } else if (s->held && moves_by_itself(s)) {
        narrate_lost(m, s, out, out_size);
    } else if (s->phase == MIGRATION_PAUSED) {
        snprintf(out, out_size, "%s by %s%s%s", s->by_hand && s->step == 0 ? "share set" : "paused", m->actor,
                 m->why[0] == '\0' ? "" : ": ", m->why);
    } else if (hooked_waits(m)) {
        hooked_narrate(m, out, out_size);
    } else if (waits_any(m)) {
        waits_narrate(m, out, out_size);
    } else if (s->phase == MIGRATION_DRAINING) {
        narrate_left(m, s->active, now_us, out, out_size);
    } else if (s->phase == MIGRATION_ROLLING_BACK) {
        size_t len;

        narrate_left(m, s->target, now_us, out, out_size);
        len = strlen(out);
        if (len + 2 < out_size) {
            snprintf(out + len, out_size - len, "; ");
            narrate_cause(m, out + len + 2, out_size - len - 2);
        }
    } else if (s->phase == MIGRATION_AWAITING_COMMIT) {
        snprintf(out, out_size, "%s is drained: `commit %s` completes, `abort %s` goes back",
                 migration_group_name(m, s->active), service, service);
    } else if (s->phase == MIGRATION_ROLLED_BACK) {
        narrate_cause(m, out, out_size);
    } else if (s->phase != MIGRATION_IDLE && s->phase != MIGRATION_RAMPING) {
        snprintf(out, out_size, "%s", m->why);
    }
}
