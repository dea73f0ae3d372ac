/*
 * A whole data path in one process: a pool of two workers, a routing with backends that the test itself
 * listens for, one service. The test's thread plays clients and backends. At the end everything must be back
 * where it began.
 */
#ifndef TESTS_UNIT_PROXY_RIG_H
#define TESTS_UNIT_PROXY_RIG_H

#include "balancer/routing.h"
#include "core/worker.h"
#include "proxy/proxy.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_BACKENDS_MAX 4
#define RIG_WAIT_MS 10000

struct rig_options {
    unsigned backends; /* of the first group; 0: one */
    unsigned dead;     /* bits: backends that nobody listens for */
    unsigned full;     /* bits: backends whose queue is full, so that connecting hangs */
    bool unix_paths;   /* listener and backends are Unix paths */
    bool ipv6;
    uint32_t retries;
    uint64_t connect_us, idle_us, half_close_us; /* 0: 10 s */
    uint64_t max_connections;
    const struct config_service *config; /* NULL: none. The routing's only group is "old" in any case */
};

struct rig {
    struct event_base *control;
    struct worker_pool *pool;
    struct routing *routing;
    struct proxy *proxy;
    struct proxy_service *service;
    int backend_fd[RIG_BACKENDS_MAX];
    struct addr backend[RIG_BACKENDS_MAX];
    int filler[4 * RIG_BACKENDS_MAX]; /* clients that fill the queue of a full backend; ports of dead ones */
    unsigned filler_len;
    unsigned backends;
    char folder[64]; /* for Unix paths */
    unsigned descriptors;
    bool leave_open; /* rig_stop does not wait for connections to end */
};

void rig_start(struct rig *rig, const struct rig_options *options);
/* Ends all and checks: no connection open, counters add up, descriptors back. */
void rig_stop(struct rig *rig);

/* A connection to the service. Its calls block for at most RIG_WAIT_MS. */
int rig_client(struct rig *rig);
/* What the service opened to a backend. */
int rig_accept(struct rig *rig, unsigned backend);
/* Both, in that order. */
void rig_pair(struct rig *rig, int *client, int *backend);

void rig_send(int fd, const void *bytes, size_t size);
/* Exactly size bytes. */
void rig_expect(int fd, const void *bytes, size_t size);
void rig_expect_end(int fd);
/* ECONNRESET, after any number of bytes; returns how many. */
size_t rig_expect_reset(int fd);
/* Nothing to be read, and no end, for the time. */
void rig_expect_quiet(int fd, int ms);
/* Closes with RST. */
void rig_reset(int fd);

/* Deterministic bytes: the same seed and offset give the same byte. */
void rig_fill(unsigned char *out, size_t size, uint64_t seed, uint64_t offset);

/* Waits until the service has closed n connections for the reason. */
void rig_wait_closed(struct rig *rig, enum stats_close reason, uint64_t n);
void rig_wait_open(struct rig *rig, uint64_t n);
uint64_t rig_closed(struct rig *rig, enum stats_close reason);
struct stats_backend_reading rig_backend_stats(struct rig *rig, unsigned backend);
unsigned rig_descriptors(void);
/* Lets the control loop run for a moment. */
void rig_turn(struct rig *rig);
uint64_t rig_now_ms(void);

#endif
