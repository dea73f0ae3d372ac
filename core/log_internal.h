/* A log line under construction: shared by the formatter (log_format.c) and the queue (log.c). */
#ifndef CORE_LOG_INTERNAL_H
#define CORE_LOG_INTERNAL_H

#include "core/log.h"

/* Longer lines lose the end of their values, never their shape. */
#define LOG_LINE_MAX 2048

struct log_buffer {
    size_t len;
    char text[LOG_LINE_MAX];
};

/* Writes one whole line with its newline. fields as for log_write, may be NULL. Pure; any thread. */
void log_format_line(struct log_buffer *line, enum log_format format, uint64_t wall_us, enum log_level level,
                     const char *message, const struct log_field *fields);

#endif
