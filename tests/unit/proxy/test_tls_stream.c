/* One encrypted end over a pair of sockets, with libssl's own client at the other end, step by step. */
#include "proxy/stream.h"
#include "proxy/tls_stream.h"

#include "core/openssl.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CHUNK ((size_t)40000)
#define DAY 86400L

struct pair {
    struct stream stream; /* ours */
    SSL *client;
    SSL_CTX *contexts[2];
    int client_fd;
    bool dropped;
};

static void on_drop(void *context)
{
    ((struct pair *)context)->dropped = true;
}

static void show_certificate(SSL_CTX *context)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), DAY));
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_cert_and_key(context, certificate, key, NULL, 1), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static SSL *server_side(struct pair *pair)
{
    SSL_CTX *context = pair->contexts[0] = SSL_CTX_new(TLS_server_method());
    show_certificate(context);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL *ssl = SSL_new(context);
    SSL_set_accept_state(ssl);
    return ssl;
}

static void pair_begin(struct pair *pair)
{
    struct err_text err;
    int fds[2];
    *pair = (struct pair){.dropped = false};
    assert_int_equal(tls_stream_setup(&err), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    pair->stream = (struct stream){.fd = fds[0], .is_unix = true, .undelayed = true};
    pair->client_fd = fds[1];
    pair->contexts[1] = SSL_CTX_new(TLS_client_method());
    pair->client = SSL_new(pair->contexts[1]);
    assert_int_equal(SSL_set_fd(pair->client, pair->client_fd), 1);
    SSL_set_connect_state(pair->client);
    assert_true(tls_stream_begin(&pair->stream, server_side(pair), on_drop, pair));
    enum tls_progress progress = TLS_PENDING;
    for (int i = 0; i < 10 && progress == TLS_PENDING; i++) {
        (void)SSL_do_handshake(pair->client);
        stream_note(&pair->stream, EV_READ | EV_WRITE);
        progress = tls_stream_handshake(&pair->stream);
    }
    assert_int_equal(progress, TLS_DONE);
    assert_int_equal(SSL_do_handshake(pair->client), 1);
}

static void pair_end(struct pair *pair)
{
    stream_close(&pair->stream, false);
    assert_true(pair->dropped);
    SSL_free(pair->client);
    close(pair->client_fd);
    SSL_CTX_free(pair->contexts[0]);
    SSL_CTX_free(pair->contexts[1]);
}

/* What is sent and not yet, and what came. The byte at each place follows from it. */
struct flow {
    size_t sent, received;
};

static unsigned char byte_at(size_t place)
{
    return (unsigned char)(place * 7 + place / 251);
}

/* Sends until the socket takes no more. What "again" left is sent again, from somewhere else. */
static void send_all_that_goes(struct pair *pair, struct flow *flow, size_t total)
{
    while (pair->stream.writable && flow->sent < total) {
        size_t left = total - flow->sent;
        size_t size = left < CHUNK ? left : CHUNK;
        unsigned char *bytes = malloc(size);
        assert_non_null(bytes);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = byte_at(flow->sent + i);
        }
        ssize_t n = stream_send(&pair->stream, bytes, size);
        free(bytes);
        assert_true(n > 0 || n == STREAM_AGAIN);
        flow->sent += n > 0 ? (size_t)n : 0;
    }
}

static void receive_all_there_is(struct pair *pair, struct flow *flow)
{
    unsigned char bytes[16384];
    int n;
    while ((n = SSL_read(pair->client, bytes, sizeof(bytes))) > 0) {
        for (int i = 0; i < n; i++) {
            assert_int_equal(bytes[i], byte_at(flow->received + (size_t)i));
        }
        flow->received += (size_t)n;
    }
    assert_int_equal(SSL_get_error(pair->client, n), SSL_ERROR_WANT_READ);
}

/* The client takes what there is, we send on, until all has come. */
static void finish_flow(struct pair *pair, struct flow *flow, size_t total)
{
    for (int i = 0; i < 1000 && flow->received < total; i++) {
        receive_all_there_is(pair, flow);
        stream_note(&pair->stream, EV_WRITE);
        send_all_that_goes(pair, flow, total);
    }
    assert_int_equal(flow->sent, total);
    assert_int_equal(flow->received, total);
}

#define TOTAL ((size_t)2 * 1024 * 1024)

/* A client may ask for new keys at any time (RFC 8446 4.6.3), also while it does not take what we send. */
static void keys_change_while_we_are_blocked(void **state)
{
    struct pair pair;
    struct flow flow = {0, 0};
    char got[16];
    (void)state;
    pair_begin(&pair);
    send_all_that_goes(&pair, &flow, TOTAL);
    assert_false(pair.stream.writable);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(SSL_key_update(pair.client, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_write(pair.client, "k", 1), 1);
        stream_note(&pair.stream, EV_READ);
        assert_int_equal(stream_recv(&pair.stream, got, sizeof(got)), 1);
    }
    finish_flow(&pair, &flow, TOTAL);
    assert_true(stream_shutdown(&pair.stream));
    assert_int_equal(SSL_read(pair.client, got, sizeof(got)), 0);
    assert_int_equal(SSL_get_error(pair.client, 0), SSL_ERROR_ZERO_RETURN);
    pair_end(&pair);
}

/* Who asks for new keys without end and takes nothing must not be answered from endless memory. */
static void asking_without_taking_has_an_end(void **state)
{
    struct pair pair;
    struct flow flow = {0, 0};
    char got[16];
    bool broken = false;
    (void)state;
    pair_begin(&pair);
    send_all_that_goes(&pair, &flow, TOTAL);
    for (int i = 0; i < 20000 && !broken; i++) {
        assert_int_equal(SSL_key_update(pair.client, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_write(pair.client, "k", 1), 1);
        stream_note(&pair.stream, EV_READ);
        broken = stream_recv(&pair.stream, got, sizeof(got)) != 1;
    }
    assert_true(broken);
    assert_true(pair.stream.recv_failed);
    pair_end(&pair);
}

/* close_notify waits for its place behind what the socket did not take. */
static void the_end_comes_behind_all(void **state)
{
    struct pair pair;
    struct flow flow = {0, 0};
    (void)state;
    pair_begin(&pair);
    send_all_that_goes(&pair, &flow, TOTAL);
    finish_flow(&pair, &flow, flow.sent + CHUNK);
    size_t total = flow.sent + TOTAL;
    send_all_that_goes(&pair, &flow, total);
    finish_flow(&pair, &flow, total);
    assert_true(stream_shutdown(&pair.stream));
    char got[16];
    assert_int_equal(SSL_read(pair.client, got, sizeof(got)), 0);
    assert_int_equal(SSL_get_error(pair.client, 0), SSL_ERROR_ZERO_RETURN);
    pair_end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_change_while_we_are_blocked),
        cmocka_unit_test(asking_without_taking_has_an_end),
        cmocka_unit_test(the_end_comes_behind_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
