/*
 * Stands in for the data path and the health checks, whose figures the admin room only reads: here they are
 * what the test says. Linked before the real rooms, so these are the ones that count.
 */
#include "tests/unit/admin/fake_below.h"

#include <string.h>

struct worker_pool;

size_t proxy_service_listeners(const struct proxy_service *service)
{
    return service->listeners;
}

const struct addr *proxy_service_listen_address(const struct proxy_service *service, size_t index)
{
    return &service->listen[index];
}

uint64_t proxy_service_open(const struct proxy_service *service)
{
    return service->open;
}

void proxy_service_read(const struct proxy_service *service, struct stats_service_reading *out)
{
    *out = service->reading;
}

int health_last(const struct health *health, const struct backend *backend, struct health_result *out)
{
    if (strcmp(backend_name(backend), health->backend) != 0) {
        return ERR_NOT_FOUND;
    }
    *out = health->result;
    return ERR_OK;
}

unsigned worker_pool_count(const struct worker_pool *pool)
{
    (void)pool;
    return 2;
}
