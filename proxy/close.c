/*
 * Answers for the end of a connection: when which side is told what, with which reason it is counted, and the
 * order in which things are given back. Runs on the connection's worker.
 *
 * An end in order is passed on by the relay. A reset is passed on as a reset, but only after what had been
 * read was delivered and acknowledged: a reset discards whatever the kernel still has to send.
 */
#include "core/clock.h"
#include "core/log.h"
#include "proxy/proxy_internal.h"

#include <stdlib.h>

static void conn_free(struct worker_task *task, struct worker *worker)
{
    (void)worker;
    struct conn *conn = list_entry(task, struct conn, task);
    struct proxy_worker *shared = conn->home->shared;
    conn->state = CONN_STATE_FREE;
    conn_recycle(shared, conn);
}

void close_finish(struct conn *conn, enum stats_close reason, int outcome, uint64_t now_us)
{
    struct service_worker *home = conn->home;
    if (conn->state == CONN_CLOSED) {
        return;
    }
    conn_enter(conn, CONN_CLOSED, now_us);
    relay_drop(conn, CONN_CLIENT);
    relay_drop(conn, CONN_BACKEND);
    stream_close(&conn->stream[CONN_CLIENT], false);
    stream_close(&conn->stream[CONN_BACKEND], false);
    conn_log(conn, reason, now_us);
    if (conn->lease.backend != NULL) {
        connect_give_back(conn, outcome, now_us);
    }
    connect_drop(conn);
    deadline_cancel(&conn->look);
    conn_forget_first_byte(conn);
    arrival_leave(conn);
    bandwidth_end(conn->pace);
    conn->pace = NULL;
    free(conn->hello);
    conn->hello = NULL;
    visit_skip(home, conn);
    list_remove(&conn->node);
    stats_add(&home->stats.closed[reason], 1);
    atomic_fetch_sub_explicit(&home->shared->proxy->open, 1, memory_order_relaxed);
    worker_cancel(home->shared->worker, &conn->task);
    conn->task.run = conn_free;
    worker_defer(home->shared->worker, &conn->task);
    listener_resume(home->shared);
}

/* Closes one side as its peer should see it: a reset when bytes meant for it were not delivered. */
static void close_side(struct conn *conn, enum conn_side side)
{
    struct stream *stream = &conn->stream[side];
    bool lost = !relay_is_empty(&conn->flow[CONN_OTHER(side)]);
    stream_close(stream, lost);
}

void close_now(struct conn *conn, enum stats_close reason, uint64_t now_us)
{
    for (int side = CONN_CLIENT; side <= CONN_BACKEND; side++) {
        enum conn_side from = (enum conn_side)side;
        if (conn->stream[CONN_OTHER(from)].fd >= 0 && !conn->stream[CONN_OTHER(from)].send_failed) {
            (void)relay_flush(conn, from, now_us);
        }
    }
    if (conn->lease.backend == NULL && reason != STATS_CLOSE_SHUTDOWN) {
        /* Never served: an empty but orderly end could be taken for an answer. */
        stream_close(&conn->stream[CONN_CLIENT], true);
    }
    close_side(conn, CONN_CLIENT);
    close_side(conn, CONN_BACKEND);
    close_finish(conn, reason, conn->outcome, now_us);
}

/* The side that is gone: nothing comes from it any more and nothing can be sent to it. */
static bool is_gone(const struct stream *stream)
{
    return stream->recv_failed || (stream->ended && stream->send_failed);
}

/* The other side had ended in order, and all that was known to be said: many programs (Redis, nginx) then
 * close without a close_notify of their own. No fault of theirs, though who still reads sees an abort. */
static bool is_curt_answer(const struct conn *conn, enum conn_side gone)
{
    return tls_stream_was_cut(&conn->stream[gone]) && conn->stream[CONN_OTHER(gone)].relayed;
}

static enum stats_close reason_of(const struct conn *conn, enum conn_side gone)
{
    if (conn->stream[gone].unable) {
        return STATS_CLOSE_INTERNAL;
    }
    if (is_curt_answer(conn, gone)) {
        return gone == CONN_BACKEND ? STATS_CLOSE_CLIENT_CLOSED : STATS_CLOSE_BACKEND_CLOSED;
    }
    if (gone == CONN_CLIENT) {
        return STATS_CLOSE_CLIENT_RESET;
    }
    return conn->stream[gone].ended ? STATS_CLOSE_BACKEND_CLOSED : STATS_CLOSE_BACKEND_RESET;
}

/* One side is gone: drop what was meant for it, deliver what came from it, then reset the other. */
static void abort_begin(struct conn *conn, enum conn_side gone, uint64_t now_us)
{
    enum conn_side rest = CONN_OTHER(gone);
    if (conn->reason != STATS_CLOSE_INTERNAL) {
        conn->reason = (uint8_t)reason_of(conn, gone);
    }
    if (tls_stream_was_cut(&conn->stream[gone])) {
        stats_add(&conn->home->stats.tls_truncated, 1);
    }
    if (conn->reason == STATS_CLOSE_BACKEND_RESET && handshake_was_refused(conn)) {
        conn->reason = STATS_CLOSE_HANDSHAKE_FAILED;
        conn->outcome = STATS_ERROR_HANDSHAKE;
    } else if (conn->reason == STATS_CLOSE_BACKEND_RESET) {
        conn->outcome = conn->backend_spoke ? STATS_ERROR_ABORT : STATS_ERROR_RESET;
    }
    relay_drop(conn, rest);
    stream_close(&conn->stream[gone], false);
    conn_enter(conn, CONN_FLUSHING, now_us);
    deadline_cancel(&conn->look);
    conn->look_armed = false;
    close_continue(conn, now_us);
}

void close_continue(struct conn *conn, uint64_t now_us)
{
    enum conn_side rest = conn->stream[CONN_CLIENT].fd >= 0 ? CONN_CLIENT : CONN_BACKEND;
    enum conn_side gone = CONN_OTHER(rest);
    struct stream *stream = &conn->stream[rest];
    if (!stream->send_failed && !relay_flush(conn, gone, now_us) && !stream->send_failed) {
        return; /* it will be writable again, or overstay */
    }
    bool said = stream->send_failed || !conn->stream[gone].ended || stream_shutdown(stream);
    if (!stream->send_failed && (!said || stream_unacknowledged(stream) > 0)) {
        if (!conn->look_armed) {
            deadline_arm(conn->home->shared->flush, &conn->look, now_us);
            conn->look_armed = true;
        }
        return;
    }
    stream_close(stream, true);
    close_finish(conn, (enum stats_close)conn->reason, conn->outcome, now_us);
}

uint64_t close_on_poll(struct deadline *deadline, uint64_t now_us, void *context)
{
    (void)context;
    struct conn *conn = list_entry(deadline, struct conn, look);
    conn->look_armed = false;
    close_continue(conn, now_us);
    return 0;
}

static void note_first_end(struct conn *conn)
{
    if (conn->first_ended_known) {
        return;
    }
    bool client = conn->stream[CONN_CLIENT].ended;
    bool backend = conn->stream[CONN_BACKEND].ended;
    if (client || backend) {
        conn->first_ended_known = true;
        conn->first_ended_backend = !client;
    }
}

bool close_settle(struct conn *conn, uint64_t now_us)
{
    note_first_end(conn);
    if (conn->stream[CONN_CLIENT].relayed && conn->stream[CONN_BACKEND].relayed) {
        close_finish(conn, conn->first_ended_backend ? STATS_CLOSE_BACKEND_CLOSED : STATS_CLOSE_CLIENT_CLOSED,
                     -1, now_us);
        return true;
    }
    for (int side = CONN_CLIENT; side <= CONN_BACKEND; side++) {
        if (is_gone(&conn->stream[side])) {
            abort_begin(conn, (enum conn_side)side, now_us);
            return true;
        }
    }
    /* Both are gone, each with bytes for the other that nobody takes: neither end would ever be read. */
    if (conn->stream[CONN_CLIENT].send_failed && conn->stream[CONN_BACKEND].send_failed) {
        abort_begin(conn, CONN_CLIENT, now_us);
        return true;
    }
    if (conn->state == CONN_RELAY &&
        (conn->stream[CONN_CLIENT].relayed || conn->stream[CONN_BACKEND].relayed)) {
        conn_enter(conn, CONN_HALF_CLOSED, now_us);
    }
    return false;
}
