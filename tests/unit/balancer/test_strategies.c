/* Every strategy: its distribution, and what must hold for all of them with none, one, all-down, a thousand.
 */
#include "core/clock.h"
#include "tests/unit/balancer/support.h"

#include <stdlib.h>
#include <string.h>

#define MANY 1000u
static struct routing *routing_of(enum config_balance balance, size_t backends, const uint32_t *weights)
{
    return support_routing(&(struct support_options){
        .balance = balance, .backends = {backends}, .weights = weights, .workers = 2});
}

static void none_down_or_weightless_is_unavailable(void **state)
{
    (void)state;
    for (enum config_balance balance = 0; balance <= CONFIG_BALANCE_HASH; balance++) {
        for (size_t backends = 0; backends <= MANY; backends = backends * 10 + (backends == 0)) {
            struct routing *r = routing_of(balance, backends, NULL);
            struct support_picker picker;
            support_picker_init(&picker, r, 0);
            support_client(&picker, 3);
            assert_true((support_pick(&picker) == NULL) == (backends == 0));
            support_all_states(r, 0, BACKEND_DOWN);
            assert_null(support_pick(&picker));
            support_all_states(r, 0, BACKEND_UP);
            for (size_t i = 0; i < backends; i++) {
                routing_set_weight(r, support_backend(r, 0, i), 0);
            }
            support_publish(r);
            assert_null(support_pick(&picker));
            assert_int_equal(routing_usable(r, 0), 0);
            assert_int_equal(routing_open(r, 0), 0);
            routing_destroy(r);
        }
    }
}

static void only_what_is_usable_is_picked(void **state)
{
    (void)state;
    static uint32_t weights[MANY];
    for (size_t i = 0; i < MANY; i++) {
        weights[i] = i % 3 == 0 ? 0 : i % 3 == 1 ? 1 : ROUTING_WEIGHT_MAX;
    }
    for (enum config_balance balance = 0; balance <= CONFIG_BALANCE_HASH; balance++) {
        struct routing *r = routing_of(balance, MANY, weights);
        for (size_t i = 0; i < MANY; i += 2) {
            routing_set_state(r, support_backend(r, 0, i), BACKEND_DOWN);
        }
        support_publish(r);
        struct support_picker picker;
        support_picker_init(&picker, r, 0);
        for (uint32_t n = 0; n < 5000; n++) {
            support_client(&picker, n);
            size_t i = support_index(r, support_pick(&picker));
            assert_true(i % 2 == 1 && i % 3 != 0);
        }
        /* The only one left is found at once, whatever its weight. */
        support_all_states(r, 0, BACKEND_DOWN);
        routing_set_state(r, support_backend(r, 0, 1), BACKEND_UP);
        support_publish(r);
        assert_ptr_equal(support_pick(&picker), support_backend(r, 0, 1));
        routing_destroy(r);
    }
}

static void weight_from_one_to_the_maximum_and_back(void **state)
{
    (void)state;
    for (enum config_balance balance = 0; balance <= CONFIG_BALANCE_HASH; balance++) {
        struct routing *r = routing_of(balance, 3, NULL);
        struct support_picker picker;
        support_picker_init(&picker, r, 0);
        static const uint32_t weights[] = {1, ROUTING_WEIGHT_MAX, 0, ROUTING_WEIGHT_MAX, 1};
        for (size_t w = 0; w < sizeof(weights) / sizeof(weights[0]); w++) {
            routing_set_weight(r, support_backend(r, 0, 1), weights[w]);
            support_publish(r);
            for (uint32_t n = 0; n < 1000; n++) {
                support_client(&picker, n);
                struct backend *backend = support_pick(&picker);
                assert_non_null(backend);
                assert_true(weights[w] > 0 || backend != support_backend(r, 0, 1));
            }
        }
        routing_destroy(r);
    }
}

static void round_robin_is_exact_over_workers_and_publishes(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 7, 0, 65535};
    struct routing *r = routing_of(CONFIG_BALANCE_ROUND_ROBIN, 4, weights);
    struct support_picker pickers[2];
    support_picker_init(&pickers[0], r, 0);
    support_picker_init(&pickers[1], r, 1);
    unsigned counts[4] = {0};
    for (unsigned n = 0; n < 300; n++) {
        counts[support_index(r, support_pick(&pickers[n % 2]))]++;
        /* Publishing in between does not start the rotation again. */
        routing_set_share(r, n + 1);
        support_publish(r);
        routing_set_state(r, support_backend(r, 0, 2), n % 2 == 0 ? BACKEND_DOWN : BACKEND_UP);
        support_publish(r);
    }
    assert_int_equal(counts[0], 100);
    assert_int_equal(counts[1], 100);
    assert_int_equal(counts[2], 0);
    assert_int_equal(counts[3], 100);
    routing_destroy(r);
}

/* Every window of one cycle, wherever it begins, has each backend as often as its weight says; and within the
 * cycle no backend strays from its due by more than `slack`. */
static void check_weighted(const uint32_t *weights, size_t len, unsigned cycle, double slack)
{
    struct routing *r = routing_of(CONFIG_BALANCE_WEIGHTED, len, weights);
    struct support_picker pickers[2];
    support_picker_init(&pickers[0], r, 0);
    support_picker_init(&pickers[1], r, 1);
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum += weights[i];
    }
    unsigned *counts = calloc(len, sizeof(*counts));
    assert_non_null(counts);
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned n = 1; n <= cycle; n++) {
            counts[support_index(r, support_pick(&pickers[n % 2]))]++;
            for (size_t i = 0; i < len && slack > 0; i++) {
                double due = (double)weights[i] * (((double)round - 1) * cycle + n) / (double)sum;
                assert_true((double)counts[i] - due < slack && due - (double)counts[i] < slack);
            }
        }
        for (size_t i = 0; i < len; i++) {
            assert_int_equal(counts[i], round * (uint64_t)weights[i] * cycle / sum);
        }
    }
    free(counts);
    routing_destroy(r);
}

static void weighted_is_exact_over_a_cycle_and_smooth_within(void **state)
{
    (void)state;
    static const uint32_t small[] = {5, 1, 1};
    static const uint32_t reducible[] = {10, 20, 30};
    static const uint32_t mixed[] = {1, 2, 3, 5, 8, 13, 21, 0, 34, 55};
    static const uint32_t extreme[] = {1, ROUTING_WEIGHT_MAX};
    static const uint32_t one[] = {7};
    check_weighted(small, 3, 7, 1.0);
    check_weighted(reducible, 3, 6, 1.0);
    check_weighted(mixed, 10, 142, 1.0);
    check_weighted(extreme, 2, 65536, 1.0);
    check_weighted(one, 1, 5, 1.0);
    static uint32_t many[MANY];
    unsigned sum = 0;
    for (unsigned i = 0; i < MANY; i++) {
        many[i] = 1 + i % 17;
        sum += many[i];
    }
    check_weighted(many, MANY, sum, 0);
    /* Too long a cycle for a schedule: 1 + 2 * 65535. The line strays with the logarithm of the cycle: less
     * than log2(131071) / 4 over an arc's two ends. */
    static const uint32_t large[] = {1, ROUTING_WEIGHT_MAX, ROUTING_WEIGHT_MAX};
    check_weighted(large, 3, 131071, 4.25);
}

static void weighted_does_not_serve_the_heavy_one_in_one_go(void **state)
{
    (void)state;
    static const uint32_t weights[] = {3, 1, 1, 1};
    struct routing *r = routing_of(CONFIG_BALANCE_WEIGHTED, 4, weights);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    unsigned run = 0;
    for (unsigned n = 0; n < 60; n++) {
        run = support_index(r, support_pick(&picker)) == 0 ? run + 1 : 0;
        assert_true(run <= 2);
    }
    routing_destroy(r);
}

static void least_connections_keeps_open_in_proportion_to_weight(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 2, 4, 0};
    enum { HELD = 700 };
    static struct lease leases[HELD];
    struct routing *r = routing_of(CONFIG_BALANCE_LEAST_CONNECTIONS, 4, weights);
    struct support_picker pickers[2];
    support_picker_init(&pickers[0], r, 0);
    support_picker_init(&pickers[1], r, 1);
    for (unsigned n = 0; n < HELD; n++) {
        assert_non_null(support_pick_hold(&pickers[n % 2], &leases[n]));
    }
    assert_in_range(backend_open(support_backend(r, 0, 0)), 99, 101);
    assert_in_range(backend_open(support_backend(r, 0, 1)), 199, 201);
    assert_in_range(backend_open(support_backend(r, 0, 2)), 399, 401);
    /* Whoever gets free is next. */
    struct backend *freed = leases[350].backend;
    for (unsigned n = 0; n < HELD; n++) {
        if (leases[n].backend == freed) {
            lease_release(&leases[n], -1, 0);
        }
    }
    assert_ptr_equal(support_pick(&pickers[0]), freed);
    for (unsigned n = 0; n < HELD; n++) {
        if (leases[n].backend != NULL) {
            lease_release(&leases[n], -1, 0);
        }
    }
    assert_int_equal(routing_open(r, 0), 0);
    routing_destroy(r);
}

static void least_connections_finds_the_minimum_of_a_thousand_and_rotates_ties(void **state)
{
    (void)state;
    static struct lease leases[2 * MANY];
    struct routing *r = routing_of(CONFIG_BALANCE_LEAST_CONNECTIONS, MANY, NULL);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    /* Each backend once, then each a second time: ties never pile up. */
    for (unsigned n = 0; n < 2 * MANY; n++) {
        struct backend *backend = support_pick_hold(&picker, &leases[n]);
        assert_int_equal(backend_open(backend), 1 + n / MANY);
    }
    struct backend *least = leases[123].backend;
    lease_release(&leases[123], -1, 0);
    assert_ptr_equal(support_pick(&picker), least);
    for (unsigned n = 0; n < 2 * MANY; n++) {
        if (leases[n].backend != NULL) {
            lease_release(&leases[n], -1, 0);
        }
    }
    routing_destroy(r);
}

/* One connection with one turn that takes as long as `speed_us` says for the backend chosen. Time passes. */
static size_t serve(struct support_picker *picker, const uint64_t *speed_us)
{
    struct lease lease;
    struct backend *backend = support_pick_hold(picker, &lease);
    assert_non_null(backend);
    size_t i = support_index(picker->routing, backend);
    lease_connected(&lease, 50, picker->input.now_us);
    lease_turn_begin(&lease);
    picker->input.now_us += 1000;
    lease_turn_end(&lease, speed_us[i], picker->input.now_us);
    lease_release(&lease, -1, picker->input.now_us);
    return i;
}

static void least_latency_prefers_the_fast_and_tries_the_slow_again(void **state)
{
    (void)state;
    for (size_t backends = 2; backends <= 10; backends += 4) {
        uint64_t speed_us[10];
        for (size_t i = 0; i < backends; i++) {
            speed_us[i] = 1000;
        }
        speed_us[1] = 50000;
        struct routing *r = routing_of(CONFIG_BALANCE_LEAST_LATENCY, backends, NULL);
        struct support_picker picker;
        support_picker_init(&picker, r, 0);
        unsigned slow = 0;
        for (unsigned n = 0; n < 5000; n++) { /* five seconds */
            slow += serve(&picker, speed_us) == 1;
        }
        assert_in_range(slow, 1, 10);
        /* It recovers; within ten seconds it has its part again. */
        speed_us[1] = 500;
        for (unsigned n = 0; n < 10000; n++) {
            (void)serve(&picker, speed_us);
        }
        slow = 0;
        for (unsigned n = 0; n < 1000; n++) {
            slow += serve(&picker, speed_us) == 1;
        }
        assert_true(slow >= 1000 / backends / 2);
        routing_destroy(r);
    }
}

static void least_latency_does_not_flood_what_has_not_answered(void **state)
{
    (void)state;
    enum { BURST = 100 };
    static struct lease leases[BURST];
    uint64_t speed_us[] = {1000, 1000, 1000};
    struct routing *r = routing_of(CONFIG_BALANCE_LEAST_LATENCY, 3, NULL);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    routing_set_state(r, support_backend(r, 0, 2), BACKEND_DOWN);
    support_publish(r);
    for (unsigned n = 0; n < 200; n++) {
        (void)serve(&picker, speed_us);
    }
    routing_set_state(r, support_backend(r, 0, 2), BACKEND_UP);
    support_publish(r);
    /* A burst, before any of it answers: the new one gets its first, not all. */
    for (unsigned n = 0; n < BURST; n++) {
        assert_non_null(support_pick_hold(&picker, &leases[n]));
    }
    assert_in_range(backend_open(support_backend(r, 0, 2)), 1, 5);
    assert_in_range(backend_open(support_backend(r, 0, 0)), 40, 60);
    for (unsigned n = 0; n < BURST; n++) {
        lease_release(&leases[n], -1, picker.input.now_us);
    }
    routing_destroy(r);
}

static void least_latency_shuns_what_refuses_quickly(void **state)
{
    (void)state;
    struct routing *r = routing_of(CONFIG_BALANCE_LEAST_LATENCY, 2, NULL);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    unsigned refused = 0;
    for (unsigned n = 0; n < 2000; n++) {
        struct lease lease;
        struct backend *backend = support_pick_hold(&picker, &lease);
        if (backend == support_backend(r, 0, 0)) {
            refused++;
            lease_release(&lease, STATS_ERROR_CONNECT, picker.input.now_us);
        } else {
            lease_connected(&lease, 20000, picker.input.now_us);
            lease_release(&lease, -1, picker.input.now_us);
        }
        picker.input.now_us += 1000;
    }
    assert_in_range(refused, 1, 20);
    routing_destroy(r);
}

static void least_latency_of_equals_follows_the_weights_under_load(void **state)
{
    (void)state;
    enum { HELD = 1400 };
    static struct lease leases[HELD];
    static const uint32_t weights[] = {1, 2, 4, 1, 2, 4};
    uint64_t speed_us[] = {1000, 1000, 1000, 1000, 1000, 1000};
    struct routing *r = routing_of(CONFIG_BALANCE_LEAST_LATENCY, 6, weights);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 1000; n++) {
        (void)serve(&picker, speed_us);
    }
    for (unsigned n = 0; n < HELD; n++) {
        assert_non_null(support_pick_hold(&picker, &leases[n]));
    }
    for (unsigned i = 0; i < 6; i++) {
        assert_in_range(backend_open(support_backend(r, 0, i)), weights[i] * 80, weights[i] * 125);
    }
    for (unsigned n = 0; n < HELD; n++) {
        lease_release(&leases[n], -1, picker.input.now_us);
    }
    routing_destroy(r);
}

static void hash_moves_only_the_clients_of_what_leaves(void **state)
{
    (void)state;
    enum { CLIENTS = 5000, BACKENDS = 10 };
    static size_t home[CLIENTS];
    struct routing *r = routing_of(CONFIG_BALANCE_HASH, BACKENDS, NULL);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    for (uint32_t n = 0; n < CLIENTS; n++) {
        support_client(&picker, n);
        home[n] = support_index(r, support_pick(&picker));
    }
    for (size_t gone = 0; gone < BACKENDS; gone++) {
        unsigned moved_to[BACKENDS] = {0};
        routing_set_state(r, support_backend(r, 0, gone), BACKEND_DOWN);
        support_publish(r);
        for (uint32_t n = 0; n < CLIENTS; n++) {
            support_client(&picker, n);
            size_t now = support_index(r, support_pick(&picker));
            assert_true(home[n] == gone ? now != gone : now == home[n]);
            moved_to[now] += home[n] == gone;
        }
        /* And they spread: no other takes more than half of them. */
        for (size_t i = 0; i < BACKENDS; i++) {
            assert_true(moved_to[i] < CLIENTS / BACKENDS / 2);
        }
        routing_set_state(r, support_backend(r, 0, gone), BACKEND_UP);
        support_publish(r);
    }
    for (uint32_t n = 0; n < CLIENTS; n++) {
        support_client(&picker, n);
        assert_int_equal(support_index(r, support_pick(&picker)), home[n]);
    }
    routing_destroy(r);
}

static void hash_respects_weights_and_a_heavier_one_only_gains(void **state)
{
    (void)state;
    enum { CLIENTS = 40000 };
    static size_t home[CLIENTS];
    static const uint32_t weights[] = {1, 2, 4, 0};
    struct routing *r = routing_of(CONFIG_BALANCE_HASH, 4, weights);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    unsigned counts[4] = {0};
    for (uint32_t n = 0; n < CLIENTS; n++) {
        support_client(&picker, n);
        home[n] = support_index(r, support_pick(&picker));
        counts[home[n]]++;
    }
    /* A member with k of N points has a part of the ring with a relative deviation near 1 / sqrt(k): of the
     * 128, 256 and 512 points here 8.8 %, 6.3 % and 4.4 %; three of them. */
    assert_in_range(counts[0], CLIENTS / 7 * 74 / 100, CLIENTS / 7 * 126 / 100);
    assert_in_range(counts[1], CLIENTS * 2 / 7 * 81 / 100, CLIENTS * 2 / 7 * 119 / 100);
    assert_in_range(counts[2], CLIENTS * 4 / 7 * 87 / 100, CLIENTS * 4 / 7 * 113 / 100);
    assert_int_equal(counts[3], 0);
    routing_set_weight(r, support_backend(r, 0, 0), 2);
    support_publish(r);
    for (uint32_t n = 0; n < CLIENTS; n++) {
        support_client(&picker, n);
        size_t now = support_index(r, support_pick(&picker));
        assert_true(now == home[n] || now == 0);
    }
    routing_destroy(r);
}

static void hash_and_share_by_client_are_independent(void **state)
{
    (void)state;
    struct routing *r = support_routing(&(struct support_options){
        .balance = CONFIG_BALANCE_HASH, .assign = CONFIG_ASSIGN_CLIENT, .groups = 2, .backends = {4, 4}});
    routing_set_target(r, 1);
    routing_set_share(r, 1000);
    support_publish(r);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    unsigned counts[4] = {0};
    for (uint32_t n = 0; n < 40000; n++) {
        support_client(&picker, n);
        struct backend *backend = support_pick(&picker);
        if (backend_group(backend) == 1) {
            counts[support_index(r, backend)]++;
        }
    }
    /* A tenth of the clients, spread over the whole ring of the target: 1000 each, +- 30 %. */
    for (unsigned i = 0; i < 4; i++) {
        assert_in_range(counts[i], 700, 1300);
    }
    /* Peers without an address take turns. */
    memset(&picker.input.client, 0, sizeof(picker.input.client));
    unsigned seen = 0;
    routing_set_share(r, 0);
    support_publish(r);
    for (unsigned i = 0; i < 4; i++) {
        seen |= 1u << support_index(r, support_pick(&picker));
    }
    assert_int_equal(seen, 15);
    routing_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_down_or_weightless_is_unavailable),
        cmocka_unit_test(only_what_is_usable_is_picked),
        cmocka_unit_test(weight_from_one_to_the_maximum_and_back),
        cmocka_unit_test(round_robin_is_exact_over_workers_and_publishes),
        cmocka_unit_test(weighted_is_exact_over_a_cycle_and_smooth_within),
        cmocka_unit_test(weighted_does_not_serve_the_heavy_one_in_one_go),
        cmocka_unit_test(least_connections_keeps_open_in_proportion_to_weight),
        cmocka_unit_test(least_connections_finds_the_minimum_of_a_thousand_and_rotates_ties),
        cmocka_unit_test(least_latency_prefers_the_fast_and_tries_the_slow_again),
        cmocka_unit_test(least_latency_does_not_flood_what_has_not_answered),
        cmocka_unit_test(least_latency_shuns_what_refuses_quickly),
        cmocka_unit_test(least_latency_of_equals_follows_the_weights_under_load),
        cmocka_unit_test(hash_moves_only_the_clients_of_what_leaves),
        cmocka_unit_test(hash_respects_weights_and_a_heavier_one_only_gains),
        cmocka_unit_test(hash_and_share_by_client_are_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
