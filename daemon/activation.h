/*
 * Sockets that a service manager opened before the program was started (sd_listen_fds(3)). Control thread,
 * before others are started.
 */
#ifndef DAEMON_ACTIVATION_H
#define DAEMON_ACTIVATION_H

#include "core/config.h"
#include "core/err.h"
#include "core/given.h"

/*
 * Adds the sockets that the environment tells of to given, and clears that environment. One with the name
 * "admin" is meant for admin.socket, all others go by their addresses. ERR_INVALID: one of them cannot be
 * used; ERR_NOMEM, ERR_SYSTEM.
 */
MUST_CHECK int activation_take(const struct config *config, struct given *given, struct err_text *err);
/* After everything was built: every socket has found its place. ERR_INVALID names those that have not. */
MUST_CHECK int activation_check(const struct given *given, struct err_text *err);

#endif
