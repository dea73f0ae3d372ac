/* The model, its publishing, and picks through groups, retries, backups and the other group. */
#include "core/clock.h"
#include "tests/unit/balancer/support.h"

#include <stdlib.h>
#include <string.h>

static void a_new_routing_is_as_documented(void **state)
{
    (void)state;
    struct routing *r = support_routing(&(struct support_options){.groups = 2, .backends = {2, 3}});
    assert_string_equal(routing_service(r), "web");
    assert_int_equal(routing_groups(r), 2);
    assert_int_equal(routing_find_group(r, "new"), 1);
    assert_int_equal(routing_find_group(r, "none"), ROUTING_NONE);
    assert_int_equal(routing_active(r), 0);
    assert_int_equal(routing_target(r), ROUTING_NONE);
    assert_int_equal(routing_share_bp(r), 0);
    assert_int_equal(routing_usable(r, 1), 3);
    struct backend *b = routing_find_backend(r, 1, "b2");
    assert_ptr_equal(b, routing_backend_at(r, 1, 2));
    assert_null(routing_find_backend(r, 1, "b3"));
    assert_int_equal(backend_state(b), BACKEND_UNKNOWN);
    assert_int_equal(backend_group(b), 1);
    assert_int_equal(backend_open(b), 0);
    routing_destroy(r);
}

static int try_create(const char *group, const char *first, const char *second, uint32_t weight)
{
    struct routing_backend_spec backends[2] = {{.name = first, .weight = weight}, {.name = second}};
    struct routing_group_spec groups[2] = {{.name = group, .backends = backends, .backends_len = 2},
                                           {.name = "new"}};
    struct routing_spec spec = {.service = "web", .workers = 1, .groups = groups, .groups_len = 2};
    struct routing *routing = NULL;
    struct err_text err;
    int rc = routing_create(&spec, &routing, &err);
    if (rc == 0) {
        routing_destroy(routing);
    } else {
        assert_true(strlen(err.text) > 0);
    }
    return rc;
}

static void bad_specifications_are_refused(void **state)
{
    (void)state;
    char name[ROUTING_NAME_MAX + 1];
    memset(name, 'x', sizeof(name));
    name[ROUTING_NAME_MAX] = '\0';
    assert_int_equal(try_create("old", "a", "b", ROUTING_WEIGHT_MAX), 0);
    assert_int_equal(try_create("old", "a", "a", 1), ERR_EXISTS);
    assert_int_equal(try_create("new", "a", "b", 1), ERR_EXISTS);
    assert_int_equal(try_create("old", "a", "", 1), ERR_INVALID);
    assert_int_equal(try_create("old", "a", "b", ROUTING_WEIGHT_MAX + 1), ERR_RANGE);
    assert_int_equal(try_create("old", "a", name, 1), ERR_RANGE);
    assert_int_equal(try_create("old", "a", name + 1, 1), 0);
    struct routing_spec none = {.service = "web", .workers = 1};
    struct routing *routing = NULL;
    assert_int_equal(routing_create(&none, &routing, NULL), ERR_INVALID);
}

static unsigned picks_of_group(struct support_picker *picker, unsigned n, uint32_t group)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++) {
        struct backend *backend = support_pick(picker);
        assert_non_null(backend);
        count += backend_group(backend) == group;
    }
    return count;
}

static void the_share_by_connection_is_exact_over_all_workers(void **state)
{
    (void)state;
    struct routing *r =
        support_routing(&(struct support_options){.groups = 2, .backends = {2, 2}, .workers = 3});
    routing_set_target(r, 1);
    routing_set_share(r, 2500);
    support_publish(r);
    struct support_picker pickers[3];
    for (unsigned w = 0; w < 3; w++) {
        support_picker_init(&pickers[w], r, w);
    }
    unsigned target = 0;
    for (unsigned n = 1; n <= 1000; n++) {
        target += picks_of_group(&pickers[n % 3], 1, 1);
        assert_true(target == n / 4 || target == (n + 3) / 4);
    }
    routing_set_share(r, 0);
    support_publish(r);
    assert_int_equal(picks_of_group(&pickers[0], 100, 1), 0);
    routing_set_share(r, 10000);
    support_publish(r);
    assert_int_equal(picks_of_group(&pickers[0], 100, 1), 100);
    /* Without a target the share means nothing. */
    routing_set_target(r, ROUTING_NONE);
    support_publish(r);
    assert_int_equal(picks_of_group(&pickers[0], 100, 1), 0);
    routing_destroy(r);
}

static void a_change_takes_effect_with_the_publish_only(void **state)
{
    (void)state;
    struct routing *r = support_routing(&(struct support_options){.groups = 2, .backends = {1, 1}});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    routing_set_active(r, 1);
    assert_int_equal(picks_of_group(&picker, 10, 1), 0);
    support_publish(r);
    assert_int_equal(picks_of_group(&picker, 10, 1), 10);
    /* A publish without a change keeps the view. */
    const struct routing_view *view = routing_view(r);
    routing_set_active(r, 1);
    routing_set_weight(r, support_backend(r, 0, 0), 1);
    support_publish(r);
    assert_ptr_equal(routing_view(r), view);
    routing_destroy(r);
}

static void clients_stay_and_raising_the_share_only_moves_them_to_the_target(void **state)
{
    (void)state;
    enum { CLIENTS = 2000 };
    static uint32_t group[CLIENTS];
    struct routing *r = support_routing(
        &(struct support_options){.groups = 2, .backends = {2, 2}, .assign = CONFIG_ASSIGN_CLIENT});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    memset(group, 0, sizeof(group));
    routing_set_target(r, 1);
    for (uint32_t share = 0; share <= 10000; share += 500) {
        routing_set_share(r, share);
        support_publish(r);
        unsigned target = 0;
        for (uint32_t n = 0; n < CLIENTS; n++) {
            support_client(&picker, n);
            uint32_t now = backend_group(support_pick(&picker));
            assert_int_equal(backend_group(support_pick(&picker)), now);
            assert_true(now >= group[n]);
            group[n] = now;
            target += now;
        }
        /* Five standard deviations of a binomial at its widest: 5 * sqrt(2000 / 4) = 112. */
        assert_in_range(target + 112, CLIENTS * share / 10000, CLIENTS * share / 10000 + 224);
    }
    routing_destroy(r);
}

static void unix_peers_are_counted_by_connection(void **state)
{
    (void)state;
    struct routing *r = support_routing(
        &(struct support_options){.groups = 2, .backends = {1, 1}, .assign = CONFIG_ASSIGN_CLIENT});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    routing_set_target(r, 1);
    routing_set_share(r, 1000);
    support_publish(r);
    assert_int_equal(picks_of_group(&picker, 1000, 1), 100);
    routing_destroy(r);
}

/* One connection that fails at every backend it is given; writes which it tried, in order. */
static unsigned try_all(struct support_picker *picker, struct backend **tried, struct lease *last)
{
    struct routing_attempts attempts;
    memset(&attempts, 0, sizeof(attempts));
    unsigned n = 0;
    struct lease lease;
    while (routing_pick(routing_view(picker->routing), &picker->input, &attempts, &lease) == 0) {
        assert_true(n < ROUTING_ATTEMPTS_MAX);
        tried[n] = lease.backend;
        for (unsigned i = 0; i < n; i++) {
            assert_ptr_not_equal(tried[i], tried[n]);
        }
        n++;
        *last = lease;
        lease_release(&lease, STATS_ERROR_CONNECT, picker->input.now_us);
    }
    assert_int_equal(attempts.count, n);
    return n;
}

static void a_retry_goes_through_group_backups_and_the_other_group(void **state)
{
    (void)state;
    for (unsigned balance = 0; balance <= CONFIG_BALANCE_HASH; balance++) {
        struct support_options options = {.balance = (enum config_balance)balance,
                                          .groups = 2,
                                          .backends = {4, 3},
                                          .backups = 1,
                                          .fallback = true};
        struct routing *r = support_routing(&options);
        struct support_picker picker;
        support_picker_init(&picker, r, 0);
        support_client(&picker, 77);
        struct backend *tried[ROUTING_ATTEMPTS_MAX];
        struct lease last;
        /* No migration runs: the other group is not for us. */
        assert_int_equal(try_all(&picker, tried, &last), 4);
        assert_false(last.spilled);
        assert_ptr_equal(tried[3], support_backend(r, 0, 3));
        routing_set_target(r, 1);
        routing_set_share(r, 10000);
        support_publish(r);
        assert_int_equal(try_all(&picker, tried, &last), 7);
        for (unsigned i = 0; i < 7; i++) {
            assert_int_equal(backend_group(tried[i]), i < 3 ? 1 : 0);
        }
        assert_ptr_equal(tried[2], support_backend(r, 1, 2));
        assert_ptr_equal(tried[6], support_backend(r, 0, 3));
        assert_true(last.spilled);
        assert_int_equal(last.group, 0);
        routing_destroy(r);
    }
}

static void without_fallback_the_group_keeps_its_connections(void **state)
{
    (void)state;
    struct routing *r = support_routing(&(struct support_options){.groups = 2, .backends = {2, 2}});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    routing_set_target(r, 1);
    routing_set_share(r, 10000);
    support_all_states(r, 1, BACKEND_DOWN);
    assert_null(support_pick(&picker));
    routing_destroy(r);
}

static void no_connection_tries_more_than_the_maximum(void **state)
{
    (void)state;
    for (unsigned balance = 0; balance <= CONFIG_BALANCE_HASH; balance++) {
        struct routing *r = support_routing(
            &(struct support_options){.balance = (enum config_balance)balance, .backends = {100}});
        struct support_picker picker;
        support_picker_init(&picker, r, 0);
        support_client(&picker, 5);
        struct backend *tried[ROUTING_ATTEMPTS_MAX];
        struct lease last;
        assert_int_equal(try_all(&picker, tried, &last), ROUTING_ATTEMPTS_MAX);
        routing_destroy(r);
    }
}

static void a_decision_for_a_group_that_left_the_split_is_made_anew(void **state)
{
    (void)state;
    struct routing *r =
        support_routing(&(struct support_options){.groups = 3, .backends = {1, 1, 1}, .fallback = true});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    routing_set_target(r, 1);
    routing_set_share(r, 10000);
    support_publish(r);
    struct routing_attempts attempts;
    memset(&attempts, 0, sizeof(attempts));
    struct lease lease;
    assert_int_equal(routing_pick(routing_view(r), &picker.input, &attempts, &lease), 0);
    assert_int_equal(lease.group, 1);
    lease_release(&lease, STATS_ERROR_CONNECT, 0);
    routing_set_target(r, ROUTING_NONE);
    support_publish(r);
    assert_int_equal(routing_pick(routing_view(r), &picker.input, &attempts, &lease), 0);
    assert_int_equal(lease.group, 0);
    assert_false(lease.spilled);
    lease_release(&lease, -1, 0);
    routing_destroy(r);
}

static void state_admin_and_weight_decide_who_is_usable(void **state)
{
    (void)state;
    struct routing *r = support_routing(&(struct support_options){.backends = {3}, .backups = 1});
    struct backend *a = support_backend(r, 0, 0);
    struct backend *b = support_backend(r, 0, 1);
    struct backend *backup = support_backend(r, 0, 2);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    assert_int_equal(routing_usable(r, 0), 2);
    for (unsigned i = 0; i < 10; i++) {
        assert_ptr_not_equal(support_pick(&picker), backup);
    }
    routing_set_admin(r, a, BACKEND_DRAIN);
    routing_set_state(r, b, BACKEND_STARTING);
    support_publish(r);
    assert_ptr_equal(support_pick(&picker), b);
    routing_set_admin(r, b, BACKEND_MAINT);
    support_publish(r);
    assert_int_equal(routing_usable(r, 0), 1);
    assert_ptr_equal(support_pick(&picker), backup);
    routing_set_weight(r, backup, 0);
    support_publish(r);
    assert_int_equal(routing_usable(r, 0), 0);
    assert_null(support_pick(&picker));
    routing_set_admin(r, a, BACKEND_READY);
    support_publish(r);
    assert_ptr_equal(support_pick(&picker), a);
    routing_destroy(r);
}

static void leases_count_and_their_sums_add_up(void **state)
{
    (void)state;
    struct routing *r = support_routing(&(struct support_options){.backends = {1}, .workers = 2});
    struct backend *backend = support_backend(r, 0, 0);
    struct support_picker pickers[2];
    struct lease leases[2];
    for (unsigned w = 0; w < 2; w++) {
        support_picker_init(&pickers[w], r, w);
        assert_non_null(support_pick_hold(&pickers[w], &leases[w]));
        lease_connected(&leases[w], 100 + w, CLOCK_US_PER_S);
        lease_turn_begin(&leases[w]);
        lease_turn_begin(&leases[w]);
        lease_turn_end(&leases[w], 1000, CLOCK_US_PER_S);
        lease_turn_begin(&leases[w]);
    }
    assert_int_equal(backend_open(backend), 2);
    assert_int_equal(routing_open(r, 0), 2);
    lease_release(&leases[0], -1, CLOCK_US_PER_S);
    lease_release(&leases[1], STATS_ERROR_ABORT, CLOCK_US_PER_S);
    assert_null(leases[0].backend);
    assert_int_equal(backend_open(backend), 0);
    static struct stats_backend_reading reading;
    backend_read(backend, &reading);
    assert_int_equal(reading.connections, 2);
    assert_int_equal(reading.turns, 2);
    assert_int_equal(reading.errors[STATS_ERROR_ABORT], 1);
    assert_int_equal(reading.errors[STATS_ERROR_CONNECT], 0);
    assert_int_equal(reading.connect_us.count, 2);
    assert_int_equal(reading.response_us.count, 2);
    routing_destroy(r);
}

struct parked {
    void *ptr;
    void (*destroy)(void *ptr);
    unsigned count;
};

static void park(void *context, void *ptr, void (*destroy)(void *ptr))
{
    struct parked *parked = context;
    if (parked->ptr != NULL) {
        parked->destroy(parked->ptr);
    }
    parked->ptr = ptr;
    parked->destroy = destroy;
    parked->count++;
}

static void a_lease_outlives_the_view_it_came_from(void **state)
{
    (void)state;
    struct parked parked = {.count = 0};
    struct routing *r = support_routing(
        &(struct support_options){.backends = {2}, .retire = park, .retire_context = &parked});
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    struct lease lease;
    struct backend *backend = support_pick_hold(&picker, &lease);
    for (unsigned i = 0; i < 10; i++) {
        routing_set_state(r, backend, i % 2 == 0 ? BACKEND_DOWN : BACKEND_UP);
        support_publish(r);
    }
    assert_int_equal(parked.count, 10);
    assert_int_equal(backend_open(backend), 1);
    lease_connected(&lease, 10, 0);
    lease_release(&lease, -1, 0);
    assert_int_equal(backend_open(backend), 0);
    /* What is parked may be destroyed after the routing. */
    routing_destroy(r);
    parked.destroy(parked.ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_routing_is_as_documented),
        cmocka_unit_test(bad_specifications_are_refused),
        cmocka_unit_test(the_share_by_connection_is_exact_over_all_workers),
        cmocka_unit_test(a_change_takes_effect_with_the_publish_only),
        cmocka_unit_test(clients_stay_and_raising_the_share_only_moves_them_to_the_target),
        cmocka_unit_test(unix_peers_are_counted_by_connection),
        cmocka_unit_test(a_retry_goes_through_group_backups_and_the_other_group),
        cmocka_unit_test(without_fallback_the_group_keeps_its_connections),
        cmocka_unit_test(no_connection_tries_more_than_the_maximum),
        cmocka_unit_test(a_decision_for_a_group_that_left_the_split_is_made_anew),
        cmocka_unit_test(state_admin_and_weight_decide_who_is_usable),
        cmocka_unit_test(leases_count_and_their_sums_add_up),
        cmocka_unit_test(a_lease_outlives_the_view_it_came_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
