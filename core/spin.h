/*
 * Whether a worker that has nothing to do should look for events without blocking for a while before it
 * sleeps. Looking saves the time it takes to wake a sleeping thread, which is most of the round trip of a
 * lone connection; it costs CPU time whenever nothing comes. So it is done by measure:
 *
 *   - waits that would have ended within a look earn the right to look, long waits take it away;
 *   - a look that finds nothing takes it away at once, and the next one must be earned with twice as many
 *     short waits (up to a bound), unless looks had long been finding something;
 *   - a wait that ends with several events at once means many busy connections: there sleeping is cheaper, as
 *     it gathers events, so no looking. Since looking itself finds events one by one, every so often a sleep
 *     is taken in place of a look, to see how many events gather.
 *
 * Pure: times and counts are arguments. One thread: that of the state.
 */
#ifndef CORE_SPIN_H
#define CORE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct spin_state {
    uint64_t look_us; /* longest look; 0: never */
    uint32_t earned;  /* short waits, less what long ones took away; up to needed */
    uint32_t needed;  /* looking begins when so many are earned */
    uint32_t hits;    /* looks that found something since the last that did not */
    uint32_t looks;   /* since the last sleep */
};

void spin_init(struct spin_state *state, uint64_t look_us);
/* Look (true) or sleep (false)? */
bool spin_should_look(const struct spin_state *state);
/* A look found events of the data path (at least one) after waited_us. Longer than a look means that others
 * had the processor meanwhile: that counts as a look in vain. */
void spin_found(struct spin_state *state, uint64_t waited_us, uint32_t events);
/* A look ended without any. */
void spin_missed(struct spin_state *state);
/* A sleep ended with so many events (0: a timer or a message, which tells nothing), wait_us after the worker
 * had run out of work (a look before the sleep counts as part of the wait). */
void spin_slept(struct spin_state *state, uint64_t wait_us, uint32_t events);

#endif
