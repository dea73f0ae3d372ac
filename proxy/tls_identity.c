/* What TLS tells of a client: see proxy/tls_identity.h. On the connection's worker. */
#include "proxy/tls_identity.h"

#include "core/openssl.h"
#include "proxy/tls_stream.h"

#include <stdio.h>
#include <string.h>

/* The subject's common name as UTF-8. Empty when there is none, when it is too long, or when it holds a NUL:
 * what is cut could be taken for somebody else. */
static void read_common_name(const X509 *certificate, char *out, size_t size)
{
    unsigned char *text = NULL;
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    int len =
        at >= 0 ? ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))) : -1;
    out[0] = '\0';
    if (len > 0 && (size_t)len < size && memchr(text, '\0', (size_t)len) == NULL) {
        memcpy(out, text, (size_t)len);
        out[len] = '\0';
    }
    OPENSSL_free(text);
}

/* As the specification writes them: "SHA256", "RSA2048". */
static void read_algorithms(X509 *certificate, struct tls_identity *identity)
{
    int digest = NID_undef;
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    identity->signature_algorithm[0] = identity->key_algorithm[0] = '\0';
    if (X509_get_signature_info(certificate, &digest, NULL, NULL, NULL) == 1 && digest != NID_undef) {
        (void)snprintf(identity->signature_algorithm, sizeof(identity->signature_algorithm), "%s",
                       OBJ_nid2sn(digest));
    }
    if (key != NULL) {
        const char *kind =
            EVP_PKEY_get_base_id(key) == EVP_PKEY_EC ? "EC" : OBJ_nid2sn(EVP_PKEY_get_base_id(key));
        bool is_rsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
        (void)snprintf(identity->key_algorithm, sizeof(identity->key_algorithm), "%s%d",
                       is_rsa ? "RSA" : kind, EVP_PKEY_get_bits(key));
    }
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void fill_certificate(SSL *ssl, struct tls_identity *identity, struct proxy_protocol_tls *tls)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    tls->verify = 1; /* nothing was verified */
    if (certificate == NULL) {
        return;
    }
    read_common_name(certificate, identity->common_name, sizeof(identity->common_name));
    read_algorithms(certificate, identity);
    tls->certificate_session = true;
    tls->certificate_now = SSL_session_reused(ssl) == 0;
    tls->verify = SSL_get_verify_result(ssl) == X509_V_OK ? 0 : 1;
    tls->common_name = or_null(identity->common_name);
    tls->signature_algorithm = or_null(identity->signature_algorithm);
    tls->key_algorithm = or_null(identity->key_algorithm);
}

void tls_identity_fill(const struct stream *client, struct tls_identity *identity,
                       struct proxy_protocol_header *header)
{
    SSL *ssl = tls_stream_ssl(client);
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    const char *host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    header->tls = (struct proxy_protocol_tls){
        .present = true, .version = SSL_get_version(ssl), .cipher = SSL_get_cipher_name(ssl)};
    fill_certificate(ssl, identity, &header->tls);
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    header->alpn = (struct proxy_protocol_text){alpn, alpn_len};
    header->authority = (struct proxy_protocol_text){(const uint8_t *)host, host != NULL ? strlen(host) : 0};
}
