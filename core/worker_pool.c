/*
 * The workers together: start and end, work on all of them, and freeing memory that they read without locks.
 * Runs on the control thread, but for the few lines that a worker runs to count itself in (marked).
 * What a worker does in a turn is worker.c's business.
 */
#include "core/worker.h"

#include "core/log.h"
#include "core/mailbox_internal.h"
#include "core/worker_internal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

/* Retired pointers that can wait at a time when memory has run out. */
#define RETIRED_SPARE 64u

/* A pointer that waits for the workers to pass. */
struct retired {
    struct retired *next;
    void *ptr;
    void (*destroy)(void *ptr);
    bool spare; /* one of the pool's, not from the heap */
};

struct retired_queue {
    struct retired *head, *tail;
};

/* One worker's part in a grace period: a message to it, then a claim on the end of its turn. */
struct grace_part {
    struct mailbox_message message;
    struct worker_turn_end end;
    struct worker_pool *pool;
};

struct worker_pool {
    unsigned count;
    struct worker **workers; /* owned */
    struct mailbox *control; /* owned; into the control thread's loop */

    /* One grace period at a time serves all that was retired before it began. */
    struct retired_queue waiting; /* for the next one */
    struct retired_queue passing; /* for the one under way */
    bool grace_running;
    _Atomic unsigned grace_left; /* workers that have not passed yet */
    struct mailbox_message grace_over;
    struct grace_part *grace_parts; /* owned; one a worker */
    struct retired *spare_free;     /* list */
    struct retired spare[RETIRED_SPARE];
};

/* Work under way on all workers. */
struct call_part {
    struct mailbox_message message;
    struct call *call;
};

struct call {
    struct worker_pool *pool;
    void (*fn)(struct worker *worker, void *arg);
    void (*done)(void *arg);
    void *arg;             /* borrowed */
    _Atomic unsigned left; /* workers that have not run fn yet */
    struct mailbox_message finished;
    struct call_part parts[]; /* one a worker */
};

static void queue_append(struct retired_queue *queue, struct retired *retired)
{
    retired->next = NULL;
    if (queue->tail) {
        queue->tail->next = retired;
    } else {
        queue->head = retired;
    }
    queue->tail = retired;
}

/* Frees everything in the queue. The callbacks may retire more, which goes into pool->waiting. */
static void queue_destroy_all(struct worker_pool *pool, struct retired_queue *queue)
{
    while (queue->head) {
        struct retired *retired = queue->head;
        void *ptr = retired->ptr;
        void (*destroy)(void *) = retired->destroy;
        queue->head = retired->next;
        if (!queue->head) {
            queue->tail = NULL;
        }
        if (retired->spare) {
            retired->next = pool->spare_free;
            pool->spare_free = retired;
        } else {
            free(retired);
        }
        destroy(ptr);
    }
}

/* On the worker: its turn is over. The last one tells the control thread. */
static void on_grace_turn_end(struct worker_turn_end *end)
{
    struct grace_part *part = (struct grace_part *)(void *)((char *)end - offsetof(struct grace_part, end));
    struct worker_pool *pool = part->pool;
    if (atomic_fetch_sub_explicit(&pool->grace_left, 1, memory_order_acq_rel) == 1) {
        mailbox_post(pool->control, &pool->grace_over);
    }
}

/* On the worker, in the midst of a turn: what it read before in this turn may be in use until its end. */
static void on_grace_message(struct mailbox_message *message, void *receiver)
{
    struct grace_part *part =
        (struct grace_part *)(void *)((char *)message - offsetof(struct grace_part, message));
    struct worker *worker = receiver;
    part->end.next = worker->turn_ends;
    worker->turn_ends = &part->end;
}

static void start_grace(struct worker_pool *pool)
{
    pool->passing = pool->waiting;
    pool->waiting = (struct retired_queue){0};
    pool->grace_running = true;
    atomic_store_explicit(&pool->grace_left, pool->count, memory_order_release);
    for (unsigned i = 0; i < pool->count; i++) {
        worker_post(pool->workers[i], &pool->grace_parts[i].message);
    }
}

static void on_grace_over(struct mailbox_message *message, void *receiver)
{
    struct worker_pool *pool = receiver;
    (void)message;
    queue_destroy_all(pool, &pool->passing);
    pool->grace_running = false;
    if (pool->waiting.head) {
        start_grace(pool);
    }
}

void worker_pool_retire(struct worker_pool *pool, void *ptr, void (*destroy)(void *ptr))
{
    struct retired *retired = malloc(sizeof(*retired));
    if (retired) {
        retired->spare = false;
    } else if (pool->spare_free) {
        retired = pool->spare_free;
        pool->spare_free = retired->next;
    } else {
        /* Freeing now could pull it from under a worker, waiting could block: losing it is the least harm. */
        log_line(LOG_LEVEL_ERROR, "out of memory, a retired object is never freed");
        return;
    }
    retired->ptr = ptr;
    retired->destroy = destroy;
    queue_append(&pool->waiting, retired);
    if (!pool->grace_running) {
        start_grace(pool);
    }
}

static void on_call_finished(struct mailbox_message *message, void *receiver)
{
    struct call *call = (struct call *)(void *)((char *)message - offsetof(struct call, finished));
    (void)receiver;
    if (call->done) {
        call->done(call->arg);
    }
    free(call);
}

/* On the worker. */
static void on_call_message(struct mailbox_message *message, void *receiver)
{
    struct call_part *part =
        (struct call_part *)(void *)((char *)message - offsetof(struct call_part, message));
    struct call *call = part->call;
    struct worker_pool *pool = call->pool;
    call->fn(receiver, call->arg);
    if (atomic_fetch_sub_explicit(&call->left, 1, memory_order_acq_rel) == 1) {
        mailbox_post(pool->control, &call->finished);
    }
}

int worker_pool_call(struct worker_pool *pool, void (*fn)(struct worker *worker, void *arg),
                     void (*done)(void *arg), void *arg)
{
    struct call *call = calloc(1, sizeof(*call) + pool->count * sizeof(call->parts[0]));
    if (!call) {
        return ERR_NOMEM;
    }
    call->pool = pool;
    call->fn = fn;
    call->done = done;
    call->arg = arg;
    call->finished.run = on_call_finished;
    atomic_init(&call->left, pool->count);
    for (unsigned i = 0; i < pool->count; i++) {
        call->parts[i].message.run = on_call_message;
        call->parts[i].call = call;
    }
    for (unsigned i = 0; i < pool->count; i++) {
        worker_post(pool->workers[i], &call->parts[i].message);
    }
    return ERR_OK;
}

/* How many processors this process may use. */
static unsigned usable_cpus(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1u;
}

static int create_workers(struct worker_pool *pool, const struct worker_pool_options *options,
                          struct err_text *err)
{
    /* A worker that looks while another waits for its processor would only be in the way. */
    uint64_t spin_us = options->count <= usable_cpus() ? options->spin_us : 0;
    for (unsigned i = 0; i < options->count; i++) {
        int rc = worker_create(i, spin_us, options->scratch_bytes, &pool->workers[i], err);
        if (rc) {
            return rc;
        }
        pool->grace_parts[i].message.run = on_grace_message;
        pool->grace_parts[i].end.run = on_grace_turn_end;
        pool->grace_parts[i].pool = pool;
        pool->count++;
    }
    return ERR_OK;
}

int worker_pool_create(const struct worker_pool_options *options, struct worker_pool **out,
                       struct err_text *err)
{
    if (options->count == 0 || !options->control) {
        return err_set(err, ERR_INVALID, "a pool needs at least one worker and the control thread's loop");
    }
    struct worker_pool *pool = calloc(1, sizeof(*pool));
    if (!pool) {
        return err_set(err, ERR_NOMEM, "no memory for %u workers", options->count);
    }
    pool->grace_over.run = on_grace_over;
    for (size_t i = 0; i < RETIRED_SPARE; i++) {
        pool->spare[i].spare = true;
        pool->spare[i].next = pool->spare_free;
        pool->spare_free = &pool->spare[i];
    }
    pool->workers = calloc(options->count, sizeof(struct worker *));
    pool->grace_parts = calloc(options->count, sizeof(struct grace_part));
    int rc = pool->workers && pool->grace_parts
                 ? mailbox_create(options->control, pool, &pool->control, err)
                 : err_set(err, ERR_NOMEM, "no memory for %u workers", options->count);
    if (rc == ERR_OK) {
        rc = create_workers(pool, options, err);
    }
    if (rc) {
        worker_pool_destroy(pool);
        return rc;
    }
    *out = pool;
    return ERR_OK;
}

static int start_worker(struct worker *worker)
{
    int rc = pthread_create(&worker->thread, NULL, worker_run, worker);
    if (rc == 0) {
        worker->started = true;
    }
    return rc;
}

int worker_pool_start(struct worker_pool *pool, struct err_text *err)
{
    sigset_t all;
    sigset_t before;
    int rc = 0;
    /* Signals are the main thread's. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < pool->count && rc == 0; i++) {
        rc = start_worker(pool->workers[i]);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        errno = rc;
        return err_set_errno(err, "cannot start %u worker threads", pool->count);
    }
    return ERR_OK;
}

static void stop_threads(struct worker_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->workers[i]->started) {
            worker_post(pool->workers[i], &pool->workers[i]->stop_message);
        }
    }
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->workers[i]->started) {
            (void)pthread_join(pool->workers[i]->thread, NULL);
        }
    }
}

/* With no thread left: does what they had still to do, here, until nobody has sent anything more. */
static void run_leftovers(struct worker_pool *pool)
{
    bool any = true;
    while (any) {
        any = mailbox_run_pending(pool->control);
        for (unsigned i = 0; i < pool->count; i++) {
            any |= mailbox_run_pending(pool->workers[i]->mailbox);
            any |= worker_end_turn(pool->workers[i]);
        }
    }
}

void worker_pool_destroy(struct worker_pool *pool)
{
    if (!pool) {
        return;
    }
    if (pool->control) {
        stop_threads(pool);
        run_leftovers(pool);
        for (unsigned i = 0; i < pool->count; i++) {
            worker_run_at_end(pool->workers[i]);
        }
        run_leftovers(pool);
        for (unsigned i = 0; i < pool->count; i++) {
            worker_destroy(pool->workers[i]);
        }
    }
    mailbox_destroy(pool->control);
    free(pool->grace_parts);
    free(pool->workers);
    free(pool);
}

unsigned worker_pool_count(const struct worker_pool *pool)
{
    return pool->count;
}

struct worker *worker_pool_get(struct worker_pool *pool, unsigned index)
{
    return pool->workers[index];
}
