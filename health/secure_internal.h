/*
 * TLS over a probe's non-blocking socket: contexts from settings, handshake, reading and writing, what to say
 * of the certificate. Control thread.
 */
#ifndef HEALTH_SECURE_INTERNAL_H
#define HEALTH_SECURE_INTERNAL_H

#include "core/addr.h"
#include "core/config.h"
#include "core/err.h"
#include "core/openssl.h"
#include "health/check_tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* READ, WRITE: go on when the socket is readable, writable. END: the peer ended in order. */
enum secure_rc { SECURE_DONE, SECURE_READ, SECURE_WRITE, SECURE_END, SECURE_FAILED };

/* For a group's checks. Reads the files. ERR_INVALID (certificates that cannot be used), ERR_NOMEM. */
MUST_CHECK int secure_context_create(const struct check_tls *tls, SSL_CTX **out, struct err_text *err);

/* A client on a connected socket, which stays the caller's. name: what is asked for and verified; NULL: the
 * certificate must be for the address. NULL without memory. */
SSL *secure_create(SSL_CTX *context, const char *name, const struct addr *address, int fd);

enum secure_rc secure_handshake(SSL *ssl);
/* *n is set with DONE. */
enum secure_rc secure_read(SSL *ssl, void *out, size_t size, size_t *n);
enum secure_rc secure_write(SSL *ssl, const void *data, size_t len, size_t *n);

/* What FAILED meant: "certificate verify failed: unable to get local issuer certificate". Empties OpenSSL's
 * list of errors. */
void secure_describe_failure(const SSL *ssl, char *out, size_t out_size);
/* Seconds from wall_us until the server's certificate ends, below 0 when it has; false: not known. */
bool secure_certificate_left(const SSL *ssl, uint64_t wall_us, int64_t *left_s);
/* After the handshake: "TLSv1.3, certificate valid 61d". True when it ends within the time set or has ended,
 * which the text then says. */
bool secure_describe(const SSL *ssl, const struct config_health *config, uint64_t wall_us, char *out,
                     size_t out_size);

#endif
