/* The pace of checks, as pure steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "health/cadence.h"

static const struct config_health config = {
    .interval_us = 1000, .fast_interval_us = 200, .down_interval_us = 5000};

static void three_paces(void **state)
{
    (void)state;
    struct verdict verdict = {.state = BACKEND_UP};
    assert_int_equal(cadence_interval(&config, &verdict), 1000);
    verdict.against = 1;
    assert_int_equal(cadence_interval(&config, &verdict), 200);
    verdict = (struct verdict){.state = BACKEND_DOWN};
    assert_int_equal(cadence_interval(&config, &verdict), 5000);
    verdict.against = 2;
    assert_int_equal(cadence_interval(&config, &verdict), 200);
}

static void the_pace_is_kept(void **state)
{
    (void)state;
    struct cadence cadence;
    struct verdict verdict = {.state = BACKEND_UP};
    cadence_init(&cadence, 0);
    assert_int_equal(cadence_next(&cadence, &config, &verdict, 10000, 10050), 11000);
    /* What a long check missed is left out; the next keeps its place. */
    assert_int_equal(cadence_next(&cadence, &config, &verdict, 10000, 13400), 14000);
    assert_int_equal(cadence_next(&cadence, &config, &verdict, 10000, 13000), 13000);
}

static void each_moves_to_its_place_once(void **state)
{
    (void)state;
    struct verdict verdict = {.state = BACKEND_UP};
    for (uint64_t shift = 0; shift < 1000; shift += 50) {
        struct cadence cadence;
        cadence_init(&cadence, shift);
        uint64_t next = cadence_next(&cadence, &config, &verdict, 10000, 10010);
        assert_int_equal(next % 1000, shift);
        assert_in_range(next, 10500, 11500);
        assert_int_equal(cadence_next(&cadence, &config, &verdict, next, next + 10), next + 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_paces),
        cmocka_unit_test(the_pace_is_kept),
        cmocka_unit_test(each_moves_to_its_place_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
