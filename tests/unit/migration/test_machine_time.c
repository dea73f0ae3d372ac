/*
 * The clock of the state machine: what of a hold counts, what comes due and what holds it up, and a gradual
 * rollback from one part to the next. No clock but the one that the test turns.
 */
#include "migration/machine.h"

#include "tests/unit/migration/machine_plans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

/* Ordered by a start or a resume, and asked about: neither hold nor gate nor numbers are waited for, and no
 * clock runs. Without a usable target it is not taken. */
static void an_ordered_step_waits_only_for_its_question(void **state)
{
    struct machine_rules rules = {.plan = plans[3], .step_asks = true};
    struct machine_sight sight = {.now_us = 1, .usable = 1, .gate_waits = true, .shut = true};
    struct machine_input in = {.event = MACHINE_START, .usable = 1, .target = 1, .now_us = 1};
    struct machine_change change;
    struct machine m;

    (void)state;
    machine_init(&m, 0);
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    m = change.next;
    assert_int_equal(change.order, MACHINE_JOURNAL_FIRST);
    assert_int_equal(m.phase, MIGRATION_PREFLIGHT);
    assert_int_equal(m.share_bp, 0);
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_STEP_DUE);
    m.held = true;
    sight.usable = 0;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_NO_EVENT);
    m.held = false;
    in.event = MACHINE_STEP_DUE;
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    m = change.next;
    assert_int_equal(m.phase, MIGRATION_RAMPING);
    assert_int_equal(m.share_bp, 2500);
    assert_int_equal(m.step, 1);
    assert_false(m.released);

    m.phase = MIGRATION_PAUSED; /* at a manual step: resume orders the next, and that is asked about */
    in.event = MACHINE_RESUME;
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    m = change.next;
    assert_int_equal(m.phase, MIGRATION_RAMPING);
    assert_int_equal(m.share_bp, 2500);
    assert_true(m.released);
    sight.usable = 1;
    assert_int_equal(machine_due(&m, &rules, &sight), MACHINE_STEP_DUE);
    in.event = MACHINE_STEP_DUE;
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.share_bp, 5000);

    m = (struct machine){
        .phase = MIGRATION_PAUSED, .target = 1, .step = 1, .share_bp = 3000, .by_hand = true};
    in.event = MACHINE_RESUME; /* and after a share by hand */
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.share_bp, 3000);
    m = change.next;
    in.event = MACHINE_STEP_DUE;
    assert_int_equal(machine_handle(&m, &rules, &in, &change), 0);
    assert_int_equal(change.next.share_bp, 5000);
    assert_int_equal(change.next.step, 2);
    assert_false(change.next.by_hand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_counts_only_while_it_should),
        cmocka_unit_test(a_late_step_does_not_delay_the_next),
        cmocka_unit_test(a_rollback_waits_for_no_disk),
        cmocka_unit_test(a_gradual_rollback_only_falls),
        cmocka_unit_test(a_step_waits_for_what_it_wants),
        cmocka_unit_test(a_gate_acts_and_waits),
        cmocka_unit_test(an_ordered_step_waits_only_for_its_question),
    };

    return cmocka_run_group_tests(tests, compile_plans, destroy_plans);
}
