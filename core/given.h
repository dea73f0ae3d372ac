/*
 * Sockets that listen already when the program starts, because somebody opened them before: the former
 * program at an upgrade, or a service manager. Whoever would bind an address asks here first. One thread at a
 * time.
 */
#ifndef CORE_GIVEN_H
#define CORE_GIVEN_H

#include "core/addr.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

#define GIVEN_PURPOSE_MAX 80u /* with NUL */

struct given_socket {
    int fd;                          /* -1: taken */
    char purpose[GIVEN_PURPOSE_MAX]; /* "listen:web", "admin", "metrics"; empty: known by its address alone */
    struct addr wanted; /* as the configuration named it when it was bound: port 0 was a free one */
    struct addr bound;
    bool foreign; /* of a service manager: its path is not ours to remove */
};

struct given {
    struct given_socket *list; /* owned, with the descriptors that are not taken */
    size_t len;
};

/* How a room tells which sockets it listens with. fd stays its own. */
typedef void given_visit_fn(void *context, const char *purpose, const struct addr *wanted, bool foreign,
                            int fd);

/* A service's purpose as written in given_socket. */
void given_purpose_of_service(const char *service, char out[GIVEN_PURPOSE_MAX]);

/* Adds a socket and takes fd over, also on failure. wanted NULL: the address it is bound to. ERR_SYSTEM (not
 * a socket that listens on a stream), ERR_NOMEM. */
MUST_CHECK int given_add(struct given *given, int fd, const char *purpose, const struct addr *wanted,
                         bool foreign, struct err_text *err);
/*
 * The next socket for this purpose and address, taken out: the caller's from now on, not blocking and closed
 * on exec. -1: none is left. Of the same purpose and wanted address first, then any that is bound to this
 * very address for a purpose of the same kind. given may be NULL; foreign too.
 */
int given_take(struct given *given, const char *purpose, const struct addr *address, bool *foreign);
/* How many given_take would give. */
size_t given_count(const struct given *given, const char *purpose, const struct addr *address);
/* Whether sockets of this very purpose and wanted address were there and have been taken. */
bool given_is_taken(const struct given *given, const char *purpose, const struct addr *wanted);
/* Whether a socket that is there is in the way of a bind to address, though of another one: the same port,
 * and one of the two is all addresses of the family. given may be NULL. */
bool given_overlaps(const struct given *given, const struct addr *address);
/* Closes what was not taken. given may be NULL. */
void given_clear(struct given *given);

#endif
