/* A thread with its own event loop and a mailbox, as the embedded backends and clients each have one. */
#ifndef DAEMON_DEMO_LOOP_H
#define DAEMON_DEMO_LOOP_H

#include "core/err.h"
#include "core/mailbox.h"

#include <pthread.h>
#include <stdbool.h>

struct event_base;

struct demo_loop {
    struct event_base *base; /* owned */
    struct mailbox *mailbox; /* owned; receiver as given to demo_loop_create */
    pthread_t thread;
    bool running;
    struct mailbox_message quit;
};

/* Makes base and mailbox; events can be added before demo_loop_start. On failure nothing is left. */
MUST_CHECK int demo_loop_create(struct demo_loop *loop, void *receiver, struct err_text *err);
MUST_CHECK int demo_loop_start(struct demo_loop *loop, struct err_text *err);
/* Any thread but the loop's own: ends the loop and joins the thread. Events may then be freed. */
void demo_loop_stop(struct demo_loop *loop);
/* After demo_loop_stop and after all events were freed. */
void demo_loop_clear(struct demo_loop *loop);

#endif
