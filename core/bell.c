/*
 * A bell: one message in a mailbox of its own, posted by the first to ring since it was heard. Rung on any
 * thread, heard on the thread of its loop. What it means is the listener's business.
 */
#include "core/bell.h"

#include "core/mailbox.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct bell {
    struct mailbox_message message; /* first */
    struct mailbox *mailbox;        /* owned */
    _Atomic bool rung;              /* the message is under way */
    void (*hear)(void *context);    /* NULL: it is being taken down */
    void *context;
};

static void on_message(struct mailbox_message *message, void *receiver)
{
    struct bell *bell = receiver;
    (void)message;
    /* Before looking, so that what comes meanwhile rings again; and acquires what was written before. */
    (void)atomic_exchange_explicit(&bell->rung, false, memory_order_acq_rel);
    if (bell->hear != NULL) {
        bell->hear(bell->context);
    }
}

int bell_create(struct event_base *base, void (*hear)(void *context), void *context, struct bell **out,
                struct err_text *err)
{
    struct bell *bell = calloc(1, sizeof(*bell));
    if (bell == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a bell");
    }
    bell->message.run = on_message;
    bell->hear = hear;
    bell->context = context;
    int rc = mailbox_create(base, bell, &bell->mailbox, err);
    if (rc != 0) {
        free(bell);
        return rc;
    }
    *out = bell;
    return 0;
}

void bell_destroy(struct bell *bell)
{
    if (bell != NULL) {
        bell->hear = NULL;
        mailbox_destroy(bell->mailbox);
        free(bell);
    }
}

void bell_ring(struct bell *bell)
{
    if (!atomic_load_explicit(&bell->rung, memory_order_relaxed) &&
        !atomic_exchange_explicit(&bell->rung, true, memory_order_acq_rel)) {
        mailbox_post(bell->mailbox, &bell->message);
    }
}
