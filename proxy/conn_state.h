/*
 * The life of a connection as one table: states, allowed successors, the deadline of each state. Pure; any
 * thread.
 *
 *     ACCEPTED → [PROXY_HEADER] → [CLIENT_HELLO] → [CLIENT_TLS] → PICK
 *     PICK ⇄ CONNECTING → [BACKEND_TLS] → RELAY → HALF_CLOSED → CLOSED
 *      ⇅                                    └───────┴→ FLUSHING → CLOSED
 *     [QUEUED]
 *
 * A handshake with a backend that fails goes back to PICK.
 *
 * Every state may go to CLOSED.
 */
#ifndef PROXY_CONN_STATE_H
#define PROXY_CONN_STATE_H

#include <stdbool.h>

/* X(NAME, "name", successors without CLOSED, deadline) */
#define CONN_STATES(X)                                                                                       \
    X(ACCEPTED, "accepted",                                                                                  \
      CONN_BIT(PROXY_HEADER) | CONN_BIT(CLIENT_HELLO) | CONN_BIT(CLIENT_TLS) | CONN_BIT(PICK), NONE)         \
    X(PROXY_HEADER, "proxy-header", CONN_BIT(CLIENT_HELLO) | CONN_BIT(CLIENT_TLS) | CONN_BIT(PICK),          \
      PROXY_HEADER)                                                                                          \
    X(CLIENT_HELLO, "client-hello", CONN_BIT(CLIENT_TLS) | CONN_BIT(PICK), CLIENT_HELLO)                     \
    X(CLIENT_TLS, "client-tls", CONN_BIT(PICK), HANDSHAKE)                                                   \
    X(PICK, "pick", CONN_BIT(CONNECTING) | CONN_BIT(BACKEND_TLS) | CONN_BIT(RELAY) | CONN_BIT(QUEUED), NONE) \
    X(QUEUED, "queued", CONN_BIT(PICK), QUEUE)                                                               \
    X(CONNECTING, "connecting", CONN_BIT(PICK) | CONN_BIT(BACKEND_TLS) | CONN_BIT(RELAY), CONNECT)           \
    X(BACKEND_TLS, "backend-tls", CONN_BIT(PICK) | CONN_BIT(RELAY), CONNECT)                                 \
    X(RELAY, "relay", CONN_BIT(HALF_CLOSED) | CONN_BIT(FLUSHING), IDLE)                                      \
    X(HALF_CLOSED, "half-closed", CONN_BIT(FLUSHING), HALF_CLOSE)                                            \
    X(FLUSHING, "flushing", 0u, HALF_CLOSE)                                                                  \
    X(CLOSED, "closed", 0u, NONE)

enum conn_state {
#define CONN_ENUM(name, text, successors, deadline) CONN_##name,
    CONN_STATES(CONN_ENUM)
#undef CONN_ENUM
        CONN_STATE_COUNT
};

/* Which of a service's timeouts bounds the stay in a state. */
enum conn_deadline {
    CONN_DEADLINE_NONE,
    CONN_DEADLINE_PROXY_HEADER,
    CONN_DEADLINE_CLIENT_HELLO,
    CONN_DEADLINE_HANDSHAKE, /* with the client */
    CONN_DEADLINE_QUEUE,     /* only how often is looked; how long it may wait its group says */
    CONN_DEADLINE_CONNECT,
    CONN_DEADLINE_IDLE,
    CONN_DEADLINE_HALF_CLOSE,
    CONN_DEADLINE_FIRST_BYTE, /* of no state: runs beside those from RELAY on */
    CONN_DEADLINE_COUNT
};

const char *conn_state_name(enum conn_state state);
bool conn_state_may_follow(enum conn_state from, enum conn_state to);
enum conn_deadline conn_state_deadline(enum conn_state state);

#endif
