/*
 * Talks to the service manager over sd_notify(3). The watchdog asks the workers: something is retired through
 * them, and only when all of them have let it pass is the manager told that all is well. Control thread.
 */
#include "daemon/notify.h"

#include "core/clock.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#define STATUS_EVERY_US (5 * CLOCK_US_PER_S)
#define STATUS_MAX 512u

/* One question to the workers. It may come back after notify is gone. */
struct beat {
    struct notify *notify; /* NULL: gone */
};

struct notify {
    struct worker_pool *pool; /* borrowed */
    void (*describe)(void *context, char *out, size_t size);
    void *context;
    struct event *status_timer;   /* owned */
    struct event *watchdog_timer; /* owned; NULL: no watchdog */
    struct beat *beat;            /* under way; NULL: none */
};

static void on_beat(void *ptr)
{
    struct beat *beat = ptr;
    if (beat->notify != NULL) {
        beat->notify->beat = NULL;
        (void)sd_notify(0, "WATCHDOG=1");
    }
    free(beat);
}

static void on_watchdog(evutil_socket_t fd, short what, void *context)
{
    struct notify *notify = context;
    (void)fd;
    (void)what;
    if (notify->beat != NULL) {
        return; /* a worker has not ended its turn since */
    }
    notify->beat = malloc(sizeof(*notify->beat));
    if (notify->beat == NULL) {
        (void)sd_notify(0, "WATCHDOG=1"); /* short of memory is not hung */
        return;
    }
    notify->beat->notify = notify;
    worker_pool_retire(notify->pool, notify->beat, on_beat);
}

static void tell_status(const struct notify *notify)
{
    char text[STATUS_MAX];
    notify->describe(notify->context, text, sizeof(text));
    (void)sd_notifyf(0, "STATUS=%s", text);
}

static void on_status(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    tell_status(context);
}

static struct event *every(struct event_base *base, uint64_t us, event_callback_fn fn, void *context)
{
    const struct timeval time = {.tv_sec = (time_t)(us / CLOCK_US_PER_S),
                                 .tv_usec = (suseconds_t)(us % CLOCK_US_PER_S)};
    struct event *timer = event_new(base, -1, EV_PERSIST, fn, context);
    if (timer != NULL && event_add(timer, &time) != 0) {
        event_free(timer);
        timer = NULL;
    }
    return timer;
}

int notify_create(struct event_base *base, struct worker_pool *pool,
                  void (*describe)(void *context, char *out, size_t size), void *context, struct notify **out,
                  struct err_text *err)
{
    uint64_t watchdog_us = 0;
    *out = NULL;
    if (getenv("NOTIFY_SOCKET") == NULL) {
        return 0;
    }
    struct notify *notify = calloc(1, sizeof(*notify));
    if (notify == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while setting up the service manager's notices");
    }
    *notify = (struct notify){.pool = pool, .describe = describe, .context = context};
    notify->status_timer = every(base, STATUS_EVERY_US, on_status, notify);
    bool watched = sd_watchdog_enabled(0, &watchdog_us) > 0 && watchdog_us > 1;
    if (watched) {
        notify->watchdog_timer = every(base, watchdog_us / 2, on_watchdog, notify);
    }
    if (notify->status_timer == NULL || (watched && notify->watchdog_timer == NULL)) {
        notify_destroy(notify);
        return err_set(err, ERR_NOMEM, "out of memory while setting up the service manager's notices");
    }
    notify_ready(notify);
    *out = notify;
    return 0;
}

void notify_ready(struct notify *notify)
{
    if (notify != NULL) {
        (void)sd_notify(0, "READY=1");
        tell_status(notify);
    }
}

void notify_reloading(struct notify *notify)
{
    if (notify != NULL) {
        (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_mono_us());
    }
}

void notify_stopping(struct notify *notify)
{
    if (notify != NULL) {
        (void)sd_notify(0, "STOPPING=1\nSTATUS=waiting for open connections");
    }
}

void notify_successor(struct notify *notify, pid_t pid)
{
    if (notify != NULL) {
        (void)sd_notifyf(0, "MAINPID=%d\nREADY=1", (int)pid);
    }
}

void notify_destroy(struct notify *notify)
{
    if (notify == NULL) {
        return;
    }
    if (notify->status_timer != NULL) {
        event_free(notify->status_timer);
    }
    if (notify->watchdog_timer != NULL) {
        event_free(notify->watchdog_timer);
    }
    if (notify->beat != NULL) {
        notify->beat->notify = NULL;
    }
    free(notify);
}
