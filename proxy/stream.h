/*
 * One end of a connection: a socket, what is known of it, and the verbs the relay uses. The verbs are the
 * only place that moves bytes or ends a direction, so that an encrypted end (proxy/tls_stream.h) answers to
 * the same ones. One thread: that of the connection.
 */
#ifndef PROXY_STREAM_H
#define PROXY_STREAM_H

#include "core/addr.h"
#include "core/err.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct event_base;
struct tls_stream;

/* What a verb returns besides a count of bytes. */
#define STREAM_END 0       /* recv, fill: the peer has ended its direction */
#define STREAM_AGAIN (-1)  /* nothing to be had now; the hint was cleared, an event will come */
#define STREAM_FAILED (-2) /* reset or otherwise broken */
#define STREAM_UNABLE (-3) /* fill: this socket cannot be spliced, or not now; copy */

struct stream {
    struct event event;     /* EV_READ | EV_WRITE | EV_CLOSED, edge-triggered, for the whole life */
    int fd;                 /* owned; -1: none */
    bool registered : 1;    /* event is added */
    bool is_unix : 1;       /* no RST to be had, no send queue to wait for */
    bool readable : 1;      /* a receive may find something */
    bool writable : 1;      /* a send may take something */
    bool ending : 1;        /* the peer's FIN is here, behind what is still to be read */
    bool unsure : 1;        /* the last receive came back short and was trusted to mean "empty" */
    bool ended : 1;         /* the end was read */
    bool send_failed : 1;   /* a send met a broken connection: nothing goes out any more */
    bool reset_taken : 1;   /* that send took the news of a reset without FIN */
    bool recv_failed : 1;   /* reading met a reset: nothing comes in any more */
    bool shut : 1;          /* our FIN was sent */
    bool unable : 1;        /* it failed for a reason of our own system, not of the peer */
    bool spoken_to : 1;     /* something was sent */
    bool undelayed : 1;     /* TCP_NODELAY is set, or means nothing here */
    bool bulk : 1;          /* a receive filled the scratch buffer: splice what comes next */
    bool relayed : 1;       /* everything up to its end was delivered, and the end too */
    struct tls_stream *tls; /* owned; NULL: plain. Then the hints above speak of the clear text */
};

/* Whether the system's congestion control paces (BBR, Cardwell et al. 2016), found out with a socket of its
 * own. */
bool stream_system_paces(void);
/* On a system that paces: between two ends on one machine there is no bottleneck to pace for, yet each
 * segment would cost a timer. A socket before connect or listen whose peers are on the loopback takes a
 * congestion control that does not pace; it could not be had later, pacing once begun stays. */
void stream_avoid_pacing(int fd, const struct addr *address);

void stream_init(struct stream *stream);
/* Takes over fd (non-blocking) and registers it on base. undelayed: TCP_NODELAY is set already (inherited
 * from a listener); otherwise it is set before the second send, the first that Nagle's rule (RFC 896) could
 * hold back. -1 when the loop refuses (no memory); fd is then still the stream's. */
int stream_open(struct stream *stream, struct event_base *base, int fd, bool is_unix, bool undelayed,
                event_callback_fn fn, void *context);
/* Notes what an event said. */
void stream_note(struct stream *stream, short what);

/* A moment after a receive that was trusted to have emptied the socket: the next one asks again. */
void stream_look_again(struct stream *stream);

/* TCP_NODELAY now: what follows is a dialogue of small pieces. */
void stream_undelay(struct stream *stream);

/* Receives up to size bytes. A count below size clears the readable hint unless the end is near. */
ssize_t stream_recv(struct stream *stream, void *buffer, size_t size);
/* Sends up to size bytes (size > 0); "again" clears the writable hint. */
ssize_t stream_send(struct stream *stream, const void *bytes, size_t size);
/* From the socket into an empty pipe, and from a pipe that holds size bytes out to the socket. */
ssize_t stream_fill(struct stream *stream, int pipe_fd, size_t size);
ssize_t stream_drain(struct stream *stream, int pipe_fd, size_t size);
/* Sends the end behind all that was sent: FIN, with TLS close_notify ahead of it. False when that is blocked;
 * a plain end never is. To be asked again once the stream is writable. */
MUST_CHECK bool stream_shutdown(struct stream *stream);
/* Bytes (and FIN) sent that the peer has not acknowledged. */
int stream_unacknowledged(const struct stream *stream);
/* Closes; as_reset: with RST, which discards what the peer has not acknowledged. Idempotent. */
void stream_close(struct stream *stream, bool as_reset);

/* For the encrypted end: what a failed receive or send on the socket means for the hints. code: errno. */
ssize_t stream_read_failed(struct stream *stream, int code);
ssize_t stream_write_failed(struct stream *stream, int code);

#endif
