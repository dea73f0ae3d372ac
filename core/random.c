/*
 * xoshiro256** (Blackman and Vigna 2018), seeded through splitmix64 (Steele, Lea and Flood 2014). For choices
 * that need no secrecy. Runs on whichever thread owns the state; no state of its own.
 */
#include "core/random.h"

#include "core/clock.h"

#include <sys/random.h>
#include <unistd.h>

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64u - bits));
}

static uint64_t splitmix64(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void random_seed(struct random_state *state, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        state->s[i] = splitmix64(&seed);
    }
}

void random_seed_system(struct random_state *state)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed)) {
        /* Only very early in a boot: the time and the process number are enough for balancing. */
        seed = clock_mono_us() ^ (clock_wall_us() << 20) ^ ((uint64_t)getpid() << 44);
    }
    random_seed(state, seed);
}

uint64_t random_next(struct random_state *state)
{
    uint64_t *s = state->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Multiply and keep the high half (Lemire 2019), without the rejection step: the bias is below bound / 2^32.
 */
uint32_t random_below(struct random_state *state, uint32_t bound)
{
    return (uint32_t)(((random_next(state) >> 32) * bound) >> 32);
}
