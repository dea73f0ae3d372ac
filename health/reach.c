/*
 * Answers for the way of a check's socket to its backend: where it comes from, what a failure means and whose
 * it is. Control thread. What is said over it is health/dialog.c's.
 */
#include "health/reach_internal.h"

#include "health/probe_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void reach_describe(int error, char *out, size_t out_size)
{
    char text[64];
    switch (error) {
    case ECONNREFUSED:
        (void)snprintf(out, out_size, "connection refused");
        break;
    case ECONNRESET:
    case EPIPE:
        (void)snprintf(out, out_size, "connection reset");
        break;
    case EAGAIN: /* only from connecting to a Unix socket */
        (void)snprintf(out, out_size, "its queue of connections is full");
        break;
    default:
        (void)snprintf(out, out_size, "%s", strerror_r(error, text, sizeof(text)));
        break;
    }
}

/* Connecting to a local port where nobody listens can meet itself, when the kernel happens to choose that
 * port as ours (simultaneous open, RFC 9293, 3.5). */
static bool met_itself(int fd)
{
    struct addr own;
    struct addr peer;
    memset(&own, 0, sizeof(own));
    memset(&peer, 0, sizeof(peer));
    own.len = sizeof(own.un);
    peer.len = sizeof(peer.un);
    return getsockname(fd, &own.sa, &own.len) == 0 && getpeername(fd, &peer.sa, &peer.len) == 0 &&
           !addr_is_unix(&own) && addr_equal(&own, &peer);
}

int reach_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        return errno;
    }
    return error == 0 && met_itself(fd) ? ECONNREFUSED : error;
}

/* All ports are taken towards this backend. Where no address was bound IPv6 says the same when it has none
 * to come from, and then the backend cannot be reached. */
static bool lacks_port(int error, const struct source *source, const struct addr *address)
{
    return error == EADDRNOTAVAIL && (source->kind == SOURCE_ADDRESS || address->sa.sa_family == AF_INET);
}

/* 0, or an errno with the reason. */
static int begin(int fd, const struct source *source, const struct addr *address, char *reason,
                 size_t reason_size, bool *skipped)
{
    char text[64];
    int error = source_bind(source, fd, address->sa.sa_family, NULL);
    if (error != 0) {
        (void)snprintf(reason, reason_size, "its source address cannot be used: %s",
                       strerror_r(error, text, sizeof(text)));
        *skipped = probe_is_shortage(error);
        return error;
    }
    if (connect(fd, &address->sa, address->len) == 0 || errno == EINPROGRESS || errno == EINTR) {
        return 0;
    }
    error = errno;
    *skipped = probe_is_shortage(error) || lacks_port(error, source, address);
    if (lacks_port(error, source, address)) {
        (void)snprintf(reason, reason_size, "no port is left to come from");
    } else {
        reach_describe(error, reason, reason_size);
    }
    return error;
}

int reach_begin(const struct source *source, const struct addr *address, char *reason, size_t reason_size,
                bool *skipped)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        int error = errno;
        *skipped = probe_is_shortage(error);
        reach_describe(error, reason, reason_size);
        return -1;
    }
    if (begin(fd, source, address, reason, reason_size, skipped) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}
