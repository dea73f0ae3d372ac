/*
 * Where log lines go: a descriptor, a file that can be opened again under its name, or the system's log
 * socket. A sink belongs to the writer thread of core/log.c once it was given it (log_start_on, log_move).
 */
#ifndef CORE_LOG_SINK_H
#define CORE_LOG_SINK_H

#include "core/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct log_sink;

/* Opens it. Copies what it needs of target. ERR_NOMEM, ERR_SYSTEM, ERR_RANGE with words for the operator. */
MUST_CHECK int log_sink_create(const struct log_target *target, struct log_sink **out, struct err_text *err);
/* NULL is allowed. A borrowed descriptor stays open. */
void log_sink_destroy(struct log_sink *sink);
/* Of syslog.h; below 0 when it is not the system's log. */
int log_sink_facility(const struct log_sink *sink);
/* To be polled before log_sink_write. */
int log_sink_fd(const struct log_sink *sink);
/* Whether each write must be one whole line (datagrams). */
bool log_sink_wants_lines(const struct log_sink *sink);
/* As write(2). A log socket that lost its daemon is connected again, at most once a second. */
ssize_t log_sink_write(struct log_sink *sink, const char *bytes, size_t len);
bool log_sink_is_file(const struct log_sink *sink);
/* Opens the file under its name again; on failure the old one stays and errno tells why. */
bool log_sink_reopen(struct log_sink *sink);

/* "<30>Nov 21 03:04:05 shuntd[123]: " for a line of this level (RFC 3164, as local log daemons read it). */
size_t log_sink_prefix(char *out, size_t size, int facility, enum log_level level, uint64_t wall_us);

#endif
