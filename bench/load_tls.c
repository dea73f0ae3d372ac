/*
 * Clients that speak TLS, for what stands in front with a certificate: tls-rt (round trips on kept
 * connections), tls-idle (connections that are tried once), tls-connect (connect, handshake, one round trip,
 * close; with
 * --resume each slot offers its last session) and tls-download (asks for its share of the bytes on each
 * connection). Nothing is verified: a measurement. One thread, edge-triggered epoll. In the report of
 * tls-connect the tags are "f" for full handshakes and "r" for resumed ones.
 */
#include "bench/load.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SAMPLES_MAX ((size_t)4 * 1024 * 1024)

enum phase { PHASE_CONNECT, PHASE_SHAKE, PHASE_SEND, PHASE_RECEIVE, PHASE_REST, PHASE_OVER };

struct tls_conn {
    SSL *ssl;             /* owned; NULL: none */
    SSL_SESSION *session; /* owned; the last one that the server gave */
    uint64_t started_ns, received;
    uint32_t sent;
    enum phase phase;
};

struct tls_load {
    const struct load_options *options;
    SSL_CTX *context;
    struct tls_conn *conns;
    uint64_t begun, until_ns;
    uint64_t want; /* bytes of a reply */
    uint32_t request_bytes, busy;
    int epoll;
    bool reconnects, once; /* a new connection for each operation; one operation a connection */
    struct load_result result;
    char in[LOAD_SCRATCH_BYTES], out[LOAD_SCRATCH_BYTES];
};

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_conn *conn = SSL_get_app_data(ssl);
    SSL_SESSION_free(conn->session);
    conn->session = session;
    return 1; /* it is ours now */
}

static void conn_close(struct tls_conn *conn)
{
    if (conn->ssl != NULL) {
        int fd = SSL_get_fd(conn->ssl);
        (void)SSL_shutdown(conn->ssl);
        SSL_free(conn->ssl);
        (void)close(fd);
        conn->ssl = NULL;
    }
    conn->phase = PHASE_OVER;
}

static void conn_fail(struct tls_load *load, struct tls_conn *conn, uint64_t *counter)
{
    ++*counter;
    load->busy--;
    ERR_clear_error();
    conn_close(conn);
}

/* A connection under way, with its SSL. */
static bool conn_open(struct tls_load *load, struct tls_conn *conn)
{
    int fd = load_connect_begin(&load->options->address);
    SSL *ssl = fd >= 0 ? SSL_new(load->context) : NULL;
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_set_app_data(ssl, conn) != 1 ||
        (load->options->resume && conn->session != NULL && SSL_set_session(ssl, conn->session) != 1)) {
        load->result.errors.connect++;
        SSL_free(ssl);
        if (fd >= 0) {
            (void)close(fd);
        }
        return false;
    }
    SSL_set_connect_state(ssl);
    *conn = (struct tls_conn){
        .ssl = ssl, .session = conn->session, .started_ns = load_now_ns(), .phase = PHASE_CONNECT};
    load->busy++;
    load->begun++;
    load_watch(load->epoll, fd, (uint32_t)(conn - load->conns));
    return true;
}

static bool may_begin(const struct tls_load *load)
{
    return (!load->until_ns || load_now_ns() < load->until_ns) &&
           (!load->options->operations || load->begun < load->options->operations);
}

static void conn_request(struct tls_load *load, struct tls_conn *conn)
{
    conn->sent = 0;
    conn->received = 0;
    conn->started_ns = load_now_ns();
    conn->phase = PHASE_SEND;
    load->busy++;
    load->begun++;
}

static void conn_done(struct tls_load *load, struct tls_conn *conn)
{
    struct load_result *result = &load->result;
    load_samples_add(&result->samples, load_now_ns() - conn->started_ns);
    result->operations++;
    result->bytes += conn->received;
    load->busy--;
    if (load->reconnects) {
        result->tags[SSL_session_reused(conn->ssl) ? 'r' : 'f']++;
        conn_close(conn);
        if (may_begin(load)) {
            (void)conn_open(load, conn);
        }
        return;
    }
    conn->phase = PHASE_REST;
    if (!load->once && may_begin(load)) {
        conn_request(load, conn);
    }
}

/* What a call of the library that did not succeed means. False: nothing more to be done now. */
static bool conn_judge(struct tls_load *load, struct tls_conn *conn)
{
    int error = SSL_get_error(conn->ssl, 0);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        conn_fail(load, conn,
                  error == SSL_ERROR_ZERO_RETURN ? &load->result.errors.early_end
                                                 : &load->result.errors.reset);
    }
    return false;
}

static bool conn_send(struct tls_load *load, struct tls_conn *conn)
{
    size_t n = 0;
    if (SSL_write_ex(conn->ssl, load->out, load->request_bytes, &n) != 1) {
        return conn_judge(load, conn);
    }
    conn->sent += (uint32_t)n;
    conn->phase = PHASE_RECEIVE;
    return true;
}

static bool conn_receive(struct tls_load *load, struct tls_conn *conn)
{
    size_t n = 0;
    if (SSL_read_ex(conn->ssl, load->in, sizeof(load->in), &n) != 1) {
        return conn_judge(load, conn);
    }
    conn->received += n;
    if (conn->received > load->want) {
        conn_fail(load, conn, &load->result.errors.mismatch);
        return false;
    }
    if (conn->received == load->want) {
        conn_done(load, conn);
    }
    return true;
}

/* One thing more on this connection. False: it waits, rests or is over. */
static bool conn_step(struct tls_load *load, struct tls_conn *conn)
{
    switch (conn->phase) {
    case PHASE_SHAKE:
        if (SSL_do_handshake(conn->ssl) != 1) {
            return conn_judge(load, conn);
        }
        conn->phase = PHASE_SEND;
        return true;
    case PHASE_SEND:
        return conn_send(load, conn);
    case PHASE_RECEIVE:
        return conn_receive(load, conn);
    case PHASE_CONNECT:
    case PHASE_REST:
    case PHASE_OVER:
        break;
    }
    return false;
}

static void turn(struct tls_load *load)
{
    struct epoll_event events[LOAD_EVENTS_MAX];
    int n = epoll_wait(load->epoll, events, LOAD_EVENTS_MAX, 100);
    for (int i = 0; i < n; i++) {
        struct tls_conn *conn = &load->conns[events[i].data.u32];
        if (conn->phase == PHASE_CONNECT && (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
            conn->phase = PHASE_SHAKE;
        }
        ERR_clear_error();
        while (conn_step(load, conn)) {
        }
    }
}

static struct tls_load *create(const struct load_options *options)
{
    struct tls_load *load = load_calloc(1, sizeof(*load));
    load->options = options;
    load->conns = load_calloc(options->connections, sizeof(*load->conns));
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->reconnects = strcmp(options->mode, "tls-connect") == 0;
    load->once = strcmp(options->mode, "tls-idle") == 0;
    load->request_bytes = options->size;
    load->want = options->size;
    memset(load->out, options->tag, sizeof(load->out));
    load_samples_create(&load->result.samples, SAMPLES_MAX);
    load->context = SSL_CTX_new(TLS_client_method());
    if (load->context == NULL) {
        load_die("SSL_CTX_new");
    }
    SSL_CTX_set_verify(load->context, SSL_VERIFY_NONE, NULL);
    (void)SSL_CTX_set_mode(load->context, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(load->context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(load->context, keep_session);
    return load;
}

/* Runs until nothing is under way. */
static void run(struct tls_load *load)
{
    while (load->busy > 0) {
        turn(load);
    }
}

/* Every connection with its handshake and one round trip, so that it is through to its backend. */
static void open_all(struct tls_load *load)
{
    bool once = load->once;
    load->once = true;
    for (uint32_t i = 0; i < load->options->connections; i++) {
        (void)conn_open(load, &load->conns[i]);
        if (i % 32 == 31) {
            run(load); /* not more handshakes at once than a listener lets in */
        }
    }
    run(load);
    load->once = once;
}

/* Forgets what was counted, but for what failed. */
static void restart(struct tls_load *load)
{
    struct load_samples samples = load->result.samples;
    samples.len = samples.seen = 0;
    load->result = (struct load_result){.errors = load->result.errors, .samples = samples};
    load->begun = 0;
    load->until_ns = load->options->duration_ns ? load_now_ns() + load->options->duration_ns : 0;
    load_result_start(&load->result);
}

static int finish(struct tls_load *load)
{
    load_result_stop(&load->result);
    load_result_print(load->options, &load->result);
    int code = load_errors_sum(&load->result.errors) > 0 ? 1 : 0;
    if (load->options->start_at_once || strcmp(load->options->mode, "tls-idle") != 0) {
        return code;
    }
    char line[64];
    (void)load_read_line(line, sizeof(line)); /* the connections stay until it is said, or the end */
    return code;
}

static void begin_all(struct tls_load *load)
{
    for (uint32_t i = 0; i < load->options->connections; i++) {
        struct tls_conn *conn = &load->conns[i];
        if (load->reconnects) {
            (void)conn_open(load, conn);
        } else if (conn->phase == PHASE_REST) {
            conn_request(load, conn);
            while (conn_step(load, conn)) {
            }
        }
    }
}

int load_client_tls(const struct load_options *options)
{
    struct tls_load *load = create(options);
    bool download = strcmp(options->mode, "tls-download") == 0;
    uint64_t share = options->bytes / options->connections;
    if (download) {
        /* A connection is good for one reply: it is made, but asks only when told to. */
        load->request_bytes = sizeof(share);
        load->want = share;
        load->once = true;
        memcpy(load->out, &share, sizeof(share));
    }
    if (load->reconnects && options->resume) {
        load->reconnects = false;
        open_all(load); /* for the first sessions */
        load->reconnects = true;
        for (uint32_t i = 0; i < options->connections; i++) {
            conn_close(&load->conns[i]);
        }
    } else if (!load->reconnects && !download) {
        load_result_start(&load->result);
        open_all(load);
    }
    if (!load->once || download) {
        load_wait_go(options);
        restart(load);
        if (download) {
            open_all(load);
        } else {
            begin_all(load);
        }
        run(load);
    }
    int code = finish(load);
    for (uint32_t i = 0; i < options->connections; i++) {
        conn_close(&load->conns[i]);
        SSL_SESSION_free(load->conns[i].session);
    }
    SSL_CTX_free(load->context);
    free(load->result.samples.ns);
    free(load->conns);
    free(load);
    return code;
}
