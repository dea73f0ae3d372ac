/*
 * Reading the configuration again while the program runs: all or nothing. Control thread.
 */
#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H

#include "core/err.h"
#include "daemon/app.h"

/* How it went: rc 0 with the report (one line for each thing worth knowing, never empty), or a code with why.
 * Borrowed for the call. */
typedef void app_reloaded_fn(void *context, int rc, const char *report, const char *why);

/*
 * Reads the file that the program was started with, checks everything, makes what is new, and only then
 * changes what runs; or leaves all as it is and says why. Open connections and listening sockets are not
 * touched. Groups and backends come and go, checks, plans, weights, retries and logs change, services come
 * and go; settings that are built into what runs stay as they are until a restart and are named. What
 * operators set at run time stays unless the file changed that very value. A migration that runs goes on by
 * the plan that it began with. Never blocks: host names of which nothing is known and the pass phrases of
 * keys are asked for first, and one that is not told in time refuses the reload. done comes exactly once,
 * within the call or later from the loop; another reload meanwhile is refused.
 */
void app_reload(struct app *app, const char *actor, const char *reason, app_reloaded_fn *done, void *context);
/* The program goes: a reload that waits for names is refused. */
void app_reload_drop(struct app *app);

#endif
