/*
 * How connections to the backends of a group speak TLS: whom they believe, what they show, and the sessions
 * that can be taken up again. Made from the configuration on the control thread; workers read it without
 * locks, and each keeps sessions of its own in it. Counted, as proxy/tls_front.h is.
 *
 * A session is kept with what it was verified for: this very configuration (a reload makes another object),
 * the backend's address and the name asked for. It is taken up for nothing else.
 */
#ifndef PROXY_TLS_BACK_H
#define PROXY_TLS_BACK_H

#include "core/addr.h"
#include "core/config.h"
#include "core/err.h"

#include <stdbool.h>

struct ssl_st;
struct tls_back;
struct tls_call;

/* Reads all files. workers: how many will use it. ERR_INVALID says which file or setting is wrong, ERR_NOMEM.
 * Control thread. */
MUST_CHECK int tls_back_create(const char *service, const struct config_group *config, unsigned workers,
                               struct tls_back **out, struct err_text *err);
void tls_back_hold(struct tls_back *back);
/* Takes struct tls_back; NULL is allowed. Any thread. */
void tls_back_drop(void *back);

/* One connection to a backend, on a worker. */
struct tls_call_spec {
    unsigned worker;
    const char *backend;         /* its name, which says what host it is */
    const struct addr *address;  /* copied */
    const unsigned char *client; /* the protocol that was agreed on with the client; NULL: none */
    unsigned client_len;
};

/* The connection's SSL, and *out, which holds a reference until tls_call_drop. NULL without memory. */
struct ssl_st *tls_back_connect(struct tls_back *back, const struct tls_call_spec *spec,
                                struct tls_call **out);
/* Takes struct tls_call. */
void tls_call_drop(void *call);
/* The handshake is done: whether the backend is who it should be, also where a session was taken up. If not,
 * *why says so (static storage), and its session is forgotten. */
bool tls_call_is_verified(struct tls_call *call, const struct ssl_st *ssl, const char **why);
/* The handshake failed: a session that was offered is not offered again. */
void tls_call_forget(struct tls_call *call);

#endif
