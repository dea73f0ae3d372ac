/*
 * Many timeouts of one length on one timer. The queue is cut into slots of a fraction of that length, each a
 * list in order of due time (after Varghese and Lauck's timing wheels, 1987): arming anew appends in O(1),
 * and an entry put back with an odd due time passes only the few others of its slot. Runs on the thread of
 * the base. What a due entry means is the callback's business.
 */
#include "core/deadline.h"

#include "core/clock.h"

#include <assert.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>

/* Slots that one length spans, and all: twice that, as entries may be up to one length late. */
#define SLOTS_PER_LENGTH UINT64_C(128)
#define SLOTS (2 * SLOTS_PER_LENGTH)
/* How long a timer without entries sleeps. */
#define PARKED_US (86400 * CLOCK_US_PER_S)

struct deadline_queue {
    uint64_t length_us;
    uint64_t slot_us; /* width of a slot */
    deadline_fn *fn;
    void *context;       /* borrowed */
    struct event *timer; /* owned; always pending */
    uint64_t timer_us;   /* when it fires for an entry; CLOCK_NEVER: the queue was found empty */
    uint64_t cursor;     /* due time / slot_us below which all slots are empty */
    bool firing;         /* on_timer runs: it sets the timer when it is through */
    struct list slot[SLOTS];
};

static struct deadline *deadline_of(struct list *node)
{
    return list_entry(node, struct deadline, node);
}

static struct list *slot_of(struct deadline_queue *queue, uint64_t slot_number)
{
    return &queue->slot[slot_number % SLOTS];
}

/* due_us CLOCK_NEVER: nothing to wait for. The timer stays pending all the same: setting one that is pending
 * takes no memory, so it cannot fail. */
static void set_timer(struct deadline_queue *queue, uint64_t due_us, uint64_t now_us)
{
    uint64_t wait_us = due_us == CLOCK_NEVER ? PARKED_US : due_us > now_us ? due_us - now_us : 0;
    struct timeval tv = {.tv_sec = (time_t)(wait_us / CLOCK_US_PER_S),
                         .tv_usec = (suseconds_t)(wait_us % CLOCK_US_PER_S)};
    (void)event_add(queue->timer, &tv);
    queue->timer_us = due_us;
}

/* Puts an entry that is in no list where it belongs. */
static void insert(struct deadline_queue *queue, struct deadline *deadline)
{
    struct list *head = slot_of(queue, deadline->due_us / queue->slot_us);
    struct list *after = head->prev;
    while (after != head && deadline_of(after)->due_us > deadline->due_us) {
        after = after->prev;
    }
    list_append(after->next, &deadline->node);
}

/* Hands over one due entry, and puts it back when it is not due after all. */
static void expire(struct deadline_queue *queue, struct deadline *deadline, uint64_t now_us)
{
    list_remove(&deadline->node);
    uint64_t due_us = queue->fn(deadline, now_us, queue->context);
    if (due_us == 0) {
        return;
    }
    /* Beyond one length the wheel does not reach: the entry is then asked again, which it is made for. */
    uint64_t latest_us = now_us + queue->length_us;
    list_remove(&deadline->node); /* the callback may have armed it itself */
    deadline->due_us = due_us <= now_us ? now_us + 1 : due_us < latest_us ? due_us : latest_us;
    insert(queue, deadline);
}

/* Sets the timer for the first entry, if any. */
static void await_next(struct deadline_queue *queue, uint64_t now_us)
{
    for (uint64_t number = queue->cursor; number < queue->cursor + SLOTS; number++) {
        struct list *head = slot_of(queue, number);
        if (!list_empty(head)) {
            queue->cursor = number;
            set_timer(queue, deadline_of(head->next)->due_us, now_us);
            return;
        }
    }
    set_timer(queue, CLOCK_NEVER, now_us);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct deadline_queue *queue = context;
    uint64_t now_us = clock_mono_us();
    uint64_t last = now_us / queue->slot_us;
    (void)fd;
    (void)what;
    queue->firing = true;
    if (last >= queue->cursor + SLOTS) {
        queue->cursor = last - SLOTS + 1; /* the loop stood still for long: every slot once is enough */
    }
    for (uint64_t number = queue->cursor; number <= last; number++) {
        struct list *head = slot_of(queue, number);
        /* Looked at anew each time: the callback may cancel any entry. */
        while (!list_empty(head) && deadline_of(head->next)->due_us <= now_us) {
            expire(queue, deadline_of(head->next), now_us);
        }
    }
    queue->cursor = last;
    queue->firing = false;
    await_next(queue, now_us);
}

int deadline_queue_create(struct event_base *base, uint64_t length_us, deadline_fn *fn, void *context,
                          struct deadline_queue **out, struct err_text *err)
{
    if (length_us == 0 || length_us > CLOCK_NEVER / 4) {
        return err_set(err, ERR_INVALID, "a timeout must be longer than 0 and bounded");
    }
    struct deadline_queue *queue = calloc(1, sizeof(*queue));
    if (!queue) {
        return err_set(err, ERR_NOMEM, "no memory for a queue of timeouts");
    }
    queue->length_us = length_us;
    queue->slot_us = length_us / SLOTS_PER_LENGTH + 1;
    queue->fn = fn;
    queue->context = context;
    for (size_t i = 0; i < SLOTS; i++) {
        list_init(&queue->slot[i]);
    }
    struct timeval parked = {.tv_sec = (time_t)(PARKED_US / CLOCK_US_PER_S)};
    queue->timer_us = CLOCK_NEVER;
    queue->timer = event_new(base, -1, EV_PERSIST, on_timer, queue);
    if (!queue->timer || event_add(queue->timer, &parked)) {
        deadline_queue_destroy(queue);
        return err_set(err, ERR_NOMEM, "no memory for a queue of timeouts");
    }
    *out = queue;
    return ERR_OK;
}

void deadline_queue_destroy(struct deadline_queue *queue)
{
    if (!queue) {
        return;
    }
    assert(!queue->firing);
    if (queue->timer) {
        event_free(queue->timer);
    }
    free(queue);
}

void deadline_init(struct deadline *deadline)
{
    list_init(&deadline->node);
    deadline->due_us = 0;
}

void deadline_arm(struct deadline_queue *queue, struct deadline *deadline, uint64_t now_us)
{
    list_remove(&deadline->node);
    deadline->due_us = now_us + queue->length_us;
    if (queue->timer_us == CLOCK_NEVER && !queue->firing) {
        queue->cursor = now_us / queue->slot_us; /* the queue was empty */
    }
    insert(queue, deadline);
    if (!queue->firing && deadline->due_us < queue->timer_us) {
        set_timer(queue, deadline->due_us, now_us);
    }
}

void deadline_cancel(struct deadline *deadline)
{
    list_remove(&deadline->node);
}
