/*
 * What `show settings` says of a program that has read its configuration again: which values are in force.
 * Pure; any thread.
 */
#ifndef DAEMON_IN_FORCE_H
#define DAEMON_IN_FORCE_H

#include "core/config.h"

/*
 * The settings in force after a reload, in the form of config_show: those of config, but where a change needs
 * a restart the value of before, with what the file has instead in the comment. before: what was in force
 * until then, of config_show or of this. Owned by the caller, NULL without memory.
 */
char *in_force_after(const char *before, const struct config *config);

#endif
