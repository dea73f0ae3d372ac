/*
 * Answers for the step from the addresses that an operator wrote to socket addresses: parsing, host names,
 * and the faults only seen then (a name that does not resolve, a backend that is the service itself).
 * Runs before any thread is started, since the resolver may block. What else may be wrong in a file was
 * found by core/config.
 */
#include "daemon/targets.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGETS_ADDRESSES_MAX 64u /* of one host name */

static int findings_add(struct config_errors *errors, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int findings_add(struct config_errors *errors, unsigned line, const char *format, ...)
{
    struct config_error *list = realloc(errors->list, (errors->len + 1) * sizeof(*list));
    if (list == NULL) {
        return ERR_NOMEM;
    }
    errors->list = list;

    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) {
        return ERR_NOMEM;
    }
    list[errors->len++] = (struct config_error){.line = line, .text = text};
    return 0;
}

static int resolve_listen(const struct config_service *config, struct targets_service *service,
                          struct config_errors *errors)
{
    for (size_t i = 0; i < config->listen_len; i++) {
        struct addr found[TARGETS_ADDRESSES_MAX];
        size_t n = 0;
        struct err_text err;
        if (addr_resolve(config->listen[i], NULL, found, TARGETS_ADDRESSES_MAX, &n, &err) != 0) {
            if (findings_add(errors, config->line, "services.%s.listen: %s", config->name, err.text) != 0) {
                return ERR_NOMEM;
            }
            continue;
        }
        struct addr *list = realloc(service->listen, (service->listen_len + n) * sizeof(*list));
        if (list == NULL) {
            return ERR_NOMEM;
        }
        memcpy(list + service->listen_len, found, n * sizeof(*list));
        service->listen = list;
        service->listen_len += n;
    }
    return 0;
}

/* The backend's own name, or NAME@ADDRESS where the name stands for several. NULL without memory. */
static char *backend_title(const struct config_backend *config, const struct addr *address, size_t n)
{
    if (n == 1) {
        return strdup(config->name);
    }
    char text[ADDR_TEXT_MAX];
    char *name = NULL;
    addr_format(address, text, sizeof(text));
    return asprintf(&name, "%s@%s", config->name, text) < 0 ? NULL : name;
}

/* What the file says of a backend, where it says nothing what it says of its group. */
static struct routing_backend_spec spec_of(const struct config_group *group,
                                           const struct config_backend *config, char *name,
                                           const struct addr *address)
{
    return (struct routing_backend_spec){.name = name,
                                         .address = *address,
                                         .weight = config->weight,
                                         .limit = config->max_connections > 0 ? config->max_connections
                                                                              : group->max_connections,
                                         .backup = config->backup};
}

static int group_add(struct targets_group *group, const struct config_group *group_config,
                     const struct config_backend *config, const struct addr *found, size_t n)
{
    if (n == 0) {
        return 0;
    }
    struct routing_backend_spec *list = realloc(group->backends, (group->backends_len + n) * sizeof(*list));
    if (list == NULL) {
        return ERR_NOMEM;
    }
    group->backends = list;
    for (size_t i = 0; i < n; i++) {
        char *name = backend_title(config, &found[i], n);
        if (name == NULL) {
            return ERR_NOMEM;
        }
        list[group->backends_len++] = spec_of(group_config, config, name, &found[i]);
    }
    return 0;
}

/* A backend that is one of the service's own listen addresses would be a connection that feeds itself. */
static bool listens_on(const struct targets_service *service, const struct addr *address)
{
    for (size_t i = 0; i < service->listen_len; i++) {
        if (addr_equal(&service->listen[i], address)) {
            return true;
        }
    }
    return false;
}

static int resolve_backend(const struct config_service *service_config, const struct config_group *config,
                           const struct config_backend *backend, const struct targets_service *service,
                           struct targets_group *group, struct config_errors *errors)
{
    struct addr found[TARGETS_ADDRESSES_MAX];
    size_t n = 0;
    struct err_text err;
    if (addr_resolve(backend->address, NULL, found, TARGETS_ADDRESSES_MAX, &n, &err) != 0) {
        return findings_add(errors, backend->line, "services.%s.groups.%s.backends: %s", service_config->name,
                            config->name, err.text);
    }
    for (size_t i = 0; i < n; i++) {
        if (listens_on(service, &found[i])) {
            return findings_add(
                errors, backend->line,
                "services.%s.groups.%s.backends: \"%s\" is the address that the service itself "
                "listens on: connections would go round in a circle",
                service_config->name, config->name, backend->address);
        }
    }
    return group_add(group, config, backend, found, n);
}

static int resolve_service(const struct config_service *config, struct targets_service *service,
                           struct config_errors *errors)
{
    service->groups = calloc(config->groups_len, sizeof(*service->groups));
    if (service->groups == NULL) {
        return ERR_NOMEM;
    }
    service->groups_len = config->groups_len;
    int rc = resolve_listen(config, service, errors);
    for (size_t g = 0; rc == 0 && g < config->groups_len; g++) {
        const struct config_group *group = &config->groups[g];
        for (size_t b = 0; rc == 0 && b < group->backends_len; b++) {
            rc = resolve_backend(config, group, &group->backends[b], service, &service->groups[g], errors);
        }
    }
    return rc;
}

static int resolve_all(const struct config *config, struct targets *targets, struct config_errors *errors)
{
    targets->services = calloc(config->services_len, sizeof(*targets->services));
    if (targets->services == NULL && config->services_len > 0) {
        return ERR_NOMEM;
    }
    targets->services_len = config->services_len;
    for (size_t s = 0; s < config->services_len; s++) {
        int rc = resolve_service(&config->services[s], &targets->services[s], errors);
        if (rc != 0) {
            return rc;
        }
        for (size_t g = 0; g < targets->services[s].groups_len; g++) {
            targets->backends += targets->services[s].groups[g].backends_len;
        }
    }
    return errors->len > 0 ? ERR_INVALID : 0;
}

int targets_resolve(const struct config *config, struct targets **out, struct config_errors *errors)
{
    *errors = (struct config_errors){0};
    if (config->path != NULL) {
        errors->path = strdup(config->path);
        if (errors->path == NULL) {
            return ERR_NOMEM;
        }
    }
    struct targets *targets = calloc(1, sizeof(*targets));
    if (targets == NULL) {
        return ERR_NOMEM;
    }
    int rc = resolve_all(config, targets, errors);
    if (rc != 0) {
        targets_destroy(targets);
        return rc;
    }
    *out = targets;
    return 0;
}

static void service_clear(struct targets_service *service)
{
    for (size_t g = 0; g < service->groups_len; g++) {
        struct targets_group *group = &service->groups[g];
        for (size_t b = 0; b < group->backends_len; b++) {
            free((void *)(uintptr_t)group->backends[b].name);
        }
        free(group->backends);
    }
    free(service->groups);
    free(service->listen);
}

void targets_destroy(struct targets *targets)
{
    if (targets == NULL) {
        return;
    }
    for (size_t s = 0; s < targets->services_len; s++) {
        service_clear(&targets->services[s]);
    }
    free(targets->services);
    free(targets);
}
