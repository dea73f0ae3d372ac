/*
 * Answers for the plain socket end of a connection: its registration with the loop, its hints, and the verbs
 * that move bytes. Runs on the connection's worker. What to move and when is decided in relay.c.
 */
#include "proxy/stream.h"
#include "proxy/tls_stream.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

bool stream_system_paces(void)
{
    char name[16] = "";
    socklen_t len = sizeof(name) - 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool known = getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0;
    close(fd);
    return known && strncmp(name, "bbr", strlen("bbr")) == 0;
}

static bool is_loopback(const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET) {
        return (ntohl(addr->in.sin_addr.s_addr) >> IN_CLASSA_NSHIFT) == IN_LOOPBACKNET;
    }
    return addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
}

void stream_avoid_pacing(int fd, const struct addr *address)
{
    /* reno is in every kernel, cubic in nearly every one. */
    if (is_loopback(address) && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic")) != 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
    }
}

void stream_init(struct stream *stream)
{
    *stream = (struct stream){.fd = -1};
}

int stream_open(struct stream *stream, struct event_base *base, int fd, bool is_unix, bool undelayed,
                event_callback_fn fn, void *context)
{
    *stream = (struct stream){.fd = fd, .is_unix = is_unix, .undelayed = undelayed || is_unix};
    if (event_assign(&stream->event, base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, fn,
                     context) != 0 ||
        event_add(&stream->event, NULL) != 0) {
        return -1;
    }
    stream->registered = true;
    return 0;
}

static bool is_again(int code)
{
    return code == EAGAIN || code == EINTR;
}

/* Whether an error tells of the peer or of the way there. Any other is a shortage or a refusal of our own
 * system: the socket lives on, no event will come, and so the connection is given up on this side. */
static bool is_of_peer(int code)
{
    switch (code) {
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
    case ECONNABORTED:
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENETRESET:
    case ENOTCONN:
    case ESHUTDOWN:
        return true;
    default:
        return false;
    }
}

ssize_t stream_read_failed(struct stream *stream, int code)
{
    if (code == EINTR) {
        return STREAM_AGAIN;
    }
    stream->readable = false;
    stream->unsure = false;
    if (is_again(code)) {
        return STREAM_AGAIN;
    }
    stream->recv_failed = true;
    stream->unable = !is_of_peer(code);
    return STREAM_FAILED;
}

ssize_t stream_write_failed(struct stream *stream, int code)
{
    if (code == EINTR) {
        return STREAM_AGAIN;
    }
    stream->writable = false;
    if (is_again(code)) {
        return STREAM_AGAIN;
    }
    stream->send_failed = true;
    if (!is_of_peer(code)) {
        stream->unable = true;
        stream->recv_failed = true;
        return STREAM_FAILED;
    }
    /* Linux says EPIPE when the peer had sent its FIN before the reset (tcp_reset, CLOSE_WAIT): then there is
     * an end to be read. Any other error means that there is none, and is told only once, here. */
    stream->reset_taken = code != EPIPE;
    /* No further event need come: what the peer sent before must be looked for now. */
    stream->readable = !stream->ended && !stream->recv_failed;
    return STREAM_FAILED;
}

/*
 * After the peer's end nothing is left to be read, so a further word of the socket can only be a reset:
 * libevent shows EPOLLERR as readable and writable, without EV_CLOSED. No receive or send would ask, so it is
 * asked here.
 */
static bool met_reset(struct stream *stream)
{
    int code = 0;
    socklen_t len = sizeof(code);
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &code, &len) != 0 || code == 0) {
        return false;
    }
    (void)stream_write_failed(stream, code);
    return true;
}

/*
 * The end was read. When a send took the news of a reset, the kernel reports it here as an end. And where a
 * reset came behind the end before that was read, its event is over: it was the last, and not one of an end.
 */
static ssize_t read_end(struct stream *stream)
{
    stream->readable = false;
    stream->unsure = false;
    if (stream->reset_taken) {
        stream->recv_failed = true;
        return STREAM_FAILED;
    }
    stream->ended = true;
    if (!stream->ending && !stream->send_failed) {
        (void)met_reset(stream);
    }
    return STREAM_END;
}

void stream_note(struct stream *stream, short what)
{
    if (stream->ended && !stream->send_failed && (what & EV_READ) && !(what & EV_CLOSED) &&
        met_reset(stream)) {
        return;
    }
    if (what & EV_READ) {
        stream->readable = true;
    }
    if (what & EV_WRITE) {
        stream->writable = true;
    }
    if (what & EV_CLOSED) {
        stream->ending = true;
        stream->readable = true;
    } else {
        stream->ending = false; /* after an end every event tells of it, but for that of a reset */
    }
    if (stream->tls != NULL) {
        tls_stream_note(stream, what);
    }
}

void stream_look_again(struct stream *stream)
{
    stream->unsure = false;
    stream->readable = true;
    if (stream->tls != NULL) {
        tls_stream_note(stream, EV_READ);
    }
}

ssize_t stream_recv(struct stream *stream, void *buffer, size_t size)
{
    if (stream->tls != NULL) {
        return tls_stream_recv(stream, buffer, size);
    }
    ssize_t n = recv(stream->fd, buffer, size, 0);
    if (n > 0) {
        if ((size_t)n < size && !stream->ending && !stream->send_failed) {
            stream->readable = false;
            stream->unsure = true;
        }
        return n;
    }
    return n == 0 ? read_end(stream) : stream_read_failed(stream, errno);
}

void stream_undelay(struct stream *stream)
{
    const int on = 1;
    if (!stream->undelayed) {
        stream->undelayed = true;
        (void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
}

/* Called before each send. A connection that sends once never pays for the option. */
static void undelay(struct stream *stream)
{
    if (!stream->undelayed && stream->spoken_to) {
        stream_undelay(stream);
    }
    stream->spoken_to = true;
}

ssize_t stream_send(struct stream *stream, const void *bytes, size_t size)
{
    undelay(stream);
    if (stream->tls != NULL) {
        return tls_stream_send(stream, bytes, size);
    }
    ssize_t n = send(stream->fd, bytes, size, MSG_NOSIGNAL);
    if (n > 0) {
        return n; /* cut short or not: only "again" tells for certain that an event will come */
    }
    return stream_write_failed(stream, n == 0 ? EAGAIN : errno);
}

/* splice(2) says 0 at an end, but also where urgent data stands in its way (tcp_splice_read); only a receive
 * gets past that. */
static ssize_t fill_nothing(struct stream *stream)
{
    char next;
    ssize_t n = recv(stream->fd, &next, sizeof(next), MSG_PEEK);
    if (n > 0) {
        return STREAM_UNABLE;
    }
    return n == 0 ? read_end(stream) : stream_read_failed(stream, errno);
}

ssize_t stream_fill(struct stream *stream, int pipe_fd, size_t size)
{
    ssize_t n = splice(stream->fd, NULL, pipe_fd, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        return n;
    }
    if (n == 0) {
        return fill_nothing(stream);
    }
    if (errno == EINVAL || errno == ENOSYS || errno == ENOMEM) {
        return STREAM_UNABLE;
    }
    ssize_t said = stream_read_failed(stream, errno);
    /* "Again" may also mean that urgent data stands in the way of what has all come already: then no event
     * will tell, and a later look by a receive gets past it. */
    stream->unsure = !stream->readable && said == STREAM_AGAIN;
    return said;
}

ssize_t stream_drain(struct stream *stream, int pipe_fd, size_t size)
{
    undelay(stream);
    ssize_t n = splice(pipe_fd, NULL, stream->fd, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        return n;
    }
    return stream_write_failed(stream, n == 0 ? EPIPE : errno);
}

bool stream_shutdown(struct stream *stream)
{
    if (stream->tls != NULL && !tls_stream_shutdown(stream)) {
        return false;
    }
    if (!stream->shut && !stream->send_failed && shutdown(stream->fd, SHUT_WR) != 0) {
        (void)stream_write_failed(stream, EPIPE);
    }
    stream->shut = true;
    return true;
}

int stream_unacknowledged(const struct stream *stream)
{
    int queued = 0;
    if (stream->fd < 0 || stream->is_unix || ioctl(stream->fd, SIOCOUTQ, &queued) != 0) {
        return 0;
    }
    /* After a reset the count stays as it was, and nobody will acknowledge anything. */
    struct tcp_info info;
    socklen_t len = sizeof(info);
    bool over = queued > 0 && getsockopt(stream->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
                info.tcpi_state == TCP_CLOSE;
    return over ? 0 : queued;
}

void stream_close(struct stream *stream, bool as_reset)
{
    if (stream->registered) {
        event_del(&stream->event);
        stream->registered = false;
    }
    if (stream->fd < 0) {
        return;
    }
    if (stream->tls != NULL) {
        tls_stream_close(stream, as_reset);
    }
    if (as_reset) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    close(stream->fd);
    stream->fd = -1;
}
