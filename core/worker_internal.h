/* What a worker is made of: shared by its loop (worker.c) and by the pool (worker_pool.c). */
#ifndef CORE_WORKER_INTERNAL_H
#define CORE_WORKER_INTERNAL_H

#include "core/mailbox.h"
#include "core/random.h"
#include "core/spin.h"
#include "core/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker_queue {
    struct worker_task *head, *tail;
};

/* A claim on the end of a turn: run is called there, once. Used by worker_pool_retire. */
struct worker_turn_end {
    struct worker_turn_end *next;
    void (*run)(struct worker_turn_end *end);
};

/* Everything is the worker's thread's own, except where said otherwise. */
struct worker {
    unsigned index;
    bool started; /* the thread exists; control thread only */
    bool stopping;
    bool await_activity;                 /* the next activity takes the time */
    struct event_base *base;             /* owned */
    struct mailbox *mailbox;             /* owned; any thread posts */
    struct mailbox_message stop_message; /* posted once, by worker_pool_destroy */
    pthread_t thread;

    struct worker_queue deferred;      /* to run at the end of this turn */
    struct worker_queue continued;     /* to run in the next turn */
    struct worker_queue continued_now; /* to run in this turn, after the poll */
    struct worker_turn_end *turn_ends; /* to run when this turn is over */
    struct worker_queue at_end;        /* to run when the loop has ended for good */

    struct spin_state spin;
    uint32_t activity;         /* callbacks of the data path in this turn */
    uint64_t first_active_us;  /* when the first of them ran, if await_activity was set */
    uint64_t waiting_since_us; /* when a look that found nothing began; 0: none */

    struct random_state random;
    unsigned char *scratch; /* owned */
    size_t scratch_bytes;

    /* Written by the worker, read by any thread (relaxed). */
    struct {
        _Atomic uint64_t turns, sleeps, spins, spin_hits, spin_us;
    } load;
} __attribute__((aligned(64)));

/* A worker without a thread. The pool owns it. */
MUST_CHECK int worker_create(unsigned index, uint64_t spin_us, size_t scratch_bytes, struct worker **out,
                             struct err_text *err);
/* After its thread ended, with its mailbox empty. NULL is allowed. */
void worker_destroy(struct worker *worker);
/* The thread of the worker in context: runs turns until the stop message came. */
void *worker_run(void *context);
/* One turn without sleeping, for tests that turn a worker that has no thread. Returns whether there was or is
 * anything to do. */
bool worker_turn(struct worker *worker);
/* Runs what waits for the end of a turn: deferred tasks, then turn_ends. Returns whether there was any. */
bool worker_end_turn(struct worker *worker);
/* Runs what waits for the end. After the thread is gone. */
void worker_run_at_end(struct worker *worker);

#endif
