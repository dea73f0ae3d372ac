/*
 * Where upgrades are asked for: whether one can begin, its beginning, its end when the program stops, and
 * what others may know of it. What happens in between is told in daemon/handover_steps.h. Control thread.
 */
#include "daemon/handover_steps.h"

#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log.h"
#include "daemon/starter.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

void handover_arm(struct handover *h, uint64_t us)
{
    const struct timeval time = {.tv_sec = (time_t)(us / CLOCK_US_PER_S),
                                 .tv_usec = (suseconds_t)(us % CLOCK_US_PER_S)};
    if (event_add(h->timer, &time) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: an upgrade has no deadline");
    }
}

void handover_disarm(struct handover *h)
{
    (void)event_del(h->timer);
}

/* Whether one can begin now. */
static int examine(const struct handover *h, struct err_text *err)
{
    if (app_is_stopping(h->app)) {
        return err_set(err, ERR_STATE, "the program is stopping");
    }
    if (h->step != STEP_NONE) {
        return err_set(err, ERR_STATE, "an upgrade is under way already");
    }
    if (h->app->reload != NULL) {
        return err_set(err, ERR_STATE, "a reload is under way: try again when it is over");
    }
    if (h->app->settling) {
        return err_set(err, ERR_STATE, "the last upgrade has not settled yet: try again in a second");
    }
    if (h->starter_event == NULL) {
        return err_set(err, ERR_UNAVAILABLE,
                       "the process that starts programs is gone: a restart brings it back");
    }
    return 0;
}

int handover_begin(struct handover *h, const char *actor, const char *reason, handover_done_fn *done,
                   void *context, struct err_text *err)
{
    int rc = examine(h, err);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(h->actor, sizeof(h->actor), "%s", actor);
    (void)snprintf(h->reason, sizeof(h->reason), "%s", reason != NULL ? reason : "");
    (void)snprintf(h->version, sizeof(h->version), "?");
    (void)failpoint("upgrade-begin");
    rc = handover_start(h, err);
    if (rc != 0) {
        return rc;
    }
    h->step = STEP_BUILDING;
    h->starting = true;
    h->pid = 0;
    h->done = done;
    h->done_context = context;
    notify_reloading(h->app->notify);
    log_line(LOG_LEVEL_INFO, "upgrade: the new program is started", LOG_TEXT("actor", h->actor));
    handover_arm(h, h->app->config->upgrade.ready_timeout_us);
    return 0;
}

void handover_signal(struct handover *h)
{
    struct err_text err;
    h->again = false;
    if (h->app->settling && !app_is_stopping(h->app)) {
        h->again = true; /* handover_settled asks again */
    } else if (handover_begin(h, "signal", NULL, NULL, NULL, &err) != 0) {
        events_add(h->app->events, clock_wall_us(), EVENTS_ERROR, NULL, "upgrade", "signal", NULL,
                   "not upgraded: %s", err.text);
    }
}

void handover_asked_by(const struct handover *h, const char **actor, const char **reason)
{
    *actor = h->actor;
    *reason = h->reason;
}

void handover_settled(struct handover *h)
{
    if (h->again) {
        handover_signal(h);
    }
}

/* ---- life */

int handover_create(struct app *app, struct starter *starter, struct handover **out)
{
    struct handover *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return ERR_NOMEM;
    }
    h->app = app;
    h->starter = starter;
    h->timer = evtimer_new(app->base, handover_on_time, h);
    if (starter != NULL) {
        h->starter_event =
            event_new(app->base, starter_fd(starter), EV_READ | EV_PERSIST, handover_on_starter, h);
    }
    if (h->timer == NULL ||
        (starter != NULL && (h->starter_event == NULL || event_add(h->starter_event, NULL) != 0))) {
        handover_destroy(h);
        return ERR_NOMEM;
    }
    *out = h;
    return 0;
}

void handover_destroy(struct handover *h)
{
    if (h == NULL) {
        return;
    }
    if (h->step == STEP_LEFT || h->step == STEP_LINGERING) {
        handover_send_counts(h); /* the last ones */
    } else if (h->step != STEP_NONE && h->starter_event != NULL) {
        starter_kill(h->starter); /* it reads that before it sees us go */
    }
    handover_drop_channel(h);
    if (h->starter_event != NULL) {
        event_free(h->starter_event);
    }
    if (h->timer != NULL) {
        event_free(h->timer);
    }
    free(h);
}

void handover_cancel(struct handover *h)
{
    if (h->step == STEP_SETTLING) { /* it has all: the word goes to it too */
        (void)(handover_send_json(h->channel, HANDOVER_STOP, json_pack("{s:b}", "at_once", 0), NULL, 0) == 0);
        return;
    }
    if (h->step < STEP_LINGERING) { /* else it is the service, and none of our business */
        handover_fail(h, "the program is told to stop");
    }
}

bool handover_is_busy(const struct handover *h)
{
    return h->step != STEP_NONE && h->step != STEP_LEFT;
}

bool handover_is_under_way(const struct handover *h)
{
    return h->step != STEP_NONE;
}
