/*
 * Many timeouts of the same length at the cost of one timer: a queue in order of due time, with one libevent
 * timer for its head. Lazy: traffic only updates a timestamp in the owner; when an entry comes due, the
 * callback looks at that stamp and says when it is really due. One thread: that of the base.
 */
#ifndef CORE_DEADLINE_H
#define CORE_DEADLINE_H

#include "core/err.h"
#include "core/list.h"

#include <stdint.h>

struct event_base;
struct deadline_queue;

/* Embedded in its owner; in at most one queue. */
struct deadline {
    struct list node;
    uint64_t due_us; /* monotonic */
};

/*
 * Called when an entry has come due, already removed from the queue. Returns 0 when it is dealt with (the
 * owner may be gone), or the monotonic time at which it is really due (later than now): it is then queued
 * again.
 */
typedef uint64_t deadline_fn(struct deadline *deadline, uint64_t now_us, void *context);

/* length_us: the length all its entries share; more than 0. */
MUST_CHECK int deadline_queue_create(struct event_base *base, uint64_t length_us, deadline_fn *fn,
                                     void *context, struct deadline_queue **out, struct err_text *err);
/* The queue must be empty, or its entries' owners gone. */
void deadline_queue_destroy(struct deadline_queue *queue);
void deadline_init(struct deadline *deadline);
/* Arms (or re-arms, from any queue) for now_us + length_us. No allocation, cannot fail. */
void deadline_arm(struct deadline_queue *queue, struct deadline *deadline, uint64_t now_us);
void deadline_cancel(struct deadline *deadline);

#endif
