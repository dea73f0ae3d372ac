/*
 * One worker: its loop, the work it does between turns, and the look before it sleeps. Everything here runs
 * on the worker's own thread, or before that thread starts. Starting, stopping and reclaiming memory over all
 * workers is worker_pool.c's business; when looking pays is spin.c's.
 *
 * A turn: wait for events and run their callbacks; run the tasks continued from the turn before; run deferred
 * tasks; tell those who wait for the end of the turn. Continued tasks are not made active events of libevent:
 * it would run them in the same pass over and over, before it looks for events of others.
 */
#include "core/worker.h"

#include "core/clock.h"
#include "core/stats.h"
#include "core/worker_internal.h"

#include <assert.h>
#include <event2/event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES_DEFAULT ((size_t)64 * 1024)
#define CACHE_LINE 64u

static void queue_append(struct worker_queue *queue, struct worker_task *task)
{
    assert(task->run);
    if (task->queued) {
        return;
    }
    task->queued = true;
    task->next = NULL;
    if (queue->tail) {
        queue->tail->next = task;
    } else {
        queue->head = task;
    }
    queue->tail = task;
}

static struct worker_task *queue_pop(struct worker_queue *queue)
{
    struct worker_task *task = queue->head;
    if (task) {
        queue->head = task->next;
        if (!queue->head) {
            queue->tail = NULL;
        }
        task->next = NULL;
        task->queued = false;
    }
    return task;
}

static bool queue_remove(struct worker_queue *queue, struct worker_task *task)
{
    struct worker_task *before = NULL;
    for (struct worker_task *t = queue->head; t; before = t, t = t->next) {
        if (t != task) {
            continue;
        }
        if (before) {
            before->next = task->next;
        } else {
            queue->head = task->next;
        }
        if (queue->tail == task) {
            queue->tail = before;
        }
        task->next = NULL;
        task->queued = false;
        return true;
    }
    return false;
}

static bool queue_run(struct worker_queue *queue, struct worker *worker)
{
    bool any = false;
    struct worker_task *task;
    while ((task = queue_pop(queue)) != NULL) {
        any = true;
        task->run(task, worker);
    }
    return any;
}

bool worker_end_turn(struct worker *worker)
{
    bool any = queue_run(&worker->deferred, worker);
    while (worker->turn_ends) {
        struct worker_turn_end *end = worker->turn_ends;
        worker->turn_ends = end->next;
        any = true;
        end->run(end);
    }
    return any;
}

static void poll_once(struct worker *worker)
{
    (void)event_base_loop(worker->base, EVLOOP_NONBLOCK);
}

/* Something to do that no event announces. */
static bool has_work(const struct worker *worker)
{
    return worker->stopping || worker->deferred.head || worker->continued.head || worker->turn_ends;
}

/* Looks for events without sleeping. Lets others have the processor between two looks: where the peer shares
 * it, the events that are looked for come only that way. */
static void look(struct worker *worker)
{
    uint64_t start_us = clock_mono_us();
    uint64_t now_us = start_us;
    stats_add(&worker->load.spins, 1);
    worker->await_activity = true;
    do {
        poll_once(worker);
        if (worker->activity > 0 || has_work(worker)) {
            break;
        }
        (void)sched_yield();
        now_us = clock_mono_us();
    } while (now_us - start_us < worker->spin.look_us);
    worker->await_activity = false;
    if (worker->activity > 0) {
        now_us = worker->first_active_us;
        stats_add(&worker->load.spin_hits, 1);
        spin_found(&worker->spin, now_us - start_us, worker->activity);
    } else if (!has_work(worker)) {
        spin_missed(&worker->spin);
        worker->waiting_since_us = start_us;
    }
    stats_add(&worker->load.spin_us, now_us - start_us);
}

static void sleep_for_events(struct worker *worker)
{
    bool measure = worker->spin.look_us > 0;
    uint64_t since_us = 0;
    if (measure) {
        since_us = worker->waiting_since_us ? worker->waiting_since_us : clock_mono_us();
        worker->await_activity = true;
    }
    stats_add(&worker->load.sleeps, 1);
    (void)event_base_loop(worker->base, EVLOOP_ONCE);
    if (measure) {
        worker->await_activity = false;
        worker->waiting_since_us = 0;
        spin_slept(&worker->spin, worker->activity > 0 ? worker->first_active_us - since_us : 0,
                   worker->activity);
    }
}

/* may_sleep: until something happens. */
static void turn(struct worker *worker, bool may_sleep)
{
    worker->continued_now = worker->continued;
    worker->continued = (struct worker_queue){0};
    worker->activity = 0;
    if (worker->continued_now.head || !may_sleep) {
        poll_once(worker);
    } else if (spin_should_look(&worker->spin)) {
        look(worker);
    } else {
        sleep_for_events(worker);
    }
    (void)queue_run(&worker->continued_now, worker);
    (void)worker_end_turn(worker);
    stats_add(&worker->load.turns, 1);
}

bool worker_turn(struct worker *worker)
{
    turn(worker, false);
    return worker->activity > 0 || has_work(worker);
}

void *worker_run(void *context)
{
    struct worker *worker = context;
    char name[16];
    /* By itself: another thread would have to write a file for it, which a sandbox may forbid. */
    (void)snprintf(name, sizeof(name), "shunt-w%u", worker->index);
    (void)pthread_setname_np(pthread_self(), name);
    while (!worker->stopping) {
        turn(worker, true);
    }
    return NULL;
}

static void on_stop(struct mailbox_message *message, void *receiver)
{
    struct worker *worker = receiver;
    (void)message;
    worker->stopping = true;
}

/* An event base that only its own thread uses. */
static struct event_base *create_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;
    if (config) {
        /* The environment (EVENT_NOEPOLL) must not change what was measured. */
        if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0) {
            base = event_base_new_with_config(config);
        }
        event_config_free(config);
    }
    return base;
}

int worker_create(unsigned index, uint64_t spin_us, size_t scratch_bytes, struct worker **out,
                  struct err_text *err)
{
    struct worker *worker = aligned_alloc(CACHE_LINE, sizeof(*worker));
    if (!worker) {
        return err_set(err, ERR_NOMEM, "no memory for a worker");
    }
    memset(worker, 0, sizeof(*worker));
    worker->index = index;
    worker->stop_message.run = on_stop;
    worker->scratch_bytes = scratch_bytes ? scratch_bytes : SCRATCH_BYTES_DEFAULT;
    spin_init(&worker->spin, spin_us);
    random_seed_system(&worker->random);
    worker->scratch = malloc(worker->scratch_bytes);
    worker->base = create_base();
    int rc = ERR_OK;
    if (!worker->scratch || !worker->base) {
        rc = err_set(err, ERR_NOMEM, "no memory or no descriptors for a worker");
    } else {
        rc = mailbox_create(worker->base, worker, &worker->mailbox, err);
    }
    if (rc) {
        worker_destroy(worker);
        return rc;
    }
    *out = worker;
    return ERR_OK;
}

void worker_destroy(struct worker *worker)
{
    if (!worker) {
        return;
    }
    mailbox_destroy(worker->mailbox);
    if (worker->base) {
        event_base_free(worker->base);
    }
    free(worker->scratch);
    free(worker);
}

unsigned worker_index(const struct worker *worker)
{
    return worker->index;
}

void worker_post(struct worker *worker, struct mailbox_message *message)
{
    mailbox_post(worker->mailbox, message);
}

struct event_base *worker_base(struct worker *worker)
{
    return worker->base;
}

struct random_state *worker_random(struct worker *worker)
{
    return &worker->random;
}

unsigned char *worker_scratch(struct worker *worker, size_t *size)
{
    *size = worker->scratch_bytes;
    return worker->scratch;
}

void worker_defer(struct worker *worker, struct worker_task *task)
{
    queue_append(&worker->deferred, task);
}

void worker_continue(struct worker *worker, struct worker_task *task)
{
    queue_append(&worker->continued, task);
}

void worker_at_end(struct worker *worker, struct worker_task *task)
{
    queue_append(&worker->at_end, task);
}

void worker_run_at_end(struct worker *worker)
{
    (void)queue_run(&worker->at_end, worker);
}

void worker_cancel(struct worker *worker, struct worker_task *task)
{
    if (task->queued && !queue_remove(&worker->deferred, task) &&
        !queue_remove(&worker->continued_now, task)) {
        (void)queue_remove(&worker->continued, task);
    }
}

void worker_note_activity(struct worker *worker)
{
    if (worker->activity++ == 0 && worker->await_activity) {
        worker->first_active_us = clock_mono_us();
    }
}

void worker_read_load(const struct worker *worker, struct worker_load *out)
{
    out->turns = atomic_load_explicit(&worker->load.turns, memory_order_relaxed);
    out->sleeps = atomic_load_explicit(&worker->load.sleeps, memory_order_relaxed);
    out->spins = atomic_load_explicit(&worker->load.spins, memory_order_relaxed);
    out->spin_hits = atomic_load_explicit(&worker->load.spin_hits, memory_order_relaxed);
    out->spin_us = atomic_load_explicit(&worker->load.spin_us, memory_order_relaxed);
}
