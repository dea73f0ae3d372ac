/* PROXY headers: whole ones, every beginning of each, every byte of each replaced, and what must be refused.
 */
#include "core/crc32c.h"
#include "core/proxy_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(text) ((const uint8_t *)(text)), (sizeof(text) - 1)

/* A copy of exactly len bytes, so that a look past the end is seen under AddressSanitizer. */
static enum proxy_protocol_result read_exactly(const uint8_t *bytes, size_t len,
                                               struct proxy_protocol_header *out)
{
    const char *why = NULL;
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    enum proxy_protocol_result result = proxy_protocol_read(copy, len, out, &why);
    assert_true((result == PROXY_PROTOCOL_BAD) == (why != NULL));
    free(copy);
    return result;
}

static void assert_ip(const struct addr_ip *ip, const char *text)
{
    char actual[ADDR_TEXT_MAX];
    addr_ip_format(ip, actual, sizeof(actual));
    assert_string_equal(actual, text);
}

static struct addr_ip ip_of(const char *text)
{
    struct addr addr;
    struct addr_ip ip;
    assert_int_equal(addr_parse(text, NULL, &addr, NULL), 0);
    addr_ip_from(&addr, &ip);
    return ip;
}

/* Text without its NUL. */
static void put(uint8_t *at, const char *text, size_t len)
{
    memcpy(at, text, len);
}

/* A header of version 2 by hand: everything behind the signature and the length. */
static size_t build(uint8_t *out, unsigned command, unsigned family, const void *body, size_t body_len)
{
    put(out, SIGNATURE, 12);
    out[12] = (uint8_t)command;
    out[13] = (uint8_t)family;
    out[14] = (uint8_t)(body_len >> 8);
    out[15] = (uint8_t)body_len;
    memcpy(out + 16, body, body_len);
    return 16 + body_len;
}

static const uint8_t tcp4[] = {192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb};

static void test_crc32c_of_the_rfc(void **state)
{
    (void)state;
    uint8_t bytes[32];
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x62a8ab43);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x46dd794e);
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
}

static void test_version_1(void **state)
{
    (void)state;
    struct proxy_protocol_header header;
    assert_int_equal(read_exactly(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nGET"), &header),
                     PROXY_PROTOCOL_DONE);
    assert_int_equal(header.version, 1);
    assert_int_equal(header.length, strlen("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n"));
    assert_false(header.local);
    assert_ip(&header.source, "192.0.2.1:12345");
    assert_ip(&header.destination, "198.51.100.2:443");
    assert_int_equal(read_exactly(BYTES("PROXY TCP6 2001:db8::1 ::ffff:192.0.2.9 0 65535\r\n"), &header),
                     PROXY_PROTOCOL_DONE);
    assert_ip(&header.source, "[2001:db8::1]:0");
    assert_ip(&header.destination, "192.0.2.9:65535");
    assert_int_equal(read_exactly(BYTES("PROXY UNKNOWN\r\n"), &header), PROXY_PROTOCOL_DONE);
    assert_int_equal(header.source.family, 0);
    assert_int_equal(read_exactly(BYTES("PROXY UNKNOWN what ever \xff\r\n"), &header), PROXY_PROTOCOL_DONE);
    assert_int_equal(header.source.family, 0);
}

static void test_version_1_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "PROXY \r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 99999999999\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 0x1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 2001:db8:::1 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n",
    };
    struct proxy_protocol_header header;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (read_exactly((const uint8_t *)lines[i], strlen(lines[i]), &header) != PROXY_PROTOCOL_BAD) {
            fail_msg("accepted: %s", lines[i]);
        }
    }
    assert_int_equal(read_exactly(BYTES("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n"), &header),
                     PROXY_PROTOCOL_BAD);
}

/* The longest line of the specification is 107 characters with its end; what is longer never ends. */
static void test_version_1_length(void **state)
{
    (void)state;
    struct proxy_protocol_header header;
    uint8_t line[200];
    memset(line, 'x', sizeof(line));
    put(line, "PROXY UNKNOWN ", 14);
    put(line + 105, "\r\n", 2);
    assert_int_equal(read_exactly(line, 107, &header), PROXY_PROTOCOL_DONE);
    assert_int_equal(header.length, 107);
    put(line + 105, "xx", 2);
    assert_int_equal(read_exactly(line, 106, &header), PROXY_PROTOCOL_MORE);
    assert_int_equal(read_exactly(line, 107, &header), PROXY_PROTOCOL_BAD);
    put(line + 106, "\r\n", 2);
    assert_int_equal(read_exactly(line, 108, &header), PROXY_PROTOCOL_BAD);
}

static void test_absent(void **state)
{
    (void)state;
    struct proxy_protocol_header header;
    assert_int_equal(read_exactly(BYTES("GET / HTTP/1.1\r\n"), &header), PROXY_PROTOCOL_ABSENT);
    assert_int_equal(read_exactly(BYTES("PROXZ"), &header), PROXY_PROTOCOL_ABSENT);
    assert_int_equal(read_exactly(BYTES("PROXY\r\n"), &header), PROXY_PROTOCOL_ABSENT);
    assert_int_equal(read_exactly(BYTES("\r\n\r\n\r"), &header), PROXY_PROTOCOL_ABSENT);
    assert_int_equal(read_exactly(BYTES("\r\n\r\n\0\r\nQUIX\n!!!!"), &header), PROXY_PROTOCOL_ABSENT);
    assert_int_equal(read_exactly(BYTES(""), &header), PROXY_PROTOCOL_MORE);
    assert_int_equal(read_exactly(BYTES("\x16\x03\x01"), &header), PROXY_PROTOCOL_ABSENT);
}

static void test_version_2(void **state)
{
    (void)state;
    struct proxy_protocol_header header;
    uint8_t bytes[512];
    uint8_t body[256] = {0};
    size_t len = build(bytes, 0x21, 0x11, tcp4, sizeof(tcp4));
    bytes[len] = 'G';
    assert_int_equal(read_exactly(bytes, len + 1, &header), PROXY_PROTOCOL_DONE);
    assert_int_equal(header.version, 2);
    assert_int_equal(header.length, len);
    assert_ip(&header.source, "192.0.2.1:12345");
    assert_ip(&header.destination, "198.51.100.2:443");
    body[0] = 0x20;
    body[15] = 1;
    body[32] = 0x01;
    assert_int_equal(read_exactly(bytes, build(bytes, 0x21, 0x21, body, 36), &header), PROXY_PROTOCOL_DONE);
    assert_ip(&header.source, "[2000::1]:256");
    /* Datagrams and Unix paths are lawful and tell nothing that could be used. */
    assert_int_equal(read_exactly(bytes, build(bytes, 0x21, 0x12, tcp4, sizeof(tcp4)), &header),
                     PROXY_PROTOCOL_DONE);
    assert_int_equal(header.source.family, 0);
    assert_int_equal(read_exactly(bytes, build(bytes, 0x21, 0x31, body, 216), &header), PROXY_PROTOCOL_DONE);
    assert_int_equal(header.source.family, 0);
    assert_int_equal(read_exactly(bytes, build(bytes, 0x21, 0x00, body, 0), &header), PROXY_PROTOCOL_DONE);
    assert_int_equal(header.source.family, 0);
}

static void test_local(void **state)
{
    (void)state;
    struct proxy_protocol_header header;
    uint8_t bytes[64];
    /* Whatever a local header holds is passed over, its family and TLVs too. */
    assert_int_equal(read_exactly(bytes, build(bytes, 0x20, 0x00, "", 0), &header), PROXY_PROTOCOL_DONE);
    assert_true(header.local);
    assert_int_equal(read_exactly(bytes, build(bytes, 0x20, 0x11, tcp4, sizeof(tcp4)), &header),
                     PROXY_PROTOCOL_DONE);
    assert_true(header.local);
    assert_int_equal(header.source.family, 0);
    assert_int_equal(read_exactly(bytes, build(bytes, 0x20, 0xf7, "\xff\xff", 2), &header),
                     PROXY_PROTOCOL_DONE);
    assert_int_equal(header.length, 18);
}

static void test_version_2_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned command, family;
        size_t body;
    } wrong[] = {
        {0x11, 0x11, 12}, {0x31, 0x11, 12}, {0x22, 0x11, 12}, {0x2f, 0x11, 12},  {0x00, 0x11, 12},
        {0x21, 0x41, 12}, {0x21, 0xf1, 12}, {0x21, 0x13, 12}, {0x21, 0x1f, 12},  {0x21, 0x03, 0},
        {0x21, 0x11, 11}, {0x21, 0x11, 0},  {0x21, 0x21, 35}, {0x21, 0x31, 215},
    };
    static const uint8_t zeros[256];
    struct proxy_protocol_header header;
    uint8_t bytes[512];
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        size_t len = build(bytes, wrong[i].command, wrong[i].family, zeros, wrong[i].body);
        if (read_exactly(bytes, len, &header) != PROXY_PROTOCOL_BAD) {
            fail_msg("accepted: number %zu", i);
        }
    }
}

/* A length that can be announced but not met is refused before anything of it is waited for. */
static void test_oversized(void **state)
{
    (void)state;
    struct proxy_protocol_header header;
    uint8_t bytes[16];
    (void)build(bytes, 0x21, 0x11, "", 0);
    bytes[14] = (PROXY_PROTOCOL_READ_MAX - 16) >> 8;
    bytes[15] = (PROXY_PROTOCOL_READ_MAX - 16) & 0xff;
    assert_int_equal(read_exactly(bytes, 16, &header), PROXY_PROTOCOL_MORE);
    bytes[15]++;
    assert_int_equal(read_exactly(bytes, 16, &header), PROXY_PROTOCOL_BAD);
    bytes[14] = bytes[15] = 0xff;
    bytes[12] = 0x20;
    assert_int_equal(read_exactly(bytes, 16, &header), PROXY_PROTOCOL_BAD);
}

static enum proxy_protocol_result read_with_tlvs(const void *tlvs, size_t len,
                                                 struct proxy_protocol_header *header)
{
    uint8_t body[1024];
    uint8_t bytes[1100];
    memcpy(body, tcp4, sizeof(tcp4));
    memcpy(body + sizeof(tcp4), tlvs, len);
    return read_exactly(bytes, build(bytes, 0x21, 0x11, body, sizeof(tcp4) + len), header);
}

static void test_tlvs(void **state)
{
    (void)state;
    struct proxy_protocol_header header;
    static const char good[] =
        "\x01\0\x02h2\x02\0\x05shunt\x04\0\x03\0\0\0\xee\0\0\x20\0\x0d\x01\0\0\0\0\x21\0\x05"
        "TLSv1";
    assert_int_equal(read_with_tlvs(good, sizeof(good) - 1, &header), PROXY_PROTOCOL_DONE);
    assert_int_equal(header.alpn.len, 2);
    assert_int_equal(header.authority.len, 5);
    assert_int_equal(header.ssl.len, 13);
    /* Past the end: of the header, and of the SSL part. */
    static const struct {
        const char *bytes;
        size_t len;
    } wrong[] = {
        {"\x01", 1},
        {"\x01\0", 2},
        {"\x01\0\x01", 3},
        {"\x01\0\x03h2", 5},
        {"\x01\xff\xffh2", 5},
        {"\x01\0\x02h2\x04", 6},
        {"\x20\0\x04\x01\0\0\0", 7},
        {"\x20\0\x06\x01\0\0\0\0\x21", 9},
        {"\x20\0\x08\x01\0\0\0\0\x21\0\x01", 11},
        {"\x03\0\x03\0\0\0", 6},
        {"\x03\0\x04\0\0\0\0", 7},
        {"\x03\0\x05\0\0\0\0\0", 8},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (read_with_tlvs(wrong[i].bytes, wrong[i].len, &header) != PROXY_PROTOCOL_BAD) {
            fail_msg("accepted: number %zu", i);
        }
    }
    uint8_t unique_id[3 + 129] = {5, 0, 129};
    assert_int_equal(read_with_tlvs(unique_id, sizeof(unique_id), &header), PROXY_PROTOCOL_BAD);
    unique_id[2] = 128;
    assert_int_equal(read_with_tlvs(unique_id, sizeof(unique_id) - 1, &header), PROXY_PROTOCOL_DONE);
    assert_int_equal(header.unique_id.len, 128);
}

/* ---- written and read again */

#define ALL_TLVS                                                                                             \
    (PROXY_PROTOCOL_ALPN | PROXY_PROTOCOL_AUTHORITY | PROXY_PROTOCOL_UNIQUE_ID | PROXY_PROTOCOL_SSL |        \
     PROXY_PROTOCOL_CRC32C)

static struct proxy_protocol_text text_of(const char *text)
{
    return (struct proxy_protocol_text){(const uint8_t *)text, strlen(text)};
}

static struct proxy_protocol_header full_header(unsigned version, const char *source, const char *destination)
{
    return (struct proxy_protocol_header){.version = version,
                                          .source = ip_of(source),
                                          .destination = ip_of(destination),
                                          .alpn = text_of("h2"),
                                          .authority = text_of("db.example"),
                                          .unique_id = text_of("1-4711"),
                                          .tls = {.present = true,
                                                  .certificate_now = true,
                                                  .version = "TLSv1.3",
                                                  .common_name = "client",
                                                  .cipher = "TLS_AES_256_GCM_SHA384"}};
}

static void assert_text(const struct proxy_protocol_text *text, const char *expected)
{
    assert_int_equal(text->len, strlen(expected));
    assert_memory_equal(text->data, expected, text->len);
}

static void test_written_is_read(void **state)
{
    (void)state;
    static const char *const ends[][2] = {{"192.0.2.1:1", "198.51.100.2:65535"},
                                          {"[2001:db8::1]:12345", "[2001:db8::2]:443"},
                                          {"192.0.2.1:7", "[2001:db8::2]:443"},
                                          {"[2001:db8::2]:443", "192.0.2.1:7"}};
    for (unsigned version = 1; version <= 2; version++) {
        for (size_t i = 0; i < 4; i++) {
            struct proxy_protocol_header header = full_header(version, ends[i][0], ends[i][1]);
            struct proxy_protocol_header read;
            uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
            const char *why = NULL;
            size_t len = proxy_protocol_write(&header, ALL_TLVS, bytes);
            assert_int_equal(proxy_protocol_read(bytes, len, &read, &why), PROXY_PROTOCOL_DONE);
            assert_int_equal(read.length, len);
            assert_int_equal(read.version, version);
            assert_ip(&read.source, ends[i][0]);
            assert_ip(&read.destination, ends[i][1]);
            if (version == 2) {
                assert_text(&read.alpn, "h2");
                assert_text(&read.authority, "db.example");
                assert_text(&read.unique_id, "1-4711");
                assert_int_equal(read.ssl.data[0], 3); /* TLS, with a certificate on this connection */
            }
        }
    }
}

static void test_ssl_part_is_passed_on(void **state)
{
    (void)state;
    struct proxy_protocol_header header = full_header(2, "192.0.2.1:1", "192.0.2.2:2");
    struct proxy_protocol_header first;
    struct proxy_protocol_header second;
    uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
    uint8_t again[PROXY_PROTOCOL_WRITE_MAX];
    const char *why;
    size_t len = proxy_protocol_write(&header, ALL_TLVS, bytes);
    assert_int_equal(proxy_protocol_read(bytes, len, &first, &why), PROXY_PROTOCOL_DONE);
    size_t again_len = proxy_protocol_write(&first, ALL_TLVS, again);
    assert_int_equal(proxy_protocol_read(again, again_len, &second, &why), PROXY_PROTOCOL_DONE);
    assert_int_equal(again_len, len);
    assert_memory_equal(bytes, again, len);
}

/* One bit in any byte of a header with a checksum makes it bad, or leaves something that is no header. */
static void test_checksum_covers_every_bit(void **state)
{
    (void)state;
    struct proxy_protocol_header header = full_header(2, "192.0.2.1:1", "192.0.2.2:2");
    struct proxy_protocol_header read;
    uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
    size_t len = proxy_protocol_write(&header, ALL_TLVS, bytes);
    for (size_t i = 0; i < len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1u << bit);
            enum proxy_protocol_result result = read_exactly(bytes, len, &read);
            /* The TLV of the checksum itself may turn into one that nobody knows, and a command into LOCAL,
             * for which the specification asks that all else be passed over. */
            bool is_mark = i == len - 7 || (i == 12 && bit == 0);
            assert_true(result != PROXY_PROTOCOL_DONE || is_mark);
            bytes[i] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(read_exactly(bytes, len, &read), PROXY_PROTOCOL_DONE);
}

/* Every beginning waits for more, nothing is taken for less than it is; with payload behind, nothing more. */
static void test_every_split(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        struct proxy_protocol_header header = full_header(version, "[2001:db8::1]:1", "[2001:db8::2]:2");
        struct proxy_protocol_header read;
        uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX + 4];
        size_t len = proxy_protocol_write(&header, ALL_TLVS, bytes);
        for (size_t cut = 0; cut < len; cut++) {
            assert_int_equal(read_exactly(bytes, cut, &read), PROXY_PROTOCOL_MORE);
        }
        memcpy(bytes + len, SIGNATURE, 4);
        for (size_t more = 0; more <= 4; more++) {
            assert_int_equal(read_exactly(bytes, len + more, &read), PROXY_PROTOCOL_DONE);
            assert_int_equal(read.length, len);
        }
    }
}

/* Any byte replaced by any other, at any cut: never a read past the end (AddressSanitizer), never a length
 * beyond what is there. */
static void test_every_byte_replaced(void **state)
{
    (void)state;
    struct proxy_protocol_header header = full_header(2, "192.0.2.1:1", "192.0.2.2:2");
    struct proxy_protocol_header read;
    uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
    size_t len = proxy_protocol_write(&header, ALL_TLVS & ~(unsigned)PROXY_PROTOCOL_CRC32C, bytes);
    for (size_t i = 0; i < len; i++) {
        uint8_t was = bytes[i];
        for (unsigned value = 0; value < 256; value++) {
            bytes[i] = (uint8_t)value;
            if (read_exactly(bytes, len, &read) == PROXY_PROTOCOL_DONE) {
                assert_true(read.length <= len);
            }
        }
        bytes[i] = was;
    }
}

static void test_without_addresses(void **state)
{
    (void)state;
    struct proxy_protocol_header header = {.version = 1, .local = true};
    struct proxy_protocol_header read;
    uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
    size_t len = proxy_protocol_write(&header, 0, bytes);
    assert_int_equal(len, strlen("PROXY UNKNOWN\r\n"));
    assert_memory_equal(bytes, "PROXY UNKNOWN\r\n", len);
    header.version = 2;
    len = proxy_protocol_write(&header, 0, bytes);
    assert_int_equal(len, 16);
    assert_int_equal(read_exactly(bytes, len, &read), PROXY_PROTOCOL_DONE);
    assert_true(read.local);
    header.local = false;
    len = proxy_protocol_write(&header, PROXY_PROTOCOL_CRC32C, bytes);
    assert_int_equal(read_exactly(bytes, len, &read), PROXY_PROTOCOL_DONE);
    assert_false(read.local);
    assert_int_equal(read.source.family, 0);
}

/* Texts that are too long are left out, and the rest still fits what the caller has room for. */
static void test_long_texts(void **state)
{
    (void)state;
    static char longest[PROXY_PROTOCOL_TEXT_MAX + 1];
    static char longer[PROXY_PROTOCOL_TEXT_MAX + 2];
    static char unique_id[PROXY_PROTOCOL_UNIQUE_ID_MAX + 1];
    memset(longest, 'a', sizeof(longest) - 1);
    memset(longer, 'b', sizeof(longer) - 1);
    memset(unique_id, 'c', sizeof(unique_id) - 1);
    struct proxy_protocol_header header = full_header(2, "[2001:db8::1]:1", "[2001:db8::2]:2");
    struct proxy_protocol_header read;
    uint8_t bytes[PROXY_PROTOCOL_WRITE_MAX];
    const char *why;
    header.alpn = header.authority = text_of(longest);
    header.unique_id = text_of(unique_id);
    header.tls.version = header.tls.common_name = header.tls.cipher = longest;
    header.tls.signature_algorithm = header.tls.key_algorithm = longest;
    size_t len = proxy_protocol_write(&header, ALL_TLVS, bytes);
    assert_true(len <= PROXY_PROTOCOL_WRITE_MAX);
    assert_int_equal(proxy_protocol_read(bytes, len, &read, &why), PROXY_PROTOCOL_DONE);
    assert_text(&read.authority, longest);
    header.authority = text_of(longer);
    len = proxy_protocol_write(&header, ALL_TLVS, bytes);
    assert_int_equal(proxy_protocol_read(bytes, len, &read, &why), PROXY_PROTOCOL_DONE);
    assert_int_equal(read.authority.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_of_the_rfc),
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_version_1_refused),
        cmocka_unit_test(test_version_1_length),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_version_2_refused),
        cmocka_unit_test(test_oversized),
        cmocka_unit_test(test_tlvs),
        cmocka_unit_test(test_written_is_read),
        cmocka_unit_test(test_ssl_part_is_passed_on),
        cmocka_unit_test(test_checksum_covers_every_bit),
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_every_byte_replaced),
        cmocka_unit_test(test_without_addresses),
        cmocka_unit_test(test_long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
