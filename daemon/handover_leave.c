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

void handover_do_stop(struct app *app, const unsigned char *body)
{
    json_t *order = json_loads((const char *)body, 0, NULL);
    app_hurry(app, json_is_true(json_object_get(order, "at_once")));
    json_decref(order);
}
