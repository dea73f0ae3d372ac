/*
 * Waiting for a backend with room: in order of arrival, nobody forgotten, nobody woken in vain by the dozen.
 */
#include "tests/unit/balancer/waiting.h"

#include <stdlib.h>
#include <string.h>

static void they_are_served_in_order_of_arrival_over_all_workers(void **state)
{
    (void)state;
    for (enum config_balance balance = 0; balance <= CONFIG_BALANCE_HASH; balance++) {
        struct routing *r =
            waiting_routing(&(struct support_options){.balance = balance, .backends = {2}}, 2, 100);
        struct support_picker pickers[2];
        static struct waiting_client clients[24];
        support_picker_init(&pickers[0], r, 0);
        support_picker_init(&pickers[1], r, 1);
        for (unsigned n = 0; n < 24; n++) {
            assert_int_equal(waiting_arrive(r, &pickers[n % 2], &clients[n]), n < 4 ? 0 : 1);
        }
        assert_int_equal(waiting_count(r, 0), 20);
        for (unsigned n = 0; n < 20; n++) {
            pickers[n % 2].input.now_us += CLOCK_US_PER_S;
            waiting_go(r, &clients[n]);
            for (unsigned m = 4; m < 24; m++) {
                assert_int_equal(clients[m].wakes, m == n + 4);
            }
            /* Somebody new cannot overtake, though there is room. */
            struct waiting_client late;
            assert_int_equal(waiting_arrive(r, &pickers[0], &late), 1);
            assert_int_equal(late.wakes, 0);
            routing_wait_leave(r, &late.waiter);
            assert_int_equal(waiting_hear(r, &pickers[n % 2], &clients[n + 4]), 0);
        }
        assert_int_equal(waiting_count(r, 0), 0);
        static struct routing_queue_reading reading;
        routing_queue_read(r, 0, &reading);
        assert_int_equal(reading.waited_us.count, 20);
        assert_true(reading.waited_us.sum_us > CLOCK_US_PER_S);
        for (unsigned n = 20; n < 24; n++) {
            waiting_go(r, &clients[n]);
        }
        assert_int_equal(waiting_arrive(r, &pickers[0], &clients[0]), 0);
        waiting_go(r, &clients[0]);
        routing_destroy(r);
    }
}

static void the_queue_is_bounded_and_the_bound_may_change(void **state)
{
    (void)state;
    struct routing *r = waiting_routing(&(struct support_options){.backends = {1}}, 1, 2);
    struct support_picker picker;
    struct waiting_client clients[6];
    support_picker_init(&picker, r, 0);
    assert_int_equal(waiting_arrive(r, &picker, &clients[0]), 0);
    assert_int_equal(waiting_arrive(r, &picker, &clients[1]), 1);
    assert_int_equal(waiting_arrive(r, &picker, &clients[2]), 1);
    assert_int_equal(waiting_arrive(r, &picker, &clients[3]), -1);
    routing_set_queue(r, 0, 3, 7 * CLOCK_US_PER_S);
    assert_int_equal(waiting_arrive(r, &picker, &clients[4]), 1);
    assert_int_equal(routing_wait_due_us(r, &clients[1].waiter), picker.input.now_us + 7 * CLOCK_US_PER_S);
    routing_set_queue(r, 0, 0, CLOCK_US_PER_S); /* those that are in it stay */
    assert_int_equal(waiting_arrive(r, &picker, &clients[5]), -1);
    assert_int_equal(waiting_count(r, 0), 3);
    waiting_go(r, &clients[0]);
    assert_int_equal(waiting_hear(r, &picker, &clients[1]), 0);
    routing_wait_leave(r, &clients[2].waiter);
    routing_wait_leave(r, &clients[4].waiter);
    assert_int_equal(waiting_count(r, 0), 0);
    waiting_go(r, &clients[1]);
    routing_destroy(r);
}

static void who_leaves_hands_the_word_on(void **state)
{
    (void)state;
    struct routing *r = waiting_routing(&(struct support_options){.backends = {1}}, 1, 100);
    struct support_picker picker;
    struct waiting_client clients[4];
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 4; n++) {
        (void)waiting_arrive(r, &picker, &clients[n]);
    }
    waiting_go(r, &clients[0]);
    assert_int_equal(clients[1].wakes, 1);
    routing_wait_leave(r, &clients[1].waiter); /* the word is on its way to nobody */
    clients[1].waits = false;
    assert_true(clients[1].waiter.woken);
    assert_int_equal(clients[2].wakes, 1);
    assert_int_equal(clients[3].wakes, 0);
    assert_int_equal(waiting_hear(r, &picker, &clients[1]), ERR_STATE);
    assert_int_equal(waiting_hear(r, &picker, &clients[2]), 0);
    assert_int_equal(clients[3].wakes, 0);
    waiting_go(r, &clients[2]);
    assert_int_equal(waiting_hear(r, &picker, &clients[3]), 0);
    waiting_go(r, &clients[3]);
    routing_destroy(r);
}

static void a_raised_limit_wakes_as_many_as_it_makes_room_for(void **state)
{
    (void)state;
    struct routing *r = waiting_routing(&(struct support_options){.backends = {2}}, 1, 100);
    struct support_picker picker;
    struct waiting_client clients[12];
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 12; n++) {
        assert_int_equal(waiting_arrive(r, &picker, &clients[n]), n < 2 ? 0 : 1);
    }
    routing_set_limit(r, support_backend(r, 0, 0), 4);
    support_publish(r);
    for (unsigned n = 2; n < 12; n++) {
        assert_int_equal(clients[n].wakes, n < 5);
    }
    for (unsigned n = 2; n < 5; n++) {
        assert_int_equal(waiting_hear(r, &picker, &clients[n]), 0);
        assert_int_equal(clients[5].wakes, 0);
    }
    /* An agent's word counts like the file's. */
    routing_set_agent_limit(r, support_backend(r, 0, 0), 2);
    routing_set_limit(r, support_backend(r, 0, 1), 0);
    support_publish(r);
    for (unsigned n = 5; n < 12; n++) {
        assert_int_equal(waiting_hear(r, &picker, &clients[n]), 0);
    }
    for (unsigned n = 0; n < 12; n++) {
        waiting_go(r, &clients[n]);
    }
    routing_destroy(r);
}

static void a_group_that_goes_down_tells_those_who_wait(void **state)
{
    (void)state;
    struct routing *r = waiting_routing(&(struct support_options){.backends = {2}}, 1, 100);
    struct support_picker picker;
    struct waiting_client clients[6];
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 6; n++) {
        (void)waiting_arrive(r, &picker, &clients[n]);
    }
    support_all_states(r, 0, BACKEND_DOWN);
    for (unsigned n = 2; n < 6; n++) {
        assert_int_equal(waiting_hear(r, &picker, &clients[n]), ERR_UNAVAILABLE);
    }
    assert_int_equal(waiting_count(r, 0), 0);
    waiting_go(r, &clients[0]);
    waiting_go(r, &clients[1]);
    routing_destroy(r);
}

static void one_that_tried_a_backend_waits_for_another(void **state)
{
    (void)state;
    struct routing *r = waiting_routing(&(struct support_options){.backends = {2}}, 1, 100);
    struct support_picker picker;
    struct waiting_client first;
    struct waiting_client second;
    struct waiting_client choosy;
    support_picker_init(&picker, r, 0);
    assert_int_equal(waiting_arrive(r, &picker, &first), 0);
    assert_int_equal(waiting_arrive(r, &picker, &choosy), 0);
    /* Connecting fails: what is left is full, and what has room it has tried. */
    struct backend *tried = choosy.lease.backend;
    lease_release(&choosy.lease, STATS_ERROR_CONNECT, 0);
    assert_int_equal(routing_pick(routing_view(r), &picker.input, &choosy.attempts, &choosy.lease),
                     ERR_LIMIT);
    assert_int_equal(routing_wait(r, &choosy.waiter, &choosy.attempts, picker.input.now_us), 0);
    choosy.waits = true;
    assert_int_equal(choosy.wakes, 0);
    /* It does not stand in the way of others. */
    assert_int_equal(waiting_arrive(r, &picker, &second), 1);
    assert_int_equal(choosy.wakes, 0);
    assert_int_equal(waiting_hear(r, &picker, &second), 0);
    assert_ptr_equal(second.lease.backend, tried);
    waiting_go(r, &second);
    assert_int_equal(choosy.wakes, 0);
    waiting_go(r, &first);
    assert_int_equal(waiting_hear(r, &picker, &choosy), 0);
    assert_ptr_not_equal(choosy.lease.backend, tried);
    waiting_go(r, &choosy);
    routing_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(they_are_served_in_order_of_arrival_over_all_workers),
                                       cmocka_unit_test(the_queue_is_bounded_and_the_bound_may_change),
                                       cmocka_unit_test(who_leaves_hands_the_word_on),
                                       cmocka_unit_test(a_raised_limit_wakes_as_many_as_it_makes_room_for),
                                       cmocka_unit_test(a_group_that_goes_down_tells_those_who_wait),
                                       cmocka_unit_test(one_that_tried_a_backend_waits_for_another)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
