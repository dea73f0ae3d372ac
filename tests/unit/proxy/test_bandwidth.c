/* The arithmetic of bandwidth limits: what a bucket gives over time, whatever is asked for and when. */
#include "core/random.h"
#include "proxy/bandwidth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define START_NS (UINT64_C(3600) * NS_PER_S)

static const uint64_t rates[] = {1, 1024, 5000, 1u << 20, 1u << 30, UINT64_C(10) << 30};

static void test_a_full_bucket_holds_a_burst(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        uint64_t expected =
            rates[i] / 1000 * BANDWIDTH_BURST_MS + rates[i] % 1000 * BANDWIDTH_BURST_MS / 1000;
        assert_int_equal(bandwidth_allowance(rates[i], 0, START_NS), expected);
        uint64_t paid_ns = bandwidth_pay(rates[i], 0, expected, START_NS);
        if (expected > 0) {
            assert_int_equal(bandwidth_allowance(rates[i], paid_ns, START_NS + 1000), 0);
        }
        /* Left alone it fills up again and no further. */
        assert_int_equal(bandwidth_allowance(rates[i], paid_ns, START_NS + NS_PER_S), expected);
        assert_int_equal(bandwidth_allowance(rates[i], paid_ns, START_NS + 3600 * NS_PER_S), expected);
    }
}

/* Asked at random times by somebody who takes all there is, or a part, a minute yields a minute's worth and
 * at most one burst more. */
static void test_a_minute_yields_a_minute(void **state)
{
    (void)state;
    struct random_state random;
    random_seed(&random, 42);
    for (size_t i = 1; i < sizeof(rates) / sizeof(rates[0]); i++) {
        uint64_t paid_ns = 0;
        uint64_t bytes = 0;
        uint64_t now_ns = START_NS;
        while (now_ns < START_NS + 60 * NS_PER_S) {
            size_t allowed = bandwidth_allowance(rates[i], paid_ns, now_ns);
            size_t taken = allowed > 1 && random_below(&random, 4) == 0 ? allowed / 2 : allowed;
            paid_ns = bandwidth_pay(rates[i], paid_ns, taken, now_ns);
            bytes += taken;
            now_ns += random_below(&random, 40) * NS_PER_MS + 1;
        }
        double whole = (double)rates[i] * 60;
        assert_true((double)bytes > 0.98 * whole);
        assert_true((double)bytes < 1.01 * whole + (double)rates[i] * BANDWIDTH_BURST_MS / 1000);
    }
}

/* What two workers took at once is waited for. */
static void test_a_debt_is_paid(void **state)
{
    (void)state;
    const uint64_t rate = 1u << 20;
    uint64_t paid_ns = bandwidth_pay(rate, 0, 2u << 20, START_NS);
    assert_int_equal(bandwidth_allowance(rate, paid_ns, START_NS + NS_PER_S), 0);
    assert_int_equal(bandwidth_allowance(rate, paid_ns, START_NS + 7 * NS_PER_S / 4), 0);
    assert_in_range(bandwidth_allowance(rate, paid_ns, START_NS + 2 * NS_PER_S), (1u << 18) - 1, 1u << 18);
}

/* The highest rate, in receives as large as there are. */
static void test_the_highest_rate(void **state)
{
    (void)state;
    uint64_t paid_ns = 0;
    for (int i = 0; i < 1000000; i++) {
        assert_true(bandwidth_allowance(BANDWIDTH_RATE_MAX, paid_ns, START_NS) > 0);
        paid_ns = bandwidth_pay(BANDWIDTH_RATE_MAX, paid_ns, 262144, START_NS);
    }
    assert_in_range(paid_ns - START_NS, 237 * 1000000, 239 * 1000000);
}

/* A few bytes are not worth a wake-up. */
static void test_not_for_a_few_bytes(void **state)
{
    (void)state;
    const uint64_t rate = 1u << 20;
    uint64_t paid_ns = bandwidth_pay(rate, 0, 1u << 18, START_NS);
    assert_int_equal(bandwidth_allowance(rate, paid_ns, START_NS + NS_PER_MS), 0);
    assert_true(bandwidth_allowance(rate, paid_ns, START_NS + 20 * NS_PER_MS) >= 8192);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_bucket_holds_a_burst),
        cmocka_unit_test(test_a_minute_yields_a_minute),
        cmocka_unit_test(test_a_debt_is_paid),
        cmocka_unit_test(test_the_highest_rate),
        cmocka_unit_test(test_not_for_a_few_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
