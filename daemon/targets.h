/*
 * What the addresses in a configuration stand for: every listen and backend address parsed, host names
 * resolved (once, at the start). Used by the start of the program and by the check of a configuration, so
 * that both find the same faults. Opens no socket of its own; may block on the resolver. Any thread.
 */
#ifndef DAEMON_TARGETS_H
#define DAEMON_TARGETS_H

#include "balancer/routing.h"
#include "core/addr.h"
#include "core/config.h"
#include "core/err.h"

#include <stddef.h>

struct targets_group {
    struct routing_backend_spec *backends; /* owned, names too */
    size_t backends_len;
};

struct targets_service {
    struct addr *listen; /* owned */
    size_t listen_len;
    struct targets_group *groups; /* owned; one for each group of the configuration, in its order */
    size_t groups_len;
};

struct targets {
    struct targets_service *services; /* owned; one for each service of the configuration, in its order */
    size_t services_len;
    size_t backends; /* over all services, after resolving */
};

/*
 * Resolves everything in config. A backend whose host name has several addresses becomes as many backends,
 * named NAME@ADDRESS. Finds every fault at once: returns ERR_INVALID and fills errors (cleared first; free it
 * with config_errors_clear in either case). On success *out is owned by the caller. ERR_NOMEM without memory;
 * errors may then be empty.
 */
MUST_CHECK int targets_resolve(const struct config *config, struct targets **out,
                               struct config_errors *errors);
/* NULL is allowed. */
void targets_destroy(struct targets *targets);

#endif
