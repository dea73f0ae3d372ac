/*
 * Says to OpenSSL for which name or address a certificate must be: wildcards for whole labels only, and an
 * address in place of a name is compared as an address. Any thread; verifying is OpenSSL's.
 */
#include "core/tls_expect.h"

#include <stdint.h>

static bool expect_address(SSL *ssl, const struct addr *address)
{
    X509_VERIFY_PARAM *verify = SSL_get0_param(ssl);
    if (address->sa.sa_family == AF_INET) {
        return X509_VERIFY_PARAM_set1_ip(verify, (const unsigned char *)&address->in.sin_addr, 4) == 1;
    }
    if (address->sa.sa_family == AF_INET6) {
        return X509_VERIFY_PARAM_set1_ip(verify, (const unsigned char *)&address->in6.sin6_addr, 16) == 1;
    }
    return true;
}

static bool expect_name(SSL *ssl, const char *name)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1) {
        return true; /* an address: nothing that could be asked for (RFC 6066 3) */
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    /* What the macro SSL_set_tlsext_host_name does; it takes const away in a way that warns. */
    return SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, (void *)(uintptr_t)name) ==
               1 &&
           SSL_set1_host(ssl, name) == 1;
}

bool tls_expect(SSL *ssl, const char *name, const struct addr *address)
{
    return name != NULL ? expect_name(ssl, name) : expect_address(ssl, address);
}
