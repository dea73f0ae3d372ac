/*
 * One operator's connection: lines in, replies out, in order. Reading stops while a command is pending or
 * the output is too full; what a client never reads is bounded in bytes and in time. Control thread, on the
 * control base. What a line means is left to admin/dispatch.c.
 */
#include "admin/commands.h"
#include "admin/server_internal.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/openssl.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_PER_TURN 1 /* then others get their turn: there may be SERVER_CLIENTS_MAX of them */

static void client_pump(struct admin_client *client);

static size_t output_length(const struct admin_client *client)
{
    return evbuffer_get_length(bufferevent_get_output(client->stream));
}

/* Both directions are gone, not only the one that the client closed. A Unix socket says so by POLLHUP. */
static bool is_gone(const struct admin_client *client)
{
    struct pollfd probe = {.fd = bufferevent_getfd(client->stream), .events = 0};
    return poll(&probe, 1, 0) > 0 && (probe.revents & (POLLHUP | POLLERR)) != 0;
}

/* Queues text; returns false when the client is no longer there. */
static bool client_send(struct admin_client *client, const char *text, size_t length)
{
    if (text == NULL || bufferevent_write(client->stream, text, length) != 0) {
        log_line(LOG_LEVEL_WARN, "admin client dropped", LOG_TEXT("actor", client->peer.actor),
                 LOG_TEXT("reason", "out of memory for a reply"));
        client_destroy(client);
        return false;
    }
    return true;
}

/* Ends the connection once the client has what was written for it. May destroy it at once. */
static void client_close(struct admin_client *client)
{
    client->closing = true;
    (void)bufferevent_disable(client->stream, EV_READ);
    if (output_length(client) == 0) {
        client_destroy(client);
    }
}

static void client_refuse(struct admin_client *client, const char *message)
{
    char *text = dispatch_error(message);
    bool alive = client_send(client, text, text != NULL ? strlen(text) : 0);
    free(text);
    if (alive) {
        client_close(client);
    }
}

/* Goes on in the next turn of the loop. Not by event_active: what that makes active runs in the same turn,
 * before the loop looks at descriptors and timers again. */
static void client_yield(struct admin_client *client)
{
    static const struct timeval at_once = {0};
    if (event_add(client->timer, &at_once) != 0) {
        event_active(client->timer, EV_TIMEOUT, 0); /* without memory: better unfair than never */
    }
}

/* Arms the end of a wait; without one the timer stays quiet. */
static void arm_follow(struct admin_client *client)
{
    uint64_t now_us = clock_mono_us();
    if (client->follow.kind != COMMAND_FOLLOW_WAIT || client->follow.until_us == CLOCK_NEVER) {
        return;
    }
    uint64_t left_us = client->follow.until_us > now_us ? client->follow.until_us - now_us : 0;
    struct timeval left = {.tv_sec = (time_t)(left_us / CLOCK_US_PER_S),
                           .tv_usec = (suseconds_t)(left_us % CLOCK_US_PER_S)};
    if (event_add(client->timer, &left) != 0) {
        client->follow.until_us = now_us; /* the sweep ends it with a timeout */
    }
}

/* Runs one line and sends what it gave. Returns false when the client is no longer there. */
static bool run_line(struct admin_client *client, char *line, size_t length)
{
    struct dispatch_reply reply;
    while (length > 0 && line[length - 1] == '\r') {
        line[--length] = '\0'; /* tools that send CRLF */
    }
    dispatch_line(client->server->admin, &client->peer, line, length, &reply);
    client->follow = reply.follow;
    bool alive = client_send(client, reply.text, reply.length);
    free(reply.text);
    if (alive) {
        arm_follow(client);
    }
    return alive;
}

/* What to do when no whole line is there. May destroy the client. */
static void no_line(struct admin_client *client, size_t have)
{
    if (have > TOKENS_LINE_MAX) {
        client_refuse(client, "the line is longer than 16 KiB");
    } else if (client->half_closed && have > 0) {
        client_refuse(client, "the last line has no end and was not run");
    } else if (client->half_closed) {
        client_close(client);
    } else {
        (void)bufferevent_enable(client->stream, EV_READ); /* hold_back may have stopped it */
    }
}

/* Takes the next line out of the input and runs it. False: there is none, or the client is gone or going. */
static bool next_line(struct admin_client *client)
{
    struct evbuffer *input = bufferevent_get_input(client->stream);
    size_t have = evbuffer_get_length(input);
    struct evbuffer_ptr end = evbuffer_search(input, "\n", 1, NULL);
    if (end.pos < 0 || (size_t)end.pos > TOKENS_LINE_MAX) {
        no_line(client, end.pos < 0 ? have : (size_t)end.pos);
        return false;
    }
    size_t length = (size_t)end.pos;
    char *line = malloc(length + 1);
    if (line == NULL) {
        client_refuse(client, "out of memory");
        return false;
    }
    (void)evbuffer_remove(input, line, length);
    (void)evbuffer_drain(input, 1);
    line[length] = '\0';
    bool alive = run_line(client, line, length);
    free(line);
    return alive;
}

/* Stops reading while more has come than can be run now. Not by libevent's high watermark: with a buffer that
 * stays full that one calls back without pause (2.1.12). */
static void hold_back(struct admin_client *client)
{
    if (evbuffer_get_length(bufferevent_get_input(client->stream)) > TOKENS_LINE_MAX) {
        (void)bufferevent_disable(client->stream, EV_READ);
    }
}

/* Runs what has arrived, as far as order, room for replies and fairness allow. May destroy the client. */
static void client_pump(struct admin_client *client)
{
    for (int i = 0; i < LINES_PER_TURN; i++) {
        if (client->closing || client->follow.kind != COMMAND_FOLLOW_NONE ||
            output_length(client) > SERVER_OUTPUT_PAUSE_BYTES) {
            hold_back(client); /* gone on with by on_write or client_follow */
            return;
        }
        if (!next_line(client)) {
            return;
        }
    }
    client_yield(client);
}

void client_follow(struct admin_client *client)
{
    char *text = NULL;
    size_t length = 0;
    if (client->follow.kind == COMMAND_FOLLOW_NONE) {
        return;
    }
    if (dispatch_follow(client->server->admin, &client->follow, clock_mono_us(), &text, &length) != ERR_OK) {
        return; /* no memory just now: the sweep asks again */
    }
    bool alive = length == 0 || client_send(client, text, length);
    free(text);
    if (!alive) {
        return;
    }
    if (output_length(client) > SERVER_OUTPUT_MAX_BYTES) {
        client_evict(client, "it does not read what it follows");
    } else if (client->follow.kind == COMMAND_FOLLOW_NONE) {
        (void)event_del(client->timer);
        client_yield(client);
    } else {
        arm_follow(client); /* the loop counts from the begin of its turn, so a timer may come early */
    }
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct admin_client *client = context;
    (void)fd;
    (void)what;
    if (client->follow.kind != COMMAND_FOLLOW_NONE) {
        client_follow(client);
    } else {
        client_pump(client);
    }
}

static void on_read(struct bufferevent *stream, void *context)
{
    struct admin_client *client = context;
    (void)stream;
    list_remove(&client->node);
    list_append(&client->server->clients, &client->node);
    client_pump(client);
}

/* The output has run empty. */
static void on_write(struct bufferevent *stream, void *context)
{
    struct admin_client *client = context;
    (void)stream;
    if (client->closing) {
        client_destroy(client);
    } else {
        client_pump(client);
    }
}

static void on_event(struct bufferevent *stream, short what, void *context)
{
    struct admin_client *client = context;
    (void)stream;
    if ((what & BEV_EVENT_EOF) == 0 || (client->follow.kind != COMMAND_FOLLOW_NONE && is_gone(client))) {
        client_destroy(client);
        return;
    }
    client->half_closed = true;
    (void)bufferevent_enable(client->stream,
                             EV_WRITE); /* over TLS, libevent takes the end for that of both */
    client_pump(client);
}

/* Notes that the client reads what it is sent. */
static void on_output(struct evbuffer *buffer, const struct evbuffer_cb_info *info, void *context)
{
    struct admin_client *client = context;
    (void)buffer;
    if (info->n_deleted > 0 || info->orig_size == 0) {
        client->progress_us = clock_mono_us();
    }
}

void client_sweep(struct admin_client *client, uint64_t now_us)
{
    if (output_length(client) > 0 && now_us > client->progress_us &&
        now_us - client->progress_us > SERVER_STALL_US) {
        client_evict(client, "it has read nothing of its reply for 30s");
        return;
    }
    /* Where the kernel once refused to watch the socket, libevent says nothing and does not try again. */
    if (output_length(client) > 0) {
        (void)bufferevent_enable(client->stream, EV_WRITE);
    } else if (client->follow.kind == COMMAND_FOLLOW_NONE) {
        (void)bufferevent_enable(client->stream, EV_READ);
    }
    if (client->follow.kind != COMMAND_FOLLOW_NONE) {
        if (is_gone(client)) {
            client_destroy(client);
        } else {
            client_follow(client);
        }
    }
}

void client_evict(struct admin_client *client, const char *why)
{
    static const char notice[] =
        "error: the connection is closed: others need its place or it does not read\n\n";
    log_line(LOG_LEVEL_WARN, "admin client dropped", LOG_TEXT("actor", client->peer.actor),
             LOG_INT("pid", client->peer.pid), LOG_TEXT("reason", why));
    if (output_length(client) == 0 && !client->is_remote) {
        (void)send(bufferevent_getfd(client->stream), notice, sizeof(notice) - 1,
                   MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    client_destroy(client);
}

/* Past the loop, which does not turn any more. What does not fit into the socket now is not told. */
void client_tell_stop(struct admin_client *client)
{
    static const char notice[] = COMMANDS_STOPS "\n\n";
    if ((client->follow.kind != COMMAND_FOLLOW_WAIT && client->follow.kind != COMMAND_FOLLOW_WATCH) ||
        output_length(client) > 0) {
        return;
    }
    SSL *ssl = bufferevent_openssl_get_ssl(client->stream);
    if (ssl != NULL) {
        (void)SSL_write(ssl, notice, (int)(sizeof(notice) - 1));
        ERR_clear_error();
    } else {
        (void)send(bufferevent_getfd(client->stream), notice, sizeof(notice) - 1,
                   MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

int client_create(struct admin_server *server, struct bufferevent *stream, const struct admin_peer *peer)
{
    struct admin_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        bufferevent_free(stream);
        return ERR_NOMEM;
    }
    list_init(&client->node);
    client->server = server;
    client->peer = *peer;
    client->progress_us = clock_mono_us();
    client->stream = stream;
    client->is_remote = bufferevent_openssl_get_ssl(stream) != NULL;
    list_append(&server->clients, &client->node);
    server->clients_len++;
    client->timer = evtimer_new(server->admin->options.base, on_timer, client);
    bufferevent_setcb(client->stream, on_read, on_write, on_event, client);
    if (client->timer == NULL ||
        evbuffer_add_cb(bufferevent_get_output(client->stream), on_output, client) == NULL ||
        bufferevent_enable(client->stream, EV_READ | EV_WRITE) != 0) {
        client_destroy(client);
        return ERR_NOMEM;
    }
    client_yield(client); /* its first line may have come with the end of a handshake */
    return ERR_OK;
}

/* Over TLS the end is said, or the peer must take it for a cut. */
static void say_end(struct bufferevent *stream)
{
    SSL *ssl = bufferevent_openssl_get_ssl(stream);
    if (ssl != NULL && SSL_is_init_finished(ssl)) {
        (void)SSL_shutdown(ssl);
        ERR_clear_error();
    }
}

void client_destroy(struct admin_client *client)
{
    list_remove(&client->node);
    client->server->clients_len--;
    if (client->timer != NULL) {
        event_free(client->timer);
    }
    dispatch_unfollow(&client->follow);
    say_end(client->stream);
    bufferevent_free(client->stream);
    free(client);
}
