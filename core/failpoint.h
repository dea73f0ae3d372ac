/*
 * Places in the code where a test can make a system call fail, or kill the process, at exactly the n-th pass.
 * Off unless the environment variable SHUNT_FAILPOINT names them; a pass then costs one relaxed load. See
 * docs/failpoints.md. Any thread.
 */
#ifndef CORE_FAILPOINT_H
#define CORE_FAILPOINT_H

#include "core/err.h"

#include <stdbool.h>

/*
 * A pass through the place of this name. Returns 0, or the errno to behave as if a system call had failed
 * with; does not return at all when the setting says "kill" (SIGKILL to this process), and with "stop" only
 * after somebody has sent SIGCONT.
 */
int failpoint(const char *name);

/* Whether any is set: for places that must do their work in parts to be killed between them. */
bool failpoint_any(void);

/*
 * Sets them from text, as the environment variable does, and starts counting anew; NULL or "" clears all.
 * "NAME:WHEN:WHAT[,…]" with WHEN = "3" (the third pass), "3+" (it and all later), "2-4"; WHAT = "kill",
 * "stop" or an errno: enospc, eio, enomem, emfile, eagain, eintr. ERR_PARSE leaves all cleared. For tests;
 * one thread.
 */
MUST_CHECK int failpoint_set(const char *text, struct err_text *err);

#endif
