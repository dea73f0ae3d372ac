/*
 * GET /metrics over HTTP/1.x (RFC 9112), made for one kind of client: small requests, one a connection, then
 * the end. Bounded in connections, in bytes and in time, so that a scraper gone wild costs the operator
 * nothing. Control thread, on the control base. It does not use libevent's HTTP server: that one has no bound
 * on connections, and none on the time a request takes to arrive.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS_MAX 16u
#define REQUEST_MAX_BYTES 8192u
#define REQUEST_TIME_S 5
#define REPLY_TIME_S 30
#define BACKLOG 32

struct metrics_http {
    struct admin *admin;             /* borrowed */
    struct evconnlistener *listener; /* owned */
    struct event *back_off;          /* owned; turns accepting on again */
    struct list clients;             /* of http_client */
    size_t clients_len;
    struct addr address, wanted; /* as bound, and as configured */
    bool held;                   /* accepts nobody for now */
    bool foreign;                /* the socket is a service manager's */
};

struct http_client {
    struct list node;
    struct metrics_http *http;
    struct bufferevent *stream; /* owned, with its descriptor */
    struct event *deadline;     /* owned: of the request, then of the reply */
    bool answered, shut;
    bool ended; /* it has sent its end */
};

static const struct timeval back_off_time = {.tv_usec = 100000};

static void client_destroy_http(struct http_client *client)
{
    list_remove(&client->node);
    client->http->clients_len--;
    if (client->deadline != NULL) {
        event_free(client->deadline);
    }
    bufferevent_free(client->stream);
    free(client);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    client_destroy_http(context);
}

/* ---- replies */

struct reply {
    const char *status, *type, *more; /* more: further header lines */
    const char *body;
    size_t length;
};

static void answer(struct http_client *client, const struct reply *reply, bool head_only)
{
    struct evbuffer *output = bufferevent_get_output(client->stream);
    const struct timeval time = {.tv_sec = REPLY_TIME_S};
    client->answered = true;
    (void)event_add(client->deadline, &time);
    int bad = evbuffer_add_printf(output,
                                  "HTTP/1.1 %s\r\nContent-Type: %s; charset=utf-8\r\nContent-Length: %zu\r\n"
                                  "Cache-Control: no-store\r\n%sConnection: close\r\n\r\n",
                                  reply->status, reply->type, reply->length, reply->more) < 0;
    if (bad || (!head_only && evbuffer_add(output, reply->body, reply->length) != 0)) {
        client_destroy_http(client);
    }
}

static void refuse(struct http_client *client, const char *status, const char *more)
{
    char body[128];
    int length = snprintf(body, sizeof(body), "%s\n", status);
    answer(client, &(struct reply){status, "text/plain", more, body, (size_t)length}, false);
}

static void answer_page(struct http_client *client, bool head_only)
{
    static const char page[] = "<!doctype html><title>shuntd " SHUNT_VERSION "</title>"
                               "<p>shuntd " SHUNT_VERSION ": <a href=\"/metrics\">metrics</a></p>\n";
    answer(client, &(struct reply){"200 OK", "text/html", "", page, sizeof(page) - 1}, head_only);
}

static void answer_metrics(struct http_client *client, bool head_only)
{
    size_t length = 0;
    char *text = metrics_format(client->http->admin, &length);
    if (text == NULL) {
        refuse(client, "503 Service Unavailable", "Retry-After: 10\r\n");
        return;
    }
    answer(client, &(struct reply){"200 OK", "text/plain; version=0.0.4", "", text, length}, head_only);
    free(text);
}

/* ---- requests */

/* "GET /metrics HTTP/1.1": the parts of the first line, which is taken apart. */
static bool split_line(char *line, char **method, char **target)
{
    char *rest = NULL;
    *method = strtok_r(line, " ", &rest);
    *target = strtok_r(NULL, " ", &rest);
    const char *version = strtok_r(NULL, " ", &rest);
    return version != NULL && strtok_r(NULL, " ", &rest) == NULL && strncmp(version, "HTTP/1.", 7) == 0 &&
           (version[7] == '0' || version[7] == '1') && version[8] == '\0' && (*target)[0] == '/';
}

static void serve(struct http_client *client, char *line)
{
    char *method = NULL;
    char *target = NULL;
    if (!split_line(line, &method, &target)) {
        refuse(client, "400 Bad Request", "");
        return;
    }
    bool head_only = strcmp(method, "HEAD") == 0;
    target[strcspn(target, "?")] = '\0';
    if (!head_only && strcmp(method, "GET") != 0) {
        refuse(client, "405 Method Not Allowed", "Allow: GET, HEAD\r\n");
    } else if (strcmp(target, "/metrics") == 0) {
        answer_metrics(client, head_only);
    } else if (strcmp(target, "/") == 0) {
        answer_page(client, head_only);
    } else {
        refuse(client, "404 Not Found", "");
    }
}

/* The end of the header; -1: not there yet. */
static ev_ssize_t find_end(struct evbuffer *input)
{
    struct evbuffer_ptr end = evbuffer_search(input, "\r\n\r\n", 4, NULL);
    return end.pos >= 0 ? end.pos : evbuffer_search(input, "\n\n", 2, NULL).pos;
}

static void on_read(struct bufferevent *stream, void *context)
{
    struct http_client *client = context;
    struct evbuffer *input = bufferevent_get_input(stream);
    if (client->answered) {
        (void)evbuffer_drain(input, evbuffer_get_length(input));
        return;
    }
    ev_ssize_t end = find_end(input);
    if (end < 0 && evbuffer_get_length(input) <= REQUEST_MAX_BYTES) {
        return;
    }
    if (end < 0 || end > (ev_ssize_t)REQUEST_MAX_BYTES) {
        refuse(client, "431 Request Header Fields Too Large", "");
        return;
    }
    char *line = evbuffer_readln(input, NULL, EVBUFFER_EOL_CRLF);
    if (line == NULL) {
        client_destroy_http(client); /* no memory */
        return;
    }
    serve(client, line);
    free(line);
}

/* All is out: says so, and reads on until the other side has ended, or its reply could be lost to a reset. */
static void on_write(struct bufferevent *stream, void *context)
{
    struct http_client *client = context;
    if (client->ended) {
        client_destroy_http(client);
    } else if (client->answered && !client->shut) {
        client->shut = true;
        (void)shutdown(bufferevent_getfd(stream), SHUT_WR);
    }
}

static void on_event(struct bufferevent *stream, short what, void *context)
{
    struct http_client *client = context;
    (void)stream;
    if ((what & BEV_EVENT_EOF) != 0 && client->answered && !client->shut) {
        client->ended = true; /* it still reads: on_write ends it */
        return;
    }
    client_destroy_http(client);
}

/* ---- who comes in */

static int client_create_http(struct metrics_http *http, evutil_socket_t fd)
{
    const struct timeval time = {.tv_sec = REQUEST_TIME_S};
    struct event_base *base = http->admin->options.base;
    struct http_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        (void)close(fd);
        return ERR_NOMEM;
    }
    client->stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (client->stream == NULL) {
        (void)close(fd);
        free(client);
        return ERR_NOMEM;
    }
    client->http = http;
    list_append(&http->clients, &client->node);
    http->clients_len++;
    client->deadline = evtimer_new(base, on_deadline, client);
    bufferevent_setcb(client->stream, on_read, on_write, on_event, client);
    if (client->deadline == NULL || event_add(client->deadline, &time) != 0 ||
        bufferevent_enable(client->stream, EV_READ | EV_WRITE) != 0) {
        client_destroy_http(client);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int length,
                      void *context)
{
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n"
                               "Connection: close\r\n\r\n";
    struct metrics_http *http = context;
    (void)listener;
    (void)peer;
    (void)length;
    if (http->clients_len >= CLIENTS_MAX) {
        (void)send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)close(fd);
    } else if (client_create_http(http, fd) != ERR_OK) {
        log_line(LOG_LEVEL_WARN, "metrics client refused", LOG_TEXT("reason", "out of memory"));
    }
}

static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct metrics_http *http = context;
    log_line(LOG_LEVEL_WARN, "metrics cannot be served", LOG_TEXT("error", strerror(errno)));
    (void)evconnlistener_disable(listener);
    (void)evtimer_add(http->back_off, &back_off_time);
}

static void on_back_off(evutil_socket_t fd, short what, void *context)
{
    struct metrics_http *http = context;
    (void)fd;
    (void)what;
    if (!http->held) {
        (void)evconnlistener_enable(http->listener);
    }
}

/* ---- life */

static int bind_listener(struct metrics_http *http, const struct addr *address, struct err_text *err)
{
    char text[ADDR_TEXT_MAX];
    addr_format(address, text, sizeof(text));
    struct event_base *base = http->admin->options.base;
    http->wanted = *address;
    int given = given_take(http->admin->options.given, "metrics", address, &http->foreign);
    if (given >= 0) {
        http->listener = evconnlistener_new(base, on_accept, http,
                                            LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, given);
    } else {
        http->listener = evconnlistener_new_bind(
            base, on_accept, http, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, BACKLOG,
            &address->sa, (int)address->len);
    }
    if (http->listener == NULL) {
        int cause = errno;
        (void)err_set_errno(err, "metrics.listen %s", text);
        return cause == EADDRINUSE ? ERR_EXISTS : cause == EACCES ? ERR_DENIED : ERR_SYSTEM;
    }
    evconnlistener_set_error_cb(http->listener, on_accept_error);
    http->address.len = sizeof(http->address.in6);
    if (getsockname(evconnlistener_get_fd(http->listener), &http->address.sa, &http->address.len) != 0) {
        return err_set_errno(err, "metrics.listen %s", text);
    }
    return ERR_OK;
}

int metrics_http_create(struct admin *admin, const struct addr *address, struct metrics_http **out,
                        struct err_text *err)
{
    struct metrics_http *http = calloc(1, sizeof(*http));
    if (http == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the metrics");
    }
    http->admin = admin;
    list_init(&http->clients);
    http->back_off = evtimer_new(admin->options.base, on_back_off, http);
    int code = http->back_off == NULL ? err_set(err, ERR_NOMEM, "out of memory for the metrics")
                                      : bind_listener(http, address, err);
    if (code != ERR_OK) {
        metrics_http_destroy(http);
        return code;
    }
    *out = http;
    return ERR_OK;
}

void metrics_http_destroy(struct metrics_http *http)
{
    if (http == NULL) {
        return;
    }
    list_each (node, &http->clients) {
        client_destroy_http(list_entry(node, struct http_client, node));
    }
    if (http->listener != NULL) {
        evconnlistener_free(http->listener);
    }
    if (http->back_off != NULL) {
        event_free(http->back_off);
    }
    free(http);
}

const struct addr *metrics_http_address(const struct metrics_http *http)
{
    return &http->address;
}

void metrics_http_sockets(const struct metrics_http *http, given_visit_fn *visit, void *context)
{
    if (http != NULL) {
        visit(context, "metrics", &http->wanted, http->foreign, evconnlistener_get_fd(http->listener));
    }
}

void metrics_http_hold(struct metrics_http *http, bool hold)
{
    if (http != NULL) {
        http->held = hold;
        (void)(hold ? evconnlistener_disable(http->listener) : evconnlistener_enable(http->listener));
    }
}
