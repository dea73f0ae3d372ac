/*
 * Limits on the connections of a backend: never one more, over all workers; who is full is passed over; and
 * every strategy comes back when all are full.
 */
#include "tests/unit/balancer/support.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MANY 1000u
#define BALANCES (CONFIG_BALANCE_HASH + 1)

static struct routing *routing_of(enum config_balance balance, size_t backends, uint32_t limit)
{
    struct routing *r =
        support_routing(&(struct support_options){.balance = balance, .backends = {backends}, .workers = 4});
    for (size_t i = 0; i < backends; i++) {
        routing_set_limit(r, support_backend(r, 0, i), limit);
    }
    support_publish(r);
    return r;
}

/* One pick of a new connection; what came back. */
static int pick(struct support_picker *picker, struct routing_attempts *attempts, struct lease *lease)
{
    memset(attempts, 0, sizeof(*attempts));
    return routing_pick(routing_view(picker->routing), &picker->input, attempts, lease);
}

static void every_strategy_fills_all_and_then_says_so(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 7, 50, MANY};
    static struct lease leases[3 * MANY];
    for (enum config_balance balance = 0; balance < BALANCES; balance++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            size_t room = 3 * sizes[s];
            struct routing *r = routing_of(balance, sizes[s], 3);
            struct support_picker picker;
            struct routing_attempts attempts;
            support_picker_init(&picker, r, 0);
            for (size_t n = 0; n < room; n++) {
                support_client(&picker, (uint32_t)n / 2); /* by hash two come to the same */
                assert_int_equal(pick(&picker, &attempts, &leases[n]), 0);
            }
            for (size_t i = 0; i < sizes[s]; i++) {
                assert_int_equal(backend_open(support_backend(r, 0, i)), 3);
            }
            struct lease none;
            for (uint32_t n = 0; n < 10; n++) {
                support_client(&picker, n);
                assert_int_equal(pick(&picker, &attempts, &none), ERR_LIMIT);
                assert_int_equal(attempts.full, 0);
                assert_int_equal(attempts.count, 0);
                assert_null(none.backend);
            }
            /* The one that is given back is the one that is found. */
            struct backend *freed = leases[room / 2].backend;
            lease_release(&leases[room / 2], -1, 0);
            assert_int_equal(pick(&picker, &attempts, &leases[room / 2]), 0);
            assert_ptr_equal(leases[room / 2].backend, freed);
            for (size_t n = 0; n < room; n++) {
                lease_release(&leases[n], -1, 0);
            }
            assert_int_equal(routing_open(r, 0), 0);
            routing_destroy(r);
        }
    }
}

static void full_and_weightless_and_down_together(void **state)
{
    (void)state;
    static const uint32_t weights[] = {0, 1, ROUTING_WEIGHT_MAX, 5};
    for (enum config_balance balance = 0; balance < BALANCES; balance++) {
        struct routing *r = support_routing(
            &(struct support_options){.balance = balance, .backends = {4}, .weights = weights, .workers = 1});
        struct support_picker picker;
        struct routing_attempts attempts;
        struct lease lease[2];
        support_picker_init(&picker, r, 0);
        routing_set_limit(r, support_backend(r, 0, 1), 1);
        routing_set_limit(r, support_backend(r, 0, 2), 1);
        routing_set_state(r, support_backend(r, 0, 3), BACKEND_DOWN);
        support_publish(r);
        assert_int_equal(pick(&picker, &attempts, &lease[0]), 0);
        assert_int_equal(pick(&picker, &attempts, &lease[1]), 0);
        assert_ptr_not_equal(lease[0].backend, lease[1].backend);
        struct lease none;
        assert_int_equal(pick(&picker, &attempts, &none), ERR_LIMIT);
        support_all_states(r, 0, BACKEND_DOWN);
        assert_int_equal(pick(&picker, &attempts, &none), ERR_UNAVAILABLE);
        lease_release(&lease[0], -1, 0);
        lease_release(&lease[1], -1, 0);
        routing_destroy(r);
    }
}

static void one_without_limit_takes_what_the_others_cannot(void **state)
{
    (void)state;
    static struct lease leases[600];
    for (enum config_balance balance = 0; balance < BALANCES; balance++) {
        struct routing *r = routing_of(balance, 3, 10);
        struct support_picker picker;
        struct routing_attempts attempts;
        support_picker_init(&picker, r, 0);
        routing_set_limit(r, support_backend(r, 0, 1), 0);
        support_publish(r);
        for (uint32_t n = 0; n < 600; n++) {
            support_client(&picker, n);
            assert_int_equal(pick(&picker, &attempts, &leases[n]), 0);
        }
        assert_int_equal(backend_open(support_backend(r, 0, 0)), 10);
        assert_int_equal(backend_open(support_backend(r, 0, 1)), 580);
        assert_int_equal(backend_open(support_backend(r, 0, 2)), 10);
        for (size_t n = 0; n < 600; n++) {
            lease_release(&leases[n], -1, 0);
        }
        routing_destroy(r);
    }
}

/* Who has room keeps the proportions among themselves: what a full one would have got is not all given to its
 * neighbour. */
static void what_a_full_one_would_get_is_spread(void **state)
{
    (void)state;
    static const enum config_balance balances[] = {CONFIG_BALANCE_ROUND_ROBIN, CONFIG_BALANCE_WEIGHTED,
                                                   CONFIG_BALANCE_LEAST_LATENCY, CONFIG_BALANCE_HASH};
    for (size_t b = 0; b < sizeof(balances) / sizeof(balances[0]); b++) {
        struct routing *r = routing_of(balances[b], 5, 0);
        struct support_picker picker;
        struct routing_attempts attempts;
        struct lease held;
        unsigned counts[5] = {0};
        support_picker_init(&picker, r, 0);
        routing_set_limit(r, support_backend(r, 0, 2), 1);
        support_publish(r);
        do { /* until the one with the limit is full; the others are given back */
            support_client(&picker, random_below(&picker.random, 1000000));
            assert_int_equal(pick(&picker, &attempts, &held), 0);
            if (held.backend != support_backend(r, 0, 2)) {
                lease_release(&held, -1, picker.input.now_us);
            }
        } while (backend_open(support_backend(r, 0, 2)) == 0);
        for (uint32_t n = 0; n < 8000; n++) {
            struct lease lease;
            support_client(&picker, n);
            picker.input.now_us += 1000;
            assert_int_equal(pick(&picker, &attempts, &lease), 0);
            lease_connected(&lease, 100, picker.input.now_us);
            counts[support_index(r, lease.backend)]++;
            lease_release(&lease, -1, picker.input.now_us);
        }
        assert_int_equal(counts[2], 0);
        for (size_t i = 0; i < 5; i++) {
            assert_true(i == 2 || (counts[i] > 1500 && counts[i] < 2600));
        }
        lease_release(&held, -1, 0);
        routing_destroy(r);
    }
}

static void a_full_group_stays_its_own_unless_told_otherwise(void **state)
{
    (void)state;
    for (unsigned spill = 0; spill < 2; spill++) {
        struct routing *r = support_routing(&(struct support_options){
            .fallback = true, .fallback_when_full = spill, .groups = 2, .backends = {2, 2}, .backups = 1});
        struct support_picker picker;
        struct routing_attempts attempts;
        struct lease lease[3];
        support_picker_init(&picker, r, 0);
        routing_set_limit(r, support_backend(r, 1, 0), 1);
        routing_set_limit(r, support_backend(r, 0, 0), 1);
        routing_set_target(r, 1);
        routing_set_share(r, 10000);
        support_publish(r);
        assert_int_equal(pick(&picker, &attempts, &lease[0]), 0);
        assert_int_equal(lease[0].group, 1);
        /* A backup is for when the others are gone, not for when they are full. */
        int rc = pick(&picker, &attempts, &lease[1]);
        assert_int_equal(attempts.full, 1);
        assert_int_equal(rc, spill ? 0 : ERR_LIMIT);
        if (spill) {
            assert_int_equal(lease[1].group, 0);
            assert_true(lease[1].spilled);
            assert_int_equal(pick(&picker, &attempts, &lease[2]), ERR_LIMIT);
            assert_int_equal(attempts.full, 1); /* it belongs there */
            lease_release(&lease[1], -1, 0);
        }
        /* A group that is down does hand over, and then waits where it was sent. */
        support_all_states(r, 1, BACKEND_DOWN);
        assert_int_equal(pick(&picker, &attempts, &lease[1]), 0);
        assert_int_equal(lease[1].group, 0);
        assert_int_equal(pick(&picker, &attempts, &lease[2]), ERR_LIMIT);
        assert_int_equal(attempts.full, 0);
        lease_release(&lease[0], -1, 0);
        lease_release(&lease[1], -1, 0);
        routing_destroy(r);
    }
}

static void of_the_operator_and_the_agent_the_lower_counts(void **state)
{
    (void)state;
    struct routing *r = routing_of(CONFIG_BALANCE_ROUND_ROBIN, 1, 0);
    struct backend *backend = support_backend(r, 0, 0);
    assert_int_equal(backend_limit_effective(backend), 0);
    routing_set_agent_limit(r, backend, 30);
    assert_int_equal(backend_limit_effective(backend), 30);
    assert_int_equal(backend_limit(backend), 0);
    routing_set_limit(r, backend, 20);
    assert_int_equal(backend_limit_effective(backend), 20);
    routing_set_agent_limit(r, backend, 10);
    assert_int_equal(backend_limit_effective(backend), 10);
    routing_set_agent_limit(r, backend, 0);
    assert_int_equal(backend_limit_effective(backend), 20);
    routing_destroy(r);
}

/* ---- over all workers */

#define THREADS 4u
#define LIMIT 5u
#define BACKENDS 3u
#define ROUNDS 20000u
#define HELD                                                                                                 \
    16u /* by each: more than there are, so that one alone, for want of processors, meets the limit too */

struct racer {
    const struct routing *routing;
    _Atomic uint32_t *holding; /* by backend */
    _Atomic bool *broken;
    unsigned worker;
    uint64_t served, full;
    pthread_t id;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct support_picker picker;
    struct routing_attempts attempts;
    struct lease held[HELD];
    memset(held, 0, sizeof(held));
    support_picker_init(&picker, racer->routing, racer->worker);
    for (uint32_t n = 0; n < ROUNDS; n++) {
        struct lease *lease = &held[n % HELD];
        support_client(&picker, n * THREADS + racer->worker);
        if (lease->backend != NULL) {
            atomic_fetch_sub(&racer->holding[support_index(racer->routing, lease->backend)], 1);
            lease_release(lease, -1, picker.input.now_us);
        }
        if (pick(&picker, &attempts, lease) != 0) {
            racer->full++;
            continue;
        }
        racer->served++;
        if (atomic_fetch_add(&racer->holding[support_index(racer->routing, lease->backend)], 1) >= LIMIT) {
            atomic_store(racer->broken, true);
        }
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (held[i].backend != NULL) {
            atomic_fetch_sub(&racer->holding[support_index(racer->routing, held[i].backend)], 1);
            lease_release(&held[i], -1, picker.input.now_us);
        }
    }
    return NULL;
}

static void four_workers_never_exceed_a_limit(void **state)
{
    (void)state;
    for (enum config_balance balance = 0; balance < BALANCES; balance++) {
        struct routing *r = routing_of(balance, BACKENDS, LIMIT);
        _Atomic uint32_t holding[BACKENDS] = {0};
        _Atomic bool broken = false;
        struct racer racers[THREADS];
        uint64_t full = 0;
        for (unsigned t = 0; t < THREADS; t++) {
            racers[t] = (struct racer){.routing = r, .holding = holding, .broken = &broken, .worker = t};
            assert_int_equal(pthread_create(&racers[t].id, NULL, race, &racers[t]), 0);
        }
        for (unsigned t = 0; t < THREADS; t++) {
            assert_int_equal(pthread_join(racers[t].id, NULL), 0);
            assert_int_equal(racers[t].served + racers[t].full, ROUNDS);
            full += racers[t].full;
        }
        assert_false(atomic_load(&broken));
        assert_true(full > 0);
        assert_int_equal(routing_open(r, 0), 0);
        routing_destroy(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_strategy_fills_all_and_then_says_so),
                                       cmocka_unit_test(full_and_weightless_and_down_together),
                                       cmocka_unit_test(one_without_limit_takes_what_the_others_cannot),
                                       cmocka_unit_test(what_a_full_one_would_get_is_spread),
                                       cmocka_unit_test(a_full_group_stays_its_own_unless_told_otherwise),
                                       cmocka_unit_test(of_the_operator_and_the_agent_the_lower_counts),
                                       cmocka_unit_test(four_workers_never_exceed_a_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
