/*
 * Steering by open connections, under a clock that jumps: a service whose connections come and go is
 * simulated second by second, with the split by Bresenham's line as in the balancer.
 */
#include "migration/steer.h"

#include "balancer/share.h"
#include "core/clock.h"
#include "core/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct service {
    struct steer steer;
    struct random_state random;
    uint64_t now_us, arrivals;
    double life_s; /* mean; exponential lives, so the chance to end is the same each second */
    uint32_t open[2];
    uint32_t share_bp, highest_bp, lowest_bp;
    uint64_t ticket;
    double live, highest_live, lowest_live;
};

static void begin(struct service *s, uint32_t open_on_old, double life_s)
{
    *s = (struct service){.now_us = CLOCK_US_PER_S, .life_s = life_s, .open = {open_on_old, 0}};
    s->lowest_bp = UINT32_MAX;
    s->lowest_live = 1.0;
    random_seed(&s->random, 7);
    steer_begin(&s->steer);
}

static double chance(struct service *s)
{
    return (double)(random_next(&s->random) >> 11) * 0x1p-53;
}

/* One second: some end, per_second come, then it is looked at. */
static void second(struct service *s, unsigned per_second, uint32_t aim_bp, uint32_t limit_bp)
{
    struct steer_input input = {.aim_bp = aim_bp, .limit_bp = limit_bp};

    for (int group = 0; group < 2; group++) {
        for (uint32_t i = s->open[group]; i > 0; i--) {
            s->open[group] -= chance(s) * s->life_s < 1.0;
        }
    }
    for (unsigned i = 0; i < per_second; i++) {
        s->open[share_ticket_to_target(s->ticket++, 0, s->share_bp)]++;
        s->arrivals++;
    }
    s->now_us += CLOCK_US_PER_S;
    input.now_us = s->now_us;
    input.open = s->open[0] + s->open[1];
    input.open_target = s->open[1];
    input.arrivals = s->arrivals;
    s->share_bp = steer_look(&s->steer, &input);
    s->live = input.open == 0 ? 0.0 : (double)input.open_target / (double)input.open;
    s->highest_bp = s->share_bp > s->highest_bp ? s->share_bp : s->highest_bp;
    s->lowest_bp = s->share_bp < s->lowest_bp ? s->share_bp : s->lowest_bp;
    s->highest_live = s->live > s->highest_live ? s->live : s->highest_live;
    s->lowest_live = s->live < s->lowest_live ? s->live : s->lowest_live;
}

static void run(struct service *s, unsigned seconds, unsigned per_second, uint32_t aim_bp, uint32_t limit_bp)
{
    s->highest_bp = 0;
    s->lowest_bp = UINT32_MAX;
    s->highest_live = 0.0;
    s->lowest_live = 1.0;
    for (unsigned i = 0; i < seconds; i++) {
        second(s, per_second, aim_bp, limit_bp);
    }
}

/* 1000 connections of an hour, 5 new ones a second: by the plain share 25 % would take hours. */
static void long_lived_connections_reach_the_aim_and_stay(void **state)
{
    struct service s;
    double before = 0.0;

    (void)state;
    begin(&s, 1000, 3600);
    for (int i = 0; i < 120; i++) { /* on the way it only rises, but for one that ends */
        second(&s, 5, 2500, 10000);
        assert_true(s.live >= before - 0.004);
        before = s.live > before ? s.live : before;
    }
    assert_true(s.live > 0.24);
    assert_true(s.highest_bp == 10000);
    run(&s, 3600, 5, 2500, 10000);
    assert_true(s.lowest_live > 0.24 && s.highest_live < 0.26);
    run(&s, 1500, 5, 5000, 10000); /* the next step; there are thousands open by now */
    assert_true(s.live > 0.49 && s.highest_live < 0.51);
}

static void without_steering_it_would_take_hours(void **state)
{
    struct service s;

    (void)state;
    begin(&s, 1000, 3600);
    s.share_bp = 2500;
    for (int i = 0; i < 120; i++) { /* the same, with the share left alone */
        second(&s, 5, 2500, 2500);
    }
    assert_true(s.live < 0.12);
}

static void short_connections_get_the_plain_share(void **state)
{
    struct service s;

    (void)state;
    begin(&s, 50, 1.5);
    run(&s, 300, 100, 2500, 10000);
    assert_int_equal(s.lowest_bp, 2500);
    assert_int_equal(s.highest_bp, 2500);
}

static void the_limit_bounds_what_new_connections_get(void **state)
{
    struct service s;

    (void)state;
    begin(&s, 1000, 3600);
    run(&s, 600, 5, 1000, 4000);
    assert_int_equal(s.highest_bp, 4000);
    assert_true(s.live > 0.09 && s.highest_live < 0.11);
    run(&s, 60, 5, 6000, 4000); /* a limit below the step is the step */
    assert_int_equal(s.highest_bp, 6000);
}

static void above_its_aim_the_target_still_gets_some(void **state)
{
    struct service s;

    (void)state;
    begin(&s, 1000, 3600);
    run(&s, 300, 10, 2000, 10000);
    s.open[0] /= 4; /* the old side is restarted: the live share is far above */
    run(&s, 1, 10, 2000, 10000);
    assert_true(s.live > 0.4);
    assert_int_equal(s.share_bp, 200);
    run(&s, 600, 10, 2000, 10000);
    assert_true(s.live > 0.18 && s.live < 0.22);
}

static void a_rush_of_arrivals_does_not_overshoot(void **state)
{
    struct service s;

    (void)state;
    begin(&s, 2000, 3600);
    run(&s, 60, 2, 3000, 10000);
    run(&s, 30, 200, 3000, 10000);
    assert_true(s.highest_live < 0.36);
    run(&s, 120, 200, 3000, 10000);
    assert_true(s.live > 0.28 && s.live < 0.32);
    run(&s, 600, 0, 3000, 10000); /* and none at all: nothing runs away */
    assert_true(s.live > 0.26 && s.live < 0.34);
}

static void at_the_end_all_go_to_the_target(void **state)
{
    struct service s;

    (void)state;
    begin(&s, 1000, 3600);
    run(&s, 10, 5, 10000, 5000);
    assert_int_equal(s.lowest_bp, 10000);
}

static void with_nothing_open_the_share_is_the_aim(void **state)
{
    struct steer steer;
    struct steer_input input = {.now_us = 1, .aim_bp = 100, .limit_bp = 10000};

    (void)state;
    steer_begin(&steer);
    assert_int_equal(steer_look(&steer, &input), 100);
    input.aim_bp = 700; /* another aim is taken up at once */
    assert_int_equal(steer_look(&steer, &input), 700);
}

static void between_two_looks_nothing_changes(void **state)
{
    struct steer steer;
    struct steer_input input = {.now_us = CLOCK_US_PER_S, .aim_bp = 1000, .limit_bp = 10000};

    (void)state;
    steer_begin(&steer);
    assert_int_equal(steer_look(&steer, &input), 1000);
    input.open = 100;
    input.now_us += STEER_EVERY_US - 1;
    assert_int_equal(steer_look(&steer, &input), 1000);
    input.now_us++;
    assert_int_equal(steer_look(&steer, &input), 10000);
}

/* Whatever the counters say, also when they fall or the clock stands still. */
static void it_stays_within_its_bounds(void **state)
{
    struct random_state random;
    struct steer steer;

    (void)state;
    random_seed(&random, 11);
    steer_begin(&steer);
    for (int i = 0; i < 100000; i++) {
        struct steer_input input = {.now_us = random_next(&random) >> (random_next(&random) % 64),
                                    .aim_bp = 1 + (uint32_t)(random_next(&random) % 10000),
                                    .limit_bp = (uint32_t)(random_next(&random) % 10001),
                                    .open = random_next(&random) >> (random_next(&random) % 64),
                                    .arrivals = random_next(&random) >> (random_next(&random) % 64)};
        uint32_t high = input.limit_bp > input.aim_bp ? input.limit_bp : input.aim_bp;
        uint32_t low = input.aim_bp / STEER_FLOOR_PARTS;
        uint32_t share;

        input.open_target = input.open == 0 ? 0 : random_next(&random) % input.open;
        share = steer_look(&steer, &input);
        assert_in_range(share, low == 0 ? 1 : low, high);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_lived_connections_reach_the_aim_and_stay),
        cmocka_unit_test(without_steering_it_would_take_hours),
        cmocka_unit_test(short_connections_get_the_plain_share),
        cmocka_unit_test(the_limit_bounds_what_new_connections_get),
        cmocka_unit_test(above_its_aim_the_target_still_gets_some),
        cmocka_unit_test(a_rush_of_arrivals_does_not_overshoot),
        cmocka_unit_test(at_the_end_all_go_to_the_target),
        cmocka_unit_test(with_nothing_open_the_share_is_the_aim),
        cmocka_unit_test(between_two_looks_nothing_changes),
        cmocka_unit_test(it_stays_within_its_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
