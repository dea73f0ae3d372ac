/*
 * Answers for one direction of a connection: receive, send, splice, in what order and how much in one go.
 * Runs on the connection's worker. Small messages are copied through the worker's scratch buffer; a receive
 * that fills it means bulk, which goes through a pipe without being copied. When a direction has ended is
 * noted here, what follows from it is decided in close.c.
 */
#include "core/clock.h"
#include "proxy/proxy_internal.h"

#include <stdlib.h>
#include <string.h>

#define RELAY_BUDGET_BYTES ((size_t)256 * 1024)
#define RELAY_BUDGET_TURNS 16u

/* What one call works on. */
struct pump {
    struct conn *conn;
    struct conn_flow *flow;
    struct stream *from, *to;
    enum conn_side side;
    uint64_t now_us;
    size_t received_bytes; /* of this call's budget */
    size_t allowed_bytes;  /* of the limits on bandwidth, for the next receive */
    uint64_t delivered_bytes, spliced_bytes;
};

static struct pump pump_begin(struct conn *conn, enum conn_side side, uint64_t now_us)
{
    return (struct pump){.conn = conn,
                         .flow = &conn->flow[side],
                         .from = &conn->stream[side],
                         .to = &conn->stream[CONN_OTHER(side)],
                         .side = side,
                         .now_us = now_us};
}

/* Counters are brought up to date once a call: visible while a long connection lives. */
static void pump_end(const struct pump *pump)
{
    struct conn *conn = pump->conn;
    if (pump->delivered_bytes > 0 || pump->received_bytes > 0) {
        conn->moved_us = pump->now_us;
    }
    if (pump->delivered_bytes == 0) {
        return;
    }
    conn->delivered_bytes[pump->side] += pump->delivered_bytes;
    stats_add(pump->side == CONN_CLIENT ? &conn->lease.stats->bytes_in : &conn->lease.stats->bytes_out,
              pump->delivered_bytes);
    if (pump->spliced_bytes > 0) {
        stats_add(&conn->home->stats.spliced_bytes, pump->spliced_bytes);
    }
}

bool relay_is_empty(const struct conn_flow *flow)
{
    return flow->spill == NULL && (flow->pipe == NULL || flow->pipe->bytes == 0);
}

void relay_drop(struct conn *conn, enum conn_side from)
{
    struct conn_flow *flow = &conn->flow[from];
    free(flow->spill);
    flow->spill = NULL;
    if (flow->pipe != NULL) {
        pipes_put(&conn->home->shared->pipes, flow->pipe);
        flow->pipe = NULL;
    }
}

static bool flush_spill(struct pump *pump)
{
    struct conn_spill *spill = pump->flow->spill;
    while (pump->to->writable) {
        ssize_t n = stream_send(pump->to, spill->bytes + spill->begin, spill->end - spill->begin);
        if (n < 0) {
            continue; /* ends with writable cleared, or was interrupted */
        }
        spill->begin += (size_t)n;
        pump->delivered_bytes += (uint64_t)n;
        if (spill->begin == spill->end) {
            free(spill);
            pump->flow->spill = NULL;
            return true;
        }
    }
    return false;
}

static bool flush_pipe(struct pump *pump)
{
    struct pipes_pipe *pipe = pump->flow->pipe;
    while (pipe->bytes > 0 && pump->to->writable) {
        ssize_t n = stream_drain(pump->to, pipe->read_fd, pipe->bytes);
        if (n > 0) {
            pipe->bytes -= (size_t)n;
            pump->delivered_bytes += (uint64_t)n;
            pump->spliced_bytes += (uint64_t)n;
        }
    }
    return pipe->bytes == 0;
}

/* Delivers what an earlier receive left. True when all is out. */
static bool flush(struct pump *pump)
{
    if (pump->flow->spill != NULL) {
        return flush_spill(pump);
    }
    return pump->flow->pipe == NULL || flush_pipe(pump);
}

/* Keeps what a send did not take. Without memory the bytes are lost, and so must the connection be. */
static void spill_keep(struct pump *pump, const unsigned char *bytes, size_t size)
{
    struct conn_spill *spill = malloc(sizeof(*spill) + size);
    if (spill == NULL) {
        pump->conn->reason = STATS_CLOSE_INTERNAL;
        pump->to->send_failed = true;
        pump->from->recv_failed = true;
        return;
    }
    spill->begin = 0;
    spill->end = size;
    memcpy(spill->bytes, bytes, size);
    pump->flow->spill = spill;
}

/* Response time: a turn begins with the first client bytes after backend bytes and ends with the next backend
 * bytes. Where the server speaks first, the first turn began when the connection was established. */
static void note_turn(struct pump *pump)
{
    struct conn *conn = pump->conn;
    if (pump->side == CONN_CLIENT) {
        conn->client_spoke = true;
        if (!conn->in_turn) {
            conn->in_turn = true;
            conn->turn_us = pump->now_us;
            lease_turn_begin(&conn->lease);
        }
        return;
    }
    if (!conn->in_turn && !conn->client_spoke && !conn->backend_spoke) {
        conn->in_turn = true;
        lease_turn_begin(&conn->lease);
    }
    if (!conn->backend_spoke) {
        uint64_t answer_us = pump->now_us - conn->accepted_us;
        conn->answer_us = answer_us < UINT32_MAX ? (uint32_t)answer_us : UINT32_MAX;
    }
    conn->backend_spoke = true;
    if (conn->in_turn) {
        conn->in_turn = false;
        lease_turn_end(&conn->lease, pump->now_us - conn->turn_us, pump->now_us);
    }
}

/* Returns the bytes received, or what stream_recv said. */
static ssize_t pump_copy(struct pump *pump)
{
    size_t size;
    unsigned char *scratch = worker_scratch(pump->conn->home->shared->worker, &size);
    ssize_t n = stream_recv(pump->from, scratch, size < pump->allowed_bytes ? size : pump->allowed_bytes);
    if (n <= 0) {
        return n;
    }
    note_turn(pump);
    pump->from->bulk = (size_t)n == size && pump->from->tls == NULL && pump->to->tls == NULL;
    size_t sent = 0;
    while (sent < (size_t)n && pump->to->writable) {
        ssize_t out = stream_send(pump->to, scratch + sent, (size_t)n - sent);
        sent += out > 0 ? (size_t)out : 0;
    }
    pump->delivered_bytes += sent;
    if (sent < (size_t)n && !pump->to->send_failed) {
        spill_keep(pump, scratch + sent, (size_t)n - sent);
    }
    return n;
}

/* The pipe is empty whenever it is filled, so that "again" can only mean that the socket is. */
static ssize_t pump_splice(struct pump *pump)
{
    struct pipes_pipe *pipe = pump->flow->pipe;
    size_t most = pipe->capacity < pump->allowed_bytes ? pipe->capacity : pump->allowed_bytes;
    ssize_t n = stream_fill(pump->from, pipe->write_fd, most);
    if (n > 0) {
        pipe->bytes = (size_t)n;
        note_turn(pump);
        (void)flush_pipe(pump);
    }
    return n;
}

static void pipe_return(struct pump *pump)
{
    if (pump->flow->pipe != NULL) {
        pipes_put(&pump->conn->home->shared->pipes, pump->flow->pipe);
        pump->flow->pipe = NULL;
    }
    pump->from->bulk = false;
}

/* One receive and its delivery. */
static ssize_t pump_once(struct pump *pump)
{
    if (pump->from->bulk && pump->flow->pipe == NULL) {
        pump->flow->pipe = pipes_get(&pump->conn->home->shared->pipes);
    }
    if (pump->flow->pipe == NULL) {
        return pump_copy(pump);
    }
    ssize_t n = pump_splice(pump);
    if (n == STREAM_UNABLE) {
        pipe_return(pump);
        return pump_copy(pump);
    }
    return n;
}

/* The end was read and everything before it delivered: pass it on. */
static void finish(struct pump *pump)
{
    pipe_return(pump);
    if (pump->from->relayed) {
        return;
    }
    /* When the other direction has ended too, both are to be closed now, which says the same to a socket. */
    bool close_says_it = pump->to->relayed && pump->to->tls == NULL;
    pump->from->relayed =
        close_says_it || stream_shutdown(pump->to); /* blocked: the next event tries again */
}

/* False: the bandwidth is used up for now. A pipe is not held meanwhile, bulk goes on with another. */
static bool may_receive(struct pump *pump)
{
    pump->allowed_bytes = SIZE_MAX;
    if (pump->conn->pace == NULL) {
        return true;
    }
    pump->allowed_bytes = bandwidth_ask(pump->conn, pump->side, pump->now_us);
    if (pump->allowed_bytes == 0 && pump->flow->pipe != NULL) {
        pipes_put(&pump->conn->home->shared->pipes, pump->flow->pipe);
        pump->flow->pipe = NULL;
    }
    return pump->allowed_bytes > 0;
}

bool relay_pump(struct conn *conn, enum conn_side from, uint64_t now_us)
{
    struct pump pump = pump_begin(conn, from, now_us);
    bool more = false;
    for (unsigned turn = 0; !pump.to->send_failed; turn++) {
        if (!flush(&pump)) {
            break;
        }
        if (pump.from->ended) {
            finish(&pump);
            break;
        }
        if (!pump.from->readable || pump.from->recv_failed) {
            pipe_return(&pump);
            break;
        }
        if (turn >= RELAY_BUDGET_TURNS || pump.received_bytes >= RELAY_BUDGET_BYTES) {
            more = true;
            break;
        }
        if (!may_receive(&pump)) {
            break;
        }
        ssize_t n = pump_once(&pump);
        if (n > 0 && conn->pace != NULL) {
            bandwidth_take(conn, from, (size_t)n, now_us);
        }
        pump.received_bytes += n > 0 ? (size_t)n : 0;
    }
    if (pump.to->send_failed) {
        relay_drop(conn, from);
    }
    pump_end(&pump);
    return more;
}

bool relay_flush(struct conn *conn, enum conn_side from, uint64_t now_us)
{
    struct pump pump = pump_begin(conn, from, now_us);
    bool all = flush(&pump);
    pump_end(&pump);
    return all;
}
