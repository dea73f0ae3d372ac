/*
 * An upgrade that comes to nothing: what was started is killed, and when it is dead this program accepts and
 * decides again, as if nothing had been. Also tells how an upgrade went. Control thread.
 */
#include "daemon/handover_steps.h"

#include "core/clock.h"
#include "core/log.h"
#include "daemon/starter.h"

#include <signal.h>
#include <stdio.h>

void handover_report(struct handover *h, bool passed, const char *text)
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
void handover_take_journal_back(struct handover *h)
{
    struct err_text err;
    h->unread = journal_resume(h->app->journal, &err) != 0;
    if (h->unread) {
        log_line(LOG_LEVEL_ERROR, "the journal cannot be taken back, will try again",
                 LOG_TEXT("error", err.text));
        handover_arm(h, CLOCK_US_PER_S);
        return;
    }
    for (size_t i = 0; i < h->app->services_len; i++) {
        if (h->app->services[i].migration != NULL) {
            migration_take(h->app->services[i].migration, true);
        }
    }
}

/* The new program is dead. Accepting comes first: clients wait. */
void handover_take_back(struct handover *h)
{
    char text[512];
    handover_disarm(h);
    handover_drop_channel(h);
    h->step = STEP_NONE;
    h->pid = 0;
    h->starting = false;
    if (proxy_resume(h->app->proxy) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: nothing is accepted, will try again");
        h->step = STEP_FAILING;
        handover_arm(h, CLOCK_US_PER_S / 10);
        return;
    }
    admin_resume(h->app->admin);
    handover_take_journal_back(h);
    if (formers_listen(h->app) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: former programs are not listened to");
    }
    notify_ready(h->app->notify);
    (void)snprintf(text, sizeof(text), "not upgraded, this program goes on: %s", h->why);
    handover_report(h, false, text);
}

void handover_fail(struct handover *h, const char *why)
{
    if (h->step == STEP_FAILING || h->step == STEP_NONE) {
        return;
    }
    (void)snprintf(h->why, sizeof(h->why), "%s", why);
    h->step = STEP_FAILING;
    if (h->pid == 0 && !h->starting) { /* nothing was started, or it has ended */
        handover_take_back(h);
        return;
    }
    if (h->starter_event != NULL) {
        starter_kill(h->starter);
    } else {
        (void)kill(h->pid, SIGKILL);
    }
    handover_arm(h, HANDOVER_MOMENT_US);
}
