/*
 * The words with which an operator's command is refused: what stands in the way, in which state, and which
 * command would help. Pure; any thread. Whether it is refused is decided by the table in migration/machine.c;
 * nothing here changes anything.
 */
#include "migration/machine.h"

#include "core/clock.h"
#include "core/units.h"

#define REFUSE(...) err_set(err, ERR_STATE, __VA_ARGS__)

static int refuse_target_down(const struct machine_names *n, struct err_text *err)
{
    return REFUSE("%s: group %s has no usable backend%s%s: see `status %s`, or make one ready with "
                  "`backend %s/%s/BACKEND ready`",
                  n->service, n->target, n->down == NULL || *n->down == '\0' ? "" : ": ",
                  n->down == NULL ? "" : n->down, n->service, n->service, n->target);
}

/* Idle, completed, rolled back: nothing runs. */
static int refuse_when_closed(const struct machine *m, const struct machine_rules *rules,
                              const struct machine_input *in, const struct machine_names *n,
                              struct err_text *err)
{
    char share[16];

    if (in->event == MACHINE_START && rules->plan == NULL) {
        return REFUSE("%s has no plan: add `migration = { steps = … }` to its configuration and `reload`, or "
                      "move traffic by hand with `share %s PCT`",
                      n->service, n->service);
    }
    if (in->event == MACHINE_START && plan_step_from(rules->plan, in->share_bp) == 0) {
        units_format_share(in->share_bp, share, sizeof(share));
        char first[16];
        units_format_share(plan_share_bp(rules->plan, 1), first, sizeof(first));
        return REFUSE("the plan of %s has no step at or below %s: it begins with %s, see `plan %s`",
                      n->service, share, first, n->service);
    }
    if (in->event == MACHINE_SHARE && in->share_bp == 0) {
        return REFUSE("no migration runs for %s: %s takes all traffic, there is no share to lower; `share %s "
                      "PCT` above 0 begins one",
                      n->service, n->old, n->service);
    }
    if ((in->event == MACHINE_START || in->event == MACHINE_SHARE) && in->usable == 0) {
        return refuse_target_down(n, err);
    }
    if (in->event == MACHINE_ABORT && m->phase == MIGRATION_COMPLETED) {
        return REFUSE(
            "no migration runs for %s, the last one is completed and %s takes all traffic: to go back, "
            "`start %s to %s`",
            n->service, n->old, n->service, in->target == ROUTING_NONE ? "GROUP" : n->target);
    }
    if (in->event == MACHINE_ABORT && m->phase == MIGRATION_ROLLED_BACK) {
        return REFUSE("no migration runs for %s, the last one is rolled back and %s takes all traffic: "
                      "`start %s` would begin anew",
                      n->service, n->old, n->service);
    }
    return REFUSE("no migration runs for %s: start one with `start %s`", n->service, n->service);
}

/* Started, and the hooks are asked before the first step. */
static int refuse_in_preflight(const struct machine_input *in, const struct machine_names *n,
                               struct err_text *err)
{
    switch (in->event) {
    case MACHINE_START:
        return REFUSE(
            "a migration of %s to %s is started already, its hooks are asked before the first step: "
            "`status %s`; `abort %s` gives it up",
            n->service, n->target, n->service, n->service);
    case MACHINE_RESUME:
        return REFUSE("%s is not paused: its hooks are asked before the first step; `skip %s` does not wait "
                      "for them",
                      n->service, n->service);
    case MACHINE_COMMIT:
        return REFUSE(
            "%s cannot be committed: its first step is not taken; `status %s` says what it waits for",
            n->service, n->service);
    default:
        return refuse_target_down(n, err); /* skip, and a share above 0 */
    }
}

static int refuse_when_ramping(const struct machine *m, const struct machine_input *in,
                               const struct machine_names *n, const char *share, struct err_text *err)
{
    (void)m;
    switch (in->event) {
    case MACHINE_START:
        return REFUSE("a migration of %s to %s runs already, at %s: `status %s`; `abort %s` would go back",
                      n->service, n->target, share, n->service, n->service);
    case MACHINE_RESUME:
        return REFUSE("%s is not paused: it ramps, at %s; `skip %s` takes the next step now", n->service,
                      share, n->service);
    case MACHINE_COMMIT:
        return REFUSE(
            "%s cannot be committed yet: its share is %s and the plan still runs; `skip %s` takes the "
            "next step now",
            n->service, share, n->service);
    default:
        return refuse_target_down(n, err); /* skip, and a share above the present one */
    }
}

static int refuse_when_paused(const struct machine *m, const struct machine_rules *rules,
                              const struct machine_input *in, const struct machine_names *n,
                              const char *share, struct err_text *err)
{
    bool full = m->share_bp == UNITS_BP_FULL;

    switch (in->event) {
    case MACHINE_START:
        return REFUSE("a migration of %s to %s is paused at %s: `resume %s` goes on, `abort %s` goes back",
                      n->service, n->target, share, n->service, n->service);
    case MACHINE_PAUSE:
        return REFUSE("%s is paused already, at %s: `resume %s` goes on", n->service, share, n->service);
    case MACHINE_SKIP:
        return REFUSE("%s is paused at %s, so no hold is being served: `resume %s` goes on", n->service,
                      share, n->service);
    case MACHINE_COMMIT:
        if (full) {
            return refuse_target_down(n, err);
        }
        return REFUSE("%s cannot be committed at %s: raise it with `share %s 100%%` first", n->service, share,
                      n->service);
    case MACHINE_RESUME:
        if (rules->plan == NULL) {
            return REFUSE("%s has no plan to go on with: `share %s PCT` moves it by hand, %s", n->service,
                          n->service, full ? "`commit` drains and completes" : "`abort` goes back");
        }
        if (!full && plan_step_above(rules->plan, m->share_bp) == 0) {
            return REFUSE(
                "the plan of %s has no step above %s: `share %s 100%%` and then `commit %s` complete it, "
                "`abort %s` goes back",
                n->service, share, n->service, n->service, n->service);
        }
        return refuse_target_down(n, err);
    default:
        return refuse_target_down(n, err); /* a share above the present one */
    }
}

/* Draining and awaiting-commit: the share is 100 %. */
static int refuse_when_full(const struct machine *m, const struct machine_input *in,
                            const struct machine_names *n, struct err_text *err)
{
    bool waits = m->phase == MIGRATION_AWAITING_COMMIT;

    switch (in->event) {
    case MACHINE_START:
        return REFUSE("a migration of %s to %s is at its end: it %s; `abort %s` goes back", n->service,
                      n->target, waits ? "waits for `commit`" : "drains the old group", n->service);
    case MACHINE_SHARE:
        return REFUSE("the share of %s is 100%% already: `abort %s` goes back", n->service, n->service);
    case MACHINE_COMMIT:
        if (waits) {
            return refuse_target_down(n, err);
        }
        return REFUSE("%s drains and then completes by itself: `kill %s/%s` closes what is left on %s",
                      n->service, n->service, n->old, n->old);
    default: /* pause, resume, skip */
        if (waits) {
            return REFUSE("%s stands at 100%% and waits: `commit %s` completes it, `abort %s` goes back",
                          n->service, n->service, n->service);
        }
        return REFUSE("%s drains %s: `wait %s` waits for that, `kill %s/%s` closes what is left", n->service,
                      n->old, n->service, n->service, n->old);
    }
}

int machine_refuse(const struct machine *machine, const struct machine_rules *rules,
                   const struct machine_input *input, const struct machine_names *names, struct err_text *err)
{
    char share[16];

    units_format_share(machine->share_bp, share, sizeof(share));
    switch (machine->phase) {
    case MIGRATION_RAMPING:
        return refuse_when_ramping(machine, input, names, share, err);
    case MIGRATION_PAUSED:
        return refuse_when_paused(machine, rules, input, names, share, err);
    case MIGRATION_DRAINING:
    case MIGRATION_AWAITING_COMMIT:
        return refuse_when_full(machine, input, names, err);
    case MIGRATION_ROLLING_BACK:
        if (machine->share_bp > 0) {
            return REFUSE(
                "%s is still rolling back, at %s: `abort %s` takes the rest at once, `wait %s` waits "
                "for its end",
                names->service, share, names->service, names->service);
        }
        return REFUSE(
            "%s is still rolling back, connections are left on %s: `wait %s`, or `kill %s/%s` closes them",
            names->service, names->target, names->service, names->service, names->target);
    case MIGRATION_PREFLIGHT:
        return refuse_in_preflight(input, names, err);
    case MIGRATION_IDLE:
    case MIGRATION_COMPLETED:
    case MIGRATION_ROLLED_BACK:
    case MIGRATION_PHASE_COUNT:
        break;
    }
    return refuse_when_closed(machine, rules, input, names, err);
}
