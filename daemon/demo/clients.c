/*
 * Answers for the demo's load and for what it counts as an error: everything but a right answer. One case is
 * no error, since every user of kept connections lives with it: the connection is closed by the other side
 * between two requests, or crosses with a request that was not answered yet; the client connects again and
 * asks again, and that is counted apart. Runs on one thread of its own.
 */
#include "daemon/demo/clients.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/stats.h"
#include "daemon/demo/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS_LINE_MAX 64u
#define CLIENTS_TIMEOUT_US (5 * CLOCK_US_PER_S)
#define CLIENTS_SHORT_REQUESTS 3u
#define CLIENTS_SHORT_PER_S 250u /* new connections a second of all short clients together, at most */
#define CLIENTS_THINK_US (60 * CLOCK_US_PER_MS)

enum client_kind { CLIENT_SHORT, CLIENT_RENEWING, CLIENT_STAYING };

struct client {
    struct demo_clients *all;
    enum client_kind kind;
    int fd;              /* -1: no connection */
    struct event *io;    /* of fd */
    struct event *timer; /* resting, thinking, or waiting for an answer */
    bool asked;          /* a request is out */
    bool repeating;      /* the next request is the one that was lost */
    unsigned served;     /* answers on this connection */
    uint64_t number;     /* of the request */
    uint64_t asked_us, leave_us;
    char line[CLIENTS_LINE_MAX];
    size_t len;
};

struct demo_clients {
    struct demo_loop loop;
    struct demo_clients_options options;
    uint64_t short_rest_us;
    bool finishing;
    struct random_state random;
    struct client *list;
    struct mailbox_message finish;
    _Atomic uint64_t connections, operations, errors, asked_to_go, repeated, busy;
    struct {
        _Atomic uint64_t connections, operations;
        struct histogram latency_us;
    } version[DEMO_VERSIONS];
    char first_error[160]; /* written once, before first_error_set */
    _Atomic bool first_error_set;
};

static void client_connect(struct client *client);

static void timer_set(struct client *client, uint64_t delay_us)
{
    const struct timeval delay = {.tv_sec = (time_t)(delay_us / CLOCK_US_PER_S),
                                  .tv_usec = (suseconds_t)(delay_us % CLOCK_US_PER_S)};
    event_add(client->timer, &delay);
}

/* Around mean_us, so that the clients do not march in step. */
static uint64_t around(struct client *client, uint64_t mean_us)
{
    return mean_us / 2 + random_below(&client->all->random, (uint32_t)mean_us + 1);
}

static void client_close(struct client *client)
{
    if (client->fd >= 0) {
        if (client->io != NULL) {
            event_free(client->io);
            client->io = NULL;
        }
        close(client->fd);
        client->fd = -1;
        stats_add(&client->all->busy, (uint64_t)-1);
    }
    event_del(client->timer);
    client->asked = false;
    client->len = 0;
}

/* Closes, and connects again after about delay_us unless the demo ends. */
static void client_rest(struct client *client, uint64_t delay_us)
{
    client_close(client);
    if (!client->all->finishing || client->repeating) {
        timer_set(client, around(client, delay_us));
    }
}

static void client_fail(struct client *client, const char *while_doing, const char *what)
{
    struct demo_clients *all = client->all;
    if (!atomic_load_explicit(&all->first_error_set, memory_order_relaxed)) {
        snprintf(all->first_error, sizeof(all->first_error), "request %llu, while %s: %s",
                 (unsigned long long)client->number, while_doing, what);
        atomic_store_explicit(&all->first_error_set, true, memory_order_release);
    }
    stats_add(&all->errors, 1);
    client->repeating = false;
    client_rest(client, CLIENTS_THINK_US);
}

static void client_ask(struct client *client)
{
    if (!client->repeating) {
        client->number++;
    }
    client->repeating = false;
    client->asked = true;
    client->asked_us = clock_mono_us();
    char request[CLIENTS_LINE_MAX];
    int n = snprintf(request, sizeof(request), "GET %llu\n", (unsigned long long)client->number);
    timer_set(client, CLIENTS_TIMEOUT_US);
    /* A failed send shows as a lost connection when it is read. */
    (void)!send(client->fd, request, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* An answer is in: ask on, think, or leave, by the kind of client. */
static void client_next(struct client *client)
{
    if (client->all->finishing) {
        client_close(client);
        return;
    }
    switch (client->kind) {
    case CLIENT_SHORT:
        if (client->served >= CLIENTS_SHORT_REQUESTS) {
            client_rest(client, client->all->short_rest_us);
        } else {
            client_ask(client);
        }
        break;
    case CLIENT_RENEWING:
        if (clock_mono_us() >= client->leave_us) {
            client_rest(client, CLIENTS_THINK_US);
            break;
        }
        timer_set(client, around(client, CLIENTS_THINK_US));
        break;
    case CLIENT_STAYING:
        timer_set(client, around(client, CLIENTS_THINK_US));
        break;
    }
}

static void client_answered(struct client *client)
{
    struct demo_clients *all = client->all;
    unsigned long long number = 0;
    unsigned version = 0;
    char end = '\0';
    /* NOLINTNEXTLINE(cert-err34-c): the count of fields and the comparison below judge the text */
    int n = sscanf(client->line, "%llu version %u%c", &number, &version, &end);
    if (n != 3 || end != '\n' || number != client->number || version < 1 || version > DEMO_VERSIONS) {
        client_fail(client, "reading the answer", "a wrong answer");
        return;
    }
    stats_add(&all->operations, 1);
    stats_add(&all->version[version - 1].operations, 1);
    histogram_record(&all->version[version - 1].latency_us, clock_mono_us() - client->asked_us);
    if (client->served == 0) {
        stats_add(&all->version[version - 1].connections, 1);
    }
    client->served++;
    client->asked = false;
    client->len = 0;
    event_del(client->timer);
    client_next(client);
}

/* The other side ended the connection, in order (error 0) or not. */
static void client_lost(struct client *client, int error)
{
    if (!client->asked) {
        stats_add(&client->all->asked_to_go, 1);
        client_rest(client, CLIENTS_THINK_US / 4);
    } else if (client->served > 0 && client->len == 0) {
        stats_add(&client->all->repeated, 1);
        client->repeating = true;
        client_rest(client, CLIENTS_THINK_US / 4);
    } else {
        client_fail(client, "waiting for the answer",
                    error == 0 ? "the connection was closed" : strerror(error));
    }
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct client *client = context;
    ssize_t n =
        recv((int)fd, client->line + client->len, sizeof(client->line) - 1 - client->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        client_lost(client, n == 0 ? 0 : errno);
        return;
    }
    client->len += (size_t)n;
    client->line[client->len] = '\0';
    if (strchr(client->line, '\n') != NULL || client->len == sizeof(client->line) - 1) {
        client_answered(client);
    }
}

static void on_connected(evutil_socket_t fd, short what, void *context)
{
    struct client *client = context;
    int error = 0;
    socklen_t len = sizeof(error);
    if ((what & EV_TIMEOUT) != 0) {
        client_fail(client, "connecting", "no answer within 5 s");
        return;
    }
    if (getsockopt((int)fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        client_fail(client, "connecting", strerror(error));
        return;
    }
    stats_add(&client->all->connections, 1);
    event_free(client->io);
    client->io = event_new(client->all->loop.base, fd, EV_READ | EV_PERSIST, on_readable, client);
    if (client->io == NULL || event_add(client->io, NULL) != 0) {
        client_fail(client, "connecting", "out of memory");
        return;
    }
    client->leave_us = clock_mono_us() + around(client, client->all->options.lifetime_us);
    client_ask(client);
}

static void client_connect(struct client *client)
{
    struct demo_clients *all = client->all;
    client->served = 0;
    client->fd = socket(all->options.address.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) {
        client_fail(client, "opening a socket", strerror(errno));
        return;
    }
    stats_add(&all->busy, 1);
    client->io = event_new(all->loop.base, client->fd, EV_WRITE, on_connected, client);
    const struct timeval timeout = {.tv_sec = CLIENTS_TIMEOUT_US / CLOCK_US_PER_S};
    if (connect(client->fd, &all->options.address.sa, all->options.address.len) != 0 &&
        errno != EINPROGRESS) {
        client_fail(client, "connecting", strerror(errno));
    } else if (client->io == NULL || event_add(client->io, &timeout) != 0) {
        client_fail(client, "connecting", "out of memory");
    }
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct client *client = context;
    if (client->fd < 0) {
        if (!client->all->finishing || client->repeating) {
            client_connect(client);
        }
    } else if (client->asked) {
        client_fail(client, "waiting for the answer", "no answer within 5 s");
    } else {
        client_ask(client);
    }
}

static void on_finish(struct mailbox_message *message, void *receiver)
{
    (void)message;
    struct demo_clients *all = receiver;
    all->finishing = true;
    for (unsigned i = 0; i < all->options.count; i++) {
        if (!all->list[i].asked && !all->list[i].repeating) {
            client_close(&all->list[i]);
        }
    }
}

/* Six in ten are short, three renew, one stays. */
static enum client_kind kind_of(unsigned index)
{
    unsigned place = index % 10;
    return place < 6 ? CLIENT_SHORT : place < 9 ? CLIENT_RENEWING : CLIENT_STAYING;
}

static int create_list(struct demo_clients *all, struct err_text *err)
{
    all->list = calloc(all->options.count, sizeof(*all->list));
    if (all->list == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while starting the embedded clients");
    }
    for (unsigned i = 0; i < all->options.count; i++) {
        struct client *client = &all->list[i];
        client->all = all;
        client->fd = -1;
        client->kind = kind_of(i);
        client->timer = evtimer_new(all->loop.base, on_timer, client);
        if (client->timer == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory while starting the embedded clients");
        }
        timer_set(client, around(client, CLIENTS_THINK_US));
    }
    return 0;
}

int demo_clients_create(const struct demo_clients_options *options, struct demo_clients **out,
                        struct err_text *err)
{
    struct demo_clients *all = calloc(1, sizeof(*all));
    if (all == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while starting the embedded clients");
    }
    all->options = *options;
    all->finish.run = on_finish;
    uint64_t spread_us = (uint64_t)options->count * CLOCK_US_PER_S / CLIENTS_SHORT_PER_S;
    all->short_rest_us = spread_us > CLIENTS_THINK_US ? spread_us : CLIENTS_THINK_US;
    random_seed_system(&all->random);
    int rc = demo_loop_create(&all->loop, all, err);
    if (rc == 0) {
        rc = create_list(all, err);
    }
    if (rc == 0) {
        rc = demo_loop_start(&all->loop, err);
    }
    if (rc != 0) {
        demo_clients_destroy(all);
        return rc;
    }
    *out = all;
    return 0;
}

void demo_clients_finish(struct demo_clients *clients)
{
    mailbox_post(clients->loop.mailbox, &clients->finish);
}

void demo_clients_destroy(struct demo_clients *clients)
{
    if (clients == NULL) {
        return;
    }
    demo_loop_stop(&clients->loop);
    for (unsigned i = 0; clients->list != NULL && i < clients->options.count; i++) {
        if (clients->list[i].timer != NULL) {
            client_close(&clients->list[i]);
            event_free(clients->list[i].timer);
        }
    }
    demo_loop_clear(&clients->loop);
    free(clients->list);
    free(clients);
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void demo_clients_read(const struct demo_clients *clients, struct demo_clients_reading *out)
{
    *out = (struct demo_clients_reading){.connections = load(&clients->connections),
                                         .operations = load(&clients->operations),
                                         .errors = load(&clients->errors),
                                         .asked_to_go = load(&clients->asked_to_go),
                                         .repeated = load(&clients->repeated),
                                         .busy = load(&clients->busy)};
    for (unsigned v = 0; v < DEMO_VERSIONS; v++) {
        out->version[v].connections = load(&clients->version[v].connections);
        out->version[v].operations = load(&clients->version[v].operations);
        histogram_read_add(&clients->version[v].latency_us, &out->version[v].latency_us);
    }
    if (atomic_load_explicit(&clients->first_error_set, memory_order_acquire)) {
        memcpy(out->first_error, clients->first_error, sizeof(out->first_error));
    }
}
