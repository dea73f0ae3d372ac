/*
 * What programs before this one still have open, backend by backend: shown to operators, closed for them, and
 * what this program's configuration does not name any more comes into sight as removed, so that drains wait
 * for it. Names that a former gives are looked up, never trusted. Control thread.
 */
#include "daemon/handover_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <string.h>

/* ---- going over a report */

struct left_visit {
    void (*visit)(void *context, const struct admin_elsewhere *left, const json_t *backend);
    void *context;
};

static void visit_service(const struct left_visit *v, pid_t pid, const char *service, const json_t *report)
{
    const char *group_name;
    json_t *group;
    json_object_foreach(json_object_get(report, "groups"), group_name, group)
    {
        const char *name;
        json_t *backend;
        json_object_foreach(group, name, backend)
        {
            json_int_t open = json_integer_value(json_object_get(backend, "open"));
            if (open > 0) {
                const struct admin_elsewhere left = {.pid = pid,
                                                     .service = service,
                                                     .group = group_name,
                                                     .backend = name,
                                                     .open = (uint64_t)open};
                v->visit(v->context, &left, backend);
            }
        }
    }
}

static void visit_report(const struct left_visit *v, pid_t pid, const json_t *report)
{
    const char *service;
    json_t *one;
    json_object_foreach((json_t *)(uintptr_t)report, service, one)
    {
        visit_service(v, pid, service, one);
    }
}

/* ---- coming into sight */

static struct app_service *find_service(struct app *app, const char *name)
{
    for (size_t i = 0; i < app->services_len; i++) {
        struct app_service *service = &app->services[i];
        if (service->config != NULL && service->proxy != NULL && !service->leaving &&
            strcmp(service->config->name, name) == 0) {
            return service;
        }
    }
    return NULL;
}

/* Who has no address is of an older version. */
static void recall(void *context, const struct admin_elsewhere *left, const json_t *object)
{
    struct app *app = context;
    const struct app_service *service = find_service(app, left->service);
    const char *address = json_string_value(json_object_get(object, "address"));
    struct routing_backend_spec spec = {.name = left->backend,
                                        .backup = json_is_true(json_object_get(object, "backup"))};
    struct backend *backend = NULL;
    struct err_text err;
    if (service == NULL || address == NULL) {
        return;
    }
    uint32_t group = routing_find_group(service->routing, left->group);
    if (group != ROUTING_NONE && routing_find_backend(service->routing, group, left->backend) != NULL) {
        return;
    }
    if (addr_parse(address, NULL, &spec.address, &err) != 0 ||
        routing_recall(service->routing, left->group, &spec, &backend, &err) != 0) {
        log_line(LOG_LEVEL_DEBUG, "what a former program has open is not in sight",
                 LOG_TEXT("service", left->service), LOG_TEXT("error", err.text));
        return;
    }
    log_line(LOG_LEVEL_INFO, "connections of a backend that was removed go on in a former program",
             LOG_TEXT("service", left->service), LOG_TEXT("group", left->group),
             LOG_TEXT("backend", left->backend), LOG_UINT("open", left->open));
    (void)(backend_inherit(backend, left->open, NULL) == 0); /* it fails with counters alone */
    (void)(routing_publish(service->routing, NULL) == 0);    /* else with the next change */
    app_await_leaving(app);
}

void formers_recall(struct app *app, const json_t *sum)
{
    const struct left_visit v = {.visit = recall, .context = app};
    if (app->reload == NULL) { /* else a change is prepared: the next report comes in a moment */
        visit_report(&v, 0, sum);
    }
}

/* ---- shown, and closed */

struct left_show {
    admin_elsewhere_fn *visit;
    void *context;
};

static void show(void *context, const struct admin_elsewhere *left, const json_t *object)
{
    const struct left_show *shown = context;
    (void)object;
    shown->visit(shown->context, left);
}

void formers_elsewhere(void *context, admin_elsewhere_fn *visit, void *visit_context)
{
    const struct app *app = context;
    struct left_show shown = {.visit = visit, .context = visit_context};
    const struct left_visit v = {.visit = show, .context = &shown};
    list_each (node, &app->formers) {
        const struct former *former = list_entry(node, struct former, node);
        visit_report(&v, former->pid, former->report);
    }
}

void formers_kill(void *context, const char *service, const char *group, const char *backend,
                  const struct proxy_close_filter *filter)
{
    struct app *app = context;
    char client[ADDR_TEXT_MAX] = "";
    if (filter->client.family != 0) {
        addr_ip_format(&filter->client, client, sizeof(client));
    }
    list_each (node, &app->formers) {
        json_t *order = json_pack(
            "{s:s, s:s?, s:s?, s:I, s:I, s:s, s:i}", "service", service, "group", group, "backend", backend,
            "before_us", (json_int_t)(filter->before_us > 0 ? filter->before_us : clock_mono_us()), "idle_us",
            (json_int_t)filter->idle_us, "client", client, "client_bits", (int)filter->client_bits);
        struct former *former = list_entry(node, struct former, node);
        if (handover_send_json(former->channel, HANDOVER_KILL, order, NULL, 0) != 0) {
            log_line(LOG_LEVEL_ERROR, "out of memory: a former program is not told to close connections",
                     LOG_UINT("pid", (uint64_t)former->pid));
        }
    }
}
