/*
 * What the addresses in a configuration stand for: every listen and backend address parsed, host names asked
 * for. Used by the start of the program, by the check of a configuration and by a reload, so that all find
 * the same faults. What is known of a name goes on living in health/names.h.
 */
#ifndef DAEMON_TARGETS_H
#define DAEMON_TARGETS_H

#include "balancer/routing.h"
#include "core/addr.h"
#include "core/config.h"
#include "core/err.h"
#include "health/names.h"

#include <stdbool.h>
#include <stddef.h>

#define TARGETS_LISTEN UINT32_MAX /* names_host.group of a listen address; backend is its index */

struct targets_group {
    struct routing_backend_spec *backends; /* owned, names too */
    size_t backends_len;
    size_t room; /* for addresses that names may come to have */
};

struct targets_service {
    struct addr *listen; /* owned */
    size_t listen_len;
    struct targets_group *groups; /* owned; one for each group of the configuration, in its order */
    size_t groups_len;
    struct names_host *hosts; /* owned, sets too; those of listen addresses last */
    size_t hosts_len;
    size_t listen_hosts; /* how many of them are those */
};

struct targets {
    const struct config *config;      /* borrowed */
    struct targets_service *services; /* owned; one for each service of the configuration, in its order */
    size_t services_len;
    size_t backends; /* over all services, after resolving */
};

/* START: a backend whose name nobody can tell now begins without addresses, rather than that the program does
 * not start. CHECK: a name that does not exist is a fault; that nobody can tell is only a remark. RELOAD:
 * both are faults, since what runs runs well. */
enum targets_purpose { TARGETS_START, TARGETS_CHECK, TARGETS_RELOAD };

/*
 * The three steps. begin parses; ask asks for the names of which nothing is known, without blocking; finish
 * makes backends of it. Each finds every fault at once: ERR_INVALID with errors filled (begin clears them
 * first; free them with config_errors_clear in any case); ERR_NOMEM. config must outlive the targets.
 */
MUST_CHECK int targets_begin(const struct config *config, struct targets **out, struct config_errors *errors);
/* On success errors may hold remarks. */
MUST_CHECK int targets_finish(struct targets *targets, enum targets_purpose purpose,
                              struct config_errors *errors);

struct targets_questions;

/* Whether every name has an answer of some kind. */
bool targets_are_known(const struct targets *targets);
/* done comes once from the loop, after resolve.timeout at the latest, and not from within the call. Names
 * without an answer until then have failed. ERR_NOMEM. */
MUST_CHECK int targets_ask(struct targets *targets, struct event_base *base, struct resolver *resolver,
                           void (*done)(void *context), void *context, struct targets_questions **out);
/* From within done, or before it came, which it then does not. NULL is allowed. */
void targets_unask(struct targets_questions *questions);

/* All three at once, waiting for the names: for the time before there are threads. On success *out is owned
 * by the caller. */
MUST_CHECK int targets_resolve(const struct config *config, enum targets_purpose purpose,
                               struct targets **out, struct config_errors *errors);
/* NULL is allowed. */
void targets_destroy(struct targets *targets);

#endif
