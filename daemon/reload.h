/*
 * Reading the configuration again while the program runs: all or nothing. Control thread.
 */
#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H

#include "core/err.h"
#include "daemon/app.h"

/*
 * Reads the file that the program was started with, checks everything, makes what is new, and only then
 * changes what runs; or leaves all as it is and says why. Open connections and listening sockets are not
 * touched. Groups and backends come and go, checks, plans, weights, retries and logs change, services come
 * and go; settings that are built into what runs stay as they are until a restart and are named. What
 * operators set at run time stays unless the file changed that very value. A migration that runs goes on by
 * the plan that it began with. May wait for the resolver. Returns 0 with *report (owned by the caller: one
 * line for each thing worth knowing, never empty), or a code with err.
 */
MUST_CHECK int app_reload(struct app *app, const char *actor, const char *reason, char **report,
                          struct err_text *err);

#endif
