/*
 * Bulk clients: upload (send a share of the bytes on each connection, end, wait for the server's end: all was
 * taken) and download (ask for a share on each connection, read to the end).
 */
#include "bench/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct bulk_conn {
    uint64_t left; /* still to send, or to receive */
    int fd;
    bool finished; /* upload: our end was sent */
};

struct bulk {
    const struct load_options *options;
    bool upload;
    struct bulk_conn *conns;
    uint32_t open;
    int epoll;
    struct load_result result;
    char buffer[LOAD_SCRATCH_BYTES];
};

static void conn_end(struct bulk *bulk, struct bulk_conn *conn, uint64_t *error)
{
    if (error) {
        ++*error;
    } else {
        bulk->result.operations++;
    }
    close(conn->fd);
    conn->fd = -1;
    bulk->open--;
}

static void conn_upload(struct bulk *bulk, struct bulk_conn *conn)
{
    while (conn->left) {
        size_t want = conn->left < sizeof(bulk->buffer) ? (size_t)conn->left : sizeof(bulk->buffer);
        ssize_t n = send(conn->fd, bulk->buffer, want, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                conn_end(bulk, conn, &bulk->result.errors.reset);
            }
            return;
        }
        conn->left -= (uint64_t)n;
        bulk->result.bytes += (uint64_t)n;
    }
    if (!conn->finished) {
        conn->finished = true;
        shutdown(conn->fd, SHUT_WR);
    }
}

static void conn_receive(struct bulk *bulk, struct bulk_conn *conn, bool to_the_end)
{
    for (;;) {
        ssize_t n = recv(conn->fd, bulk->buffer, sizeof(bulk->buffer), 0);
        if (n > 0) {
            if (bulk->upload || (uint64_t)n > conn->left) {
                conn_end(bulk, conn, &bulk->result.errors.mismatch);
                return;
            }
            conn->left -= (uint64_t)n;
            bulk->result.bytes += (uint64_t)n;
            if ((size_t)n < sizeof(bulk->buffer) && !to_the_end) {
                return;
            }
        } else if (n == 0) {
            conn_end(bulk, conn, conn->left ? &bulk->result.errors.early_end : NULL);
            return;
        } else {
            if (errno != EAGAIN && errno != EINTR) {
                conn_end(bulk, conn, &bulk->result.errors.reset);
            }
            return;
        }
    }
}

static void bulk_turn(struct bulk *bulk)
{
    struct epoll_event events[LOAD_EVENTS_MAX];
    int n = epoll_wait(bulk->epoll, events, LOAD_EVENTS_MAX, -1);
    for (int i = 0; i < n; i++) {
        struct bulk_conn *conn = &bulk->conns[events[i].data.u32];
        if (conn->fd >= 0 && bulk->upload) {
            conn_upload(bulk, conn);
        }
        if (conn->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))) {
            conn_receive(bulk, conn, events[i].events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP));
        }
    }
}

static void bulk_begin(struct bulk *bulk)
{
    for (uint32_t i = 0; i < bulk->options->connections; i++) {
        struct bulk_conn *conn = &bulk->conns[i];
        if (conn->fd < 0) {
            continue;
        }
        load_watch(bulk->epoll, conn->fd, i);
        if (!bulk->upload &&
            send(conn->fd, &conn->left, sizeof(conn->left), MSG_NOSIGNAL) != sizeof(conn->left)) {
            conn_end(bulk, conn, &bulk->result.errors.reset);
        }
    }
}

int load_client_bulk(const struct load_options *options)
{
    struct bulk *bulk = load_calloc(1, sizeof(*bulk));
    bulk->options = options;
    bulk->upload = strcmp(options->mode, "upload") == 0;
    bulk->conns = load_calloc(options->connections, sizeof(*bulk->conns));
    bulk->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < options->connections; i++) {
        struct bulk_conn *conn = &bulk->conns[i];
        conn->fd = load_connect(&options->address);
        conn->left = options->bytes / options->connections;
        if (conn->fd < 0) {
            bulk->result.errors.connect++;
        } else {
            bulk->open++;
        }
    }
    load_wait_go(options);
    load_result_start(&bulk->result);
    bulk_begin(bulk);
    while (bulk->open) {
        bulk_turn(bulk);
    }
    load_result_stop(&bulk->result);
    load_result_print(options, &bulk->result);
    int code = load_errors_sum(&bulk->result.errors) ? 1 : 0;
    free(bulk->conns);
    free(bulk);
    return code;
}
