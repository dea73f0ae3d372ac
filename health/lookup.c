/*
 * Asks name servers with c-ares (ares_getaddrinfo(3)), driven by libevent. The two families are asked apart,
 * so that one that fails is known from one that is not there. Never blocks but for reading /etc/resolv.conf
 * and /etc/hosts. What follows from an answer is health/name_set.c's. The thread of the base.
 */
#include "health/lookup.h"

#include "core/clock.h"
#include "core/list.h"

#include <ares.h>
#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOCKETS_MAX 16u
/* A try waits an eighth of the time; the second and third wait twice and four times as long. */
#define TRIES 3
#define TRY_PART 8u
#define TRY_LEAST_MS 20u

struct resolver {
    struct event_base *base; /* borrowed */
    unsigned parallel, active;
    struct list waiting; /* of struct lookup */
    bool library;        /* c-ares is initialised for us */
};

/* One family's question. */
struct question {
    struct lookup *lookup;
    bool asked, over;
    int status; /* of c-ares */
};

struct lookup {
    struct resolver *resolver; /* borrowed */
    struct list node;          /* in waiting, or nowhere */
    bool active, over, late;
    char *host, *servers; /* owned; servers NULL: the system's */
    uint16_t port;
    enum config_family family;
    uint64_t timeout_us, deadline_us;
    lookup_done_fn *done;
    void *context;
    ares_channel channel; /* owned; NULL: none */
    struct event *timer;  /* owned; the next step of c-ares, the deadline, the end */
    struct event *sockets[SOCKETS_MAX];
    struct question ipv4, ipv6;
    struct addr *addresses; /* owned */
    size_t len, room;
    uint64_t ttl_s;              /* least of the records */
    bool short_of;               /* memory */
    bool unfit_ipv4, unfit_ipv6; /* an address was told that no server can have */
};

static void begin(struct lookup *lookup);

/* ---- the resolver */

int resolver_create(struct event_base *base, unsigned parallel, struct resolver **out)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    if (resolver == NULL) {
        return ERR_NOMEM;
    }
    resolver->base = base;
    resolver->parallel = parallel;
    list_init(&resolver->waiting);
    resolver->library = ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS;
    if (!resolver->library) {
        resolver_destroy(resolver);
        return ERR_NOMEM;
    }
    *out = resolver;
    return 0;
}

void resolver_destroy(struct resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    assert(list_empty(&resolver->waiting) && resolver->active == 0);
    if (resolver->library) {
        ares_library_cleanup();
    }
    free(resolver);
}

static void begin_waiting(struct resolver *resolver)
{
    while (resolver->active < resolver->parallel && !list_empty(&resolver->waiting)) {
        begin(list_entry(resolver->waiting.next, struct lookup, node));
    }
}

/* ---- what c-ares wants to hear of */

static void arm(struct lookup *lookup)
{
    uint64_t now_us = clock_mono_us();
    uint64_t wait_us = lookup->deadline_us > now_us ? lookup->deadline_us - now_us : 0;
    struct timeval next;
    if (lookup->over) {
        return; /* the timer is active already */
    }
    if (ares_timeout(lookup->channel, NULL, &next) != NULL) {
        uint64_t next_us = (uint64_t)next.tv_sec * CLOCK_US_PER_S + (uint64_t)next.tv_usec;
        wait_us = next_us < wait_us ? next_us : wait_us;
    }
    const struct timeval wait = {.tv_sec = (time_t)(wait_us / CLOCK_US_PER_S),
                                 .tv_usec = (suseconds_t)(wait_us % CLOCK_US_PER_S)};
    if (evtimer_add(lookup->timer, &wait) != 0) {
        event_active(lookup->timer, EV_TIMEOUT, 0);
    }
}

static void on_socket(evutil_socket_t fd, short what, void *context)
{
    struct lookup *lookup = context;
    ares_process_fd(lookup->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
                    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
    arm(lookup);
}

/* A socket's wishes changed; none: it is about to be closed. One that there is no room or memory for is not
 * heard, and its question times out. */
static void on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
    struct lookup *lookup = context;
    short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    size_t at = SOCKETS_MAX;
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (lookup->sockets[i] != NULL && event_get_fd(lookup->sockets[i]) == fd) {
            event_free(lookup->sockets[i]);
            lookup->sockets[i] = NULL;
        }
        if (lookup->sockets[i] == NULL) {
            at = i;
        }
    }
    if (what == 0 || at == SOCKETS_MAX) {
        return;
    }
    lookup->sockets[at] =
        event_new(lookup->resolver->base, fd, (short)(what | EV_PERSIST), on_socket, lookup);
    if (lookup->sockets[at] != NULL && event_add(lookup->sockets[at], NULL) != 0) {
        event_free(lookup->sockets[at]);
        lookup->sockets[at] = NULL;
    }
}

/* ---- answers */

/* Nobody can be reached there: sinkholes tell 0.0.0.0 and ::, which would be this machine itself. */
static bool is_unfit(const struct ares_addrinfo_node *node)
{
    if (node->ai_family == AF_INET) {
        in_addr_t host = ntohl(((const struct sockaddr_in *)(const void *)node->ai_addr)->sin_addr.s_addr);
        return host == INADDR_ANY || host == INADDR_BROADCAST || IN_MULTICAST(host);
    }
    const struct in6_addr *host = &((const struct sockaddr_in6 *)(const void *)node->ai_addr)->sin6_addr;
    return IN6_IS_ADDR_UNSPECIFIED(host) || IN6_IS_ADDR_MULTICAST(host);
}

static void add_address(struct lookup *lookup, const struct ares_addrinfo_node *node)
{
    struct addr address = {.len = node->ai_addrlen};
    bool wanted = node->ai_family == AF_INET    ? lookup->family != CONFIG_FAMILY_IPV6
                  : node->ai_family == AF_INET6 ? lookup->family != CONFIG_FAMILY_IPV4
                                                : false;
    if (!wanted || node->ai_addrlen > sizeof(address.in6)) {
        return;
    }
    if (is_unfit(node)) {
        *(node->ai_family == AF_INET ? &lookup->unfit_ipv4 : &lookup->unfit_ipv6) = true;
        return;
    }
    if (lookup->len == lookup->room) {
        size_t room = lookup->room > 0 ? 2 * lookup->room : 16;
        struct addr *more = realloc(lookup->addresses, room * sizeof(*more));
        if (more == NULL) {
            lookup->short_of = true;
            return;
        }
        lookup->addresses = more;
        lookup->room = room;
    }
    memcpy(&address.sa, node->ai_addr, node->ai_addrlen);
    if (node->ai_family == AF_INET) {
        address.in.sin_port = htons(lookup->port);
    } else {
        address.in6.sin6_port = htons(lookup->port);
    }
    lookup->addresses[lookup->len++] = address;
}

static void note_ttl(struct lookup *lookup, int ttl_s)
{
    uint64_t ttl = ttl_s > 0 ? (uint64_t)ttl_s : 0;
    lookup->ttl_s = ttl < lookup->ttl_s ? ttl : lookup->ttl_s;
}

/* Also from within lookup_start and ares_destroy. */
static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *result)
{
    struct question *question = context;
    struct lookup *lookup = question->lookup;
    (void)timeouts;
    question->over = true;
    question->status = status;
    if (result != NULL && status == ARES_SUCCESS) {
        for (const struct ares_addrinfo_node *node = result->nodes; node != NULL; node = node->ai_next) {
            add_address(lookup, node);
            note_ttl(lookup, node->ai_ttl);
        }
        for (const struct ares_addrinfo_cname *name = result->cnames; name != NULL; name = name->next) {
            note_ttl(lookup, name->ttl);
        }
    }
    if (result != NULL) {
        ares_freeaddrinfo(result);
    }
    if (!lookup->over && lookup->ipv4.over == lookup->ipv4.asked && lookup->ipv6.over == lookup->ipv6.asked) {
        lookup->over = true; /* the channel cannot go while it calls us */
        event_active(lookup->timer, EV_TIMEOUT, 0);
    }
}

/* That there is nothing is an answer too; and what is no name will never be one. */
static bool is_told(int status)
{
    return status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND ||
           status == ARES_EBADNAME;
}

static void describe(const struct lookup *lookup, int status, char *out, size_t size)
{
    char timeout[32];
    clock_format_duration(lookup->timeout_us, timeout, sizeof(timeout));
    if (lookup->short_of || status == ARES_ENOMEM) {
        (void)snprintf(out, size, "out of memory");
    } else if (lookup->unfit_ipv4 || lookup->unfit_ipv6) {
        (void)snprintf(out, size, "it was told with an address that no server can have (%s)",
                       lookup->unfit_ipv4 ? "0.0.0.0, a broadcast or a multicast" : "::, or a multicast");
    } else if (status == ARES_ENOTFOUND) {
        (void)snprintf(out, size, "the name does not exist (NXDOMAIN)");
    } else if (status == ARES_ENODATA || status == ARES_SUCCESS) {
        (void)snprintf(out, size, "the name has no address");
    } else if (lookup->late || status == ARES_ETIMEOUT) {
        (void)snprintf(out, size, "no answer within %s", timeout);
    } else if (status == ARES_ECONNREFUSED || status == ARES_ESERVFAIL || status == ARES_EREFUSED) {
        (void)snprintf(out, size, "no name server could tell (SERVFAIL, refused or not there)");
    } else {
        (void)snprintf(out, size, "%s", ares_strerror(status));
    }
}

/* ---- the end */

static void release(struct lookup *lookup)
{
    lookup->over = true; /* what ares_destroy calls is not an answer */
    if (lookup->channel != NULL) {
        ares_destroy(lookup->channel);
    }
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (lookup->sockets[i] != NULL) {
            event_free(lookup->sockets[i]);
        }
    }
    if (lookup->timer != NULL) {
        event_free(lookup->timer);
    }
    list_remove(&lookup->node);
    lookup->resolver->active -= lookup->active;
    free(lookup->addresses);
    free(lookup->servers);
    free(lookup->host);
    free(lookup);
}

static void finish(struct lookup *lookup)
{
    struct resolver *resolver = lookup->resolver;
    bool failed_ipv4 =
        lookup->unfit_ipv4 || (lookup->ipv4.asked && (lookup->short_of || !is_told(lookup->ipv4.status)));
    bool failed_ipv6 =
        lookup->unfit_ipv6 || (lookup->ipv6.asked && (lookup->short_of || !is_told(lookup->ipv6.status)));
    int status =
        !lookup->ipv4.asked || (failed_ipv6 && !failed_ipv4) ? lookup->ipv6.status : lookup->ipv4.status;
    char reason[NAME_SET_REASON_MAX];
    describe(lookup, status, reason, sizeof(reason));
    const struct name_answer answer = {.addresses = lookup->addresses,
                                       .len = lookup->short_of ? 0 : lookup->len,
                                       .ttl_us = lookup->ttl_s * CLOCK_US_PER_S,
                                       .failed_ipv4 = failed_ipv4,
                                       .failed_ipv6 = failed_ipv6,
                                       .reason = reason};
    lookup_done_fn *done = lookup->done;
    void *context = lookup->context;
    struct addr *addresses = lookup->addresses;
    lookup->addresses = NULL; /* outlives the lookup by a call */
    release(lookup);
    begin_waiting(resolver);
    done(context, &answer);
    free(addresses);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct lookup *lookup = context;
    (void)fd;
    (void)what;
    if (lookup->over) {
        finish(lookup);
        return;
    }
    if (clock_mono_us() >= lookup->deadline_us) {
        lookup->late = true;
        ares_cancel(lookup->channel); /* its questions end, and with them the lookup */
        return;
    }
    ares_process_fd(lookup->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(lookup);
}

/* ---- the beginning */

static int open_channel(struct lookup *lookup)
{
    uint64_t try_ms = lookup->timeout_us / TRY_PART / CLOCK_US_PER_MS;
    struct ares_options options = {.timeout = (int)(try_ms > TRY_LEAST_MS ? try_ms : TRY_LEAST_MS),
                                   .tries = TRIES,
                                   .lookups = (char[]){"fb"}, /* files, then servers */
                                   .sock_state_cb = on_socket_state,
                                   .sock_state_cb_data = lookup};
    int status =
        ares_init_options(&lookup->channel, &options,
                          ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) {
        lookup->channel = NULL;
    } else if (lookup->servers != NULL) {
        status = ares_set_servers_ports_csv(lookup->channel, lookup->servers);
    }
    return status;
}

static void ask(struct lookup *lookup, struct question *question, int family)
{
    const struct ares_addrinfo_hints hints = {
        .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
    ares_getaddrinfo(lookup->channel, lookup->host, NULL, &hints, on_answer, question);
}

/* Its turn has come. Whatever fails here is told from the loop, like any other failure. */
static void begin(struct lookup *lookup)
{
    list_remove(&lookup->node);
    lookup->active = true;
    lookup->resolver->active++;
    lookup->deadline_us = clock_mono_us() + lookup->timeout_us;
    int status = open_channel(lookup);
    if (status != ARES_SUCCESS) {
        lookup->ipv4.status = status;
        lookup->ipv6.status = status;
        lookup->over = true;
        event_active(lookup->timer, EV_TIMEOUT, 0);
        return;
    }
    if (strcasecmp(lookup->host, "localhost") == 0) {
        /* c-ares 1.18 loses a few bytes each time it is asked for the IPv6 address of this one alone. */
        lookup->ipv4.asked = true;
        lookup->ipv6.asked = false;
        ask(lookup, &lookup->ipv4, AF_UNSPEC);
    } else if (lookup->ipv4.asked) {
        ask(lookup, &lookup->ipv4, AF_INET);
    }
    if (lookup->ipv6.asked) {
        ask(lookup, &lookup->ipv6, AF_INET6);
    }
    arm(lookup);
}

/* "A:P,B:P" as c-ares takes it; *out NULL: the system's. */
static int join_servers(const struct config_resolve *config, char **out)
{
    size_t length = 1;
    *out = NULL;
    for (size_t i = 0; i < config->servers_len; i++) {
        length += strlen(config->servers[i]) + 1;
    }
    if (config->servers_len == 0) {
        return 0;
    }
    char *text = calloc(1, length);
    if (text == NULL) {
        return ERR_NOMEM;
    }
    char *end = text;
    for (size_t i = 0; i < config->servers_len; i++) {
        end += snprintf(end, length - (size_t)(end - text), "%s%s", i > 0 ? "," : "", config->servers[i]);
    }
    *out = text;
    return 0;
}

int lookup_start(struct resolver *resolver, const struct config_resolve *config, const char *host,
                 uint16_t port, lookup_done_fn *done, void *context, struct lookup **out)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (lookup == NULL) {
        return ERR_NOMEM;
    }
    lookup->resolver = resolver;
    list_init(&lookup->node);
    lookup->port = port;
    lookup->family = config->family;
    lookup->timeout_us = config->timeout_us;
    lookup->done = done;
    lookup->context = context;
    lookup->ttl_s = UINT32_MAX;
    lookup->ipv4 = (struct question){.lookup = lookup, .asked = config->family != CONFIG_FAMILY_IPV6};
    lookup->ipv6 = (struct question){.lookup = lookup, .asked = config->family != CONFIG_FAMILY_IPV4};
    lookup->host = strdup(host);
    lookup->timer = evtimer_new(resolver->base, on_timer, lookup);
    if (lookup->host == NULL || lookup->timer == NULL || join_servers(config, &lookup->servers) != 0) {
        release(lookup);
        return ERR_NOMEM;
    }
    list_append(&resolver->waiting, &lookup->node);
    begin_waiting(resolver);
    *out = lookup;
    return 0;
}

void lookup_cancel(struct lookup *lookup)
{
    struct resolver *resolver = lookup->resolver;
    release(lookup);
    begin_waiting(resolver);
}
