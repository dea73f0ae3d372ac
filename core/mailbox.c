/*
 * Messages into an event loop. Posting: any thread, a compare-and-swap and, when the mailbox was empty, one
 * write to an eventfd. Running: the loop's thread. Who owns a message, and what it does, is the sender's and
 * the receiver's business. A poster must not outlive the mailbox.
 */
#include "core/mailbox.h"

#include "core/mailbox_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    struct mailbox_message *_Atomic head; /* newest first */
    int fd;                               /* eventfd, owned */
    struct event *event;                  /* owned */
    void *receiver;                       /* borrowed */
};

bool mailbox_run_pending(struct mailbox *mailbox)
{
    struct mailbox_message *stack = atomic_exchange_explicit(&mailbox->head, NULL, memory_order_acquire);
    bool any = stack != NULL;
    while (stack) {
        struct mailbox_message *queue = NULL; /* oldest first */
        while (stack) {
            struct mailbox_message *next = atomic_load_explicit(&stack->next, memory_order_relaxed);
            atomic_store_explicit(&stack->next, queue, memory_order_relaxed);
            queue = stack;
            stack = next;
        }
        while (queue) {
            struct mailbox_message *message = queue;
            /* Read before the run: the receiver owns the memory from there and may free it. */
            queue = atomic_load_explicit(&message->next, memory_order_relaxed);
            message->run(message, mailbox->receiver);
        }
        stack = atomic_exchange_explicit(&mailbox->head, NULL, memory_order_acquire);
    }
    return any;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct mailbox *mailbox = context;
    eventfd_t count;
    (void)what;
    /* Emptied before the messages are taken: one that comes in between wakes the loop again. */
    (void)eventfd_read(fd, &count);
    (void)mailbox_run_pending(mailbox);
}

int mailbox_create(struct event_base *base, void *receiver, struct mailbox **out, struct err_text *err)
{
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
    if (!mailbox) {
        return err_set(err, ERR_NOMEM, "no memory for a mailbox");
    }
    mailbox->receiver = receiver;
    mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mailbox->fd < 0) {
        int rc = err_set_errno(err, "no eventfd for a mailbox");
        free(mailbox);
        return rc;
    }
    mailbox->event = event_new(base, mailbox->fd, EV_READ | EV_PERSIST, on_readable, mailbox);
    if (!mailbox->event || event_add(mailbox->event, NULL)) {
        if (mailbox->event) {
            event_free(mailbox->event);
        }
        (void)close(mailbox->fd);
        free(mailbox);
        return err_set(err, ERR_NOMEM, "no memory for a mailbox");
    }
    *out = mailbox;
    return ERR_OK;
}

void mailbox_destroy(struct mailbox *mailbox)
{
    if (!mailbox) {
        return;
    }
    (void)mailbox_run_pending(mailbox);
    event_free(mailbox->event);
    (void)close(mailbox->fd);
    free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message)
{
    struct mailbox_message *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    do {
        atomic_store_explicit(&message->next, head, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->head, &head, message, memory_order_release,
                                                    memory_order_relaxed));
    if (!head) {
        /* Whoever found it empty wakes the loop. Fails only when the counter is full: then it is awake. */
        int saved = errno;
        (void)eventfd_write(mailbox->fd, 1);
        errno = saved;
    }
}
