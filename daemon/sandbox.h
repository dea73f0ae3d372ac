/*
 * Fences around the process that stay whatever happens in it: no new privileges, a filter of system calls
 * (seccomp), and writing only where the configuration says (Landlock). Control thread, after all was bound
 * and before the workers start.
 */
#ifndef DAEMON_SANDBOX_H
#define DAEMON_SANDBOX_H

#include "core/config.h"
#include "core/err.h"
#include "core/worker.h"
#include "daemon/targets.h"

#include <stdbool.h>

/*
 * Puts up what the kernel has and `sandbox` allows; a kernel without one of them is no error, what stands is
 * told by confinement_read. Commands that the configuration names (hooks, checks) inherit all of it; so
 * that they can write their files, Landlock is left out when there are any. A process that is inside already
 * (after an upgrade) is left as it is. ERR_SYSTEM: the kernel has it and refuses.
 */
MUST_CHECK int sandbox_enter(const struct config *config, const struct targets *targets,
                             struct err_text *err);
/*
 * Has each worker confine itself further before it accepts: a list of the few system calls that it needs, no
 * file opened for writing, no capability but CAP_NET_RAW where it has that. After worker_pool_start and
 * before a service is started. ERR_NOMEM; what the kernel refuses is logged. Control thread.
 */
MUST_CHECK int sandbox_enter_workers(const struct config *config, struct worker_pool *pool,
                                     struct err_text *err);
/* The same for the calling thread alone, which has no new privileges. 0 or a negative errno. */
MUST_CHECK int sandbox_confine_thread(bool keep_capabilities);

#endif
