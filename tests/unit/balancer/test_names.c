/* assign = "sni" and connections whose group is given: names stay on their side, and a route holds. */
#include "tests/unit/balancer/support.h"

#include <stdio.h>
#include <string.h>

enum { NAMES = 2000 };

static struct backend *pick_name(struct support_picker *picker, uint32_t number)
{
    static char name[64];
    (void)snprintf(name, sizeof(name), "host-%u.example.com", number);
    picker->input.server_name = name;
    return support_pick(picker);
}

static void names_stay_and_raising_the_share_only_moves_them_to_the_target(void **state)
{
    (void)state;
    static uint32_t group[NAMES];
    struct routing *r = support_routing(
        &(struct support_options){.groups = 2, .backends = {2, 2}, .assign = CONFIG_ASSIGN_SNI});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    routing_set_target(r, 1);
    for (uint32_t share = 0; share <= 10000; share += 500) {
        routing_set_share(r, share);
        support_publish(r);
        unsigned target = 0;
        for (uint32_t n = 0; n < NAMES; n++) {
            support_client(&picker, n * 7919 + share); /* whoever asks */
            uint32_t now = backend_group(pick_name(&picker, n));
            assert_true(now >= group[n]);
            group[n] = now;
            target += now;
        }
        /* Five standard deviations of a binomial at its widest: 5 * sqrt(2000 / 4) = 112. */
        assert_in_range(target + 112, NAMES * share / 10000, NAMES * share / 10000 + 224);
    }
    routing_destroy(r);
}

/* Without a name the client's address counts, without that connections do. */
static void who_asks_for_no_name_is_split_by_address(void **state)
{
    (void)state;
    struct routing *r = support_routing(
        &(struct support_options){.groups = 2, .backends = {1, 1}, .assign = CONFIG_ASSIGN_SNI});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    routing_set_target(r, 1);
    routing_set_share(r, 5000);
    support_publish(r);
    unsigned target = 0;
    for (uint32_t n = 0; n < NAMES; n++) {
        support_client(&picker, n);
        uint32_t first = backend_group(support_pick(&picker));
        assert_int_equal(backend_group(support_pick(&picker)), first);
        target += first;
    }
    assert_in_range(target, NAMES / 2 - 112, NAMES / 2 + 112);
    memset(&picker.input.client, 0, sizeof(picker.input.client));
    target = 0;
    for (uint32_t n = 0; n < NAMES; n++) {
        target += backend_group(support_pick(&picker));
    }
    assert_int_equal(target, NAMES / 2);
    routing_destroy(r);
}

static void the_hash_goes_by_the_name(void **state)
{
    (void)state;
    struct routing *r = support_routing(&(struct support_options){
        .balance = CONFIG_BALANCE_HASH, .assign = CONFIG_ASSIGN_SNI, .backends = {4}});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    unsigned counts[4] = {0};
    for (uint32_t n = 0; n < NAMES; n++) {
        support_client(&picker, n);
        struct backend *backend = pick_name(&picker, n);
        support_client(&picker, n + NAMES);
        assert_ptr_equal(pick_name(&picker, n), backend);
        counts[support_index(r, backend)]++;
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_in_range(counts[i], NAMES / 4 - 150, NAMES / 4 + 150);
    }
    routing_destroy(r);
}

/* With any other assignment a name changes nothing. */
static void names_do_not_count_elsewhere(void **state)
{
    (void)state;
    struct routing *r = support_routing(&(struct support_options){
        .balance = CONFIG_BALANCE_HASH, .assign = CONFIG_ASSIGN_CLIENT, .backends = {4}});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    for (uint32_t n = 0; n < 100; n++) {
        support_client(&picker, n);
        picker.input.server_name = NULL;
        struct backend *backend = support_pick(&picker);
        assert_ptr_equal(pick_name(&picker, n), backend);
    }
    routing_destroy(r);
}

static int pick_fixed(struct support_picker *picker, uint32_t group, struct lease *lease)
{
    struct routing_attempts attempts;
    memset(&attempts, 0, sizeof(attempts));
    attempts.fixed = true;
    attempts.group = group;
    return routing_pick(routing_view(picker->routing), &picker->input, &attempts, lease);
}

static void a_given_group_is_neither_the_splits_nor_helped_out(void **state)
{
    (void)state;
    struct routing *r =
        support_routing(&(struct support_options){.groups = 3, .backends = {1, 1, 1}, .fallback = true});
    struct support_picker picker;
    struct lease lease;
    support_picker_init(&picker, r, 0);
    routing_set_target(r, 1);
    for (uint32_t share = 0; share <= 10000; share += 5000) {
        routing_set_share(r, share);
        support_publish(r);
        for (uint32_t g = 0; g < 3; g++) {
            assert_int_equal(pick_fixed(&picker, g, &lease), 0);
            assert_int_equal(lease.group, g);
            assert_int_equal(backend_group(lease.backend), g);
            assert_false(lease.spilled);
            lease_release(&lease, -1, 0);
        }
    }
    support_all_states(r, 0, BACKEND_DOWN);
    assert_int_equal(pick_fixed(&picker, 0, &lease), ERR_UNAVAILABLE);
    assert_int_equal(pick_fixed(&picker, 3, &lease), ERR_UNAVAILABLE); /* not known to this view */
    assert_int_equal(pick_fixed(&picker, ROUTING_NONE, &lease), ERR_UNAVAILABLE);
    routing_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_stay_and_raising_the_share_only_moves_them_to_the_target),
        cmocka_unit_test(who_asks_for_no_name_is_split_by_address),
        cmocka_unit_test(the_hash_goes_by_the_name),
        cmocka_unit_test(names_do_not_count_elsewhere),
        cmocka_unit_test(a_given_group_is_neither_the_splits_nor_helped_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
