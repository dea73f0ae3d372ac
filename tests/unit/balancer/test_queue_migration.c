/*
 * What a share, a state or a group that helps out does to those who wait for a backend, while it changes.
 */
#include "tests/unit/balancer/waiting.h"

#include <stdlib.h>
#include <string.h>

#define CROWD 400u

/* A crowd before two full groups at a share; how many wait for the target. */
static unsigned crowd(struct routing *r, struct support_picker *picker, struct waiting_client *clients)
{
    for (unsigned n = 0; n < CROWD; n++) {
        support_client(picker, n);
        (void)waiting_arrive(r, picker, &clients[n]);
    }
    return waiting_count(r, 1);
}

static void everybody_hears(struct routing *r, struct support_picker *picker, struct waiting_client *clients)
{
    bool any = true;
    for (unsigned rounds = 0; any; rounds++) {
        any = false;
        for (unsigned n = 0; n < CROWD; n++) {
            support_client(picker, n);
            if (clients[n].wakes > 0) {
                (void)waiting_hear(r, picker, &clients[n]);
                any = true;
            }
        }
        assert_true(rounds < 10); /* it comes to rest */
    }
}

static void all_leave(struct routing *r, struct waiting_client *clients)
{
    for (unsigned n = 0; n < CROWD; n++) {
        if (clients[n].waits) {
            routing_wait_leave(r, &clients[n].waiter);
        } else if (clients[n].lease.backend != NULL) {
            waiting_go(r, &clients[n]);
        }
    }
    assert_int_equal(waiting_count(r, 0) + waiting_count(r, 1), 0);
    assert_int_equal(routing_open(r, 0) + routing_open(r, 1), 0);
}

static struct routing *migrating(enum config_assign assign, uint32_t share_bp)
{
    struct routing *r = waiting_routing(
        &(struct support_options){.assign = assign, .fallback = true, .groups = 2, .backends = {1, 1}}, 1,
        CROWD);
    routing_set_target(r, 1);
    routing_set_share(r, share_bp);
    support_publish(r);
    return r;
}

static void a_changed_share_moves_those_who_wait_one_way(void **state)
{
    (void)state;
    static struct waiting_client clients[CROWD];
    static const uint32_t shares[] = {2500, 5000, 4000, 10000, 1000, 0, 7500};
    for (int assign = CONFIG_ASSIGN_CONNECTION; assign <= CONFIG_ASSIGN_CLIENT; assign++) {
        struct routing *r = migrating((enum config_assign)assign, shares[0]);
        struct support_picker picker;
        support_picker_init(&picker, r, 0);
        unsigned target = crowd(r, &picker, clients);
        double due = CROWD * 0.25;
        assert_true(target > due * 0.75 && target < due * 1.3);
        for (size_t s = 1; s < sizeof(shares) / sizeof(shares[0]); s++) {
            bool was[CROWD];
            for (unsigned n = 0; n < CROWD; n++) {
                was[n] = clients[n].waits && clients[n].waiter.group == 1;
            }
            routing_set_share(r, shares[s]);
            support_publish(r);
            everybody_hears(r, &picker, clients);
            unsigned moved_against = 0;
            for (unsigned n = 0; n < CROWD; n++) {
                bool is = clients[n].waits && clients[n].waiter.group == 1;
                moved_against += clients[n].waits && is != was[n] && is != (shares[s] > shares[s - 1]);
            }
            assert_int_equal(moved_against, 0);
            due = (CROWD - 2) * (shares[s] / 10000.0);
            unsigned now = waiting_count(r, 1);
            assert_int_equal(waiting_count(r, 0) + now, CROWD - 2);
            assert_true(now >= due * 0.8 - 2 && now <= due * 1.2 + 2);
            /* In each queue they stand by arrival. */
            assert_true(shares[s] != 0 || now == 0);
            assert_true(shares[s] != 10000 || waiting_count(r, 0) == 0);
        }
        all_leave(r, clients);
        routing_destroy(r);
    }
}

static void an_abort_lets_those_who_wait_for_new_go_to_old(void **state)
{
    (void)state;
    static struct waiting_client clients[CROWD];
    struct routing *r = migrating(CONFIG_ASSIGN_CONNECTION, 5000);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    (void)crowd(r, &picker, clients);
    assert_int_equal(waiting_count(r, 1), CROWD / 2 - 1);
    routing_set_share(r, 0);
    routing_set_target(r, ROUTING_NONE);
    routing_set_limit(r, support_backend(r, 0, 0), 0);
    support_publish(r);
    everybody_hears(r, &picker, clients);
    assert_int_equal(waiting_count(r, 0) + waiting_count(r, 1), 0);
    assert_int_equal(routing_open(r, 0), CROWD - 1);
    all_leave(r, clients);
    routing_destroy(r);
}

/* Waiting draws no second ticket: of all connections together the target has its exact part, wherever those
 * that wait stand and however often they are woken. */
static void the_exact_share_counts_each_connection_once(void **state)
{
    (void)state;
    static struct waiting_client clients[CROWD];
    struct routing *r = migrating(CONFIG_ASSIGN_CONNECTION, 3000);
    struct support_picker picker;
    unsigned counts[2] = {0, 0};
    support_picker_init(&picker, r, 0);
    (void)crowd(r, &picker, clients);
    for (unsigned round = 0; waiting_count(r, 0) + waiting_count(r, 1) > 0; round++) {
        for (unsigned n = 0; n < CROWD; n++) {
            if (clients[n].lease.backend != NULL) {
                counts[clients[n].lease.group]++;
                waiting_go(r, &clients[n]);
            }
        }
        /* Publishing something else in between wakes nobody for nothing and moves nobody. */
        routing_set_weight(r, support_backend(r, 0, 0), 1 + round % 2);
        support_publish(r);
        everybody_hears(r, &picker, clients);
    }
    for (unsigned n = 0; n < CROWD; n++) {
        if (clients[n].lease.backend != NULL) {
            counts[clients[n].lease.group]++;
            waiting_go(r, &clients[n]);
        }
    }
    assert_int_equal(counts[0] + counts[1], CROWD);
    assert_int_equal(counts[1], CROWD * 3 / 10);
    routing_destroy(r);
}

static void with_fallback_when_full_room_in_the_other_group_counts(void **state)
{
    (void)state;
    struct routing *r = waiting_routing(
        &(struct support_options){
            .fallback = true, .fallback_when_full = true, .groups = 2, .backends = {1, 1}},
        1, 100);
    struct support_picker picker;
    struct waiting_client clients[4];
    routing_set_target(r, 1);
    routing_set_share(r, 10000);
    support_publish(r);
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 4; n++) {
        assert_int_equal(waiting_arrive(r, &picker, &clients[n]), n < 2 ? 0 : 1);
    }
    assert_int_equal(waiting_count(r, 1), 2); /* in the queue of its own */
    assert_true(clients[1].lease.spilled);
    waiting_go(r, &clients[1]);
    assert_int_equal(waiting_hear(r, &picker, &clients[2]), 0);
    assert_true(clients[2].lease.spilled);
    waiting_go(r, &clients[0]);
    assert_int_equal(waiting_hear(r, &picker, &clients[3]), 0);
    assert_false(clients[3].lease.spilled);
    waiting_go(r, &clients[2]);
    waiting_go(r, &clients[3]);
    routing_destroy(r);
}

/* The group that would help has nobody: no reason to wake anyone, again and again. */
static void a_helper_without_backends_wakes_nobody(void **state)
{
    (void)state;
    struct routing *r = waiting_routing(
        &(struct support_options){
            .fallback = true, .fallback_when_full = true, .groups = 2, .backends = {1, 1}},
        1, 100);
    struct support_picker picker;
    struct waiting_client clients[3];
    routing_set_target(r, 1);
    routing_set_share(r, 10000);
    support_all_states(r, 0, BACKEND_DOWN);
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(waiting_arrive(r, &picker, &clients[n]), n < 1 ? 0 : 1);
        assert_int_equal(clients[n].wakes, 0);
    }
    waiting_go(r, &clients[0]);
    assert_int_equal(clients[1].wakes, 1);
    assert_int_equal(clients[2].wakes, 0);
    assert_int_equal(waiting_hear(r, &picker, &clients[1]), 0);
    assert_int_equal(clients[2].wakes, 0);
    support_all_states(r, 0, BACKEND_UP);
    assert_int_equal(waiting_hear(r, &picker, &clients[2]), 0);
    assert_true(clients[2].lease.spilled);
    waiting_go(r, &clients[1]);
    waiting_go(r, &clients[2]);
    routing_destroy(r);
}

/* A group that comes into a panic hands over, or refuses, those who wait for it too. */
static void a_panic_counts_for_those_who_wait(void **state)
{
    (void)state;
    static const enum config_panic actions[] = {CONFIG_PANIC_OTHER_GROUP, CONFIG_PANIC_REFUSE};
    for (unsigned a = 0; a < 2; a++) {
        struct routing *r =
            waiting_routing(&(struct support_options){.fallback = true,
                                                      .panic = {.threshold_bp = 10000, .action = actions[a]},
                                                      .groups = 2,
                                                      .backends = {2, 2}},
                            1, 100);
        struct support_picker picker;
        struct waiting_client clients[4];
        routing_set_target(r, 1);
        routing_set_share(r, 10000);
        support_publish(r);
        support_picker_init(&picker, r, 0);
        for (unsigned n = 0; n < 4; n++) {
            assert_int_equal(waiting_arrive(r, &picker, &clients[n]), n < 2 ? 0 : 1);
        }
        routing_set_state(r, support_backend(r, 1, 0), BACKEND_DOWN);
        support_publish(r);
        bool refuses = actions[a] == CONFIG_PANIC_REFUSE;
        for (unsigned n = 2; n < 4; n++) {
            assert_int_equal(waiting_hear(r, &picker, &clients[n]), refuses ? ERR_UNAVAILABLE : 0);
        }
        assert_int_equal(waiting_count(r, 1), 0);
        assert_int_equal(routing_open(r, 0), refuses ? 0 : 2);
        for (unsigned n = 0; n < (refuses ? 2 : 4); n++) {
            waiting_go(r, &clients[n]);
        }
        routing_destroy(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_changed_share_moves_those_who_wait_one_way),
        cmocka_unit_test(an_abort_lets_those_who_wait_for_new_go_to_old),
        cmocka_unit_test(the_exact_share_counts_each_connection_once),
        cmocka_unit_test(with_fallback_when_full_room_in_the_other_group_counts),
        cmocka_unit_test(a_helper_without_backends_wakes_nobody),
        cmocka_unit_test(a_panic_counts_for_those_who_wait)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
