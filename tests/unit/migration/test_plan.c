/* Plans: steps as written, ramps as shapes, what is left, and what cannot be a plan. */
#include "migration/plan.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MINUTE (60 * CLOCK_US_PER_S)

static struct config_step three[] = {{.share_bp = 100, .hold_us = 5 * MINUTE},
                                     {.share_bp = 2500, .hold_us = 10 * MINUTE},
                                     {.share_bp = 10000, .hold_us = 10 * MINUTE}};

static struct plan *compile(const struct config_migration *config)
{
    struct plan *plan = NULL;
    struct err_text err;

    assert_int_equal(plan_compile(config, &plan, &err), 0);
    return plan;
}

static void no_plan_answers_nothing(void **state)
{
    struct plan *plan = compile(&(struct config_migration){.present = false});

    (void)state;
    assert_null(plan);
    assert_int_equal(plan_steps(plan), 0);
    assert_int_equal(plan_step_from(plan, 0), 0);
    assert_int_equal(plan_step_above(plan, 0), 0);
    assert_int_equal(plan_total_us(plan), 0);
    plan_destroy(plan);
}

static void steps_are_taken_as_written(void **state)
{
    struct plan *plan = compile(&(struct config_migration){.present = true, .steps = three, .steps_len = 3});

    (void)state;
    assert_int_equal(plan_steps(plan), 3);
    assert_int_equal(plan_share_bp(plan, 0), 0);
    assert_int_equal(plan_share_bp(plan, 2), 2500);
    assert_int_equal(plan_share_bp(plan, 4), 0);
    assert_int_equal(plan_hold_us(plan, 1), 5 * MINUTE);
    assert_int_equal(plan_step_from(plan, 0), 1);
    assert_int_equal(plan_step_from(plan, 2500), 2);
    assert_int_equal(plan_step_from(plan, 9999), 2); /* never more than was asked for */
    assert_int_equal(plan_step_from(plan, 10000), 3);
    assert_int_equal(plan_step_from(plan, 1), 0);
    assert_int_equal(plan_step_above(plan, 2500), 3);
    assert_int_equal(plan_step_above(plan, 10000), 0);
    assert_int_equal(plan_total_us(plan), 25 * MINUTE);
    assert_int_equal(plan_left_us(plan, 2, 4 * MINUTE), 16 * MINUTE);
    assert_int_equal(plan_left_us(plan, 3, 99 * MINUTE), 0);
    plan_destroy(plan);
}

static struct plan *ramp(enum config_ramp_shape shape, uint32_t from, uint32_t to, uint64_t over,
                         uint64_t tick)
{
    struct config_migration config = {
        .present = true,
        .ramp = {
            .present = true, .from_bp = from, .to_bp = to, .over_us = over, .tick_us = tick, .shape = shape}};
    struct plan *plan = compile(&config);

    assert_int_equal(plan_share_bp(plan, 1), from == 0 ? 1 : from);
    assert_int_equal(plan_share_bp(plan, plan_steps(plan)), to);
    for (uint32_t step = 2; step <= plan_steps(plan); step++) {
        assert_true(plan_share_bp(plan, step) > plan_share_bp(plan, step - 1));
    }
    assert_int_equal(plan_total_us(plan), over);
    return plan;
}

/* The share in force t after the start. */
static uint32_t share_at(const struct plan *plan, uint64_t t_us)
{
    uint32_t step = 1;

    while (step < plan_steps(plan) && t_us >= plan_hold_us(plan, step)) {
        t_us -= plan_hold_us(plan, step++);
    }
    return plan_share_bp(plan, step);
}

static void ramps_have_their_shape_and_length(void **state)
{
    struct plan *linear = ramp(CONFIG_RAMP_LINEAR, 0, 10000, 100 * CLOCK_US_PER_S, CLOCK_US_PER_S);
    struct plan *exponential =
        ramp(CONFIG_RAMP_EXPONENTIAL, 100, 10000, 100 * CLOCK_US_PER_S, CLOCK_US_PER_S);

    (void)state;
    assert_int_equal(share_at(linear, 50 * CLOCK_US_PER_S), 5000);
    assert_int_equal(share_at(linear, 25 * CLOCK_US_PER_S), 2500);
    /* half of the time for the first factor of ten */
    assert_in_range(share_at(exponential, 50 * CLOCK_US_PER_S), 999, 1000);
    assert_int_equal(plan_steps(exponential), 101);
    plan_destroy(linear);
    plan_destroy(exponential);
}

static void odd_ramps_stay_exact(void **state)
{
    (void)state;
    plan_destroy(ramp(CONFIG_RAMP_LINEAR, 100, 10000, 7, 3));                      /* µs */
    plan_destroy(ramp(CONFIG_RAMP_LINEAR, 100, 200, 3600 * CLOCK_US_PER_S, 1000)); /* flat */
    plan_destroy(ramp(CONFIG_RAMP_EXPONENTIAL, 0, 10000, 10 * CLOCK_US_PER_S, 0)); /* no tick */
    plan_destroy(
        ramp(CONFIG_RAMP_EXPONENTIAL, 1, 2, 10 * CLOCK_US_PER_S, 60 * CLOCK_US_PER_S)); /* one tick */
    plan_destroy(ramp(CONFIG_RAMP_LINEAR, 9999, 10000, UINT64_C(1) << 60, 1));          /* overflow? */
}

static void what_does_not_rise_is_no_plan(void **state)
{
    struct config_step down[] = {{.share_bp = 2500, .hold_us = MINUTE},
                                 {.share_bp = 1000, .hold_us = MINUTE}};
    struct config_step twice[] = {{.share_bp = 2500, .hold_us = MINUTE},
                                  {.share_bp = 2500, .hold_us = MINUTE}};
    struct config_step over[] = {{.share_bp = 10001, .hold_us = MINUTE}};
    struct config_step zero[] = {{.share_bp = 0, .hold_us = MINUTE}};
    struct config_migration bad[] = {
        {.present = true, .steps = down, .steps_len = 2},
        {.present = true, .steps = twice, .steps_len = 2},
        {.present = true, .steps = over, .steps_len = 1},
        {.present = true, .steps = zero, .steps_len = 1},
        {.present = true},
        {.present = true, .ramp = {.present = true, .from_bp = 50, .to_bp = 50, .over_us = 1, .tick_us = 1}}};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct plan *plan = NULL;
        struct err_text err;

        assert_int_equal(plan_compile(&bad[i], &plan, &err), ERR_INVALID);
        assert_null(plan);
    }
}

static void an_edit_changes_the_fingerprint(void **state)
{
    struct config_migration config = {.present = true, .steps = three, .steps_len = 3};
    struct plan *a = compile(&config);
    struct plan *b = compile(&config);

    (void)state;
    assert_int_equal(plan_fingerprint(a), plan_fingerprint(b));
    plan_destroy(b);
    three[1].hold_us++;
    b = compile(&config);
    three[1].hold_us--;
    assert_int_not_equal(plan_fingerprint(a), plan_fingerprint(b));
    plan_destroy(a);
    plan_destroy(b);
}

/* Limits of a step's own are part of the plan: each of them, and whether there are any. */
static void limits_of_a_step_are_in_the_fingerprint(void **state)
{
    static const struct config_step_gate gates[] = {
        {.present = false},
        {.present = true},
        {.present = true, .min_samples = 5},
        {.present = true, .max_error_rate_bp = 5},
        {.present = true, .max_error_increase_bp = 5},
        {.present = true, .max_latency_us = 5},
        {.present = true, .max_latency_ratio = 5},
        {.present = true, .max_connect_ratio = 5},
    };
    uint32_t prints[sizeof(gates) / sizeof(gates[0])];
    struct config_migration config = {.present = true, .steps = three, .steps_len = 3};

    (void)state;
    for (size_t i = 0; i < sizeof(gates) / sizeof(gates[0]); i++) {
        struct plan *plan;

        three[1].gate = gates[i];
        plan = compile(&config);
        prints[i] = plan_fingerprint(plan);
        plan_destroy(plan);
        for (size_t before = 0; before < i; before++) {
            assert_int_not_equal(prints[before], prints[i]);
        }
    }
    three[1].gate = gates[0];
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_plan_answers_nothing),
        cmocka_unit_test(steps_are_taken_as_written),
        cmocka_unit_test(ramps_have_their_shape_and_length),
        cmocka_unit_test(odd_ramps_stay_exact),
        cmocka_unit_test(what_does_not_rise_is_no_plan),
        cmocka_unit_test(an_edit_changes_the_fingerprint),
        cmocka_unit_test(limits_of_a_step_are_in_the_fingerprint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
