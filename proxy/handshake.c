/*
 * Answers for TLS handshakes as a stage of a connection: when one begins, how many run at once, and what
 * follows from how it ends. Runs on the connection's worker. The bytes are libssl's and tls_stream.c's
 * business, what is shown and believed that of the contexts.
 */
#include "core/log.h"
#include "core/openssl.h"
#include "proxy/proxy_internal.h"
#include "proxy/tls_back.h"
#include "proxy/tls_front.h"
#include "proxy/tls_stamp.h"

#include <event2/event.h>

/* The first service with TLS makes the keys that all share. */
static int tickets_of(struct proxy *proxy, const struct config_service *config, struct err_text *err)
{
    if (config->tls.session_lifetime_us > proxy->session_lifetime_us) {
        proxy->session_lifetime_us = config->tls.session_lifetime_us;
    }
    return tickets_begin(proxy, err);
}

int handshake_configure(const struct proxy_service *service, struct service_terms *terms,
                        const struct config_service *config, struct err_text *err)
{
    terms->tls_stamp = tls_stamp(config);
    if (!config->tls.present) {
        return 0;
    }
    int rc = tls_stream_setup(err);
    if (rc == 0) {
        rc = tickets_of(service->proxy, config, err);
    }
    if (rc == 0) {
        rc = tls_front_create(config, service->proxy->tickets, &terms->front, err);
        service->proxy->encrypts = true;
    }
    terms->max_handshakes = config->tls.max_handshakes;
    return rc;
}

int proxy_examine(const struct config_service *config, struct err_text *err)
{
    struct tls_front *front = NULL;
    int rc = config->tls.present ? tls_front_create(config, NULL, &front, err) : 0;
    tls_front_drop(front);
    for (size_t g = 0; rc == 0 && g < config->groups_len; g++) {
        struct tls_back *back = NULL;
        if (config->groups[g].tls.present) {
            rc = tls_back_create(config->name, &config->groups[g], 1, &back, err);
            tls_back_drop(back);
        }
    }
    return rc;
}

void handshake_release(struct service_terms *terms)
{
    tls_front_drop(terms->front);
}

bool handshake_is_due(const struct conn *conn)
{
    return service_terms(conn)->front != NULL;
}

/* For somebody who looks for it: peers can cause these lines at will. */
static void tell_failure(const struct conn *conn, const char *why)
{
    if (log_threshold() <= LOG_LEVEL_DEBUG) {
        char client[ADDR_TEXT_MAX];
        addr_ip_format(&conn->client, client, sizeof(client));
        log_line(LOG_LEVEL_DEBUG, "TLS handshake failed", LOG_TEXT("service", conn->home->service->name),
                 LOG_TEXT("client", client), LOG_TEXT("why", why));
    }
}

static void count_failure(const struct conn *conn, enum stats_side side, enum stats_tls_failure failure)
{
    stats_add(&conn->home->stats.tls_failed[side][failure], 1);
}

/* In order, so that the alert arrives: to somebody who speaks TLS that is no answer. */
static void client_failed(struct conn *conn, enum stats_tls_failure failure, const char *why, uint64_t now_us)
{
    count_failure(conn, STATS_SIDE_CLIENT, failure);
    tell_failure(conn, why);
    stream_close(&conn->stream[CONN_CLIENT], false);
    close_now(conn, STATS_CLOSE_HANDSHAKE_FAILED, now_us);
}

static void client_done(struct conn *conn, uint64_t now_us)
{
    struct stats_service *stats = &conn->home->stats;
    const char *why = NULL;
    if (!tls_front_is_verified(tls_stream_ssl(&conn->stream[CONN_CLIENT]), &why)) {
        client_failed(conn, STATS_TLS_CERTIFICATE, why, now_us);
        return;
    }
    stats_add(&stats->tls_handshakes, 1);
    if (tls_stream_is_resumed(&conn->stream[CONN_CLIENT])) {
        stats_add(&stats->tls_resumed, 1);
    }
    arrival_pick(conn, now_us);
}

/* ---- with the client */

/* Takes a place among the handshakes that run. False: there is none. */
static bool enter(const struct conn *conn)
{
    struct proxy_service *service = conn->home->service;
    uint32_t most = service_terms(conn)->max_handshakes;
    uint32_t others = atomic_fetch_add_explicit(&service->handshakes, 1, memory_order_relaxed);
    if (most != 0 && others >= most) {
        atomic_fetch_sub_explicit(&service->handshakes, 1, memory_order_relaxed);
        return false;
    }
    return true;
}

void handshake_leave(struct conn *conn)
{
    atomic_fetch_sub_explicit(&conn->home->service->handshakes, 1, memory_order_relaxed);
}

void handshake_begin(struct conn *conn, uint64_t now_us)
{
    struct stream *client = &conn->stream[CONN_CLIENT];
    if (!enter(conn)) {
        stats_add(&conn->home->stats.refused, 1);
        count_failure(conn, STATS_SIDE_CLIENT, STATS_TLS_LIMIT);
        close_now(conn, STATS_CLOSE_LIMIT, now_us);
        return;
    }
    conn_enter(conn, CONN_CLIENT_TLS, now_us);
    struct tls_front *front = service_terms(conn)->front;
    if (front == NULL || !conn_listen_to_client(conn)) {
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return;
    }
    tls_front_hold(front);
    if (!tls_stream_begin(client, tls_front_accept(front), tls_front_drop, front)) {
        close_now(conn, STATS_CLOSE_INTERNAL, now_us);
        return;
    }
    handshake_go_on(conn, now_us); /* mostly the ClientHello came with the connection */
}

void handshake_go_on(struct conn *conn, uint64_t now_us)
{
    char why[200];
    struct stream *client = &conn->stream[CONN_CLIENT];
    switch (tls_stream_handshake(client)) {
    case TLS_PENDING:
        return; /* an event will tell of more */
    case TLS_DONE:
        client_done(conn, now_us);
        return;
    case TLS_FAILED:
        tls_stream_describe_failure(client, why, sizeof(why));
        client_failed(conn, tls_stream_failure(client), why, now_us);
        return;
    }
}

void handshake_on_timeout(struct conn *conn, uint64_t now_us)
{
    client_failed(conn, STATS_TLS_TIMEOUT, "not complete in time", now_us);
}

/* ---- with a backend */

/* Backends are ours: who runs them must hear of it. */
static void tell_call_failure(const struct conn *conn, enum stats_tls_failure failure, const char *why)
{
    count_failure(conn, STATS_SIDE_BACKEND, failure);
    log_line(LOG_LEVEL_WARN, "TLS handshake with a backend failed",
             LOG_TEXT("service", conn->home->service->name),
             LOG_TEXT("group", routing_group_name(conn->home->service->routing, conn->lease.group)),
             LOG_TEXT("backend", backend_name(conn->lease.backend)), LOG_TEXT("why", why));
}

static enum tls_progress call_failed(struct conn *conn, enum stats_tls_failure failure, const char *why)
{
    tls_call_forget(SSL_get_app_data(tls_stream_ssl(&conn->stream[CONN_BACKEND])));
    tell_call_failure(conn, failure, why);
    return TLS_FAILED;
}

enum tls_progress handshake_call(struct conn *conn, struct tls_back *back)
{
    struct stream *client = &conn->stream[CONN_CLIENT];
    struct stream *backend = &conn->stream[CONN_BACKEND];
    struct tls_call_spec spec = {.worker = worker_index(conn->home->shared->worker),
                                 .backend = backend_name(conn->lease.backend),
                                 .address = backend_address(conn->lease.backend)};
    struct tls_call *call = NULL;
    if (client->tls != NULL) {
        SSL_get0_alpn_selected(tls_stream_ssl(client), &spec.client, &spec.client_len);
    }
    SSL *ssl = tls_back_connect(back, &spec, &call);
    if (ssl == NULL || !tls_stream_begin(backend, ssl, tls_call_drop, call)) {
        tell_call_failure(conn, STATS_TLS_OTHER, "no memory");
        conn->lease.excused = true; /* ours, not the backend's */
        return TLS_FAILED;
    }
    stream_undelay(backend);
    return handshake_call_go_on(conn);
}

enum tls_progress handshake_call_go_on(struct conn *conn)
{
    struct stats_service *stats = &conn->home->stats;
    struct stream *backend = &conn->stream[CONN_BACKEND];
    char words[200];
    const char *why = NULL;
    enum tls_progress progress = tls_stream_handshake(backend);
    SSL *ssl = tls_stream_ssl(backend);
    if (progress == TLS_FAILED) {
        tls_stream_describe_failure(backend, words, sizeof(words));
        return call_failed(conn, tls_stream_failure(backend), words);
    }
    if (progress == TLS_PENDING) {
        return progress;
    }
    if (!tls_call_is_verified(SSL_get_app_data(ssl), ssl, &why)) {
        return call_failed(conn, STATS_TLS_CERTIFICATE, why);
    }
    stats_add(&stats->tls_backend_handshakes, 1);
    if (tls_stream_is_resumed(backend)) {
        stats_add(&stats->tls_backend_resumed, 1);
    }
    return TLS_DONE;
}

void handshake_call_overdue(struct conn *conn)
{
    tell_call_failure(conn, STATS_TLS_TIMEOUT, "not complete in time");
}

bool handshake_was_refused(struct conn *conn)
{
    struct stream *backend = &conn->stream[CONN_BACKEND];
    enum stats_tls_failure failure = STATS_TLS_OTHER;
    const char *why = NULL;
    if (conn->backend_spoke || !tls_stream_was_refused(backend, &failure, &why)) {
        return false;
    }
    (void)call_failed(conn, failure, why != NULL ? why : "an alert");
    return true;
}
