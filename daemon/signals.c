/*
 * Answers for what each signal does. Runs on the control thread. Stopping itself is daemon/app's work,
 * reading the configuration again daemon/reload.c's, upgrading daemon/handover.c's.
 */
#include "daemon/signals.h"

#include "core/log.h"
#include "daemon/app.h"
#include "daemon/handover.h"
#include "daemon/reload.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int signals_handled[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

struct signals {
    struct app *app; /* borrowed */
    struct event *event;
    int fd;
};

static void fill(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < sizeof(signals_handled) / sizeof(*signals_handled); i++) {
        sigaddset(set, signals_handled[i]);
    }
}

int signals_block(sigset_t *set, struct err_text *err)
{
    sigset_t mine;
    fill(&mine);
    int code = pthread_sigmask(SIG_BLOCK, &mine, NULL);
    if (code != 0) {
        return err_set(err, ERR_SYSTEM, "cannot block signals: %s", strerror(code));
    }
    /* What these would end the program for is told by errors too: EPIPE, and EFBIG where a file has reached
     * its limit, which is one more way for a disk to be full. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR) {
        return err_set_errno(err, "cannot ignore SIGPIPE and SIGXFSZ");
    }
    if (set != NULL) {
        *set = mine;
    }
    return 0;
}

/* What became of it is an event, and so in the log; the details go there line by line. */
static void on_reloaded(void *context, int rc, const char *report, const char *why)
{
    (void)context;
    (void)why;
    char *lines = rc == 0 ? strdup(report) : NULL;
    char *rest = NULL;
    for (char *line = lines != NULL ? strtok_r(lines, "\n", &rest) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        log_write(LOG_LEVEL_INFO, "reload",
                  (const struct log_field[]){LOG_TEXT("what", line), {.kind = LOG_KIND_END}});
    }
    free(lines);
}

static void answer(struct app *app, uint32_t number)
{
    switch (number) {
    case SIGTERM:
        app_stop(app, false, "SIGTERM");
        break;
    case SIGINT:
        app_stop(app, false, "SIGINT");
        break;
    case SIGHUP:
        app_reload(app, "signal", NULL, on_reloaded, NULL);
        break;
    case SIGUSR1:
        log_reopen();
        break;
    default:
        handover_signal(app_handover(app));
        break;
    }
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct signals *signals = context;
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        answer(signals->app, info.ssi_signo);
    }
}

int signals_create(struct app *app, struct signals **out, struct err_text *err)
{
    struct signals *signals = calloc(1, sizeof(*signals));
    if (signals == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while setting up signals");
    }
    signals->app = app;
    sigset_t set;
    fill(&set);
    signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals->fd < 0) {
        int code = err_set_errno(err, "cannot create a descriptor for signals");
        free(signals);
        return code;
    }
    signals->event = event_new(app_base(app), signals->fd, EV_READ | EV_PERSIST, on_readable, signals);
    if (signals->event == NULL || event_add(signals->event, NULL) != 0) {
        signals_destroy(signals);
        return err_set(err, ERR_NOMEM, "out of memory while setting up signals");
    }
    *out = signals;
    return 0;
}

void signals_destroy(struct signals *signals)
{
    if (signals == NULL) {
        return;
    }
    if (signals->event != NULL) {
        event_free(signals->event);
    }
    close(signals->fd);
    free(signals);
}
