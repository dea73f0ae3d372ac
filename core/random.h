/*
 * A small fast generator for choices that need no secrecy (xoshiro256**, Blackman and Vigna 2018, seeded
 * through splitmix64). The state is an argument: one per worker, a fixed seed in tests.
 */
#ifndef CORE_RANDOM_H
#define CORE_RANDOM_H

#include <stdint.h>

struct random_state {
    uint64_t s[4];
};

void random_seed(struct random_state *state, uint64_t seed);
/* Seeds from getrandom(2). */
void random_seed_system(struct random_state *state);
uint64_t random_next(struct random_state *state);
/* Uniform in 0..bound-1 without modulo bias worth speaking of (Lemire 2019); bound > 0. */
uint32_t random_below(struct random_state *state, uint32_t bound);

#endif
