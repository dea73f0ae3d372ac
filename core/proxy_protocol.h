/*
 * The PROXY protocol, versions 1 and 2 (HAProxy, "The PROXY protocol", doc/proxy-protocol.txt, sections 2.1
 * and 2.2): a header ahead of a connection that tells whom it is for. Reading and writing of bytes in memory.
 * Pure; any thread. When one is expected and who may send it is proxy/arrival.c's business.
 */
#ifndef CORE_PROXY_PROTOCOL_H
#define CORE_PROXY_PROTOCOL_H

#include "core/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROXY_PROTOCOL_READ_MAX 4096u  /* a longer header is refused, TLVs and all */
#define PROXY_PROTOCOL_WRITE_MAX 2048u /* enough for any header that is written */
#define PROXY_PROTOCOL_TEXT_MAX 255u   /* of one text that is written; what is longer is left out */
#define PROXY_PROTOCOL_UNIQUE_ID_MAX 128u

/* Bytes of somebody else's; data is NULL when there are none. */
struct proxy_protocol_text {
    const uint8_t *data;
    size_t len;
};

/* What is known of the client's TLS; texts may be NULL. */
struct proxy_protocol_tls {
    bool present;
    bool certificate_now;     /* the client gave a certificate on this connection */
    bool certificate_session; /* it gave one on this TLS session, perhaps on an earlier connection */
    uint32_t verify;          /* 0: it gave one and it was verified */
    const char *version;      /* "TLSv1.3" */
    const char *common_name;  /* of the client's certificate */
    const char *cipher, *signature_algorithm, *key_algorithm;
};

struct proxy_protocol_header {
    unsigned version; /* 1 or 2 */
    bool local;       /* nobody's connection but the sender's own: a check */
    /* family 0: not said, the addresses of the connection itself count */
    struct addr_ip source, destination;
    struct proxy_protocol_text alpn, authority, unique_id;
    struct proxy_protocol_text ssl; /* the value of the SSL TLV as received */
    struct proxy_protocol_tls tls;  /* writing: goes before ssl. Never set by reading */
    size_t length;                  /* reading: bytes of the whole header */
};

enum proxy_protocol_result {
    PROXY_PROTOCOL_DONE,
    PROXY_PROTOCOL_MORE,   /* could become a header */
    PROXY_PROTOCOL_ABSENT, /* this is no header and will never be one */
    PROXY_PROTOCOL_BAD     /* begins as a header and is broken */
};

/*
 * Looks for a header at the beginning of what was received so far; can be asked again with more of the same.
 * DONE fills *out, whose texts point into bytes; what follows at bytes + length is the payload. BAD sets *why
 * (static words). An unspecified family gives family 0; of a local header everything else is passed over, as
 * the specification asks. A checksum that is there must be right.
 */
enum proxy_protocol_result proxy_protocol_read(const uint8_t *bytes, size_t len,
                                               struct proxy_protocol_header *out, const char **why);

/* What goes into a header of version 2 besides the addresses. */
enum proxy_protocol_tlv {
    PROXY_PROTOCOL_ALPN = 1,
    PROXY_PROTOCOL_AUTHORITY = 2,
    PROXY_PROTOCOL_UNIQUE_ID = 4,
    PROXY_PROTOCOL_SSL = 8,
    PROXY_PROTOCOL_CRC32C = 16
};

/*
 * Writes a header of header->version. tlvs: bits of enum proxy_protocol_tlv; each is written where the header
 * has something to tell. Addresses of two families are both written as IPv6 (IPv4-mapped, RFC 4291 2.5.5.2);
 * without a source it is UNKNOWN (version 1) or unspecified (version 2). Returns the length, at most
 * PROXY_PROTOCOL_WRITE_MAX, which is what out must have room for.
 */
size_t proxy_protocol_write(const struct proxy_protocol_header *header, unsigned tlvs, uint8_t *out);

#endif
