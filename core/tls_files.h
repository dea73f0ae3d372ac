/*
 * Certificates and keys as they lie in files (PEM), read whole and checked against each other. Control thread
 * (reads files).
 */
#ifndef CORE_TLS_FILES_H
#define CORE_TLS_FILES_H

#include "core/config.h"
#include "core/err.h"
#include "core/openssl.h"

#include <stdbool.h>

struct tls_certificate {
    X509 *leaf;             /* owned, as are the next two */
    STACK_OF(X509) * chain; /* without leaf */
    EVP_PKEY *key;
    unsigned char *staple; /* an OCSP response, DER; NULL: none */
    int staple_len;
    int64_t staple_end_s; /* it is good until then, seconds since 1970 */
};

/* Reads the certificate with its chain and its key. ERR_INVALID with the file's name and what is wrong with
 * it, ERR_NOMEM; then *out holds nothing. */
MUST_CHECK int tls_certificate_load(const struct config_certificate *config, struct tls_certificate *out,
                                    struct err_text *err);
void tls_certificate_clear(struct tls_certificate *certificate);
/* When it ends, in seconds since 1970; of all that is shown with it the earliest. */
int64_t tls_certificate_end_s(const struct tls_certificate *certificate);

/* A list of protocols as ALPN has it on the wire (RFC 7301 3.1); *out is owned by the caller, NULL for an
 * empty list. ERR_NOMEM. */
MUST_CHECK int tls_alpn_make(char *const *names, size_t names_len, unsigned char **out, unsigned *out_len);
/* From now on the context's certificates, all of a chain, are looked for in the lists of the file, which must
 * have one of each authority in it. False: see tls_reason. */
bool tls_add_revocations(SSL_CTX *context, const char *path);

/* Adds the bytes of a file to a digest. False when it cannot be read. */
bool tls_digest_file(EVP_MD_CTX *digest, const char *path);

/* The reason in libssl's queue, that of the system before others, or other; empties the queue. Static
 * storage. */
const char *tls_reason(const char *other);

#endif
