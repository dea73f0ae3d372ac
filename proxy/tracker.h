/*
 * What is known of clients for limits on each: connections open, and how many came lately. One table for all
 * workers, exact over them, of a size fixed at the start: each client is in one of a few shards by a keyed
 * hash (so that nobody can choose to collide), and a shard is locked for the moment of one look-up, when a
 * connection begins or ends, never for a byte. A client with nothing open is kept until its place is needed,
 * the one longest unseen first. Counted: a table that was replaced lives until the last connection in it has
 * ended. Pure but for the locks; time is an argument. Any thread.
 */
#ifndef PROXY_TRACKER_H
#define PROXY_TRACKER_H

#include "core/addr.h"
#include "core/err.h"

#include <stddef.h>
#include <stdint.h>

struct tracker;

struct tracker_limits {
    uint32_t open;        /* connections at once; 0: any number */
    uint64_t interval_ns; /* one connection in this time on average; 0: any number */
    uint64_t burst_ns;    /* so far ahead of the average it may be */
};

/* Where a rate goes on from that has caught up then. What other limits, in force before, left further ahead
 * than these ever allow is cut. */
static inline uint64_t tracker_rate_from(uint64_t caught_up_ns, uint64_t interval_ns, uint64_t burst_ns,
                                         uint64_t now_ns)
{
    uint64_t from_ns = caught_up_ns > now_ns ? caught_up_ns : now_ns;
    return from_ns - now_ns > burst_ns + interval_ns ? now_ns + burst_ns : from_ns;
}

enum tracker_answer {
    TRACKER_TAKEN,
    TRACKER_TOO_MANY,  /* has as many open as it may */
    TRACKER_TOO_OFTEN, /* comes too often */
    TRACKER_NO_ROOM    /* every place is taken by a client with connections open: not kept track of */
};

/* entries: clients at most. ERR_NOMEM. Memory is taken as clients come. */
MUST_CHECK int tracker_create(size_t entries, struct tracker **out, struct err_text *err);
/* One more owner. Returns tracker. */
struct tracker *tracker_share(struct tracker *tracker);
/* An owner lets go of it; freed with the last of owners and claims. NULL is allowed. */
void tracker_drop(struct tracker *tracker);

/* One more connection of a client (a masked address, family 4 or 6). TRACKER_TAKEN: *claim is to be given
 * back once, with tracker_give; after any other answer there is nothing to give back. */
enum tracker_answer tracker_take(struct tracker *tracker, const struct tracker_limits *limits,
                                 const struct addr_ip *client, uint64_t now_us, uint32_t *claim);
void tracker_give(struct tracker *tracker, uint32_t claim);
/* Clients known now, those with nothing open too. */
size_t tracker_clients(struct tracker *tracker);

#endif
