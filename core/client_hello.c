/*
 * Answers for what a ClientHello says (RFC 8446, RFC 5246, RFC 6066, RFC 7301). It is walked where it lies,
 * across the borders of records; only the name and the protocols are copied. Every byte is a peer's: each
 * length is checked against what surrounds it before it is followed, and what is wrong is said as soon as it
 * is seen. Pure; any thread.
 */
#include "core/client_hello.h"

#include <stdbool.h>
#include <string.h>

#define RECORD_HANDSHAKE 22u
#define RECORD_HEADER 5u
#define RECORD_MAX 16384u /* RFC 8446, section 5.1 */
#define MESSAGE_CLIENT_HELLO 1u
#define MESSAGE_HEADER 4u
#define VERSION_MAJOR 3u
#define RANDOM_BYTES 32u
#define SESSION_ID_MAX 32u
#define EXTENSION_SERVER_NAME 0u
#define EXTENSION_ALPN 16u
#define NAME_HOST 0u

struct reader {
    const uint8_t *bytes;
    size_t len, at;
    size_t record_left;
    bool named, offered;             /* the extensions that were there */
    enum client_hello_result result; /* why reading stopped */
    const char *why;
};

static bool stop(struct reader *reader, enum client_hello_result result, const char *why)
{
    reader->result = result;
    reader->why = why;
    return false;
}

static bool bad(struct reader *reader, const char *why)
{
    return stop(reader, CLIENT_HELLO_BAD, why);
}

/* ---- records */

/* Each byte is judged once it is there, so that a fault is found as soon as it can be. */
static bool enter_record(struct reader *reader)
{
    const uint8_t *header = reader->bytes + reader->at;
    size_t have = reader->len - reader->at;
    bool first = reader->at == 0;
    if (have > 0 && header[0] != RECORD_HANDSHAKE) {
        return first ? stop(reader, CLIENT_HELLO_ABSENT, "no TLS handshake")
                     : bad(reader, "another record in the middle of it");
    }
    if (have > 1 && header[1] != VERSION_MAJOR) {
        return first ? stop(reader, CLIENT_HELLO_ABSENT, "no TLS handshake")
                     : bad(reader, "a record of an unknown version");
    }
    if (have < RECORD_HEADER) {
        return stop(reader, CLIENT_HELLO_MORE, NULL);
    }
    reader->record_left = (size_t)header[3] << 8 | header[4];
    if (reader->record_left == 0 || reader->record_left > RECORD_MAX) {
        return bad(reader, reader->record_left == 0 ? "an empty record" : "a record that is too long");
    }
    reader->at += RECORD_HEADER;
    return true;
}

/* The next n bytes of the message, over as many records as they lie in. to: NULL to pass over them. */
static bool take_raw(struct reader *reader, uint8_t *to, size_t n)
{
    while (n > 0) {
        if (reader->record_left == 0 && !enter_record(reader)) {
            return false;
        }
        size_t run = reader->len - reader->at;
        run = run < reader->record_left ? run : reader->record_left;
        run = run < n ? run : n;
        if (run == 0) {
            return stop(reader, CLIENT_HELLO_MORE, NULL);
        }
        if (to != NULL) {
            memcpy(to, reader->bytes + reader->at, run);
            to += run;
        }
        reader->at += run;
        reader->record_left -= run;
        n -= run;
    }
    return true;
}

/* ---- fields: left is what remains of what surrounds them */

static bool take(struct reader *reader, size_t *left, uint8_t *to, size_t n)
{
    if (n > *left) {
        return bad(reader, "a field that runs past its end");
    }
    *left -= n;
    return take_raw(reader, to, n);
}

static bool take_number(struct reader *reader, size_t *left, unsigned width, size_t *value)
{
    uint8_t bytes[4];
    *value = 0;
    if (!take(reader, left, bytes, width)) {
        return false;
    }
    for (unsigned i = 0; i < width; i++) {
        *value = *value << 8 | bytes[i];
    }
    return true;
}

/* The length of a vector, which must lie within what surrounds it and is then taken off that. */
static bool open_vector(struct reader *reader, size_t *left, unsigned width, size_t *inner)
{
    if (!take_number(reader, left, width, inner)) {
        return false;
    }
    if (*inner > *left) {
        return bad(reader, "a field that runs past its end");
    }
    *left -= *inner;
    return true;
}

/* Passes over a vector of least to most bytes that are a multiple of unit. */
static bool skip_vector(struct reader *reader, size_t *left, unsigned width, size_t least, size_t most,
                        size_t unit)
{
    size_t inner;
    if (!open_vector(reader, left, width, &inner)) {
        return false;
    }
    if (inner < least || inner > most || inner % unit != 0) {
        return bad(reader, "a list of a length that cannot be");
    }
    return take_raw(reader, NULL, inner);
}

/* ---- extensions */

static bool is_name_byte(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' ||
           byte == '.';
}

/* Into the form in which names are compared (RFC 4343); false for what is no host name. */
static bool normalize(char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)name[i];
        byte = byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte - 'A' + 'a') : byte;
        if (!is_name_byte(byte) || (byte == '.' && (i == 0 || name[i - 1] == '.'))) {
            return false;
        }
        name[i] = (char)byte;
    }
    if (name[len - 1] == '.') {
        name[--len] = '\0';
    }
    return len > 0;
}

/* One host name and nothing else: no other kind was ever defined, and of one kind there is only one. */
static bool read_server_name(struct reader *reader, size_t left, struct client_hello *out)
{
    size_t list;
    size_t kind;
    size_t len;
    if (reader->named) {
        return bad(reader, "two server names");
    }
    reader->named = true;
    if (!open_vector(reader, &left, 2, &list) || !take_number(reader, &list, 1, &kind) ||
        !open_vector(reader, &list, 2, &len)) {
        return false;
    }
    if (left > 0 || list > 0 || kind != NAME_HOST || len == 0 || len > CLIENT_HELLO_NAME_MAX) {
        return bad(reader, "a server name that is none");
    }
    if (!take_raw(reader, (uint8_t *)out->server_name, len)) {
        return false;
    }
    return normalize(out->server_name, len) || bad(reader, "a server name that is none");
}

static bool read_alpn(struct reader *reader, size_t left, struct client_hello *out)
{
    size_t list;
    bool room = true;
    if (reader->offered) {
        return bad(reader, "two lists of protocols");
    }
    reader->offered = true;
    if (!open_vector(reader, &left, 2, &list)) {
        return false;
    }
    if (left > 0 || list == 0) {
        return bad(reader, "a list of protocols that is none");
    }
    while (list > 0) {
        size_t len;
        if (!open_vector(reader, &list, 1, &len)) {
            return false;
        }
        if (len == 0) {
            return bad(reader, "a list of protocols that is none");
        }
        room = room && len < sizeof(out->alpn) - out->alpn_len;
        uint8_t *to = room ? out->alpn + out->alpn_len : NULL;
        if (!take_raw(reader, to != NULL ? to + 1 : NULL, len)) {
            return false;
        }
        if (to != NULL) {
            *to = (uint8_t)len;
            out->alpn_len += len + 1;
        }
    }
    return true;
}

static bool read_extensions(struct reader *reader, size_t left, struct client_hello *out)
{
    while (left > 0) {
        size_t kind;
        size_t len;
        bool good;
        if (!take_number(reader, &left, 2, &kind) || !open_vector(reader, &left, 2, &len)) {
            return false;
        }
        if (kind == EXTENSION_SERVER_NAME) {
            good = read_server_name(reader, len, out);
        } else if (kind == EXTENSION_ALPN) {
            good = read_alpn(reader, len, out);
        } else {
            good = take_raw(reader, NULL, len);
        }
        if (!good) {
            return false;
        }
    }
    return true;
}

/* ---- the message */

static bool read_body(struct reader *reader, size_t left, struct client_hello *out)
{
    uint8_t version[2];
    size_t extensions;
    if (!take(reader, &left, version, sizeof(version))) {
        return false;
    }
    if (version[0] != VERSION_MAJOR) {
        return bad(reader, "an unknown version");
    }
    if (!take(reader, &left, NULL, RANDOM_BYTES) ||
        !skip_vector(reader, &left, 1, 0, SESSION_ID_MAX, 1) || /* session */
        !skip_vector(reader, &left, 2, 2, UINT16_MAX - 1, 2) || /* cipher suites */
        !skip_vector(reader, &left, 1, 1, UINT8_MAX, 1)) {      /* compression methods */
        return false;
    }
    if (left == 0) {
        return true; /* without extensions, as before RFC 3546 */
    }
    if (!open_vector(reader, &left, 2, &extensions)) {
        return false;
    }
    return left > 0 ? bad(reader, "bytes behind its extensions") : read_extensions(reader, extensions, out);
}

static bool read_message(struct reader *reader, struct client_hello *out)
{
    size_t header = MESSAGE_HEADER;
    size_t kind;
    size_t len;
    if (!take_number(reader, &header, 1, &kind)) {
        return false;
    }
    if (kind != MESSAGE_CLIENT_HELLO) {
        return bad(reader, "another message than a ClientHello");
    }
    if (!take_number(reader, &header, 3, &len)) {
        return false;
    }
    return len > CLIENT_HELLO_READ_MAX - RECORD_HEADER - MESSAGE_HEADER ? bad(reader, "too long")
                                                                        : read_body(reader, len, out);
}

enum client_hello_result client_hello_read(const uint8_t *bytes, size_t len, struct client_hello *out,
                                           const char **why)
{
    struct reader reader = {.bytes = bytes,
                            .len = len < CLIENT_HELLO_READ_MAX ? len : CLIENT_HELLO_READ_MAX,
                            .result = CLIENT_HELLO_DONE};
    memset(out, 0, sizeof(*out));
    if (read_message(&reader, out)) {
        out->length = reader.at;
    } else if (reader.result == CLIENT_HELLO_MORE && len >= CLIENT_HELLO_READ_MAX) {
        (void)bad(&reader, "too long");
    }
    *why = reader.why;
    return reader.result;
}
