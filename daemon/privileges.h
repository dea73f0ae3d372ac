/*
 * Who the process is once everything that needs root is done: an own user, no capabilities but what the
 * configuration needs, no way to new privileges. Control thread, before other threads carry traffic.
 */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include "core/config.h"
#include "core/err.h"
#include "daemon/targets.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * Becomes the user (and group) that the configuration names; nothing when it names none. Before that it gives
 * that user state_dir with the journal, and the sockets. Keeps CAP_NET_BIND_SERVICE where a service listens
 * below port 1024, so that a reload can bind there too, and CAP_NET_RAW where backends are reached from the
 * clients' own addresses; every other capability is gone for good, from the
 * bounding set as well. ERR_INVALID (no such user), ERR_DENIED (not root, and another user), ERR_SYSTEM.
 */
MUST_CHECK int privileges_drop(const struct config *config, const struct targets *targets,
                               struct err_text *err);
/* Whether privileges_drop will become another user, and which: uid and gid are set then. */
bool privileges_owner(const struct config *config, uid_t *uid, gid_t *gid);
/* The user and group exist: for `shuntd -t` and the start. ERR_INVALID. */
MUST_CHECK int privileges_check(const struct config *config, struct err_text *err);

#endif
