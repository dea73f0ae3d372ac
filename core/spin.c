/*
 * The policy of looking before sleeping. Pure; runs on the worker that owns the state. The figures were found
 * by measurement, see docs/decisions. The looking itself is worker.c's.
 */
#include "core/spin.h"

/* More events than this in one turn are a crowd; a lone round trip brings one, now and then two. */
#define EVENTS_LONE 2u
/* Short waits needed at first, at most, and after a crowd. */
#define NEEDED_MIN 4u
#define NEEDED_MAX 1024u
#define NEEDED_CROWD 64u
/* What a wait that was too long takes away. */
#define LONG_WAIT_COST 8u
/* After so many hits a miss is taken for an accident. */
#define HITS_TRUSTED 32u
/* Looks after which one sleep is taken to see how many events gather. */
#define LOOKS_PER_SLEEP 512u
/* The wait before a sleep ended contains the waking itself, about as long as a look. */
#define WAIT_SHORT_LOOKS 2u

void spin_init(struct spin_state *state, uint64_t look_us)
{
    *state = (struct spin_state){.look_us = look_us, .needed = NEEDED_MIN};
}

bool spin_should_look(const struct spin_state *state)
{
    return state->look_us > 0 && state->earned >= state->needed && state->looks < LOOKS_PER_SLEEP;
}

static void met_crowd(struct spin_state *state)
{
    state->earned = 0;
    state->hits = 0;
    if (state->needed < NEEDED_CROWD) {
        state->needed = NEEDED_CROWD;
    }
}

void spin_found(struct spin_state *state, uint64_t waited_us, uint32_t events)
{
    if (waited_us > state->look_us) {
        spin_missed(state);
        return;
    }
    state->looks++;
    if (events > EVENTS_LONE) {
        met_crowd(state);
        return;
    }
    if (state->hits < HITS_TRUSTED) {
        state->hits++;
    }
}

void spin_missed(struct spin_state *state)
{
    state->looks++;
    state->earned = 0;
    if (state->hits >= HITS_TRUSTED) {
        state->needed = NEEDED_MIN;
    } else if (state->needed < NEEDED_MAX) {
        state->needed *= 2;
    }
    state->hits = 0;
}

void spin_slept(struct spin_state *state, uint64_t wait_us, uint32_t events)
{
    state->looks = 0;
    if (events == 0) {
        return;
    }
    if (events > EVENTS_LONE) {
        met_crowd(state);
    } else if (wait_us >= state->look_us * WAIT_SHORT_LOOKS) {
        state->earned -= state->earned < LONG_WAIT_COST ? state->earned : LONG_WAIT_COST;
    } else if (state->earned < state->needed) {
        state->earned++;
    }
}
