/*
 * The real program inside the demo: a configuration written as an operator would write it, a temporary folder
 * with journal, admin socket and log, and the app on a control thread of its own.
 */
#ifndef DAEMON_DEMO_WORLD_H
#define DAEMON_DEMO_WORLD_H

#include "core/err.h"
#include "daemon/demo/backends.h"

#include <stdbool.h>
#include <stdint.h>

struct demo_world;

/* Durations of the plan in the configuration. */
struct demo_plan {
    uint64_t hold_us[4]; /* of the steps 5 %, 25 %, 50 % and 100 % */
    uint64_t drain_us;
};

/* Makes the folder, loads the configuration, builds the app and starts its thread. backends is borrowed for
 * the call. *out is owned by the caller. */
MUST_CHECK int demo_world_create(const struct demo_backends *backends, const struct demo_plan *plan,
                                 struct demo_world **out, struct err_text *err);
/* Stops the app in order, joins its thread, removes the folder (keep: leaves it for a look at the log). NULL
 * is allowed. */
void demo_world_destroy(struct demo_world *world, bool keep);
const char *demo_world_socket(const struct demo_world *world);
const char *demo_world_log(const struct demo_world *world);

#endif
