/*
 * Answers for the clock of slow starts: while a backend of any service starts slowly, its weight is moved on
 * ten times a second; otherwise nothing runs. Control thread. What a weight is at a time, and what follows
 * from it, is the balancer's business.
 */
#include "core/clock.h"
#include "core/log.h"
#include "daemon/app_internal.h"

#include <event2/event.h>

#define TICK_US (100 * CLOCK_US_PER_MS)

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    struct app *app = context;
    const struct timeval tick = {.tv_usec = TICK_US};
    uint64_t now_us = clock_mono_us();
    bool any = false;
    (void)fd;
    (void)what;
    for (size_t i = 0; i < app->services_len; i++) {
        struct routing *routing = app->services[i].routing;
        struct err_text err;
        if (routing == NULL) {
            continue;
        }
        any |= routing_slow_start(routing, now_us);
        if (routing_publish(routing, &err) != 0) {
            log_line(LOG_LEVEL_ERROR, "a slow start stands still", LOG_TEXT("error", err.text));
            any = true; /* there may be memory at the next tick */
        }
    }
    if (any && evtimer_add(app->slow_start_timer, &tick) != 0) {
        event_active(app->slow_start_timer, EV_TIMEOUT, 0);
    }
}

void app_slow_start(void *context)
{
    struct app *app = context;
    if (app->slow_start_timer == NULL) {
        app->slow_start_timer = evtimer_new(app->base, on_tick, app);
    }
    if (app->slow_start_timer == NULL) {
        log_line(LOG_LEVEL_ERROR, "out of memory: a backend stays at the beginning of its slow start");
        return;
    }
    /* At once, when the change that brought it back is in force. */
    event_active(app->slow_start_timer, EV_TIMEOUT, 0);
}
