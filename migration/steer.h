/*
 * What part of the new connections must go to the target so that its part of the *open* connections reaches
 * an aim, and stays there. Pure: time and counters are arguments. Any thread, one at a time.
 *
 * With rate r of arrivals, n connections open and a part x of them on the target, a share s gives
 * dx/dt = (r/n)(s - x), whatever the lives of the connections, as long as those of both groups are alike. A
 * proportional controller s = x + (a - x) n/(r T) therefore makes x approach a as exp(-t/T), without
 * overshoot, for as long as s is not cut off by its limits. Where connections are so short that n < rT, a lag
 * of T cannot be seen any more, and s is simply a: with short connections steering is the same as the plain
 * share.
 */
#ifndef MIGRATION_STEER_H
#define MIGRATION_STEER_H

#include <stdbool.h>
#include <stdint.h>

/* T: how fast the aim is approached when arrivals suffice. */
#define STEER_HORIZON_US UINT64_C(10000000)
/* How often it may be asked for something else. */
#define STEER_EVERY_US UINT64_C(1000000)
/* The share moves at least so much, but for its ends: workers need not adopt a new view for less. */
#define STEER_STEP_BP 50u
/* A target above its aim still gets this part of it: the gate must see something. */
#define STEER_FLOOR_PARTS 10u

struct steer {
    bool primed;       /* the fields below hold a look */
    uint64_t look_us;  /* the last one */
    uint64_t arrivals; /* counter as of then */
    bool rated;        /* … and this a rate */
    double per_us;     /* of arrivals, smoothed over the horizon */
    uint32_t aim_bp;   /* as of the last look */
    uint32_t share_bp; /* answered then */
};

struct steer_input {
    uint64_t now_us;
    uint32_t aim_bp;      /* 1 to 10000: of open connections */
    uint32_t limit_bp;    /* of new ones at most; one below the aim counts as the aim */
    uint64_t open;        /* connections open on both groups */
    uint64_t open_target; /* of them on the target; not above open */
    uint64_t arrivals;    /* connections so far; may fall when a backend is removed */
};

/* Forgets all: the next look begins anew. */
void steer_begin(struct steer *steer);
/*
 * The share of new connections from now on, in basis points: between a tenth of the aim (at least 1) and the
 * limit; the aim itself while nothing is open, at the first look, and at 10000. Changes at most every
 * STEER_EVERY_US, and at once with the aim.
 */
uint32_t steer_look(struct steer *steer, const struct steer_input *input);

#endif
