/*
 * The state machine of a migration, as one table: (phase, event, guard) → (next phase, order of effects,
 * actions). Rows of a pair are tried from the top; the first whose guard holds is taken; none: refused.
 * Pure, any thread. What is due when is in migration/machine_clock.c, the words of refusals are in
 * migration/refusal.c; journal, routing and timers belong to the controller.
 */
#include "migration/machine.h"

#include "core/clock.h"
#include "core/units.h"

#include <assert.h>

/* What a row may ask before it is taken. Each is one question about (state, rules, input). */
enum guard {
    ALWAYS,
    CAN_START,       /* there is a plan with such a step, and the target can serve */
    ASKED_START,     /* … and something is asked before a step */
    CAN_OPEN,        /* by hand: some share, and the target can serve */
    NOT_ABOVE,       /* the share asked for is not above the present one */
    BELOW,           /* … is below it */
    USABLE,          /* the target can serve */
    MORE,            /* the plan has a step after this one, and the target can serve */
    FULL,            /* the share is 100 %, and the target can serve */
    PLAN_ENDS,       /* the plan has no further step, and the share is not 100 % */
    AT_BEGINNING,    /* before the first step of the plan; the target can serve */
    BY_HAND_STEP,    /* by hand, and the plan has a step above this share; the target can serve */
    ASKED_HAND_STEP, /* … and something is asked before a step */
    BY_HAND_FULL,    /* by hand at 100 %, with a plan; the target can serve */
    ON_PLAN,         /* paused at a step of the plan */
    WANTS_COMMIT,    /* commit is manual and was not given */
    DONE_AND_WAITS,  /* the target can serve, and commit is manual and was not given */
    DONE,            /* the target can serve */
    PLAN_CHANGED,
    AT_MANUAL,   /* the present step waits for `resume` */
    MANUAL_MORE, /* … and the plan has a step after it; the target can serve */
    ASKED_MORE,  /* … and something is asked before a step */
    MANUAL_FULL, /* … and is the last, at 100 %; the target can serve */
    GATE_PAUSES, /* a failed gate is to pause */
    ASKS,        /* the target can serve, and something is asked before the commit */
    FALLING,     /* a gradual rollback has not reached 0 */
};

/* What a row does to the state. Carried out in the order of the bits. */
enum action {
    NEW_MIGRATION = 1 << 0, /* the next number, the target named */
    STEP_FROM = 1 << 1,     /* the first step not below the share asked for */
    STEP_NEXT = 1 << 2,     /* the next step of the plan */
    STEP_ABOVE = 1 << 3,    /* the first step above the present share */
    STEP_LAST = 1 << 4,     /* the last step; the share stays */
    TAKE_SHARE = 1 << 5,    /* the share of the step */
    HAND_SHARE = 1 << 6,    /* the share asked for, by hand; the clock is reset */
    GO_BACK = 1 << 7,       /* towards old, at once or the first part; the clock is reset */
    CLOCK_ZERO = 1 << 8,    /* nothing of the next hold or drain is served yet */
    CLOCK_CARRY = 1 << 9,   /* … but for what this event came late, so that a ramp keeps its length */
    PARK = 1 << 10,         /* out of the drain: the last hold counts as served */
    GIVE_COMMIT = 1 << 11,
    ACTIVATE = 1 << 12, /* the target becomes active */
    OVERDUE = 1 << 13,  /* the time of the drain is over, connections are left */
    FALL = 1 << 14,     /* the next part of a gradual rollback; at its end the clock measures the drain */
    HOLD = 1 << 15,
    UNHOLD = 1 << 16,
    DETACH = 1 << 17,
    LOOSEN = 1 << 18,      /* by hand from here: the step no longer fits */
    DROP = 1 << 19,        /* what is left of a gradual rollback at once */
    STEP_BEFORE = 1 << 20, /* after STEP_FROM: one less, for it was not taken yet */
    RELEASE = 1 << 21,     /* the next step is ordered */
};

struct row {
    enum migration_phase from;
    enum machine_event event;
    enum guard guard;
    enum migration_phase to;
    enum machine_order order;
    unsigned actions;
};

#define P(name) MIGRATION_##name
#define E(name) MACHINE_##name
#define FIRST MACHINE_JOURNAL_FIRST
#define AFTER MACHINE_ACT_FIRST
#define SILENT MACHINE_SILENT

#define BEGIN (NEW_MIGRATION | STEP_FROM | TAKE_SHARE | CLOCK_ZERO)
#define BEGIN_ASKED (NEW_MIGRATION | STEP_FROM | STEP_BEFORE | RELEASE | CLOCK_ZERO)
#define OPEN_BY_HAND (NEW_MIGRATION | HAND_SHARE)
#define ADVANCE (STEP_NEXT | TAKE_SHARE | CLOCK_ZERO)
#define TO_STEP_ABOVE (STEP_ABOVE | TAKE_SHARE | CLOCK_ZERO)

/* Rows that every phase with a migration under way has. */
#define WATCHED(phase)                                                                                       \
    {P(phase), E(TARGET_LOST), ALWAYS, P(phase), SILENT, HOLD},                                              \
        {P(phase), E(TARGET_BACK), ALWAYS, P(phase), SILENT, UNHOLD},                                        \
    {                                                                                                        \
        P(phase), E(ABORT), ALWAYS, P(ROLLING_BACK), AFTER, GO_BACK                                          \
    }
/* Rows that every phase has. */
#define RECORDED(phase)                                                                                      \
    {P(phase), E(JOURNAL_FAILED), ALWAYS, P(phase), SILENT, DETACH},                                         \
    {                                                                                                        \
        P(phase), E(JOURNAL_RETRY), ALWAYS, P(phase), FIRST, 0                                               \
    }

/* Rows of the phases in which nothing runs: a plan, or a share by hand, begins something. */
#define CLOSED(phase)                                                                                        \
    {P(phase), E(START), ASKED_START, P(PREFLIGHT), FIRST, BEGIN_ASKED},                                     \
        {P(phase), E(START), CAN_START, P(RAMPING), FIRST, BEGIN},                                           \
        {P(phase), E(SHARE), CAN_OPEN, P(PAUSED), FIRST, OPEN_BY_HAND},                                      \
    {                                                                                                        \
        P(phase), E(RESTART), ALWAYS, P(phase), SILENT, 0                                                    \
    }

static const struct row table[] = {
    CLOSED(IDLE),
    RECORDED(IDLE),
    CLOSED(COMPLETED),
    RECORDED(COMPLETED),
    CLOSED(ROLLED_BACK),
    RECORDED(ROLLED_BACK),

    /* Started, and the first step is asked about: the share is 0. */
    {P(PREFLIGHT), E(STEP_DUE), MORE, P(RAMPING), FIRST, ADVANCE},
    {P(PREFLIGHT), E(SKIP), MORE, P(RAMPING), FIRST, ADVANCE},
    {P(PREFLIGHT), E(PAUSE), ALWAYS, P(PAUSED), AFTER, 0},
    {P(PREFLIGHT), E(SHARE), NOT_ABOVE, P(PAUSED), AFTER, HAND_SHARE},
    {P(PREFLIGHT), E(SHARE), USABLE, P(PAUSED), FIRST, HAND_SHARE},
    {P(PREFLIGHT), E(RESTART), PLAN_CHANGED, P(ROLLED_BACK), AFTER, CLOCK_ZERO},
    {P(PREFLIGHT), E(RESTART), ALWAYS, P(PREFLIGHT), AFTER, 0},
    WATCHED(PREFLIGHT),
    RECORDED(PREFLIGHT),

    {P(RAMPING), E(STEP_DUE), BY_HAND_STEP, P(RAMPING), FIRST, TO_STEP_ABOVE},
    {P(RAMPING), E(STEP_DUE), AT_MANUAL, P(PAUSED), AFTER, CLOCK_ZERO},
    {P(RAMPING), E(STEP_DUE), MORE, P(RAMPING), FIRST, ADVANCE | CLOCK_CARRY},
    {P(RAMPING), E(STEP_DUE), FULL, P(DRAINING), FIRST, CLOCK_ZERO},
    {P(RAMPING), E(STEP_DUE), PLAN_ENDS, P(PAUSED), AFTER, LOOSEN | CLOCK_ZERO},
    {P(RAMPING), E(SKIP), BY_HAND_STEP, P(RAMPING), FIRST, TO_STEP_ABOVE},
    {P(RAMPING), E(SKIP), MORE, P(RAMPING), FIRST, ADVANCE},
    {P(RAMPING), E(SKIP), FULL, P(DRAINING), FIRST, CLOCK_ZERO},
    {P(RAMPING), E(SKIP), PLAN_ENDS, P(PAUSED), AFTER, LOOSEN | CLOCK_ZERO},
    {P(RAMPING), E(SHARE), NOT_ABOVE, P(PAUSED), AFTER, HAND_SHARE},
    {P(RAMPING), E(SHARE), USABLE, P(PAUSED), FIRST, HAND_SHARE},
    {P(RAMPING), E(PAUSE), ALWAYS, P(PAUSED), AFTER, 0},
    {P(RAMPING), E(GATE_FAIL), GATE_PAUSES, P(PAUSED), AFTER, CLOCK_ZERO},
    {P(RAMPING), E(GATE_FAIL), ALWAYS, P(ROLLING_BACK), AFTER, GO_BACK},
    {P(RAMPING), E(GATE_TOO_FEW), ALWAYS, P(PAUSED), AFTER, CLOCK_ZERO},
    {P(RAMPING), E(RESTART), PLAN_CHANGED, P(PAUSED), AFTER, LOOSEN | CLOCK_ZERO},
    {P(RAMPING), E(RESTART), ALWAYS, P(RAMPING), AFTER, 0},
    WATCHED(RAMPING),
    RECORDED(RAMPING),

    {P(PAUSED), E(RESUME), AT_BEGINNING, P(PREFLIGHT), FIRST, RELEASE | CLOCK_ZERO},
    {P(PAUSED), E(RESUME), ASKED_HAND_STEP, P(RAMPING), FIRST, RELEASE | CLOCK_ZERO},
    {P(PAUSED), E(RESUME), BY_HAND_STEP, P(RAMPING), FIRST, TO_STEP_ABOVE},
    {P(PAUSED), E(RESUME), BY_HAND_FULL, P(RAMPING), FIRST, STEP_LAST | CLOCK_ZERO},
    {P(PAUSED), E(RESUME), ASKED_MORE, P(RAMPING), FIRST, RELEASE},
    {P(PAUSED), E(RESUME), MANUAL_MORE, P(RAMPING), FIRST, ADVANCE},
    {P(PAUSED), E(RESUME), MANUAL_FULL, P(DRAINING), FIRST, CLOCK_ZERO},
    {P(PAUSED), E(RESUME), ON_PLAN, P(RAMPING), FIRST, 0},
    {P(PAUSED), E(SHARE), NOT_ABOVE, P(PAUSED), AFTER, HAND_SHARE},
    {P(PAUSED), E(SHARE), USABLE, P(PAUSED), FIRST, HAND_SHARE},
    {P(PAUSED), E(COMMIT), FULL, P(DRAINING), FIRST, GIVE_COMMIT | CLOCK_ZERO},
    {P(PAUSED), E(RESTART), PLAN_CHANGED, P(PAUSED), AFTER, LOOSEN | CLOCK_ZERO},
    {P(PAUSED), E(RESTART), ALWAYS, P(PAUSED), AFTER, 0},
    WATCHED(PAUSED),
    RECORDED(PAUSED),

    {P(DRAINING), E(DRAINED), DONE_AND_WAITS, P(AWAITING_COMMIT), FIRST, CLOCK_ZERO},
    {P(DRAINING), E(DRAINED), DONE, P(COMPLETED), FIRST, ACTIVATE | CLOCK_ZERO},
    {P(DRAINING), E(DRAIN_DEADLINE), ALWAYS, P(DRAINING), AFTER, OVERDUE},
    {P(DRAINING), E(COMMIT), WANTS_COMMIT, P(DRAINING), FIRST, GIVE_COMMIT},
    {P(DRAINING), E(SHARE), BELOW, P(PAUSED), AFTER, HAND_SHARE},
    {P(DRAINING), E(PAUSE), ALWAYS, P(PAUSED), AFTER, PARK},
    {P(DRAINING), E(GATE_FAIL), GATE_PAUSES, P(PAUSED), AFTER, PARK},
    {P(DRAINING), E(GATE_FAIL), ALWAYS, P(ROLLING_BACK), AFTER, GO_BACK},
    {P(DRAINING), E(RESTART), ALWAYS, P(DRAINING), AFTER, 0},
    WATCHED(DRAINING),
    RECORDED(DRAINING),

    {P(AWAITING_COMMIT), E(COMMIT), ASKS, P(AWAITING_COMMIT), FIRST, GIVE_COMMIT},
    {P(AWAITING_COMMIT), E(COMMIT_DUE), USABLE, P(COMPLETED), FIRST, ACTIVATE},
    {P(AWAITING_COMMIT), E(COMMIT), USABLE, P(COMPLETED), FIRST, GIVE_COMMIT | ACTIVATE},
    {P(AWAITING_COMMIT), E(SHARE), BELOW, P(PAUSED), AFTER, HAND_SHARE},
    {P(AWAITING_COMMIT), E(GATE_FAIL), ALWAYS, P(ROLLING_BACK), AFTER, GO_BACK},
    {P(AWAITING_COMMIT), E(RESTART), ALWAYS, P(AWAITING_COMMIT), AFTER, 0},
    WATCHED(AWAITING_COMMIT),
    RECORDED(AWAITING_COMMIT),

    {P(ROLLING_BACK), E(DRAINED), ALWAYS, P(ROLLED_BACK), AFTER, CLOCK_ZERO},
    {P(ROLLING_BACK), E(DRAIN_DEADLINE), ALWAYS, P(ROLLING_BACK), AFTER, OVERDUE},
    {P(ROLLING_BACK), E(BACK_STEP), ALWAYS, P(ROLLING_BACK), AFTER, FALL},
    {P(ROLLING_BACK), E(ABORT), FALLING, P(ROLLING_BACK), AFTER, DROP},
    {P(ROLLING_BACK), E(ABORT), ALWAYS, P(ROLLING_BACK), MACHINE_NOTHING, 0},
    {P(ROLLING_BACK), E(RESTART), ALWAYS, P(ROLLING_BACK), AFTER, 0},
    RECORDED(ROLLING_BACK),
};

#define TABLE_ROWS (sizeof(table) / sizeof(table[0]))

static const struct {
    const char *name;
    bool by_operator;
} events[MACHINE_EVENT_COUNT] = {
#define MACHINE_EVENT_ROW(name, text, by_operator) [MACHINE_##name] = {text, by_operator},
    MACHINE_EVENTS(MACHINE_EVENT_ROW)
#undef MACHINE_EVENT_ROW
};

static bool can_start(const struct machine *m, const struct machine_rules *rules,
                      const struct machine_input *in)
{
    return in->usable > 0 && in->target != m->active && plan_step_from(rules->plan, in->share_bp) != 0;
}

static bool by_hand_step(const struct machine *m, const struct machine_rules *rules,
                         const struct machine_input *in)
{
    return in->usable > 0 && m->by_hand && plan_step_above(rules->plan, m->share_bp) != 0;
}

static bool manual_more(const struct machine *m, const struct machine_rules *rules,
                        const struct machine_input *in)
{
    return in->usable > 0 && machine_is_manual(m, rules) && m->step < plan_steps(rules->plan);
}

static bool guard_holds(enum guard guard, const struct machine *m, const struct machine_rules *rules,
                        const struct machine_input *in)
{
    bool usable = in->usable > 0;

    switch (guard) {
    case ALWAYS:
        return true;
    case CAN_START:
        return can_start(m, rules, in);
    case ASKED_START:
        return rules->step_asks && can_start(m, rules, in);
    case CAN_OPEN:
        return usable && in->target != m->active && in->share_bp > 0;
    case NOT_ABOVE:
        return in->share_bp <= m->share_bp;
    case BELOW:
        return in->share_bp < m->share_bp;
    case USABLE:
    case DONE:
        return usable;
    case MORE:
        return usable && m->step < plan_steps(rules->plan);
    case FULL:
        return usable && m->share_bp == UNITS_BP_FULL &&
               (m->phase != MIGRATION_RAMPING || m->step >= plan_steps(rules->plan));
    case PLAN_ENDS:
        return m->share_bp != UNITS_BP_FULL && m->step >= plan_steps(rules->plan);
    case AT_BEGINNING:
        return usable && !m->by_hand && m->share_bp == 0 && m->step < plan_steps(rules->plan);
    case BY_HAND_STEP:
        return by_hand_step(m, rules, in);
    case ASKED_HAND_STEP:
        return rules->step_asks && by_hand_step(m, rules, in);
    case BY_HAND_FULL:
        return usable && m->by_hand && m->share_bp == UNITS_BP_FULL && rules->plan != NULL;
    case ON_PLAN:
        return !m->by_hand && m->step != 0 && m->step <= plan_steps(rules->plan) &&
               !plan_is_manual(rules->plan, m->step);
    case AT_MANUAL:
        return machine_is_manual(m, rules);
    case MANUAL_MORE:
        return manual_more(m, rules, in);
    case ASKED_MORE:
        return rules->step_asks && manual_more(m, rules, in);
    case MANUAL_FULL:
        return usable && machine_is_manual(m, rules) && m->share_bp == UNITS_BP_FULL;
    case GATE_PAUSES:
        return rules->gate_pauses;
    case WANTS_COMMIT:
        return rules->commit_manual && !m->commit_given;
    case DONE_AND_WAITS:
        return usable && rules->commit_manual && !m->commit_given;
    case PLAN_CHANGED:
        return in->plan_changed;
    case ASKS:
        return usable && rules->commit_asks;
    case FALLING:
        return m->share_bp > 0;
    }
    return false;
}

static const struct row *find_row(const struct machine *m, const struct machine_rules *rules,
                                  const struct machine_input *in)
{
    for (size_t i = 0; i < TABLE_ROWS; i++) {
        if (table[i].from == m->phase && table[i].event == in->event &&
            guard_holds(table[i].guard, m, rules, in)) {
            return &table[i];
        }
    }
    return NULL;
}

static void act_on_step(struct machine *m, unsigned actions, const struct machine_rules *rules,
                        const struct machine_input *in)
{
    if (actions & NEW_MIGRATION) {
        m->number++;
        m->target = in->target;
        m->share_bp = 0;
        m->step = 0;
        m->commit_given = false;
        m->by_hand = false;
        m->held = false;
    }
    if (actions & STEP_FROM) {
        m->step = plan_step_from(rules->plan, in->share_bp);
    }
    if (actions & STEP_BEFORE) {
        m->step--;
    }
    if (actions & STEP_NEXT) {
        m->step++;
    }
    if (actions & STEP_ABOVE) {
        m->step = plan_step_above(rules->plan, m->share_bp);
    }
    if (actions & STEP_LAST) {
        m->step = plan_steps(rules->plan);
        m->by_hand = false;
    }
    if (actions & TAKE_SHARE) {
        m->share_bp = plan_share_bp(rules->plan, m->step);
        m->by_hand = false;
    }
}

static void act_on_share(struct machine *m, unsigned actions, const struct machine_input *in)
{
    if (actions & HAND_SHARE) {
        m->share_bp = in->share_bp;
        m->served_us = 0;
        m->commit_given = false;
    }
    if (actions & (HAND_SHARE | LOOSEN)) {
        m->by_hand = true;
    }
    if (actions & GIVE_COMMIT) {
        m->commit_given = true;
    }
    if (actions & ACTIVATE) {
        m->active = m->target;
        m->held = false;
    }
}

/* The part of a gradual rollback that is due at a time served; the last is 0. */
static uint32_t fallen_bp(const struct machine *m, const struct machine_rules *rules)
{
    uint64_t part = rules->back_us / MACHINE_BACK_STEPS;
    uint64_t taken = part == 0 ? MACHINE_BACK_STEPS : 1 + m->served_us / part;

    if (taken >= MACHINE_BACK_STEPS) {
        return 0;
    }
    return (uint32_t)(m->back_bp * (MACHINE_BACK_STEPS - taken) / MACHINE_BACK_STEPS);
}

static void act_on_rollback(struct machine *m, unsigned actions, const struct machine_rules *rules,
                            const struct machine_input *in)
{
    if (actions & GO_BACK) {
        m->back_bp = m->share_bp;
        m->served_us = 0;
        m->held = false;
    }
    if (actions & (GO_BACK | FALL)) {
        uint32_t share_bp = fallen_bp(m, rules);

        /* A target that cannot serve keeps nothing. */
        m->share_bp = in->usable == 0 || share_bp > m->share_bp ? 0 : share_bp;
    }
    if (actions & DROP) {
        m->share_bp = 0;
    }
    if ((actions & (GO_BACK | FALL | DROP)) && m->share_bp == 0) {
        m->back_bp = 0;
        m->served_us = 0;
    }
}

static void act_on_clock(struct machine *m, unsigned actions, const struct machine *before,
                         const struct machine_rules *rules, bool waited)
{
    if (actions & CLOCK_ZERO) {
        m->served_us = 0;
    }
    if (actions & CLOCK_CARRY) {
        uint64_t hold = plan_hold_us(rules->plan, before->step);
        uint64_t served = machine_served_us(before, m->mark_us);
        uint64_t late = served > hold && !waited ? served - hold : 0;
        uint64_t most = plan_hold_us(rules->plan, m->step) / 2;

        m->served_us = late < most ? late : most;
    }
    if (actions & PARK) {
        m->step = plan_steps(rules->plan);
        m->by_hand = m->step == 0;
        m->served_us = plan_is_manual(rules->plan, m->step) ? 0 : plan_hold_us(rules->plan, m->step);
        m->commit_given = false;
    }
    if (actions & HOLD) {
        m->held = true;
    }
    if (actions & UNHOLD) {
        m->held = false;
    }
}

int machine_handle(const struct machine *machine, const struct machine_rules *rules,
                   const struct machine_input *input, struct machine_change *out)
{
    const struct row *row = find_row(machine, rules, input);
    struct machine *next = &out->next;

    if (row == NULL) {
        return ERR_STATE;
    }
    *out = (struct machine_change){.next = *machine, .order = row->order};
    if (row->order == MACHINE_NOTHING) {
        return 0;
    }
    if (input->event != MACHINE_RESTART) { /* the time in between did not count */
        next->served_us = machine_served_us(machine, input->now_us);
    }
    next->mark_us = input->now_us;
    next->phase = row->to;
    next->overdue = (row->actions & OVERDUE) != 0 || (machine->overdue && row->to == machine->phase);
    act_on_step(next, row->actions, rules, input);
    act_on_share(next, row->actions, input);
    act_on_rollback(next, row->actions, rules, input);
    act_on_clock(next, row->actions, machine, rules, input->waited);
    next->released = (row->actions & RELEASE) != 0 ||
                     (machine->released && row->to == machine->phase && (row->actions & TAKE_SHARE) == 0);
    if (row->actions & DETACH) {
        next->detached = true;
        next->retry_us = input->now_us + MACHINE_RETRY_US;
    } else if (row->order == MACHINE_JOURNAL_FIRST) {
        next->detached = false; /* it is adopted only when it was written */
    }
    return 0;
}

void machine_init(struct machine *machine, uint32_t active)
{
    *machine = (struct machine){.phase = MIGRATION_IDLE, .active = active, .target = ROUTING_NONE};
}

bool machine_is_open(const struct machine *machine)
{
    switch (machine->phase) {
    case MIGRATION_PREFLIGHT:
    case MIGRATION_RAMPING:
    case MIGRATION_PAUSED:
    case MIGRATION_DRAINING:
    case MIGRATION_AWAITING_COMMIT:
    case MIGRATION_ROLLING_BACK:
        return true;
    case MIGRATION_IDLE:
    case MIGRATION_COMPLETED:
    case MIGRATION_ROLLED_BACK:
    case MIGRATION_PHASE_COUNT:
        break;
    }
    return false;
}

void machine_route(const struct machine *machine, uint32_t *active, uint32_t *target, uint32_t *share_bp)
{
    bool open = machine_is_open(machine);

    *active = machine->active;
    *target = open ? machine->target : ROUTING_NONE;
    *share_bp = open ? machine->share_bp : 0;
}

uint32_t machine_leaving(const struct machine *machine)
{
    if (machine->phase == MIGRATION_DRAINING) {
        return machine->active;
    }
    return machine->phase == MIGRATION_ROLLING_BACK ? machine->target : ROUTING_NONE;
}

const char *machine_event_name(enum machine_event event)
{
    return event < MACHINE_EVENT_COUNT ? events[event].name : "none";
}

bool machine_event_is_operator(enum machine_event event)
{
    return event < MACHINE_EVENT_COUNT && events[event].by_operator;
}

bool machine_has_row(enum migration_phase phase, enum machine_event event)
{
    return machine_successors(phase, event) != 0;
}

unsigned machine_successors(enum migration_phase phase, enum machine_event event)
{
    unsigned mask = 0;

    for (size_t i = 0; i < TABLE_ROWS; i++) {
        if (table[i].from == phase && table[i].event == event) {
            mask |= 1u << table[i].to;
        }
    }
    return mask;
}

static const char *const phase_names[] = {
#define MACHINE_PHASE_NAME(name, text) [MIGRATION_##name] = (text),
    MIGRATION_PHASES(MACHINE_PHASE_NAME)
#undef MACHINE_PHASE_NAME
};

const char *migration_phase_name(enum migration_phase phase)
{
    return (unsigned)phase < MIGRATION_PHASE_COUNT ? phase_names[phase] : "unknown";
}
