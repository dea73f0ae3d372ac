/*
 * How fast connections are closed, so that their clients do not all come back at once: a rate with some
 * chance in it. Pure: time and randomness are arguments. Any thread.
 */
#ifndef MIGRATION_PACE_H
#define MIGRATION_PACE_H

#include "core/random.h"

#include <stdint.h>

#define PACE_ALL UINT64_MAX

struct pace_rules {
    uint32_t rate;      /* closings a second; 0: all at once */
    uint32_t jitter_bp; /* how far the time between two may stray from its mean: 0 to 10000 */
};

/* Zeroed where nothing is being closed. */
struct pace {
    uint64_t next_us; /* when the next one is due */
};

/*
 * How many connections may be closed now (PACE_ALL: without limit). Counts them as closed. The first is due
 * at once. What was missed while nobody asked is not made up for, but for a tenth of a second.
 */
uint64_t pace_take(struct pace *pace, const struct pace_rules *rules, uint64_t now_us,
                   struct random_state *random);

#endif
