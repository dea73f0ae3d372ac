/* TLS for probes: see health/secure_internal.h. Control thread. */
#include "health/secure_internal.h"

#include "core/clock.h"
#include "core/openssl.h"
#include "core/tls_expect.h"
#include "core/tls_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECONDS_A_DAY 86400

static int complain(struct err_text *err, const char *file)
{
    return err_set(err, ERR_INVALID, "certificates of \"%s\" cannot be used: %s", file,
                   tls_reason("no such file, or not PEM"));
}

static int set_trust(SSL_CTX *context, const struct check_tls *tls, struct err_text *err)
{
    SSL_CTX_set_verify(context, tls->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (tls->ca != NULL ? SSL_CTX_load_verify_file(context, tls->ca) != 1
                        : SSL_CTX_set_default_verify_paths(context) != 1) {
        return complain(err, tls->ca != NULL ? tls->ca : "the system");
    }
    return tls->crl == NULL || tls_add_revocations(context, tls->crl) ? 0 : complain(err, tls->crl);
}

/* What is shown to backends that ask. */
static int set_certificate(SSL_CTX *context, const struct check_tls *tls, struct err_text *err)
{
    struct tls_certificate own;
    if (tls->own == NULL) {
        return 0;
    }
    int rc = tls_certificate_load(tls->own, &own, err);
    if (rc == 0 && SSL_CTX_use_cert_and_key(context, own.leaf, own.key, own.chain, 1) != 1) {
        rc = complain(err, tls->own->certificate);
    }
    tls_certificate_clear(&own);
    return rc;
}

static int set_offer(SSL_CTX *context, const struct check_tls *tls, struct err_text *err)
{
    unsigned char *alpn = NULL;
    unsigned len = 0;
    bool newest = tls->of_group && tls->min_version == CONFIG_TLS_1_3;
    bool good = SSL_CTX_set_min_proto_version(context, newest ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
                tls_alpn_make(tls->alpn, tls->alpn_len, &alpn, &len) == 0 &&
                (alpn == NULL || SSL_CTX_set_alpn_protos(context, alpn, len) == 0);
    free(alpn);
    return good ? 0 : err_set(err, ERR_NOMEM, "no memory for TLS");
}

int secure_context_create(const struct check_tls *tls, SSL_CTX **out, struct err_text *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for TLS");
    }
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* A probe must see a whole handshake, certificate and all. */
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    int rc = set_trust(context, tls, err);
    rc = rc == 0 ? set_certificate(context, tls, err) : rc;
    rc = rc == 0 ? set_offer(context, tls, err) : rc;
    ERR_clear_error();
    if (rc != 0) {
        SSL_CTX_free(context);
        return rc;
    }
    *out = context;
    return 0;
}

SSL *secure_create(SSL_CTX *context, const char *name, const struct addr *address, int fd)
{
    SSL *ssl = SSL_new(context);
    if (ssl == NULL) {
        return NULL;
    }
    if (SSL_set_fd(ssl, fd) != 1 || !tls_expect(ssl, name, address)) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return ssl;
}

static enum secure_rc outcome(const SSL *ssl, int rc)
{
    switch (SSL_get_error(ssl, rc)) {
    case SSL_ERROR_NONE:
        return SECURE_DONE;
    case SSL_ERROR_WANT_READ:
        return SECURE_READ;
    case SSL_ERROR_WANT_WRITE:
        return SECURE_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return SECURE_END;
    default:
        return SECURE_FAILED;
    }
}

enum secure_rc secure_handshake(SSL *ssl)
{
    ERR_clear_error();
    return outcome(ssl, SSL_do_handshake(ssl));
}

enum secure_rc secure_read(SSL *ssl, void *out, size_t size, size_t *n)
{
    ERR_clear_error();
    return outcome(ssl, SSL_read_ex(ssl, out, size, n));
}

enum secure_rc secure_write(SSL *ssl, const void *data, size_t len, size_t *n)
{
    ERR_clear_error();
    return outcome(ssl, SSL_write_ex(ssl, data, len, n));
}

void secure_describe_failure(const SSL *ssl, char *out, size_t out_size)
{
    unsigned long code = ERR_peek_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    long verify = SSL_get_verify_result(ssl);
    if (verify != X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE) {
        (void)snprintf(out, out_size, "TLS: certificate: %s", X509_verify_cert_error_string(verify));
    } else {
        (void)snprintf(out, out_size, "TLS: %s", why != NULL ? why : "connection closed in the handshake");
    }
    ERR_clear_error();
}

bool secure_certificate_left(const SSL *ssl, uint64_t wall_us, int64_t *left_s)
{
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    ASN1_TIME *present = ASN1_TIME_set(NULL, (time_t)(wall_us / CLOCK_US_PER_S));
    int days = 0;
    int seconds = 0;
    bool known = certificate != NULL && present != NULL &&
                 ASN1_TIME_diff(&days, &seconds, present, X509_get0_notAfter(certificate)) == 1;
    ASN1_TIME_free(present);
    *left_s = (int64_t)days * SECONDS_A_DAY + seconds;
    return known;
}

bool secure_describe(const SSL *ssl, const struct config_health *config, uint64_t wall_us, char *out,
                     size_t out_size)
{
    int64_t left = 0;
    bool known = secure_certificate_left(ssl, wall_us, &left);
    bool warning = known && left * (int64_t)CLOCK_US_PER_S < (int64_t)config->tls.expiry_warning_us;
    int days = (int)(left / SECONDS_A_DAY);
    if (!known) {
        (void)snprintf(out, out_size, "%s", SSL_get_version(ssl));
    } else if (left < 0) {
        warning = true;
        (void)snprintf(out, out_size, "%s, warning: certificate expired %dd ago", SSL_get_version(ssl),
                       -days);
    } else {
        (void)snprintf(out, out_size, "%s, %s %dd", SSL_get_version(ssl),
                       warning ? "warning: certificate expires in" : "certificate valid", days);
    }
    return warning;
}
