/*
 * Opens, opens again and writes what the log's writer thread writes to. Each sink has one owner at a time, so
 * nothing here is locked. What may block (a dead disk) blocks that thread alone.
 */
#include "core/log_sink.h"

#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_EVERY_US CLOCK_US_PER_S

struct log_sink {
    enum log_sink_kind kind;
    int facility;
    int fd; /* owned unless kind is LOG_SINK_FD; -1: a log socket without a daemon */
    uint64_t tried_us;
    char path[]; /* of the file or socket */
};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        int cause = errno;
        (void)close(fd);
        errno = cause;
        fd = -1;
    }
    return fd;
}

int log_sink_create(const struct log_target *target, struct log_sink **out, struct err_text *err)
{
    const char *path = target->kind == LOG_SINK_FD ? "" : target->path;
    struct log_sink *sink = malloc(sizeof(*sink) + strlen(path) + 1);
    if (sink == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the log");
    }
    sink->kind = target->kind;
    sink->facility = target->kind == LOG_SINK_SYSLOG ? target->facility : -1;
    sink->fd = target->fd;
    sink->tried_us = clock_mono_us();
    memcpy(sink->path, path, strlen(path) + 1);
    if (sink->kind == LOG_SINK_FILE) {
        sink->fd = open_file(path);
    } else if (sink->kind == LOG_SINK_SYSLOG) {
        sink->fd = open_socket(path);
    }
    if (sink->fd < 0) {
        err_set_errno(err,
                      sink->kind == LOG_SINK_FILE ? "cannot write the log to \"%s\""
                                                  : "cannot reach the system's log at \"%s\"",
                      path);
        free(sink);
        return ERR_SYSTEM;
    }
    *out = sink;
    return ERR_OK;
}

void log_sink_destroy(struct log_sink *sink)
{
    if (sink != NULL && sink->kind != LOG_SINK_FD && sink->fd >= 0) {
        (void)close(sink->fd);
    }
    free(sink);
}

int log_sink_facility(const struct log_sink *sink)
{
    return sink->facility;
}

int log_sink_fd(const struct log_sink *sink)
{
    return sink->fd;
}

bool log_sink_wants_lines(const struct log_sink *sink)
{
    return sink->kind == LOG_SINK_SYSLOG;
}

static void connect_again(struct log_sink *sink)
{
    uint64_t now_us = clock_mono_us();
    if (now_us - sink->tried_us < CONNECT_EVERY_US) {
        return;
    }
    sink->tried_us = now_us;
    int fd = open_socket(sink->path);
    if (fd >= 0) {
        if (sink->fd >= 0) {
            (void)close(sink->fd);
        }
        sink->fd = fd;
    }
}

ssize_t log_sink_write(struct log_sink *sink, const char *bytes, size_t len)
{
    if (sink->kind != LOG_SINK_SYSLOG) {
        return write(sink->fd, bytes, len);
    }
    size_t sent = len > 0 && bytes[len - 1] == '\n' ? len - 1 : len;
    if (sink->fd < 0) {
        connect_again(sink);
    }
    ssize_t n = send(sink->fd, bytes, sent, MSG_NOSIGNAL);
    if (n < 0 && (errno == ECONNREFUSED || errno == ENOTCONN || errno == ECONNRESET || errno == EPIPE)) {
        connect_again(sink);
        n = send(sink->fd, bytes, sent, MSG_NOSIGNAL);
    }
    return n < 0 ? n : (ssize_t)len;
}

bool log_sink_is_file(const struct log_sink *sink)
{
    return sink->kind == LOG_SINK_FILE;
}

bool log_sink_reopen(struct log_sink *sink)
{
    int fd = open_file(sink->path);
    if (fd < 0) {
        return false;
    }
    (void)close(sink->fd);
    sink->fd = fd;
    return true;
}

size_t log_sink_prefix(char *out, size_t size, int facility, enum log_level level, uint64_t wall_us)
{
    static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = (time_t)(wall_us / CLOCK_US_PER_S);
    struct tm local;
    if (localtime_r(&now, &local) == NULL) {
        memset(&local, 0, sizeof(local));
    }
    int n = snprintf(out, size, "<%d>%.3s %2d %02d:%02d:%02d shuntd[%d]: ", facility | priorities[level & 3],
                     months + (ptrdiff_t)3 * local.tm_mon, local.tm_mday, local.tm_hour, local.tm_min,
                     local.tm_sec, (int)getpid());
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}
