/*
 * What a program does for the one that took over from it, while its last connections go on: closes some of
 * them, or all. Control thread.
 */
#include "daemon/handover_internal.h"

#include "core/log.h"

#include <string.h>

void handover_do_close(struct app *app, const unsigned char *body)
{
    json_t *order = json_loads((const char *)body, 0, NULL);
    const char *name = json_string_value(json_object_get(order, "service"));
    const char *group = json_string_value(json_object_get(order, "group"));
    bool idle_first = json_is_true(json_object_get(order, "idle_first"));
    bool idle_only = json_is_true(json_object_get(order, "idle_only"));
    json_int_t max = json_integer_value(json_object_get(order, "max"));
    json_int_t idle_us = json_integer_value(json_object_get(order, "idle_us"));
    for (size_t i = 0; name != NULL && group != NULL && i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        uint32_t index = service->config != NULL && strcmp(service->config->name, name) == 0
                             ? routing_find_group(service->routing, group)
                             : ROUTING_NONE;
        const struct proxy_close_filter filter = {.group = index,
                                                  .max = max > 0 ? (uint64_t)max : 0,
                                                  .idle_us = idle_only || idle_first ? (uint64_t)idle_us : 0,
                                                  .idle_first = !idle_only && idle_first};
        if (index != ROUTING_NONE &&
            proxy_service_close(service->proxy, &filter, STATS_CLOSE_DRAINED, NULL, NULL) != 0) {
            log_line(LOG_LEVEL_ERROR, "out of memory: connections of a drained group stay open",
                     LOG_TEXT("service", name), LOG_TEXT("group", group));
        }
    }
    json_decref(order);
}

/* The whole of the service when neither is given; false: it has none of that name. */
static bool aim(const struct app_service *service, const char *group, const char *backend,
                struct proxy_close_filter *filter)
{
    filter->group = ROUTING_NONE;
    if (group != NULL) {
        filter->group = routing_find_group(service->routing, group);
    }
    if (backend != NULL && filter->group != ROUTING_NONE) {
        filter->backend = routing_find_backend(service->routing, filter->group, backend);
    }
    return (group == NULL || filter->group != ROUTING_NONE) && (backend == NULL || filter->backend != NULL);
}

void handover_do_kill(struct app *app, const unsigned char *body)
{
    json_t *order = json_loads((const char *)body, 0, NULL);
    const char *name = json_string_value(json_object_get(order, "service"));
    const char *group = json_string_value(json_object_get(order, "group"));
    const char *backend = json_string_value(json_object_get(order, "backend"));
    const char *client = json_string_value(json_object_get(order, "client"));
    struct addr address;
    struct proxy_close_filter filter = {
        .before_us = (uint64_t)json_integer_value(json_object_get(order, "before_us")),
        .idle_us = (uint64_t)json_integer_value(json_object_get(order, "idle_us")),
        .client_bits = (unsigned)json_integer_value(json_object_get(order, "client_bits"))};
    struct err_text err;
    bool clear = name != NULL;
    if (client != NULL && client[0] != '\0') {
        clear = clear && addr_parse(client, NULL, &address, &err) == 0;
        if (clear) {
            addr_ip_from(&address, &filter.client);
            addr_ip_mask(&filter.client, 32, 128); /* without the port */
        }
    }
    for (size_t i = 0; clear && i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        filter.backend = NULL;
        if (service->config != NULL && service->proxy != NULL && strcmp(service->config->name, name) == 0 &&
            aim(service, group, backend, &filter) &&
            proxy_service_close(service->proxy, &filter, STATS_CLOSE_KILLED, NULL, NULL) != 0) {
            log_line(LOG_LEVEL_ERROR, "out of memory: connections that were to be closed stay open",
                     LOG_TEXT("service", name));
        }
    }
    json_decref(order);
}

void handover_do_stop(struct app *app, const unsigned char *body)
{
    json_t *order = json_loads((const char *)body, 0, NULL);
    app_hurry(app, json_is_true(json_object_get(order, "at_once")));
    json_decref(order);
}
