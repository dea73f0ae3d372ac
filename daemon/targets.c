/*
 * Answers for the step from the addresses that an operator wrote to socket addresses and backends: parsing,
 * and the faults only seen then (a name that does not resolve, a backend that is the service itself). Blocks
 * nowhere; asking for names is daemon/targets_ask.c's. What else may be wrong in a file was found by
 * core/config.
 */
#include "daemon/targets.h"

#include "health/check_tls.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- parsing */

static int listen_add(struct targets_service *service, const struct addr *address)
{
    struct addr *list = realloc(service->listen, (service->listen_len + 1) * sizeof(*list));
    if (list == NULL) {
        return ERR_NOMEM;
    }
    service->listen = list;
    list[service->listen_len++] = *address;
    return 0;
}

static int host_add(struct targets_service *service, uint32_t group, size_t backend, const char *text)
{
    struct names_host *list = realloc(service->hosts, (service->hosts_len + 1) * sizeof(*list));
    if (list == NULL) {
        return ERR_NOMEM;
    }
    service->hosts = list;
    struct names_host *host = &list[service->hosts_len];
    *host = (struct names_host){.group = group, .backend = (uint32_t)backend};
    name_set_init(&host->set);
    if (addr_split_host(text, host->host, sizeof(host->host), &host->port, NULL) != 0) {
        return ERR_RANGE;
    }
    service->hosts_len++;
    service->listen_hosts += group == TARGETS_LISTEN;
    return 0;
}

static int begin_backend(const struct config_service *config, const struct config_group *group,
                         uint32_t group_index, size_t index, struct targets_service *service,
                         struct config_errors *errors)
{
    const struct config_backend *backend = &group->backends[index];
    struct addr address;
    struct err_text err;
    int rc = addr_parse(backend->address, NULL, &address, &err);
    if (rc == ERR_UNAVAILABLE && strlen(backend->name) > NAMES_TITLE_MAX) {
        return findings_add(errors, backend->line,
                            "services.%s.groups.%s.backends: the name of a backend with a host name has at "
                            "most %u bytes, this one has %zu: give it a shorter `name`",
                            config->name, group->name, NAMES_TITLE_MAX, strlen(backend->name));
    }
    if (rc == ERR_UNAVAILABLE) {
        rc = host_add(service, group_index, index, backend->address);
    }
    return rc == 0 || rc == ERR_NOMEM
               ? rc
               : findings_add(errors, backend->line, "services.%s.groups.%s.backends: %s", config->name,
                              group->name, err.text);
}

static int begin_service(const struct config_service *config, struct targets_service *service,
                         struct config_errors *errors)
{
    int rc = 0;
    service->groups = calloc(config->groups_len, sizeof(*service->groups));
    if (service->groups == NULL) {
        return ERR_NOMEM;
    }
    service->groups_len = config->groups_len;
    for (uint32_t g = 0; rc == 0 && g < config->groups_len; g++) {
        const struct config_group *group = &config->groups[g];
        for (size_t b = 0; rc == 0 && b < group->backends_len; b++) {
            rc = begin_backend(config, group, g, b, service, errors);
        }
    }
    for (size_t i = 0; rc == 0 && i < config->listen_len; i++) {
        struct addr address;
        struct err_text err;
        rc = addr_parse(config->listen[i], NULL, &address, &err);
        if (rc == 0) {
            rc = listen_add(service, &address);
        } else if (rc == ERR_UNAVAILABLE) {
            rc = host_add(service, TARGETS_LISTEN, i, config->listen[i]);
        } else {
            rc = findings_add(errors, config->line, "services.%s.listen: %s", config->name, err.text);
        }
    }
    return rc;
}

int targets_begin(const struct config *config, struct targets **out, struct config_errors *errors)
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
    targets->config = config;
    targets->services = calloc(config->services_len + 1, sizeof(*targets->services));
    targets->services_len = targets->services != NULL ? config->services_len : 0;
    int rc = targets->services != NULL ? 0 : ERR_NOMEM;
    for (size_t s = 0; rc == 0 && s < config->services_len; s++) {
        rc = begin_service(&config->services[s], &targets->services[s], errors);
    }
    if (rc == 0 && errors->len > 0) {
        rc = ERR_INVALID;
    }
    if (rc != 0) {
        targets_destroy(targets);
        return rc;
    }
    *out = targets;
    return 0;
}

/* ---- what is known by now */

/* Whether a name that has no address is a fault, a remark, or nothing to speak of here: as one is that runs
 * without addresses already. */
static int judge_host(const struct names_host *host, enum targets_purpose purpose, bool listen,
                      const char *where, unsigned line, struct config_errors *errors)
{
    bool fault =
        listen || purpose == TARGETS_RELOAD || (purpose == TARGETS_CHECK && host->set.outcome == NAME_EMPTY);
    if (host->set.ever || host->running || (!fault && purpose == TARGETS_START)) {
        return 0;
    }
    int rc =
        findings_add(errors, line, "%s: the host name \"%s\" cannot be resolved: %s%s", where, host->host,
                     host->set.reason, fault ? "" : "; the program would start without it and go on asking");
    return rc != 0 ? rc : fault ? ERR_INVALID : 0;
}

static int finish_host(const struct config_service *config, struct targets_service *service,
                       const struct names_host *host, enum targets_purpose purpose,
                       struct config_errors *errors)
{
    char where[256];
    bool listen = host->group == TARGETS_LISTEN;
    unsigned line = config->line;
    int rc = 0;
    if (listen) {
        (void)snprintf(where, sizeof(where), "services.%s.listen", config->name);
    } else {
        const struct config_group *group = &config->groups[host->group];
        line = group->backends[host->backend].line;
        (void)snprintf(where, sizeof(where), "services.%s.groups.%s.backends", config->name, group->name);
    }
    for (size_t i = 0; rc == 0 && listen && i < host->set.len; i++) {
        rc = listen_add(service, &host->set.members[i].address);
    }
    return rc == 0 ? judge_host(host, purpose, listen, where, line, errors) : rc;
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

static int remark_group(const struct config_service *config, const struct config_group *group,
                        enum targets_purpose purpose, struct config_errors *errors)
{
    const char *doubt = check_tls_doubt(group);
    if (purpose == TARGETS_RELOAD || doubt == NULL) {
        return 0;
    }
    return findings_add(errors, group->line, "services.%s.groups.%s.health: warning: %s", config->name,
                        group->name, doubt);
}

static int finish_group(const struct targets *targets, const struct config_service *config, uint32_t index,
                        enum targets_purpose purpose, struct targets_service *service,
                        struct config_errors *errors)
{
    struct targets_group *group = &service->groups[index];
    int rc = names_specs(config, index, service->hosts, service->hosts_len, &group->backends,
                         &group->backends_len);
    bool circle = false;
    rc = rc == 0 ? remark_group(config, &config->groups[index], purpose, errors) : rc;
    group->room =
        names_room(service->hosts, service->hosts_len, index, targets->config->resolve.max_addresses);
    for (size_t i = 0; rc == 0 && i < group->backends_len; i++) {
        if (listens_on(service, &group->backends[i].address)) {
            circle = true;
            rc = findings_add(errors, config->groups[index].line,
                              "services.%s.groups.%s.backends: \"%s\" is the address that the service itself "
                              "listens on: connections would go round in a circle",
                              config->name, config->groups[index].name, group->backends[i].name);
        }
    }
    return rc == 0 && circle ? ERR_INVALID : rc;
}

static int finish_service(struct targets *targets, size_t index, enum targets_purpose purpose,
                          struct config_errors *errors)
{
    const struct config_service *config = &targets->config->services[index];
    struct targets_service *service = &targets->services[index];
    int worst = 0;
    int rc = 0;
    for (size_t h = 0; rc != ERR_NOMEM && h < service->hosts_len; h++) {
        rc = finish_host(config, service, &service->hosts[h], purpose, errors);
        worst = rc != 0 ? rc : worst;
    }
    for (uint32_t g = 0; rc != ERR_NOMEM && g < service->groups_len; g++) {
        rc = finish_group(targets, config, g, purpose, service, errors);
        worst = rc != 0 ? rc : worst;
        targets->backends += service->groups[g].backends_len;
    }
    return worst;
}

int targets_finish(struct targets *targets, enum targets_purpose purpose, struct config_errors *errors)
{
    int worst = 0;
    for (size_t s = 0; worst != ERR_NOMEM && s < targets->services_len; s++) {
        int rc = finish_service(targets, s, purpose, errors);
        worst = rc != 0 ? rc : worst;
    }
    return worst;
}

static void service_clear(struct targets_service *service)
{
    for (size_t g = 0; g < service->groups_len; g++) {
        names_specs_free(service->groups[g].backends, service->groups[g].backends_len);
    }
    for (size_t h = 0; h < service->hosts_len; h++) {
        name_set_clear(&service->hosts[h].set);
    }
    free(service->hosts);
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
