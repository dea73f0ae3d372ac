/* The pace of closing: the rate holds over time, jitter strays but does not add up, a stall is not made up
 * for. */
#include "core/clock.h"
#include "migration/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct random_state seeded(uint64_t seed)
{
    struct random_state random;

    random_seed(&random, seed);
    return random;
}

static void the_rate_holds_with_any_jitter(void **state)
{
    static const uint32_t rates[] = {1, 7, 100, 5000, 100000};
    static const uint32_t jitters[] = {0, 5000, 10000};

    (void)state;
    for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
        for (size_t j = 0; j < sizeof(jitters) / sizeof(jitters[0]); j++) {
            struct pace_rules rules = {.rate = rates[r], .jitter_bp = jitters[j]};
            struct random_state random = seeded(r * 10 + j + 1);
            struct pace pace = {0};
            uint64_t closed = 0;

            for (uint64_t t = CLOCK_US_PER_S; t < 201 * CLOCK_US_PER_S; t += CLOCK_US_PER_S / 50) {
                closed += pace_take(&pace, &rules, t, &random);
            }
            assert_in_range(closed, 200 * rates[r] * 90 / 100, 200 * rates[r] * 110 / 100 + 1);
        }
    }
}

static void a_stall_is_not_made_up_for(void **state)
{
    struct pace_rules rules = {.rate = 100};
    struct random_state random = seeded(1);
    struct pace pace = {0};

    (void)state;
    assert_int_equal(pace_take(&pace, &rules, CLOCK_US_PER_S, &random), 1);
    assert_int_equal(pace_take(&pace, &rules, CLOCK_US_PER_S, &random), 0);
    assert_in_range(pace_take(&pace, &rules, 3600 * CLOCK_US_PER_S, &random), 10, 11);
}

static void without_a_rate_all_at_once(void **state)
{
    struct pace_rules rules = {.rate = 0};
    struct random_state random = seeded(1);
    struct pace pace = {0};

    (void)state;
    assert_true(pace_take(&pace, &rules, CLOCK_US_PER_S, &random) == PACE_ALL);
    assert_int_equal(pace_take(&pace, &rules, CLOCK_US_PER_S + 1, &random), 0);
    assert_true(pace_take(&pace, &rules, 2 * CLOCK_US_PER_S, &random) == PACE_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_holds_with_any_jitter),
        cmocka_unit_test(a_stall_is_not_made_up_for),
        cmocka_unit_test(without_a_rate_all_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
