/*
 * Answers for what the process can hold at most: connections, pipes, and the memory that follows from them.
 * The limits themselves are set in proxy.c. Control thread.
 */
#include "proxy/proxy_internal.h"

/* What libssl holds for one encrypted end: its state, and a record each way. */
#define TLS_END_BYTES ((uint64_t)48 * 1024)

/* At worst each direction holds one receive that nobody takes, as long as the scratch buffer. */
static uint64_t connection_bytes(const struct proxy *proxy)
{
    uint64_t bytes = sizeof(struct conn) + sizeof(struct conn_attempt) +
                     2 * (sizeof(struct conn_spill) + proxy->scratch_bytes);
    return bytes + (proxy->encrypts ? 2 * TLS_END_BYTES : 0);
}

void proxy_read_limits(const struct proxy *proxy, struct proxy_limits *out)
{
    *out = (struct proxy_limits){.descriptors = proxy->descriptors,
                                 .connections = proxy->max_connections,
                                 .pipes = proxy->pipes,
                                 .open = atomic_load_explicit(&proxy->open, memory_order_relaxed),
                                 .memory_bytes = proxy->max_connections * connection_bytes(proxy)};
}
