/*
 * An upgrade from step to step, as long as all goes well: the new program is ready, this one stops accepting
 * and deciding and tells it all, lets it settle, lets go, and serves its last connections. What goes wrong
 * goes to handover_back.c. Control thread.
 */
#include "daemon/handover_steps.h"

#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long the new program must have lived with everything in its hands before we let go for good. */
#define SETTLE_US (300 * CLOCK_US_PER_MS)
/* How long the admin socket's clients may still read their replies. */
#define LINGER_US (1 * CLOCK_US_PER_S)
#define COUNTS_US (200 * CLOCK_US_PER_MS)

static void on_held(void *context)
{
    struct handover *h = context;
    struct app *app = h->app;
    size_t length = 0;
    if (h->step != STEP_HOLDING) {
        return; /* it failed meanwhile */
    }
    if (failpoint("upgrade-held") != 0) {
        handover_fail(h, "a failpoint at the point of no return");
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
    handover_arm(h, HANDOVER_MOMENT_US);
    (void)failpoint("upgrade-take");
    if (sections == NULL || channel_send(h->channel, HANDOVER_TAKE, sections, length, NULL, 0) != 0) {
        handover_fail(h, "out of memory");
    }
    (void)failpoint("upgrade-told");
    handover_flush(h);
    if (sections != NULL) {
        explicit_bzero(sections, length);
    }
    free(sections);
}

void handover_on_ready(struct handover *h)
{
    if (failpoint("upgrade-ready") != 0) {
        handover_fail(h, "a failpoint when it was ready");
        return;
    }
    h->step = STEP_HOLDING;
    handover_arm(h, HANDOVER_MOMENT_US);
    if (proxy_hold(h->app->proxy, on_held, h) != 0) {
        handover_fail(h, "out of memory");
    }
}

void handover_on_taken(struct handover *h)
{
    (void)failpoint("upgrade-taken");
    h->step = STEP_SETTLING;
    handover_send_counts(h);
    handover_arm(h, SETTLE_US);
}

/* ---- letting go */

void handover_send_counts(struct handover *h)
{
    if (h->channel != NULL && channel_flush(h->channel) && /* else the last ones are still on their way */
        handover_send_json(h->channel, HANDOVER_COUNTS, report_make(h->app), NULL, 0) != 0) {
        log_line(LOG_LEVEL_WARN, "out of memory: the new program does not know what is open here");
    }
    handover_flush(h);
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
    /* The other program knows nothing of those who wait where a reload took the address away. */
    if (proxy_resume(app->proxy) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: who still waits at addresses that were left is not served");
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
    handover_report(h, true, text);
    formers_destroy(app);
    app_retire(app);
    handover_arm(h, LINGER_US);
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

/* ---- the time of a step is over */

void handover_on_time(evutil_socket_t fd, short what, void *context)
{
    struct handover *h = context;
    (void)fd;
    (void)what;
    switch (h->step) {
    case STEP_NONE:
        if (h->unread) {
            handover_take_journal_back(h);
        }
        break;
    case STEP_BUILDING:
        handover_fail(h, "it was not ready in time (upgrade.ready_timeout)");
        break;
    case STEP_HOLDING:
        handover_fail(h, "a worker of this program hangs");
        break;
    case STEP_TAKING:
        handover_fail(h, "it hung while it took over");
        break;
    case STEP_FAILING: /* nobody told of its end; SIGKILL needs no more than a moment */
        handover_take_back(h);
        break;
    case STEP_SETTLING:
        let_go(h);
        break;
    case STEP_LINGERING:
        linger_no_more(h);
        handover_arm(h, COUNTS_US);
        break;
    case STEP_LEFT:
        handover_send_counts(h);
        handover_arm(h, COUNTS_US);
        break;
    }
}
