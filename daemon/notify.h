/*
 * What a service manager is told (sd_notify(3)): that the program is ready, what it does, that its workers
 * are alive, that it stops. Nothing happens where no manager listens. Control thread.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include "core/err.h"
#include "core/worker.h"

#include <sys/types.h>

struct event_base;
struct notify;

/* Says READY, then STATUS every few seconds from describe(context, out, size), and WATCHDOG at half of the
 * manager's interval, but only while every worker ends its turns: a worker that hangs lets the watchdog bite.
 * pool and context are borrowed. *out is NULL where nobody listens. ERR_NOMEM. */
MUST_CHECK int notify_create(struct event_base *base, struct worker_pool *pool,
                             void (*describe)(void *context, char *out, size_t size), void *context,
                             struct notify **out, struct err_text *err);
/* A reload begins, and is over (RELOADING with MONOTONIC_USEC, then READY). NULL is allowed. */
void notify_reloading(struct notify *notify);
void notify_ready(struct notify *notify);
/* The end has begun. NULL is allowed. */
void notify_stopping(struct notify *notify);
/* Another process is the service's main one from now on; it tells of itself. NULL is allowed. */
void notify_successor(struct notify *notify, pid_t pid);
void notify_destroy(struct notify *notify);

#endif
