/*
 * The state machine: the whole table against a second writing of it, every refusal's words, and a hundred
 * thousand random events with what must always hold. Seeded; no clock but the one that the test turns.
 */
#include "migration/machine.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE (60 * CLOCK_US_PER_S)
#define TO(name) (1u << MIGRATION_##name)

static struct config_step full_steps[] = {{.share_bp = 100, .hold_us = 5 * MINUTE},
                                          {.share_bp = 2500, .hold_us = 10 * MINUTE},
                                          {.share_bp = 10000, .hold_us = 10 * MINUTE}};
static struct config_step half_steps[] = {{.share_bp = 100, .hold_us = 5 * MINUTE},
                                          {.share_bp = 5000, .hold_us = 10 * MINUTE}};
static struct config_step manual_steps[] = {{.share_bp = 2500, .hold_us = CONFIG_HOLD_MANUAL},
                                            {.share_bp = 5000, .hold_us = MINUTE, .min_samples = 10},
                                            {.share_bp = 10000, .hold_us = CONFIG_HOLD_MANUAL}};
static struct plan *plans[4]; /* none, to 100 %, to 50 %, with manual steps */

static int compile_plans(void **state)
{
    struct config_migration full = {.present = true, .steps = full_steps, .steps_len = 3};
    struct config_migration half = {.present = true, .steps = half_steps, .steps_len = 2};

    struct config_migration manual = {.present = true, .steps = manual_steps, .steps_len = 3};

    (void)state;
    return plan_compile(&full, &plans[1], NULL) != 0 || plan_compile(&half, &plans[2], NULL) != 0 ||
                   plan_compile(&manual, &plans[3], NULL) != 0
               ? -1
               : 0;
}

static int destroy_plans(void **state)
{
    (void)state;
    plan_destroy(plans[1]);
    plan_destroy(plans[2]);
    plan_destroy(plans[3]);
    return 0;
}

/* What the design says may follow; every pair that is not here is refused whatever the rest of the state. */
static const struct {
    enum migration_phase phase;
    enum machine_event event;
    unsigned successors;
} expected[] = {
    {MIGRATION_IDLE, MACHINE_START, TO(RAMPING)},
    {MIGRATION_IDLE, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_COMPLETED, MACHINE_START, TO(RAMPING)},
    {MIGRATION_COMPLETED, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_ROLLED_BACK, MACHINE_START, TO(RAMPING)},
    {MIGRATION_ROLLED_BACK, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_PREFLIGHT, MACHINE_ABORT, TO(ROLLED_BACK)},
    {MIGRATION_RAMPING, MACHINE_STEP_DUE, TO(RAMPING) | TO(DRAINING) | TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_SKIP, TO(RAMPING) | TO(DRAINING) | TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_PAUSE, TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_ABORT, TO(ROLLING_BACK)},
    {MIGRATION_RAMPING, MACHINE_GATE_FAIL, TO(PAUSED) | TO(ROLLING_BACK)},
    {MIGRATION_RAMPING, MACHINE_GATE_TOO_FEW, TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_TARGET_LOST, TO(RAMPING)},
    {MIGRATION_RAMPING, MACHINE_TARGET_BACK, TO(RAMPING)},
    {MIGRATION_PAUSED, MACHINE_RESUME, TO(RAMPING) | TO(DRAINING)},
    {MIGRATION_PAUSED, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_PAUSED, MACHINE_COMMIT, TO(DRAINING)},
    {MIGRATION_PAUSED, MACHINE_ABORT, TO(ROLLING_BACK)},
    {MIGRATION_PAUSED, MACHINE_TARGET_LOST, TO(PAUSED)},
    {MIGRATION_PAUSED, MACHINE_TARGET_BACK, TO(PAUSED)},
    {MIGRATION_DRAINING, MACHINE_DRAINED, TO(AWAITING_COMMIT) | TO(COMPLETED)},
    {MIGRATION_DRAINING, MACHINE_DRAIN_DEADLINE, TO(DRAINING)},
    {MIGRATION_DRAINING, MACHINE_COMMIT, TO(DRAINING)},
    {MIGRATION_DRAINING, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_DRAINING, MACHINE_PAUSE, TO(PAUSED)},
    {MIGRATION_DRAINING, MACHINE_ABORT, TO(ROLLING_BACK)},
    {MIGRATION_DRAINING, MACHINE_GATE_FAIL, TO(PAUSED) | TO(ROLLING_BACK)},
    {MIGRATION_DRAINING, MACHINE_TARGET_LOST, TO(DRAINING)},
    {MIGRATION_DRAINING, MACHINE_TARGET_BACK, TO(DRAINING)},
    {MIGRATION_AWAITING_COMMIT, MACHINE_COMMIT, TO(COMPLETED) | TO(AWAITING_COMMIT)},
    {MIGRATION_AWAITING_COMMIT, MACHINE_COMMIT_DUE, TO(COMPLETED)},
    {MIGRATION_AWAITING_COMMIT, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_AWAITING_COMMIT, MACHINE_ABORT, TO(ROLLING_BACK)},
    {MIGRATION_AWAITING_COMMIT, MACHINE_GATE_FAIL, TO(ROLLING_BACK)},
    {MIGRATION_AWAITING_COMMIT, MACHINE_TARGET_LOST, TO(AWAITING_COMMIT)},
    {MIGRATION_AWAITING_COMMIT, MACHINE_TARGET_BACK, TO(AWAITING_COMMIT)},
    {MIGRATION_ROLLING_BACK, MACHINE_ABORT, TO(ROLLING_BACK)},
    {MIGRATION_ROLLING_BACK, MACHINE_DRAINED, TO(ROLLED_BACK)},
    {MIGRATION_ROLLING_BACK, MACHINE_DRAIN_DEADLINE, TO(ROLLING_BACK)},
    {MIGRATION_ROLLING_BACK, MACHINE_BACK_STEP, TO(ROLLING_BACK)},
};

static unsigned expected_successors(enum migration_phase phase, enum machine_event event)
{
    if (event == MACHINE_JOURNAL_FAILED || event == MACHINE_JOURNAL_RETRY) {
        return 1u << phase;
    }
    if (event == MACHINE_RESTART) { /* an edited plan pauses; a start that never came to pass is forgotten */
        return phase == MIGRATION_RAMPING     ? TO(RAMPING) | TO(PAUSED)
               : phase == MIGRATION_PREFLIGHT ? TO(IDLE)
                                              : 1u << phase;
    }
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        if (expected[i].phase == phase && expected[i].event == event) {
            return expected[i].successors;
        }
    }
    return 0;
}

/* One of all combinations of what a state, the rules and an input can be; false when number is past the last.
 */
static bool combination(unsigned number, struct machine *m, struct machine_rules *rules,
                        struct machine_input *in)
{
    static const uint32_t shares[] = {0, 100, 2500, 5000, 7000, 10000};

    m->active = 0;
    m->target = 1;
    m->number = 1;
    m->share_bp = shares[number % 6];
    number /= 6;
    m->step = number % 4;
    number /= 4;
    m->by_hand = number % 2;
    number /= 2;
    m->commit_given = number % 2;
    number /= 2;
    m->held = number % 2;
    number /= 2;
    rules->plan = plans[number % 4];
    number /= 4;
    rules->drain_us = rules->back_drain_us = MINUTE;
    rules->back_us = number % 2 != 0 ? MINUTE : 0;
    rules->commit_manual = number % 2;
    rules->gate_pauses = rules->commit_manual; /* no row asks for both */
    rules->commit_asks = m->step % 2 != 0;
    rules->too_few_us = 0;
    number /= 2;
    in->usable = number % 2;
    number /= 2;
    in->share_bp = shares[number % 6];
    number /= 6;
    in->plan_changed = number % 2;
    number /= 2;
    in->target = 1;
    in->now_us = 1000;
    return number == 0;
}

static bool is_plain_fact(const struct machine_input *in)
{
    return in->event == MACHINE_SHARE && (in->share_bp == 0 || in->share_bp == 10000);
}

static void check_words(const struct machine *m, const struct machine_rules *rules,
                        const struct machine_input *in)
{
    struct machine_names names = {.service = "web", .old = "old", .target = "new", .down = "b1 (down)"};
    struct err_text err = {""};

    assert_int_equal(machine_refuse(m, rules, in, &names, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "web"));
    if (!is_plain_fact(in)) { /* "the share is 100% already" needs no further help */
        if (strchr(err.text, 0x60) == NULL) {
            fail_msg("\"%s\" names no command", err.text);
        }
    }
}

static void every_pair_of_the_table(void **state)
{
    (void)state;
    for (unsigned p = 0; p < MIGRATION_PHASE_COUNT; p++) {
        for (unsigned e = 0; e < MACHINE_EVENT_COUNT; e++) {
            struct machine m = {.phase = (enum migration_phase)p};
            struct machine_input in = {.event = (enum machine_event)e};
            unsigned want = expected_successors(m.phase, in.event);
            struct machine_rules rules;
            unsigned reached = 0;

            assert_int_equal(machine_successors(m.phase, in.event), want);
            for (unsigned number = 0; combination(number, &m, &rules, &in); number++) {
                struct machine before = m;
                struct machine_change change;

                if (machine_handle(&m, &rules, &in, &change) == 0) {
                    reached |= 1u << change.next.phase;
                    assert_true(change.next.share_bp <= 10000);
                } else if (machine_event_is_operator(in.event)) {
                    check_words(&m, &rules, &in);
                }
                assert_memory_equal(&m, &before, sizeof(m));
            }
            /* each successor that the table names can really be reached, and no other */
            assert_int_equal(reached, want);
        }
    }
}

static void names_are_the_promised_ones(void **state)
{
    (void)state;
    assert_string_equal(migration_phase_name(MIGRATION_AWAITING_COMMIT), "awaiting-commit");
    assert_string_equal(migration_phase_name(MIGRATION_ROLLED_BACK), "rolled-back");
    assert_string_equal(machine_event_name(MACHINE_STEP_DUE), "step-due");
    assert_true(machine_event_is_operator(MACHINE_ABORT));
    assert_false(machine_event_is_operator(MACHINE_DRAINED));
}

/* The refusals that operators meet most, word for word where scripts or fingers may rely on them. */
static void refusals_name_the_command_that_helps(void **state)
{
    static const struct {
        enum migration_phase phase;
        enum machine_event event;
        int plan;
        size_t usable;
        const char *says;
    } cases[] = {
        {MIGRATION_IDLE, MACHINE_RESUME, 1, 1, "no migration runs for web: start one with `start web`"},
        {MIGRATION_IDLE, MACHINE_START, 0, 1, "`share web PCT`"},
        {MIGRATION_IDLE, MACHINE_START, 1, 0, "no usable backend: b1 (down): see `status web`"},
        {MIGRATION_COMPLETED, MACHINE_ABORT, 1, 1, "`start web to new`"},
        {MIGRATION_RAMPING, MACHINE_START, 1, 1, "`abort web` would go back"},
        {MIGRATION_RAMPING, MACHINE_COMMIT, 1, 1, "`skip web`"},
        {MIGRATION_PAUSED, MACHINE_PAUSE, 1, 1, "`resume web` goes on"},
        {MIGRATION_PAUSED, MACHINE_COMMIT, 1, 1, "`share web 100%`"},
        {MIGRATION_DRAINING, MACHINE_SKIP, 1, 1, "`kill web/old` closes what is left"},
        {MIGRATION_AWAITING_COMMIT, MACHINE_PAUSE, 1, 1, "`commit web` completes it"},
        {MIGRATION_AWAITING_COMMIT, MACHINE_COMMIT, 1, 0, "no usable backend"},
        {MIGRATION_ROLLING_BACK, MACHINE_START, 1, 1, "`wait web`"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine m = {.phase = cases[i].phase, .target = 1, .step = 2, .share_bp = 2500};
        struct machine_rules rules = {.plan = plans[cases[i].plan]};
        struct machine_input in = {.event = cases[i].event, .target = 1, .usable = cases[i].usable};
        struct machine_names names = {.service = "web", .old = "old", .target = "new", .down = "b1 (down)"};
        struct machine_change change;
        struct err_text err;

        assert_int_equal(machine_handle(&m, &rules, &in, &change), ERR_STATE);
        assert_int_equal(machine_refuse(&m, &rules, &in, &names, &err), ERR_STATE);
        if (strstr(err.text, cases[i].says) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].says);
        }
    }
}

/* ---- random walks -----------------------------------------------------------------------------------------
 */

struct walk {
    struct random_state random;
    struct machine_rules rules;
    struct machine m;       /* in force */
    struct machine durable; /* the last record on disk */
    uint64_t now_us;
    bool journal_broken;
    unsigned visits[MIGRATION_PHASE_COUNT];
};

static void adopt(struct walk *w, const struct machine_change *change, bool *recorded)
{
    *recorded = !w->journal_broken && change->order != MACHINE_SILENT;
    w->m = change->next;
    if (*recorded) {
        w->durable = change->next;
    }
}

/* What the controller does with a change, in small. */
static void carry_out(struct walk *w, const struct machine_input *in, const struct machine_change *change)
{
    struct machine before = w->m;
    bool recorded = false;

    if (change->order == MACHINE_JOURNAL_FIRST && w->journal_broken) {
        struct machine_input failed = {.event = MACHINE_JOURNAL_FAILED, .now_us = w->now_us};
        struct machine_change detached;

        if (!machine_event_is_operator(in->event)) {
            assert_int_equal(machine_handle(&w->m, &w->rules, &failed, &detached), 0);
            w->m = detached.next;
        }
        assert_int_equal(w->m.share_bp, before.share_bp);
        assert_int_equal(w->m.phase, before.phase);
        return;
    }
    if (change->order != MACHINE_NOTHING) {
        adopt(w, change, &recorded);
    }
    if (w->m.share_bp > before.share_bp) {
        assert_int_equal(change->order, MACHINE_JOURNAL_FIRST);
        assert_true(recorded);
        assert_true(in->usable > 0);
    }
    if (w->m.active != before.active) {
        assert_int_equal(change->order, MACHINE_JOURNAL_FIRST);
        assert_int_equal(w->m.active, before.target);
        assert_int_equal(before.share_bp, 10000);
    }
    if (before.phase == MIGRATION_PAUSED && w->m.phase == MIGRATION_PAUSED && in->event != MACHINE_SHARE) {
        assert_int_equal(w->m.share_bp, before.share_bp);
    }
}

static void check_state(const struct walk *w)
{
    const struct machine *m = &w->m;
    uint32_t active;
    uint32_t target;
    uint32_t share_bp;

    machine_route(m, &active, &target, &share_bp);
    assert_true(m->share_bp <= 10000);
    assert_true(machine_is_open(m) == (target != ROUTING_NONE));
    assert_true(target != active);
    if ((m->phase == MIGRATION_ROLLING_BACK && w->rules.back_us == 0) || m->phase == MIGRATION_ROLLED_BACK) {
        assert_int_equal(share_bp, 0);
    }
    if (m->phase == MIGRATION_DRAINING || m->phase == MIGRATION_AWAITING_COMMIT) {
        assert_int_equal(share_bp, 10000);
    }
    if (m->phase == MIGRATION_RAMPING) {
        assert_non_null(w->rules.plan);
        assert_true(m->step >= 1 && m->step <= plan_steps(w->rules.plan));
    }
    assert_true(machine_served_us(m, w->now_us) >= m->served_us);
    /* What is in force was on disk before: a kill at any moment comes back here or lower, never the other
     * way. */
    assert_true(m->share_bp <= w->durable.share_bp);
    assert_int_equal(m->active, w->durable.active);
}

/* A kill: what comes back is the record, whatever was in force. */
static void crash(struct walk *w)
{
    struct machine_input in = {.event = MACHINE_RESTART, .now_us = w->now_us};
    struct machine_change change;

    w->m = w->durable;
    w->m.detached = w->m.held = false;
    w->m.mark_us = w->now_us;
    in.plan_changed = random_below(&w->random, 8) == 0;
    assert_int_equal(machine_handle(&w->m, &w->rules, &in, &change), 0);
    assert_true(change.next.share_bp <= w->durable.share_bp);
    assert_true(change.next.served_us <= w->durable.served_us);
    carry_out(w, &in, &change);
}

static void walk_once(struct walk *w)
{
    struct machine_sight sight = {.usable = random_below(&w->random, 8) == 0 ? 0 : 2};
    struct machine_input in = {.usable = sight.usable};
    struct machine before;
    struct machine_change change;

    w->now_us += random_below(&w->random, 4 * (uint32_t)MINUTE);
    sight.now_us = w->now_us;
    sight.leaving = random_below(&w->random, 3);
    sight.samples = random_below(&w->random, 20);
    sight.shut = random_below(&w->random, 10) == 0;
    in.now_us = w->now_us;
    in.event = random_below(&w->random, 2) == 0
                   ? machine_due(&w->m, &w->rules, &sight)
                   : (enum machine_event)random_below(&w->random, MACHINE_STEP_DUE);
    if (in.event == MACHINE_NO_EVENT) {
        return;
    }
    in.share_bp = random_below(&w->random, 4) * 2500 + (random_below(&w->random, 2) != 0 ? 2500 : 0);
    in.target = w->m.active == 0 ? 1 : 0;
    before = w->m;
    if (machine_handle(&w->m, &w->rules, &in, &change) == 0) {
        carry_out(w, &in, &change);
    } else {
        assert_true(machine_event_is_operator(in.event)); /* what is due is always allowed */
        assert_memory_equal(&before, &w->m, sizeof(before));
    }
}

static void random_walks_keep_the_promises(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 6; seed++) {
        struct walk w = {.rules = {.plan = plans[seed % 3],
                                   .drain_us = 5 * MINUTE,
                                   .back_us = seed > 3 ? 10 * MINUTE : 0,
                                   .back_drain_us = 5 * MINUTE,
                                   .commit_asks = seed % 3 == 0,
                                   .commit_manual = seed % 2}};

        random_seed(&w.random, seed);
        machine_init(&w.m, 0);
        w.durable = w.m;
        w.visits[w.m.phase]++;
        for (unsigned i = 0; i < 20000; i++) {
            if (random_below(&w.random, 50) == 0) {
                w.journal_broken = !w.journal_broken;
            }
            if (random_below(&w.random, 40) == 0) {
                crash(&w);
            }
            walk_once(&w);
            check_state(&w);
            w.visits[w.m.phase]++;
        }
        /* the walk went everywhere that there is */
        for (unsigned phase = 0; phase < MIGRATION_PHASE_COUNT; phase++) {
            bool cannot =
                phase == MIGRATION_PREFLIGHT || (phase == MIGRATION_RAMPING && w.rules.plan == NULL) ||
                (phase == MIGRATION_AWAITING_COMMIT && (!w.rules.commit_manual || w.rules.plan != plans[1]));
            if (!cannot && w.visits[phase] == 0) {
                fail_msg("seed %u never saw %s", seed, migration_phase_name((enum migration_phase)phase));
            }
        }
    }
}

/* ---- time
 * -------------------------------------------------------------------------------------------------- */

static struct machine ramping(uint32_t step, uint64_t served_us)
{
    return (struct machine){.phase = MIGRATION_RAMPING,
                            .number = 1,
                            .target = 1,
                            .step = step,
                            .share_bp = plan_share_bp(plans[1], step),
                            .served_us = served_us,
                            .mark_us = 1000};
}

static void time_counts_only_while_it_should(void **state)
{
    struct machine_rules rules = {.plan = plans[1], .drain_us = MINUTE};
    struct machine m = ramping(2, MINUTE);

    (void)state;
    assert_int_equal(machine_served_us(&m, 1000 + MINUTE), 2 * MINUTE);
    assert_int_equal(machine_wake_us(&m, &rules), 1000 + 9 * MINUTE);
    assert_int_equal(machine_served_us(&m, 0), MINUTE); /* a clock that steps back takes nothing away */
    m.held = true;
    assert_int_equal(machine_served_us(&m, 1000 + MINUTE), MINUTE);
    assert_int_equal(machine_wake_us(&m, &rules), CLOCK_NEVER);
    m.held = false;
    m.phase = MIGRATION_PAUSED;
    assert_int_equal(machine_served_us(&m, 1000 + MINUTE), MINUTE);
    m.detached = true;
    m.retry_us = 5000;
    assert_int_equal(machine_wake_us(&m, &rules), 5000);
}

static void a_late_step_does_not_delay_the_next(void **state)
{
    struct machine_rules rules = {.plan = plans[1], .drain_us = MINUTE};
    struct machine_input in = {.event = MACHINE_STEP_DUE, .usable = 1};
    struct machine m = ramping(1, 0);
    struct machine_change change;

    (void)state;
    in.now_us = 1000 + 5 * MINUTE + 200;
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.step, 2);
    assert_int_equal(change.next.served_us, 200);
    in.now_us = 1000 + 600 * MINUTE; /* the machine slept: at most half of the next hold is taken as served */
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.step, 2);
    assert_int_equal(change.next.served_us, 5 * MINUTE);
}

static void a_rollback_waits_for_no_disk(void **state)
{
    struct machine_rules rules = {.plan = plans[1], .back_drain_us = MINUTE};
    struct machine m = {
        .phase = MIGRATION_ROLLING_BACK, .target = 1, .detached = true, .retry_us = CLOCK_NEVER};
    struct machine_sight sight = {.now_us = 1, .leaving = 3};

    (void)state;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_NO_EVENT);
    sight.now_us = MINUTE;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_DRAIN_DEADLINE);
    sight.leaving = 0;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_DRAINED);
}

/* Neither hours nor connections that are missing let a step pass; either is asked again. */
static void a_step_waits_for_what_it_wants(void **state)
{
    struct machine_rules rules = {.plan = plans[3]};
    struct machine m = {.phase = MIGRATION_RAMPING, .target = 1, .step = 2, .share_bp = 5000};
    struct machine_sight sight = {.now_us = MINUTE, .usable = 1, .samples = 9};
    struct machine_input in = {.event = MACHINE_STEP_DUE, .usable = 1, .now_us = 10 * MINUTE, .waited = true};
    struct machine_change change;

    (void)state;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_NO_EVENT);
    sight.samples = 10;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_STEP_DUE);
    sight.shut = true;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_NO_EVENT);
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.served_us, 0); /* what was waited does not shorten the next hold */
}

/* A gate that failed acts before a lost target, a disk or the hold; one that waits holds the step up, for so
 * long. */
static void a_gate_acts_and_waits(void **state)
{
    struct machine_rules rules = {.plan = plans[1], .too_few_us = MINUTE};
    struct machine m = {
        .phase = MIGRATION_RAMPING, .target = 1, .step = 1, .share_bp = 100, .detached = true, .held = true};
    struct machine_sight sight = {.now_us = 5 * MINUTE, .gate_failed = true, .gate_waits = true};
    struct machine_input in = {.event = MACHINE_GATE_FAIL, .now_us = 5 * MINUTE};
    struct machine_change change;

    (void)state;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_GATE_FAIL);
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.phase, MIGRATION_ROLLING_BACK);
    assert_int_equal(change.next.share_bp, 0);
    assert_int_equal(change.order, MACHINE_ACT_FIRST);
    rules.gate_pauses = true;
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.phase, MIGRATION_PAUSED);
    assert_int_equal(change.next.share_bp, 100);

    m.phase = MIGRATION_PAUSED; /* the operator has it in hand */
    assert_int_not_equal(machine_due(&m, &rules, &sight), MACHINE_GATE_FAIL);
    m.phase = MIGRATION_AWAITING_COMMIT; /* there is nothing to pause */
    assert_int_not_equal(machine_due(&m, &rules, &sight), MACHINE_GATE_FAIL);
    rules.gate_pauses = false;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_GATE_FAIL);

    m = ramping(1, 0);
    m.mark_us = 0;
    sight = (struct machine_sight){.now_us = 5 * MINUTE, .usable = 1, .gate_waits = true};
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_NO_EVENT);
    sight.gate_waits = false;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_STEP_DUE);
    sight.gate_waits = true;
    sight.now_us = 6 * MINUTE;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_GATE_TOO_FEW);
    rules.too_few_us = 0;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_NO_EVENT);
}

/* A gradual rollback only falls, is at 0 in time, and comes down at once when the target cannot serve. */
static void a_gradual_rollback_only_falls(void **state)
{
    struct machine_rules rules = {.plan = plans[1], .back_us = MINUTE, .back_drain_us = MINUTE};
    struct machine_input in = {.event = MACHINE_ABORT, .usable = 1, .now_us = 1000};
    struct machine_sight sight = {.usable = 1, .leaving = 1};
    struct machine m = ramping(2, 0);
    struct machine_change change;
    uint32_t from_bp = m.share_bp;
    unsigned parts = 0;

    (void)state;
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.order, MACHINE_ACT_FIRST);
    m = change.next;
    assert_int_equal(m.share_bp, from_bp - from_bp / MACHINE_BACK_STEPS);
    for (; m.share_bp > 0; parts++) {
        struct machine before = m;

        sight.now_us = machine_wake_us(&m, &rules);
        assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_BACK_STEP);
        in = (struct machine_input){.event = MACHINE_BACK_STEP, .usable = 1, .now_us = sight.now_us};
        assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
        m = change.next;
        assert_true(m.share_bp < before.share_bp);
        assert_true(sight.now_us <= 1000 + MINUTE);
    }
    assert_int_equal(parts, MACHINE_BACK_STEPS - 1);
    assert_int_equal(machine_served_us(&m, sight.now_us), 0);

    m = ramping(2, 0);
    in = (struct machine_input){.event = MACHINE_ABORT, .usable = 0, .now_us = 1000};
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.share_bp, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_the_table),
        cmocka_unit_test(names_are_the_promised_ones),
        cmocka_unit_test(refusals_name_the_command_that_helps),
        cmocka_unit_test(random_walks_keep_the_promises),
        cmocka_unit_test(time_counts_only_while_it_should),
        cmocka_unit_test(a_late_step_does_not_delay_the_next),
        cmocka_unit_test(a_rollback_waits_for_no_disk),
        cmocka_unit_test(a_gradual_rollback_only_falls),
        cmocka_unit_test(a_step_waits_for_what_it_wants),
        cmocka_unit_test(a_gate_acts_and_waits),
    };

    return cmocka_run_group_tests(tests, compile_plans, destroy_plans);
}
