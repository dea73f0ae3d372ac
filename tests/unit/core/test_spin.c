/* The policy of looking before sleeping, with times made up. */
#include "core/spin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LOOK_US 100u
#define WAKE_US 50u /* what a sleep adds to the wait */

struct outcome {
    unsigned looks, hits, sleeps;
    uint64_t wasted_us; /* spent in looks that found nothing */
};

/* One wait as a worker would live through it: gap_us until the next events come, so many at once. */
static void wait_once(struct spin_state *spin, struct outcome *out, uint64_t gap_us, uint32_t events)
{
    if (spin_should_look(spin)) {
        out->looks++;
        if (gap_us < LOOK_US) {
            out->hits++;
            spin_found(spin, gap_us, events);
            return;
        }
        out->wasted_us += LOOK_US;
        spin_missed(spin);
        assert_false(spin_should_look(spin)); /* or a worker would never sleep */
    }
    out->sleeps++;
    spin_slept(spin, gap_us + WAKE_US, events);
}

static struct outcome waits(struct spin_state *spin, unsigned n, uint64_t gap_us, uint32_t events)
{
    struct outcome out = {0};
    for (unsigned i = 0; i < n; i++) {
        wait_once(spin, &out, gap_us, events);
    }
    return out;
}

static void a_lone_round_trip_is_looked_for(void **state)
{
    struct spin_state spin;
    (void)state;
    spin_init(&spin, LOOK_US);
    assert_false(spin_should_look(&spin));
    struct outcome out = waits(&spin, 10000, 25, 1);
    assert_true(out.hits > 9900);
    assert_int_equal(out.looks, out.hits);
}

static void nothing_is_looked_for_when_switched_off(void **state)
{
    struct spin_state spin;
    (void)state;
    spin_init(&spin, 0);
    assert_int_equal(waits(&spin, 1000, 10, 1).looks, 0);
}

static void rare_events_are_slept_for(void **state)
{
    struct spin_state spin;
    (void)state;
    spin_init(&spin, LOOK_US);
    assert_int_equal(waits(&spin, 10000, 1000000, 1).looks, 0);
}

static void when_traffic_ends_one_look_is_wasted(void **state)
{
    struct spin_state spin;
    (void)state;
    spin_init(&spin, LOOK_US);
    (void)waits(&spin, 100, 25, 1);
    struct outcome out = waits(&spin, 1000, 1000000, 1);
    assert_int_equal(out.looks, 1);
    /* And when it comes back, looking soon does too. */
    assert_true(waits(&spin, 100, 25, 1).hits > 90);
}

/* A client that thinks between short exchanges: long and short waits in turn are not worth a look. */
static void long_and_short_waits_in_turn(void **state)
{
    struct spin_state spin;
    struct outcome out = {0};
    (void)state;
    spin_init(&spin, LOOK_US);
    for (unsigned i = 0; i < 1000; i++) {
        wait_once(&spin, &out, i % 2 ? 10000 : 25, 1);
    }
    assert_int_equal(out.looks, 0);
}

/* Waits a little too long for a look, but short enough as sleeps: each miss makes the next look dearer. */
static void looks_that_never_find_anything_die_out(void **state)
{
    struct spin_state spin;
    (void)state;
    spin_init(&spin, LOOK_US);
    struct outcome out = waits(&spin, 100000, 120, 1);
    /* 100000 waits of 170 us last 17 s. */
    assert_true(out.looks < 150);
    assert_true(out.wasted_us < 17000000 / 1000);
}

static void an_odd_miss_does_not_end_good_luck(void **state)
{
    struct spin_state spin;
    struct outcome out = {0};
    (void)state;
    spin_init(&spin, LOOK_US);
    for (unsigned i = 0; i < 10000; i++) {
        wait_once(&spin, &out, i % 100 == 99 ? 900 : 25, 1);
    }
    assert_true(out.hits > 8500);
}

static void a_crowd_is_slept_for(void **state)
{
    struct spin_state spin;
    (void)state;
    spin_init(&spin, LOOK_US);
    assert_int_equal(waits(&spin, 10000, 3, 12).looks, 0);
}

/* While a worker looks, a crowd's events come one by one. A sleep now and then tells. */
static void a_crowd_is_noticed_while_looking(void **state)
{
    struct spin_state spin;
    struct outcome out = {0};
    (void)state;
    spin_init(&spin, LOOK_US);
    (void)waits(&spin, 100, 25, 1);
    for (unsigned i = 0; i < 10000; i++) {
        wait_once(&spin, &out, 3, spin_should_look(&spin) ? 1 : 12);
    }
    assert_true(out.looks <= 512);
    /* A crowd in one look tells at once. */
    spin_init(&spin, LOOK_US);
    (void)waits(&spin, 100, 25, 1);
    assert_true(spin_should_look(&spin));
    spin_found(&spin, 3, 12);
    assert_false(spin_should_look(&spin));
}

/* Others had the processor while the worker looked. */
static void a_hit_that_took_too_long_is_a_miss(void **state)
{
    struct spin_state spin;
    (void)state;
    spin_init(&spin, LOOK_US);
    (void)waits(&spin, 4, 25, 1);
    assert_true(spin_should_look(&spin));
    spin_found(&spin, 3000, 1);
    assert_false(spin_should_look(&spin));
}

static void sleeps_that_end_without_traffic_tell_nothing(void **state)
{
    struct spin_state spin;
    (void)state;
    spin_init(&spin, LOOK_US);
    for (unsigned i = 0; i < 1000; i++) {
        spin_slept(&spin, 0, 0);
    }
    assert_false(spin_should_look(&spin));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_round_trip_is_looked_for),
        cmocka_unit_test(nothing_is_looked_for_when_switched_off),
        cmocka_unit_test(rare_events_are_slept_for),
        cmocka_unit_test(when_traffic_ends_one_look_is_wasted),
        cmocka_unit_test(long_and_short_waits_in_turn),
        cmocka_unit_test(looks_that_never_find_anything_die_out),
        cmocka_unit_test(an_odd_miss_does_not_end_good_luck),
        cmocka_unit_test(a_crowd_is_slept_for),
        cmocka_unit_test(a_crowd_is_noticed_while_looking),
        cmocka_unit_test(a_hit_that_took_too_long_is_a_miss),
        cmocka_unit_test(sleeps_that_end_without_traffic_tell_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
