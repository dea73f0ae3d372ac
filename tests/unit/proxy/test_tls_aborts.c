/*
 * Handshakes that are broken off after every byte that a peer would send, with TLS 1.2 and 1.3, tens of
 * thousands of them in a row: by clients, and by backends. Nothing of them may stay: no place among the
 * handshakes, no byte of memory (LeakSanitizer looks at the end, the heap is looked at here), and each is
 * counted. Peers are libssl over memory, so that every byte is in the test's hand; sockets are Unix paths, as
 * so many aborts would use up the ports.
 */
#include "core/log.h"
#include "core/openssl.h"
#include "tests/unit/proxy/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef SHUNT_SANITIZED
#include <sanitizer/allocator_interface.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define ABORTS 100000u
#elif defined(SHUNT_SANITIZED)
#define ABORTS 3000u
#else
#define ABORTS 6000u
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#undef ABORTS
#define ABORTS 100000u
#endif
#endif

#define HANDSHAKES_MAX 200u
#define AT_ONCE 100u  /* aborts that may not have been noticed yet */
#define SLACK 400000u /* bytes by which the heap may differ: pools, buffers of a loop's turn */
#define FLIGHT_MAX 8192u

static char folder[64];

/* ---- certificate and contexts */

static void write_pem(const char *name, X509 *certificate, EVP_PKEY *key)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(key != NULL ? PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL)
                                 : PEM_write_X509(file, certificate),
                     1);
    assert_int_equal(fclose(file), 0);
}

static int make_certificate(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/shunt-aborts-XXXXXX");
    assert_non_null(mkdtemp(folder));
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_true(key != NULL && certificate != NULL);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 86400));
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                                (const unsigned char *)"test", -1, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(certificate, X509_get_subject_name(certificate)), 1);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    write_pem("cert.pem", certificate, NULL);
    write_pem("key.pem", NULL, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
    log_set_level(LOG_LEVEL_ERROR); /* a line for each abort of a backend would be too many */
    return 0;
}

static int remove_certificate(void **state)
{
    char path[128];
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/cert.pem", folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/key.pem", folder);
    (void)unlink(path);
    return rmdir(folder);
}

static struct config *configure(bool front)
{
    char text[1024];
    struct config *config = NULL;
    struct config_errors errors;
    (void)snprintf(text, sizeof(text),
                   "state_dir = \"/tmp\"; services = ( { name = \"test\"; listen = [ \"127.0.0.1:0\" ]; %s "
                   "groups = ( { name = \"old\"; %s backends = ( { address = \"127.0.0.1:1\"; } ); } ); } );",
                   front ? "tls = { certificates = ( { certificate = \"cert.pem\"; key = \"key.pem\"; } ); "
                           "max_handshakes = 200; handshake_timeout = \"60s\"; };"
                         : "",
                   front ? "" : "tls = { verify = false; };");
    assert_int_equal(config_load_text(text, folder, &config, &errors), 0);
    return config;
}

static SSL_CTX *context_of(const SSL_METHOD *method, int version)
{
    SSL_CTX *context = SSL_CTX_new(method);
    char path[128];
    assert_non_null(context);
    assert_int_equal(SSL_CTX_set_min_proto_version(context, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(context, version), 1);
    (void)snprintf(path, sizeof(path), "%s/cert.pem", folder);
    assert_int_equal(SSL_CTX_use_certificate_file(context, path, SSL_FILETYPE_PEM), 1);
    (void)snprintf(path, sizeof(path), "%s/key.pem", folder);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM), 1);
    return context;
}

/* ---- a peer over memory */

struct peer {
    SSL *ssl;
    BIO *in, *out; /* the SSL's */
};

static struct peer peer_of(SSL_CTX *context, bool server)
{
    struct peer peer = {.ssl = SSL_new(context), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};
    assert_true(peer.ssl != NULL && peer.in != NULL && peer.out != NULL);
    SSL_set_bio(peer.ssl, peer.in, peer.out);
    if (server) {
        SSL_set_accept_state(peer.ssl);
    } else {
        SSL_set_connect_state(peer.ssl);
    }
    return peer;
}

/* What the peer says next. */
static size_t flight_of(const struct peer *peer, unsigned char *flight)
{
    (void)SSL_do_handshake(peer->ssl);
    int size = BIO_read(peer->out, flight, (int)FLIGHT_MAX);
    assert_true(size > 0 && size < (int)FLIGHT_MAX);
    return (size_t)size;
}

/* Receives until the peer has something to say to it. */
static size_t answer_of(const struct peer *peer, int fd, unsigned char *flight)
{
    unsigned char buffer[FLIGHT_MAX];
    do {
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        assert_true(n > 0);
        assert_int_equal(BIO_write(peer->in, buffer, (int)n), n);
        (void)SSL_do_handshake(peer->ssl);
    } while (BIO_ctrl_pending(peer->out) == 0);
    return flight_of(peer, flight);
}

/* ---- what is held */

static size_t heap_bytes(void)
{
#ifdef SHUNT_SANITIZED
    return __sanitizer_get_current_allocated_bytes();
#else
    return mallinfo2().uordblks;
#endif
}

static long resident_kib(void)
{
    char line[128];
    char *rest = NULL;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    (void)fclose(file);
    (void)strtol(line, &rest, 10); /* all of it; the second figure is what is resident, in pages */
    return strtol(rest, NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024);
}

struct held {
    size_t heap;
    long resident_kib;
};

/* All that were begun are counted as failed. A minute: a busy machine may stand still for seconds. */
static void settle(struct rig *rig, unsigned n)
{
    uint64_t until = rig_now_ms() + 60000;
    while (rig_closed(rig, STATS_CLOSE_HANDSHAKE_FAILED) < n && rig_now_ms() < until) {
        rig_turn(rig);
    }
    assert_int_equal(rig_closed(rig, STATS_CLOSE_HANDSHAKE_FAILED), n);
    assert_int_equal(proxy_service_open(rig->service), 0);
}

static struct held held_now(struct rig *rig, unsigned n)
{
    settle(rig, n);
    for (int i = 0; i < 20; i++) {
        rig_turn(rig); /* what was put off to the end of a loop's turn is done */
    }
    return (struct held){.heap = heap_bytes(), .resident_kib = resident_kib()};
}

static void check_flat(struct rig *rig, const struct held *before, unsigned n)
{
    struct held now = held_now(rig, n);
    print_message("%u aborts; heap %zu -> %zu bytes, resident %ld -> %ld KiB\n", n, before->heap, now.heap,
                  before->resident_kib, now.resident_kib);
    assert_true(now.heap < before->heap + SLACK);
#ifdef SHUNT_SANITIZED
    long most_kib = 400L * 1024; /* what was freed lies in quarantine for a while */
#else
    long most_kib = 4L * 1024;
#endif
    assert_true(now.resident_kib < before->resident_kib + most_kib);
}

static uint64_t counted(struct rig *rig, enum stats_side side)
{
    struct stats_service_reading reading;
    uint64_t sum = 0;
    proxy_service_read(rig->service, &reading);
    for (int i = 0; i < STATS_TLS_COUNT; i++) {
        sum += reading.tls_failed[side][i];
    }
    return sum;
}

/* ---- clients that break off */

/* One handshake of which so many bytes are sent; false, and nothing done, when it has no more than that. */
static bool client_aborts(struct rig *rig, SSL_CTX *context, size_t bytes)
{
    unsigned char flight[FLIGHT_MAX];
    struct peer peer = peer_of(context, false);
    size_t first = flight_of(&peer, flight);
    int fd = rig_client(rig);
    bool sent = true;
    rig_send(fd, flight, bytes < first ? bytes : first);
    if (bytes > first) {
        size_t second = answer_of(&peer, fd, flight);
        sent = bytes - first < second;
        if (sent) {
            rig_send(fd, flight, bytes - first);
        }
    }
    close(fd);
    SSL_free(peer.ssl);
    return sent;
}

/* Every byte once, for each version. n: how many handshakes were begun before. Returns how many now. */
static unsigned clients_abort_at_every_byte(struct rig *rig, SSL_CTX *const *contexts, unsigned n)
{
    unsigned before = n;
    for (int i = 0; i < 2; i++) {
        bool more = true;
        for (size_t bytes = 0; more; bytes++) {
            more = client_aborts(rig, contexts[i], bytes);
            n++;
            if (n % AT_ONCE == 0) {
                settle(rig, n);
            }
        }
        assert_true(n - before > 250 * (unsigned)(i + 1)); /* there was a second flight */
    }
    return n;
}

/* As many as may be find a place, one more does not: no abort has kept one. */
static void check_places(struct rig *rig)
{
    int clients[HANDSHAKES_MAX];
    uint64_t limited = rig_closed(rig, STATS_CLOSE_LIMIT);
    for (unsigned i = 0; i < HANDSHAKES_MAX; i++) {
        clients[i] = rig_client(rig);
    }
    rig_wait_open(rig, HANDSHAKES_MAX);
    assert_int_equal(rig_closed(rig, STATS_CLOSE_LIMIT), limited);
    int one_too_many = rig_client(rig);
    rig_wait_closed(rig, STATS_CLOSE_LIMIT, limited + 1);
    close(one_too_many);
    for (unsigned i = 0; i < HANDSHAKES_MAX; i++) {
        close(clients[i]);
    }
    rig_wait_open(rig, 0);
}

static void clients_that_break_off(void **state)
{
    (void)state;
    struct config *config = configure(true);
    const struct rig_options options = {.unix_paths = true, .config = &config->services[0]};
    SSL_CTX *contexts[2] = {context_of(TLS_client_method(), TLS1_2_VERSION),
                            context_of(TLS_client_method(), TLS1_3_VERSION)};
    struct rig rig;
    rig_start(&rig, &options);
    unsigned n = clients_abort_at_every_byte(&rig, contexts, 0);
    struct held before = held_now(&rig, n);
    while (n < ABORTS) {
        n = clients_abort_at_every_byte(&rig, contexts, n);
    }
    check_flat(&rig, &before, n);
    assert_int_equal(counted(&rig, STATS_SIDE_CLIENT), n);
    check_places(&rig);
    rig_stop(&rig);
    SSL_CTX_free(contexts[0]);
    SSL_CTX_free(contexts[1]);
    config_free(config);
}

/* ---- backends that break off */

static bool backend_aborts(struct rig *rig, SSL_CTX *context, size_t bytes)
{
    unsigned char flight[FLIGHT_MAX];
    struct peer peer = peer_of(context, true);
    int client = rig_client(rig);
    int fd = rig_accept(rig, 0);
    size_t size = answer_of(&peer, fd, flight);
    bool sent = bytes < size;
    rig_send(fd, flight, sent ? bytes : 0);
    close(fd);
    (void)recv(client, flight, 1, 0); /* an end: Unix paths know no reset */
    close(client);
    SSL_free(peer.ssl);
    return sent;
}

static void backends_that_break_off(void **state)
{
    (void)state;
    struct config *config = configure(false);
    const struct rig_options options = {.unix_paths = true, .config = &config->services[0]};
    SSL_CTX *contexts[2] = {context_of(TLS_server_method(), TLS1_2_VERSION),
                            context_of(TLS_server_method(), TLS1_3_VERSION)};
    struct rig rig;
    struct held before = {0};
    rig_start(&rig, &options);
    unsigned n = 0;
    for (unsigned round = 0; n < ABORTS / 10; round++) {
        for (int i = 0; i < 2; i++) {
            for (size_t bytes = 0; backend_aborts(&rig, contexts[i], bytes); bytes++) {
                n++;
            }
            n++;
        }
        if (round == 0) {
            before = held_now(&rig, n);
        }
    }
    check_flat(&rig, &before, n);
    assert_int_equal(counted(&rig, STATS_SIDE_BACKEND), n);
    rig_stop(&rig);
    SSL_CTX_free(contexts[0]);
    SSL_CTX_free(contexts[1]);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_that_break_off),
        cmocka_unit_test(backends_that_break_off),
    };
    return cmocka_run_group_tests(tests, make_certificate, remove_certificate);
}
