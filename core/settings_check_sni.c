/*
 * The rules between the settings that route by name: each route leads somewhere, no two have one name, and
 * nothing goes in circles; a service that does not listen is led to by a route. Any thread.
 */
#include "core/server_names.h"
#include "core/settings_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct config_service *find_service(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->services_len; i++) {
        if (config->services[i].name && strcmp(config->services[i].name, name) == 0) {
            return &config->services[i];
        }
    }
    return NULL;
}

static bool has_group(const struct config_service *service, const char *name)
{
    for (size_t i = 0; i < service->groups_len; i++) {
        if (service->groups[i].name && strcmp(service->groups[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether it leads connections to `to`, or with NULL to any other service. */
static bool leads_to(const struct config_service *service, const char *to)
{
    for (size_t i = 0; i < service->sni.routes_len; i++) {
        const char *named = service->sni.routes[i].service;
        if (named && (!to || strcmp(named, to) == 0)) {
            return true;
        }
    }
    return false;
}

static void check_target(struct settings_reader *reader, const config_setting_t *node,
                         const struct config *config, const struct config_service *service, const char *name)
{
    const struct config_service *to = find_service(config, name);
    if (!to) {
        settings_complain(reader, node, "there is no service \"%s\"", name);
    } else if (to == service) {
        settings_complain(reader, node, "leads to the service itself: leave \"service\" out");
    } else if (leads_to(to, NULL)) {
        settings_complain(
            reader, node,
            "service \"%s\" has routes to other services itself: connections are handed on once", name);
    }
}

static void check_route(struct settings_reader *reader, const config_setting_t *node,
                        const struct config *config, const struct config_service *service,
                        const struct config_sni_route *route)
{
    struct err_text err;
    const config_setting_t *name = settings_good(node, "name");
    const config_setting_t *group = settings_good(node, "group");
    const config_setting_t *to = settings_good(node, "service");
    if (name && server_name_check(route->name, &err) != 0) {
        settings_complain(reader, name, "name: %s", err.text);
    }
    if (group && to) {
        settings_complain(reader, to, "has both \"group\" and \"service\": keep one");
        return;
    }
    if (group && !has_group(service, route->group)) {
        settings_complain(reader, group, "there is no group \"%s\" in this service", route->group);
    }
    if (to) {
        check_target(reader, to, config, service, route->service);
    }
}

/* One name in two ways of writing it: those written alike have a finding already. */
static void check_names(struct settings_reader *reader, const config_setting_t *list,
                        const struct config_service *service)
{
    const char **texts = calloc(service->sni.routes_len + 1, sizeof(char *));
    struct server_names *names = NULL;
    struct err_text err;
    size_t n = 0;
    for (size_t i = 0; texts && i < service->sni.routes_len; i++) {
        const char *name = service->sni.routes[i].name;
        if (name && server_name_check(name, &err) == 0) {
            texts[n++] = name;
        }
    }
    int rc = texts ? server_names_create(texts, n, &names, &err) : ERR_NOMEM;
    if (rc == ERR_NOMEM) {
        reader->findings->nomem = true;
    } else if (rc != 0) {
        settings_complain(reader, list, "%s", err.text);
    }
    server_names_destroy(names);
    free((void *)texts);
}

static void check_listens(struct settings_reader *reader, const config_setting_t *service_node,
                          const struct config *config, const struct config_service *service)
{
    bool led_to = false;
    for (size_t i = 0; service->name && i < config->services_len; i++) {
        led_to |= leads_to(&config->services[i], service->name);
    }
    if (!led_to && !config_setting_get_member(service_node, "listen")) {
        settings_complain(reader, service_node, "required setting \"listen\" is missing");
    }
}

void settings_check_sni(struct settings_reader *reader, const config_setting_t *service_node,
                        const struct config *config, const struct config_service *service)
{
    check_listens(reader, service_node, config, service);
    const config_setting_t *node = settings_good(service_node, "sni");
    const config_setting_t *routes = node ? settings_good(node, "routes") : NULL;
    if (!routes || (size_t)config_setting_length(routes) != service->sni.routes_len) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "sni");
    settings_path_push(&reader->path, "routes");
    for (size_t i = 0; i < service->sni.routes_len; i++) {
        const config_setting_t *route = settings_element(routes, i);
        size_t inner = settings_path_push_element(&reader->path, route, i);
        check_route(reader, route, config, service, &service->sni.routes[i]);
        settings_path_cut(&reader->path, inner);
    }
    check_names(reader, routes, service);
    settings_path_cut(&reader->path, mark);
}
