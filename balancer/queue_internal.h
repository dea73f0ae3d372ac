/*
 * The queue of a group: connections that found every backend of it full, in order of arrival over all
 * workers. It has a lock, which nobody takes who does not wait and for whom nobody waits.
 *
 *     model group ──owns──▶ queue ◀──borrows── view group      queue ──lists──▶ waiters (the proxy's)
 */
#ifndef BALANCER_QUEUE_INTERNAL_H
#define BALANCER_QUEUE_INTERNAL_H

#include "balancer/routing.h"
#include "core/lock.h"

/* What one worker's connections waited, until they were served. That worker writes. */
struct queue_lane {
    struct histogram waited_us;
} __attribute__((aligned(64)));

struct queue {
    _Atomic uint32_t waiting; /* in the list; changed under the lock, read without */
    _Atomic uint32_t size;    /* most of them */
    _Atomic uint64_t timeout_us;
    unsigned workers;
    struct lock lock __attribute__((aligned(64)));
    struct list waiters; /* under the lock: in order of arrival */
    uint32_t woken;      /* under the lock: of them, those whose wake has not been seen to yet */
    struct queue_lane lanes[];
};

/* NULL without memory. */
struct queue *queue_create(unsigned workers);
/* Nobody waits any more. NULL is allowed. */
void queue_destroy(struct queue *queue);

struct routing_view;

/* After a publish: those for whom there is room now are woken, or all, when the split has changed. Control
 * thread. */
void queue_published(const struct routing_view *view, bool all);

#endif
