/*
 * Answers for what a reload leaves of the state that services have at run time: weights and words of
 * operators that stay or give way to the file, checks and names that begin anew with what is known. Control
 * thread. The order in which things change is daemon/reload.c's.
 */
#include "core/log.h"
#include "daemon/reload_internal.h"

#include <string.h>

/* The weight that the file gives a backend, also to one of the addresses of a host name; UINT32_MAX: it does
 * not know it. */
static uint32_t weight_in_file(const struct config_service *config, const char *group, const char *backend)
{
    for (size_t g = 0; g < config->groups_len; g++) {
        for (size_t b = 0; strcmp(config->groups[g].name, group) == 0 && b < config->groups[g].backends_len;
             b++) {
            const struct config_backend *one = &config->groups[g].backends[b];
            size_t length = strlen(one->name);
            if (strncmp(one->name, backend, length) == 0 &&
                (backend[length] == '\0' || backend[length] == '@')) {
                return one->weight;
            }
        }
    }
    return UINT32_MAX;
}

/* One that was not in the file before gets what operators set for it when it was there the last time. */
static void settle_new(const struct change *change, struct backend *backend)
{
    struct err_text err;
    migration_adopt(change->service->migration, backend);
    if (routing_publish(change->service->routing, &err) != 0) {
        log_line(LOG_LEVEL_ERROR, "a reload is not wholly in force yet", LOG_TEXT("error", err.text));
    }
}

/* What operators set stays, unless the file changed that very value. */
void reload_settle_backend(struct reload *reload, const struct change *change, uint32_t group,
                           struct backend *backend)
{
    const char *service = change->config->name;
    const char *group_name = routing_group_name(change->service->routing, group);
    uint32_t before = weight_in_file(change->before, group_name, backend_name(backend));
    uint32_t after = weight_in_file(change->config, group_name, backend_name(backend));
    if (backend_is_removed(backend)) {
        fprintf(reload->report, "%s/%s/%s: removed, %llu open connections go on to their end\n", service,
                group_name, backend_name(backend), (unsigned long long)backend_open(backend));
        return;
    }
    if (before == UINT32_MAX) {
        settle_new(change, backend);
        before = after;
    }
    uint32_t now = backend_weight(backend);
    struct err_text err;
    if (before != UINT32_MAX && before != after && now != after) {
        int rc = migration_set_weight(change->service->migration, backend, after, &reload->who, &err);
        fprintf(reload->report, "%s/%s/%s: weight %u → %u%s%s\n", service, group_name, backend_name(backend),
                now, after, rc == 0 ? "" : ", not done: ", rc == 0 ? "" : err.text);
    } else if (before != UINT32_MAX && before == after && now != after) {
        fprintf(reload->report, "%s/%s/%s: weight %u stays, as it was set by hand (the file says %u)\n",
                service, group_name, backend_name(backend), now, after);
    }
    if (backend_forced(backend) != BACKEND_AUTO) {
        fprintf(reload->report, "%s/%s/%s: stays forced %s, as it was set by hand\n", service, group_name,
                backend_name(backend), backend_forced_name(backend_forced(backend)));
    }
    if (backend_admin(backend) != BACKEND_READY) {
        fprintf(reload->report, "%s/%s/%s: stays in %s, as it was set by hand\n", service, group_name,
                backend_name(backend), backend_admin_name(backend_admin(backend)));
    }
}

/* A group without checks knows nothing of its backends' state, one without agents nothing that they said. */
static void forget_words(struct routing *routing, struct backend *backend, enum config_health_type type)
{
    if (type == CONFIG_HEALTH_NONE) {
        routing_set_state(routing, backend, BACKEND_UNKNOWN);
    }
    if (type != CONFIG_HEALTH_AGENT) {
        routing_set_agent(routing, backend, BACKEND_READY, 100);
        routing_set_agent_limit(routing, backend, 0);
    }
}

/* What was held against the backends of a group whose live connections are not watched any more. */
static void forget_ejections(struct routing *routing, uint32_t group)
{
    for (size_t b = 0; b < routing_backends(routing, group); b++) {
        struct backend *backend = routing_backend_at(routing, group, b);
        const struct backend_ejection none = {.total = backend_ejection(backend)->total};
        routing_set_ejection(routing, backend, &none);
    }
}

static void forget_states(const struct change *change)
{
    struct routing *routing = change->service->routing;
    struct err_text err;
    for (size_t g = 0; g < change->config->groups_len; g++) {
        uint32_t group = routing_find_group(routing, change->config->groups[g].name);
        for (size_t b = 0; group != ROUTING_NONE && b < routing_backends(routing, group); b++) {
            forget_words(routing, routing_backend_at(routing, group, b),
                         change->config->groups[g].health.type);
        }
        if (group != ROUTING_NONE && !change->config->groups[g].outlier.present) {
            forget_ejections(routing, group);
        }
    }
    if (routing_publish(routing, &err) != 0) {
        log_line(LOG_LEVEL_ERROR, "a reload is not wholly in force yet", LOG_TEXT("error", err.text));
    }
}

void reload_renew_health(const struct reload *reload, const struct change *change)
{
    struct app_service *service = change->service;
    struct err_text err;
    forget_states(change);
    if (app_has_health(change->config) && health_renew(reload->app->base, service->routing, change->config,
                                                       reload->app->events, &service->health, &err) != 0) {
        service->health = NULL;
        fprintf(reload->report, "%s: its checks are off: %s\n", change->config->name, err.text);
        log_line(LOG_LEVEL_ERROR, "checks are off after a reload", LOG_TEXT("error", err.text));
    }
}

void reload_renew_names(struct reload *reload, const struct change *change)
{
    struct err_text err;
    size_t index = (size_t)(change->config - reload->config->services);
    if (app_create_names(reload->app, change->service, &reload->config->resolve,
                         &reload->targets->services[index], &err) != 0) {
        fprintf(reload->report, "%s: its names are not asked for any more: %s\n", change->config->name,
                err.text);
        log_line(LOG_LEVEL_ERROR, "names are not asked for after a reload", LOG_TEXT("error", err.text));
    }
}
