/*
 * Fences around the process that stay whatever happens in it: no new privileges, a filter of system calls
 * (seccomp), and writing only where the configuration says (Landlock). Control thread, after all was bound
 * and before the workers start.
 */
#ifndef DAEMON_SANDBOX_H
#define DAEMON_SANDBOX_H

#include "core/config.h"
#include "core/err.h"
#include "daemon/targets.h"

/*
 * Puts up what the kernel has and `sandbox` allows; a kernel without one of them is no error, what stands is
 * told by confinement_read. Commands that the configuration names (hooks, checks) inherit all of it; so
 * that they can write their files, Landlock is left out when there are any. A process that is inside already
 * (after an upgrade) is left as it is. ERR_SYSTEM: the kernel has it and refuses.
 */
MUST_CHECK int sandbox_enter(const struct config *config, const struct targets *targets,
                             struct err_text *err);

#endif
