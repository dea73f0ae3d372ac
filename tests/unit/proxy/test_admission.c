/* Limits on clients and on all of them: counts, rates, a full table, a million addresses, many threads. */
#include "core/clock.h"
#include "core/units.h"
#include "proxy/admission.h"
#include "proxy/tracker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SECOND CLOCK_US_PER_S
#define START_US (UINT64_C(7) * SECOND)

static struct addr_ip client_of(uint32_t number)
{
    struct addr_ip ip = {.family = 4, .port = (uint16_t)number};
    memcpy(ip.bytes, &number, sizeof(number));
    return ip;
}

static struct config_limits no_limits(void)
{
    return (struct config_limits){.rate = UINT64_MAX,
                                  .rate_per_client = UINT64_MAX,
                                  .prefix_ipv4 = 32,
                                  .prefix_ipv6 = 64,
                                  .table_size = 1000};
}

static struct admission *make(const struct config_limits *limits)
{
    struct admission *admission = NULL;
    assert_int_equal(admission_create(limits, &admission, NULL), 0);
    assert_non_null(admission);
    return admission;
}

static enum admission_verdict enter(struct admission *admission, uint32_t number, uint64_t now_us,
                                    struct admission_claim *claim)
{
    struct addr_ip client = client_of(number);
    return admission_enter(admission, &client, now_us, claim);
}

/* One that comes and is gone at once. */
static enum admission_verdict pass(struct admission *admission, uint32_t number, uint64_t now_us)
{
    struct admission_claim claim;
    enum admission_verdict verdict = enter(admission, number, now_us, &claim);
    admission_leave(admission, &claim);
    return verdict;
}

static void test_nothing_limited_lets_all_in(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    struct admission *admission;
    struct admission_claim claim;
    admission = make(&limits);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(enter(admission, 1, START_US, &claim), ADMISSION_LET_IN);
    }
    admission_destroy(admission);
    assert_int_equal(enter(NULL, 1, START_US, &claim), ADMISSION_LET_IN);
    admission_leave(NULL, &claim);
    admission_destroy(NULL);
}

static void test_connections_of_all(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    limits.connections = 3;
    struct admission *admission = make(&limits);
    struct admission_claim claim[4];
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(enter(admission, i, START_US, &claim[i]), ADMISSION_LET_IN);
    }
    for (int again = 0; again < 10; again++) {
        assert_int_equal(enter(admission, 9, START_US, &claim[3]), ADMISSION_TOO_MANY);
    }
    admission_leave(admission, &claim[1]);
    admission_leave(admission, &claim[1]);
    assert_int_equal(enter(admission, 9, START_US, &claim[3]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 9, START_US, &claim[1]), ADMISSION_TOO_MANY);
    admission_destroy(admission);
}

static void test_connections_of_a_client(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    limits.connections_per_client = 2;
    limits.prefix_ipv4 = 24;
    struct admission *admission = make(&limits);
    struct admission_claim claim[4];
    /* Two of one /24, whose last byte is the highest of the number here. */
    assert_int_equal(enter(admission, 0x01000000, START_US, &claim[0]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 0x02000000, START_US, &claim[1]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 0x03000000, START_US, &claim[2]), ADMISSION_TOO_MANY);
    assert_int_equal(enter(admission, 0x03000001, START_US, &claim[2]), ADMISSION_LET_IN);
    admission_leave(admission, &claim[0]);
    assert_int_equal(enter(admission, 0x03000000, START_US, &claim[3]), ADMISSION_LET_IN);
    /* Nobody's address: only limits over all apply. */
    const struct addr_ip nobody = {.family = 0};
    struct admission_claim more;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(admission_enter(admission, &nobody, START_US, &more), ADMISSION_LET_IN);
    }
    for (int i = 0; i < 4; i++) {
        admission_leave(admission, &claim[i]);
    }
    admission_destroy(admission);
}

/* So many at once, then one each interval; what was refused does not count. */
static void test_rates(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    for (int of_client = 0; of_client < 2; of_client++) {
        *(of_client ? &limits.rate_per_client : &limits.rate) = UNITS_RATE(10, 1);
        *(of_client ? &limits.rate : &limits.rate_per_client) = UINT64_MAX;
        struct admission *admission = make(&limits);
        unsigned let_in = 0;
        for (int i = 0; i < 100; i++) {
            let_in += pass(admission, 5, START_US) == ADMISSION_LET_IN;
        }
        assert_int_equal(let_in, 10);
        assert_int_equal(pass(admission, 5, START_US + SECOND / 10 - 1), ADMISSION_TOO_OFTEN);
        assert_int_equal(pass(admission, 5, START_US + SECOND / 10), ADMISSION_LET_IN);
        assert_int_equal(pass(admission, 5, START_US + SECOND / 10), ADMISSION_TOO_OFTEN);
        /* Ten seconds at twice the rate. */
        let_in = 0;
        for (uint64_t us = SECOND; us < 11 * SECOND; us += SECOND / 20) {
            let_in += pass(admission, 5, START_US + us) == ADMISSION_LET_IN;
        }
        assert_in_range(let_in, 100, 110);
        assert_int_equal(pass(admission, 6, START_US + 11 * SECOND - SECOND / 20 + 1),
                         of_client ? ADMISSION_LET_IN : ADMISSION_TOO_OFTEN);
        admission_destroy(admission);
    }
}

/* One who is over his own limit does not use up what is there for all. */
static void test_a_client_alone_does_not_use_up_the_rate_of_all(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    limits.rate = UNITS_RATE(10, 1);
    limits.rate_per_client = UNITS_RATE(2, 1);
    struct admission *admission = make(&limits);
    for (int i = 0; i < 1000; i++) {
        (void)pass(admission, 5, START_US);
    }
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(pass(admission, 100 + i, START_US), ADMISSION_LET_IN);
    }
    assert_int_equal(pass(admission, 200, START_US), ADMISSION_TOO_OFTEN);
    admission_destroy(admission);
}

static void test_a_full_table_serves_and_says_so(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    limits.connections_per_client = 1;
    limits.table_size = 64;
    struct admission *admission = make(&limits);
    struct admission_claim claim[65];
    struct admission_claim other;
    for (uint32_t i = 0; i < 64; i++) {
        assert_int_equal(enter(admission, i, START_US, &claim[i]), ADMISSION_LET_IN);
    }
    assert_int_equal(enter(admission, 64, START_US, &claim[64]), ADMISSION_UNTRACKED);
    admission_leave(admission, &claim[64]);
    assert_int_equal(enter(admission, 3, START_US, &other), ADMISSION_TOO_MANY);
    admission_leave(admission, &claim[7]);
    assert_int_equal(enter(admission, 64, START_US, &claim[64]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 7, START_US, &other), ADMISSION_UNTRACKED);
    for (int i = 0; i < 65; i++) {
        admission_leave(admission, &claim[i]);
    }
    admission_destroy(admission);
}

/* ---- the table */

static void test_the_longest_unseen_is_forgotten(void **state)
{
    (void)state;
    const struct tracker_limits limits = {.interval_ns = UINT64_C(3600) * 1000000000, .burst_ns = 0};
    struct tracker *tracker;
    uint32_t claim;
    assert_int_equal(tracker_create(64, &tracker, NULL), 0);
    for (uint32_t i = 0; i < 64; i++) {
        struct addr_ip client = client_of(i);
        assert_int_equal(tracker_take(tracker, &limits, &client, START_US, &claim), TRACKER_TAKEN);
        tracker_give(tracker, claim);
    }
    struct addr_ip first = client_of(0);
    struct addr_ip second = client_of(1);
    struct addr_ip late = client_of(64);
    assert_int_equal(tracker_take(tracker, &limits, &first, START_US, &claim), TRACKER_TOO_OFTEN);
    assert_int_equal(tracker_take(tracker, &limits, &late, START_US, &claim), TRACKER_TAKEN);
    tracker_give(tracker, claim);
    assert_int_equal(tracker_take(tracker, &limits, &first, START_US, &claim), TRACKER_TOO_OFTEN);
    assert_int_equal(tracker_take(tracker, &limits, &second, START_US, &claim), TRACKER_TAKEN);
    tracker_give(tracker, claim);
    assert_int_equal(tracker_clients(tracker), 64);
    tracker_drop(tracker);
}

/* A million different addresses: each is held to its limit while it is known, none is confused with another,
 * and the table never grows past its size. */
static void million(size_t table, bool keep_open)
{
    enum { CLIENTS = 1000000 };
    const struct tracker_limits limits = {.open = 1};
    struct tracker *tracker;
    uint32_t *claims = calloc(CLIENTS, sizeof(*claims));
    assert_non_null(claims);
    assert_int_equal(tracker_create(table, &tracker, NULL), 0);
    uint64_t began_us = clock_mono_us();
    size_t taken = 0;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct addr_ip client = client_of(i * 2654435761u);
        uint32_t other;
        if (tracker_take(tracker, &limits, &client, START_US + i, &claims[taken]) != TRACKER_TAKEN) {
            assert_true(keep_open && taken >= table * 9 / 10);
            continue;
        }
        assert_int_equal(tracker_take(tracker, &limits, &client, START_US + i, &other), TRACKER_TOO_MANY);
        if (keep_open) {
            taken++;
        } else {
            tracker_give(tracker, claims[taken]);
        }
    }
    uint64_t took_us = clock_mono_us() - began_us;
    assert_true(tracker_clients(tracker) <= table + 64);
    print_message("%d clients, a table of %zu: %.0f ns a connection\n", CLIENTS, table,
                  (double)took_us * 1e3 / CLIENTS / 2);
    for (size_t i = 0; i < taken; i++) {
        tracker_give(tracker, claims[i]);
    }
    tracker_drop(tracker);
    free(claims);
}

static void test_a_million_clients(void **state)
{
    (void)state;
    million(100000, false);
    million(100000, true);
    million(1200000, true);
}

/* Threads that come and go: never more open than the limits, and in the end nothing is. */
struct crowd {
    struct admission *admission;
    _Atomic int open, open_of[8];
    _Atomic int most, most_of;
};

static void note_most(_Atomic int *most, int now)
{
    int seen = atomic_load(most);
    while (seen < now && !atomic_compare_exchange_weak(most, &seen, now)) {
    }
}

static void *come_and_go(void *context)
{
    struct crowd *crowd = context;
    for (uint32_t i = 0; i < 20000; i++) {
        struct admission_claim claim;
        uint32_t client = i % 8;
        if (enter(crowd->admission, client, START_US + i, &claim) == ADMISSION_LET_IN) {
            note_most(&crowd->most, atomic_fetch_add(&crowd->open, 1) + 1);
            note_most(&crowd->most_of, atomic_fetch_add(&crowd->open_of[client], 1) + 1);
            atomic_fetch_sub(&crowd->open_of[client], 1);
            atomic_fetch_sub(&crowd->open, 1);
        }
        admission_leave(crowd->admission, &claim);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    limits.connections = 3;
    limits.connections_per_client = 2;
    static struct crowd crowd;
    pthread_t threads[4];
    crowd.admission = make(&limits);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &crowd), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_in_range(atomic_load(&crowd.most), 1, 3);
    assert_in_range(atomic_load(&crowd.most_of), 1, 2);
    struct admission_claim claim[3];
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(enter(crowd.admission, i, START_US, &claim[i]), ADMISSION_LET_IN);
    }
    for (int i = 0; i < 3; i++) {
        admission_leave(crowd.admission, &claim[i]);
    }
    admission_destroy(crowd.admission);
}

/* ---- other limits for the same connections */

static void change(struct admission *admission, const struct config_limits *limits)
{
    struct admission_limits *made = NULL;
    assert_int_equal(admission_limits_create(admission, limits, &made, NULL), 0);
    admission_limits_destroy(admission_limits_replace(admission, made));
}

static void test_counts_outlive_a_change(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    struct admission *admission = make(&limits);
    struct admission_claim claim[4];
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(enter(admission, i, START_US, &claim[i]), ADMISSION_LET_IN);
    }
    limits.connections = 3; /* those that came without a limit count */
    change(admission, &limits);
    assert_int_equal(enter(admission, 9, START_US, &claim[3]), ADMISSION_TOO_MANY);
    limits.connections = 1; /* below what is open: nobody is turned out */
    change(admission, &limits);
    admission_leave(admission, &claim[0]);
    admission_leave(admission, &claim[1]);
    assert_int_equal(enter(admission, 9, START_US, &claim[3]), ADMISSION_TOO_MANY);
    admission_leave(admission, &claim[2]);
    assert_int_equal(enter(admission, 9, START_US, &claim[3]), ADMISSION_LET_IN);
    limits.connections = 2;
    change(admission, &limits);
    assert_int_equal(enter(admission, 8, START_US, &claim[0]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 8, START_US, &claim[1]), ADMISSION_TOO_MANY);
    admission_destroy(admission);
}

static void test_clients_outlive_a_change(void **state)
{
    (void)state;
    struct config_limits limits = no_limits();
    limits.connections_per_client = 2;
    struct admission *admission = make(&limits);
    struct admission_claim claim[5];
    assert_int_equal(enter(admission, 1, START_US, &claim[0]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 1, START_US, &claim[1]), ADMISSION_LET_IN);
    limits.connections_per_client = 3;
    change(admission, &limits);
    assert_int_equal(enter(admission, 1, START_US, &claim[2]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 1, START_US, &claim[3]), ADMISSION_TOO_MANY);
    /* Another table knows nobody; what is open is given back to the one it came from, which goes with it. */
    limits.table_size = 2000;
    change(admission, &limits);
    assert_int_equal(enter(admission, 1, START_US, &claim[3]), ADMISSION_LET_IN);
    for (int i = 0; i < 3; i++) {
        admission_leave(admission, &claim[i]);
    }
    assert_int_equal(enter(admission, 1, START_US, &claim[0]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 1, START_US, &claim[1]), ADMISSION_LET_IN);
    assert_int_equal(enter(admission, 1, START_US, &claim[2]), ADMISSION_TOO_MANY);
    limits.connections_per_client = 0; /* no limits of each client any more */
    change(admission, &limits);
    assert_int_equal(enter(admission, 1, START_US, &claim[2]), ADMISSION_LET_IN);
    for (int i = 0; i < 4; i++) {
        admission_leave(admission, &claim[i]);
    }
    admission_destroy(admission);
}

/* Hours that a slow rate is ahead do not shut out those that come under a fast one. */
static void test_a_faster_rate_holds_at_once(void **state)
{
    (void)state;
    for (int of_client = 0; of_client < 2; of_client++) {
        struct config_limits limits = no_limits();
        uint64_t *rate = of_client ? &limits.rate_per_client : &limits.rate;
        *rate = UNITS_RATE(10, 3600);
        struct admission *admission = make(&limits);
        for (int i = 0; i < 10; i++) {
            assert_int_equal(pass(admission, 1, START_US), ADMISSION_LET_IN);
        }
        assert_int_equal(pass(admission, 1, START_US), ADMISSION_TOO_OFTEN);
        *rate = UNITS_RATE(10, 1);
        change(admission, &limits);
        assert_int_equal(pass(admission, 1, START_US), ADMISSION_LET_IN);
        assert_int_equal(pass(admission, 1, START_US), ADMISSION_TOO_OFTEN);
        unsigned let_in = 0;
        for (uint64_t us = SECOND; us < 11 * SECOND; us += SECOND / 20) {
            let_in += pass(admission, 1, START_US + us) == ADMISSION_LET_IN;
        }
        assert_in_range(let_in, 100, 110);
        admission_destroy(admission);
    }
}

/* Limits change while threads come and go. What is replaced is kept to the end: these threads have no turns.
 */
static void test_a_change_under_threads(void **state)
{
    (void)state;
    enum { CHANGES = 50 };
    struct config_limits limits = no_limits();
    limits.connections = 3;
    limits.connections_per_client = 2;
    static struct crowd crowd;
    struct admission_limits *gone[CHANGES];
    pthread_t threads[4];
    crowd.admission = make(&limits);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &crowd), 0);
    }
    for (unsigned i = 0; i < CHANGES; i++) {
        struct admission_limits *made = NULL;
        limits.connections = 3 - i % 2;
        limits.table_size = 1000 + i % 3;
        assert_int_equal(admission_limits_create(crowd.admission, &limits, &made, NULL), 0);
        gone[i] = admission_limits_replace(crowd.admission, made);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_in_range(atomic_load(&crowd.most), 1, 3);
    for (unsigned i = 0; i < CHANGES; i++) {
        admission_limits_destroy(gone[i]);
    }
    struct admission_claim claim[3];
    limits.connections = 3;
    change(crowd.admission, &limits);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(enter(crowd.admission, i, START_US, &claim[i]), ADMISSION_LET_IN);
    }
    for (int i = 0; i < 3; i++) {
        admission_leave(crowd.admission, &claim[i]);
    }
    admission_destroy(crowd.admission);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_limited_lets_all_in),
        cmocka_unit_test(test_connections_of_all),
        cmocka_unit_test(test_connections_of_a_client),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_a_client_alone_does_not_use_up_the_rate_of_all),
        cmocka_unit_test(test_a_full_table_serves_and_says_so),
        cmocka_unit_test(test_the_longest_unseen_is_forgotten),
        cmocka_unit_test(test_a_million_clients),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_counts_outlive_a_change),
        cmocka_unit_test(test_clients_outlive_a_change),
        cmocka_unit_test(test_a_faster_rate_holds_at_once),
        cmocka_unit_test(test_a_change_under_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
