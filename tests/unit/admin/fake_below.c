/*
 * Stands in for the data path and the health checks, whose figures the admin room only reads: here they are
 * what the test says. Linked before the real rooms, so these are the ones that count.
 */
#include "tests/unit/admin/fake_below.h"
#include "core/clock.h"

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

int proxy_service_visit(struct proxy_service *service, const struct proxy_close_filter *filter,
                        const struct proxy_visitor *visitor)
{
    service->filter = *filter;
    if (service->rows_len > 0) {
        visitor->rows(visitor->context, service->rows, service->rows_len);
    }
    visitor->done(visitor->context, !service->cut_short);
    return ERR_OK;
}

int proxy_service_close(struct proxy_service *service, const struct proxy_close_filter *filter,
                        enum stats_close reason, void (*done)(void *context, uint64_t closed), void *context)
{
    uint64_t closed = filter->max != 0 && filter->max < service->closable ? filter->max : service->closable;
    (void)reason;
    service->filter = *filter;
    service->closable -= closed;
    done(context, closed);
    return ERR_OK;
}

int health_last(const struct health *health, const struct backend *backend, struct health_result *out)
{
    if (strcmp(backend_name(backend), health->backend) != 0) {
        return ERR_NOT_FOUND;
    }
    *out = health->result;
    return ERR_OK;
}

int health_try(struct health *health, const struct backend *backend, health_trial_fn *done,
               void (*line)(void *context, const char *text), void *context, struct health_trial **out)
{
    (void)health;
    (void)backend;
    (void)done;
    (void)line;
    (void)context;
    (void)out;
    return ERR_NOT_FOUND;
}

void health_trial_destroy(struct health_trial *trial)
{
    (void)trial;
}

uint64_t health_skipped(const struct health *health)
{
    (void)health;
    return 3;
}

size_t proxy_service_certificates(const struct proxy_service *service)
{
    (void)service;
    return 1;
}

void proxy_service_certificate(const struct proxy_service *service, size_t index,
                               struct proxy_certificate *out)
{
    (void)service;
    (void)index;
    *out = (struct proxy_certificate){.file = "/etc/shunt/web.pem",
                                      .name = "web.example",
                                      .end_s = (int64_t)(clock_wall_us() / CLOCK_US_PER_S) +
                                               INT64_C(61) * 86400 + 3600};
}

unsigned worker_pool_count(const struct worker_pool *pool)
{
    (void)pool;
    return 2;
}

size_t names_count(const struct names *names)
{
    (void)names;
    return 1;
}

const struct names_host *names_at(const struct names *names, size_t index)
{
    (void)index;
    return &names->host;
}

const char *names_group(const struct names *names, size_t index)
{
    (void)names;
    (void)index;
    return "old";
}

const char *names_backend(const struct names *names, size_t index)
{
    (void)index;
    return names->host.host;
}

const struct names_host *names_of(const struct names *names, const struct backend *backend)
{
    (void)names;
    (void)backend;
    return NULL;
}

uint64_t names_failures(const struct names *names, size_t index)
{
    (void)index;
    return names->failures;
}
