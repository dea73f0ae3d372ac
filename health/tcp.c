/*
 * The TCP probe: connects, to a Unix socket as well, and closes. Control thread.
 *
 * It closes in order (FIN) rather than with a reset: some servers log each reset as a fault or block peers
 * that reset often, and the TIME_WAIT left on our side costs a port towards this one backend only. Nothing is
 * sent, nothing is read.
 */
#include "core/clock.h"
#include "health/probe_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct probe {
    struct probe_spec spec;
    struct event *event; /* owned; for the socket, and made active by hand when the end is known at once */
    int fd;              /* -1: not running, or ended within start */
    int error;           /* an errno known at the end of start; 0: connected; -1: not known yet */
};

static void close_socket(struct probe *probe)
{
    if (probe->fd >= 0) {
        (void)close(probe->fd);
        probe->fd = -1;
    }
}

/* Our own shortage is not the backend's fault. */
static enum probe_outcome outcome_of(int error)
{
    switch (error) {
    case 0:
        return PROBE_PASSED;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return PROBE_SKIPPED;
    default:
        return PROBE_FAILED;
    }
}

static void describe(const struct probe *probe, int error, char *out, size_t out_size)
{
    char text[64];
    switch (error) {
    case 0:
        (void)snprintf(out, out_size, "connected");
        break;
    case ETIMEDOUT:
        clock_format_duration(probe->spec.timeout_us, text, sizeof(text));
        (void)snprintf(out, out_size, "timed out after %s", text);
        break;
    case ECONNREFUSED:
        (void)snprintf(out, out_size, "connection refused");
        break;
    case EAGAIN: /* only from a Unix socket */
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

static int socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        return errno;
    }
    return error == 0 && met_itself(fd) ? ECONNREFUSED : error;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct probe *probe = arg;
    int error = probe->error;
    if (error < 0) {
        /* A socket that became ready in the same turn as the timeout counts by what it says. */
        error = (what & EV_WRITE) != 0 ? socket_error((int)fd) : ETIMEDOUT;
    }
    (void)event_del(probe->event);
    close_socket(probe);
    char reason[PROBE_REASON_MAX];
    describe(probe, error, reason, sizeof(reason));
    probe->spec.done(probe->spec.context, outcome_of(error), reason);
}

/* Returns 0 when connected, -1 when under way, else an errno. */
static int begin_connect(struct probe *probe)
{
    const struct addr *address = &probe->spec.address;
    probe->fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->fd < 0) {
        return errno;
    }
    if (connect(probe->fd, &address->sa, address->len) == 0) {
        return 0;
    }
    return errno == EINPROGRESS || errno == EINTR ? -1 : errno;
}

static void start(struct probe *probe)
{
    probe->error = begin_connect(probe);
    if (probe->error < 0) {
        struct timeval timeout = {.tv_sec = (time_t)(probe->spec.timeout_us / CLOCK_US_PER_S),
                                  .tv_usec = (suseconds_t)(probe->spec.timeout_us % CLOCK_US_PER_S)};
        if (event_assign(probe->event, probe->spec.base, probe->fd, EV_WRITE, on_event, probe) == 0 &&
            event_add(probe->event, &timeout) == 0) {
            return;
        }
        probe->error = ENOMEM;
    }
    close_socket(probe);
    (void)event_assign(probe->event, probe->spec.base, -1, 0, on_event, probe);
    event_active(probe->event, EV_TIMEOUT, 0);
}

static int create(const struct probe_spec *spec, struct probe **out)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    if (probe == NULL) {
        return ERR_NOMEM;
    }
    probe->spec = *spec;
    probe->fd = -1;
    probe->event = event_new(spec->base, -1, 0, on_event, probe);
    if (probe->event == NULL) {
        free(probe);
        return ERR_NOMEM;
    }
    *out = probe;
    return 0;
}

static void destroy(struct probe *probe)
{
    event_free(probe->event); /* also when it is pending or active */
    close_socket(probe);
    free(probe);
}

const struct probe_type probe_tcp = {
    .type = CONFIG_HEALTH_TCP, .create = create, .start = start, .destroy = destroy};
