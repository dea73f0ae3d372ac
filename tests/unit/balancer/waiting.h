/* Connections of a test that wait for a backend with room: they come, are told, are served, and go. */
#ifndef TESTS_UNIT_BALANCER_WAITING_H
#define TESTS_UNIT_BALANCER_WAITING_H

#include "tests/unit/balancer/support.h"

/* A connection of the test: waits, is woken, holds a lease. */
struct waiting_client {
    struct routing_waiter waiter;
    struct routing_attempts attempts;
    struct lease lease;
    bool waits;
    unsigned wakes; /* words on their way */
};

/* Every backend takes limit connections at a time, and size may wait for each group. */
struct routing *waiting_routing(struct support_options *options, uint32_t limit, uint32_t size);
/* Served at once (0), waiting (1), or refused (-1). */
int waiting_arrive(struct routing *r, struct support_picker *picker, struct waiting_client *client);
/* The word arrives. Whether it was served: 0, ERR_LIMIT (it waits on), or another error. */
int waiting_hear(struct routing *r, struct support_picker *picker, struct waiting_client *client);
/* Its connection ends. */
void waiting_go(struct routing *r, struct waiting_client *client);
/* How many wait for the group. */
uint32_t waiting_count(const struct routing *r, size_t group);

#endif
