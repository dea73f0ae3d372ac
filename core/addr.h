/*
 * Socket addresses: IPv4, IPv6 and Unix paths behind one type; text to address and back. Pure.
 */
#ifndef CORE_ADDR_H
#define CORE_ADDR_H

#include "core/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct addr {
    socklen_t len; /* as for bind and connect */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

/* A client's IP without the rest, small enough to keep in every connection. family 0: not an IP (a Unix
 * peer). */
struct addr_ip {
    uint8_t bytes[16]; /* network order; IPv4 uses the first four; IPv4-mapped IPv6 is stored as IPv4 */
    uint16_t port;     /* host order */
    uint8_t family;    /* 0, 4 or 6 */
};

#define ADDR_TEXT_MAX 128 /* enough for any text of addr_format, with NUL */

/*
 * Parses "1.2.3.4:80", "[::1]:80" (with %scope), "unix:/path" ("unix:relative" counts from base_dir; base_dir
 * may be NULL) and "*:80" (any address, IPv6 dual stack is not implied: IPv4). A host name gives
 * ERR_UNAVAILABLE: resolve it. Returns 0, ERR_PARSE (with a message that says what is wrong), ERR_RANGE
 * (port, path length), ERR_UNAVAILABLE.
 */
MUST_CHECK int addr_parse(const char *text, const char *base_dir, struct addr *out, struct err_text *err);

/* Takes "host:port" apart where addr_parse said ERR_UNAVAILABLE. ERR_RANGE: no room; ERR_PARSE. */
MUST_CHECK int addr_split_host(const char *text, char *host, size_t host_size, uint16_t *port,
                               struct err_text *err);

/* The canonical text: "1.2.3.4:80", "[::1]:80", "unix:/path"; "unix:" for an unnamed Unix peer. Always ends
 * in NUL. */
void addr_format(const struct addr *addr, char *out, size_t out_size);

bool addr_equal(const struct addr *a, const struct addr *b);
/* Whether a socket that is bound to one is in the way of a bind to the other: the same family and port, and
 * the same address, or one of the two is all addresses. Never with paths. */
bool addr_overlaps(const struct addr *a, const struct addr *b);
bool addr_is_unix(const struct addr *addr);
uint16_t addr_port(const struct addr *addr);

/* From what accept4 filled in. */
void addr_ip_from(const struct addr *addr, struct addr_ip *out);
/* "1.2.3.4:80" or "[::1]:80"; "unix" when family is 0. */
void addr_ip_format(const struct addr_ip *ip, char *out, size_t out_size);
/* Clears the bits behind the prefix (0 to 32, 0 to 128 by family) and the port. */
void addr_ip_mask(struct addr_ip *ip, unsigned prefix_ipv4, unsigned prefix_ipv6);

#endif
