/*
 * The figures behind the metrics' names: one walk over services, groups and backends, each family into a
 * stream of its own, put together at the end in the order of the table. Prometheus text format 0.0.4. Control
 * thread; counters are read while workers go on. Serving it over HTTP is admin/metrics_http.c's business.
 */
#include "admin/metrics.h"
#include "admin/admin_internal.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/units.h"
#include "migration/gate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct family {
    FILE *out;
    char *text; /* owned once out is closed */
    size_t length;
};

/* Where a sample belongs; what is NULL gives no label. */
struct place {
    const char *service, *group, *backend;
};

struct exposition {
    const struct admin *admin;
    struct family family[METRIC_COUNT];
};

/* Upper bounds in microseconds: what a network, a server, and a person wait for. */
static const uint64_t bounds_us[] = {100,     250,     500,     1000,     2500,    5000,
                                     10000,   25000,   50000,   100000,   250000,  500000,
                                     1000000, 2500000, 5000000, 10000000, 30000000};

static void write_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            fputs("\\n", out);
            continue;
        }
        if (*text == '"' || *text == '\\') {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
}

static void write_label(FILE *out, const char **before, const char *name, const char *value)
{
    if (value != NULL) {
        fprintf(out, "%s%s=\"", *before, name);
        write_escaped(out, value);
        fputc('"', out);
        *before = ",";
    }
}

/* "shunt_bytes_total{service="web",…,direction="in"} ". suffix: "_bucket", "". */
static FILE *begin(struct exposition *all, enum metric_id id, const char *suffix, const struct place *place,
                   const char *label, const char *value)
{
    FILE *out = all->family[id].out;
    const char *before = "{";
    fprintf(out, "%s%s", metrics_table()[id].name, suffix);
    write_label(out, &before, "service", place->service);
    write_label(out, &before, "group", place->group);
    write_label(out, &before, "backend", place->backend);
    write_label(out, &before, label, value);
    fputs(*before == ',' ? "} " : " ", out);
    return out;
}

static void add(struct exposition *all, enum metric_id id, const struct place *place, uint64_t value)
{
    fprintf(begin(all, id, "", place, "", NULL), "%" PRIu64 "\n", value);
}

static void add_labelled(struct exposition *all, enum metric_id id, const struct place *place,
                         const char *label, const char *text, uint64_t value)
{
    fprintf(begin(all, id, "", place, label, text), "%" PRIu64 "\n", value);
}

static void add_real(struct exposition *all, enum metric_id id, const struct place *place, double value)
{
    fprintf(begin(all, id, "", place, "", NULL), "%.6g\n", value);
}

static uint64_t middle_us(unsigned bucket)
{
    return (histogram_bucket_low(bucket) + histogram_bucket_low(bucket + 1)) / 2;
}

static void add_histogram(struct exposition *all, enum metric_id id, const struct place *place,
                          const struct histogram_reading *reading)
{
    uint64_t below = 0;
    unsigned bucket = 0;
    char bound[32];
    for (size_t i = 0; i < sizeof(bounds_us) / sizeof(bounds_us[0]); i++) {
        while (bucket + 1 < HISTOGRAM_BUCKETS && middle_us(bucket) <= bounds_us[i]) {
            below += reading->bucket[bucket++];
        }
        (void)snprintf(bound, sizeof(bound), "%g", (double)bounds_us[i] / (double)CLOCK_US_PER_S);
        fprintf(begin(all, id, "_bucket", place, "le", bound), "%" PRIu64 "\n", below);
    }
    fprintf(begin(all, id, "_bucket", place, "le", "+Inf"), "%" PRIu64 "\n", reading->count);
    fprintf(begin(all, id, "_sum", place, "", NULL), "%.6f\n",
            (double)reading->sum_us / (double)CLOCK_US_PER_S);
    fprintf(begin(all, id, "_count", place, "", NULL), "%" PRIu64 "\n", reading->count);
}

static void add_backend(struct exposition *all, const struct place *place, const struct backend *backend)
{
    struct stats_backend_reading reading;
    backend_read(backend, &reading);
    add(all, METRIC_ID_BACKEND_UP, place, backend_standing(backend) != BACKEND_DOWN);
    add(all, METRIC_ID_BACKEND_EJECTED, place, backend_ejection(backend)->out);
    add(all, METRIC_ID_EJECTIONS, place, backend_ejection(backend)->total);
    add(all, METRIC_ID_BACKEND_FORCED, place, backend_forced(backend) != BACKEND_AUTO);
    add(all, METRIC_ID_BACKEND_READY, place, backend_admin(backend) == BACKEND_READY);
    add(all, METRIC_ID_BACKEND_WEIGHT, place, backend_weight(backend));
    add_real(all, METRIC_ID_BACKEND_SLOW_START, place, (double)backend_slow_start_percent(backend) / 100.0);
    add(all, METRIC_ID_BACKEND_LIMIT, place, backend_limit_effective(backend));
    add(all, METRIC_ID_CONNECTIONS, place, reading.connections);
    add(all, METRIC_ID_OPEN, place, backend_open(backend));
    for (size_t i = 0; i < STATS_ERROR_COUNT; i++) {
        add_labelled(all, METRIC_ID_ERRORS, place, "reason", stats_error_name((enum stats_error)i),
                     reading.errors[i]);
    }
    add_labelled(all, METRIC_ID_BYTES, place, "direction", "in", reading.bytes_in);
    add_labelled(all, METRIC_ID_BYTES, place, "direction", "out", reading.bytes_out);
    add(all, METRIC_ID_TURNS, place, reading.turns);
    add_histogram(all, METRIC_ID_CONNECT, place, &reading.connect_us);
    add_histogram(all, METRIC_ID_RESPONSE, place, &reading.response_us);
}

/* Where a check has seen one. */
static void add_backend_certificate(struct exposition *all, const struct place *place,
                                    const struct health *health, const struct backend *backend)
{
    struct health_result last;
    if (health != NULL && health_last(health, backend, &last) == 0 && last.certificate_us != 0) {
        int64_t left_us = (int64_t)(last.certificate_us - clock_wall_us());
        fprintf(begin(all, METRIC_ID_BACKEND_CERTIFICATE, "", place, "", NULL), "%" PRId64 "\n",
                left_us / (int64_t)CLOCK_US_PER_S);
    }
}

static void add_queue(struct exposition *all, const struct place *place, const struct routing *routing,
                      size_t group)
{
    struct routing_queue_reading queue;
    routing_queue_read(routing, group, &queue);
    add(all, METRIC_ID_QUEUE_LENGTH, place, queue.waiting);
    add(all, METRIC_ID_QUEUE_SIZE, place, queue.size);
    add_histogram(all, METRIC_ID_QUEUE_SECONDS, place, &queue.waited_us);
}

static void add_groups(struct exposition *all, const struct admin_service *service)
{
    const struct routing *routing = service->routing;
    for (size_t g = 0; g < routing_groups(routing); g++) {
        struct place place = {.service = service->name, .group = routing_group_name(routing, g)};
        if (routing_group_is_gone(routing, g)) {
            continue;
        }
        add(all, METRIC_ID_GROUP_ACTIVE, &place, routing_active(routing) == g);
        add(all, METRIC_ID_GROUP_BACKENDS, &place, routing_backends(routing, g));
        add(all, METRIC_ID_GROUP_USABLE, &place, routing_usable(routing, g));
        add_queue(all, &place, routing, g);
        add(all, METRIC_ID_GROUP_PANIC, &place, routing_in_panic(routing, g, NULL, NULL));
        add(all, METRIC_ID_GROUP_ON_BACKUPS, &place, routing_on_backups(routing, g));
        for (size_t b = 0; b < routing_backends(routing, g); b++) {
            const struct backend *backend = routing_backend_at(routing, g, b);
            place.backend = backend_name(backend);
            add_backend(all, &place, backend);
            add_backend_certificate(all, &place, service->health, backend);
        }
    }
}

static int verdict_value(const struct gate_check *check)
{
    if (check->idle || check->verdict == GATE_MORE) {
        return 0;
    }
    return check->verdict == GATE_PASS ? 1 : -1;
}

static void add_gate(struct exposition *all, const struct place *place, const struct gate_result *gate)
{
    if (gate == NULL) {
        return;
    }
    add(all, METRIC_ID_GATE_FAILED, place, gate->failed);
    for (size_t i = 0; i < gate->checks_len; i++) {
        const struct gate_check *check = &gate->checks[i];
        const char *name = gate_check_name(check->kind);
        double unit = check->kind == GATE_LATENCY ? 1e-6 : 1; /* microseconds there, seconds here */
        fprintf(begin(all, METRIC_ID_GATE_OBSERVED, "", place, "check", name), "%.6g\n",
                check->observed * unit);
        fprintf(begin(all, METRIC_ID_GATE_LIMIT, "", place, "check", name), "%.6g\n", check->limit * unit);
        add_labelled(all, METRIC_ID_GATE_SAMPLES, place, "check", name, check->samples);
        fprintf(begin(all, METRIC_ID_GATE_VERDICT, "", place, "check", name), "%d\n", verdict_value(check));
    }
}

static void add_migration(struct exposition *all, const struct admin_service *service)
{
    const struct place place = {.service = service->name};
    struct migration_status status;
    migration_read(service->migration, &status);
    add_real(all, METRIC_ID_SHARE, &place, (double)status.share_bp / UNITS_BP_FULL);
    add_real(all, METRIC_ID_ROUTED_SHARE, &place, (double)status.routed_bp / UNITS_BP_FULL);
    add_real(all, METRIC_ID_LIVE_SHARE, &place, (double)status.live_share_bp / UNITS_BP_FULL);
    for (int phase = 0; phase < MIGRATION_PHASE_COUNT; phase++) {
        add_labelled(all, METRIC_ID_PHASE, &place, "phase", migration_phase_name((enum migration_phase)phase),
                     (int)status.phase == phase);
    }
    add(all, METRIC_ID_STEP, &place, status.step);
    add(all, METRIC_ID_STEPS, &place, status.steps);
    add(all, METRIC_ID_DETACHED, &place, status.detached);
    add_gate(all, &place, status.gate);
}

static void add_names(struct exposition *all, const struct admin_service *service)
{
    for (size_t i = 0; service->names != NULL && i < names_count(service->names); i++) {
        const struct name_set *set = &names_at(service->names, i)->set;
        const struct place place = {.service = service->name,
                                    .group = names_group(service->names, i),
                                    .backend = names_backend(service->names, i)};
        add(all, METRIC_ID_NAME_RESOLVED, &place, set->outcome == NAME_GOOD);
        add(all, METRIC_ID_NAME_ADDRESSES, &place,
            name_set_count(set, NAME_PRESENT) + name_set_count(set, NAME_HELD));
        add(all, METRIC_ID_NAME_LEFT_OUT, &place, set->left_out);
        add(all, METRIC_ID_NAME_FAILURES, &place, names_failures(service->names, i));
    }
}

static void add_certificates(struct exposition *all, const struct admin_service *service)
{
    const struct place place = {.service = service->name};
    size_t n = service->proxy != NULL ? proxy_service_certificates(service->proxy) : 0;
    for (size_t i = 0; i < n; i++) {
        struct proxy_certificate one;
        proxy_service_certificate(service->proxy, i, &one);
        fprintf(begin(all, METRIC_ID_CERTIFICATE, "", &place, "certificate", one.file), "%" PRId64 "\n",
                render_certificate_left_s(&one));
    }
}

static void add_tls_failed(struct exposition *all, const struct place *place, enum stats_side side,
                           enum stats_tls_failure failure, uint64_t n)
{
    enum metric_id id = side == STATS_SIDE_CLIENT ? METRIC_ID_TLS_FAILED : METRIC_ID_TLS_BACKEND_FAILED;
    add_labelled(all, id, place, "reason", stats_tls_name(failure), n);
}

static void add_service(struct exposition *all, const struct admin_service *service)
{
    const struct place place = {.service = service->name};
    struct stats_service_reading reading = {.accepted = 0};
    if (service->proxy != NULL) {
        proxy_service_read(service->proxy, &reading);
    }
    add(all, METRIC_ID_SERVICE_OPEN, &place, render_open(service));
#define METRIC_ADD(name, help) add(all, METRIC_ID_SERVICE_##name, &place, reading.name);
    STATS_SERVICE_COUNTERS(METRIC_ADD)
#undef METRIC_ADD
    for (size_t i = 0; i < STATS_CLOSE_COUNT; i++) {
        add_labelled(all, METRIC_ID_CLOSED, &place, "reason", stats_close_name((enum stats_close)i),
                     reading.closed[i]);
    }
    for (size_t side = 0; side < STATS_SIDES; side++) {
        for (size_t i = 0; i < STATS_TLS_COUNT; i++) {
            add_tls_failed(all, &place, (enum stats_side)side, (enum stats_tls_failure)i,
                           reading.tls_failed[side][i]);
        }
    }
    if (service->health != NULL) {
        add(all, METRIC_ID_CHECKS_SKIPPED, &place, health_skipped(service->health));
    }
    add_certificates(all, service);
    add_migration(all, service);
    add_names(all, service);
    add_groups(all, service);
}

static void add_all(struct exposition *all)
{
    const struct place nowhere = {.service = NULL};
    const struct admin_options *options = &all->admin->options;
    add_labelled(all, METRIC_ID_BUILD_INFO, &nowhere, "version", SHUNT_VERSION, 1);
    add_real(all, METRIC_ID_UPTIME, &nowhere,
             (double)(clock_mono_us() - options->started_us) / (double)CLOCK_US_PER_S);
    add(all, METRIC_ID_WORKERS, &nowhere, options->pool != NULL ? worker_pool_count(options->pool) : 0);
    add(all, METRIC_ID_LOG_DROPPED, &nowhere, log_dropped());
    add(all, METRIC_ID_LOG_LEFT_OUT, &nowhere, log_left_out());
    for (size_t i = 0; i < options->services_len; i++) {
        add_service(all, &options->services[i]);
    }
}

static bool open_families(struct exposition *all)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        all->family[i].out = open_memstream(&all->family[i].text, &all->family[i].length);
        if (all->family[i].out == NULL) {
            return false;
        }
    }
    return true;
}

/* Closes them all; false when one of them is not whole. */
static bool close_families(struct exposition *all)
{
    bool whole = true;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (all->family[i].out != NULL) {
            bool failed = ferror(all->family[i].out) != 0;
            whole = fclose(all->family[i].out) == 0 && !failed && whole;
        }
    }
    return whole;
}

/* A family without samples is left out. */
static bool join(const struct exposition *all, char **text, size_t *length)
{
    FILE *out = open_memstream(text, length);
    if (out == NULL) {
        return false;
    }
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric *metric = &metrics_table()[i];
        if (all->family[i].length > 0) {
            fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                    metrics_type_name(metric->type));
            (void)fwrite(all->family[i].text, 1, all->family[i].length, out);
        }
    }
    bool failed = ferror(out) != 0;
    return fclose(out) == 0 && !failed;
}

char *metrics_format(const struct admin *admin, size_t *length)
{
    char *text = NULL;
    struct exposition *all = calloc(1, sizeof(*all));
    if (all == NULL) {
        return NULL;
    }
    all->admin = admin;
    bool good = open_families(all);
    if (good) {
        add_all(all);
    }
    good = close_families(all) && good;
    if (!good || !join(all, &text, length)) {
        free(text);
        text = NULL;
    }
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        free(all->family[i].text);
    }
    free(all);
    return text;
}
