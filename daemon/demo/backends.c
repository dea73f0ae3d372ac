/*
 * Answers for the demo's servers: accepting, reading a request line, thinking for a few milliseconds as a
 * real one would, answering with the version. Version 2 is a little faster, so that the figures by group can
 * be told apart. Runs on one thread of its own; a fault costs the connection it happened on.
 */
#include "daemon/demo/backends.h"

#include "core/addr.h"
#include "core/list.h"
#include "core/random.h"
#include "daemon/demo/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKENDS_LINE_MAX 64u
#define BACKENDS_BACKLOG 1024

/* How long an answer takes: at least, and how much more at most. */
static const struct {
    unsigned least_us, spread_us;
} service_time[DEMO_VERSIONS] = {{3500, 2500}, {2500, 1500}};

struct demo_backend {
    struct demo_backends *all;
    unsigned version;
    uint16_t port;
    struct evconnlistener *listener; /* NULL once it is broken */
};

struct demo_backends {
    struct demo_loop loop;
    struct random_state random;
    struct list connections; /* of struct backend_connection */
    struct demo_backend backends[DEMO_VERSIONS][DEMO_BACKENDS_PER_VERSION];
    struct mailbox_message break_new;
};

struct backend_connection {
    struct list node;
    const struct demo_backend *backend; /* borrowed */
    int fd;
    struct event *readable;
    struct event *thinking;
    char line[BACKENDS_LINE_MAX];
    size_t len;
};

static void connection_free(struct backend_connection *connection)
{
    list_remove(&connection->node);
    if (connection->readable != NULL) {
        event_free(connection->readable);
    }
    if (connection->thinking != NULL) {
        event_free(connection->thinking);
    }
    close(connection->fd);
    free(connection);
}

/* Thought long enough: answers the request in the line. */
static void on_thought(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    (void)fd;
    struct backend_connection *connection = context;
    unsigned long number = strtoul(connection->line + strlen("GET "), NULL, 10);
    char answer[BACKENDS_LINE_MAX];
    int n = snprintf(answer, sizeof(answer), "%lu version %u\n", number, connection->backend->version + 1);
    connection->len = 0;
    if (send(connection->fd, answer, (size_t)n, MSG_NOSIGNAL) != n) {
        connection_free(connection);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct backend_connection *connection = context;
    ssize_t n = recv((int)fd, connection->line + connection->len,
                     sizeof(connection->line) - 1 - connection->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        connection_free(connection);
        return;
    }
    connection->len += (size_t)n;
    connection->line[connection->len] = '\0';
    if (strchr(connection->line, '\n') == NULL) {
        if (connection->len == sizeof(connection->line) - 1) {
            connection_free(connection); /* not one of our clients */
        }
        return;
    }
    unsigned version = connection->backend->version;
    unsigned spread_us = random_below(&connection->backend->all->random, service_time[version].spread_us);
    const struct timeval think = {.tv_usec = service_time[version].least_us + spread_us};
    if (strncmp(connection->line, "GET ", 4) != 0 || event_add(connection->thinking, &think) != 0) {
        connection_free(connection);
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len,
                      void *context)
{
    (void)peer;
    (void)len;
    const struct demo_backend *backend = context;
    struct event_base *base = evconnlistener_get_base(listener);
    struct backend_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        close(fd);
        return;
    }
    connection->backend = backend;
    connection->fd = (int)fd;
    list_init(&connection->node);
    list_append(&backend->all->connections, &connection->node);
    connection->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, connection);
    connection->thinking = evtimer_new(base, on_thought, connection);
    if (connection->readable == NULL || connection->thinking == NULL ||
        event_add(connection->readable, NULL) != 0) {
        connection_free(connection);
    }
}

/* Whoever waits to be accepted is served still: closing the listener would reset them. */
static void accept_who_waits(struct demo_backend *backend)
{
    int listening = evconnlistener_get_fd(backend->listener);
    for (;;) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        on_accept(backend->listener, fd, NULL, 0, backend);
    }
}

static void on_break_new(struct mailbox_message *message, void *receiver)
{
    (void)message;
    struct demo_backends *backends = receiver;
    for (unsigned i = 0; i < DEMO_BACKENDS_PER_VERSION; i++) {
        struct demo_backend *backend = &backends->backends[DEMO_VERSIONS - 1][i];
        if (backend->listener != NULL) {
            accept_who_waits(backend);
            evconnlistener_free(backend->listener);
            backend->listener = NULL;
        }
    }
}

static int backend_listen(struct demo_backend *backend, struct err_text *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    backend->listener = evconnlistener_new_bind(backend->all->loop.base, on_accept, backend,
                                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                                BACKENDS_BACKLOG, (struct sockaddr *)&address, (int)len);
    if (backend->listener == NULL ||
        getsockname(evconnlistener_get_fd(backend->listener), (struct sockaddr *)&address, &len) != 0) {
        return err_set_errno(err, "cannot listen on a free port of 127.0.0.1 for the embedded backends");
    }
    backend->port = ntohs(address.sin_port);
    return 0;
}

static int listen_all(struct demo_backends *backends, struct err_text *err)
{
    for (unsigned v = 0; v < DEMO_VERSIONS; v++) {
        for (unsigned i = 0; i < DEMO_BACKENDS_PER_VERSION; i++) {
            struct demo_backend *backend = &backends->backends[v][i];
            backend->all = backends;
            backend->version = v;
            int rc = backend_listen(backend, err);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

int demo_backends_create(struct demo_backends **out, struct err_text *err)
{
    struct demo_backends *backends = calloc(1, sizeof(*backends));
    if (backends == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while starting the embedded backends");
    }
    list_init(&backends->connections);
    backends->break_new.run = on_break_new;
    random_seed_system(&backends->random);
    int rc = demo_loop_create(&backends->loop, backends, err);
    if (rc == 0) {
        rc = listen_all(backends, err);
    }
    if (rc == 0) {
        rc = demo_loop_start(&backends->loop, err);
    }
    if (rc != 0) {
        demo_backends_destroy(backends);
        return rc;
    }
    *out = backends;
    return 0;
}

void demo_backends_destroy(struct demo_backends *backends)
{
    if (backends == NULL) {
        return;
    }
    demo_loop_stop(&backends->loop);
    list_each (node, &backends->connections) {
        connection_free(list_entry(node, struct backend_connection, node));
    }
    for (unsigned v = 0; v < DEMO_VERSIONS; v++) {
        for (unsigned i = 0; i < DEMO_BACKENDS_PER_VERSION; i++) {
            if (backends->backends[v][i].listener != NULL) {
                evconnlistener_free(backends->backends[v][i].listener);
            }
        }
    }
    demo_loop_clear(&backends->loop);
    free(backends);
}

uint16_t demo_backends_port(const struct demo_backends *backends, unsigned version, unsigned index)
{
    return backends->backends[version][index].port;
}

void demo_backends_break_new(struct demo_backends *backends)
{
    mailbox_post(backends->loop.mailbox, &backends->break_new);
}
