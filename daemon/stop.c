/*
 * Answers for an orderly end: no new connections, then patience up to shutdown_timeout for those that are
 * open, then closing the rest. The control loop keeps turning meanwhile, so the admin socket answers and
 * health and migration go on; what a migration reached is in its journal and the next start goes on from
 * there. Control thread.
 */
#include "daemon/app_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "daemon/handover_internal.h"

#include <event2/event.h>

#define STOP_LOOK_US (20 * CLOCK_US_PER_MS)
#define STOP_TELL_US (5 * CLOCK_US_PER_S)
#define STOP_CLOSE_US (1 * CLOCK_US_PER_S) /* for connections that were told to close */

static void finish(struct app *app)
{
    app->state = APP_STOPPED;
    if (app->admin != NULL) {
        admin_tell_stop(app->admin);
    }
    log_line(LOG_LEVEL_INFO, "stopped", LOG_UINT("connections_cut", app_open(app)));
    event_base_loopbreak(app->base);
}

/* The wait is over: what is still open is closed. */
static void close_rest(struct app *app, uint64_t now_us)
{
    app->state = APP_CLOSING;
    app->stop_due_us = now_us + STOP_CLOSE_US;
    log_line(LOG_LEVEL_WARN, "shutdown_timeout is over: closing the connections still open",
             LOG_UINT("open", app_open(app)));
    for (size_t i = 0; i < app->services_len; i++) {
        const struct proxy_close_filter all = {.group = ROUTING_NONE, .backend = NULL};
        if (app->services[i].proxy != NULL &&
            proxy_service_close(app->services[i].proxy, &all, STATS_CLOSE_SHUTDOWN, NULL, NULL) != 0) {
            app->stop_due_us = now_us; /* without memory there is no orderly way: end now */
        }
    }
}

/* Nothing is open, and nobody waits any more where a reload took the address away. */
static bool is_done(const struct app *app)
{
    bool done = true;
    for (size_t i = 0; i < app->services_len; i++) {
        done &= app->services[i].proxy == NULL || proxy_service_is_closed(app->services[i].proxy);
    }
    return done;
}

static void on_look(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct app *app = context;
    uint64_t now_us = clock_mono_us();
    uint64_t open = app_open(app);
    if (handover_is_busy(app->handover)) {
        return; /* the next program is being ended, or clients still read their replies */
    }
    if (is_done(app) || (app->state == APP_CLOSING && now_us >= app->stop_due_us)) {
        finish(app);
    } else if (app->state == APP_DRAINING && now_us >= app->stop_due_us) {
        close_rest(app, now_us);
    } else if (now_us - app->stop_told_us >= STOP_TELL_US) {
        app->stop_told_us = now_us;
        log_line(LOG_LEVEL_INFO, "waiting for open connections", LOG_UINT("open", open),
                 LOG_TEXT("to_stop_at_once", "send SIGTERM again"));
    }
}

static int arm(struct app *app)
{
    const struct timeval every = {.tv_sec = 0, .tv_usec = STOP_LOOK_US};
    app->stop_timer = event_new(app->base, -1, EV_PERSIST, on_look, app);
    return app->stop_timer == NULL ? -1 : event_add(app->stop_timer, &every);
}

void app_stop(struct app *app, bool at_once, const char *why)
{
    if (app->state == APP_STOPPED) {
        return;
    }
    bool again = app->state > APP_SERVING;
    handover_cancel(app->handover);
    formers_stop(app, again || at_once);
    log_line(LOG_LEVEL_INFO, again || at_once ? "stopping at once" : "stopping: no new connections",
             LOG_TEXT("cause", why), LOG_UINT("open", app_open(app)));
    if (!again) {
        for (size_t i = 0; i < app->services_len; i++) {
            if (app->services[i].proxy != NULL) {
                proxy_service_stop(app->services[i].proxy);
            }
        }
        uint64_t now_us = clock_mono_us();
        uint64_t patience_us = app->config->shutdown_timeout_us;
        app->state = APP_DRAINING;
        notify_stopping(app->notify);
        app->stop_due_us = patience_us >= CLOCK_NEVER - now_us ? CLOCK_NEVER : now_us + patience_us;
        app->stop_told_us = now_us;
    }
    if (again || at_once || arm(app) != 0) {
        finish(app);
    }
}

void app_retire(struct app *app)
{
    uint64_t now_us = clock_mono_us();
    uint64_t patience_us = app->config->upgrade.drain_timeout_us;
    if (app->state > APP_SERVING) {
        return; /* it was told to stop meanwhile, and does */
    }
    app->state = APP_DRAINING;
    app->stop_due_us = patience_us >= CLOCK_NEVER - now_us ? CLOCK_NEVER : now_us + patience_us;
    app->stop_told_us = now_us;
    if (arm(app) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: this program does not end by itself");
    }
}

void app_hurry(struct app *app, bool at_once)
{
    uint64_t now_us = clock_mono_us();
    uint64_t patience_us = app->config->shutdown_timeout_us;
    if (app->state < APP_DRAINING) { /* who followed has it all, so this one has nothing to go on with */
        app_stop(app, at_once, "the program that took over was told to stop");
        return;
    }
    if (at_once) {
        finish(app);
    } else if (app->state == APP_DRAINING && patience_us < app->stop_due_us - now_us) {
        app->stop_due_us = now_us + patience_us;
    }
}
