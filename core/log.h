/*
 * Structured log lines (logfmt or JSON). A call formats into a bounded queue and returns; one writer thread
 * does the write(2), so a stuck disk or terminal never blocks a worker: lines that find the queue full are
 * dropped and counted, and the count is written as soon as there is room. Values are escaped: a peer's bytes
 * cannot forge a line. Any thread.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include "core/err.h"

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };
enum log_kind { LOG_KIND_END, LOG_KIND_TEXT, LOG_KIND_UINT, LOG_KIND_INT, LOG_KIND_DOUBLE };

struct log_field {
    const char *key; /* static storage; letters, digits, underscore */
    enum log_kind kind;
    union {
        const char *text; /* borrowed for the call; NULL is written as empty */
        uint64_t uint;
        int64_t sint;
        double real;
    };
};

#define LOG_TEXT(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_TEXT, .text = (v)})
#define LOG_UINT(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_UINT, .uint = (v)})
#define LOG_INT(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_INT, .sint = (v)})
#define LOG_DOUBLE(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_DOUBLE, .real = (v)})

/*
 * log_line(LOG_LEVEL_WARN, "backend is down", LOG_TEXT("service", name), LOG_UINT("failures", n));
 * The message is a fixed text; what varies goes into fields.
 */
#define log_line(level, message, ...)                                                                        \
    do {                                                                                                     \
        if ((level) >= log_threshold()) {                                                                    \
            log_write_rated((level), (message),                                                              \
                            (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = LOG_KIND_END}});   \
        }                                                                                                    \
    } while (0)

enum log_sink_kind { LOG_SINK_FD, LOG_SINK_FILE, LOG_SINK_SYSLOG };

/* Where lines go. */
struct log_target {
    enum log_sink_kind kind;
    int fd;           /* FD: borrowed */
    const char *path; /* FILE: of the file, appended to; SYSLOG: of the socket, as "/dev/log"; copied */
    int facility;     /* SYSLOG: as LOG_DAEMON of syslog.h */
};

/* Opens the target and starts the writer thread. Before it, and after log_stop, lines go straight to standard
 * error. ERR_SYSTEM, ERR_NOMEM, ERR_STATE (runs already). */
MUST_CHECK int log_start_on(const struct log_target *target, enum log_level level, enum log_format format,
                            struct err_text *err);
/* The same on a descriptor. */
MUST_CHECK int log_start(int fd, enum log_level level, enum log_format format, struct err_text *err);
struct log_sink;
/* From now on lines go to sink (core/log_sink.h), which is the log's from then on; those that are queued
 * already still go where they went, unless that is stuck. Without a log that runs the sink is closed. */
void log_move(struct log_sink *sink);
/* The writer opens its file under its name again, as after a rotation; a line tells how that went. */
void log_reopen(void);
/* From now on at most so many lines a second of one message, above the level debug; how many were left out is
 * told in a line of their own once the second is over and something is logged. 0: no limit (the beginning).
 */
void log_set_rate(uint32_t lines_a_second);
/* Lines left out for the rate, since the start. */
uint64_t log_left_out(void);
/* Writes what is queued (waits at most one second) and ends the thread. */
void log_stop(void);
void log_set_level(enum log_level level);
/* How lines look from now on. */
void log_set_format(enum log_format format);
enum log_level log_threshold(void);
/* Lines lost since the start: the queue was full, or writing them failed. */
uint64_t log_dropped(void);
/* Writes whatever the level and the rate: for what must not be missed, and for messages that are no fixed
 * text. */
void log_write(enum log_level level, const char *message, const struct log_field *fields);
/* message must be static storage: it is what is counted. */
void log_write_rated(enum log_level level, const char *message, const struct log_field *fields);
const char *log_level_name(enum log_level level);

#endif
