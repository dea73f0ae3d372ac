/* The split: exact by connection over every prefix, share and phase; sticky and monotone by client. */
#include "balancer/share.h"
#include "tests/unit/balancer/support.h"

#include <string.h>

static void connections_are_exact_after_every_ticket(void **state)
{
    (void)state;
    static const uint32_t shares[] = {0, 1, 7, 25, 100, 2500, 3333, 5000, 6667, 9999, 10000};
    static const uint32_t phases[] = {0, 1, 4999, 9999};
    for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++) {
        for (size_t p = 0; p < sizeof(phases) / sizeof(phases[0]); p++) {
            uint64_t target = 0;
            for (uint64_t n = 1; n <= 25000; n++) {
                target += share_ticket_to_target(n - 1, phases[p], shares[s]);
                uint64_t floor = n * shares[s] / SHARE_BP_FULL;
                uint64_t ceil = (n * shares[s] + SHARE_BP_FULL - 1) / SHARE_BP_FULL;
                assert_true(target == floor || target == ceil);
            }
        }
    }
}

static void tickets_near_the_end_of_the_counter_do_not_overflow(void **state)
{
    (void)state;
    uint64_t target = 0;
    uint64_t first = (UINT64_MAX / SHARE_BP_FULL - 1) * SHARE_BP_FULL;
    for (uint64_t n = 0; n < SHARE_BP_FULL; n++) {
        target += share_ticket_to_target(first + n, 0, 9999);
    }
    assert_int_equal(target, 9999);
}

static void the_phase_carries_over_a_ramp_of_small_steps(void **state)
{
    (void)state;
    /* 200 steps of 3 connections each, all at 1 %: the target gets its 6 though no step alone earns one. */
    uint32_t phase = 0;
    uint64_t target = 0;
    for (unsigned step = 0; step < 200; step++) {
        for (uint64_t k = 0; k < 3; k++) {
            target += share_ticket_to_target(k, phase, 100);
        }
        phase = share_phase_after(3, phase, 100);
    }
    assert_int_equal(target, 6);
}

static struct addr_ip client_of(uint32_t number)
{
    struct addr_ip client;
    memset(&client, 0, sizeof(client));
    client.family = 4;
    for (unsigned i = 0; i < 4; i++) {
        client.bytes[i] = (uint8_t)(number >> (24 - 8 * i));
    }
    return client;
}

static void clients_spread_evenly_over_the_scale(void **state)
{
    (void)state;
    struct siphash_key key;
    siphash_key_from_text(&key, "salt");
    enum { BINS = 20, CLIENTS = 100000 };
    unsigned bins[BINS] = {0};
    for (uint32_t n = 0; n < CLIENTS; n++) {
        struct addr_ip client = client_of(UINT32_C(0x0a000000) + n);
        uint32_t place = share_client_place(&key, &client, 32, 64);
        assert_true(place < SHARE_BP_FULL);
        bins[place * BINS / SHARE_BP_FULL]++;
    }
    double expected = (double)CLIENTS / BINS;
    double chi2 = 0;
    for (unsigned b = 0; b < BINS; b++) {
        chi2 += (bins[b] - expected) * (bins[b] - expected) / expected;
    }
    assert_true(chi2 < 43.8); /* 19 degrees of freedom, p = 0.001; the input is fixed, so the result is too */
}

static void the_prefix_decides_and_the_port_does_not(void **state)
{
    (void)state;
    struct siphash_key key;
    siphash_key_from_text(&key, "salt");
    struct addr_ip a = client_of(UINT32_C(0x0a010203));
    struct addr_ip b = client_of(UINT32_C(0x0a0102fe));
    a.port = 1;
    b.port = 2;
    assert_true(share_client_hash(&key, &a, 24, 64) == share_client_hash(&key, &b, 24, 64));
    assert_true(share_client_hash(&key, &a, 32, 64) != share_client_hash(&key, &b, 32, 64));
    /* All clients are one when no bit counts. */
    b = client_of(UINT32_C(0xc0a80001));
    assert_true(share_client_hash(&key, &a, 0, 0) == share_client_hash(&key, &b, 0, 0));
    struct addr_ip six = {.family = 6, .bytes = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 1}};
    struct addr_ip seven = {.family = 6, .bytes = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 2}};
    assert_true(share_client_hash(&key, &six, 32, 64) == share_client_hash(&key, &seven, 32, 64));
    assert_true(share_client_hash(&key, &six, 32, 128) != share_client_hash(&key, &seven, 32, 128));
}

static void another_salt_decides_otherwise_and_the_same_salt_alike(void **state)
{
    (void)state;
    struct siphash_key one, same, other;
    siphash_key_from_text(&one, "one");
    siphash_key_from_text(&same, "one");
    siphash_key_from_text(&other, "other");
    unsigned differ = 0;
    for (uint32_t n = 0; n < 1000; n++) {
        struct addr_ip client = client_of(n);
        uint32_t place = share_client_place(&one, &client, 32, 64);
        assert_int_equal(place, share_client_place(&same, &client, 32, 64));
        differ += place != share_client_place(&other, &client, 32, 64);
    }
    assert_true(differ > 990);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_exact_after_every_ticket),
        cmocka_unit_test(tickets_near_the_end_of_the_counter_do_not_overflow),
        cmocka_unit_test(the_phase_carries_over_a_ramp_of_small_steps),
        cmocka_unit_test(clients_spread_evenly_over_the_scale),
        cmocka_unit_test(the_prefix_decides_and_the_port_does_not),
        cmocka_unit_test(another_salt_decides_otherwise_and_the_same_salt_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
