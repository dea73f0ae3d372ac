/*
 * Messages into an event loop from any thread: an intrusive lock-free stack (Treiber 1986; emptied whole and
 * reversed, so no ABA) and an eventfd that wakes the loop. Messages from one sender arrive in order.
 */
#ifndef CORE_MAILBOX_H
#define CORE_MAILBOX_H

#include "core/err.h"

#include <stdatomic.h>

struct event_base;
struct mailbox;

/* Embedded in what is sent. The sender owns the memory until run is called, then the receiver does. */
struct mailbox_message {
    struct mailbox_message *_Atomic next;
    void (*run)(struct mailbox_message *message, void *receiver);
};

/* receiver is handed to every run. base: the loop's, borrowed; messages run on the thread that runs it. */
MUST_CHECK int mailbox_create(struct event_base *base, void *receiver, struct mailbox **out,
                              struct err_text *err);
/* On the loop's thread or after it ended. Messages not yet run are run first. */
void mailbox_destroy(struct mailbox *mailbox);
/* Any thread; never blocks, never fails. The caller must not outlive the mailbox. */
void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message);

#endif
