/*
 * Every counter of the data path, declared once. A worker owns one instance of each struct per service and
 * per backend and is its only writer (stats_add: a relaxed load and store, no locked instruction); the
 * control thread reads and sums over the workers at any time. Counters only grow; gauges are differences of
 * counters or signed sums.
 */
#ifndef CORE_STATS_H
#define CORE_STATS_H

#include "core/histogram.h"

#include <stdatomic.h>
#include <stdint.h>

/* Why a connection ended: X(NAME, "name-on-the-wire", "what it means"). Exactly one for each accepted
 * connection. */
#define STATS_CLOSE_REASONS(X)                                                                               \
    X(CLIENT_CLOSED, "client-closed", "the client ended first and all was delivered")                        \
    X(BACKEND_CLOSED, "backend-closed", "the backend ended first and all was delivered")                     \
    X(CLIENT_RESET, "client-reset", "the client aborted")                                                    \
    X(BACKEND_RESET, "backend-reset", "the backend aborted")                                                 \
    X(CONNECT_REFUSED, "connect-refused", "every backend tried refused the connection")                      \
    X(CONNECT_TIMEOUT, "connect-timeout", "the last backend tried did not answer in time")                   \
    X(HANDSHAKE_FAILED, "handshake-failed", "a handshake did not succeed")                                   \
    X(IDLE, "idle", "no byte in either direction for the idle timeout, or a half-closed side overstayed")    \
    X(DRAINED, "drained", "closed at the end of a drain")                                                    \
    X(KILLED, "killed", "closed by an operator")                                                             \
    X(LIMIT, "limit", "refused by a limit")                                                                  \
    X(DENIED, "denied", "refused by the lists of addresses")                                                 \
    X(RATE_LIMITED, "rate-limited", "refused because too many came in a time")                               \
    X(FIRST_BYTE, "first-byte", "no byte from the client in time")                                           \
    X(PROXY_HEADER, "proxy-header", "no valid PROXY header in time, or from somebody who may not send one")  \
    X(CLIENT_HELLO, "client-hello", "no whole and valid TLS ClientHello in time")                            \
    X(SERVER_NAME, "server-name", "no route for the name that the client asked for, or it asked for none")   \
    X(ROUTED, "routed", "handed to another service by its name, which counts it from then on")               \
    X(NO_BACKEND, "no-backend", "no backend was usable")                                                     \
    X(QUEUE_FULL, "queue-full", "every backend had as many connections as it may, and so had the queue")     \
    X(QUEUE_TIMEOUT, "queue-timeout", "no backend had room in time")                                         \
    X(SHUTDOWN, "shutdown", "closed because the program stops")                                              \
    X(INTERNAL, "internal", "memory or descriptors ran out, or an own fault")

enum stats_close {
#define STATS_ENUM(name, text, help) STATS_CLOSE_##name,
    STATS_CLOSE_REASONS(STATS_ENUM)
#undef STATS_ENUM
        STATS_CLOSE_COUNT
};

/* What went wrong with one backend: X(NAME, "name", "what it means"). */
#define STATS_ERRORS(X)                                                                                      \
    X(CONNECT, "connect", "connection refused or unreachable")                                               \
    X(TIMEOUT, "timeout", "connection not established in time")                                              \
    X(RESET, "reset", "reset by the backend before its first byte")                                          \
    X(ABORT, "abort", "reset by the backend after its first byte")                                           \
    X(HANDSHAKE, "handshake", "handshake failed")

enum stats_error {
#define STATS_ENUM(name, text, help) STATS_ERROR_##name,
    STATS_ERRORS(STATS_ENUM)
#undef STATS_ENUM
        STATS_ERROR_COUNT
};

/* Why a TLS handshake came to nothing, with a client or with a backend: X(NAME, "name", "what it means"). */
#define STATS_TLS_FAILURES(X)                                                                                \
    X(TIMEOUT, "timeout", "not complete in time")                                                            \
    X(ABORTED, "aborted", "the peer ended or reset the connection")                                          \
    X(NOT_TLS, "not-tls", "the peer sent something else than TLS")                                           \
    X(VERSION, "version", "no version of TLS in common")                                                     \
    X(CIPHER, "cipher", "no cipher, group or signature in common")                                           \
    X(PROTOCOL, "protocol", "no application protocol (ALPN) in common")                                      \
    X(SERVER_NAME, "server-name", "no certificate for the name that was asked for")                          \
    X(CERTIFICATE, "certificate", "the peer showed no certificate, or one that is not believed")             \
    X(REFUSED, "refused", "the peer broke off with an alert; mostly it does not believe our certificate")    \
    X(LIMIT, "limit", "as many handshakes were under way as may be")                                         \
    X(OTHER, "other", "messages that make no sense, or no memory")

enum stats_tls_failure {
#define STATS_ENUM(name, text, help) STATS_TLS_##name,
    STATS_TLS_FAILURES(STATS_ENUM)
#undef STATS_ENUM
        STATS_TLS_COUNT
};

/* With whom a handshake is. */
enum stats_side { STATS_SIDE_CLIENT, STATS_SIDE_BACKEND, STATS_SIDES };

/* Counters of a service: X(name, "help"). */
#define STATS_SERVICE_COUNTERS(X)                                                                            \
    X(accepted, "connections accepted")                                                                      \
    X(refused, "connections turned away before they were served (limits)")                                   \
    X(retries, "connect attempts after a failed one")                                                        \
    X(spilled, "connections served by the other group because their own could not")                          \
    X(spliced_bytes, "bytes moved through pipes without copying")                                            \
    X(queued, "connections that had to wait for a backend with room")                                        \
    X(untracked, "connections of clients that the table of limits had no room for")                          \
    X(tls_handshakes, "TLS handshakes with clients that succeeded")                                          \
    X(tls_resumed, "of them, those that took up an earlier session")                                         \
    X(tls_backend_handshakes, "TLS handshakes with backends that succeeded")                                 \
    X(tls_backend_resumed, "of them, those that took up an earlier session")                                 \
    X(tls_truncated, "TLS streams that ended without saying so (close_notify), passed on as an abort")       \
    X(accept_pauses, "times that accepting paused because descriptors ran out")

/* Counters of a backend: X(name, "help"). */
#define STATS_BACKEND_COUNTERS(X)                                                                            \
    X(connections, "connections established")                                                                \
    X(bytes_in, "bytes from clients to the backend")                                                         \
    X(bytes_out, "bytes from the backend to clients")                                                        \
    X(turns, "request/response turns measured")

struct stats_service {
#define STATS_FIELD(name, help) _Atomic uint64_t name;
    STATS_SERVICE_COUNTERS(STATS_FIELD)
    _Atomic uint64_t closed[STATS_CLOSE_COUNT];
    _Atomic uint64_t tls_failed[STATS_SIDES][STATS_TLS_COUNT];
} __attribute__((aligned(64)));

struct stats_backend {
    STATS_BACKEND_COUNTERS(STATS_FIELD)
#undef STATS_FIELD
    _Atomic uint64_t errors[STATS_ERROR_COUNT];
    struct histogram connect_us;  /* connect(2) to established */
    struct histogram response_us; /* one sample a turn, see docs/architecture.md */
} __attribute__((aligned(64)));

/* Plain sums over the workers. */
struct stats_service_reading {
#define STATS_FIELD(name, help) uint64_t name;
    STATS_SERVICE_COUNTERS(STATS_FIELD)
    uint64_t closed[STATS_CLOSE_COUNT];
    uint64_t tls_failed[STATS_SIDES][STATS_TLS_COUNT];
};

struct stats_backend_reading {
    STATS_BACKEND_COUNTERS(STATS_FIELD)
#undef STATS_FIELD
    uint64_t errors[STATS_ERROR_COUNT];
    struct histogram_reading connect_us;
    struct histogram_reading response_us;
};

/* Adds to a counter that only the calling thread writes. */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

const char *stats_close_name(enum stats_close reason);
const char *stats_error_name(enum stats_error error);
const char *stats_tls_name(enum stats_tls_failure failure);
/* "client", "backend". */
const char *stats_side_name(enum stats_side side);

/* Add one worker's counters to a reading that began as all zero. Any thread. */
void stats_service_read_add(const struct stats_service *from, struct stats_service_reading *to);
void stats_backend_read_add(const struct stats_backend *from, struct stats_backend_reading *to);

/* Adds one reading to another. */
void stats_service_reading_add(const struct stats_service_reading *from, struct stats_service_reading *to);
void stats_backend_reading_add(const struct stats_backend_reading *from, struct stats_backend_reading *to);

#endif
