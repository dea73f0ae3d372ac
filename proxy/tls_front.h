/*
 * What a service shows to its clients by TLS: certificates by name, versions, ciphers, protocols. Made from
 * the configuration on the control thread, then immutable; workers read it without locks. Counted: each
 * connection holds one reference, the service another.
 */
#ifndef PROXY_TLS_FRONT_H
#define PROXY_TLS_FRONT_H

#include "core/config.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ssl_st;
struct tls_tickets;
struct tls_front;

/* Reads all files. tickets: borrowed, must outlive it; NULL: there are none. The caller has one reference.
 * ERR_INVALID says which file or setting is wrong, and why; ERR_NOMEM. Control thread. */
MUST_CHECK int tls_front_create(const struct config_service *config, struct tls_tickets *tickets,
                                struct tls_front **out, struct err_text *err);
/* Any thread. */
void tls_front_hold(struct tls_front *front);
/* Gives back a reference, the last one frees. As a destroy function: takes struct tls_front, NULL is allowed.
 * Any thread. */
void tls_front_drop(void *front);
/* What is shown to clients, in the order of the file: the certificate's file, its first name (empty: none),
 * when it ends in seconds since 1970. Texts are good as long as the front is. */
size_t tls_front_certificates(const struct tls_front *front);
void tls_front_describe(const struct tls_front *front, size_t index, const char **file, const char **name,
                        int64_t *end_s);
/* For one connection with a client. NULL without memory. Any thread that holds a reference. */
struct ssl_st *tls_front_accept(const struct tls_front *front);
/* The handshake is done: whether the client is who it should be, also where a session was taken up. If not,
 * *why says so (static storage). */
bool tls_front_is_verified(const struct ssl_st *ssl, const char **why);

#endif
