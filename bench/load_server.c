/*
 * The servers of bench_load: echo (a request of fixed size, a reply of the same size made of one tag byte),
 * sink (reads to the end, then ends), source (is told a length in eight bytes, sends that much, ends) and
 * stream (see load_stream.c). One thread, edge-triggered epoll, one receive a wakeup where the socket ran
 * dry.
 */
#include "bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define LISTENER_INDEX (UINT32_MAX - 1u)

enum server_mode { MODE_ECHO, MODE_SINK, MODE_SOURCE, MODE_STREAM };

struct server_conn {
    uint64_t received; /* echo: bytes of the request under way; source: bytes of the length so far */
    uint64_t pending;  /* bytes still to be sent */
    struct load_stream *stream;
    bool open, ended; /* ended: the peer will send no more */
};

struct server {
    const struct load_options *options;
    int epoll, listener;
    struct server_conn *conns; /* by descriptor */
    size_t conns_len;
    uint64_t accepted, bytes_in, bytes_out, open;
    enum server_mode mode;
    char in[LOAD_SCRATCH_BYTES], out[LOAD_SCRATCH_BYTES];
};

static void conn_close(struct server *server, int fd)
{
    server->conns[fd].open = false;
    server->open--;
    close(fd);
}

/* Takes what was received into account: how much is to be sent now. */
static void conn_take(struct server *server, struct server_conn *conn, size_t n)
{
    server->bytes_in += n;
    if (server->mode == MODE_ECHO) {
        conn->received += n;
        conn->pending += conn->received / server->options->size * server->options->size;
        conn->received %= server->options->size;
    } else if (server->mode == MODE_SOURCE) {
        uint64_t bytes;
        memcpy(&bytes, server->in, sizeof(bytes)); /* a client sends these eight bytes at once */
        conn->received += n;
        conn->pending = n == sizeof(bytes) ? bytes : 0;
    }
}

/* False when the connection failed. */
static bool conn_receive(struct server *server, int fd, struct server_conn *conn, bool to_the_end)
{
    for (;;) {
        ssize_t n = recv(fd, server->in, sizeof(server->in), 0);
        if (n > 0) {
            conn_take(server, conn, (size_t)n);
            /* A short receive emptied the socket: the edge will come for more. Not so for an end seen
             * already. */
            if ((size_t)n < sizeof(server->in) && !to_the_end) {
                return true;
            }
        } else if (n == 0) {
            conn->ended = true;
            return true;
        } else {
            return errno == EAGAIN || errno == EINTR;
        }
    }
}

static bool conn_send(struct server *server, int fd, struct server_conn *conn)
{
    while (conn->pending) {
        size_t want = conn->pending < sizeof(server->out) ? (size_t)conn->pending : sizeof(server->out);
        ssize_t n = send(fd, server->out, want, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        conn->pending -= (uint64_t)n;
        server->bytes_out += (uint64_t)n;
    }
    return true;
}

static void conn_event(struct server *server, int fd, uint32_t events)
{
    struct server_conn *conn = &server->conns[fd];
    if (!conn->open) {
        return;
    }
    if (conn->stream) {
        if (!load_stream_turn(conn->stream)) {
            conn->stream = NULL;
            conn_close(server, fd);
        }
        return;
    }
    bool good = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) {
        good = conn_receive(server, fd, conn, events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP));
    }
    bool had = conn->pending > 0;
    good = good && conn_send(server, fd, conn);
    bool sent_all = server->mode == MODE_SOURCE && had && conn->pending == 0;
    if (!good || sent_all || (conn->ended && conn->pending == 0)) {
        conn_close(server, fd);
    }
}

static void server_accept(struct server *server)
{
    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
                load_die("accept");
            }
            return;
        }
        struct server_conn *conn = &server->conns[fd];
        *conn = (struct server_conn){.open = true};
        if (server->mode == MODE_STREAM) {
            conn->stream = load_stream_accept(fd, server->options->uneven);
        }
        server->accepted++;
        server->open++;
        load_watch(server->epoll, fd, (uint32_t)fd);
    }
}

static void server_report(const struct server *server)
{
    printf("{\"mode\":\"server %s\",\"accepted\":%ju,\"open\":%ju,\"bytes_in\":%ju,\"bytes_out\":%ju}\n",
           server->options->mode, (uintmax_t)server->accepted, (uintmax_t)server->open,
           (uintmax_t)server->bytes_in, (uintmax_t)server->bytes_out);
    fflush(stdout);
}

/* Any line on standard input asks for the counters; its end ends the server. */
static bool server_input(const struct server *server)
{
    char line[64];
    bool more = load_read_line(line, sizeof(line));
    server_report(server);
    return more;
}

int load_server(const struct load_options *options)
{
    struct server *server = load_calloc(1, sizeof(*server));
    struct rlimit files;
    struct epoll_event events[LOAD_EVENTS_MAX];
    if (getrlimit(RLIMIT_NOFILE, &files) < 0) {
        load_die("getrlimit");
    }
    server->options = options;
    server->mode = strcmp(options->mode, "echo") == 0     ? MODE_ECHO
                   : strcmp(options->mode, "sink") == 0   ? MODE_SINK
                   : strcmp(options->mode, "source") == 0 ? MODE_SOURCE
                                                          : MODE_STREAM;
    server->conns_len = files.rlim_cur < (1u << 20) ? files.rlim_cur : (1u << 20);
    server->conns = load_calloc(server->conns_len, sizeof(*server->conns));
    memset(server->out, options->tag, sizeof(server->out));
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->listener = load_listen(&options->address);
    load_watch(server->epoll, server->listener, LISTENER_INDEX);
    load_watch_input(server->epoll);
    for (bool more = true; more;) {
        int n = epoll_wait(server->epoll, events, LOAD_EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == LISTENER_INDEX) {
                server_accept(server);
            } else if (events[i].data.u32 == LOAD_INPUT_INDEX) {
                more = server_input(server);
            } else {
                conn_event(server, (int)events[i].data.u32, events[i].events);
            }
        }
    }
    free(server->conns);
    free(server);
    return 0;
}
