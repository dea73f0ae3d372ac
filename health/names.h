/*
 * The host names of one service's backends while the program runs: asks again when answers have lived their
 * time, and makes backends of what is told. Control thread and its event base; reaches the data path only
 * through the routing. Which addresses follow from answers is pure: health/name_set.h.
 */
#ifndef HEALTH_NAMES_H
#define HEALTH_NAMES_H

#include "balancer/routing.h"
#include "core/config.h"
#include "core/err.h"
#include "core/events.h"
#include "health/health.h"
#include "health/lookup.h"
#include "health/name_set.h"

#include <stdint.h>

#define NAMES_HOST_MAX 256u /* with NUL */
/* The longest name of a backend that is a host name: "@", the address and its port come behind it. */
#define NAMES_TITLE_MAX (ROUTING_NAME_MAX - 56u)

/* One host name. Plain data, handed from what read the configuration to what runs it. */
struct names_host {
    uint32_t group, backend; /* which of the service's configuration */
    char host[NAMES_HOST_MAX];
    uint16_t port;
    bool running;        /* taken up from what runs */
    struct name_set set; /* owned */
};

/*
 * The backends of one group of config as the routing wants them: those with an address, and for those with a
 * host name each address known of it, named NAME@ADDRESS. *out is the caller's (names_specs_free). ERR_NOMEM.
 */
MUST_CHECK int names_specs(const struct config_service *config, uint32_t group,
                           const struct names_host *hosts, size_t hosts_len,
                           struct routing_backend_spec **out, size_t *len);
void names_specs_free(struct routing_backend_spec *specs, size_t len);
/* How many backends the group may come to have by its names: what routing_group_spec.room is for. */
size_t names_room(const struct names_host *hosts, size_t hosts_len, uint32_t group, uint32_t max);

struct names;

struct names_options {
    struct event_base *base;
    struct resolver *resolver;
    const struct config_resolve *resolve; /* borrowed; names_tune replaces it */
    const struct config_service *config;  /* borrowed */
    struct routing *routing;
    struct events_ring *events;
    /* A backend came in: what operators said of it before may be put in force again. NULL: nobody cares. */
    void (*arrived)(void *context, struct backend *backend);
    void *context;
};

/* Takes the sets out of hosts (which stay the caller's). Asks those at once that have no good answer, the
 * others when they are due. ERR_NOMEM. */
MUST_CHECK int names_create(const struct names_options *options, struct names_host *hosts, size_t hosts_len,
                            struct names **out);
/* Gives up what is under way. Backends stay. NULL is allowed. */
void names_destroy(struct names *names);
/* The checks that must know of backends that come and go; NULL: none. After each health_create. */
void names_set_health(struct names *names, struct health *health);
/* Other settings from now on; borrowed. */
void names_tune(struct names *names, const struct config_resolve *resolve);
/* The same for the hosts of a new configuration, which takes up what is known of a name with the same host,
 * port, group and backend name. ERR_NOT_FOUND; ERR_NOMEM. */
MUST_CHECK int names_recall(const struct names *names, const char *group, const char *backend,
                            const struct names_host *host, struct name_set *out);

size_t names_count(const struct names *names);
const struct names_host *names_at(const struct names *names, size_t index);
/* The group's and the backend's name in the configuration. */
const char *names_group(const struct names *names, size_t index);
const char *names_backend(const struct names *names, size_t index);
/* Of the one that a backend came of; NULL: of none. */
const struct names_host *names_of(const struct names *names, const struct backend *backend);
/* Questions that failed or found nothing, since the start. */
uint64_t names_failures(const struct names *names, size_t index);

#endif
