/* SipHash against its published vectors; the random generator against its reference and for evenness. */
#include "core/random.h"
#include "core/siphash.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Key 00 01 … 0f, input 00 01 …: appendix A of the paper (15 bytes), and the first of the authors' vectors.
 */
static void siphash_gives_the_published_values(void **state)
{
    static const uint64_t vectors[] = {
        UINT64_C(0x726fdb47dd0e0e31), UINT64_C(0x74f839c593dc67fd), UINT64_C(0x0d6c8009d9a94f5a),
        UINT64_C(0x85676696d7fb7e2d), UINT64_C(0xcf2794e0277187b7), UINT64_C(0x18765564cd99a68d),
        UINT64_C(0xcbc9466e58fee3ce), UINT64_C(0xab0200f58b01d137), UINT64_C(0x93f5f5799a932462),
    };
    const struct siphash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    unsigned char input[64];
    (void)state;
    for (unsigned i = 0; i < sizeof(input); i++) {
        input[i] = (unsigned char)i;
    }
    for (size_t len = 0; len < sizeof(vectors) / sizeof(vectors[0]); len++) {
        assert_int_equal(siphash(&key, input, len), vectors[len]);
    }
    assert_int_equal(siphash(&key, input, 15), UINT64_C(0xa129ca6149be45e5));
}

static void siphash_reads_any_alignment(void **state)
{
    const struct siphash_key key = {1, 2};
    char buffer[80];
    (void)state;
    for (size_t shift = 1; shift < 8; shift++) {
        memset(buffer, 'x', sizeof(buffer));
        assert_int_equal(siphash(&key, buffer + shift, 37), siphash(&key, buffer, 37));
    }
}

/* These values are a promise: two instances, or two releases, place the same client alike. */
static void keys_from_text_never_change(void **state)
{
    struct siphash_key web;
    struct siphash_key again;
    struct siphash_key other;
    (void)state;
    siphash_key_from_text(&web, "web");
    siphash_key_from_text(&again, "web");
    siphash_key_from_text(&other, "api");
    assert_int_equal(web.k0, again.k0);
    assert_int_equal(web.k1, again.k1);
    assert_int_not_equal(web.k0, other.k0);
    assert_int_not_equal(web.k0, web.k1);
    assert_int_equal(web.k0, UINT64_C(0xdef562542d026522));
    assert_int_equal(web.k1, UINT64_C(0xff10185d513f0ab6));
}

/* The authors' reference code from the state 1, 2, 3, 4. */
static void xoshiro_gives_the_reference_values(void **state)
{
    static const uint64_t expected[] = {UINT64_C(11520), UINT64_C(0), UINT64_C(1509978240),
                                        UINT64_C(1215971899390074240)};
    struct random_state random = {{1, 2, 3, 4}};
    (void)state;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(random_next(&random), expected[i]);
    }
}

/* splitmix64 from 0 begins with this value (Vigna's reference). */
static void seeding_is_splitmix64(void **state)
{
    struct random_state random;
    (void)state;
    random_seed(&random, 0);
    assert_int_equal(random.s[0], UINT64_C(0xe220a8397b1dcdaf));
    assert_int_equal(random.s[1], UINT64_C(0x6e789e6aa1b965f4));
}

static void below_is_within_the_bound_and_even(void **state)
{
    enum { BOUND = 7, ROUNDS = 70000 };
    struct random_state random;
    unsigned seen[BOUND] = {0};
    (void)state;
    random_seed(&random, 42);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t value = random_below(&random, BOUND);
        assert_true(value < BOUND);
        seen[value]++;
    }
    for (unsigned i = 0; i < BOUND; i++) {
        /* 10000 expected, standard deviation 93. */
        assert_in_range(seen[i], 9500, 10500);
    }
    assert_int_equal(random_below(&random, 1), 0);
}

static void system_seeds_differ(void **state)
{
    struct random_state a;
    struct random_state b;
    (void)state;
    random_seed_system(&a);
    random_seed_system(&b);
    assert_memory_not_equal(&a, &b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_gives_the_published_values),
        cmocka_unit_test(siphash_reads_any_alignment),
        cmocka_unit_test(keys_from_text_never_change),
        cmocka_unit_test(xoshiro_gives_the_reference_values),
        cmocka_unit_test(seeding_is_splitmix64),
        cmocka_unit_test(below_is_within_the_bound_and_even),
        cmocka_unit_test(system_seeds_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
