/*
 * Answers for what libssl's reasons for a failed handshake mean: which counter they belong to. Alerts of the
 * peer have reasons too (from 1000 on, RFC 8446 6); those that name a common cause are counted by it, the
 * rest as a refusal by the peer. Data only; any thread.
 */
#include "proxy/tls_failure.h"

#include "core/openssl.h"

#include <stddef.h>

static const struct {
    int reason;
    enum stats_tls_failure failure;
} table[] = {
    {SSL_R_HTTP_REQUEST, STATS_TLS_NOT_TLS},
    {SSL_R_HTTPS_PROXY_REQUEST, STATS_TLS_NOT_TLS},
    {SSL_R_WRONG_VERSION_NUMBER, STATS_TLS_NOT_TLS},
    {SSL_R_UNKNOWN_PROTOCOL, STATS_TLS_NOT_TLS},
    {SSL_R_BAD_RECORD_TYPE, STATS_TLS_NOT_TLS},
    {SSL_R_UNSUPPORTED_PROTOCOL, STATS_TLS_VERSION},
    {SSL_R_WRONG_SSL_VERSION, STATS_TLS_VERSION},
    {SSL_R_VERSION_TOO_LOW, STATS_TLS_VERSION},
    {SSL_R_VERSION_TOO_HIGH, STATS_TLS_VERSION},
    {SSL_R_BAD_PROTOCOL_VERSION_NUMBER, STATS_TLS_VERSION},
    {SSL_R_INAPPROPRIATE_FALLBACK, STATS_TLS_VERSION},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, STATS_TLS_VERSION},
    {SSL_R_NO_SHARED_CIPHER, STATS_TLS_CIPHER},
    {SSL_R_NO_CIPHERS_SPECIFIED, STATS_TLS_CIPHER},
    {SSL_R_NO_SHARED_GROUPS, STATS_TLS_CIPHER},
    {SSL_R_NO_SUITABLE_GROUPS, STATS_TLS_CIPHER},
    {SSL_R_NO_SUITABLE_KEY_SHARE, STATS_TLS_CIPHER},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, STATS_TLS_CIPHER},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, STATS_TLS_CIPHER},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, STATS_TLS_CIPHER},
    {SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY, STATS_TLS_CIPHER},
    {SSL_R_NO_APPLICATION_PROTOCOL, STATS_TLS_PROTOCOL},
    {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, STATS_TLS_PROTOCOL},
    {SSL_R_CALLBACK_FAILED, STATS_TLS_SERVER_NAME}, /* that of the ClientHello, in proxy/tls_front.c */
    {SSL_R_TLSV1_UNRECOGNIZED_NAME, STATS_TLS_SERVER_NAME},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, STATS_TLS_CERTIFICATE},
    {SSL_R_NO_CERTIFICATE_SET, STATS_TLS_CERTIFICATE},
    {SSL_R_CERTIFICATE_VERIFY_FAILED, STATS_TLS_CERTIFICATE},
};

enum stats_tls_failure tls_failure_of(int reason)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].reason == reason) {
            return table[i].failure;
        }
    }
    return reason >= SSL_AD_REASON_OFFSET ? STATS_TLS_REFUSED : STATS_TLS_OTHER;
}

bool tls_failure_is_refusal(int reason)
{
    static const unsigned char alerts[] = {
        SSL_AD_HANDSHAKE_FAILURE,       SSL_AD_BAD_CERTIFICATE,
        SSL_AD_UNSUPPORTED_CERTIFICATE, SSL_AD_CERTIFICATE_REVOKED,
        SSL_AD_CERTIFICATE_EXPIRED,     SSL_AD_CERTIFICATE_UNKNOWN,
        SSL_AD_ILLEGAL_PARAMETER,       SSL_AD_UNKNOWN_CA,
        SSL_AD_ACCESS_DENIED,           SSL_AD_DECRYPT_ERROR,
        SSL_AD_PROTOCOL_VERSION,        SSL_AD_INSUFFICIENT_SECURITY,
        SSL_AD_MISSING_EXTENSION,       SSL_AD_UNRECOGNIZED_NAME,
        SSL_AD_UNKNOWN_PSK_IDENTITY,    SSL_AD_CERTIFICATE_REQUIRED,
        SSL_AD_NO_APPLICATION_PROTOCOL,
    };
    for (size_t i = 0; i < sizeof(alerts); i++) {
        if (reason == SSL_AD_REASON_OFFSET + alerts[i]) {
            return true;
        }
    }
    return false;
}
