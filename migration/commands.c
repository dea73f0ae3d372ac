/*
 * The verbs of operators, and what they read: finds out which group is meant, asks the machine, and words the
 * refusal when it says no. Control thread. The order of journal and effects is in migration/controller.c.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"
#include "core/units.h"

#include <stdio.h>
#include <string.h>

/* The group that a command is about: the target of the migration that runs, or the one that would be meant.
 */
static uint32_t group_meant(const struct migration *m)
{
    return machine_is_open(&m->machine) ? m->machine.target : migration_default_target(m);
}

static int refuse(const struct migration *m, const struct machine_input *input, struct err_text *err)
{
    uint32_t group = machine_is_open(&m->machine) ? m->machine.target : input->target;
    char down[256] = "";
    struct machine_names names = {.service = m->options.config->name,
                                  .old = migration_group_name(m, m->machine.active),
                                  .target = migration_group_name(m, group),
                                  .down = down};

    if (group != ROUTING_NONE) {
        narrate_down(m, group, down, sizeof(down));
    }
    return machine_refuse(&m->machine, &m->setup.rules, input, &names, err);
}

static int command(struct migration *m, struct machine_input *input, const struct migration_asker *who,
                   struct err_text *err)
{
    uint32_t group = machine_is_open(&m->machine) ? m->machine.target : input->target;
    int rc = handover_allows(m, err);

    if (rc != 0) {
        return rc;
    }
    input->usable = group == ROUTING_NONE ? 0 : routing_usable(m->options.routing, group);
    rc = migration_perform(m, input, who, err);
    if (rc == ERR_STATE) {
        return refuse(m, input, err);
    }
    if (rc == 0) {
        migration_turn(m);
    }
    return rc;
}

static int simple(struct migration *m, enum machine_event event, const struct migration_asker *who,
                  struct err_text *err)
{
    struct machine_input input = {.event = event, .target = group_meant(m)};

    return command(m, &input, who, err);
}

static int refuse_ambiguous(const struct migration *m, const char *verb, struct err_text *err)
{
    const char *service = m->options.config->name;
    size_t groups = routing_groups(m->options.routing);
    char names[256] = "";
    size_t len = 0;

    for (uint32_t group = 0; group < groups && len < sizeof(names); group++) {
        if (group != m->machine.active && !routing_group_is_removed(m->options.routing, group)) {
            int n = snprintf(names + len, sizeof(names) - len, "%s%s", len > 0 ? ", " : "",
                             migration_group_name(m, group));
            len += n < 0 ? 0 : (size_t)n;
        }
    }
    if (len == 0) {
        return err_set(err, ERR_STATE,
                       "%s has only the group %s: there is nothing to migrate to; add a group to its "
                       "configuration and `reload`",
                       service, migration_group_name(m, m->machine.active));
    }
    return err_set(err, ERR_STATE, "%s: to which group? `start %s to GROUP` with one of: %s%s", verb, service,
                   names, strcmp(verb, "share") == 0 ? "; then `share`" : "");
}

/* Findings that are in the way of a start, as one text; false: none. first: the first of them with its
 * advice. */
static bool look_over(const struct migration *m, uint32_t target, char *all, size_t all_size, char *first,
                      size_t first_size)
{
    struct migration_finding findings[MIGRATION_FINDINGS_MAX];
    size_t n = migration_preflight(m, target, findings, MIGRATION_FINDINGS_MAX);
    size_t len = 0;

    all[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (findings[i].passed || len >= all_size) {
            continue;
        }
        if (len == 0) {
            snprintf(first, first_size, "%s (%s)", findings[i].text, findings[i].advice);
        }
        len += (size_t)snprintf(all + len, all_size - len, "%s%s", len > 0 ? "; " : "", findings[i].text);
    }
    return len > 0;
}

/* Whether the table would let a start begin something, but for what is found on the way. */
static bool may_start(const struct migration *m, struct machine_input *input)
{
    struct machine_change change;

    input->now_us = m->clock_us(m->clock_context);
    input->usable = routing_usable(m->options.routing, input->target);
    return machine_handle(&m->machine, &m->setup.rules, input, &change) == 0;
}

static int start_looked_over(struct migration *m, struct machine_input *input, bool force,
                             const struct migration_asker *who, struct err_text *err)
{
    const char *service = m->options.config->name;
    char all[256] = "";
    char first[400] = "";
    char text[300];
    bool found = may_start(m, input) && look_over(m, input->target, all, sizeof(all), first, sizeof(first));
    int rc;

    if (found && !force) {
        return err_set(err, ERR_STATE,
                       "%s is not started: %s; `plan %s` shows all that was looked at, `start %s … "
                       "force` starts all the same",
                       service, first, service, service);
    }
    rc = command(m, input, who, err);
    if (rc == 0 && found) {
        snprintf(text, sizeof(text), "started by force, in spite of: %s", all);
        migration_note(m, who, text);
    }
    return rc;
}

int migration_start(struct migration *m, const char *target, uint32_t from_share_bp, bool force,
                    const struct migration_asker *who, struct err_text *err)
{
    const char *service = m->options.config->name;
    struct machine_input input = {.event = MACHINE_START, .share_bp = from_share_bp};

    setup_renew(m, true);
    if (target != NULL) {
        input.target = routing_find_group(m->options.routing, target);
        if (input.target == ROUTING_NONE) {
            return err_set(err, ERR_NOT_FOUND, "%s has no group \"%s\": see `status %s`", service, target,
                           service);
        }
    } else {
        input.target = group_meant(m);
    }
    if (!machine_is_open(&m->machine)) {
        if (input.target == ROUTING_NONE) {
            return refuse_ambiguous(m, "start", err);
        }
        if (input.target == m->machine.active) {
            return err_set(err, ERR_STATE,
                           "%s takes all traffic of %s already: `start %s to GROUP` with another group",
                           migration_group_name(m, input.target), service, service);
        }
    }
    return start_looked_over(m, &input, force, who, err);
}

int migration_share(struct migration *m, uint32_t share_bp, const struct migration_asker *who,
                    struct err_text *err)
{
    struct machine_input input = {.event = MACHINE_SHARE, .share_bp = share_bp, .target = group_meant(m)};

    setup_renew(m, true);
    if (share_bp > UNITS_BP_FULL) {
        return err_set(err, ERR_RANGE, "a share is 0%% to 100%%");
    }
    if (!machine_is_open(&m->machine) && input.target == ROUTING_NONE) {
        return refuse_ambiguous(m, "share", err);
    }
    return command(m, &input, who, err);
}

int migration_pause(struct migration *m, const struct migration_asker *who, struct err_text *err)
{
    return simple(m, MACHINE_PAUSE, who, err);
}

int migration_resume(struct migration *m, const struct migration_asker *who, struct err_text *err)
{
    return simple(m, MACHINE_RESUME, who, err);
}

int migration_skip(struct migration *m, const struct migration_asker *who, struct err_text *err)
{
    return simple(m, MACHINE_SKIP, who, err);
}

int migration_abort(struct migration *m, const struct migration_asker *who, struct err_text *err)
{
    return simple(m, MACHINE_ABORT, who, err);
}

int migration_commit(struct migration *m, const struct migration_asker *who, struct err_text *err)
{
    return simple(m, MACHINE_COMMIT, who, err);
}

static uint32_t live_share_bp(const struct migration *m, uint32_t target, uint32_t share_bp)
{
    uint64_t all = 0;
    uint64_t on_target;

    if (target == ROUTING_NONE) {
        return 0;
    }
    for (size_t group = 0; group < routing_groups(m->options.routing); group++) {
        all += routing_open(m->options.routing, group);
    }
    on_target = routing_open(m->options.routing, target);
    /* Without connections nothing lags behind the share. */
    return all == 0 ? share_bp : (uint32_t)(on_target * UNITS_BP_FULL / all);
}

/* Until the plan is through: the present step as long as its hours keep it, then the holds of the others. */
static uint64_t all_left_us(const struct plan *plan, uint32_t step, uint64_t served_us, uint64_t step_left_us)
{
    uint64_t rest = plan_left_us(plan, step, CLOCK_NEVER);

    if (step_left_us == CLOCK_NEVER) { /* what it waits for cannot be told in time */
        return plan_left_us(plan, step, served_us);
    }
    return rest > CLOCK_NEVER - step_left_us ? CLOCK_NEVER : rest + step_left_us;
}

static void read_times(const struct migration *m, uint64_t now_us, struct migration_status *out)
{
    const struct machine *s = &m->machine;
    uint64_t served = machine_served_us(s, now_us);
    uint32_t last = plan_steps(m->setup.plan);

    out->step_left_us = CLOCK_NEVER;
    out->eta_us = CLOCK_NEVER;
    if (s->phase == MIGRATION_RAMPING) {
        uint64_t hold = plan_hold_us(m->setup.plan, s->step);

        if (!s->held && !s->detached && !s->released &&
            !machine_wants_samples(s, &m->setup.rules, m->samples) && !(served >= hold && judge_waits(m))) {
            uint64_t open_us = waits_open_us(m);

            out->step_left_us = served < hold ? hold - served : 0;
            out->step_left_us = open_us > out->step_left_us ? open_us : out->step_left_us;
        }
        if (plan_share_bp(m->setup.plan, last) == UNITS_BP_FULL || s->share_bp == UNITS_BP_FULL) {
            out->eta_us = all_left_us(m->setup.plan, s->step, served, out->step_left_us);
        }
    } else if (s->phase == MIGRATION_DRAINING) {
        out->eta_us = s->held ? CLOCK_NEVER : drain_left_us(m, now_us);
        out->step_left_us = out->eta_us;
    } else if (s->phase == MIGRATION_ROLLING_BACK) {
        out->step_left_us = drain_left_us(m, now_us);
    } else if (s->phase == MIGRATION_COMPLETED) {
        out->eta_us = 0;
    }
}

void migration_read(const struct migration *m, struct migration_status *out)
{
    const struct machine *s = &m->machine;
    uint64_t now_us = m->clock_us(m->clock_context);

    *out = (struct migration_status){
        .phase = s->phase,
        .active = s->active,
        .target = s->phase == MIGRATION_IDLE ? migration_default_target(m) : s->target,
        .share_bp = s->share_bp,
        .routed_bp = machine_is_open(s) ? routing_share_bp(m->options.routing) : s->share_bp,
        .aim_live = aim_steers(m),
        .step = s->phase == MIGRATION_PREFLIGHT ? 0 : s->step,
        .steps = plan_steps(m->setup.plan),
        .detached = s->detached};
    if (out->steps < out->step) { /* ended, and the plan was taken out or cut since */
        out->steps = out->step;
    }
    narrate_id(m, s, out->id, sizeof(out->id));
    narrate_reason(m, now_us, out->reason, sizeof(out->reason));
    strays_describe(m->strays, out->stray, sizeof(out->stray));
    out->gate = judge_result(m);
    out->live_share_bp = live_share_bp(m, out->target, out->share_bp);
    read_times(m, now_us, out);
}

bool migration_is_settled(const struct migration *m)
{
    switch (m->machine.phase) {
    case MIGRATION_IDLE:
    case MIGRATION_PAUSED:
    case MIGRATION_COMPLETED:
    case MIGRATION_ROLLED_BACK:
        return true;
    default:
        return false;
    }
}
