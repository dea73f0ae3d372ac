/*
 * Answers for a connection as a whole: its memory, its states and their deadlines, and what runs when an
 * event, a deadline or a second look arrives. Runs on the connection's worker. What comes before a backend is
 * picked is in arrival.c, connecting in connect.c, bytes in relay.c, the end in close.c.
 */
#include "core/clock.h"
#include "core/log.h"
#include "proxy/proxy_internal.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Kept for later by one worker. Under a sanitizer nothing is kept, so that a use after free shows. */
#ifdef SHUNT_SANITIZED
#define CONN_POOL_MAX 0u
#else
#define CONN_POOL_MAX 1024u
#endif

static struct conn *conn_alloc(struct proxy_worker *shared)
{
    struct conn *conn = shared->free_conns;
    if (conn != NULL) {
        shared->free_conns = list_entry(conn->node.next, struct conn, node);
        shared->free_conns_len--;
        if (shared->free_conns_len == 0) {
            shared->free_conns = NULL;
        }
    } else {
        conn = malloc(sizeof(*conn));
    }
    if (conn != NULL) {
        memset(conn, 0, sizeof(*conn));
    }
    return conn;
}

void conn_recycle(struct proxy_worker *shared, struct conn *conn)
{
    if (shared->free_conns_len >= CONN_POOL_MAX) {
        free(conn);
        return;
    }
    conn->node.next = shared->free_conns != NULL ? &shared->free_conns->node : NULL;
    shared->free_conns = conn;
    shared->free_conns_len++;
}

void conn_pool_clear(struct proxy_worker *shared)
{
    while (shared->free_conns_len > 0) {
        free(conn_alloc(shared));
    }
}

uint64_t conn_next_id(struct proxy_worker *shared)
{
    return ((uint64_t)worker_index(shared->worker) << CONN_ID_WORKER_SHIFT) | ++shared->next_id;
}

int conn_accept(struct service_worker *home, int fd, const struct addr *peer)
{
    struct proxy_worker *shared = home->shared;
    struct conn *conn = conn_alloc(shared);
    struct conn_attempt *attempt = calloc(1, sizeof(*attempt));
    bool paced = atomic_load_explicit(&home->service->terms, memory_order_acquire)->pace.any;
    struct conn_pace *pace = paced ? bandwidth_begin() : NULL;
    if (conn == NULL || attempt == NULL || (paced && pace == NULL)) {
        free(conn);
        free(attempt);
        bandwidth_end(pace);
        close(fd);
        return -1;
    }
    conn->state = CONN_ACCEPTED;
    conn->outcome = -1;
    conn->home = home;
    conn->id = conn_next_id(shared);
    deadline_init(&conn->deadline);
    deadline_init(&conn->look);
    addr_ip_from(peer, &conn->client);
    stream_init(&conn->stream[CONN_CLIENT]);
    stream_init(&conn->stream[CONN_BACKEND]);
    conn->stream[CONN_CLIENT].fd = fd;
    conn->stream[CONN_CLIENT].is_unix = peer->sa.sa_family == AF_UNIX;
    attempt->retries_left = atomic_load_explicit(&home->service->retries, memory_order_relaxed);
    attempt->outcome = -1;
    conn->attempt = attempt;
    conn->pace = pace;
    list_append(&home->connections, &conn->node);
    stats_add(&home->stats.accepted, 1);
    uint64_t now_us = clock_mono_us();
    conn->accepted_us = now_us;
    conn->moved_us = now_us;
    arrival_begin(conn, now_us);
    return 0;
}

bool conn_listen_to_client(struct conn *conn)
{
    struct stream *client = &conn->stream[CONN_CLIENT];
    struct event_base *base = worker_base(conn->home->shared->worker);
    return client->registered ||
           stream_open(client, base, client->fd, client->is_unix, true, conn_on_client, conn) == 0;
}

void conn_enter(struct conn *conn, enum conn_state state, uint64_t now_us)
{
    enum conn_state from = (enum conn_state)conn->state;
    assert(conn->state != CONN_STATE_FREE);
    assert(conn_state_may_follow(from, state));
    conn->state = (uint8_t)state;
    if (from == CONN_CLIENT_TLS) {
        handshake_leave(conn);
    }
    deadline_cancel(&conn->deadline);
    struct deadline_queue *queue = conn->home->queue[conn_state_deadline(state)];
    if (queue != NULL) {
        deadline_arm(queue, &conn->deadline, now_us);
    }
    if (log_threshold() <= LOG_LEVEL_DEBUG) {
        char id[PROXY_ID_TEXT_MAX];
        proxy_id_format(conn->id, id, sizeof(id));
        log_line(LOG_LEVEL_DEBUG, "connection state", LOG_TEXT("service", conn->home->service->name),
                 LOG_TEXT("connection", id), LOG_TEXT("from", conn_state_name(from)),
                 LOG_TEXT("to", conn_state_name(state)));
    }
}

static void conn_continue(struct worker_task *task, struct worker *worker)
{
    struct conn *conn = list_entry(task, struct conn, task);
    assert(conn->state != CONN_STATE_FREE);
    worker_note_activity(worker);
    conn_run(conn, clock_mono_us());
}

void conn_run(struct conn *conn, uint64_t now_us)
{
    struct service_worker *home = conn->home;
    if (conn->state == CONN_FLUSHING) {
        close_continue(conn, now_us);
        return;
    }
    struct stream *client = &conn->stream[CONN_CLIENT];
    struct stream *backend = &conn->stream[CONN_BACKEND];
    bool more = relay_pump(conn, CONN_CLIENT, now_us);
    more |= relay_pump(conn, CONN_BACKEND, now_us);
    if (client->send_failed && client->readable) {
        more |= relay_pump(conn, CONN_CLIENT, now_us); /* the failed send brought news of this side */
    }
    if (close_settle(conn, now_us)) {
        return;
    }
    if (!conn->look_armed && (client->unsure || backend->unsure)) {
        conn->look_armed = true;
        deadline_arm(home->shared->look, &conn->look, now_us);
    }
    if (more && !conn->task.queued) {
        conn->task.run = conn_continue;
        worker_continue(home->shared->worker, &conn->task);
    }
}

static void on_event(struct conn *conn, enum conn_side side, short what)
{
    assert(conn->state != CONN_STATE_FREE);
    worker_note_activity(conn->home->shared->worker);
    uint64_t now_us = clock_mono_us();
    if (conn->state == CONN_CONNECTING && side == CONN_BACKEND) {
        connect_on_event(conn, what, now_us);
        return;
    }
    stream_note(&conn->stream[side], what);
    if (conn->state == CONN_BACKEND_TLS) {
        if (side == CONN_BACKEND) {
            connect_on_tls(conn, now_us);
        }
        return;
    }
    if (conn->state == CONN_PROXY_HEADER || conn->state == CONN_CLIENT_HELLO) {
        arrival_go_on(conn, now_us);
    } else if (conn->state == CONN_CLIENT_TLS) {
        handshake_go_on(conn, now_us);
    } else if (conn->state == CONN_QUEUED) {
        queue_on_client(conn, what, now_us);
    } else if (conn->state != CONN_PICK && conn->state != CONN_CONNECTING) {
        conn_run(conn, now_us); /* before that, a client waits in the kernel for its backend */
    }
}

void conn_on_client(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    on_event(context, CONN_CLIENT, what);
}

void conn_on_backend(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    on_event(context, CONN_BACKEND, what);
}

/* Lazy: traffic only moves moved_us; here it is looked at. */
uint64_t conn_on_deadline(struct deadline *deadline, uint64_t now_us, void *context)
{
    (void)context;
    struct conn *conn = list_entry(deadline, struct conn, deadline);
    enum conn_state state = (enum conn_state)conn->state;
    assert(conn->state != CONN_STATE_FREE);
    if (state == CONN_CONNECTING || state == CONN_BACKEND_TLS) {
        connect_on_timeout(conn, now_us);
        return 0;
    }
    if (state == CONN_QUEUED) {
        return queue_on_deadline(conn, now_us);
    }
    if (state == CONN_PROXY_HEADER || state == CONN_CLIENT_HELLO) {
        arrival_on_timeout(conn, now_us);
        return 0;
    }
    if (state == CONN_CLIENT_TLS) {
        handshake_on_timeout(conn, now_us);
        return 0;
    }
    uint64_t due_us = conn->moved_us + conn->home->queue_us[conn_state_deadline(state)];
    if (due_us > now_us) {
        return due_us;
    }
    close_now(conn, state == CONN_FLUSHING ? (enum stats_close)conn->reason : STATS_CLOSE_IDLE, now_us);
    return 0;
}

bool conn_await_first_byte(struct conn *conn, uint64_t now_us)
{
    struct deadline_queue *queue = conn->home->queue[CONN_DEADLINE_FIRST_BYTE];
    if (queue == NULL) {
        return true;
    }
    conn->first_byte = malloc(sizeof(*conn->first_byte));
    if (conn->first_byte == NULL) {
        return false;
    }
    conn->first_byte->conn = conn;
    deadline_init(&conn->first_byte->deadline);
    deadline_arm(queue, &conn->first_byte->deadline, now_us);
    return true;
}

void conn_forget_first_byte(struct conn *conn)
{
    if (conn->first_byte != NULL) {
        deadline_cancel(&conn->first_byte->deadline);
        free(conn->first_byte);
        conn->first_byte = NULL;
    }
}

uint64_t conn_on_first_byte(struct deadline *deadline, uint64_t now_us, void *context)
{
    (void)context;
    struct conn *conn = list_entry(deadline, struct conn_first_byte, deadline)->conn;
    assert(conn->state != CONN_STATE_FREE);
    conn_forget_first_byte(conn);
    if (!conn->client_spoke && conn->state != CONN_FLUSHING) {
        close_now(conn, STATS_CLOSE_FIRST_BYTE, now_us);
    }
    return 0;
}

/*
 * A receive that came back short is trusted to have emptied the socket: an event will tell of more. One case
 * gives no further event: a reset (or urgent data) that arrived together with the last bytes. So once a
 * connection has been quiet for a moment after such a receive, one more receive makes sure.
 */
uint64_t conn_on_look(struct deadline *deadline, uint64_t now_us, void *context)
{
    (void)context;
    struct conn *conn = list_entry(deadline, struct conn, look);
    assert(conn->state != CONN_STATE_FREE);
    if (conn->moved_us + CONN_LOOK_US > now_us) {
        return conn->moved_us + CONN_LOOK_US;
    }
    conn->look_armed = false;
    for (int side = CONN_CLIENT; side <= CONN_BACKEND; side++) {
        struct stream *stream = &conn->stream[side];
        if (stream->unsure) {
            stream_look_again(stream);
        }
    }
    conn_run(conn, now_us);
    return 0;
}
