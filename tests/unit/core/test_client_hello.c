/*
 * ClientHellos: those of real programs and made ones, every beginning of each, in records of every size,
 * every byte replaced, and what must be refused.
 */
#include "core/client_hello.h"
#include "tests/unit/core/client_hellos.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define ROOM (2u * CLIENT_HELLO_READ_MAX)

/* A copy of exactly len bytes, so that a look past the end is seen under AddressSanitizer. */
static enum client_hello_result read_exactly(const uint8_t *bytes, size_t len, struct client_hello *out)
{
    const char *why = NULL;
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    enum client_hello_result result = client_hello_read(copy, len, out, &why);
    assert_true((result == CLIENT_HELLO_BAD || result == CLIENT_HELLO_ABSENT) == (why != NULL));
    free(copy);
    return result;
}

/* ---- made ones */

struct bytes {
    uint8_t at[ROOM];
    size_t len;
};

static void put(struct bytes *to, const void *bytes, size_t len)
{
    assert_true(len <= sizeof(to->at) - to->len);
    memcpy(to->at + to->len, bytes, len);
    to->len += len;
}

static void put_number(struct bytes *to, unsigned width, size_t value)
{
    while (width-- > 0) {
        uint8_t byte = (uint8_t)(value >> (8 * width));
        put(to, &byte, 1);
    }
}

static void put_zeros(struct bytes *to, size_t n)
{
    static const uint8_t zeros[ROOM];
    put(to, zeros, n);
}

static void put_extension(struct bytes *to, unsigned kind, const void *body, size_t len)
{
    put_number(to, 2, kind);
    put_number(to, 2, len);
    put(to, body, len);
}

static void put_name(struct bytes *to, const char *name)
{
    static struct bytes body;
    body.len = 0;
    put_number(&body, 2, strlen(name) + 3);
    put_number(&body, 1, 0);
    put_number(&body, 2, strlen(name));
    put(&body, name, strlen(name));
    put_extension(to, 0, body.at, body.len);
}

/* The message around these extensions; NULL: none. */
static void put_message(struct bytes *to, const struct bytes *extensions)
{
    static struct bytes body;
    body.len = 0;
    put_number(&body, 2, 0x0303);
    put_zeros(&body, 32);
    put_number(&body, 1, 0);
    put_number(&body, 2, 2);
    put_number(&body, 2, 0x1301);
    put_number(&body, 2, 0x0100);
    if (extensions != NULL) {
        put_number(&body, 2, extensions->len);
        put(&body, extensions->at, extensions->len);
    }
    put_number(to, 1, 1);
    put_number(to, 3, body.len);
    put(to, body.at, body.len);
}

/* A message cut into records of this size. */
static void put_records(struct bytes *to, const uint8_t *message, size_t len, size_t size)
{
    for (size_t at = 0; at < len; at += size) {
        size_t part = len - at < size ? len - at : size;
        put_number(to, 1, 22);
        put_number(to, 2, 0x0301);
        put_number(to, 2, part);
        put(to, message + at, part);
    }
}

static struct bytes message, extensions, wire, other;

static enum client_hello_result read_extensions(struct client_hello *out)
{
    message.len = wire.len = 0;
    put_message(&message, &extensions);
    put_records(&wire, message.at, message.len, 16384);
    return read_exactly(wire.at, wire.len, out);
}

static enum client_hello_result read_name(const char *name, struct client_hello *out)
{
    extensions.len = 0;
    put_name(&extensions, name);
    return read_extensions(out);
}

/* ---- */

struct sample {
    const uint8_t *bytes;
    size_t len;
    const char *name;
    const char *alpn;
};

#define SAMPLE(hello, name, alpn)                                                                            \
    {                                                                                                        \
        hello, sizeof(hello), name, alpn                                                                     \
    }
static const struct sample samples[] = {
    SAMPLE(hello_openssl_13, "db.example.com", "\x0apostgresql"),
    SAMPLE(hello_openssl_12_no_name, "", ""),
    SAMPLE(hello_gnutls, "mail.example.com", "\x02h2\x08http/1.1"),
    SAMPLE(hello_curl, "www.example.org", "\x02h2\x08http/1.1"),
    SAMPLE(hello_python, "x.example.net", ""),
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static void assert_says(const struct sample *sample, const struct client_hello *hello)
{
    assert_string_equal(hello->server_name, sample->name);
    assert_int_equal(hello->alpn_len, strlen(sample->alpn));
    assert_memory_equal(hello->alpn, sample->alpn, hello->alpn_len);
}

static void test_real_ones_cut_at_every_byte(void **state)
{
    (void)state;
    struct client_hello hello;
    for (size_t i = 0; i < SAMPLES; i++) {
        for (size_t len = 0; len < samples[i].len; len++) {
            assert_int_equal(read_exactly(samples[i].bytes, len, &hello), CLIENT_HELLO_MORE);
        }
        assert_int_equal(read_exactly(samples[i].bytes, samples[i].len, &hello), CLIENT_HELLO_DONE);
        assert_int_equal(hello.length, samples[i].len);
        assert_says(&samples[i], &hello);
    }
}

static void test_real_ones_in_records_of_every_size(void **state)
{
    (void)state;
    struct client_hello hello;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t len = samples[i].len - 5;
        for (size_t size = 1; size <= len; size++) {
            wire.len = 0;
            put_records(&wire, samples[i].bytes + 5, len, size);
            assert_int_equal(read_exactly(wire.at, wire.len - 1, &hello), CLIENT_HELLO_MORE);
            assert_int_equal(read_exactly(wire.at, wire.len, &hello), CLIENT_HELLO_DONE);
            assert_int_equal(hello.length, wire.len);
            assert_says(&samples[i], &hello);
            put_zeros(&wire, 3); /* what comes behind is nobody's business here */
            assert_int_equal(read_exactly(wire.at, wire.len, &hello), CLIENT_HELLO_DONE);
            assert_int_equal(hello.length, wire.len - 3);
        }
    }
}

/* In records of one byte, cut at every byte: borders fall into every field. */
static void test_every_border_and_every_beginning(void **state)
{
    (void)state;
    struct client_hello hello;
    wire.len = 0;
    put_records(&wire, hello_gnutls + 5, sizeof(hello_gnutls) - 5, 1);
    for (size_t len = 0; len < wire.len; len++) {
        assert_int_equal(read_exactly(wire.at, len, &hello), CLIENT_HELLO_MORE);
    }
    assert_int_equal(read_exactly(wire.at, wire.len, &hello), CLIENT_HELLO_DONE);
}

/* Whatever becomes of a broken one, it is the same verdict with more behind it, and never one that waits for
 * what was there. */
static void test_every_byte_replaced(void **state)
{
    (void)state;
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < SAMPLES; i++) {
        for (size_t at = 0; at < samples[i].len; at++) {
            for (size_t v = 0; v < sizeof(values); v++) {
                struct client_hello whole;
                struct client_hello longer;
                wire.len = 0;
                put(&wire, samples[i].bytes, samples[i].len);
                wire.at[at] = values[v];
                enum client_hello_result result = read_exactly(wire.at, wire.len, &whole);
                put_zeros(&wire, 40);
                enum client_hello_result again = read_exactly(wire.at, wire.len, &longer);
                assert_true(result == CLIENT_HELLO_MORE || result == again);
            }
        }
    }
}

static void test_fragments_of_unlike_sizes(void **state)
{
    (void)state;
    struct client_hello hello;
    for (size_t first = 1; first < sizeof(hello_curl) - 5; first++) {
        wire.len = 0;
        put_records(&wire, hello_curl + 5, first, first);
        put_records(&wire, hello_curl + 5 + first, sizeof(hello_curl) - 5 - first, 16384);
        assert_int_equal(read_exactly(wire.at, wire.len, &hello), CLIENT_HELLO_DONE);
        assert_string_equal(hello.server_name, "www.example.org");
    }
}

static void test_other_protocols(void **state)
{
    (void)state;
    struct client_hello hello;
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\n\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "*1\r\n$4\r\nPING\r\n",
        "\x80\x2e\x01\x03\x01", /* SSL 2.0 */
        "\x16\x02\x01",           "\x15\x03\x01\x02\x01\x0a",           "\x17\x03\x03"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(read_exactly((const uint8_t *)texts[i], strlen(texts[i]), &hello),
                         CLIENT_HELLO_ABSENT);
    }
    /* What PostgreSQL's clients say before TLS. */
    static const uint8_t request[] = {0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f};
    assert_int_equal(read_exactly(request, 1, &hello), CLIENT_HELLO_ABSENT);
    assert_int_equal(read_exactly(request, sizeof(request), &hello), CLIENT_HELLO_ABSENT);
}

static void test_broken_records(void **state)
{
    (void)state;
    struct client_hello hello;
    static const struct {
        const char *bytes;
        size_t len;
    } broken[] = {
        {"\x16\x03\x01\x00\x00", 5},                              /* empty */
        {"\x16\x03\x01\x40\x01", 5},                              /* longer than 2^14 */
        {"\x16\x03\x01\x00\x04\x02\x00\x00\x40", 9},              /* a ServerHello */
        {"\x16\x03\x01\x00\x04\x01\x00\x40\x00", 9},              /* 16 KiB */
        {"\x16\x03\x01\x00\x04\x01\xff\xff\xff", 9},              /* 16 MiB */
        {"\x16\x03\x01\x00\x06\x01\x00\x00\x20\x02\x00", 11},     /* version 2.0 */
        {"\x16\x03\x01\x00\x05\x01\x00\x00\x20\x03\x17", 11},     /* application data inside */
        {"\x16\x03\x01\x00\x05\x01\x00\x00\x20\x03\x16\x02", 12}, /* another version inside */
        {"\x16\x03\x01\x00\x06\x01\x00\x00\x01\x03\x03", 11},     /* a message of one byte */
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        assert_int_equal(read_exactly((const uint8_t *)broken[i].bytes, broken[i].len, &hello),
                         CLIENT_HELLO_BAD);
    }
}

static void test_names(void **state)
{
    (void)state;
    struct client_hello hello;
    char name[300];
    assert_int_equal(read_name("WWW.Example.com.", &hello), CLIENT_HELLO_DONE);
    assert_string_equal(hello.server_name, "www.example.com");
    assert_int_equal(read_name("_sip.xn--bcher-kva.example", &hello), CLIENT_HELLO_DONE);
    assert_string_equal(hello.server_name, "_sip.xn--bcher-kva.example");
    memset(name, 'a', sizeof(name));
    name[255] = '\0';
    assert_int_equal(read_name(name, &hello), CLIENT_HELLO_DONE);
    assert_string_equal(hello.server_name, name);
    name[255] = 'a';
    name[256] = '\0';
    assert_int_equal(read_name(name, &hello), CLIENT_HELLO_BAD);
    static const char *const not_names[] = {"",     ".",      "..",          ".a",  "a..b", "a b",
                                            "a\nb", "a\x01z", "b\xc3\xbczz", "a/b", "*.a",  "[::1]"};
    for (size_t i = 0; i < sizeof(not_names) / sizeof(not_names[0]); i++) {
        assert_int_equal(read_name(not_names[i], &hello), CLIENT_HELLO_BAD);
    }
}

static enum client_hello_result read_one_extension(unsigned kind, const void *body, size_t len)
{
    struct client_hello hello;
    extensions.len = 0;
    put_extension(&extensions, kind, body, len);
    return read_extensions(&hello);
}

static void test_broken_extensions(void **state)
{
    (void)state;
    struct client_hello hello;
    assert_int_equal(read_one_extension(0, "\0\4\0\0\1a", 6), CLIENT_HELLO_DONE);
    assert_int_equal(read_one_extension(0, "\0\6\0\0\3a\0b", 8), CLIENT_HELLO_BAD); /* NUL within */
    assert_int_equal(read_one_extension(0, "", 0), CLIENT_HELLO_BAD);
    assert_int_equal(read_one_extension(0, "\0\0", 2), CLIENT_HELLO_BAD);
    assert_int_equal(read_one_extension(0, "\0\4\0\0\2a", 6), CLIENT_HELLO_BAD); /* past its end */
    assert_int_equal(read_one_extension(0, "\0\5\0\0\1a", 6), CLIENT_HELLO_BAD);
    assert_int_equal(read_one_extension(0, "\0\4\0\0\1ab", 7), CLIENT_HELLO_BAD); /* something behind */
    assert_int_equal(read_one_extension(0, "\0\4\1\0\1a", 6), CLIENT_HELLO_BAD);  /* another kind */
    assert_int_equal(read_one_extension(0, "\0\10\0\0\1a\0\0\1b", 10), CLIENT_HELLO_BAD); /* two */
    assert_int_equal(read_one_extension(16, "\0\3\2h2", 5), CLIENT_HELLO_DONE);
    assert_int_equal(read_one_extension(16, "\0\0", 2), CLIENT_HELLO_BAD);
    assert_int_equal(read_one_extension(16, "\0\1\0", 3), CLIENT_HELLO_BAD);
    assert_int_equal(read_one_extension(16, "\0\3\3h2", 5), CLIENT_HELLO_BAD);
    assert_int_equal(read_one_extension(16, "\0\3\2h2x", 6), CLIENT_HELLO_BAD);
    extensions.len = 0;
    put_name(&extensions, "a");
    put_name(&extensions, "b");
    assert_int_equal(read_extensions(&hello), CLIENT_HELLO_BAD);
    extensions.len = 0;
    put_extension(&extensions, 16, "\0\3\2h2", 5);
    put_extension(&extensions, 16, "\0\3\2h2", 5);
    assert_int_equal(read_extensions(&hello), CLIENT_HELLO_BAD);
    extensions.len = 0;
    put_number(&extensions, 3, 0); /* half an extension */
    assert_int_equal(read_extensions(&hello), CLIENT_HELLO_BAD);
    message.len = wire.len = 0;
    put_message(&message, NULL);
    put_records(&wire, message.at, message.len, 16384);
    assert_int_equal(read_exactly(wire.at, wire.len, &hello), CLIENT_HELLO_DONE); /* none at all */
}

/* More protocols than are kept: the first ones are. */
static void test_many_protocols(void **state)
{
    (void)state;
    struct client_hello hello;
    other.len = extensions.len = 0;
    put_number(&other, 2, (size_t)100 * 11);
    for (int i = 0; i < 100; i++) {
        put(&other, "\x0apostgresql", 11);
    }
    put_extension(&extensions, 16, other.at, other.len);
    assert_int_equal(read_extensions(&hello), CLIENT_HELLO_DONE);
    assert_int_equal(hello.alpn_len, 23 * 11);
}

static void test_large_ones(void **state)
{
    (void)state;
    struct client_hello hello;
    /* A key share such as those that stand against quantum computers, with the name behind it. */
    extensions.len = 0;
    put_number(&extensions, 2, 51);
    put_number(&extensions, 2, 1216 + 6);
    put_zeros(&extensions, 1216 + 6);
    put_name(&extensions, "late.example.com");
    assert_int_equal(read_extensions(&hello), CLIENT_HELLO_DONE);
    assert_string_equal(hello.server_name, "late.example.com");
    /* As large as may be, and one byte more. */
    const size_t around = 5 + 4 + 2 + 32 + 1 + 4 + 2 + 2 + 4;
    extensions.len = 0;
    put_number(&extensions, 2, 21);
    put_number(&extensions, 2, CLIENT_HELLO_READ_MAX - around);
    put_zeros(&extensions, CLIENT_HELLO_READ_MAX - around);
    assert_int_equal(read_extensions(&hello), CLIENT_HELLO_DONE);
    assert_int_equal(hello.length, CLIENT_HELLO_READ_MAX);
    extensions.at[3]++;
    put_zeros(&extensions, 1);
    assert_int_equal(read_extensions(&hello), CLIENT_HELLO_BAD);
    /* In many records it takes more bytes: refused when they are there, and waited for no longer. */
    message.len = wire.len = extensions.len = 0;
    put_number(&extensions, 2, 21);
    put_number(&extensions, 2, 8000);
    put_zeros(&extensions, 8000);
    put_message(&message, &extensions);
    put_records(&wire, message.at, message.len, 3);
    assert_true(wire.len > CLIENT_HELLO_READ_MAX);
    assert_int_equal(read_exactly(wire.at, CLIENT_HELLO_READ_MAX - 1, &hello), CLIENT_HELLO_MORE);
    assert_int_equal(read_exactly(wire.at, CLIENT_HELLO_READ_MAX, &hello), CLIENT_HELLO_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_ones_cut_at_every_byte),
        cmocka_unit_test(test_real_ones_in_records_of_every_size),
        cmocka_unit_test(test_every_border_and_every_beginning),
        cmocka_unit_test(test_every_byte_replaced),
        cmocka_unit_test(test_fragments_of_unlike_sizes),
        cmocka_unit_test(test_other_protocols),
        cmocka_unit_test(test_broken_records),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_broken_extensions),
        cmocka_unit_test(test_many_protocols),
        cmocka_unit_test(test_large_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
