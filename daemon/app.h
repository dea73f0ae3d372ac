/*
 * The whole program behind one handle: built from a configuration in one order, taken down in the reverse.
 * The thread that calls these is the control thread: it runs the loop of app_run, and with it signals,
 * health, migrations and the admin socket. One instance a process uses the log; several may exist.
 */
#ifndef DAEMON_APP_H
#define DAEMON_APP_H

#include "core/config.h"
#include "core/err.h"
#include "daemon/targets.h"

#include <stdbool.h>

struct app;
struct event_base;
struct handover;
struct starter;
struct successor;

struct app_options {
    const struct config *config; /* borrowed; must outlive the app */
    struct targets *targets;     /* borrowed; made from config; must outlive the app, which takes its sets */
    int log_fd;                  /* where log lines go; borrowed */
    struct starter *starter;     /* borrowed; starts the program that is to follow. NULL: none can */
    struct successor *successor; /* borrowed; this program is to take over from another. NULL: it is not */
    struct given *given; /* sockets of a service manager, borrowed. NULL: none, or successor has them */
};

/*
 * Builds everything and binds every address; nothing is accepted yet, except that the admin socket answers
 * once app_run runs. Takes up migrations where the journal stops. On failure everything is taken back, err
 * says what failed on what and what to do, and the code is one of ERR_DENIED (permission), ERR_INVALID,
 * ERR_RANGE (configuration), or another (cannot create).
 */
MUST_CHECK int app_create(const struct app_options *options, struct app **out, struct err_text *err);
/* Starts the workers, begins to accept, and serves until app_stop has been carried out. */
MUST_CHECK int app_run(struct app *app, struct err_text *err);
/*
 * Stops accepting at once; app_run returns when the open connections are done or shutdown_timeout is over
 * (the rest is then closed). at_once, or a second call: does not wait for the connections. On the control
 * thread, from a callback of the loop. why goes to the log.
 */
void app_stop(struct app *app, bool at_once, const char *why);
bool app_is_stopping(const struct app *app);
/* For those who ask for an upgrade (signals, the admin socket). Borrowed. */
struct handover *app_handover(struct app *app);
/* After app_run returned, or without it. NULL is allowed. */
void app_destroy(struct app *app);

/* The control loop, for those who add events to it (signals). Borrowed. */
struct event_base *app_base(struct app *app);

#endif
