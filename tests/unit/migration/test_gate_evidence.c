/* Evidence: its expectation under the hypothesis, by summing over all outcomes; ends of the scale; clumps. */
#include "migration/gate_evidence.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static double binomial(unsigned n, unsigned k, double p)
{
    double log_choose = lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0);

    if ((p <= 0 && k > 0) || (p >= 1 && k < n)) {
        return 0;
    }
    if (p <= 0 || p >= 1) {
        return 1;
    }
    return exp(log_choose + k * log(p) + (n - k) * log1p(-p));
}

/* Wealth of one block that began with 1. */
static double wealth_two(enum gate_side side, double margin, double guess, unsigned na, unsigned ka,
                         unsigned nb, unsigned kb, double divide)
{
    struct gate_evidence evidence;
    struct gate_trials old = {na / divide, ka / divide};
    struct gate_trials new_trials = {nb / divide, kb / divide};

    gate_evidence_clear(&evidence, side);
    gate_evidence_stake(&evidence, 0);
    gate_evidence_add_two(&evidence, margin, guess, &old, &new_trials, INFINITY);
    return exp(gate_evidence_log(&evidence));
}

static double expected_two(enum gate_side side, double margin, double guess, double a, double b, unsigned na,
                           unsigned nb, double divide)
{
    double sum = 0;

    for (unsigned ka = 0; ka <= na; ka++) {
        for (unsigned kb = 0; kb <= nb; kb++) {
            sum += binomial(na, ka, a) * binomial(nb, kb, b) *
                   wealth_two(side, margin, guess, na, ka, nb, kb, divide);
        }
    }
    return sum;
}

static const double margins[] = {0, 0.005, 0.1, 0.6};
static const double guesses[] = {0, 0.001, 0.3, 0.97};
static const double parts[] = {0, 0.001, 0.01, 0.2, 0.7, 1};
static const double divisors[] = {1, 3.5};
static const unsigned sizes[][2] = {{1, 1}, {9, 1}, {1, 12}, {7, 6}};
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* The guarantee: at the edge of the hypothesis and anywhere inside, with any guess, evidence is not to be
 * expected. */
static void expects_no_wealth_while_the_hypothesis_holds(void **state)
{
    (void)state;
    for (size_t m = 0; m < COUNT(margins); m++) {
        for (size_t g = 0; g < COUNT(guesses); g++) {
            for (size_t p = 0; p < COUNT(parts); p++) {
                for (size_t s = 0; s < COUNT(sizes); s++) {
                    double edge = parts[p] + margins[m];

                    if (edge > 1) {
                        continue;
                    }
                    for (size_t d = 0; d < COUNT(divisors); d++) {
                        double divide = divisors[d];

                        assert_true(expected_two(GATE_AGAINST_GOOD, margins[m], guesses[g], parts[p], edge,
                                                 sizes[s][0], sizes[s][1], divide) < 1 + 1e-6);
                        assert_true(expected_two(GATE_AGAINST_GOOD, margins[m], guesses[g], parts[p],
                                                 0.5 * edge, sizes[s][0], sizes[s][1], divide) < 1 + 1e-6);
                        assert_true(expected_two(GATE_AGAINST_BAD, margins[m], guesses[g], parts[p], edge,
                                                 sizes[s][0], sizes[s][1], divide) < 1 + 1e-6);
                        assert_true(expected_two(GATE_AGAINST_BAD, margins[m], guesses[g], parts[p],
                                                 0.5 * (1 + edge), sizes[s][0], sizes[s][1],
                                                 divide) < 1 + 1e-6);
                    }
                }
            }
        }
    }
}

static double expected_one(enum gate_side side, double limit, double part, unsigned n)
{
    double sum = 0;

    for (unsigned k = 0; k <= n; k++) {
        struct gate_trials trials = {n, k};
        struct gate_evidence evidence;

        gate_evidence_clear(&evidence, side);
        gate_evidence_stake(&evidence, 0);
        gate_evidence_add_one(&evidence, limit, &trials, INFINITY);
        sum += binomial(n, k, part) * exp(gate_evidence_log(&evidence));
    }
    return sum;
}

static void expects_no_wealth_within_a_fixed_limit(void **state)
{
    (void)state;
    for (size_t p = 0; p < COUNT(parts); p++) {
        for (size_t l = 0; l < COUNT(parts); l++) {
            if (parts[l] <= 0 || parts[l] >= 1) {
                continue;
            }
            if (parts[p] <= parts[l]) {
                assert_true(expected_one(GATE_AGAINST_GOOD, parts[l], parts[p], 30) < 1 + 1e-9);
            }
            if (parts[p] >= parts[l]) {
                assert_true(expected_one(GATE_AGAINST_BAD, parts[l], parts[p], 30) < 1 + 1e-9);
            }
        }
    }
}

static void finds_what_is_there(void **state)
{
    (void)state;
    /* three of three fail, old hardly ever does: a thousand to one */
    assert_true(wealth_two(GATE_AGAINST_GOOD, 0.005, 0.001, 300, 0, 3, 3, 1) > 1000);
    /* none of a thousand: within the margin; but one of one is no proof of that */
    assert_true(wealth_two(GATE_AGAINST_BAD, 0.005, 0.001, 99000, 99, 1500, 0, 1) > 20);
    assert_true(wealth_two(GATE_AGAINST_BAD, 0.005, 0.001, 99, 0, 1, 0, 1) < 1.1);
    /* the same drift on both sides is no evidence for failing */
    assert_true(wealth_two(GATE_AGAINST_GOOD, 0.005, 0.001, 1000, 200, 1000, 200, 1) < 1);
}

static void one_side_alone_tells_nothing(void **state)
{
    (void)state;
    assert_float_equal(wealth_two(GATE_AGAINST_GOOD, 0.005, 0.001, 0, 0, 1000, 1000, 1), 1, 1e-12);
    assert_float_equal(wealth_two(GATE_AGAINST_GOOD, 0.005, 0.001, 1000, 0, 0, 0, 1), 1, 1e-12);
    assert_float_equal(wealth_two(GATE_AGAINST_GOOD, 1, 0.001, 1000, 0, 1000, 1000, 1), 1, 1e-12);
}

static void huge_counts_stay_numbers(void **state)
{
    const struct gate_trials quiet = {1e15, 0};
    const struct gate_trials broken = {1e15, 1e15};
    struct gate_evidence evidence;

    (void)state;
    gate_evidence_clear(&evidence, GATE_AGAINST_GOOD);
    assert_true(isinf(gate_evidence_log(&evidence)));
    gate_evidence_stake(&evidence, -3);
    assert_float_equal(gate_evidence_log(&evidence), -3, 1e-9);
    gate_evidence_add_two(&evidence, 0.005, 0, &quiet, &quiet, INFINITY);
    assert_true(isfinite(gate_evidence_log(&evidence)) && gate_evidence_log(&evidence) < -1e6);
    gate_evidence_stake(&evidence, -3); /* what was lost does not drag down what is staked anew */
    assert_float_equal(gate_evidence_log(&evidence), -3, 1e-9);
    gate_evidence_add_two(&evidence, 0.005, 1, &broken, &quiet, INFINITY);
    gate_evidence_add_two(&evidence, 0, 0, &quiet, &broken, INFINITY);
    assert_true(isfinite(gate_evidence_log(&evidence)));
    gate_evidence_add_one(&evidence, 1e-12, &broken, INFINITY);
    assert_true(isfinite(gate_evidence_log(&evidence)));
    gate_evidence_fade(&evidence, -2);
    gate_evidence_fade(&evidence, 1e6); /* only ever takes away */
    assert_true(isfinite(gate_evidence_log(&evidence)));
}

static void a_cap_bounds_what_one_block_does(void **state)
{
    const struct gate_trials old = {1000, 10};
    const struct gate_trials stalled = {1000, 1000};
    struct gate_evidence evidence;

    (void)state;
    gate_evidence_clear(&evidence, GATE_AGAINST_GOOD);
    gate_evidence_stake(&evidence, 0);
    gate_evidence_add_two(&evidence, 0, 0.01, &old, &stalled, 3);
    assert_true(gate_evidence_log(&evidence) <= 3 + 1e-9);
    assert_true(gate_evidence_log(&evidence) > 2);
}

static void clumps_are_learned_from_blocks(void **state)
{
    struct gate_clumps even = {0};
    struct gate_clumps stalls = {0};

    (void)state;
    assert_float_equal(gate_clumps_effect(&even, 101, 0.02), 3, 1e-9); /* assumed */
    for (unsigned i = 0; i < 2000; i++) {
        const struct gate_trials independent = {100, i % 2 == 0 ? 0 : 2}; /* variance as of chance: 1 */
        const struct gate_trials stall = {100, i % 100 == 0 ? 100 : 0};

        gate_clumps_add(&even, &independent, 0.01, 0.02);
        gate_clumps_add(&stalls, &stall, 0.01, 0.02);
    }
    assert_true(gate_clumps_effect(&even, 100, 0.02) < 1.2);
    assert_true(gate_clumps_effect(&stalls, 100, 0.02) > 80);
    assert_float_equal(gate_clumps_effect(&stalls, 1, 0.02), 1, 1e-9);
}

static void the_rate_is_a_divergence(void **state)
{
    (void)state;
    assert_float_equal(gate_evidence_rate(0.01, 0.01), 0, 1e-12);
    assert_true(gate_evidence_rate(0, 0.01) > 0.01);
    assert_true(isfinite(gate_evidence_rate(1, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expects_no_wealth_while_the_hypothesis_holds),
        cmocka_unit_test(expects_no_wealth_within_a_fixed_limit),
        cmocka_unit_test(finds_what_is_there),
        cmocka_unit_test(one_side_alone_tells_nothing),
        cmocka_unit_test(huge_counts_stay_numbers),
        cmocka_unit_test(a_cap_bounds_what_one_block_does),
        cmocka_unit_test(clumps_are_learned_from_blocks),
        cmocka_unit_test(the_rate_is_a_divergence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
