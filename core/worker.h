/*
 * Workers: one thread, one event_base without locking, one mailbox each. The loop looks before it sleeps
 * (spin) when that was measured to pay, runs deferred work between turns, and lets the control thread wait
 * for turns to pass (worker_pool_retire), which is how memory that workers read without locks is freed.
 */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H

#include "core/err.h"
#include "core/mailbox.h"
#include "core/random.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct worker;
struct worker_pool;

struct worker_pool_options {
    unsigned count;   /* at least 1 */
    uint64_t spin_us; /* longest look before a sleep; 0: never */
    struct event_base
        *control;         /* the control thread's loop, borrowed; replies of retire and call run there */
    size_t scratch_bytes; /* size of the scratch buffer a worker has; 0: 64 KiB */
};

/* Work to do between loop turns. Embedded in its owner; in at most one queue at a time. */
struct worker_task {
    struct worker_task *next;
    void (*run)(struct worker_task *task, struct worker *worker);
    bool queued;
};

/* Creates bases and mailboxes; threads start with worker_pool_start, so listeners can be added before.
 * Control thread. */
MUST_CHECK int worker_pool_create(const struct worker_pool_options *options, struct worker_pool **out,
                                  struct err_text *err);
MUST_CHECK int worker_pool_start(struct worker_pool *pool, struct err_text *err);
/* Asks the loops to end, joins the threads, runs what retire and call still hold, frees. Control thread. */
void worker_pool_destroy(struct worker_pool *pool);

unsigned worker_pool_count(const struct worker_pool *pool);
struct worker *worker_pool_get(struct worker_pool *pool, unsigned index);

/*
 * RCU-like reclamation (McKenney and Slingwine 1998): after every worker has ended the loop turn it is in,
 * destroy(ptr) runs on the control thread. Never blocks. ptr must already be unreachable for new turns. When
 * memory has run out, 64 pointers can still wait; one beyond that is never freed, and the log says so.
 */
void worker_pool_retire(struct worker_pool *pool, void *ptr, void (*destroy)(void *ptr));

/*
 * Runs fn(worker, arg) once on every worker, then done(arg) on the control thread (done may be NULL). arg
 * must live until then. Never blocks. Returns ERR_NOMEM without having run anything.
 */
MUST_CHECK int worker_pool_call(struct worker_pool *pool, void (*fn)(struct worker *worker, void *arg),
                                void (*done)(void *arg), void *arg);

/* Any thread. */
unsigned worker_index(const struct worker *worker);
void worker_post(struct worker *worker, struct mailbox_message *message);

/* The rest: only on the worker's own thread, or before worker_pool_start. */
struct event_base *worker_base(struct worker *worker);
struct random_state *worker_random(struct worker *worker);
/* The scratch buffer: contents are nobody's after a callback returns. */
unsigned char *worker_scratch(struct worker *worker, size_t *size);
/* Runs task after the callbacks of this turn, before the loop looks for events again (deferred frees). */
void worker_defer(struct worker *worker, struct worker_task *task);
/* Runs task in the next turn, after events were polled without sleeping (a budget was used up, more is to
 * do). */
void worker_continue(struct worker *worker, struct worker_task *task);
/* Takes a task out of the queue it is in, if any. */
void worker_cancel(struct worker *worker, struct worker_task *task);
/* Runs task once, when the worker's loop has ended for good but its base is still there: the last chance to
 * take events off it and to free what only the worker may touch. Its thread is gone by then; the caller of
 * worker_pool_destroy runs it. Control thread, any time before that. */
void worker_at_end(struct worker *worker, struct worker_task *task);
/* Every callback of the data path says so once: the spin policy counts turns in which something happened. */
void worker_note_activity(struct worker *worker);

struct worker_load {
    uint64_t turns;     /* loop turns */
    uint64_t sleeps;    /* blocking waits */
    uint64_t spins;     /* looks before a sleep that were begun */
    uint64_t spin_hits; /* of them, those that found something */
    uint64_t spin_us;   /* time spent looking */
};
/* Any thread; approximate while running. */
void worker_read_load(const struct worker *worker, struct worker_load *out);

#endif
