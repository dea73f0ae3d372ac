/*
 * Answers for what a received PROXY header says: version 1 (a line of text) and version 2 (binary, with
 * TLVs). Every byte is a peer's: lengths are checked before they are followed, and whatever the specification
 * does not allow makes the header bad. Pure; any thread. Writing is in proxy_protocol_write.c.
 */
#include "core/crc32c.h"
#include "core/proxy_protocol.h"
#include "core/proxy_protocol_internal.h"

#include <arpa/inet.h>
#include <string.h>

static enum proxy_protocol_result bad(const char **why, const char *text)
{
    *why = text;
    return PROXY_PROTOCOL_BAD;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- version 1 */

/* The next word up to a blank or the end, as text; false when it is empty or does not fit. */
static bool next_word(const char **at, const char *end, char *word, size_t size)
{
    const char *space = memchr(*at, ' ', (size_t)(end - *at));
    const char *stop = space != NULL ? space : end;
    size_t len = (size_t)(stop - *at);
    if (len == 0 || len >= size || memchr(*at, '\0', len) != NULL) {
        return false;
    }
    memcpy(word, *at, len);
    word[len] = '\0';
    *at = space != NULL ? space + 1 : end;
    return true;
}

/* Addresses as struct addr_ip keeps them: mapped ones as IPv4. */
static struct addr_ip from_bytes(unsigned family, const uint8_t *bytes, uint16_t port)
{
    struct addr addr = {.len = sizeof(addr.in)};
    struct addr_ip ip;
    if (family == 4) {
        addr.in.sin_family = AF_INET;
        addr.in.sin_port = htons(port);
        memcpy(&addr.in.sin_addr, bytes, sizeof(addr.in.sin_addr));
    } else {
        addr.len = sizeof(addr.in6);
        addr.in6.sin6_family = AF_INET6;
        addr.in6.sin6_port = htons(port);
        memcpy(&addr.in6.sin6_addr, bytes, sizeof(addr.in6.sin6_addr));
    }
    addr_ip_from(&addr, &ip);
    return ip;
}

/* Decimal, no sign, no zero in front. */
static bool read_port(const char *word, uint16_t *out)
{
    uint32_t value = 0;
    if (word[0] == '0' && word[1] != '\0') {
        return false;
    }
    for (; *word >= '0' && *word <= '9'; word++) {
        value = value * 10 + (uint32_t)(*word - '0');
    }
    *out = (uint16_t)value;
    return *word == '\0' && value <= UINT16_MAX;
}

/* "ADDRESS ADDRESS PORT PORT" and nothing behind. */
static bool read_line(unsigned family, const char *at, const char *end, struct proxy_protocol_header *out)
{
    char word[2][INET6_ADDRSTRLEN];
    char port_word[2][sizeof("65535")];
    uint8_t bytes[2][sizeof(struct in6_addr)];
    uint16_t port[2];
    if (end[-1] == ' ' || !next_word(&at, end, word[0], sizeof(word[0])) ||
        !next_word(&at, end, word[1], sizeof(word[1])) ||
        !next_word(&at, end, port_word[0], sizeof(port_word[0])) ||
        !next_word(&at, end, port_word[1], sizeof(port_word[1])) || at != end) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (inet_pton(family == 4 ? AF_INET : AF_INET6, word[i], bytes[i]) != 1 ||
            !read_port(port_word[i], &port[i])) {
            return false;
        }
    }
    out->source = from_bytes(family, bytes[0], port[0]);
    out->destination = from_bytes(family, bytes[1], port[1]);
    return true;
}

static enum proxy_protocol_result read_v1(const uint8_t *bytes, size_t len, struct proxy_protocol_header *out,
                                          const char **why)
{
    const char *line = (const char *)bytes;
    size_t seen = smaller(len, V1_MAX);
    const char *end = memmem(line, seen, "\r\n", 2);
    if (end == NULL) {
        return len < V1_MAX ? PROXY_PROTOCOL_MORE : bad(why, "a version 1 line without an end");
    }
    *out = (struct proxy_protocol_header){.version = 1, .length = (size_t)(end - line) + 2};
    const char *at = line + strlen(V1_BEGIN);
    char protocol[sizeof("UNKNOWN")];
    if (!next_word(&at, end, protocol, sizeof(protocol))) {
        return bad(why, "a version 1 line without a protocol");
    }
    if (strcmp(protocol, "UNKNOWN") == 0) {
        return PROXY_PROTOCOL_DONE; /* whatever follows is to be passed over */
    }
    bool tcp4 = strcmp(protocol, "TCP4") == 0;
    if (!tcp4 && strcmp(protocol, "TCP6") != 0) {
        return bad(why, "a version 1 line with an unknown protocol");
    }
    return read_line(tcp4 ? 4 : 6, at, end, out) ? PROXY_PROTOCOL_DONE
                                                 : bad(why, "a version 1 line with wrong addresses or ports");
}

/* ---- version 2 */

static uint16_t read_u16(const uint8_t *at)
{
    return (uint16_t)(((unsigned)at[0] << 8) | at[1]);
}

/* Whether the TLVs fill exactly what there is. */
static bool tlvs_fit(const uint8_t *at, size_t left)
{
    while (left > 0) {
        if (left < V2_TLV_BYTES || left - V2_TLV_BYTES < read_u16(at + 1)) {
            return false;
        }
        size_t step = V2_TLV_BYTES + read_u16(at + 1);
        at += step;
        left -= step;
    }
    return true;
}

/* The checksum is over the header with its own four bytes as 0. */
static bool checksum_is_right(const uint8_t *header, size_t length, size_t offset)
{
    uint8_t copy[PROXY_PROTOCOL_READ_MAX];
    const uint8_t *told = header + offset;
    memcpy(copy, header, length);
    memset(copy + offset, 0, CRC32C_BYTES);
    uint32_t want =
        ((uint32_t)told[0] << 24) | ((uint32_t)told[1] << 16) | ((uint32_t)told[2] << 8) | told[3];
    return crc32c(copy, length) == want;
}

/* One TLV whose len bytes at value are there. NULL, or what is wrong with it. */
static const char *take_tlv(const uint8_t *header, unsigned type, const uint8_t *value, size_t len,
                            struct proxy_protocol_header *out)
{
    const struct proxy_protocol_text text = {len > 0 ? value : NULL, len};
    switch (type) {
    case TLV_ALPN:
        out->alpn = text;
        break;
    case TLV_AUTHORITY:
        out->authority = text;
        break;
    case TLV_UNIQUE_ID:
        if (len > PROXY_PROTOCOL_UNIQUE_ID_MAX) {
            return "a unique id of more than 128 bytes";
        }
        out->unique_id = text;
        break;
    case TLV_CRC32C:
        if (len != CRC32C_BYTES || !checksum_is_right(header, out->length, (size_t)(value - header))) {
            return "a wrong checksum";
        }
        break;
    case TLV_SSL:
        if (len < TLV_SSL_FIXED_BYTES || !tlvs_fit(value + TLV_SSL_FIXED_BYTES, len - TLV_SSL_FIXED_BYTES)) {
            return "an SSL part that runs past its end";
        }
        out->ssl = text;
        break;
    default: /* others are somebody else's */
        break;
    }
    return NULL;
}

static enum proxy_protocol_result read_tlvs(const uint8_t *header, size_t begin,
                                            struct proxy_protocol_header *out, const char **why)
{
    if (!tlvs_fit(header + begin, out->length - begin)) {
        return bad(why, "a TLV that runs past the end");
    }
    for (size_t at = begin; at < out->length; at += V2_TLV_BYTES + read_u16(header + at + 1)) {
        const char *wrong =
            take_tlv(header, header[at], header + at + V2_TLV_BYTES, read_u16(header + at + 1), out);
        if (wrong != NULL) {
            return bad(why, wrong);
        }
    }
    return PROXY_PROTOCOL_DONE;
}

/* Bytes that the addresses of a family take; SIZE_MAX: no such family or transport. */
static size_t address_bytes(unsigned family)
{
    if ((family & 15u) > 2u) {
        return SIZE_MAX;
    }
    switch (family >> 4) {
    case 0:
        return 0;
    case 1:
        return V2_TCP4_BYTES;
    case 2:
        return V2_TCP6_BYTES;
    case 3:
        return V2_UNIX_BYTES;
    default:
        return SIZE_MAX;
    }
}

static void take_addresses(unsigned family, const uint8_t *at, struct proxy_protocol_header *out)
{
    if (family == V2_TCP4) {
        out->source = from_bytes(4, at, read_u16(at + 8));
        out->destination = from_bytes(4, at + 4, read_u16(at + 10));
    } else if (family == V2_TCP6) {
        out->source = from_bytes(6, at, read_u16(at + 32));
        out->destination = from_bytes(6, at + 16, read_u16(at + 34));
    }
}

static enum proxy_protocol_result read_v2(const uint8_t *bytes, size_t len, struct proxy_protocol_header *out,
                                          const char **why)
{
    if (len > V2_SIGNATURE_BYTES && bytes[12] != V2_LOCAL && bytes[12] != V2_PROXY) {
        return bad(why, "an unknown version or command");
    }
    if (len < V2_FIXED_BYTES) {
        return PROXY_PROTOCOL_MORE;
    }
    size_t length = V2_FIXED_BYTES + read_u16(bytes + 14);
    if (length > PROXY_PROTOCOL_READ_MAX) {
        return bad(why, "a header that is too long");
    }
    *out = (struct proxy_protocol_header){.version = 2, .local = bytes[12] == V2_LOCAL, .length = length};
    size_t addresses = address_bytes(bytes[13]);
    if (!out->local && addresses == SIZE_MAX) {
        return bad(why, "an unknown family or transport");
    }
    if (!out->local && V2_FIXED_BYTES + addresses > length) {
        return bad(why, "a header too short for its addresses");
    }
    if (len < length) {
        return PROXY_PROTOCOL_MORE;
    }
    if (out->local) {
        return PROXY_PROTOCOL_DONE;
    }
    take_addresses(bytes[13], bytes + V2_FIXED_BYTES, out);
    return read_tlvs(bytes, V2_FIXED_BYTES + addresses, out, why);
}

enum proxy_protocol_result proxy_protocol_read(const uint8_t *bytes, size_t len,
                                               struct proxy_protocol_header *out, const char **why)
{
    if (len == 0) {
        return PROXY_PROTOCOL_MORE;
    }
    if (memcmp(bytes, V1_BEGIN, smaller(len, strlen(V1_BEGIN))) == 0) {
        return len < strlen(V1_BEGIN) ? PROXY_PROTOCOL_MORE : read_v1(bytes, len, out, why);
    }
    if (memcmp(bytes, V2_SIGNATURE, smaller(len, V2_SIGNATURE_BYTES)) == 0) {
        return len < V2_SIGNATURE_BYTES ? PROXY_PROTOCOL_MORE : read_v2(bytes, len, out, why);
    }
    return PROXY_PROTOCOL_ABSENT;
}
