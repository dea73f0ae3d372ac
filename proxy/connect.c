/*
 * Answers for the way to a backend: pick, connect, and on failure the next one. Runs on the connection's
 * worker. The client is not read before a backend is there: its first bytes, and even its end, wait in the
 * kernel, so nothing is lost by a retry.
 */
#include "core/clock.h"
#include "proxy/proxy_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum connect_result { CONNECT_DONE, CONNECT_PENDING, CONNECT_FAILED, CONNECT_NO_DESCRIPTOR };

void connect_give_back(struct conn *conn, int outcome, uint64_t now_us)
{
    uint32_t group = conn->lease.group;
    lease_release(&conn->lease, outcome, now_us);
    conn->lease.backend = NULL;
    routing_wake(conn->home->service->routing, group);
}

void connect_drop(struct conn *conn)
{
    if (conn->attempt != NULL) {
        outward_forget(conn->attempt);
        queue_end(conn->attempt, conn->home->service->routing);
    }
    free(conn->attempt);
    conn->attempt = NULL;
}

/* The kernel's first keepalive probe, unless told otherwise (tcp_keepalive_time, RFC 9293 3.8.4). */
#define KEEPALIVE_US (7200 * CLOCK_US_PER_S)

/* A backend that vanished is found by the idle timeout, or, where that comes later or never, by keepalives.
 */
static void keep_alive(const struct conn *conn, int fd)
{
    const int on = 1;
    if (conn->home->queue_us[CONN_DEADLINE_IDLE] > KEEPALIVE_US) {
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
}

/* Ports, buffers or memory of this machine: it says nothing of the backend. */
static bool is_own_fault(int error)
{
    return error == EADDRNOTAVAIL || error == EADDRINUSE || error == ENOBUFS || error == ENOMEM;
}

/* Begins to connect the stream to the lease's backend. */
static enum connect_result connect_begin(struct conn *conn)
{
    const struct addr *address = backend_address(conn->lease.backend);
    struct stream *stream = &conn->stream[CONN_BACKEND];
    bool is_unix = addr_is_unix(address);
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (!outward_is_known(conn)) {
        conn->lease.excused = true;
        return CONNECT_FAILED;
    }
    int fd = socket(address->sa.sa_family, type, 0);
    if (fd < 0 && listener_use_spare(conn->home->shared)) {
        fd = socket(address->sa.sa_family, type, 0);
    }
    if (fd < 0) {
        return CONNECT_NO_DESCRIPTOR;
    }
    if (!is_unix) {
        keep_alive(conn, fd);
        if (conn->home->service->proxy->paces) {
            stream_avoid_pacing(fd, address);
        }
        if (outward_bind(conn, fd, address->sa.sa_family) != 0) {
            close(fd);
            conn->lease.excused = true;
            return CONNECT_FAILED;
        }
    }
    bool pending = false;
    if (connect(fd, &address->sa, address->len) != 0) {
        pending = errno == EINPROGRESS || errno == EINTR;
        if (!pending) {
            conn->lease.excused = is_own_fault(errno);
            close(fd);
            return CONNECT_FAILED;
        }
    }
    struct worker *worker = conn->home->shared->worker;
    if (stream_open(stream, worker_base(worker), fd, is_unix, false, conn_on_backend, conn) != 0) {
        stream_close(stream, false);
        return CONNECT_NO_DESCRIPTOR;
    }
    return pending ? CONNECT_PENDING : CONNECT_DONE;
}

static void connect_done(struct conn *conn, uint64_t now_us)
{
    struct service_worker *home = conn->home;
    struct stream *client = &conn->stream[CONN_CLIENT];
    uint64_t connect_us = now_us - conn->attempt->began_us;
    conn->connect_us = connect_us < UINT32_MAX ? (uint32_t)connect_us : UINT32_MAX;
    lease_connected(&conn->lease, connect_us, now_us);
    if (conn->lease.spilled) {
        stats_add(&home->stats.spilled, 1);
    }
    connect_drop(conn);
    conn->turn_us = now_us;
    conn->moved_us = now_us;
    conn_enter(conn, CONN_RELAY, now_us);
    if (!conn_await_first_byte(conn, now_us) || !conn_listen_to_client(conn)) {
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return;
    }
    /* Most clients have spoken by now: look at once instead of waiting for the loop to say so. */
    client->readable = true;
    client->writable = true;
    conn->stream[CONN_BACKEND].writable = true;
    conn_run(conn, now_us);
}

enum stats_close connect_reason(const struct conn *conn)
{
    int outcome = conn->attempt->outcome;
    if (outcome < 0) {
        return STATS_CLOSE_NO_BACKEND;
    }
    switch (outcome) {
    case STATS_ERROR_TIMEOUT:
        return STATS_CLOSE_CONNECT_TIMEOUT;
    case STATS_ERROR_HANDSHAKE:
        return STATS_CLOSE_HANDSHAKE_FAILED;
    default:
        return STATS_CLOSE_CONNECT_REFUSED;
    }
}

/* The attempt failed: gives the lease back with what went wrong. */
static void attempt_failed(struct conn *conn, enum stats_error error, uint64_t now_us)
{
    conn->attempt->outcome = (int)error;
    stream_close(&conn->stream[CONN_BACKEND], false);
    connect_give_back(conn, (int)error, now_us);
}

int connect_pick(struct conn *conn, bool waits, uint64_t now_us)
{
    struct service_worker *home = conn->home;
    struct conn_attempt *attempt = conn->attempt;
    struct routing *routing = home->service->routing;
    const struct routing_pick_input input = {
        .worker = worker_index(home->shared->worker),
        .client = conn->client,
        .server_name = conn_server_name(conn)[0] != '\0' ? conn_server_name(conn) : NULL,
        .now_us = now_us,
        .random = worker_random(home->shared->worker)};
    bool again = attempt->outcome >= 0;
    int rc = ERR_UNAVAILABLE;
    if (waits) {
        rc = queue_turn(attempt, routing, &input, &conn->lease);
    } else if (!again || attempt->retries_left > 0) {
        rc = routing_pick(routing_view(routing), &input, &attempt->attempts, &conn->lease);
    }
    if (rc != 0) {
        conn->lease.backend = NULL;
        return rc;
    }
    if (again) {
        attempt->retries_left--;
        stats_add(&home->stats.retries, 1);
    }
    return 0;
}

static enum connect_result result_of(enum tls_progress progress)
{
    switch (progress) {
    case TLS_DONE:
        return CONNECT_DONE;
    case TLS_PENDING:
        return CONNECT_PENDING;
    case TLS_FAILED:
        break;
    }
    return CONNECT_FAILED;
}

/* The socket is connected: what comes ahead of the client's bytes, the PROXY header and then TLS. */
static enum connect_result introduce(struct conn *conn, uint64_t now_us)
{
    if (!outward_introduce(conn)) {
        return CONNECT_FAILED;
    }
    struct tls_back *back = outward_tls(conn);
    if (back == NULL) {
        return CONNECT_DONE;
    }
    conn_enter(conn, CONN_BACKEND_TLS, now_us);
    return result_of(handshake_call(conn, back));
}

/* This attempt came to nothing, in whichever state: back to picking. */
static void give_up_attempt(struct conn *conn, uint64_t now_us)
{
    bool in_tls = conn->state == CONN_BACKEND_TLS;
    attempt_failed(conn, in_tls ? STATS_ERROR_HANDSHAKE : STATS_ERROR_CONNECT, now_us);
    if (conn->state != CONN_PICK) {
        conn_enter(conn, CONN_PICK, now_us);
    }
}

/* True when nothing is left to be done here: it is on its way, established or closed. */
static bool try_leased(struct conn *conn, uint64_t now_us)
{
    conn->attempt->began_us = now_us;
    enum connect_result result = connect_begin(conn);
    bool connected = result == CONNECT_DONE;
    switch (connected ? introduce(conn, now_us) : result) {
    case CONNECT_DONE:
        connect_done(conn, now_us);
        return true;
    case CONNECT_PENDING:
        if (!connected) {
            conn_enter(conn, CONN_CONNECTING, now_us);
        }
        return true;
    case CONNECT_NO_DESCRIPTOR:
        listener_pause_all(conn->home, now_us);
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return true;
    case CONNECT_FAILED:
        break;
    }
    give_up_attempt(conn, now_us);
    return false;
}

void connect_leased(struct conn *conn, uint64_t now_us)
{
    if (!try_leased(conn, now_us)) {
        connect_next(conn, now_us);
    }
}

void connect_next(struct conn *conn, uint64_t now_us)
{
    for (;;) {
        int rc = connect_pick(conn, false, now_us);
        if (rc == ERR_LIMIT) {
            queue_begin(conn, now_us);
            return;
        }
        if (rc != 0) {
            close_now(conn, connect_reason(conn), now_us);
            return;
        }
        if (try_leased(conn, now_us)) {
            return;
        }
    }
}

static void go_on_with(struct conn *conn, enum connect_result result, uint64_t now_us)
{
    if (result == CONNECT_DONE) {
        connect_done(conn, now_us);
    } else if (result != CONNECT_PENDING) {
        give_up_attempt(conn, now_us);
        connect_next(conn, now_us);
    }
}

void connect_on_event(struct conn *conn, short what, uint64_t now_us)
{
    int error = 0;
    socklen_t len = sizeof(error);
    /* A failure is reported as readable and writable; writable alone can only mean that it worked. */
    if ((what & (EV_READ | EV_CLOSED)) != 0 &&
        getsockopt(conn->stream[CONN_BACKEND].fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    if (error == 0) {
        stream_note(&conn->stream[CONN_BACKEND], what);
    }
    go_on_with(conn, error == 0 ? introduce(conn, now_us) : CONNECT_FAILED, now_us);
}

void connect_on_tls(struct conn *conn, uint64_t now_us)
{
    go_on_with(conn, result_of(handshake_call_go_on(conn)), now_us);
}

void connect_on_timeout(struct conn *conn, uint64_t now_us)
{
    if (conn->state == CONN_BACKEND_TLS) {
        handshake_call_overdue(conn);
        give_up_attempt(conn, now_us);
        connect_next(conn, now_us);
        return;
    }
    attempt_failed(conn, STATS_ERROR_TIMEOUT, now_us);
    conn_enter(conn, CONN_PICK, now_us);
    connect_next(conn, now_us);
}
