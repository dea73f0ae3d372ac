/*
 * The clock of the state machine: what of a hold or a drain is served, what has come due, when to look again.
 * Pure, any thread. What an event then does is the table's business (migration/machine.c).
 */
#include "core/clock.h"
#include "migration/machine.h"

bool machine_is_manual(const struct machine *machine, const struct machine_rules *rules)
{
    return !machine->by_hand && !machine->released && plan_is_manual(rules->plan, machine->step);
}

/* Whether a hold or a drain is being served. Rolling back is not held up by a lost target: it leaves it. */
static bool clock_runs(const struct machine *m)
{
    return m->phase == MIGRATION_ROLLING_BACK ||
           ((m->phase == MIGRATION_RAMPING || m->phase == MIGRATION_DRAINING) && !m->held && !m->released);
}

uint64_t machine_served_us(const struct machine *machine, uint64_t now_us)
{
    if (!clock_runs(machine) || now_us < machine->mark_us) {
        return machine->served_us;
    }
    return machine->served_us + (now_us - machine->mark_us);
}

uint64_t machine_hold_us(const struct machine *m, const struct machine_rules *rules)
{
    switch (m->phase) {
    case MIGRATION_RAMPING:
        return plan_hold_us(rules->plan, m->step);
    case MIGRATION_DRAINING:
        return rules->drain_us;
    case MIGRATION_ROLLING_BACK:
        if (m->share_bp > 0) { /* until its next part */
            uint64_t part = rules->back_us / MACHINE_BACK_STEPS;

            return part == 0 ? 0 : (m->served_us / part + 1) * part;
        }
        return rules->back_drain_us;
    default:
        return CLOCK_NEVER;
    }
}

bool machine_wants_samples(const struct machine *machine, const struct machine_rules *rules, uint64_t samples)
{
    return machine->phase == MIGRATION_RAMPING && !machine->released &&
           samples < plan_min_samples(rules->plan, machine->step);
}

/* Rolling back waits for no disk. */
static enum machine_event due_back(const struct machine *m, const struct machine_sight *sight, bool over)
{
    if (m->share_bp > 0) {
        return over || sight->usable == 0 ? MACHINE_BACK_STEP : MACHINE_NO_EVENT;
    }
    if (sight->leaving == 0) {
        return MACHINE_DRAINED;
    }
    return over && !m->overdue ? MACHINE_DRAIN_DEADLINE : MACHINE_NO_EVENT;
}

/* Safety waits for no disk and no backend. Who paused, or is to commit, has the matter in hand. */
static bool gate_acts(const struct machine *m, const struct machine_rules *rules)
{
    return m->phase == MIGRATION_RAMPING || m->phase == MIGRATION_DRAINING ||
           (m->phase == MIGRATION_AWAITING_COMMIT && !rules->gate_pauses);
}

/* What follows the hold of a step. */
static enum machine_event due_step(const struct machine *m, const struct machine_rules *rules,
                                   const struct machine_sight *sight)
{
    if (sight->shut || machine_wants_samples(m, rules, sight->samples)) {
        return MACHINE_NO_EVENT;
    }
    if (!sight->gate_waits) {
        return MACHINE_STEP_DUE;
    }
    return rules->too_few_us > 0 &&
                   machine_served_us(m, sight->now_us) - machine_hold_us(m, rules) >= rules->too_few_us
               ? MACHINE_GATE_TOO_FEW
               : MACHINE_NO_EVENT;
}

enum machine_event machine_due(const struct machine *machine, const struct machine_rules *rules,
                               const struct machine_sight *sight)
{
    bool over =
        clock_runs(machine) && machine_served_us(machine, sight->now_us) >= machine_hold_us(machine, rules);

    if (machine->phase == MIGRATION_ROLLING_BACK) {
        enum machine_event back = due_back(machine, sight, over);

        if (back != MACHINE_NO_EVENT) {
            return back;
        }
    }
    if (sight->gate_failed && gate_acts(machine, rules)) {
        return MACHINE_GATE_FAIL;
    }
    if (machine_is_open(machine) && machine->phase != MIGRATION_ROLLING_BACK &&
        (sight->usable == 0) != machine->held) {
        return machine->held ? MACHINE_TARGET_BACK : MACHINE_TARGET_LOST;
    }
    if (machine->detached) {
        return sight->now_us >= machine->retry_us ? MACHINE_JOURNAL_RETRY : MACHINE_NO_EVENT;
    }
    if (machine->phase == MIGRATION_AWAITING_COMMIT && machine->commit_given && rules->commit_asks &&
        !machine->held) {
        return MACHINE_COMMIT_DUE;
    }
    if (machine->released && !machine->held &&
        (machine->phase == MIGRATION_PREFLIGHT || machine->phase == MIGRATION_RAMPING)) {
        return MACHINE_STEP_DUE;
    }
    if (machine->phase == MIGRATION_RAMPING && machine_is_manual(machine, rules)) {
        return MACHINE_STEP_DUE; /* waits for its operator from now on */
    }
    if (machine->phase == MIGRATION_RAMPING && over) {
        return due_step(machine, rules, sight);
    }
    if (machine->phase == MIGRATION_DRAINING && !machine->held) {
        return sight->leaving == 0         ? MACHINE_DRAINED
               : over && !machine->overdue ? MACHINE_DRAIN_DEADLINE
                                           : MACHINE_NO_EVENT;
    }
    return MACHINE_NO_EVENT;
}

uint64_t machine_wake_us(const struct machine *machine, const struct machine_rules *rules)
{
    uint64_t hold = machine_hold_us(machine, rules);
    uint64_t wake = CLOCK_NEVER;

    if (clock_runs(machine) && !machine->overdue &&
        !(machine->detached && machine->phase != MIGRATION_ROLLING_BACK)) {
        uint64_t left = hold > machine->served_us ? hold - machine->served_us : 0;

        wake = left > CLOCK_NEVER - machine->mark_us ? CLOCK_NEVER : machine->mark_us + left;
    }
    return machine->detached && machine->retry_us < wake ? machine->retry_us : wake;
}
