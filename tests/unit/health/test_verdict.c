/* Rise and fall, as pure steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/random.h"
#include "health/verdict.h"

static void the_first_check_decides_both_ways(void **state)
{
    (void)state;
    struct verdict verdict;
    verdict_init(&verdict);
    assert_int_equal(verdict.state, BACKEND_UNKNOWN);
    assert_true(verdict_step(&verdict, true, 5, 5));
    assert_int_equal(verdict.state, BACKEND_UP);
    verdict_init(&verdict);
    assert_true(verdict_step(&verdict, false, 5, 5));
    assert_int_equal(verdict.state, BACKEND_DOWN);
}

static void a_change_needs_rise_or_fall_in_a_row(void **state)
{
    (void)state;
    struct verdict verdict = {.state = BACKEND_UP};
    assert_false(verdict_step(&verdict, false, 2, 3));
    assert_false(verdict_step(&verdict, false, 2, 3));
    assert_false(verdict_step(&verdict, true, 2, 3)); /* starts the count again */
    assert_false(verdict_step(&verdict, false, 2, 3));
    assert_false(verdict_step(&verdict, false, 2, 3));
    assert_true(verdict_step(&verdict, false, 2, 3));
    assert_int_equal(verdict.state, BACKEND_DOWN);
    assert_false(verdict_step(&verdict, false, 2, 3));
    assert_false(verdict_step(&verdict, true, 2, 3));
    assert_false(verdict_step(&verdict, false, 2, 3));
    assert_false(verdict_step(&verdict, true, 2, 3));
    assert_true(verdict_step(&verdict, true, 2, 3));
    assert_int_equal(verdict.state, BACKEND_UP);
}

static void zero_counts_as_one(void **state)
{
    (void)state;
    struct verdict verdict = {.state = BACKEND_UP};
    assert_true(verdict_step(&verdict, false, 0, 0));
    assert_true(verdict_step(&verdict, true, 0, 0));
}

static void alternating_checks_change_nothing(void **state)
{
    (void)state;
    struct verdict verdict;
    verdict_init(&verdict);
    assert_true(verdict_step(&verdict, true, 2, 2));
    for (unsigned i = 0; i < 1000; i++) {
        assert_false(verdict_step(&verdict, i % 2 == 0, 2, 2));
    }
}

static void flapping_is_bounded_by_rise_and_fall(void **state)
{
    (void)state;
    for (uint32_t rise = 1; rise <= 4; rise++) {
        for (uint32_t fall = 1; fall <= 4; fall++) {
            struct random_state random;
            random_seed(&random, rise * 10 + fall);
            struct verdict verdict;
            verdict_init(&verdict);
            (void)verdict_step(&verdict, true, rise, fall);
            uint32_t since = 0;
            for (unsigned i = 0; i < 10000; i++) {
                since++;
                if (verdict_step(&verdict, random_below(&random, 2) == 1, rise, fall)) {
                    assert_true(since >= (verdict.state == BACKEND_UP ? rise : fall));
                    since = 0;
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_check_decides_both_ways),
        cmocka_unit_test(a_change_needs_rise_or_fall_in_a_row),
        cmocka_unit_test(zero_counts_as_one),
        cmocka_unit_test(alternating_checks_change_nothing),
        cmocka_unit_test(flapping_is_bounded_by_rise_and_fall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
