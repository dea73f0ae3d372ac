/*
 * Answers for the threads of the demo: starting one around an event loop and ending it in order. What runs on
 * them belongs to those who own them.
 */
#include "daemon/demo/loop.h"

#include <event2/event.h>
#include <string.h>

static void *run(void *context)
{
    struct demo_loop *loop = context;
    event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

static void on_quit(struct mailbox_message *message, void *receiver)
{
    (void)receiver;
    struct demo_loop *loop = (struct demo_loop *)(void *)((char *)message - offsetof(struct demo_loop, quit));
    event_base_loopbreak(loop->base);
}

int demo_loop_create(struct demo_loop *loop, void *receiver, struct err_text *err)
{
    *loop = (struct demo_loop){.quit = {.run = on_quit}};
    loop->base = event_base_new();
    if (loop->base == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while creating an event loop");
    }
    int rc = mailbox_create(loop->base, receiver, &loop->mailbox, err);
    if (rc != 0) {
        event_base_free(loop->base);
        loop->base = NULL;
    }
    return rc;
}

int demo_loop_start(struct demo_loop *loop, struct err_text *err)
{
    int code = pthread_create(&loop->thread, NULL, run, loop);
    if (code != 0) {
        return err_set(err, ERR_SYSTEM, "cannot start a thread: %s", strerror(code));
    }
    loop->running = true;
    return 0;
}

void demo_loop_stop(struct demo_loop *loop)
{
    if (loop->running) {
        mailbox_post(loop->mailbox, &loop->quit);
        pthread_join(loop->thread, NULL);
        loop->running = false;
    }
}

void demo_loop_clear(struct demo_loop *loop)
{
    if (loop->base != NULL) {
        mailbox_destroy(loop->mailbox);
        event_base_free(loop->base);
        loop->base = NULL;
    }
}
