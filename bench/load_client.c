/*
 * Clients on kept connections: round trips as fast as they go (one under way on each connection), and idle
 * connections that are tried once when asked. One thread, edge-triggered epoll.
 */
#include "bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SAMPLES_MAX ((size_t)4 * 1024 * 1024)

struct client_conn {
    uint64_t started_ns;
    uint32_t sent, received; /* of the round trip under way */
    int fd;
};

struct client {
    const struct load_options *options;
    struct client_conn *conns;
    int epoll;
    uint32_t busy; /* round trips under way */
    uint64_t until_ns;
    bool stop; /* begin no further round trip */
    struct load_result result;
    char in[LOAD_SCRATCH_BYTES], out[LOAD_SCRATCH_BYTES];
};

static void conn_fail(struct client *client, struct client_conn *conn, uint64_t *counter)
{
    ++*counter;
    close(conn->fd);
    conn->fd = -1;
    client->busy--;
}

static void conn_send(struct client *client, struct client_conn *conn)
{
    while (conn->sent < client->options->size) {
        ssize_t n = send(conn->fd, client->out, client->options->size - conn->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                conn_fail(client, conn, &client->result.errors.reset);
            }
            return;
        }
        conn->sent += (uint32_t)n;
    }
}

static void conn_begin(struct client *client, struct client_conn *conn, uint64_t now_ns)
{
    conn->sent = conn->received = 0;
    conn->started_ns = now_ns;
    client->busy++;
    conn_send(client, conn);
}

static void conn_finish(struct client *client, struct client_conn *conn)
{
    struct load_result *result = &client->result;
    uint64_t now_ns = load_now_ns();
    load_samples_add(&result->samples, now_ns - conn->started_ns);
    result->operations++;
    result->bytes += conn->received;
    result->tags[(unsigned char)client->in[0]]++;
    client->busy--;
    if ((client->until_ns && now_ns >= client->until_ns) ||
        (client->options->operations && result->operations + client->busy >= client->options->operations)) {
        client->stop = true;
    }
    if (!client->stop) {
        conn_begin(client, conn, now_ns);
    }
}

static void conn_receive(struct client *client, struct client_conn *conn)
{
    ssize_t n = recv(conn->fd, client->in, sizeof(client->in), 0);
    if (n > 0) {
        conn->received += (uint32_t)n;
        if (conn->received == client->options->size) {
            conn_finish(client, conn);
        } else if (conn->received > client->options->size) {
            conn_fail(client, conn, &client->result.errors.mismatch);
        }
    } else if (n == 0) {
        conn_fail(client, conn, &client->result.errors.early_end);
    } else if (errno != EAGAIN && errno != EINTR) {
        conn_fail(client, conn, &client->result.errors.reset);
    }
}

/* A connection that ended while nothing was under way: noticed, and no failure of an operation. */
static bool conn_is_idle(const struct client_conn *conn, uint32_t size)
{
    return conn->sent == size && conn->received == size;
}

static void client_turn(struct client *client, int timeout_ms)
{
    struct epoll_event events[LOAD_EVENTS_MAX];
    int n = epoll_wait(client->epoll, events, LOAD_EVENTS_MAX, timeout_ms);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == LOAD_INPUT_INDEX) {
            client->stop = true;
            epoll_ctl(client->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
            continue;
        }
        struct client_conn *conn = &client->conns[events[i].data.u32];
        if (conn->fd < 0 || conn_is_idle(conn, client->options->size)) {
            continue;
        }
        if (conn->sent < client->options->size) {
            conn_send(client, conn);
        }
        if (conn->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))) {
            conn_receive(client, conn);
        }
    }
}

/* One round trip on each open connection; those that do not end within the time count as timeouts. */
static void client_try_all(struct client *client, uint64_t limit_ns)
{
    uint64_t until_ns = load_now_ns() + limit_ns;
    client->stop = true;
    for (uint32_t i = 0; i < client->options->connections; i++) {
        if (client->conns[i].fd >= 0) {
            conn_begin(client, &client->conns[i], load_now_ns());
        }
    }
    while (client->busy && load_now_ns() < until_ns) {
        client_turn(client, 100);
    }
    client->result.errors.timeout += client->busy;
}

static struct client *client_create(const struct load_options *options)
{
    struct client *client = load_calloc(1, sizeof(*client));
    client->options = options;
    client->conns = load_calloc(options->connections, sizeof(*client->conns));
    client->epoll = epoll_create1(EPOLL_CLOEXEC);
    memset(client->out, options->tag, sizeof(client->out));
    load_samples_create(&client->result.samples, SAMPLES_MAX);
    for (uint32_t i = 0; i < options->connections; i++) {
        struct client_conn *conn = &client->conns[i];
        conn->fd = load_connect(&options->address);
        if (conn->fd < 0) {
            client->result.errors.connect++;
        } else {
            load_watch(client->epoll, conn->fd, i);
        }
        conn->sent = conn->received = options->size;
    }
    return client;
}

/* Forgets what was counted, but for the connections that failed already. */
static void client_restart(struct client *client)
{
    struct load_samples samples = client->result.samples;
    samples.len = samples.seen = 0;
    client->result = (struct load_result){.errors = client->result.errors, .samples = samples};
    client->stop = false;
    load_result_start(&client->result);
}

static int client_end(struct client *client)
{
    bool failed = load_errors_sum(&client->result.errors) > 0;
    for (uint32_t i = 0; i < client->options->connections; i++) {
        if (client->conns[i].fd >= 0) {
            close(client->conns[i].fd);
        }
    }
    close(client->epoll);
    free(client->result.samples.ns);
    free(client->conns);
    free(client);
    return failed ? 1 : 0;
}

#define TRY_LIMIT_NS (UINT64_C(30) * 1000000000)
/* How long what is under way may take after the end. */
#define LINGER_NS (UINT64_C(5) * 1000000000)

int load_client_round_trips(const struct load_options *options)
{
    struct client *client = client_create(options);
    client_try_all(client, TRY_LIMIT_NS); /* so that every connection is through to its backend */
    load_wait_go(options);
    client_restart(client);
    load_watch_input(client->epoll);
    client->until_ns = options->duration_ns ? load_now_ns() + options->duration_ns : 0;
    for (uint32_t i = 0; i < options->connections; i++) {
        if (client->conns[i].fd >= 0) {
            conn_begin(client, &client->conns[i], load_now_ns());
        }
    }
    uint64_t linger_until_ns = 0;
    while (client->busy) {
        client_turn(client, 100);
        uint64_t now_ns = load_now_ns();
        if (client->until_ns && now_ns >= client->until_ns) {
            client->stop = true;
        }
        if (client->stop && !linger_until_ns) {
            linger_until_ns = now_ns + LINGER_NS;
        } else if (client->stop && now_ns > linger_until_ns) {
            client->result.errors.timeout += client->busy;
            break;
        }
    }
    load_result_stop(&client->result);
    load_result_print(options, &client->result);
    return client_end(client);
}

int load_client_idle(const struct load_options *options)
{
    char line[64];
    struct client *client = client_create(options);
    client_try_all(client, TRY_LIMIT_NS);
    load_result_start(&client->result);
    load_result_stop(&client->result);
    load_result_print(options, &client->result);
    printf("ready\n");
    fflush(stdout);
    while (load_read_line(line, sizeof(line)) && strcmp(line, "quit") != 0) {
        client_restart(client);
        client_try_all(client, TRY_LIMIT_NS);
        load_result_stop(&client->result);
        load_result_print(options, &client->result);
    }
    return client_end(client);
}
