/*
 * Which certificate is for a host name: exact names and wildcards for the leftmost label (RFC 6125 6.4.3),
 * without regard to case. Built once, then only read. Pure; any thread once built.
 */
#ifndef PROXY_TLS_NAMES_H
#define PROXY_TLS_NAMES_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_NAMES_MAX 255u /* bytes of a name, RFC 1035 2.3.4 */

struct tls_names_entry {
    char *name; /* owned; lower case: "www.example.com" or "*.example.com" */
    uint32_t value;
};

struct tls_names {
    struct tls_names_entry *list;
    size_t len, room;
};

/* Puts a name of any case into the form that is compared: lower case, without a final dot. False: it is no
 * host name (empty, too long, a NUL or anything else that no name has). */
bool tls_names_normalize(const char *name, size_t len, char out[TLS_NAMES_MAX + 1]);
/* Adds a normalized name; several values of one name are kept. ERR_NOMEM. */
MUST_CHECK int tls_names_add(struct tls_names *names, const char *name, uint32_t value);
/* After the last one was added, before the first is looked for. Stable: of one name, in order of value. */
void tls_names_sort(struct tls_names *names);
/* The entries for a normalized host: *first of them, and how many; exact ones, else those of the wildcard one
 * label up, else none. */
size_t tls_names_find(const struct tls_names *names, const char *host, size_t *first);
void tls_names_clear(struct tls_names *names);

#endif
