/* The gate: what it says of groups that are good, bad, silent, or whose counters do odd things. */
#include "migration/gate.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct gate_rules all_rules = {.window_us = 60 * CLOCK_US_PER_S,
                                            .min_samples = 200,
                                            .max_error_rate = 0.01,
                                            .max_error_increase = 0.005,
                                            .max_latency_us = 200 * CLOCK_US_PER_MS,
                                            .max_latency_ratio = 1.5,
                                            .max_connect_ratio = 2,
                                            .quantile = 0.99,
                                            .failures = 2,
                                            .alpha = 0.01,
                                            .confidence = 0.8};
/* Only the errors of new against a fixed limit, or against old. */
static const struct gate_rules fixed_rules = {.window_us = 60 * CLOCK_US_PER_S,
                                              .min_samples = 200,
                                              .max_error_rate = 0.01,
                                              .max_error_increase = 1,
                                              .quantile = 0.99,
                                              .failures = 2,
                                              .alpha = 0.01,
                                              .confidence = 0.8};
static const struct gate_rules against_old_rules = {.window_us = 60 * CLOCK_US_PER_S,
                                                    .min_samples = 200,
                                                    .max_error_rate = 1,
                                                    .max_error_increase = 0.005,
                                                    .quantile = 0.99,
                                                    .failures = 2,
                                                    .alpha = 0.01,
                                                    .confidence = 0.8};

/* A gate, and the counters that it looks at. */
struct bench {
    struct gate *gate;
    uint64_t now_us;
    struct stats_backend_reading old, new_reading;
    uint64_t turn; /* varies the response times */
};

static void begin(struct bench *b, const struct gate_rules *rules, uint32_t share_bp)
{
    struct err_text err;

    memset(b, 0, sizeof(*b));
    b->now_us = 1000 * CLOCK_US_PER_S;
    assert_int_equal(gate_create(rules, &b->gate, &err), 0);
    gate_begin(b->gate, b->now_us);
    gate_step(b->gate, share_bp, b->now_us);
    assert_true(gate_look(b->gate, &b->old, &b->new_reading, b->now_us));
}

static void end(struct bench *b)
{
    gate_destroy(b->gate);
}

/* n connections, errors of them refused; responses around typical_us, spread from a half to twice that. */
static void serve(struct bench *b, struct stats_backend_reading *group, uint64_t n, uint64_t errors,
                  uint64_t typical_us)
{
    group->errors[STATS_ERROR_CONNECT] += errors;
    group->connections += n - errors;
    for (uint64_t i = errors; i < n; i++) {
        uint64_t us = typical_us / 2 + typical_us * (b->turn++ * 37 % 100) * 3 / 200;

        group->response_us.bucket[histogram_index(us)]++;
        group->response_us.count++;
        group->connect_us.bucket[histogram_index(300)]++;
        group->connect_us.count++;
    }
}

static const struct gate_result *look(struct bench *b)
{
    b->now_us += CLOCK_US_PER_S;
    assert_true(gate_look(b->gate, &b->old, &b->new_reading, b->now_us));
    return gate_result(b->gate);
}

/* Seconds of n_old and n_new connections, with one error of new in every `each` (0: none). */
static const struct gate_result *run(struct bench *b, unsigned seconds, uint64_t n_old, uint64_t n_new,
                                     uint64_t each)
{
    uint64_t owed = 0;

    for (unsigned i = 0; i < seconds; i++) {
        uint64_t errors = 0;

        owed += n_new;
        if (each > 0) {
            errors = owed / each < n_new ? owed / each : n_new;
            owed -= errors * each;
        }
        serve(b, &b->old, n_old, 0, 5000);
        serve(b, &b->new_reading, n_new, errors, 5000);
        (void)look(b);
    }
    return gate_result(b->gate);
}

static const struct gate_check *check_of(const struct gate_result *result, enum gate_check_kind kind)
{
    for (size_t i = 0; i < result->checks_len; i++) {
        if (result->checks[i].kind == kind) {
            return &result->checks[i];
        }
    }
    fail_msg("%s is not on", gate_check_name(kind));
    return NULL;
}

static void nothing_seen_is_no_pass(void **state)
{
    struct bench b;
    const struct gate_result *result;

    (void)state;
    begin(&b, &all_rules, 100);
    result = run(&b, 600, 0, 0, 0);
    assert_int_equal(result->verdict, GATE_MORE);
    assert_int_equal(result->checks_len, GATE_CHECK_COUNT);
    assert_int_equal(check_of(result, GATE_ERROR_RATE)->needs > 0 ? 1 : 0, 1);
    result = run(&b, 600, 100, 0, 0); /* old alone */
    assert_int_equal(result->verdict, GATE_MORE);
    result = run(&b, 2, 100, 1, 0); /* two good ones */
    assert_int_equal(result->verdict, GATE_MORE);
    assert_false(result->act);
    end(&b);
}

static void a_good_group_passes_with_enough_samples(void **state)
{
    struct bench b;
    const struct gate_result *result;
    uint64_t needs;

    (void)state;
    begin(&b, &all_rules, 500);
    result = run(&b, 10, 190, 10, 0);
    assert_int_equal(result->verdict, GATE_MORE);
    needs = result->worst->needs;
    assert_in_range(needs, 100, 3000);
    result = run(&b, 200, 190, 10, 0);
    assert_int_equal(result->verdict, GATE_PASS);
    assert_null(result->worst);
    assert_string_equal(check_of(result, GATE_ERROR_RATE)->message, "error-rate 0.00% ≤ 1% (n=580)");
    end(&b);
}

static void min_samples_are_asked_for_though_all_is_proven(void **state)
{
    struct gate_rules rules = fixed_rules;
    struct bench b;

    (void)state;
    rules.min_samples = 100000;
    begin(&b, &rules, 5000);
    assert_int_equal(run(&b, 100, 500, 500, 0)->verdict, GATE_MORE);
    assert_string_equal(gate_result(b.gate)->checks[0].message, "error-rate needs ~50000 more connections");
    assert_int_equal(run(&b, 100, 500, 500, 0)->verdict, GATE_PASS);
    end(&b);
}

static void a_dead_group_is_found_in_a_handful(void **state)
{
    struct bench b;
    const struct gate_result *result;

    (void)state;
    begin(&b, &all_rules, 100);
    for (unsigned i = 0; i < 3; i++) {
        serve(&b, &b.old, 100, 0, 5000);
        serve(&b, &b.new_reading, 1, 1, 5000);
        (void)look(&b);
    }
    (void)look(&b);
    result = look(&b);
    assert_int_equal(result->verdict, GATE_FAIL);
    assert_true(result->act);
    assert_int_equal(result->errors[STATS_ERROR_CONNECT], 3);
    assert_int_equal(result->worst->verdict, GATE_FAIL);
    assert_string_equal(check_of(result, GATE_ERROR_RATE)->message, "error-rate 100.00% > 1% (n=3)");
    end(&b);
}

static void one_failure_alone_does_not_decide(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, &all_rules, 100);
    run(&b, 30, 100, 1, 0);
    serve(&b, &b.new_reading, 1, 1, 5000);
    serve(&b, &b.old, 100, 0, 5000);
    (void)look(&b);
    assert_int_equal(run(&b, 10, 100, 1, 0)->verdict, GATE_MORE);
    end(&b);
}

static void it_acts_only_after_failures_in_a_row(void **state)
{
    struct gate_rules rules = fixed_rules;
    struct bench b;

    (void)state;
    rules.failures = 3;
    begin(&b, &rules, 2500);
    serve(&b, &b.new_reading, 50, 50, 5000);
    assert_int_equal(look(&b)->verdict, GATE_FAIL);
    assert_false(gate_result(b.gate)->act);
    assert_int_equal(gate_result(b.gate)->failed, 1);
    assert_false(look(&b)->act);
    assert_true(look(&b)->act);
    end(&b);
}

static void a_group_that_breaks_late_is_found(void **state)
{
    struct bench b;
    const struct gate_result *result;

    (void)state;
    begin(&b, &all_rules, 2500);
    assert_int_equal(run(&b, 1800, 75, 25, 0)->verdict, GATE_PASS);
    result = run(&b, 4, 75, 25, 1);
    assert_true(result->act); /* within 100 connections, after 45000 good ones */
    assert_true(result->worst->observed > result->worst->limit);
    end(&b);

    begin(&b, &against_old_rules, 2500);
    run(&b, 1800, 75, 25, 0);
    assert_true(run(&b, 100, 75, 25, 40)->act); /* 2.5 % */
    assert_string_not_equal(gate_result(b.gate)->worst->message, "");
    end(&b);
}

static void slower_than_old_fails(void **state)
{
    struct bench b;
    const struct gate_result *result = NULL;

    (void)state;
    begin(&b, &all_rules, 2500);
    for (unsigned i = 0; i < 120; i++) {
        serve(&b, &b.old, 75, 0, 5000);
        serve(&b, &b.new_reading, 25, 0, 10000);
        result = look(&b);
    }
    assert_int_equal(check_of(result, GATE_LATENCY_RATIO)->verdict, GATE_FAIL);
    assert_true(check_of(result, GATE_LATENCY_RATIO)->observed > 1.5);
    assert_int_equal(check_of(result, GATE_LATENCY)->verdict, GATE_PASS); /* far below 200 ms */
    assert_int_equal(check_of(result, GATE_CONNECT_RATIO)->verdict, GATE_PASS);
    assert_true(result->act);
    end(&b);
}

static void slower_than_the_limit_fails(void **state)
{
    struct bench b;
    const struct gate_result *result = NULL;

    (void)state;
    begin(&b, &all_rules, 2500);
    for (unsigned i = 0; i < 60; i++) {
        serve(&b, &b.old, 75, 0, 300000); /* as slow as new */
        serve(&b, &b.new_reading, 25, 0, 300000);
        result = look(&b);
    }
    assert_int_equal(check_of(result, GATE_LATENCY)->verdict, GATE_FAIL);
    assert_int_not_equal(check_of(result, GATE_LATENCY_RATIO)->verdict, GATE_FAIL);
    end(&b);
}

static void slow_together_is_no_failure(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, &all_rules, 2500);
    for (unsigned i = 0; i < 600; i++) {
        uint64_t typical_us = 5000 + (uint64_t)i * 100; /* up to 65 ms */

        serve(&b, &b.old, 75, i % 10 == 0, typical_us);
        serve(&b, &b.new_reading, 25, i % 30 == 0, typical_us);
        assert_int_not_equal(look(&b)->verdict, GATE_FAIL);
    }
    end(&b);
}

static void one_stall_does_not_decide(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, &all_rules, 2500);
    run(&b, 120, 75, 25, 0);
    serve(&b, &b.old, 75, 0, 5000);
    serve(&b, &b.new_reading, 25, 0, 150000); /* all of a second, within the fixed limit */
    assert_int_not_equal(look(&b)->verdict, GATE_FAIL);
    assert_int_not_equal(run(&b, 60, 75, 25, 0)->verdict, GATE_FAIL);
    end(&b);
}

static void counters_that_go_back_are_a_new_beginning(void **state)
{
    struct bench b;
    const struct gate_result *result;

    (void)state;
    begin(&b, &all_rules, 2500);
    run(&b, 60, 75, 25, 0);
    memset(&b.new_reading, 0, sizeof(b.new_reading)); /* its backends are others now */
    result = look(&b);
    assert_int_not_equal(result->verdict, GATE_FAIL);
    assert_in_range(check_of(result, GATE_ERROR_RATE)->samples, 1400, 1500);
    b.old.response_us.bucket[histogram_index(5000)] -= 10; /* only the histogram */
    serve(&b, &b.new_reading, 1000, 1000, 0);              /* so this look cannot be used */
    assert_int_not_equal(look(&b)->verdict, GATE_FAIL);
    assert_int_equal(run(&b, 200, 75, 25, 0)->verdict, GATE_PASS);
    end(&b);
}

static void at_full_share_old_is_not_asked_for(void **state)
{
    struct gate_rules rules = all_rules;
    struct bench b;
    const struct gate_result *result;

    (void)state;
    rules.max_latency_us = 0;
    begin(&b, &rules, 5000);
    assert_int_equal(run(&b, 120, 50, 50, 0)->verdict, GATE_PASS);
    gate_step(b.gate, 10000, b.now_us);
    result = run(&b, 300, 0, 100, 0);
    assert_true(check_of(result, GATE_ERROR_INCREASE)->idle);
    assert_false(check_of(result, GATE_ERROR_RATE)->idle);
    assert_int_equal(result->verdict, GATE_PASS);
    assert_true(run(&b, 10, 0, 100, 2)->act); /* the fixed limit still holds */
    end(&b);

    begin(&b, &against_old_rules, 10000); /* nothing but comparisons: samples are all that can be asked for */
    assert_int_equal(run(&b, 10, 0, 10, 0)->verdict, GATE_MORE);
    assert_string_equal(gate_result(b.gate)->checks[0].message,
                        "error-increase not judged: old gets no traffic to compare with");
    end(&b);
}

static void a_step_up_asks_for_new_evidence(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, &fixed_rules, 500);
    assert_int_equal(run(&b, 200, 190, 10, 0)->verdict, GATE_PASS);
    gate_step(b.gate, 2500, b.now_us);
    assert_int_equal(gate_result(b.gate)->verdict, GATE_MORE);
    assert_int_equal(run(&b, 20, 150, 50, 0)->verdict, GATE_PASS);
    gate_step(b.gate, 2520, b.now_us); /* a tick of a ramp: nearly all of it still counts */
    assert_int_equal(gate_result(b.gate)->verdict, GATE_PASS);
    gate_step(b.gate, 100, b.now_us); /* down: nothing to ask for */
    assert_int_equal(gate_result(b.gate)->verdict, GATE_PASS);
    end(&b);
}

static void grace_is_for_times_not_for_errors(void **state)
{
    struct gate_rules rules = all_rules;
    struct bench b;

    (void)state;
    rules.grace_us = 30 * CLOCK_US_PER_S;
    begin(&b, &rules, 2500);
    for (unsigned i = 0; i < 29; i++) {
        serve(&b, &b.old, 75, 0, 5000);
        serve(&b, &b.new_reading, 25, 0, 900000); /* cold */
        assert_int_not_equal(look(&b)->verdict, GATE_FAIL);
    }
    assert_true(run(&b, 3, 75, 25, 1)->act);
    end(&b);
}

static void a_new_beginning_forgets(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, &all_rules, 2500);
    assert_true(run(&b, 10, 75, 25, 2)->act);
    gate_begin(b.gate, b.now_us);
    gate_step(b.gate, 500, b.now_us);
    assert_int_equal(gate_result(b.gate)->verdict, GATE_MORE);
    assert_false(gate_result(b.gate)->act);
    assert_int_not_equal(run(&b, 10, 95, 5, 0)->verdict, GATE_FAIL);
    end(&b);
}

static void looks_keep_their_distance(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, &all_rules, 100);
    assert_int_equal(gate_interval_us(b.gate), CLOCK_US_PER_S);
    assert_false(gate_look(b.gate, &b.old, &b.new_reading, b.now_us + CLOCK_US_PER_S / 2));
    assert_int_equal(gate_result(b.gate)->looks, 1);
    end(&b);
}

/* Long-lived connections that end badly are more errors than there were attempts. */
static void more_errors_than_attempts(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, &fixed_rules, 2500);
    b.new_reading.errors[STATS_ERROR_ABORT] = 500;
    (void)look(&b);
    assert_true(look(&b)->act);
    assert_string_equal(gate_result(b.gate)->checks[0].message, "error-rate 100.00% > 1% (n=500)");
    end(&b);
}

static void huge_counts_are_judged(void **state)
{
    struct bench b;

    (void)state;
    begin(&b, &fixed_rules, 5000);
    for (unsigned i = 0; i < 10; i++) {
        b.old.connections += UINT64_C(1) << 40;
        b.new_reading.connections += UINT64_C(1) << 40;
        (void)look(&b);
    }
    assert_int_equal(gate_result(b.gate)->verdict, GATE_PASS);
    for (unsigned i = 0; i < 20; i++) {
        b.new_reading.errors[STATS_ERROR_TIMEOUT] += UINT64_C(1) << 40;
        (void)look(&b);
    }
    assert_true(gate_result(b.gate)->act);
    end(&b);
}

static void rules_without_sense_are_refused(void **state)
{
    struct gate_rules bad[] = {fixed_rules, fixed_rules, fixed_rules, fixed_rules, fixed_rules, fixed_rules};

    (void)state;
    bad[0].max_error_rate = 1; /* nothing left to check */
    bad[1].window_us = 0;
    bad[2].quantile = 1;
    bad[3].alpha = 0;
    bad[4].failures = 0;
    bad[5].confidence = 1;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct gate *gate = NULL;
        struct err_text err;

        assert_int_equal(gate_create(&bad[i], &gate, &err), ERR_INVALID);
        assert_null(gate);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_seen_is_no_pass),
        cmocka_unit_test(a_good_group_passes_with_enough_samples),
        cmocka_unit_test(min_samples_are_asked_for_though_all_is_proven),
        cmocka_unit_test(a_dead_group_is_found_in_a_handful),
        cmocka_unit_test(one_failure_alone_does_not_decide),
        cmocka_unit_test(it_acts_only_after_failures_in_a_row),
        cmocka_unit_test(a_group_that_breaks_late_is_found),
        cmocka_unit_test(slower_than_old_fails),
        cmocka_unit_test(slower_than_the_limit_fails),
        cmocka_unit_test(slow_together_is_no_failure),
        cmocka_unit_test(one_stall_does_not_decide),
        cmocka_unit_test(counters_that_go_back_are_a_new_beginning),
        cmocka_unit_test(at_full_share_old_is_not_asked_for),
        cmocka_unit_test(a_step_up_asks_for_new_evidence),
        cmocka_unit_test(grace_is_for_times_not_for_errors),
        cmocka_unit_test(a_new_beginning_forgets),
        cmocka_unit_test(looks_keep_their_distance),
        cmocka_unit_test(more_errors_than_attempts),
        cmocka_unit_test(huge_counts_are_judged),
        cmocka_unit_test(rules_without_sense_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
