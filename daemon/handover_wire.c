/*
 * What an upgrade hears: the messages of the new program, that it has ended, and what the starter says of it.
 * Turns each into a step forward (handover_forward.c) or back (handover_back.c). Control thread.
 */
#include "daemon/handover_steps.h"

#include "core/failpoint.h"
#include "core/log.h"
#include "daemon/starter.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void handover_drop_channel(struct handover *h)
{
    if (h->channel_event != NULL) {
        event_free(h->channel_event);
        h->channel_event = NULL;
    }
    if (h->room_event != NULL) {
        event_free(h->room_event);
        h->room_event = NULL;
    }
    channel_destroy(h->channel);
    h->channel = NULL;
}

/* What did not go at once goes when there is room. */
void handover_flush(struct handover *h)
{
    if (h->channel != NULL && h->room_event != NULL && !channel_flush(h->channel) &&
        event_add(h->room_event, NULL) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: an upgrade has to wait for its time to be over");
    }
}

/* ---- the new program */

static void on_hello(struct handover *h, const struct channel_message *message)
{
    struct err_text err;
    json_t *hello = json_loadb((const char *)message->body, message->length, 0, NULL);
    const char *version = json_string_value(json_object_get(hello, "version"));
    (void)snprintf(h->version, sizeof(h->version), "%s", version != NULL ? version : "?");
    if (handover_check(hello, &err) != 0) {
        handover_fail(h, err.text);
    }
    json_decref(hello);
}

static void on_message(struct handover *h, const struct channel_message *message)
{
    if (message->kind == HANDOVER_HELLO && h->step == STEP_BUILDING) {
        on_hello(h, message);
    } else if (message->kind == HANDOVER_REFUSED && h->step < STEP_SETTLING) {
        handover_fail(h, (const char *)message->body);
    } else if (message->kind == HANDOVER_READY && h->step == STEP_BUILDING) {
        handover_on_ready(h);
    } else if (message->kind == HANDOVER_TAKEN && h->step == STEP_TAKING) {
        handover_on_taken(h);
    } else if (message->kind == HANDOVER_CLOSE) {
        handover_do_close(h->app, message->body);
    } else if (message->kind == HANDOVER_KILL) {
        handover_do_kill(h->app, message->body);
    } else if (message->kind == HANDOVER_STOP) {
        handover_do_stop(h->app, message->body);
    }
}

/* It has ended, or closed its end. Which of the two is told by the starter. */
static void on_gone(struct handover *h)
{
    if (h->step >= STEP_LINGERING && h->step != STEP_FAILING) {
        log_line(LOG_LEVEL_WARN, "the program that took over has ended", LOG_UINT("pid", (uint64_t)h->pid));
        handover_drop_channel(h);
        return;
    }
    (void)event_del(h->channel_event);
    handover_fail(h, h->step == STEP_SETTLING ? "it ended right after it had taken over"
                                              : "it ended before it had taken over");
}

static void on_channel(evutil_socket_t fd, short what, void *context)
{
    struct handover *h = context;
    struct channel_message message;
    int rc = 0;
    (void)fd;
    (void)what;
    handover_flush(h);
    while (h->channel != NULL && (rc = channel_receive(h->channel, &message)) > 0) {
        on_message(h, &message);
        channel_message_clear(&message);
    }
    if (rc < 0 && h->channel != NULL) {
        on_gone(h);
    }
}

/* ---- the starter */

/* How it ended, when the reason given so far does not say it. */
static void add_status(struct handover *h, int status)
{
    size_t length = strlen(h->why);
    if (strncmp(h->why, "it ended", 8) == 0) {
        starter_describe_end(status, h->why + length, sizeof(h->why) - length);
    }
}

static bool is_under_way(const struct handover *h)
{
    return h->step != STEP_FAILING && h->step != STEP_NONE && h->step < STEP_LINGERING;
}

/* It is dead: what it said before counts. A child of its own that has not closed the channel yet must not
 * keep us waiting for an end of it. */
static void hear_the_end(struct handover *h)
{
    if (is_under_way(h)) {
        on_channel(-1, 0, h);
    }
    if (is_under_way(h)) {
        on_gone(h);
    }
}

void handover_on_starter(evutil_socket_t fd, short what, void *context)
{
    struct handover *h = context;
    (void)fd;
    (void)what;
    for (;;) {
        struct starter_report news = starter_read(h->starter);
        switch (news.news) {
        case STARTER_NONE:
            return;
        case STARTER_STARTED:
            h->starting = false;
            h->pid = (pid_t)news.value;
            (void)failpoint("upgrade-started");
            break;
        case STARTER_FAILED:
            h->starting = false;
            (void)snprintf(h->why, sizeof(h->why), "it cannot be run: %s", strerror(news.value));
            h->step = STEP_FAILING;
            handover_take_back(h);
            break;
        case STARTER_ENDED:
            hear_the_end(h);
            if (h->step == STEP_FAILING) {
                add_status(h, news.value);
                handover_take_back(h);
            }
            break;
        case STARTER_GONE:
            log_line(LOG_LEVEL_ERROR,
                     "the process that starts programs is gone: no upgrade before a restart");
            event_free(h->starter_event);
            h->starter_event = NULL;
            if (h->starting) {
                h->starting = false;
                handover_fail(h, "the process that starts programs is gone");
            }
            return;
        }
    }
}

/* ---- the beginning */

int handover_start(struct handover *h, struct err_text *err)
{
    int pair[2];
    int rc = channel_pair(pair, err);
    if (rc != 0) {
        return rc;
    }
    rc = channel_create(pair[0], &h->channel);
    if (rc != 0) {
        (void)close(pair[0]);
    } else {
        rc = handover_offer(h->app, h->channel);
        h->channel_event = event_new(h->app->base, pair[0], EV_READ | EV_PERSIST, on_channel, h);
        h->room_event = event_new(h->app->base, pair[0], EV_WRITE, on_channel, h);
        rc = h->channel_event == NULL || h->room_event == NULL || event_add(h->channel_event, NULL) != 0
                 ? ERR_NOMEM
                 : rc;
    }
    if (rc != 0) {
        (void)err_set(err, rc, "out of memory for an upgrade");
    } else {
        (void)failpoint("upgrade-start");
        rc = starter_start(h->starter, pair[1], err);
        handover_flush(h);
    }
    (void)close(pair[1]);
    if (rc != 0) {
        handover_drop_channel(h);
    }
    return rc;
}
