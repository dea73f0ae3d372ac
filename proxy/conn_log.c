/*
 * The line of a connection that has ended, for those who keep such a log: who, where to, why it ended, how
 * much, how long. On the connection's worker; the log's queue is all that is waited for, and only for its
 * lock.
 */
#include "core/clock.h"
#include "core/log.h"
#include "proxy/proxy_internal.h"

/* Microseconds as seconds. */
static double seconds(uint64_t us)
{
    return (double)us / (double)CLOCK_US_PER_S;
}

void conn_log(const struct conn *conn, enum stats_close reason, uint64_t now_us)
{
    const struct proxy_service *service = conn->home->service;
    const struct backend *backend = conn->lease.backend;
    char id[PROXY_ID_TEXT_MAX];
    char client[ADDR_TEXT_MAX];
    uint32_t log_bp = atomic_load_explicit(&service->log_bp, memory_order_relaxed);
    if (log_bp == 0 ||
        (log_bp < 10000 && random_below(worker_random(conn->home->shared->worker), 10000) >= log_bp)) {
        return;
    }
    proxy_id_format(conn->id, id, sizeof(id));
    addr_ip_format(&conn->client, client, sizeof(client));
    const struct log_field fields[] = {
        LOG_TEXT("service", service->name),
        LOG_TEXT("connection", id),
        LOG_TEXT("client", client),
        LOG_TEXT("server_name", conn_server_name(conn)),
        LOG_TEXT("group", backend != NULL ? routing_group_name(service->routing, conn->lease.group) : ""),
        LOG_TEXT("backend", backend != NULL ? backend_name(backend) : ""),
        LOG_TEXT("reason", stats_close_name(reason)),
        LOG_UINT("bytes_in", conn->delivered_bytes[CONN_CLIENT]),
        LOG_UINT("bytes_out", conn->delivered_bytes[CONN_BACKEND]),
        LOG_DOUBLE("connect_s", seconds(conn->connect_us)),
        LOG_DOUBLE("first_byte_s", seconds(conn->answer_us)),
        LOG_DOUBLE("duration_s", seconds(now_us - conn->accepted_us)),
        {.kind = LOG_KIND_END}};
    log_write(LOG_LEVEL_INFO, "connection", fields);
}
