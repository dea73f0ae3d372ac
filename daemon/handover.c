/*
 * The side of the program that runs: starts the next one, offers it the sockets, and when that one is ready
 * stops accepting and deciding, tells it all and lets it go on; or takes everything back. One table of states
 * in enum step; every failure ends in fail(), and from there in take_back(). Control thread.
 */
#include "daemon/handover_internal.h"

#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log.h"
#include "daemon/starter.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long the new program must have lived with everything in its hands before we let go for good. */
#define SETTLE_US (300 * CLOCK_US_PER_MS)
/* How long the admin socket's clients may still read their replies. */
#define LINGER_US (1 * CLOCK_US_PER_S)
#define COUNTS_US (200 * CLOCK_US_PER_MS)

enum step {
    STEP_NONE,
    STEP_BUILDING,  /* it was started, and reads and builds; here all goes on */
    STEP_HOLDING,   /* it is ready; the workers are about to stop accepting */
    STEP_TAKING,    /* it has the word */
    STEP_SETTLING,  /* it has taken over; if it dies now, we take back */
    STEP_LINGERING, /* all is let go of but the admin socket's clients */
    STEP_LEFT,      /* only connections are left */
    STEP_FAILING    /* it is being killed */
};

struct handover {
    struct app *app;         /* borrowed */
    struct starter *starter; /* borrowed; NULL: none */
    enum step step;
    struct channel *channel;     /* owned; NULL: none */
    struct event *starter_event; /* owned; NULL: the starter is gone */
    struct event *channel_event; /* owned */
    struct event *room_event;    /* owned: the channel takes more */
    struct event *timer;         /* owned: the deadline of the step, then the next report */
    pid_t pid;                   /* of the new program; 0: not started yet */
    bool starting;               /* the starter owes an answer */
    bool again;                  /* another one is wanted when this one has settled */
    bool unread;                 /* the journal could not be taken back yet */
    char version[64];
    char why[400];
    char actor[64], reason[256];
    handover_done_fn *done;
    void *done_context;
};

static void fail(struct handover *h, const char *why);

static void arm(struct handover *h, uint64_t us)
{
    const struct timeval time = {.tv_sec = (time_t)(us / CLOCK_US_PER_S),
                                 .tv_usec = (suseconds_t)(us % CLOCK_US_PER_S)};
    if (event_add(h->timer, &time) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: an upgrade has no deadline");
    }
}

static void disarm(struct handover *h)
{
    (void)event_del(h->timer);
}

static void drop_channel(struct handover *h)
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
static void flush(struct handover *h)
{
    if (h->channel != NULL && h->room_event != NULL && !channel_flush(h->channel) &&
        event_add(h->room_event, NULL) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: an upgrade has to wait for its time to be over");
    }
}

/* ---- the outcome */

static void report(struct handover *h, bool passed, const char *text)
{
    handover_done_fn *done = h->done;
    h->done = NULL;
    events_add(h->app->events, clock_wall_us(), passed ? EVENTS_INFO : EVENTS_ERROR, NULL, "upgrade",
               h->actor, h->reason[0] != '\0' ? h->reason : NULL, "%s", text);
    if (done != NULL) {
        done(h->done_context, passed, text);
    }
}

/* Whoever wrote meanwhile is dead. What cannot be read now is tried again. */
static void take_journal_back(struct handover *h)
{
    struct err_text err;
    h->unread = journal_resume(h->app->journal, &err) != 0;
    if (h->unread) {
        log_line(LOG_LEVEL_ERROR, "the journal cannot be taken back, will try again",
                 LOG_TEXT("error", err.text));
        arm(h, CLOCK_US_PER_S);
        return;
    }
    for (size_t i = 0; i < h->app->services_len; i++) {
        if (h->app->services[i].migration != NULL) {
            migration_take(h->app->services[i].migration, true);
        }
    }
}

/* The new program is dead. Accepting comes first: clients wait. */
static void take_back(struct handover *h)
{
    char text[512];
    disarm(h);
    drop_channel(h);
    h->step = STEP_NONE;
    h->pid = 0;
    h->starting = false;
    if (proxy_resume(h->app->proxy) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: nothing is accepted, will try again");
        h->step = STEP_FAILING;
        arm(h, CLOCK_US_PER_S / 10);
        return;
    }
    admin_resume(h->app->admin);
    take_journal_back(h);
    if (formers_listen(h->app) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: former programs are not listened to");
    }
    notify_ready(h->app->notify);
    (void)snprintf(text, sizeof(text), "not upgraded, this program goes on: %s", h->why);
    report(h, false, text);
}

static void fail(struct handover *h, const char *why)
{
    if (h->step == STEP_FAILING || h->step == STEP_NONE) {
        return;
    }
    (void)snprintf(h->why, sizeof(h->why), "%s", why);
    h->step = STEP_FAILING;
    if (h->pid == 0 && !h->starting) { /* nothing was started, or it has ended */
        take_back(h);
        return;
    }
    if (h->starter_event != NULL) {
        starter_kill(h->starter);
    } else {
        (void)kill(h->pid, SIGKILL);
    }
    arm(h, HANDOVER_MOMENT_US);
}

/* ---- letting go */

static void send_counts(struct handover *h)
{
    if (h->channel != NULL && channel_flush(h->channel) && /* else the last ones are still on their way */
        handover_send_json(h->channel, HANDOVER_COUNTS, report_make(h->app), NULL, 0) != 0) {
        log_line(LOG_LEVEL_WARN, "out of memory: the new program does not know what is open here");
    }
    flush(h);
}

/* The last moment to take back is over: the new program is the service now. */
static void let_go(struct handover *h)
{
    char text[512];
    struct app *app = h->app;
    h->step = STEP_LINGERING;
    for (size_t i = 0; i < app->services_len; i++) {
        if (app->services[i].proxy != NULL) {
            proxy_service_leave(app->services[i].proxy);
        }
    }
    admin_leave(app->admin);
    journal_release(app->journal);
    notify_successor(app->notify, h->pid);
    notify_destroy(app->notify);
    app->notify = NULL;
    (void)failpoint("upgrade-left");
    (void)(channel_send(h->channel, HANDOVER_LEFT, NULL, 0, NULL, 0) == 0);
    (void)snprintf(text, sizeof(text),
                   "upgraded: shuntd %s pid %d took over from %s pid %d, where %llu open "
                   "connection%s to the end",
                   h->version, (int)h->pid, SHUNT_VERSION, (int)getpid(), (unsigned long long)app_open(app),
                   app_open(app) == 1 ? " goes on" : "s go on");
    report(h, true, text);
    formers_destroy(app);
    app_retire(app);
    arm(h, LINGER_US);
}

/* The admin socket's clients go, and with them what only commands and decisions needed. */
static void linger_no_more(struct handover *h)
{
    struct app *app = h->app;
    h->step = STEP_LEFT;
    admin_destroy(app->admin);
    app->admin = NULL;
    app_silence_services(app);
    journal_close(app->journal);
    app->journal = NULL;
}

/* ---- the steps */

static void on_held(void *context)
{
    struct handover *h = context;
    struct app *app = h->app;
    size_t length = 0;
    if (h->step != STEP_HOLDING) {
        return; /* it failed meanwhile */
    }
    if (failpoint("upgrade-held") != 0) {
        fail(h, "a failpoint at the point of no return");
        return;
    }
    admin_hold(app->admin);
    for (size_t i = 0; i < app->services_len; i++) {
        if (app->services[i].migration != NULL) {
            migration_freeze(app->services[i].migration);
        }
    }
    journal_hold(app->journal);
    formers_pause(app);
    unsigned char *sections = handover_sections_write(app, &length);
    h->step = STEP_TAKING;
    arm(h, HANDOVER_MOMENT_US);
    (void)failpoint("upgrade-take");
    if (sections == NULL || channel_send(h->channel, HANDOVER_TAKE, sections, length, NULL, 0) != 0) {
        fail(h, "out of memory");
    }
    (void)failpoint("upgrade-told");
    flush(h);
    if (sections != NULL) {
        explicit_bzero(sections, length);
    }
    free(sections);
}

static void on_ready(struct handover *h)
{
    if (failpoint("upgrade-ready") != 0) {
        fail(h, "a failpoint when it was ready");
        return;
    }
    h->step = STEP_HOLDING;
    arm(h, HANDOVER_MOMENT_US);
    if (proxy_hold(h->app->proxy, on_held, h) != 0) {
        fail(h, "out of memory");
    }
}

static void on_taken(struct handover *h)
{
    (void)failpoint("upgrade-taken");
    h->step = STEP_SETTLING;
    send_counts(h);
    arm(h, SETTLE_US);
}

static void on_hello(struct handover *h, const struct channel_message *message)
{
    struct err_text err;
    json_t *hello = json_loadb((const char *)message->body, message->length, 0, NULL);
    const char *version = json_string_value(json_object_get(hello, "version"));
    (void)snprintf(h->version, sizeof(h->version), "%s", version != NULL ? version : "?");
    if (handover_check(hello, &err) != 0) {
        fail(h, err.text);
    }
    json_decref(hello);
}

static void on_message(struct handover *h, const struct channel_message *message)
{
    if (message->kind == HANDOVER_HELLO && h->step == STEP_BUILDING) {
        on_hello(h, message);
    } else if (message->kind == HANDOVER_REFUSED && h->step < STEP_SETTLING) {
        fail(h, (const char *)message->body);
    } else if (message->kind == HANDOVER_READY && h->step == STEP_BUILDING) {
        on_ready(h);
    } else if (message->kind == HANDOVER_TAKEN && h->step == STEP_TAKING) {
        on_taken(h);
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
        drop_channel(h);
        return;
    }
    (void)event_del(h->channel_event);
    fail(h, h->step == STEP_SETTLING ? "it ended right after it had taken over"
                                     : "it ended before it had taken over");
}

static void on_channel(evutil_socket_t fd, short what, void *context)
{
    struct handover *h = context;
    struct channel_message message;
    int rc = 0;
    (void)fd;
    (void)what;
    flush(h);
    while (h->channel != NULL && (rc = channel_receive(h->channel, &message)) > 0) {
        on_message(h, &message);
        channel_message_clear(&message);
    }
    if (rc < 0 && h->channel != NULL) {
        on_gone(h);
    }
}

/* How it ended, when the reason given so far does not say it. */
static void add_status(struct handover *h, int status)
{
    size_t length = strlen(h->why);
    if (strncmp(h->why, "it ended", 8) == 0) {
        starter_describe_end(status, h->why + length, sizeof(h->why) - length);
    }
}

static void on_starter(evutil_socket_t fd, short what, void *context)
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
            take_back(h);
            break;
        case STARTER_ENDED:
            if (h->step != STEP_FAILING && h->step != STEP_NONE && h->step < STEP_LINGERING) {
                on_channel(-1, 0, h); /* what it said before */
            }
            if (h->step == STEP_FAILING) {
                add_status(h, news.value);
                take_back(h);
            }
            break;
        case STARTER_GONE:
            log_line(LOG_LEVEL_ERROR,
                     "the process that starts programs is gone: no upgrade before a restart");
            event_free(h->starter_event);
            h->starter_event = NULL;
            if (h->starting) {
                h->starting = false;
                fail(h, "the process that starts programs is gone");
            }
            return;
        }
    }
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct handover *h = context;
    (void)fd;
    (void)what;
    switch (h->step) {
    case STEP_NONE:
        if (h->unread) {
            take_journal_back(h);
        }
        break;
    case STEP_BUILDING:
        fail(h, "it was not ready in time (upgrade.ready_timeout)");
        break;
    case STEP_HOLDING:
        fail(h, "a worker of this program hangs");
        break;
    case STEP_TAKING:
        fail(h, "it hung while it took over");
        break;
    case STEP_FAILING: /* nobody told of its end; SIGKILL needs no more than a moment */
        take_back(h);
        break;
    case STEP_SETTLING:
        let_go(h);
        break;
    case STEP_LINGERING:
        linger_no_more(h);
        arm(h, COUNTS_US);
        break;
    case STEP_LEFT:
        send_counts(h);
        arm(h, COUNTS_US);
        break;
    }
}

/* ---- the beginning */

static int start(struct handover *h, struct err_text *err)
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
        flush(h);
    }
    (void)close(pair[1]);
    if (rc != 0) {
        drop_channel(h);
    }
    return rc;
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
    rc = start(h, err);
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
    arm(h, h->app->config->upgrade.ready_timeout_us);
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
    h->timer = evtimer_new(app->base, on_timer, h);
    if (starter != NULL) {
        h->starter_event = event_new(app->base, starter_fd(starter), EV_READ | EV_PERSIST, on_starter, h);
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
        send_counts(h); /* the last ones */
    } else if (h->step != STEP_NONE && h->starter_event != NULL) {
        starter_kill(h->starter); /* it reads that before it sees us go */
    }
    drop_channel(h);
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
        fail(h, "the program is told to stop");
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
