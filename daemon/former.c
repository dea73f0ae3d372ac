/*
 * Programs before this one that still have connections open: what they counted is shown as ours, drains wait
 * for them and close there too, and a stop reaches them. One that is gone stays in the sums. Control thread.
 */
#include "daemon/handover_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <event2/event.h>
#include <stdlib.h>

static void destroy(struct former *former)
{
    list_remove(&former->node);
    if (former->event != NULL) {
        event_free(former->event);
    }
    channel_destroy(former->channel);
    json_decref(former->report);
    free(former);
}

int former_add(struct app *app, struct channel *channel, pid_t pid, bool last)
{
    struct former *former = calloc(1, sizeof(*former));
    if (former == NULL) {
        channel_destroy(channel);
        return ERR_NOMEM;
    }
    former->app = app;
    former->channel = channel;
    former->pid = pid;
    former->last = last;
    list_append(&app->formers, &former->node);
    return 0;
}

struct former *former_last(const struct app *app)
{
    list_each (node, &app->formers) {
        struct former *former = list_entry(node, struct former, node);
        if (former->last) {
            return former;
        }
    }
    return NULL;
}

void formers_sum(struct app *app)
{
    json_t *sum = json_object();
    int rc = sum == NULL ? ERR_NOMEM : app->ended != NULL ? report_add(sum, app->ended) : 0;
    list_each (node, &app->formers) {
        const struct former *former = list_entry(node, struct former, node);
        if (rc == 0 && former->report != NULL) {
            rc = report_add(sum, former->report);
        }
    }
    if (rc == 0) {
        formers_recall(app, sum);
        report_inherit(app, sum);
    }
    json_decref(sum);
}

size_t formers_list(void *context, struct admin_former *out, size_t max)
{
    const struct app *app = context;
    size_t len = 0;
    list_each (node, &app->formers) {
        const struct former *former = list_entry(node, struct former, node);
        if (len < max) {
            out[len++] = (struct admin_former){.pid = former->pid, .open = report_open(former->report)};
        }
    }
    return len;
}

/* Its last connection has ended, or it died: what it counted stays. */
static void end(struct former *former)
{
    struct app *app = former->app;
    log_line(LOG_LEVEL_INFO, "a former program has ended", LOG_UINT("pid", (uint64_t)former->pid));
    if (former->report != NULL) {
        report_end(former->report);
        if (app->ended == NULL) {
            app->ended = json_incref(former->report);
        } else {
            (void)(report_add(app->ended, former->report) == 0);
        }
    }
    bool last = former->last;
    destroy(former);
    formers_sum(app);
    if (last) {
        successor_on_left(app); /* it may have died before it could say so */
    }
}

static void on_message(struct former *former, const struct channel_message *message)
{
    if (message->kind == HANDOVER_LEFT && former->last) {
        successor_on_left(former->app);
    } else if (message->kind == HANDOVER_STOP) {
        app_stop(former->app, false, "the former program was told to stop");
    } else if (message->kind == HANDOVER_COUNTS) {
        json_t *report = json_loadb((const char *)message->body, message->length, 0, NULL);
        if (report != NULL) {
            json_decref(former->report);
            former->report = report;
        }
    }
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct former *former = context;
    struct channel_message message;
    int rc = channel_receive(former->channel, &message);
    (void)fd;
    (void)what;
    bool any = rc > 0;
    for (; rc > 0; rc = channel_receive(former->channel, &message)) {
        on_message(former, &message);
        channel_message_clear(&message);
    }
    if (rc < 0) {
        end(former);
    } else if (any) {
        formers_sum(former->app);
    }
}

int formers_listen(struct app *app)
{
    list_each (node, &app->formers) {
        struct former *former = list_entry(node, struct former, node);
        if (former->event == NULL) {
            former->event =
                event_new(app->base, channel_fd(former->channel), EV_READ | EV_PERSIST, on_readable, former);
        }
        if (former->event == NULL || event_add(former->event, NULL) != 0) {
            return ERR_NOMEM;
        }
    }
    formers_sum(app);
    return 0;
}

void formers_pause(struct app *app)
{
    list_each (node, &app->formers) {
        struct former *former = list_entry(node, struct former, node);
        if (former->event != NULL) {
            (void)event_del(former->event);
        }
    }
    report_inherit(app, app->ended);
}

void formers_close(struct app *app, const char *service, const char *group,
                   const struct migration_close *what)
{
    list_each (node, &app->formers) {
        json_t *order = json_pack("{s:s, s:s, s:I, s:I, s:b, s:b}", "service", service, "group", group, "max",
                                  what->max > INT64_MAX ? (json_int_t)0 : (json_int_t)what->max, "idle_us",
                                  (json_int_t)what->idle_us, "idle_only", what->idle_only, "idle_first",
                                  what->idle_first);
        /* Without memory it is asked for again a moment later. */
        (void)(handover_send_json(list_entry(node, struct former, node)->channel, HANDOVER_CLOSE, order, NULL,
                                  0) == 0);
    }
}

void formers_stop(struct app *app, bool at_once)
{
    list_each (node, &app->formers) {
        (void)(handover_send_json(list_entry(node, struct former, node)->channel, HANDOVER_STOP,
                                  json_pack("{s:b}", "at_once", at_once), NULL, 0) == 0);
    }
}

void formers_destroy(struct app *app)
{
    list_each (node, &app->formers) {
        destroy(list_entry(node, struct former, node));
    }
    json_decref(app->ended);
    app->ended = NULL;
}
