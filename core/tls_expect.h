/*
 * Whom a TLS client must find at the other end: the rule is one for connections to backends and for checks of
 * them, so that a check never trusts more than what it stands for. RFC 6125 6, RFC 6066 3. Any thread.
 */
#ifndef CORE_TLS_EXPECT_H
#define CORE_TLS_EXPECT_H

#include "core/addr.h"
#include "core/openssl.h"

#include <stdbool.h>

/* The certificate must be for name (asked for by it too, unless it is an address), or where name is NULL for
 * the address; at a Unix path any will do, since who may listen there is a matter of its permissions. False:
 * no memory. Whether it is verified at all is the context's business. */
bool tls_expect(SSL *ssl, const char *name, const struct addr *address);

#endif
