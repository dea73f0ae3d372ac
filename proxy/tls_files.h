/*
 * Certificates and keys as they lie in files (PEM), read whole and checked against each other. Control thread
 * (reads files).
 */
#ifndef PROXY_TLS_FILES_H
#define PROXY_TLS_FILES_H

#include "core/config.h"
#include "core/err.h"
#include "core/openssl.h"

struct tls_certificate {
    X509 *leaf;             /* owned, as are the next two */
    STACK_OF(X509) * chain; /* without leaf */
    EVP_PKEY *key;
};

/* Reads the certificate with its chain and its key. ERR_INVALID with the file's name and what is wrong with
 * it, ERR_NOMEM; then *out holds nothing. */
MUST_CHECK int tls_certificate_load(const struct config_certificate *config, struct tls_certificate *out,
                                    struct err_text *err);
void tls_certificate_clear(struct tls_certificate *certificate);
/* When it ends, in seconds since 1970; of all that is shown with it the earliest. */
int64_t tls_certificate_end_s(const struct tls_certificate *certificate);

/* The reason in libssl's queue, that of the system before others, or other; empties the queue. Static
 * storage. */
const char *tls_reason(const char *other);

#endif
