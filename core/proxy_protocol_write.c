/*
 * Answers for the bytes of a PROXY header that we send ahead of a connection: version 1 as a line, version 2
 * with its TLVs, SSL part and checksum among them. Pure; any thread. Reading is in proxy_protocol_read.c.
 */
#include "core/crc32c.h"
#include "core/proxy_protocol.h"
#include "core/proxy_protocol_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct writer {
    uint8_t *out;
    size_t len;
};

static void put(struct writer *writer, const void *data, size_t len)
{
    memcpy(writer->out + writer->len, data, len);
    writer->len += len;
}

static void put_u8(struct writer *writer, unsigned value)
{
    writer->out[writer->len++] = (uint8_t)value;
}

static void put_u16(struct writer *writer, unsigned value)
{
    put_u8(writer, value >> 8);
    put_u8(writer, value & 0xffu);
}

static void put_u32(struct writer *writer, uint32_t value)
{
    put_u16(writer, value >> 16);
    put_u16(writer, value & 0xffffu);
}

static void fill_u16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put_tlv(struct writer *writer, unsigned type, const void *data, size_t len)
{
    if (data != NULL && len > 0 && len <= PROXY_PROTOCOL_TEXT_MAX) {
        put_u8(writer, type);
        put_u16(writer, (unsigned)len);
        put(writer, data, len);
    }
}

static void put_tlv_text(struct writer *writer, unsigned type, const char *text)
{
    put_tlv(writer, type, text, text != NULL ? strlen(text) : 0);
}

static void put_tls(struct writer *writer, const struct proxy_protocol_tls *tls)
{
    size_t begin = writer->len;
    put_u8(writer, TLV_SSL);
    put_u16(writer, 0);
    put_u8(writer, CLIENT_SSL | (tls->certificate_now ? CLIENT_CERT_CONN : 0u) |
                       (tls->certificate_session ? CLIENT_CERT_SESS : 0u));
    put_u32(writer, tls->verify);
    put_tlv_text(writer, TLV_SSL_VERSION, tls->version);
    put_tlv_text(writer, TLV_SSL_CN, tls->common_name);
    put_tlv_text(writer, TLV_SSL_CIPHER, tls->cipher);
    put_tlv_text(writer, TLV_SSL_SIG_ALG, tls->signature_algorithm);
    put_tlv_text(writer, TLV_SSL_KEY_ALG, tls->key_algorithm);
    fill_u16(writer->out + begin + 1, writer->len - begin - V2_TLV_BYTES);
}

/* The address as sixteen bytes, an IPv4 one mapped. */
static void widen(const struct addr_ip *ip, uint8_t out[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (ip->family == 6) {
        memcpy(out, ip->bytes, 16);
        return;
    }
    memcpy(out, mapped, sizeof(mapped));
    memcpy(out + sizeof(mapped), ip->bytes, 4);
}

/* 4 or 6, by which both ends can be written; 0: they cannot. */
static unsigned common_family(const struct proxy_protocol_header *header)
{
    if (header->local || header->source.family == 0 || header->destination.family == 0) {
        return 0;
    }
    return header->source.family == 4 && header->destination.family == 4 ? 4 : 6;
}

static size_t write_v1(const struct proxy_protocol_header *header, uint8_t *out)
{
    char text[2][INET6_ADDRSTRLEN];
    uint8_t wide[16];
    const struct addr_ip *const ends[2] = {&header->source, &header->destination};
    unsigned family = common_family(header);
    if (family == 0) {
        static const char unknown[] = "PROXY UNKNOWN\r\n";
        memcpy(out, unknown, sizeof(unknown) - 1);
        return sizeof(unknown) - 1;
    }
    for (int i = 0; i < 2; i++) {
        widen(ends[i], wide);
        (void)inet_ntop(family == 4 ? AF_INET : AF_INET6, family == 4 ? ends[i]->bytes : wide, text[i],
                        sizeof(text[i]));
    }
    int n = snprintf((char *)out, PROXY_PROTOCOL_WRITE_MAX, "PROXY TCP%u %s %s %u %u\r\n", family, text[0],
                     text[1], ends[0]->port, ends[1]->port);
    return n > 0 ? (size_t)n : 0;
}

static void put_addresses(struct writer *writer, const struct proxy_protocol_header *header, unsigned family)
{
    uint8_t wide[16];
    if (family == 0) {
        return;
    }
    if (family == 4) {
        put(writer, header->source.bytes, 4);
        put(writer, header->destination.bytes, 4);
    } else {
        widen(&header->source, wide);
        put(writer, wide, sizeof(wide));
        widen(&header->destination, wide);
        put(writer, wide, sizeof(wide));
    }
    put_u16(writer, header->source.port);
    put_u16(writer, header->destination.port);
}

static void put_ssl(struct writer *writer, const struct proxy_protocol_header *header)
{
    if (header->tls.present) {
        put_tls(writer, &header->tls);
    } else {
        put_tlv(writer, TLV_SSL, header->ssl.data, header->ssl.len);
    }
}

static size_t write_v2(const struct proxy_protocol_header *header, unsigned tlvs, uint8_t *out)
{
    struct writer writer = {.out = out};
    unsigned family = common_family(header);
    put(&writer, V2_SIGNATURE, V2_SIGNATURE_BYTES);
    put_u8(&writer, header->local ? V2_LOCAL : V2_PROXY);
    put_u8(&writer, family == 0 ? V2_UNSPECIFIED : family == 4 ? V2_TCP4 : V2_TCP6);
    put_u16(&writer, 0);
    put_addresses(&writer, header, family);
    if (tlvs & PROXY_PROTOCOL_ALPN) {
        put_tlv(&writer, TLV_ALPN, header->alpn.data, header->alpn.len);
    }
    if (tlvs & PROXY_PROTOCOL_AUTHORITY) {
        put_tlv(&writer, TLV_AUTHORITY, header->authority.data, header->authority.len);
    }
    if ((tlvs & PROXY_PROTOCOL_UNIQUE_ID) && header->unique_id.len <= PROXY_PROTOCOL_UNIQUE_ID_MAX) {
        put_tlv(&writer, TLV_UNIQUE_ID, header->unique_id.data, header->unique_id.len);
    }
    if (tlvs & PROXY_PROTOCOL_SSL) {
        put_ssl(&writer, header);
    }
    size_t checksum = 0;
    if (tlvs & PROXY_PROTOCOL_CRC32C) {
        static const uint8_t zeros[CRC32C_BYTES];
        checksum = writer.len + V2_TLV_BYTES;
        put_tlv(&writer, TLV_CRC32C, zeros, sizeof(zeros));
    }
    fill_u16(out + V2_FIXED_BYTES - 2, writer.len - V2_FIXED_BYTES);
    if (checksum != 0) {
        struct writer last = {.out = out, .len = checksum};
        put_u32(&last, crc32c(out, writer.len));
    }
    return writer.len;
}

size_t proxy_protocol_write(const struct proxy_protocol_header *header, unsigned tlvs, uint8_t *out)
{
    return header->version == 1 ? write_v1(header, out) : write_v2(header, tlvs, out);
}
