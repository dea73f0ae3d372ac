/*
 * Slow start with a clock of the test's own: a backend that comes back has a share that rises steadily to its
 * due and never above it, whatever the strategy; and who comes back is told from who was never away.
 */
#include "tests/unit/balancer/support.h"

#include <stdlib.h>
#include <string.h>

#define RAMP_US (30 * CLOCK_US_PER_S)
#define TICK_US (RAMP_US / 60) /* of the test's clock */
#define BALANCES (CONFIG_BALANCE_HASH + 1)
#define BACKENDS_MOST 12u

struct starts {
    unsigned heard;
};

static void on_starting(void *context)
{
    ((struct starts *)context)->heard++;
}

static struct routing *routing_of(enum config_balance balance, size_t backends, struct starts *starts)
{
    return support_routing(&(struct support_options){.balance = balance,
                                                     .backends = {backends},
                                                     .slow_start_us = RAMP_US,
                                                     .starting = on_starting,
                                                     .starting_context = starts});
}

static void to(struct routing *r, size_t index, enum backend_state state)
{
    routing_set_state(r, support_backend(r, 0, index), state);
    support_publish(r);
}

static void tick(struct routing *r, uint64_t now_us)
{
    (void)routing_slow_start(r, now_us);
    support_publish(r);
}

/* ---- the share */

#define PICKS 1500u /* in one tick */

struct play {
    struct routing *routing;
    struct support_picker picker;
    struct lease *leases; /* a ring: the oldest goes when a new one comes */
    unsigned open, at;
    uint32_t client;
    unsigned counts[BACKENDS_MOST];
};

/* One connection comes, connects, has its turn under way, and the oldest one ends. */
static void one_more(struct play *play)
{
    struct lease *lease = &play->leases[play->at];
    struct support_picker *picker = &play->picker;
    picker->input.now_us += TICK_US / PICKS;
    if (lease->backend != NULL) {
        lease_turn_end(lease, 1000, picker->input.now_us);
        lease_release(lease, -1, picker->input.now_us);
    }
    support_client(picker, play->client++ * UINT32_C(2654435761));
    struct backend *backend = support_pick_hold(picker, lease);
    assert_non_null(backend);
    lease_connected(lease, 1000, picker->input.now_us);
    lease_turn_begin(lease);
    play->counts[support_index(play->routing, backend)]++;
    play->at = (play->at + 1) % play->open;
}

/* The part of the picks of a tick that the first backend got. */
static double share(struct play *play)
{
    memset(play->counts, 0, sizeof(play->counts));
    for (unsigned n = 0; n < PICKS; n++) {
        one_more(play);
    }
    return (double)play->counts[0] / PICKS;
}

static void play_begin(struct play *play, struct routing *r, unsigned open)
{
    memset(play, 0, sizeof(*play));
    play->routing = r;
    play->open = open;
    play->leases = calloc(open, sizeof(*play->leases));
    assert_non_null(play->leases);
    support_picker_init(&play->picker, r, 0);
}

static void play_end(struct play *play)
{
    for (unsigned i = 0; i < play->open; i++) {
        if (play->leases[i].backend != NULL) {
            lease_release(&play->leases[i], -1, play->picker.input.now_us);
        }
    }
    free(play->leases);
    routing_destroy(play->routing);
}

static double due_at(double part, size_t backends)
{
    return part / (part + (double)backends - 1.0);
}

/* One flap: down for so long, back, and the ramp tick by tick. */
static void flap(struct play *play, size_t backends, uint64_t down_us, enum config_balance balance)
{
    struct routing *r = play->routing;
    double fair = 1.0 / (double)backends;
    double sums[6] = {0};
    to(r, 0, BACKEND_DOWN);
    for (uint64_t us = 0; us < down_us; us += TICK_US) {
        if (us % (10 * TICK_US) == 0) {
            assert_true(share(play) == 0.0);
        } else {
            play->picker.input.now_us += TICK_US;
        }
        tick(r, play->picker.input.now_us);
    }
    to(r, 0, BACKEND_UP);
    assert_int_equal(backend_state(support_backend(r, 0, 0)), BACKEND_STARTING);
    for (unsigned t = 0; t < 60; t++) {
        tick(r, play->picker.input.now_us);
        assert_true(backend_slow_start_percent(support_backend(r, 0, 0)) < 100);
        double now = share(play);
        /* No spike at any time: never above what it will have at the end, nor far above what is due. Of a few
         * members the fastest of least-latency may have more than its weight says, ramp or not. */
        double most = balance == CONFIG_BALANCE_LEAST_LATENCY ? 1.6 * fair : 1.25 * fair;
        assert_true(now < most + 0.02);
        assert_true(now < 2.0 * due_at((t + 1) / 60.0, backends) + 0.05);
        sums[t / 10] += now / 10.0;
    }
    for (unsigned s = 0; s < 6; s++) {
        assert_true(s == 0 || sums[s] > sums[s - 1]); /* it rises */
    }
    assert_true(sums[0] < 0.35 * fair);
    assert_true(sums[5] > 0.6 * fair);
    tick(r, play->picker.input.now_us + TICK_US);
    assert_int_equal(backend_state(support_backend(r, 0, 0)), BACKEND_UP);
    assert_int_equal(backend_slow_start_percent(support_backend(r, 0, 0)), 100);
    double after = 0.0;
    for (unsigned t = 0; t < 10; t++) {
        after += share(play) / 10.0;
    }
    assert_true(after > 0.75 * fair && after < 1.5 * fair);
}

static void the_share_rises_steadily_whatever_the_strategy(void **state)
{
    (void)state;
    static const size_t sizes[] = {2, 5, BACKENDS_MOST};
    static const unsigned opens[] = {2, 600};
    for (enum config_balance balance = 0; balance < BALANCES; balance++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            for (size_t o = 0; o < sizeof(opens) / sizeof(opens[0]); o++) {
                struct starts starts = {0};
                struct play play;
                play_begin(&play, routing_of(balance, sizes[s], &starts), opens[o]);
                support_all_states(play.routing, 0, BACKEND_UP);
                (void)share(&play);
                flap(&play, sizes[s], RAMP_US / 10, balance); /* away for less than the ramp */
                flap(&play, sizes[s], 2 * RAMP_US, balance);  /* and for more */
                assert_int_equal(starts.heard, 2);
                play_end(&play);
            }
        }
    }
}

/* By hash a client that has come to the one that starts stays there: it only gains. */
static void by_hash_its_clients_come_one_by_one_and_stay(void **state)
{
    (void)state;
    struct starts starts = {0};
    struct routing *r = routing_of(CONFIG_BALANCE_HASH, 5, &starts);
    struct support_picker picker;
    static bool there[4000];
    static const struct backend *home[4000];
    support_picker_init(&picker, r, 0);
    support_all_states(r, 0, BACKEND_UP);
    for (uint32_t n = 0; n < 4000; n++) {
        support_client(&picker, n);
        home[n] = support_pick(&picker);
        there[n] = false;
    }
    to(r, 0, BACKEND_DOWN);
    to(r, 0, BACKEND_UP);
    for (uint64_t us = 0; us <= RAMP_US; us += TICK_US) {
        tick(r, picker.input.now_us + us);
        for (uint32_t n = 0; n < 4000; n++) {
            support_client(&picker, n);
            const struct backend *backend = support_pick(&picker);
            bool is = backend == support_backend(r, 0, 0);
            assert_true(is || !there[n]);
            assert_true(is || backend == home[n] || home[n] == support_backend(r, 0, 0));
            there[n] = is;
        }
    }
    for (uint32_t n = 0; n < 4000; n++) {
        support_client(&picker, n);
        assert_ptr_equal(support_pick(&picker), home[n]);
    }
    routing_destroy(r);
}

/* ---- who comes back */

static bool starts_slowly(struct routing *r, size_t index)
{
    return backend_slow_start_percent(support_backend(r, 0, index)) < 100;
}

static void who_was_not_away_has_no_slow_start(void **state)
{
    (void)state;
    struct starts starts = {0};
    struct routing *r = routing_of(CONFIG_BALANCE_ROUND_ROBIN, 4, &starts);
    /* At the start of the program: up from the first check on; down only until it has proven itself; down by
     * its first check, and then back. */
    to(r, 0, BACKEND_UP);
    routing_assume_state(r, support_backend(r, 0, 1), BACKEND_DOWN);
    to(r, 1, BACKEND_UP);
    routing_assume_state(r, support_backend(r, 0, 2), BACKEND_DOWN);
    to(r, 2, BACKEND_DOWN);
    assert_int_equal(starts.heard, 0);
    assert_false(starts_slowly(r, 0) || starts_slowly(r, 1) || starts_slowly(r, 2));
    to(r, 2, BACKEND_UP);
    assert_true(starts_slowly(r, 2));
    assert_int_equal(starts.heard, 1);
    /* Drained and back, or without weight for a while: it was there and warm. */
    routing_set_admin(r, support_backend(r, 0, 0), BACKEND_DRAIN);
    routing_set_admin(r, support_backend(r, 0, 0), BACKEND_READY);
    routing_set_weight(r, support_backend(r, 0, 0), 0);
    routing_set_weight(r, support_backend(r, 0, 0), 1);
    assert_false(starts_slowly(r, 0));
    /* In maintenance anything may have happened to it. */
    routing_set_admin(r, support_backend(r, 0, 0), BACKEND_MAINT);
    routing_set_admin(r, support_backend(r, 0, 0), BACKEND_READY);
    assert_true(starts_slowly(r, 0));
    /* So with one that was ejected, or forced down. */
    struct backend_ejection ejection = {.out = true};
    routing_set_ejection(r, support_backend(r, 0, 1), &ejection);
    assert_false(starts_slowly(r, 1));
    ejection.out = false;
    routing_set_ejection(r, support_backend(r, 0, 1), &ejection);
    assert_true(starts_slowly(r, 1));
    routing_set_forced(r, support_backend(r, 0, 3), BACKEND_FORCED_DOWN);
    routing_set_forced(r, support_backend(r, 0, 3), BACKEND_AUTO);
    assert_true(starts_slowly(r, 3));
    routing_destroy(r);
}

static void a_flap_within_the_ramp_begins_it_anew(void **state)
{
    (void)state;
    struct starts starts = {0};
    struct routing *r = routing_of(CONFIG_BALANCE_WEIGHTED, 2, &starts);
    support_all_states(r, 0, BACKEND_UP);
    to(r, 0, BACKEND_DOWN);
    to(r, 0, BACKEND_UP);
    assert_true(routing_slow_start(r, 1000)); /* its time begins now */
    assert_true(routing_slow_start(r, 1000 + RAMP_US / 2));
    uint32_t half = backend_slow_start_percent(support_backend(r, 0, 0));
    assert_true(half >= 48 && half <= 52);
    to(r, 0, BACKEND_DOWN);
    assert_false(routing_slow_start(r, 1000 + RAMP_US / 2));
    to(r, 0, BACKEND_UP);
    assert_true(routing_slow_start(r, 2 * RAMP_US));
    assert_true(backend_slow_start_percent(support_backend(r, 0, 0)) <= 1);
    assert_true(routing_slow_start(r, 3 * RAMP_US - 1));
    assert_false(routing_slow_start(r, 3 * RAMP_US));
    assert_false(starts_slowly(r, 0));
    /* A clock that reads less than before does no harm. */
    to(r, 0, BACKEND_DOWN);
    to(r, 0, BACKEND_UP);
    assert_true(routing_slow_start(r, 4 * RAMP_US));
    assert_true(routing_slow_start(r, 3 * RAMP_US));
    assert_true(backend_slow_start_percent(support_backend(r, 0, 0)) <= 1);
    support_publish(r);
    routing_destroy(r);
}

static void all_that_come_back_together_share_evenly(void **state)
{
    (void)state;
    for (enum config_balance balance = 0; balance < BALANCES; balance++) {
        struct starts starts = {0};
        struct play play;
        play_begin(&play, routing_of(balance, 3, &starts), 30);
        support_all_states(play.routing, 0, BACKEND_DOWN);
        support_all_states(play.routing, 0, BACKEND_UP);
        tick(play.routing, play.picker.input.now_us);
        double first = share(&play);
        assert_true(first > 0.2 && first < 0.45);
        /* And one alone takes all that there is, however cold. */
        to(play.routing, 1, BACKEND_DOWN);
        to(play.routing, 2, BACKEND_DOWN);
        assert_true(share(&play) == 1.0);
        play_end(&play);
    }
}

static void limits_and_extreme_weights_hold_meanwhile(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, ROUTING_WEIGHT_MAX, 7, ROUTING_WEIGHT_MAX};
    for (enum config_balance balance = 0; balance < BALANCES; balance++) {
        struct starts starts = {0};
        struct routing *r = support_routing(&(struct support_options){.balance = balance,
                                                                      .backends = {4},
                                                                      .weights = weights,
                                                                      .slow_start_us = RAMP_US,
                                                                      .starting = on_starting,
                                                                      .starting_context = &starts});
        struct support_picker picker;
        struct lease leases[8];
        support_picker_init(&picker, r, 0);
        for (size_t i = 0; i < 4; i++) {
            routing_set_limit(r, support_backend(r, 0, i), 2);
        }
        support_all_states(r, 0, BACKEND_UP);
        to(r, 1, BACKEND_DOWN);
        to(r, 1, BACKEND_UP);
        tick(r, picker.input.now_us);
        for (unsigned n = 0; n < 8; n++) {
            support_client(&picker, n);
            assert_non_null(support_pick_hold(&picker, &leases[n]));
        }
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(backend_open(support_backend(r, 0, i)), 2);
        }
        for (unsigned n = 0; n < 8; n++) {
            lease_release(&leases[n], -1, 0);
        }
        routing_destroy(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_share_rises_steadily_whatever_the_strategy),
                                       cmocka_unit_test(by_hash_its_clients_come_one_by_one_and_stay),
                                       cmocka_unit_test(who_was_not_away_has_no_slow_start),
                                       cmocka_unit_test(a_flap_within_the_ramp_begins_it_anew),
                                       cmocka_unit_test(all_that_come_back_together_share_evenly),
                                       cmocka_unit_test(limits_and_extreme_weights_hold_meanwhile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
