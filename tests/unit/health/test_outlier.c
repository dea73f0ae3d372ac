/* The pure core of outlier detection, with a clock of its own: who is ejected, for how long, the way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/clock.h"
#include "health/outlier.h"

#include <string.h>

#define BASE_US (30 * CLOCK_US_PER_S)
#define MAX_US (300 * CLOCK_US_PER_S)

static struct outlier_rules rules_of(bool checked)
{
    struct outlier_rules rules = {
        .base_us = BASE_US, .max_us = MAX_US, .max_ejected_bp = 5000, .checked = checked, .rise = 2};
    rules.limits.of[STATS_ERROR_CONNECT] = 5;
    rules.limits.of[STATS_ERROR_TIMEOUT] = 4;
    rules.limits.of[STATS_ERROR_RESET] = 3;
    rules.limits.of[STATS_ERROR_HANDSHAKE] = 2;
    return rules;
}

static struct outlier_sight sight_at(uint64_t now_us)
{
    return (struct outlier_sight){.now_us = now_us, .usable = true, .backends = 4, .usable_others = 3};
}

/* As the shell does: the runs are cleared when it is ejected or let in. */
static enum outlier_event fail_run(struct backend_ejection *ejection, const struct outlier_rules *rules,
                                   struct outlier_sight *sight, enum stats_error kind, uint32_t run)
{
    sight->usable = !ejection->out;
    sight->runs.of[kind] = run;
    enum outlier_event event = outlier_step(ejection, rules, sight);
    if (event == OUTLIER_EJECTED) {
        memset(&sight->runs, 0, sizeof(sight->runs));
    }
    return event;
}

static void test_each_kind_has_its_own_threshold(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    for (unsigned kind = 0; kind < STATS_ERROR_COUNT; kind++) {
        uint32_t limit = rules.limits.of[kind];
        struct backend_ejection ejection = {0};
        struct outlier_sight sight = sight_at(BASE_US);
        if (kind == STATS_ERROR_ABORT) {
            assert_int_equal(limit, 0);
            assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_ABORT, 1000000),
                             OUTLIER_NOTHING);
            continue;
        }
        assert_int_equal(fail_run(&ejection, &rules, &sight, (enum stats_error)kind, limit - 1),
                         OUTLIER_NOTHING);
        assert_false(ejection.out);
        assert_int_equal(fail_run(&ejection, &rules, &sight, (enum stats_error)kind, limit), OUTLIER_EJECTED);
        assert_true(ejection.out);
        assert_int_equal(ejection.kind, kind);
        assert_int_equal(ejection.failures, limit);
        assert_int_equal(ejection.until_us, sight.now_us + BASE_US);
    }
}

static void test_failures_of_different_kinds_do_not_add_up(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    struct backend_ejection ejection = {0};
    struct outlier_sight sight = sight_at(1);
    sight.runs.of[STATS_ERROR_CONNECT] = 4;
    sight.runs.of[STATS_ERROR_TIMEOUT] = 3;
    sight.runs.of[STATS_ERROR_RESET] = 2;
    sight.runs.of[STATS_ERROR_HANDSHAKE] = 1;
    assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_NOTHING);
}

static void test_a_threshold_of_zero_is_off(void **state)
{
    (void)state;
    struct outlier_rules rules = rules_of(false);
    struct backend_ejection ejection = {0};
    struct outlier_sight sight = sight_at(1);
    rules.limits.of[STATS_ERROR_CONNECT] = 0;
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, UINT32_MAX), OUTLIER_NOTHING);
    ejection.trial = true; /* neither is one failure enough then */
    assert_int_equal(outlier_alarm(&ejection, &rules).of[STATS_ERROR_CONNECT], 0);
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, UINT32_MAX), OUTLIER_NOTHING);
}

/* Ejects it n times without any good service between; the time it was ejected for last. */
static uint64_t eject_times(struct backend_ejection *ejection, const struct outlier_rules *rules, unsigned n)
{
    struct outlier_sight sight = sight_at(CLOCK_US_PER_S);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(fail_run(ejection, rules, &sight, STATS_ERROR_CONNECT, 5), OUTLIER_EJECTED);
        assert_int_equal(ejection->times, i + 1);
        sight.now_us = ejection->until_us - 1;
        assert_int_equal(outlier_step(ejection, rules, &sight), OUTLIER_NOTHING);
        sight.now_us = ejection->until_us;
        assert_int_equal(outlier_step(ejection, rules, &sight), OUTLIER_LET_IN);
    }
    return ejection->until_us - ejection->ejected_us;
}

static void test_the_time_grows_up_to_the_most(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    for (unsigned n = 1; n <= 25; n++) {
        struct backend_ejection ejection = {0};
        uint64_t wanted = n < 10 ? n * BASE_US : MAX_US;
        assert_int_equal(eject_times(&ejection, &rules, n), wanted);
        assert_int_equal(ejection.total, n);
    }
    /* Neither does a long time overflow. */
    struct outlier_rules long_rules = rules;
    long_rules.base_us = UINT64_MAX / 4;
    long_rules.max_us = UINT64_MAX / 2;
    struct backend_ejection ejection = {.times = UINT32_MAX - 1};
    struct outlier_sight sight = sight_at(1);
    assert_int_equal(fail_run(&ejection, &long_rules, &sight, STATS_ERROR_CONNECT, 5), OUTLIER_EJECTED);
    assert_int_equal(ejection.until_us - ejection.ejected_us, UINT64_MAX / 2);
}

static void test_good_service_is_remembered_in_its_favour(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    struct backend_ejection ejection = {0};
    assert_int_equal(eject_times(&ejection, &rules, 3), 3 * BASE_US);
    uint64_t back_us = ejection.returned_us;
    assert_int_equal(outlier_times(&ejection, back_us), 3);
    assert_int_equal(outlier_times(&ejection, back_us + 3 * BASE_US - 1), 3);
    assert_int_equal(outlier_times(&ejection, back_us + 3 * BASE_US), 2);
    assert_int_equal(outlier_times(&ejection, back_us + 9 * BASE_US), 0);
    assert_int_equal(outlier_times(&ejection, UINT64_MAX), 0);
    ejection.trial = false;
    struct outlier_sight sight = sight_at(back_us + 6 * BASE_US);
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 5), OUTLIER_EJECTED);
    assert_int_equal(ejection.times, 2);
    assert_int_equal(outlier_times(&ejection, UINT64_MAX), 2); /* being out is no good service */
}

static void test_on_trial_one_failure_is_enough(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    for (unsigned kind = 0; kind < STATS_ERROR_COUNT; kind++) {
        struct backend_ejection ejection = {0};
        (void)eject_times(&ejection, &rules, 1);
        assert_true(ejection.trial);
        struct outlier_sight sight = sight_at(ejection.returned_us);
        enum outlier_event wanted = kind == STATS_ERROR_ABORT ? OUTLIER_NOTHING : OUTLIER_EJECTED;
        assert_int_equal(fail_run(&ejection, &rules, &sight, (enum stats_error)kind, 1), wanted);
    }
}

static void test_a_success_ends_the_trial(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    /* For failures of the connect a connect is enough, for others an answer is needed. */
    for (unsigned kind = 0; kind < STATS_ERROR_COUNT; kind++) {
        if (kind == STATS_ERROR_ABORT) {
            continue;
        }
        bool connect = kind == STATS_ERROR_CONNECT || kind == STATS_ERROR_TIMEOUT;
        struct backend_ejection ejection = {0};
        struct outlier_sight sight = sight_at(1);
        sight.connected = 70;
        sight.answered = 60;
        assert_int_equal(fail_run(&ejection, &rules, &sight, (enum stats_error)kind, 5), OUTLIER_EJECTED);
        sight.now_us = ejection.until_us;
        assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_LET_IN);
        sight.usable = true;
        assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_NOTHING);
        sight.connected = 71;
        assert_int_equal(outlier_step(&ejection, &rules, &sight),
                         connect ? OUTLIER_ABSOLVED : OUTLIER_NOTHING);
        sight.answered = 61;
        assert_int_equal(outlier_step(&ejection, &rules, &sight),
                         connect ? OUTLIER_NOTHING : OUTLIER_ABSOLVED);
        /* From now on it takes as many failures as before. */
        assert_int_equal(outlier_alarm(&ejection, &rules).of[STATS_ERROR_CONNECT], 5);
        assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 4), OUTLIER_NOTHING);
    }
}

/* Successes before the failure that was told: the trial had ended, and one failure is but one. */
static void test_a_failure_after_the_trial_was_won_is_but_one(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    struct backend_ejection ejection = {0};
    (void)eject_times(&ejection, &rules, 1);
    struct outlier_sight sight = sight_at(ejection.returned_us + 1);
    sight.connected = 1000;
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 1), OUTLIER_ABSOLVED);
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 1), OUTLIER_NOTHING);
}

static void test_checks_must_pass_in_a_row_after_the_time(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(true);
    struct backend_ejection ejection = {0};
    struct outlier_sight sight = sight_at(1);
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_RESET, 3), OUTLIER_EJECTED);
    for (int i = 0; i < 100; i++) { /* while its time is not over, checks do not count */
        assert_false(outlier_check(&ejection, &rules, true, &sight));
    }
    sight.now_us = ejection.until_us;
    assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_PROVING);
    assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_NOTHING);
    assert_true(ejection.out);
    assert_false(outlier_check(&ejection, &rules, true, &sight));
    assert_false(outlier_check(&ejection, &rules, false, &sight));
    assert_false(outlier_check(&ejection, &rules, true, &sight));
    assert_true(ejection.out);
    assert_true(outlier_check(&ejection, &rules, true, &sight));
    assert_false(ejection.out);
    assert_true(ejection.trial);
    assert_false(outlier_check(&ejection, &rules, true, &sight));
}

static void test_the_cap(void **state)
{
    (void)state;
    /* backends, cap in basis points, others that are out, others that are usable, may it be ejected */
    static const struct {
        size_t backends;
        uint32_t cap_bp;
        size_t ejected, usable;
        bool may;
    } cases[] = {
        {1, 5000, 0, 0, false},        {1, 10000, 0, 0, false},  {2, 5000, 0, 1, true},
        {2, 5000, 1, 0, false},        {2, 10000, 1, 0, false},  {2, 100, 0, 1, true}, /* one may always be */
        {3, 5000, 0, 2, true},         {3, 5000, 1, 1, false}, /* half of three is one */
        {4, 5000, 1, 2, true},         {4, 5000, 2, 1, false},   {4, 10000, 2, 1, true},
        {4, 10000, 3, 0, false},       {10, 1000, 0, 9, true},   {10, 1000, 1, 8, false},
        {10, 5000, 0, 0, false}, /* the others are down */
        {1000, 1, 0, 999, true},       {1000, 1, 1, 998, false}, {1000, 5000, 499, 500, true},
        {1000, 5000, 500, 499, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outlier_rules rules = rules_of(false);
        struct backend_ejection ejection = {0};
        struct outlier_sight sight = sight_at(1);
        rules.max_ejected_bp = cases[i].cap_bp;
        sight.backends = cases[i].backends;
        sight.ejected = cases[i].ejected;
        sight.usable_others = cases[i].usable;
        enum outlier_event wanted = cases[i].may ? OUTLIER_EJECTED : OUTLIER_KEPT;
        assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 5), wanted);
        assert_int_equal(ejection.out, cases[i].may);
    }
}

/* Kept because of the others, it goes when one of them is back and it still fails. */
static void test_kept_is_made_up_for(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    struct backend_ejection ejection = {0};
    struct outlier_sight sight = sight_at(1);
    sight.ejected = 2;
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 50), OUTLIER_KEPT);
    sight.ejected = 1;
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 50), OUTLIER_EJECTED);
    assert_int_equal(ejection.failures, 50);
}

static void test_who_serves_nobody_is_not_ejected(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    struct backend_ejection ejection = {0};
    struct outlier_sight sight = sight_at(1);
    sight.usable = false; /* down, drained, in maintenance */
    sight.runs.of[STATS_ERROR_CONNECT] = 100;
    assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_NOTHING);
    assert_false(ejection.out);
}

static void test_an_operator_overrules(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(true);
    struct backend_ejection ejection = {0};
    struct outlier_sight sight = sight_at(1);
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 5), OUTLIER_EJECTED);
    sight.forced = true;
    assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_OVERRULED);
    assert_false(ejection.out);
    assert_int_equal(ejection.times, 0);
    assert_int_equal(ejection.total, 1); /* the counter for the metrics never falls */
    sight.usable = true;
    assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 500), OUTLIER_NOTHING);
}

/* Whether the alarm is raised for what a look would act on, and not for anything else. */
static void test_the_alarm_fits_the_step(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    struct backend_ejection ejection = {0};
    assert_int_equal(outlier_alarm(&ejection, &rules).of[STATS_ERROR_RESET], 3);
    assert_int_equal(outlier_alarm(&ejection, &rules).of[STATS_ERROR_ABORT], 0);
    ejection.out = true;
    for (unsigned kind = 0; kind < STATS_ERROR_COUNT; kind++) {
        assert_int_equal(outlier_alarm(&ejection, &rules).of[kind], 0);
    }
    ejection = (struct backend_ejection){.trial = true};
    assert_int_equal(outlier_alarm(&ejection, &rules).of[STATS_ERROR_RESET], 1);
    assert_int_equal(outlier_alarm(&ejection, &rules).of[STATS_ERROR_ABORT], 0);
}

static void test_when_to_look_again(void **state)
{
    (void)state;
    struct backend_ejection ejection = {0};
    assert_true(outlier_due(&ejection, 7) == UINT64_MAX);
    ejection = (struct backend_ejection){.out = true, .until_us = 1234};
    assert_int_equal(outlier_due(&ejection, 7), 1234);
    ejection.proving = true;
    assert_true(outlier_due(&ejection, 7) == UINT64_MAX);
    ejection = (struct backend_ejection){.trial = true};
    assert_int_equal(outlier_due(&ejection, 7), 7 + OUTLIER_TRIAL_LOOK_US);
}

/* A backend that fails whenever it is let in: in an hour it goes and comes as often as the growing time lets
 * it, each return costs one failure, and each change is at least base_time after the one before. */
static void test_flapping_is_bounded(void **state)
{
    (void)state;
    const struct outlier_rules rules = rules_of(false);
    struct backend_ejection ejection = {0};
    unsigned changes = 0;
    unsigned failures = 0;
    uint64_t last_us = 0;
    for (uint64_t now_us = CLOCK_US_PER_S; now_us <= 3600 * CLOCK_US_PER_S; now_us += CLOCK_US_PER_S) {
        struct outlier_sight sight = sight_at(now_us);
        sight.usable = !ejection.out;
        if (!ejection.out) {
            sight.runs.of[STATS_ERROR_CONNECT] = ejection.trial ? 1 : 5;
            failures += sight.runs.of[STATS_ERROR_CONNECT];
        }
        enum outlier_event event = outlier_step(&ejection, &rules, &sight);
        if (event == OUTLIER_EJECTED) {
            assert_true(changes == 0 || now_us - last_us >= BASE_US);
            last_us = now_us;
            changes++;
        }
    }
    /* 30 s, 60 s … 300 s are 27.5 minutes, then one every five. */
    assert_true(changes >= 15 && changes <= 17);
    assert_int_equal(failures, 5 + changes - 1);
}

/* The monotonic clock may start anywhere: where 32 bits of ms or us wrap, or a signed number ends. */
static void test_any_start_of_the_clock(void **state)
{
    (void)state;
    static const uint64_t starts[] = {0,
                                      1,
                                      UINT32_MAX,
                                      (uint64_t)INT32_MAX * 1000,
                                      (uint64_t)UINT32_MAX * 1000,
                                      (uint64_t)INT64_MAX - 2 * BASE_US,
                                      UINT64_MAX - 100 * MAX_US};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        for (uint64_t lag_us = 0; lag_us < 2 * BASE_US; lag_us += BASE_US / 7) {
            const struct outlier_rules rules = rules_of(false);
            struct backend_ejection ejection = {0};
            struct outlier_sight sight = sight_at(starts[i] + lag_us);
            assert_int_equal(fail_run(&ejection, &rules, &sight, STATS_ERROR_CONNECT, 5), OUTLIER_EJECTED);
            assert_int_equal(outlier_due(&ejection, sight.now_us), sight.now_us + BASE_US);
            sight.now_us += BASE_US - 1;
            assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_NOTHING);
            sight.now_us += 1;
            assert_int_equal(outlier_step(&ejection, &rules, &sight), OUTLIER_LET_IN);
            assert_int_equal(outlier_times(&ejection, sight.now_us), 1);
            assert_int_equal(outlier_times(&ejection, sight.now_us + BASE_US), 0);
        }
    }
}

static void test_words(void **state)
{
    (void)state;
    char text[96];
    const struct backend_ejection ejection = {.kind = STATS_ERROR_RESET, .failures = 5};
    outlier_describe(&ejection, text, sizeof(text));
    assert_string_equal(text, "5 resets before the first byte in a row");
    for (unsigned kind = 0; kind < STATS_ERROR_COUNT; kind++) {
        for (unsigned other = 0; other < kind; other++) {
            assert_string_not_equal(outlier_kind_text((enum stats_error)kind),
                                    outlier_kind_text((enum stats_error)other));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_has_its_own_threshold),
        cmocka_unit_test(test_failures_of_different_kinds_do_not_add_up),
        cmocka_unit_test(test_a_threshold_of_zero_is_off),
        cmocka_unit_test(test_the_time_grows_up_to_the_most),
        cmocka_unit_test(test_good_service_is_remembered_in_its_favour),
        cmocka_unit_test(test_on_trial_one_failure_is_enough),
        cmocka_unit_test(test_a_success_ends_the_trial),
        cmocka_unit_test(test_a_failure_after_the_trial_was_won_is_but_one),
        cmocka_unit_test(test_checks_must_pass_in_a_row_after_the_time),
        cmocka_unit_test(test_the_cap),
        cmocka_unit_test(test_kept_is_made_up_for),
        cmocka_unit_test(test_who_serves_nobody_is_not_ejected),
        cmocka_unit_test(test_an_operator_overrules),
        cmocka_unit_test(test_the_alarm_fits_the_step),
        cmocka_unit_test(test_when_to_look_again),
        cmocka_unit_test(test_flapping_is_bounded),
        cmocka_unit_test(test_any_start_of_the_clock),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
