/*
 * The data path of one service: listeners on every worker, connections between clients and backends.
 * Everything here is called on the control thread; what happens on the workers is inside the room.
 */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "balancer/routing.h"
#include "core/addr.h"
#include "core/err.h"
#include "core/given.h"
#include "core/stats.h"
#include "core/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proxy; /* what all services share: pipe pools, the descriptor budget */
struct proxy_service;

struct proxy_options {
    struct worker_pool *pool; /* borrowed */
    uint64_t max_connections; /* client connections over all services; 0: derived from RLIMIT_NOFILE */
    const struct config_limits *limits; /* over all services; borrowed for the call. NULL: none */
};

struct proxy_timeouts {
    uint64_t connect_us, idle_us, half_close_us; /* CLOCK_NEVER: none */
};

struct proxy_service_spec {
    const char *name;
    struct routing *routing;   /* borrowed; must outlive the service */
    const struct addr *listen; /* port 0 takes a free one */
    size_t listen_len;
    struct proxy_timeouts timeouts;
    uint32_t retries;
    uint32_t connection_log_bp;          /* of the connections that ended so many have a line in the log */
    const struct config_service *config; /* borrowed for the call: what stands between the service and its
                                            clients. NULL: nothing */
    struct given *given; /* sockets that listen already, taken where an address is the same; borrowed for the
                            call. NULL: none */
};

/* Raises the soft descriptor limit to the hard one and derives the connection limit from it (see
 * docs/architecture.md). */
MUST_CHECK int proxy_create(const struct proxy_options *options, struct proxy **out, struct err_text *err);
/* All services destroyed before. */
void proxy_destroy(struct proxy *proxy);
uint64_t proxy_max_connections(const struct proxy *proxy);
/* The keys of session tickets, for another process of ours that goes on with them: secret. Into out, which
 * has room for PROXY_TICKETS_BYTES_MAX; returns the length, 0 where no service has TLS. import takes such an
 * export in place of its own keys; without TLS it does nothing. ERR_PARSE, ERR_NOMEM: all stays. */
#define PROXY_TICKETS_BYTES_MAX 512u
size_t proxy_tickets_export(const struct proxy *proxy, uint8_t *out);
MUST_CHECK int proxy_tickets_import(struct proxy *proxy, const uint8_t *bytes, size_t length);

/* What follows from the limit on descriptors. */
struct proxy_limits {
    uint64_t descriptors;  /* RLIMIT_NOFILE, as it was raised */
    uint64_t connections;  /* over all services: two descriptors each of what is left */
    uint64_t pipes;        /* for bulk, over all workers; when they are used up, bulk is copied */
    uint64_t open;         /* connections now */
    uint64_t memory_bytes; /* that so many connections can hold at most, with both sides stuck. What the
                              kernel holds for their sockets is not in it */
};
/* Control thread. */
void proxy_read_limits(const struct proxy *proxy, struct proxy_limits *out);
/*
 * Nothing more is accepted by any service until proxy_resume; the listening sockets stay open, so who comes
 * waits in the kernel. done(context) runs on the control thread once no worker accepts any more. ERR_NOMEM:
 * nothing has changed.
 */
MUST_CHECK int proxy_hold(struct proxy *proxy, void (*done)(void *context), void *context);
/* ERR_NOMEM: nothing is accepted yet, call again. */
MUST_CHECK int proxy_resume(struct proxy *proxy);

/* Binds and listens, but accepts nothing before proxy_service_start. A Unix path that exists is replaced only
 * if nothing listens on it. Errors name the address: ERR_EXISTS (in use), ERR_DENIED, ERR_UNAVAILABLE (not of
 * this host), ERR_SYSTEM, ERR_NOMEM. */
MUST_CHECK int proxy_service_create(struct proxy *proxy, const struct proxy_service_spec *spec,
                                    struct proxy_service **out, struct err_text *err);
/* Whether the files that the service's TLS goes by are there and good. ERR_INVALID, ERR_NOMEM. */
MUST_CHECK int proxy_examine(const struct config_service *config, struct err_text *err);
/* Begins to accept on all workers. */
MUST_CHECK int proxy_service_start(struct proxy_service *service, struct err_text *err);
/* Stops accepting and closes the listeners; connections go on. */
void proxy_service_stop(struct proxy_service *service);
/* The same where another process has the listeners too and goes on with them: paths of Unix sockets stay. */
void proxy_service_leave(struct proxy_service *service);
/* Paths of Unix sockets that were given are this process's to remove from now on, but for those of a service
 * manager. Before proxy_service_start. */
void proxy_service_own(struct proxy_service *service);
/* It was taken away, and goes on only with the connections that it has: who waits in the queues of its
 * listening sockets is served, then they are closed. Not where a socket was taken from given, which it was
 * offered to: another service goes on with that. */
void proxy_service_retire(struct proxy_service *service, const struct given *given);
/* Nothing of it is open any more, nor waits in a queue of what it listened on. */
bool proxy_service_is_closed(const struct proxy_service *service);
/* Shows every listening socket, those of one address in the order of the workers. Not once it is stopped. */
void proxy_service_sockets(const struct proxy_service *service, given_visit_fn *visit, void *context);
/* Only once it is stopped and proxy_service_is_closed, or after worker_pool_destroy. */
void proxy_service_destroy(struct proxy_service *service);

/*
 * What a service goes by towards its clients, changed while connections are open: TLS, timeouts, PROXY
 * headers in and out, lists, limits, routes by name, bandwidth, sources. prepare makes all that can fail,
 * files of lists included, and changes nothing; config is borrowed until apply. ERR_NOMEM and those of
 * prefixes_load and source_try. apply comes after the routing's own change; from then on it holds for all
 * connections that come. Open ones: a timeout whose length changed begins anew; bandwidth and limits count
 * them.
 */
struct proxy_change;
MUST_CHECK int proxy_service_change_prepare(struct proxy_service *service,
                                            const struct config_service *config, struct proxy_change **out,
                                            struct err_text *err);
void proxy_service_change_apply(struct proxy_service *service, struct proxy_change *change);
/* NULL is allowed. */
void proxy_service_change_drop(struct proxy_change *change);

/*
 * Where a running service listens, changed: the addresses that stay, whatever their order, keep their sockets
 * with all who wait in them. begin finds out what stays (listen as in proxy_service_spec; an address is the
 * same when it is bound there, or was asked for in the same words, as with port 0). offer shows the sockets
 * of those that are to leave. prepare binds those that come, from given where they are there, and changes
 * nothing else: errors as those of proxy_service_create. apply: those that come accept, of those that leave
 * who waits in their queues is served, then they are closed and Unix paths removed, unless their sockets were
 * taken from given. drop undoes begin and prepare; NULL is allowed.
 */
struct proxy_listen_change;
MUST_CHECK int proxy_listen_change_begin(const struct proxy_service *service, const struct addr *listen,
                                         size_t len, struct proxy_listen_change **out);
void proxy_listen_change_offer(const struct proxy_listen_change *change, given_visit_fn *visit,
                               void *context);
MUST_CHECK int proxy_listen_change_prepare(struct proxy_service *service, struct proxy_listen_change *change,
                                           struct given *given, struct err_text *err);
/* The index-th address that comes, or leaves, as bound. False: there are no more. After prepare. */
bool proxy_listen_change_address(const struct proxy_listen_change *change, bool comes, size_t index,
                                 struct addr *out);
void proxy_listen_change_apply(struct proxy_service *service, struct proxy_listen_change *change,
                               const struct given *given);
void proxy_listen_change_drop(struct proxy_listen_change *change);

/* ---- the care for TLS, see proxy/tls_care.c */

/* A number that changes when a file that the service's TLS goes by was changed; 0: it has no TLS. Asks the
 * file system. */
uint64_t proxy_tls_stamp(const struct config_service *config);
/* The same as it was when what is in force was read. */
uint64_t proxy_service_tls_stamp(const struct proxy_service *service);

/* A certificate that clients are shown. */
struct proxy_certificate {
    const char *file; /* borrowed, good until the service's next change */
    const char *name; /* the first that it is for; empty: none. Likewise */
    int64_t end_s;    /* when it, or one that comes with it, ends: seconds since 1970 */
};
/* 0: clients of the service speak plainly. */
size_t proxy_service_certificates(const struct proxy_service *service);
void proxy_service_certificate(const struct proxy_service *service, size_t index,
                               struct proxy_certificate *out);

/* Changes the key of session tickets when that is due; to be called now and then. */
void proxy_tickets_tend(struct proxy *proxy, uint64_t now_us);

/* The same for the limits over all services; ERR_NOMEM. */
struct admission_limits;
MUST_CHECK int proxy_limits_prepare(struct proxy *proxy, const struct config_limits *limits,
                                    struct admission_limits **out, struct err_text *err);
void proxy_limits_apply(struct proxy *proxy, struct admission_limits *limits);
/* NULL is allowed. */
void proxy_limits_drop(struct admission_limits *limits);

/* Changes for the connections that come. */
void proxy_service_tune(struct proxy_service *service, uint32_t retries, uint32_t connection_log_bp);

size_t proxy_service_listeners(const struct proxy_service *service);
/* The address really bound (with the port the system chose). */
const struct addr *proxy_service_listen_address(const struct proxy_service *service, size_t index);
/* Client connections open now. */
uint64_t proxy_service_open(const struct proxy_service *service);
/* Sums the counters of all workers into out (cleared first). accepted = open + all of closed[], in every
 * reading taken while no connection changes. */
void proxy_service_read(const struct proxy_service *service, struct stats_service_reading *out);

/* What another process counted for this service, its open connections among it: part of every reading from
 * now on, in place of what was set before. */
void proxy_service_inherit(struct proxy_service *service, const struct stats_service_reading *counted);

/* Which connections to close: all of the service, of a group, or of one backend. */
struct proxy_close_filter {
    uint32_t group;                /* ROUTING_NONE: any */
    const struct backend *backend; /* NULL: any; only compared */
    uint64_t max;                  /* close at most so many; 0: all */
    uint64_t idle_us;              /* only those without a byte for so long; 0: any */
    bool idle_first;               /* with max: when too few are so idle, any others too */
    uint64_t id;                   /* this connection alone; 0: any */
    uint64_t before_us;            /* accepted at or before this (monotonic); 0: any */
    struct addr_ip client;         /* of this address; family 0: any */
    unsigned client_bits;          /* so many of its bits count; the rest of client is 0 */
};
/*
 * Closes the matching connections with reason (DRAINED, KILLED, SHUTDOWN): what was read is delivered if it
 * goes without waiting, then both sides are closed in order. Does not wait; done(context, closed) runs on the
 * control thread afterwards (may be NULL).
 */
MUST_CHECK int proxy_service_close(struct proxy_service *service, const struct proxy_close_filter *filter,
                                   enum stats_close reason, void (*done)(void *context, uint64_t closed),
                                   void *context);

/* One open connection, as it was a moment ago. */
struct proxy_connection {
    uint64_t id;
    uint64_t age_us, idle_us;
    uint64_t bytes_in, bytes_out;  /* delivered: from the client, from the backend */
    const struct backend *backend; /* only compared, never followed: it may be gone. NULL: none chosen yet */
    const char *state;             /* static storage: "relay" */
    uint32_t group; /* ROUTING_NONE: no backend chosen yet; of one that waits: for which it waits */
    struct addr_ip client;
};

/* Both run on the control thread. */
struct proxy_visitor {
    void (*rows)(void *context, const struct proxy_connection *rows, size_t n); /* borrowed for the call */
    void (*done)(void *context, bool complete); /* not complete: memory or the service ended on the way */
    void *context;
};

/*
 * Shows every open connection that filter means (max and idle_first are not looked at) to the visitor, in
 * slices that leave the workers to their traffic in between. Connections accepted after it began are not
 * shown; those of one worker come oldest first. Nothing is called before it returns. ERR_NOMEM.
 */
MUST_CHECK int proxy_service_visit(struct proxy_service *service, const struct proxy_close_filter *filter,
                                   const struct proxy_visitor *visitor);

#define PROXY_ID_TEXT_MAX 28u /* with NUL */
/* An id as operators see and type it: WORKER-NUMBER, "1-4711". Unique as long as the process lives. */
void proxy_id_format(uint64_t id, char *out, size_t out_size);
/* ERR_PARSE. */
MUST_CHECK int proxy_id_parse(const char *text, uint64_t *out);

#endif
