/*
 * The table of the state machine: every pair of phase and event with every combination of what a state can
 * be, against a second writing of it, and the words of every refusal. Pure; no clock.
 */
#include "migration/machine.h"

#include "core/units.h"
#include "tests/unit/migration/machine_plans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TO(name) (1u << MIGRATION_##name)

/* What the design says may follow; every pair that is not here is refused whatever the rest of the state. */
static const struct {
    enum migration_phase phase;
    enum machine_event event;
    unsigned successors;
} expected[] = {
    {MIGRATION_IDLE, MACHINE_START, TO(RAMPING) | TO(PREFLIGHT)},
    {MIGRATION_IDLE, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_COMPLETED, MACHINE_START, TO(RAMPING) | TO(PREFLIGHT)},
    {MIGRATION_COMPLETED, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_ROLLED_BACK, MACHINE_START, TO(RAMPING) | TO(PREFLIGHT)},
    {MIGRATION_ROLLED_BACK, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_PREFLIGHT, MACHINE_STEP_DUE, TO(RAMPING)},
    {MIGRATION_PREFLIGHT, MACHINE_SKIP, TO(RAMPING)},
    {MIGRATION_PREFLIGHT, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_PREFLIGHT, MACHINE_PAUSE, TO(PAUSED)},
    {MIGRATION_PREFLIGHT, MACHINE_ABORT, TO(ROLLING_BACK)},
    {MIGRATION_PREFLIGHT, MACHINE_TARGET_LOST, TO(PREFLIGHT)},
    {MIGRATION_PREFLIGHT, MACHINE_TARGET_BACK, TO(PREFLIGHT)},
    {MIGRATION_RAMPING, MACHINE_STEP_DUE, TO(RAMPING) | TO(DRAINING) | TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_SKIP, TO(RAMPING) | TO(DRAINING) | TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_SHARE, TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_PAUSE, TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_ABORT, TO(ROLLING_BACK)},
    {MIGRATION_RAMPING, MACHINE_GATE_FAIL, TO(PAUSED) | TO(ROLLING_BACK)},
    {MIGRATION_RAMPING, MACHINE_GATE_TOO_FEW, TO(PAUSED)},
    {MIGRATION_RAMPING, MACHINE_TARGET_LOST, TO(RAMPING)},
    {MIGRATION_RAMPING, MACHINE_TARGET_BACK, TO(RAMPING)},
    {MIGRATION_PAUSED, MACHINE_RESUME, TO(PREFLIGHT) | TO(RAMPING) | TO(DRAINING)},
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
    if (event == MACHINE_RESTART) { /* an edited plan pauses; before its first step it is given up */
        return phase == MIGRATION_RAMPING     ? TO(RAMPING) | TO(PAUSED)
               : phase == MIGRATION_PREFLIGHT ? TO(PREFLIGHT) | TO(ROLLED_BACK)
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
    m->released = m->phase == MIGRATION_PREFLIGHT || (m->phase == MIGRATION_RAMPING && m->commit_given);
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
    rules->step_asks = m->held; /* nor these */
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
        {MIGRATION_PREFLIGHT, MACHINE_START, 1, 1, "`abort web` gives it up"},
        {MIGRATION_PREFLIGHT, MACHINE_RESUME, 1, 1, "`skip web` does not wait"},
        {MIGRATION_PREFLIGHT, MACHINE_COMMIT, 1, 1, "`status web`"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_the_table),
        cmocka_unit_test(names_are_the_promised_ones),
        cmocka_unit_test(refusals_name_the_command_that_helps),
    };

    return cmocka_run_group_tests(tests, compile_plans, destroy_plans);
}
