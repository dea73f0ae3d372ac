/* Sockets of checks on their way to a backend: begun, looked at, and what went wrong in words. Control
 * thread. */
#ifndef HEALTH_REACH_INTERNAL_H
#define HEALTH_REACH_INTERNAL_H

#include "core/addr.h"
#include "core/source.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Begins to connect from source. Returns the socket (non-blocking, the caller's), or -1 with the reason;
 * *skipped then tells whether it says nothing of the backend: we ran short of descriptors, memory or ports.
 */
int reach_begin(const struct source *source, const struct addr *address, char *reason, size_t reason_size,
                bool *skipped);
/* Once the socket is writable: 0, or an errno. */
int reach_error(int fd);
void reach_describe(int error, char *out, size_t out_size);

#endif
