/*
 * What is known of a client from its TLS, in the words of a PROXY header. One thread: that of the connection.
 */
#ifndef PROXY_TLS_IDENTITY_H
#define PROXY_TLS_IDENTITY_H

#include "core/proxy_protocol.h"
#include "proxy/stream.h"

/* Where texts that libssl does not keep are put. */
struct tls_identity {
    char common_name[65]; /* RFC 5280, appendix A.1: 64 characters */
    char signature_algorithm[32], key_algorithm[32];
};

/* Fills header's tls, alpn and authority from the client's stream, which is an encrypted one. The texts are
 * good as long as identity and the stream are. */
void tls_identity_fill(const struct stream *client, struct tls_identity *identity,
                       struct proxy_protocol_header *header);

#endif
