/* For those who own a mailbox and end it together with others (worker_pool.c). */
#ifndef CORE_MAILBOX_INTERNAL_H
#define CORE_MAILBOX_INTERNAL_H

#include "core/mailbox.h"

#include <stdbool.h>

/* Runs every message that has arrived, in order, and those that arrive meanwhile. Returns whether there was
 * any. On the loop's thread or after it ended. */
bool mailbox_run_pending(struct mailbox *mailbox);

#endif
