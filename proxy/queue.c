/*
 * Answers for connections that wait because every backend they could go to has as many as it may: in and out
 * of the queue of their group, the deadline, and clients that go away meanwhile. Runs on the connection's
 * worker; a wake comes from any thread, by mailbox. Who is woken when is balancer/queue.c's business. The
 * client is not read: what it has sent waits in the kernel, as while connecting.
 */
#include "core/clock.h"
#include "proxy/proxy_internal.h"

#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Of its own, because a wake may still be under way when the connection is gone. */
struct conn_wait {
    struct routing_waiter waiter;
    struct mailbox_message message; /* in flight while waiter.woken is set */
    struct worker *worker;          /* borrowed */
    struct conn *conn;              /* NULL: gone; whoever gets the message frees this */
    bool queued;
};

int queue_turn(struct conn_attempt *attempt, struct routing *routing, const struct routing_pick_input *input,
               struct lease *lease)
{
    return routing_wait_turn(routing, &attempt->wait->waiter, input, &attempt->attempts, lease);
}

static void take_turn(struct conn *conn, uint64_t now_us)
{
    struct conn_wait *wait = conn->attempt->wait;
    int rc = connect_pick(conn, true, now_us);
    if (rc == ERR_LIMIT) {
        return; /* it goes on waiting */
    }
    wait->queued = false;
    conn_enter(conn, CONN_PICK, now_us);
    if (rc == 0) {
        connect_leased(conn, now_us);
    } else {
        close_now(conn, connect_reason(conn), now_us);
    }
}

static void on_wake(struct mailbox_message *message, void *receiver)
{
    struct conn_wait *wait = list_entry(message, struct conn_wait, message);
    (void)receiver;
    if (wait->conn == NULL) {
        free(wait);
        return;
    }
    if (!wait->queued) {
        wait->waiter.woken = false; /* it was served before the word arrived */
        return;
    }
    worker_note_activity(wait->worker);
    take_turn(wait->conn, clock_mono_us());
}

/* Any thread, under the queue's lock. */
static void wake(struct routing_waiter *waiter)
{
    struct conn_wait *wait = list_entry(waiter, struct conn_wait, waiter);
    worker_post(wait->worker, &wait->message);
}

static struct conn_wait *wait_of(struct conn *conn)
{
    struct conn_attempt *attempt = conn->attempt;
    if (attempt->wait == NULL) {
        attempt->wait = calloc(1, sizeof(*attempt->wait));
    }
    if (attempt->wait != NULL && attempt->wait->conn == NULL) {
        attempt->wait->waiter.wake = wake;
        attempt->wait->message.run = on_wake;
        attempt->wait->worker = conn->home->shared->worker;
        attempt->wait->conn = conn;
    }
    return attempt->wait;
}

/* A word that is under way for its last stay must arrive before the next begins: the message is one. */
static bool is_awaited(const struct conn_wait *wait)
{
    return wait->waiter.woken;
}

void queue_begin(struct conn *conn, uint64_t now_us)
{
    struct service_worker *home = conn->home;
    struct conn_wait *wait = wait_of(conn);
    if (wait != NULL && is_awaited(wait)) {
        uint64_t arrival = wait->waiter.arrival;
        wait->conn = NULL; /* the message frees it */
        conn->attempt->wait = NULL;
        wait = wait_of(conn);
        if (wait != NULL) {
            wait->waiter.arrival = arrival;
        }
    }
    if (wait == NULL || !conn_listen_to_client(conn)) {
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return;
    }
    bool again = wait->waiter.arrival != 0;
    conn_enter(conn, CONN_QUEUED, now_us);
    if (routing_wait(home->service->routing, &wait->waiter, &conn->attempt->attempts, now_us) != 0) {
        close_now(conn, STATS_CLOSE_QUEUE_FULL, now_us);
        return;
    }
    wait->queued = true;
    if (!again) {
        stats_add(&home->stats.queued, 1);
    }
}

/* Nothing can be sent to the client any more: it aborted, or, over a Unix path, has closed. */
static bool is_gone(const struct stream *client)
{
    struct pollfd poller = {.fd = client->fd};
    return poll(&poller, 1, 0) == 1 && (poller.revents & (POLLHUP | POLLERR)) != 0;
}

/* One that has spoken and then ended its direction may still wait for the answer; one that ends and has said
 * nothing has gone. */
void queue_on_client(struct conn *conn, short what, uint64_t now_us)
{
    const struct stream *client = &conn->stream[CONN_CLIENT];
    char first;
    if ((what & (EV_READ | EV_CLOSED)) == 0) {
        return;
    }
    if (is_gone(client)) {
        close_now(conn, client->is_unix ? STATS_CLOSE_CLIENT_CLOSED : STATS_CLOSE_CLIENT_RESET, now_us);
    } else if (recv(client->fd, &first, sizeof(first), MSG_PEEK) == 0) {
        close_now(conn, STATS_CLOSE_CLIENT_CLOSED, now_us);
    }
}

uint64_t queue_on_deadline(struct conn *conn, uint64_t now_us)
{
    uint64_t due_us = routing_wait_due_us(conn->home->service->routing, &conn->attempt->wait->waiter);
    if (due_us > now_us) {
        return due_us;
    }
    close_now(conn, STATS_CLOSE_QUEUE_TIMEOUT, now_us);
    return 0;
}

void queue_end(struct conn_attempt *attempt, struct routing *routing)
{
    struct conn_wait *wait = attempt->wait;
    attempt->wait = NULL;
    if (wait == NULL) {
        return;
    }
    if (wait->queued) {
        wait->queued = false;
        routing_wait_leave(routing, &wait->waiter);
    }
    if (is_awaited(wait)) {
        wait->conn = NULL;
    } else {
        free(wait);
    }
}
