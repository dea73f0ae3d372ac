/*
 * What differs between two configurations, by the paths of settings, and which of it can be put in force
 * while the program runs. Pure; any thread.
 */
#ifndef DAEMON_RELOAD_DIFF_H
#define DAEMON_RELOAD_DIFF_H

#include "core/config.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

struct reload_diff {
    char **paths; /* owned, sorted: "services.web.retries" */
    size_t len;
};

/* ERR_NOMEM. Cleared with reload_diff_clear in either case. */
MUST_CHECK int reload_diff_make(const struct config *before, const struct config *after,
                                struct reload_diff *out);
void reload_diff_clear(struct reload_diff *diff);

bool reload_diff_has(const struct reload_diff *diff, const char *path);
/* Whether anything of the service differs. */
bool reload_diff_touches(const struct reload_diff *diff, const char *service);
/* Whether log lines are to go elsewhere. */
bool reload_diff_moves_log(const struct reload_diff *diff);
/* Whether the limits over all services differ. */
bool reload_diff_touches_limits(const struct reload_diff *diff);
/* Whether a change of this setting needs no restart. service: whose it is; NULL: nobody's. */
bool reload_is_live(const char *path, const char *service);

#endif
