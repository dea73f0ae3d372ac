/*
 * The first message of a TLS client, the ClientHello (RFC 8446, sections 4.1.2 and 5.1; for TLS 1.2 and older
 * RFC 5246, section 7.4.1.2), read without taking part in TLS: the server's name that the client asks for
 * (RFC 6066, section 3) and the protocols that it offers (RFC 7301). Reading of bytes in memory. Pure; any
 * thread. When one is expected, and what follows from it, is proxy/passthrough.c's business.
 */
#ifndef CORE_CLIENT_HELLO_H
#define CORE_CLIENT_HELLO_H

#include <stddef.h>
#include <stdint.h>

/* A longer one is refused, record headers and all. Usual ones have 200 to 2000 bytes. */
#define CLIENT_HELLO_READ_MAX 16384u
#define CLIENT_HELLO_NAME_MAX 255u
#define CLIENT_HELLO_ALPN_MAX 255u

struct client_hello {
    char
        server_name[CLIENT_HELLO_NAME_MAX + 1]; /* small letters, no dot at the end; "": none was asked for */
    uint8_t alpn[CLIENT_HELLO_ALPN_MAX]; /* as sent: each a byte with its length, then the protocol; those
                                            that do not fit are left out */
    size_t alpn_len;
    size_t length; /* bytes up to the end of the message, record headers too */
};

enum client_hello_result {
    CLIENT_HELLO_DONE,
    CLIENT_HELLO_MORE,   /* could become one */
    CLIENT_HELLO_ABSENT, /* this is no TLS (nor is an SSL 2.0 hello) and will never be */
    CLIENT_HELLO_BAD     /* begins as TLS and is broken, no ClientHello, or too long */
};

/*
 * Looks for a ClientHello at the beginning of what was received so far; can be asked again, from the
 * beginning, with more of the same. It may come in any number of records. DONE fills *out. ABSENT and BAD set
 * *why (static words) and are final; after MORE and DONE *why is NULL. MORE is never returned for
 * CLIENT_HELLO_READ_MAX bytes. Nothing is kept but what *out holds. A name that is not a host name (empty,
 * too long, bytes other than letters, digits, '-', '_' and '.') makes the hello bad, as do two names.
 */
enum client_hello_result client_hello_read(const uint8_t *bytes, size_t len, struct client_hello *out,
                                           const char **why);

#endif
