/*
 * Answers for TLS handshakes as a stage of a connection: when one begins, how many run at once, and what
 * follows from how it ends. Runs on the connection's worker. The bytes are libssl's and tls_stream.c's
 * business, what is shown and believed that of the contexts.
 */
#include "core/log.h"
#include "proxy/proxy_internal.h"
#include "proxy/tls_front.h"
#include "proxy/tls_stream.h"

#include <event2/event.h>

int handshake_configure(struct proxy_service *service, const struct config_service *config,
                        struct err_text *err)
{
    struct tls_front *front = NULL;
    service->length_us[CONN_DEADLINE_HANDSHAKE] = config->tls.handshake_timeout_us;
    if (!config->tls.present) {
        return 0;
    }
    int rc = tls_stream_setup(err);
    if (rc == 0) {
        rc = tls_front_create(config, &front, err);
    }
    if (rc == 0) {
        atomic_init(&service->max_handshakes, config->tls.max_handshakes);
        atomic_init(&service->front, front);
    }
    return rc;
}

int proxy_examine(const struct config_service *config, struct err_text *err)
{
    struct tls_front *front = NULL;
    int rc = config->tls.present ? tls_front_create(config, &front, err) : 0;
    if (rc == 0) {
        tls_front_drop(front);
    }
    return rc;
}

void handshake_release(struct proxy_service *service)
{
    tls_front_drop(atomic_load(&service->front));
}

bool handshake_is_due(const struct conn *conn)
{
    return atomic_load_explicit(&conn->home->service->front, memory_order_relaxed) != NULL;
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

/* In order, so that the alert arrives: to somebody who speaks TLS that is no answer. */
static void client_failed(struct conn *conn, const char *why, uint64_t now_us)
{
    tell_failure(conn, why);
    stream_close(&conn->stream[CONN_CLIENT], false);
    close_now(conn, STATS_CLOSE_HANDSHAKE_FAILED, now_us);
}

static void client_done(struct conn *conn, uint64_t now_us)
{
    struct stats_service *stats = &conn->home->stats;
    stats_add(&stats->tls_handshakes, 1);
    if (tls_stream_is_resumed(&conn->stream[CONN_CLIENT])) {
        stats_add(&stats->tls_resumed, 1);
    }
    arrival_pick(conn, now_us);
}

/* ---- with the client */

/* Takes a place among the handshakes that run. False: there is none. */
static bool enter(struct proxy_service *service)
{
    uint32_t most = atomic_load_explicit(&service->max_handshakes, memory_order_relaxed);
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
    if (!enter(conn->home->service)) {
        stats_add(&conn->home->stats.refused, 1);
        close_now(conn, STATS_CLOSE_LIMIT, now_us);
        return;
    }
    conn_enter(conn, CONN_CLIENT_TLS, now_us);
    /* What is replaced lives to the end of the turn at least, see worker_pool_retire. */
    struct tls_front *front = atomic_load_explicit(&conn->home->service->front, memory_order_acquire);
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
        client_failed(conn, why, now_us);
        return;
    }
}

void handshake_on_timeout(struct conn *conn, uint64_t now_us)
{
    client_failed(conn, "not complete in time", now_us);
}
