/*
 * Signals of the daemon, read on the control loop through a descriptor (signalfd), so that no handler ever
 * interrupts a thread.
 */
#ifndef DAEMON_SIGNALS_H
#define DAEMON_SIGNALS_H

#include "core/err.h"

#include <signal.h>

struct app;
struct signals;

/* Blocks the signals the daemon answers to in the calling thread and in all it starts later, and ignores
 * SIGPIPE and SIGXFSZ. Before any thread is started. set (may be NULL) receives what was blocked. */
MUST_CHECK int signals_block(sigset_t *set, struct err_text *err);

/* TERM and INT stop app, a second one at once; HUP reads the configuration again, USR1 opens the log again,
 * USR2 upgrades. app is borrowed and must outlive it. */
MUST_CHECK int signals_create(struct app *app, struct signals **out, struct err_text *err);
/* NULL is allowed. */
void signals_destroy(struct signals *signals);

#endif
