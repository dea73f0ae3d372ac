/*
 * The embedded clients of the demo, on one thread of their own: short ones that connect, ask a few times and
 * leave; renewing ones that keep a connection for some seconds, as a connection pool does; and staying ones
 * that keep it until it is closed from the other side, and then connect again.
 */
#ifndef DAEMON_DEMO_CLIENTS_H
#define DAEMON_DEMO_CLIENTS_H

#include "core/addr.h"
#include "core/err.h"
#include "core/histogram.h"
#include "daemon/demo/backends.h"

#include <stdint.h>

struct demo_clients;

struct demo_clients_options {
    struct addr address;  /* of the service */
    unsigned count;       /* clients, each with one connection at a time */
    uint64_t lifetime_us; /* how long a renewing client keeps a connection, on average */
};

/* What clients saw, by the version that answered. All but the gauges only grow. */
struct demo_clients_reading {
    uint64_t connections; /* opened */
    uint64_t operations;  /* answered, and answered rightly */
    uint64_t errors;      /* anything else, each shown in first_error's manner */
    uint64_t asked_to_go; /* connections closed by the other side while nothing was asked */
    uint64_t repeated;    /* requests sent again since their kept connection closed before an answer */
    uint64_t busy;        /* clients that have a connection now (a gauge) */
    char first_error[160];
    struct {
        uint64_t connections, operations;
        struct histogram_reading latency_us;
    } version[DEMO_VERSIONS];
};

/* Starts them. *out is owned by the caller. */
MUST_CHECK int demo_clients_create(const struct demo_clients_options *options, struct demo_clients **out,
                                   struct err_text *err);
/* Each finishes the request it is in, closes, and rests: then busy is 0. Any thread but their own; does not
 * wait; once. */
void demo_clients_finish(struct demo_clients *clients);
/* Ends the thread, closes everything. NULL is allowed. */
void demo_clients_destroy(struct demo_clients *clients);
/* Any thread. */
void demo_clients_read(const struct demo_clients *clients, struct demo_clients_reading *out);

#endif
