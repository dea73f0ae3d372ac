/*
 * Counters of a process for another one: written as nested JSON objects (services, groups, backends by name)
 * with numbers as leaves (and what tells a backend apart), added up place by place, and put into the services
 * of these names. Control thread.
 */
#include "daemon/handover_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(json_t *object, const char *key, uint64_t value)
{
    if (value != 0) {
        (void)json_object_set_new(object, key, json_integer((json_int_t)value));
    }
}

static uint64_t get(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value < 0 ? 0 : (uint64_t)value;
}

/* ---- histograms: only the buckets in use */

static json_t *write_histogram(const struct histogram_reading *reading)
{
    json_t *object = json_object();
    char key[16];
    put(object, "sum_us", reading->sum_us);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (reading->bucket[i] != 0) {
            (void)snprintf(key, sizeof(key), "%u", i);
            put(object, key, reading->bucket[i]);
        }
    }
    return object;
}

static void read_histogram(const json_t *object, struct histogram_reading *out)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char *end = NULL;
        unsigned long index = strtoul(key, &end, 10);
        if (end != key && *end == '\0' && index < HISTOGRAM_BUCKETS) {
            out->bucket[index] = (uint32_t)json_integer_value(value);
            out->count += out->bucket[index];
        }
    }
    out->sum_us = get(object, "sum_us");
}

/* ---- writing */

static json_t *write_backend(const struct backend *backend)
{
    struct stats_backend_reading reading;
    json_t *object = json_object();
    json_t *errors = json_object();
    backend_read(backend, &reading);
    char address[ADDR_TEXT_MAX];
    addr_format(backend_address(backend), address, sizeof(address));
    (void)json_object_set_new(object, "address", json_string(address));
    (void)json_object_set_new(object, "backup", json_boolean(backend_is_backup(backend)));
    put(object, "open", backend_open(backend));
#define PUT(name, help) put(object, #name, reading.name);
    STATS_BACKEND_COUNTERS(PUT)
    for (int i = 0; i < STATS_ERROR_COUNT; i++) {
        put(errors, stats_error_name((enum stats_error)i), reading.errors[i]);
    }
    (void)json_object_set_new(object, "errors", errors);
    (void)json_object_set_new(object, "connect", write_histogram(&reading.connect_us));
    (void)json_object_set_new(object, "response", write_histogram(&reading.response_us));
    return object;
}

static json_t *write_tls_failed(const struct stats_service_reading *reading)
{
    json_t *object = json_object();
    for (int side = 0; side < STATS_SIDES; side++) {
        json_t *failed = json_object();
        for (int i = 0; i < STATS_TLS_COUNT; i++) {
            put(failed, stats_tls_name((enum stats_tls_failure)i), reading->tls_failed[side][i]);
        }
        (void)json_object_set_new(object, stats_side_name((enum stats_side)side), failed);
    }
    return object;
}

static json_t *write_service(const struct app_service *service)
{
    struct stats_service_reading reading;
    json_t *object = json_object();
    json_t *closed = json_object();
    json_t *groups = json_object();
    proxy_service_read(service->proxy, &reading);
    STATS_SERVICE_COUNTERS(PUT)
#undef PUT
    for (int i = 0; i < STATS_CLOSE_COUNT; i++) {
        put(closed, stats_close_name((enum stats_close)i), reading.closed[i]);
    }
    (void)json_object_set_new(object, "tls_failed", write_tls_failed(&reading));
    for (size_t g = 0; g < routing_groups(service->routing); g++) {
        json_t *group = json_object();
        for (size_t b = 0; b < routing_backends(service->routing, g); b++) {
            const struct backend *backend = routing_backend_at(service->routing, g, b);
            (void)json_object_set_new(group, backend_name(backend), write_backend(backend));
        }
        (void)json_object_set_new(groups, routing_group_name(service->routing, g), group);
    }
    (void)json_object_set_new(object, "closed", closed);
    (void)json_object_set_new(object, "groups", groups);
    return object;
}

/* Connections of services that were taken away, under a name that no service has: nobody shows them as a
 * service's, but they are open. */
static void write_leaving(const struct app *app, json_t *report)
{
    uint64_t open = 0;
    for (size_t i = 0; i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        open += service->config != NULL && service->leaving ? proxy_service_open(service->proxy) : 0;
    }
    if (open > 0) {
        (void)json_object_set_new(report, "", json_pack("{s:I}", "accepted", (json_int_t)open));
    }
}

json_t *report_make(const struct app *app)
{
    json_t *report = json_object();
    for (size_t i = 0; report != NULL && i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        if (service->config != NULL && service->proxy != NULL && !service->leaving &&
            json_object_set_new(report, service->config->name, write_service(service)) != 0) {
            json_decref(report);
            return NULL;
        }
    }
    write_leaving(app, report);
    return report;
}

/* ---- adding up */

int report_add(json_t *to, const json_t *from)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        json_t *there = json_object_get(to, key);
        int rc = 0;
        if (there == NULL) {
            rc = json_object_set_new(to, key, json_deep_copy(value)) == 0 ? 0 : ERR_NOMEM;
        } else if (json_is_integer(there) && json_is_integer(value)) {
            (void)json_integer_set(there, json_integer_value(there) + json_integer_value(value));
        } else if (json_is_object(there) && json_is_object(value)) {
            rc = report_add(there, value);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static uint64_t open_of(const json_t *service)
{
    uint64_t ended = 0;
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(service, "closed"), key, value)
    {
        ended += (uint64_t)json_integer_value(value);
    }
    uint64_t accepted = get(service, "accepted");
    return accepted > ended ? accepted - ended : 0;
}

uint64_t report_open(const json_t *report)
{
    uint64_t open = 0;
    const char *name;
    json_t *service;
    json_object_foreach((json_t *)(uintptr_t)report, name, service)
    {
        open += open_of(service);
    }
    return open;
}

void report_end(json_t *report)
{
    const char *name;
    json_t *service;
    json_object_foreach(report, name, service)
    {
        json_t *closed = json_object_get(service, "closed");
        const char *lost = stats_close_name(STATS_CLOSE_SHUTDOWN);
        put(closed, lost, get(closed, lost) + open_of(service));
        const char *key;
        json_t *group;
        json_object_foreach(json_object_get(service, "groups"), key, group)
        {
            const char *backend_key;
            json_t *backend;
            json_object_foreach(group, backend_key, backend)
            {
                (void)json_object_del(backend, "open");
            }
        }
    }
}

/* ---- taking up */

static void inherit_backend(struct backend *backend, const json_t *object)
{
    struct stats_backend_reading reading = {0};
    const json_t *errors = json_object_get(object, "errors");
#define GET(name, help) reading.name = get(object, #name);
    STATS_BACKEND_COUNTERS(GET)
    for (int i = 0; i < STATS_ERROR_COUNT; i++) {
        reading.errors[i] = get(errors, stats_error_name((enum stats_error)i));
    }
    read_histogram(json_object_get(object, "connect"), &reading.connect_us);
    read_histogram(json_object_get(object, "response"), &reading.response_us);
    /* Without memory it shows what it showed before. */
    (void)(backend_inherit(backend, get(object, "open"), object != NULL ? &reading : NULL) == 0);
}

static void read_tls_failed(const json_t *object, struct stats_service_reading *reading)
{
    for (int side = 0; side < STATS_SIDES; side++) {
        const json_t *failed = json_object_get(object, stats_side_name((enum stats_side)side));
        for (int i = 0; i < STATS_TLS_COUNT; i++) {
            reading->tls_failed[side][i] = get(failed, stats_tls_name((enum stats_tls_failure)i));
        }
    }
}

static void inherit_service(const struct app_service *service, const json_t *object)
{
    struct stats_service_reading reading = {0};
    const json_t *closed = json_object_get(object, "closed");
    const json_t *groups = json_object_get(object, "groups");
    STATS_SERVICE_COUNTERS(GET)
#undef GET
    for (int i = 0; i < STATS_CLOSE_COUNT; i++) {
        reading.closed[i] = get(closed, stats_close_name((enum stats_close)i));
    }
    read_tls_failed(json_object_get(object, "tls_failed"), &reading);
    proxy_service_inherit(service->proxy, &reading);
    for (size_t g = 0; g < routing_groups(service->routing); g++) {
        const json_t *group = json_object_get(groups, routing_group_name(service->routing, g));
        for (size_t b = 0; b < routing_backends(service->routing, g); b++) {
            struct backend *backend = routing_backend_at(service->routing, g, b);
            inherit_backend(backend, json_object_get(group, backend_name(backend)));
        }
    }
}

void report_inherit(struct app *app, const json_t *sum)
{
    for (size_t i = 0; i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        if (service->config != NULL && service->proxy != NULL) {
            inherit_service(service, json_object_get(sum, service->config->name));
        }
    }
}
