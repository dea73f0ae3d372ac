/*
 * Answers for the ClientHello of a connection that is passed through: it is looked at where it lies, in the
 * kernel, and stays there for the backend, so that nothing is kept for a client that is slow; then the name
 * in it decides. A connection that goes to another service leaves this one for good: it ends here with the
 * reason "routed" and is accepted there. Runs on the connection's worker. What a ClientHello says is
 * core/client_hello's business.
 */
#include "proxy/passthrough.h"

#include "core/client_hello.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/server_names.h"
#include "proxy/proxy_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct passthrough_route {
    char *group;     /* owned; NULL: as if there were no routes, or service */
    char *service;   /* owned; NULL: this one */
    uint32_t number; /* of the group */
};

struct passthrough {
    bool refuses;               /* who fits no route */
    struct server_names *names; /* owned; their places are those of list */
    size_t len;
    struct passthrough_route list[];
};

/* ---- control thread */

static int fill(struct passthrough *routes, const struct config_service *config, struct err_text *err)
{
    const char **texts = calloc(config->sni.routes_len + 1, sizeof(char *));
    if (texts == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for routes");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < config->sni.routes_len; i++) {
        const struct config_sni_route *from = &config->sni.routes[i];
        struct passthrough_route *route = &routes->list[routes->len++];
        route->number = ROUTING_NONE;
        route->group = from->group != NULL ? strdup(from->group) : NULL;
        route->service = from->service != NULL ? strdup(from->service) : NULL;
        texts[i] = from->name;
        if ((from->group != NULL && route->group == NULL) ||
            (from->service != NULL && route->service == NULL)) {
            rc = err_set(err, ERR_NOMEM, "out of memory for routes");
        }
    }
    if (rc == 0) {
        rc = server_names_create(texts, routes->len, &routes->names, err);
    }
    free((void *)texts);
    return rc;
}

int passthrough_create(const struct config_service *config, struct passthrough **out, struct err_text *err)
{
    *out = NULL;
    if (!config->sni.present && config->assign != CONFIG_ASSIGN_SNI) {
        return 0;
    }
    struct passthrough *routes =
        calloc(1, sizeof(*routes) + config->sni.routes_len * sizeof(routes->list[0]));
    if (routes == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for routes");
    }
    routes->refuses = config->sni.otherwise == CONFIG_SNI_REFUSE;
    int rc = fill(routes, config, err);
    if (rc != 0) {
        passthrough_destroy(routes);
        return rc;
    }
    *out = routes;
    return 0;
}

void passthrough_resolve(struct passthrough *routes, const struct routing *routing)
{
    for (size_t i = 0; routes != NULL && i < routes->len; i++) {
        struct passthrough_route *route = &routes->list[i];
        route->number = route->group != NULL ? routing_find_group(routing, route->group) : ROUTING_NONE;
    }
}

void passthrough_destroy(struct passthrough *routes)
{
    for (size_t i = 0; routes != NULL && i < routes->len; i++) {
        free(routes->list[i].group);
        free(routes->list[i].service);
    }
    if (routes != NULL) {
        server_names_destroy(routes->names);
    }
    free(routes);
}

/* ---- where it goes */

/* Why a client was not served, for somebody who looks for it: peers can cause these lines at will. */
static void refuse(struct conn *conn, enum stats_close reason, const char *why, uint64_t now_us)
{
    if (log_threshold() <= LOG_LEVEL_DEBUG) {
        char client[ADDR_TEXT_MAX];
        addr_ip_format(&conn->client, client, sizeof(client));
        log_line(LOG_LEVEL_DEBUG, "ClientHello refused", LOG_TEXT("service", conn->home->service->name),
                 LOG_TEXT("client", client), LOG_TEXT("server_name", conn_server_name(conn)),
                 LOG_TEXT("why", why));
    }
    close_now(conn, reason, now_us);
}

/* What another service has on this worker; NULL: there is none. One that was taken away may still be here
 * beside one that has its name now. */
static struct service_worker *find_home(const struct conn *conn, const char *service)
{
    struct service_worker *stopped = NULL;
    list_each (node, &conn->home->shared->homes) {
        struct service_worker *home = list_entry(node, struct service_worker, node);
        if (strcmp(home->service->name, service) == 0) {
            if (!home->stopped) {
                return home;
            }
            stopped = home;
        }
    }
    return stopped;
}

/* The connection leaves its service and is the other's from then on, as if accepted there. False without
 * memory: it is then still where it was. */
static bool move(struct conn *conn, struct service_worker *to)
{
    struct service_worker *from = conn->home;
    struct conn_pace *pace = NULL;
    if (atomic_load_explicit(&to->service->terms, memory_order_acquire)->pace.any &&
        (pace = bandwidth_begin()) == NULL) {
        return false;
    }
    bandwidth_end(conn->pace);
    conn->pace = pace;
    deadline_cancel(&conn->deadline);
    arrival_leave_service(conn);
    visit_skip(from, conn);
    list_remove(&conn->node);
    stats_add(&from->stats.closed[STATS_CLOSE_ROUTED], 1);
    conn->home = to;
    conn->routed = true;
    conn->id = conn_next_id(to->shared); /* the lists are in order of id */
    conn->attempt->retries_left = atomic_load_explicit(&to->service->retries, memory_order_relaxed);
    list_append(&to->connections, &conn->node);
    stats_add(&to->stats.accepted, 1);
    return true;
}

static void on_delayed(struct worker_task *task, struct worker *worker);

/* False: it does not go on now, or not at all. */
static bool hand_over(struct conn *conn, const char *service, uint64_t now_us)
{
    struct service_worker *to = find_home(conn, service);
    if ((to == NULL || to->stopped) && !conn->delayed && !conn->routed) {
        /* The route is newer than what this worker has heard. The word was sent before the route was put in
         * force, so it is here in the next turn. */
        conn->delayed = true;
        conn->task.run = on_delayed;
        worker_continue(conn->home->shared->worker, &conn->task);
        return false;
    }
    if (to == NULL || conn->routed) {
        refuse(conn, STATS_CLOSE_NO_BACKEND, "its route leads to a service that is not there", now_us);
        return false;
    }
    if (!move(conn, to)) {
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return false;
    }
    return arrival_let_in(conn, now_us);
}

/* All that the client said is known. Another service may have routes of its own. */
static void go_by_name(struct conn *conn, uint64_t now_us)
{
    const struct passthrough *routes = service_terms(conn)->passthrough;
    while (routes != NULL) {
        size_t place = server_names_find(routes->names, conn_server_name(conn));
        if (place == SERVER_NAMES_NONE && routes->refuses) {
            refuse(conn, STATS_CLOSE_SERVER_NAME, "no route for this name", now_us);
            return;
        }
        const struct passthrough_route *route = place != SERVER_NAMES_NONE ? &routes->list[place] : NULL;
        if (route == NULL || route->service == NULL) {
            conn->attempt->attempts.fixed = route != NULL && route->group != NULL;
            conn->attempt->attempts.group = conn->attempt->attempts.fixed ? route->number : 0;
            break;
        }
        if (!hand_over(conn, route->service, now_us)) {
            return;
        }
        routes = service_terms(conn)->passthrough;
    }
    arrival_go_in(conn, now_us);
}

static void on_delayed(struct worker_task *task, struct worker *worker)
{
    struct conn *conn = list_entry(task, struct conn, task);
    worker_note_activity(worker);
    go_by_name(conn, clock_mono_us());
}

/* ---- the ClientHello */

/* Keeps the name for the split, the log and a PROXY header, and the protocol that the client would like best
 * for the latter. False without memory. */
static bool keep(struct conn *conn, const struct client_hello *hello)
{
    size_t name_len = strlen(hello->server_name);
    size_t protocol_len = hello->alpn_len > 0 ? hello->alpn[0] : 0;
    if (name_len == 0 && protocol_len == 0) {
        return true;
    }
    struct conn_hello *kept = malloc(sizeof(*kept) + name_len + 1 + protocol_len);
    if (kept == NULL) {
        return false;
    }
    memcpy(kept->text, hello->server_name, name_len + 1);
    memcpy(kept->text + name_len + 1, hello->alpn + 1, protocol_len);
    kept->protocol = (struct proxy_protocol_text){(const uint8_t *)kept->text + name_len + 1, protocol_len};
    conn->hello = kept;
    return true;
}

/* No hello will come any more; so many bytes of something are there. */
static void hello_ended(struct conn *conn, size_t seen, uint64_t now_us)
{
    const struct passthrough *routes = service_terms(conn)->passthrough;
    if (seen == 0 && (routes == NULL || !routes->refuses)) {
        go_by_name(conn, now_us); /* an ordinary client that says nothing */
        return;
    }
    refuse(conn, STATS_CLOSE_CLIENT_HELLO, seen == 0 ? "none came" : "only a part of it came", now_us);
}

static void hello_absent(struct conn *conn, const char *why, uint64_t now_us)
{
    const struct passthrough *routes = service_terms(conn)->passthrough;
    if (routes != NULL && routes->refuses) {
        refuse(conn, STATS_CLOSE_CLIENT_HELLO, why, now_us);
        return;
    }
    go_by_name(conn, now_us);
}

void passthrough_go_on(struct conn *conn, uint64_t now_us)
{
    struct stream *client = &conn->stream[CONN_CLIENT];
    struct client_hello hello;
    const char *why = NULL;
    size_t size;
    if (conn->task.queued) {
        return; /* its name is known */
    }
    unsigned char *scratch = worker_scratch(conn->home->shared->worker, &size);
    ssize_t n =
        recv(client->fd, scratch, size < CLIENT_HELLO_READ_MAX ? size : CLIENT_HELLO_READ_MAX, MSG_PEEK);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            close_now(conn, STATS_CLOSE_CLIENT_RESET, now_us);
        }
        return; /* an event will tell of more */
    }
    switch (client_hello_read(scratch, (size_t)n, &hello, &why)) {
    case CLIENT_HELLO_DONE:
        if (!keep(conn, &hello)) {
            close_now(conn, STATS_CLOSE_INTERNAL, now_us);
            return;
        }
        go_by_name(conn, now_us);
        return;
    case CLIENT_HELLO_MORE:
        if (n == 0 || client->ending) {
            hello_ended(conn, (size_t)n, now_us);
        }
        return;
    case CLIENT_HELLO_ABSENT:
        hello_absent(conn, why, now_us);
        return;
    case CLIENT_HELLO_BAD:
        break;
    }
    refuse(conn, STATS_CLOSE_CLIENT_HELLO, why, now_us);
}

void passthrough_on_timeout(struct conn *conn, uint64_t now_us)
{
    char first;
    ssize_t n = recv(conn->stream[CONN_CLIENT].fd, &first, sizeof(first), MSG_PEEK);
    hello_ended(conn, n > 0 ? (size_t)n : 0, now_us);
}

void passthrough_begin(struct conn *conn, uint64_t now_us)
{
    if (service_terms(conn)->passthrough == NULL) {
        arrival_go_in(conn, now_us);
        return;
    }
    conn_enter(conn, CONN_CLIENT_HELLO, now_us);
    if (!conn_listen_to_client(conn)) {
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return;
    }
    passthrough_go_on(conn, now_us); /* mostly it is there already */
}
