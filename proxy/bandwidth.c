/*
 * Answers for how much a connection may receive now, where a service's bandwidth is limited, and for waking
 * it when it may again. Runs on the connection's worker; a service's own buckets are shared by the workers
 * (atomics), so that for a moment one receive of each worker too many may be taken, which is then waited for.
 */
#include "proxy/bandwidth.h"

#include "core/clock.h"

#include "proxy/proxy_internal.h"

#include <stdlib.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_US UINT64_C(1000)
#define BURST_NS (BANDWIDTH_BURST_MS * UINT64_C(1000000))
#define QUANTUM_BYTES 16384u /* enough to be worth a wake-up, or the 32nd part of the bucket */
#define QUANTUM_PART 32u
#define SHARE_BYTES 65536u /* of a service's bucket, in one receive */
#define AGAIN_SOONER_US (BANDWIDTH_AGAIN_US * 3 / 4)

struct conn_pace {
    struct deadline deadline;
    struct conn *conn; /* whose it is; set by the first wait */
    uint64_t paid_ns[2];
    bool waiting[2];
    bool served; /* since it was last looked at */
};

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

size_t bandwidth_allowance(uint64_t rate, uint64_t paid_ns, uint64_t now_ns)
{
    uint64_t ahead_ns = later(paid_ns, now_ns) - now_ns;
    if (ahead_ns >= BURST_NS) {
        return 0;
    }
    uint64_t most = BURST_NS / NS_PER_US * rate / (NS_PER_S / NS_PER_US);
    uint64_t bytes = (BURST_NS - ahead_ns) / NS_PER_US * rate / (NS_PER_S / NS_PER_US);
    uint64_t quantum = most / QUANTUM_PART < QUANTUM_BYTES ? most / QUANTUM_PART : QUANTUM_BYTES;
    return bytes > 0 && bytes >= quantum ? bytes : 0;
}

uint64_t bandwidth_pay(uint64_t rate, uint64_t paid_ns, size_t bytes, uint64_t now_ns)
{
    return later(paid_ns, now_ns) + (uint64_t)bytes * NS_PER_S / rate;
}

static uint64_t rate_of(uint64_t configured)
{
    return configured == UINT64_MAX ? 0 : configured;
}

void bandwidth_configure(struct bandwidth_limits *limits, const struct config_service *config)
{
    limits->connection_rate[CONN_CLIENT] = rate_of(config->bandwidth.per_connection_in);
    limits->connection_rate[CONN_BACKEND] = rate_of(config->bandwidth.per_connection_out);
    limits->service_rate[CONN_CLIENT] = rate_of(config->bandwidth.service_in);
    limits->service_rate[CONN_BACKEND] = rate_of(config->bandwidth.service_out);
    for (int side = CONN_CLIENT; side <= CONN_BACKEND; side++) {
        limits->any |= limits->connection_rate[side] > 0 || limits->service_rate[side] > 0;
    }
}

struct conn_pace *bandwidth_begin(void)
{
    struct conn_pace *pace = calloc(1, sizeof(*pace));
    if (pace != NULL) {
        deadline_init(&pace->deadline);
    }
    return pace;
}

void bandwidth_end(struct conn_pace *pace)
{
    if (pace != NULL) {
        deadline_cancel(&pace->deadline);
        free(pace);
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t allowance(const struct conn *conn, unsigned side, uint64_t now_ns)
{
    const struct bandwidth_limits *limits = &service_terms(conn)->pace;
    size_t bytes = SIZE_MAX;
    if (limits->connection_rate[side] > 0) {
        bytes = bandwidth_allowance(limits->connection_rate[side], conn->pace->paid_ns[side], now_ns);
    }
    if (limits->service_rate[side] > 0 && bytes > 0) {
        uint64_t paid_ns = atomic_load_explicit(&conn->home->service->paid_ns[side], memory_order_relaxed);
        bytes = smaller(bytes, bandwidth_allowance(limits->service_rate[side], paid_ns, now_ns));
        bytes = smaller(bytes, SHARE_BYTES);
    }
    return bytes;
}

size_t bandwidth_ask(struct conn *conn, unsigned side, uint64_t now_us)
{
    struct conn_pace *pace = conn->pace;
    if (pace->waiting[side]) {
        return 0; /* whoever waits, waits for the timer: an event gives no place further in front */
    }
    size_t bytes = allowance(conn, side, now_us * NS_PER_US);
    if (bytes == 0) {
        pace->waiting[side] = true;
        if (!pace->waiting[CONN_OTHER(side)]) {
            pace->conn = conn;
            deadline_arm(conn->home->shared->pace, &pace->deadline, now_us);
        }
    }
    return bytes;
}

static void pay_together(const struct conn *conn, uint64_t rate, unsigned side, size_t bytes, uint64_t now_ns)
{
    _Atomic uint64_t *paid = &conn->home->service->paid_ns[side];
    uint64_t seen = atomic_load_explicit(paid, memory_order_relaxed);
    uint64_t paid_ns;
    do {
        paid_ns = bandwidth_pay(rate, seen, bytes, now_ns);
    } while (!atomic_compare_exchange_weak_explicit(paid, &seen, paid_ns, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void bandwidth_take(struct conn *conn, unsigned side, size_t bytes, uint64_t now_us)
{
    const struct bandwidth_limits *limits = &service_terms(conn)->pace;
    struct conn_pace *pace = conn->pace;
    uint64_t now_ns = now_us * NS_PER_US;
    pace->served = true;
    if (limits->connection_rate[side] > 0) {
        pace->paid_ns[side] =
            bandwidth_pay(limits->connection_rate[side], pace->paid_ns[side], bytes, now_ns);
    }
    if (limits->service_rate[side] > 0) {
        pay_together(conn, limits->service_rate[side], side, bytes, now_ns);
    }
}

/* Who got something comes behind those who got nothing when they are looked at again. */
uint64_t bandwidth_on_deadline(struct deadline *deadline, uint64_t now_us, void *context)
{
    (void)context;
    struct conn_pace *pace = list_entry(deadline, struct conn_pace, deadline);
    struct conn *conn = pace->conn;
    pace->waiting[CONN_CLIENT] = pace->waiting[CONN_BACKEND] = false;
    pace->served = false;
    conn_run(conn, now_us);
    if (conn->pace == NULL) {
        return 0; /* it was closed, its memory lives to the end of the turn */
    }
    if (!pace->waiting[CONN_CLIENT] && !pace->waiting[CONN_BACKEND]) {
        return 0;
    }
    return now_us + (pace->served ? BANDWIDTH_AGAIN_US : AGAIN_SOONER_US);
}
