/*
 * What scripts read: one line of JSON with the names that are promised (docs/status.schema.json). Fields are
 * only ever added. Control thread.
 */
#include "admin/admin_internal.h"
#include "admin/render_standing.h"
#include "core/clock.h"
#include "core/confinement.h"
#include "migration/gate.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *render_json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL) {
        return value;
    }
    /* Cut inside a character, or a peer's bytes: keep what can be kept. */
    char *copy = strdup(text);
    for (char *p = copy; p != NULL && *p != '\0'; p++) {
        if ((unsigned char)*p >= 0x80) {
            *p = '?';
        }
    }
    value = copy != NULL ? json_string(copy) : NULL;
    free(copy);
    return value;
}

int render_json_write(FILE *out, json_t *value)
{
    if (value == NULL) {
        return ERR_NOMEM;
    }
    int failed = json_dumpf(value, out, JSON_COMPACT | JSON_REAL_PRECISION(15)); /* 0.1, not its last bit */
    json_decref(value);
    fputc('\n', out);
    return failed ? ERR_NOMEM : ERR_OK;
}

/* A time in seconds, null for never. */
static json_t *json_of_seconds(uint64_t us)
{
    return us == CLOCK_NEVER ? json_null() : json_real((double)us / (double)CLOCK_US_PER_S);
}

static json_t *json_of_group_name(const struct routing *routing, uint32_t group)
{
    return group == ROUTING_NONE ? json_null() : render_json_text(routing_group_name(routing, group));
}

static const char *balance_name(enum config_balance balance)
{
    switch (balance) {
    case CONFIG_BALANCE_ROUND_ROBIN:
        return "round-robin";
    case CONFIG_BALANCE_WEIGHTED:
        return "weighted";
    case CONFIG_BALANCE_LEAST_LATENCY:
        return "least-latency";
    case CONFIG_BALANCE_LEAST_CONNECTIONS:
        return "least-connections";
    case CONFIG_BALANCE_HASH:
        break;
    }
    return "hash";
}

/* In a migration, or when one could begin: old and new; else the active group and those that stand by. */
static const char *group_role(const struct migration_status *status, uint32_t group)
{
    if (status->target == group) {
        return "new";
    }
    if (status->active != group) {
        return "standby";
    }
    return status->target != ROUTING_NONE ? "old" : "active";
}

static json_t *json_of_check(const struct admin_service *service, const struct backend *backend)
{
    struct health_result check;
    if (service->health == NULL || health_last(service->health, backend, &check) != ERR_OK ||
        check.checks == 0) {
        return json_null();
    }
    uint64_t now_us = clock_wall_us();
    json_t *left = check.certificate_us == 0
                       ? json_null()
                       : json_integer(((json_int_t)check.certificate_us - (json_int_t)now_us) /
                                      (json_int_t)CLOCK_US_PER_S);
    return json_pack("{s:b,s:o,s:I,s:o,s:o}", "passed", (int)check.passed, "reason",
                     render_json_text(check.reason), "duration_us", (json_int_t)check.duration_us, "age_s",
                     json_of_seconds(now_us > check.wall_us ? now_us - check.wall_us : 0),
                     "certificate_left_s", left);
}

static uint32_t configured_weight(const struct admin_service *service, const struct backend *backend)
{
    const char *name = routing_group_name(service->routing, backend_group(backend));
    for (size_t g = 0; g < service->config->groups_len; g++) {
        const struct config_group *group = &service->config->groups[g];
        for (size_t i = 0; strcmp(group->name, name) == 0 && i < group->backends_len; i++) {
            size_t length = strlen(group->backends[i].name);
            if (strncmp(group->backends[i].name, backend_name(backend), length) == 0 &&
                (backend_name(backend)[length] == '\0' || backend_name(backend)[length] == '@')) {
                return group->backends[i].weight;
            }
        }
    }
    return backend_weight(backend); /* a backend that the configuration does not know by name */
}

static json_t *json_of_errors(const uint64_t *errors)
{
    json_t *object = json_object();
    for (size_t i = 0; i < STATS_ERROR_COUNT; i++) {
        (void)json_object_set_new(object, stats_error_name((enum stats_error)i),
                                  json_integer((json_int_t)errors[i]));
    }
    return object;
}

static json_t *json_of_latency(const struct histogram_reading *reading)
{
    return json_pack("{s:I,s:I,s:I}", "n", (json_int_t)reading->count, "p50",
                     (json_int_t)histogram_quantile(reading, 0.5), "p99",
                     (json_int_t)histogram_quantile(reading, 0.99));
}

/* object with the fields of more; lets go of more. */
static json_t *extended(json_t *object, json_t *more)
{
    if (object != NULL && more != NULL) {
        (void)json_object_update(object, more);
    }
    json_decref(more);
    return object;
}

static json_t *json_of_backend(const struct admin_service *service, const struct backend *backend)
{
    struct stats_backend_reading reading;
    char address[ADDR_TEXT_MAX];
    backend_read(backend, &reading);
    addr_format(backend_address(backend), address, sizeof(address));
    json_t *object =
        json_pack("{s:o,s:o,s:s,s:s,s:I,s:I,s:I,s:b,s:I,s:I,s:I,s:o,s:I,s:I,s:o,s:o}", "name",
                  render_json_text(backend_name(backend)), "address", render_json_text(address), "state",
                  backend_state_name(backend_standing(backend)), "admin",
                  backend_admin_name(backend_admin(backend)), "weight", (json_int_t)backend_weight(backend),
                  "weight_configured", (json_int_t)configured_weight(service, backend), "slow_start_percent",
                  (json_int_t)backend_slow_start_percent(backend), "backup", (int)backend_is_backup(backend),
                  "max_connections", (json_int_t)backend_limit_effective(backend), "open",
                  (json_int_t)backend_open(backend), "connections", (json_int_t)reading.connections, "errors",
                  json_of_errors(reading.errors), "bytes_in", (json_int_t)reading.bytes_in, "bytes_out",
                  (json_int_t)reading.bytes_out, "latency_us", json_of_latency(&reading.response_us), "check",
                  json_of_check(service, backend));
    return extended(object, render_json_standing(service->migration, backend));
}

/* Of all backends of a group together. */
static json_t *json_of_group_latency(const struct routing *routing, size_t group)
{
    struct stats_backend_reading one;
    struct histogram_reading sum = {.count = 0};
    for (size_t b = 0; b < routing_backends(routing, group); b++) {
        backend_read(routing_backend_at(routing, group, b), &one);
        sum.count += one.response_us.count;
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            sum.bucket[i] += one.response_us.bucket[i];
        }
    }
    return json_of_latency(&sum);
}

static json_t *json_of_queue(const struct routing *routing, size_t group)
{
    struct routing_queue_reading queue;
    routing_queue_read(routing, group, &queue);
    return json_pack("{s:I,s:I,s:o,s:o}", "waiting", (json_int_t)queue.waiting, "size",
                     (json_int_t)queue.size, "timeout_s", json_of_seconds(queue.timeout_us), "waited_us",
                     json_of_latency(&queue.waited_us));
}

static json_t *json_of_groups(const struct admin_service *service, const struct migration_status *status)
{
    const struct routing *routing = service->routing;
    json_t *groups = json_array();
    for (size_t g = 0; g < routing_groups(routing); g++) {
        if (routing_group_is_gone(routing, g)) {
            continue;
        }
        json_t *backends = json_array();
        for (size_t b = 0; b < routing_backends(routing, g); b++) {
            const struct backend *backend = routing_backend_at(routing, g, b);
            (void)json_array_append_new(
                backends, render_json_add_host(json_of_backend(service, backend), service, backend));
        }
        json_t *group = json_pack(
            "{s:o,s:s,s:s,s:I,s:I,s:o,s:o,s:o}", "name", render_json_text(routing_group_name(routing, g)),
            "role", group_role(status, (uint32_t)g), "balance",
            balance_name(routing_group_balance(routing, g)), "usable", (json_int_t)routing_usable(routing, g),
            "open", (json_int_t)routing_open(routing, g), "latency_us", json_of_group_latency(routing, g),
            "queue", json_of_queue(routing, g), "backends", backends);
        (void)json_array_append_new(groups, extended(group, render_json_group_standing(routing, g)));
    }
    return groups;
}

static json_t *json_of_connections(const struct admin_service *service)
{
    struct stats_service_reading reading = {.accepted = 0};
    json_t *closed = json_object();
    if (service->proxy != NULL) {
        proxy_service_read(service->proxy, &reading);
    }
    for (size_t i = 0; i < STATS_CLOSE_COUNT; i++) {
        (void)json_object_set_new(closed, stats_close_name((enum stats_close)i),
                                  json_integer((json_int_t)reading.closed[i]));
    }
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "open", (json_int_t)render_open(service),
                     "accepted", (json_int_t)reading.accepted, "refused", (json_int_t)reading.refused,
                     "retries", (json_int_t)reading.retries, "spilled", (json_int_t)reading.spilled, "queued",
                     (json_int_t)reading.queued, "closed", closed, "tls_failed",
                     render_json_tls_failures(&reading));
}

/* Where it really listens; what the configuration says where there is no proxy (tests). */
static json_t *json_of_listen(const struct admin_service *service)
{
    json_t *list = json_array();
    char address[ADDR_TEXT_MAX];
    for (size_t i = 0; service->proxy != NULL && i < proxy_service_listeners(service->proxy); i++) {
        addr_format(proxy_service_listen_address(service->proxy, i), address, sizeof(address));
        (void)json_array_append_new(list, render_json_text(address));
    }
    return list;
}

static json_t *json_of_gate(const struct gate_result *gate)
{
    if (gate == NULL) {
        return json_null();
    }
    json_t *checks = json_array();
    for (size_t i = 0; i < gate->checks_len; i++) {
        const struct gate_check *check = &gate->checks[i];
        (void)json_array_append_new(
            checks,
            json_pack("{s:s,s:f,s:f,s:I,s:s,s:o,s:b,s:o}", "name", gate_check_name(check->kind), "observed",
                      check->observed, "limit", check->limit, "samples", (json_int_t)check->samples,
                      "verdict", gate_verdict_name(check->verdict), "needs",
                      check->verdict == GATE_MORE && check->needs > 0 ? json_integer((json_int_t)check->needs)
                                                                      : json_null(),
                      "judged", (int)!check->idle, "message", render_json_text(check->message)));
    }
    return json_pack("{s:s,s:I,s:o,s:o}", "verdict", gate_verdict_name(gate->verdict), "failed_in_a_row",
                     (json_int_t)gate->failed, "errors", json_of_errors(gate->errors), "checks", checks);
}

static const char *word_of_assign(enum config_assign assign)
{
    return assign == CONFIG_ASSIGN_SNI ? "sni" : assign == CONFIG_ASSIGN_CLIENT ? "client" : "connection";
}

static json_t *json_of_service(const struct admin_service *service)
{
    struct migration_status status;
    migration_read(service->migration, &status);
    return json_pack("{s:o,s:o,s:s,s:o,s:o,s:s,s:o,s:o,s:I,s:I,s:I,s:I,s:s,s:I,s:o,s:o,s:b,s:o,s:o,s:o,s:o}",
                     "name", render_json_text(service->name), "listen", json_of_listen(service), "assign",
                     word_of_assign(service->config->assign), "active",
                     json_of_group_name(service->routing, status.active), "target",
                     json_of_group_name(service->routing, status.target), "phase",
                     migration_phase_name(status.phase), "reason", render_json_text(status.reason),
                     "migration", status.id[0] != '\0' ? render_json_text(status.id) : json_null(), "step",
                     (json_int_t)status.step, "steps", (json_int_t)status.steps, "share_bp",
                     (json_int_t)status.share_bp, "live_share_bp", (json_int_t)status.live_share_bp, "aim",
                     status.aim_live ? "live" : "share", "routed_bp", (json_int_t)status.routed_bp,
                     "step_left_s", json_of_seconds(status.step_left_us), "eta_s",
                     json_of_seconds(status.eta_us), "detached", (int)status.detached, "stray_hook",
                     status.stray[0] != '\0' ? render_json_text(status.stray) : json_null(), "connections",
                     json_of_connections(service), "gate", json_of_gate(status.gate), "groups",
                     json_of_groups(service, &status));
}

static json_t *json_of_address(const struct addr *address)
{
    char text[ADDR_TEXT_MAX];
    if (address == NULL) {
        return json_null();
    }
    addr_format(address, text, sizeof(text));
    return json_string(text);
}

/* What the daemon can hold at most; null in one that carries nothing. */
static json_t *json_of_limits(const struct admin *admin)
{
    struct proxy_limits limits;
    if (admin->options.proxy == NULL) {
        return json_null();
    }
    proxy_read_limits(admin->options.proxy, &limits);
    return json_pack("{s:I,s:I,s:I,s:I}", "descriptors", (json_int_t)limits.descriptors, "connections",
                     (json_int_t)limits.connections, "pipes", (json_int_t)limits.pipes, "memory_bytes",
                     (json_int_t)limits.memory_bytes);
}

json_t *render_json_status(const struct admin *admin, const struct admin_service *service)
{
    json_t *services = json_array();
    for (size_t i = 0; i < admin->options.services_len; i++) {
        if (service == NULL || service == &admin->options.services[i]) {
            const struct admin_service *one = &admin->options.services[i];
            json_t *object = render_json_add_names(json_of_service(one), one);
            (void)json_array_append_new(services, render_json_add_certificates(object, one));
        }
    }
    unsigned workers = admin->options.pool != NULL ? worker_pool_count(admin->options.pool) : 0;
    return json_pack("{s:s,s:i,s:o,s:i,s:o,s:o,s:o,s:o,s:o,s:o}", "version", SHUNT_VERSION, "pid",
                     (int)getpid(), "uptime_s", json_of_seconds(clock_mono_us() - admin->options.started_us),
                     "workers", (int)workers, "limits", json_of_limits(admin), "metrics",
                     json_of_address(admin_metrics_address(admin)), "remote",
                     json_of_address(admin_remote_address(admin)), "confinement", render_json_confinement(),
                     "formers", render_json_formers(admin), "services", services);
}

json_t *render_json_confinement(void)
{
    struct confinement confinement;
    confinement_read(&confinement);
    return json_pack("{s:o,s:s,s:b,s:b,s:b,s:s}", "user", render_json_text(confinement.user), "capabilities",
                     confinement.capabilities, "no_new_privileges", confinement.no_new_privileges, "seccomp",
                     confinement.seccomp, "seccomp_workers", confinement.workers, "landlock",
                     confinement.landlock);
}

json_t *render_json_event(const struct events_entry *entry)
{
    static const char *const severities[] = {"info", "warn", "error"};
    char when[32];
    clock_format_wall(entry->wall_us, when, sizeof(when));
    return json_pack("{s:I,s:s,s:s,s:o,s:o,s:o,s:o,s:o}", "number", (json_int_t)entry->number, "time", when,
                     "severity", severities[entry->severity], "service", render_json_text(entry->service),
                     "kind", render_json_text(entry->kind), "actor", render_json_text(entry->actor), "text",
                     render_json_text(entry->text), "reason", render_json_text(entry->reason));
}
