/*
 * Limits on bandwidth: a token bucket (a virtual clock of what is paid for, as in Zhang 1990) for each
 * direction of a connection, and one for each direction of a service that its connections on all workers
 * share. Both hold BANDWIDTH_BURST_MS worth of bytes. The arithmetic is pure, time is an argument; who waits
 * is woken by a timer that they share. Of connections that wait, those that got nothing come first.
 */
#ifndef PROXY_BANDWIDTH_H
#define PROXY_BANDWIDTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BANDWIDTH_BURST_MS 250u
#define BANDWIDTH_RATE_MAX (UINT64_C(1) << 40) /* bytes a second */

/* How many bytes may be taken now, when what was taken so far is paid for up to paid_ns. 0: wait; a few bytes
 * are not worth the trouble. rate: bytes a second, 1 to BANDWIDTH_RATE_MAX. */
size_t bandwidth_allowance(uint64_t rate, uint64_t paid_ns, uint64_t now_ns);
/* Where paid_ns stands after these bytes (fewer than 2^34). */
uint64_t bandwidth_pay(uint64_t rate, uint64_t paid_ns, size_t bytes, uint64_t now_ns);

/* Of a service, immutable. */
struct bandwidth_limits {
    bool any;
    uint64_t connection_rate[2]; /* by enum conn_side, the one the bytes come from; 0: no limit */
    uint64_t service_rate[2];
};

struct conn;
struct conn_pace;
struct config_service;

void bandwidth_configure(struct bandwidth_limits *limits, const struct config_service *config);
/* For a connection of a service with limits; NULL without memory. */
struct conn_pace *bandwidth_begin(void);
/* Forgets the timer too. NULL is allowed. */
void bandwidth_end(struct conn_pace *pace);
/* How many bytes of a side may be received now, SIZE_MAX: any number. 0: none, and the connection is looked
 * at again in a moment. The connection has a pace. */
size_t bandwidth_ask(struct conn *conn, unsigned side, uint64_t now_us);
/* So many were received. */
void bandwidth_take(struct conn *conn, unsigned side, size_t bytes, uint64_t now_us);

#endif
