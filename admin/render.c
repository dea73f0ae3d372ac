/*
 * What operators read: the one dense line of a service, and the tree of its groups and backends. Control
 * thread; reads counters that workers go on changing, so figures of one reply are a moment apart.
 */
#include "admin/admin_internal.h"
#include "admin/render_standing.h"
#include "core/clock.h"
#include "core/units.h"
#include "migration/gate.h"

#include <inttypes.h>
#include <string.h>

uint64_t render_open(const struct admin_service *service)
{
    if (service->proxy != NULL) {
        return proxy_service_open(service->proxy);
    }
    uint64_t open = 0;
    for (size_t g = 0; g < routing_groups(service->routing); g++) {
        open += routing_open(service->routing, g);
    }
    return open;
}

/* A reason in double quotes, such that a script finds its end. */
static void write_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            fputc('\\', out);
        }
        fputc(c < 0x20 || c == 0x7f ? ' ' : c, out);
    }
    fputc('"', out);
}

void render_service_line(FILE *out, const struct admin_service *service)
{
    struct migration_status status;
    char share[16];
    char live[16];
    migration_read(service->migration, &status);
    units_format_share(status.share_bp, share, sizeof(share));
    units_format_share(status.live_share_bp, live, sizeof(live));
    fprintf(out, "%s %s %s share=%s live=%s step=%" PRIu32 "/%" PRIu32 " reason=", service->name,
            status.id[0] != '\0' ? status.id : "-", migration_phase_name(status.phase), share, live,
            status.step, status.steps);
    write_quoted(out, status.reason);
    for (size_t g = 0; g < routing_groups(service->routing); g++) {
        if (!routing_group_is_gone(service->routing, g)) {
            fprintf(out, " %s=%zu/%zu", routing_group_name(service->routing, g),
                    routing_usable(service->routing, g), routing_backends(service->routing, g));
        }
    }
    fprintf(out, " open=%" PRIu64 "\n", render_open(service));
}

void render_in_force(FILE *out, const struct migration_status *status)
{
    char text[32];
    fputs(migration_phase_name(status->phase), out);
    units_format_share(status->share_bp, text, sizeof(text));
    fprintf(out, ", share %s", text);
    if (status->aim_live) {
        units_format_share(status->routed_bp, text, sizeof(text));
        fprintf(out, " of those open (%s of new ones)", text);
    }
    units_format_share(status->live_share_bp, text, sizeof(text));
    fprintf(out, ", live %s", text);
    if (status->step > 0) {
        fprintf(out, ", step %" PRIu32 "/%" PRIu32, status->step, status->steps);
    }
    if (status->step_left_us != CLOCK_NEVER && status->phase == MIGRATION_RAMPING) {
        clock_format_duration(status->step_left_us, text, sizeof(text));
        fprintf(out, ", next step in %s", text);
    }
    if (status->eta_us != CLOCK_NEVER && status->phase == MIGRATION_RAMPING) {
        clock_format_duration(status->eta_us, text, sizeof(text));
        fprintf(out, ", all done in %s", text);
    }
    if (status->detached) {
        fputs(", " SIGN_WARN " the journal cannot be written: the plan is frozen", out);
    }
}

/* Columns a text takes, where each character takes one. */
static int columns(const char *text)
{
    int n = 0;
    for (; *text != '\0'; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

static void write_padded(FILE *out, const char *text, int width)
{
    int used = columns(text);
    fprintf(out, "%s%*s", text, used < width ? width - used : 0, "");
}

/* "err 20 (connect 17, reset 3)" */
static void write_errors(FILE *out, const uint64_t *errors)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < STATS_ERROR_COUNT; i++) {
        sum += errors[i];
    }
    fprintf(out, "   err %" PRIu64, sum);
    const char *before = " (";
    for (size_t i = 0; i < STATS_ERROR_COUNT; i++) {
        if (errors[i] > 0) {
            fprintf(out, "%s%s %" PRIu64, before, stats_error_name((enum stats_error)i), errors[i]);
            before = ", ";
        }
    }
    fputs(sum > 0 ? ")" : "", out);
}

static void write_latency(FILE *out, const struct histogram_reading *response)
{
    char p50[32];
    char p99[32];
    if (response->count == 0) {
        return;
    }
    clock_format_duration(histogram_quantile(response, 0.5), p50, sizeof(p50));
    clock_format_duration(histogram_quantile(response, 0.99), p99, sizeof(p99));
    fprintf(out, "   p50 %s  p99 %s", p50, p99);
}

/* "check ✔ connected in 3ms, 1s ago" */
static void write_check(FILE *out, const struct admin_service *service, const struct backend *backend)
{
    struct health_result check;
    char text[32];
    if (service->health == NULL || health_last(service->health, backend, &check) != ERR_OK) {
        return;
    }
    if (check.checks == 0) {
        fputs("   check " SIGN_WAIT " not yet", out);
        return;
    }
    clock_format_duration(check.duration_us, text, sizeof(text));
    fprintf(out, "   check %s %s in %s", check.passed ? SIGN_GOOD : SIGN_BAD, check.reason, text);
    uint64_t wall_us = clock_wall_us();
    clock_format_duration(wall_us > check.wall_us ? wall_us - check.wall_us : 0, text, sizeof(text));
    fprintf(out, ", %s ago", text);
}

static const char *backend_sign(const struct backend *backend)
{
    if (backend_admin(backend) != BACKEND_READY || backend_is_leaving(backend)) {
        return SIGN_WARN;
    }
    switch (backend_standing(backend)) {
    case BACKEND_UP:
        return SIGN_GOOD;
    case BACKEND_DOWN:
        return SIGN_BAD;
    case BACKEND_STARTING:
    case BACKEND_UNKNOWN:
        break;
    }
    return SIGN_WAIT;
}

static void write_backend(FILE *out, const struct admin_service *service, const struct backend *backend,
                          int width)
{
    struct stats_backend_reading reading;
    backend_read(backend, &reading);
    write_padded(out, backend_name(backend), width);
    fprintf(out, "   %s %s", backend_sign(backend), backend_state_name(backend_standing(backend)));
    if (backend_slow_start_percent(backend) < 100) {
        fprintf(out, " (%" PRIu32 "%% of its weight)", backend_slow_start_percent(backend));
    }
    render_standing(out, service->migration, backend);
    if (backend_is_leaving(backend)) {
        fputs(backend_is_removed(backend) ? " removed, draining" : " gone from its name, draining", out);
        if (backend_open_elsewhere(backend) > 0) {
            fputs(backend_open_elsewhere(backend) == backend_open(backend)
                      ? " in the program before it"
                      : ", in part in the program before it",
                  out);
        }
    }
    if (backend_is_backup(backend)) {
        fputs(" backup", out);
    }
    fprintf(out, "   weight %" PRIu32 "   %" PRIu64, backend_weight(backend), backend_open(backend));
    if (backend_limit_effective(backend) > 0) {
        fprintf(out, " of %" PRIu32, backend_limit_effective(backend));
    }
    fprintf(out, " open   %" PRIu64 " total", reading.connections);
    write_errors(out, reading.errors);
    write_latency(out, &reading.response_us);
    write_check(out, service, backend);
    fputc('\n', out);
}

/* "3 of 1000 wait" where somebody does. */
static void write_queue(FILE *out, const struct routing *routing, size_t group)
{
    struct routing_queue_reading queue;
    routing_queue_read(routing, group, &queue);
    if (queue.waiting > 0) {
        fprintf(out, "   " SIGN_WAIT " %" PRIu32 " of %" PRIu32 " wait", queue.waiting, queue.size);
    }
}

/* The sums of a group behind its name. */
static void write_group(FILE *out, const struct admin_service *service, size_t group)
{
    const struct routing *routing = service->routing;
    struct stats_backend_reading sum = {.connections = 0};
    size_t backends = routing_backends(routing, group);
    size_t usable = routing_usable(routing, group);
    for (size_t b = 0; b < backends; b++) {
        struct stats_backend_reading one;
        backend_read(routing_backend_at(routing, group, b), &one);
        sum.connections += one.connections;
        for (size_t i = 0; i < STATS_ERROR_COUNT; i++) {
            sum.errors[i] += one.errors[i];
        }
        sum.response_us.count += one.response_us.count;
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            sum.response_us.bucket[i] += one.response_us.bucket[i];
        }
    }
    fprintf(out, "%s %zu/%zu%s   %" PRIu64 " open   %" PRIu64 " total",
            usable == backends ? SIGN_GOOD
            : usable == 0      ? SIGN_BAD
                               : SIGN_WARN,
            usable, backends,
            routing_active(routing) == group           ? "   active"
            : routing_group_is_removed(routing, group) ? "   removed"
                                                       : "",
            routing_open(routing, group), sum.connections);
    render_group_standing(out, routing, group);
    write_errors(out, sum.errors);
    write_latency(out, &sum.response_us);
    write_queue(out, routing, group);
    fputc('\n', out);
}

/* The listeners and what became of the clients' connections. */
static void write_clients(FILE *out, const struct admin_service *service)
{
    struct stats_service_reading reading;
    char address[ADDR_TEXT_MAX];
    if (service->proxy == NULL) {
        return;
    }
    fputs("  listen", out);
    for (size_t i = 0; i < proxy_service_listeners(service->proxy); i++) {
        addr_format(proxy_service_listen_address(service->proxy, i), address, sizeof(address));
        fprintf(out, " %s", address);
    }
    if (proxy_service_listeners(service->proxy) == 0) {
        fputs(" - (by routes of other services)", out);
    }
    proxy_service_read(service->proxy, &reading);
    fprintf(out, "   accepted %" PRIu64 "   refused %" PRIu64 "   retries %" PRIu64 "   spilled %" PRIu64,
            reading.accepted, reading.refused, reading.retries, reading.spilled);
    if (reading.queued > 0) {
        fprintf(out, "   queued %" PRIu64, reading.queued);
    }
    const char *before = "   closed: ";
    for (size_t i = 0; i < STATS_CLOSE_COUNT; i++) {
        if (reading.closed[i] > 0) {
            fprintf(out, "%s%s %" PRIu64, before, stats_close_name((enum stats_close)i), reading.closed[i]);
            before = ", ";
        }
    }
    fputc('\n', out);
    render_tls_failures(out, &reading);
}

/* "gate  ✔ error-rate 0.02% ≤ 1% (n=4812)   ◌ error-increase needs ~300 more connections" */
static void write_gate(FILE *out, const struct gate_result *gate)
{
    if (gate == NULL) {
        return;
    }
    fputs("  gate", out);
    for (size_t i = 0; i < gate->checks_len; i++) {
        const struct gate_check *check = &gate->checks[i];
        fprintf(out, "%s%s %s", i == 0 ? "  " : "   ",
                check->verdict == GATE_PASS   ? SIGN_GOOD
                : check->verdict == GATE_FAIL ? SIGN_BAD
                                              : SIGN_WAIT,
                check->message);
    }
    fputc('\n', out);
}

/* What the migration waits for, where there is one under way. */
static void write_progress(FILE *out, const struct migration_status *status)
{
    if (status->stray[0] != '\0') {
        fprintf(out, "  " SIGN_WARN " %s\n", status->stray);
    }
    if (status->phase == MIGRATION_IDLE || status->phase == MIGRATION_COMPLETED ||
        status->phase == MIGRATION_ROLLED_BACK) {
        if (status->detached) {
            fputs("  " SIGN_WARN " the journal cannot be written\n", out);
        }
        return;
    }
    fputs("  ", out);
    render_in_force(out, status);
    fputc('\n', out);
    write_gate(out, status->gate);
}

/* One branch of the tree. */
static void write_branch(FILE *out, const struct admin_service *service, size_t group, bool last, int width)
{
    const struct routing *routing = service->routing;
    size_t backends = routing_backends(routing, group);
    int backends_width = 0;
    fputs(last ? "└─ " : "├─ ", out);
    write_padded(out, routing_group_name(routing, group), width);
    fputs("  ", out);
    write_group(out, service, group);
    for (size_t b = 0; b < backends; b++) {
        int used = columns(backend_name(routing_backend_at(routing, group, b)));
        backends_width = used > backends_width ? used : backends_width;
    }
    for (size_t b = 0; b < backends; b++) {
        fputs(last ? "   " : "│  ", out);
        fputs(b + 1 < backends ? "├─ " : "└─ ", out);
        write_backend(out, service, routing_backend_at(routing, group, b), backends_width);
    }
}

void render_service_tree(FILE *out, const struct admin_service *service)
{
    const struct routing *routing = service->routing;
    struct migration_status status;
    migration_read(service->migration, &status);
    write_progress(out, &status);
    write_clients(out, service);
    render_certificates(out, service);
    render_names(out, service);
    int width = 0;
    size_t last = 0;
    for (size_t g = 0; g < routing_groups(routing); g++) {
        if (!routing_group_is_gone(routing, g)) {
            int used = columns(routing_group_name(routing, g));
            width = used > width ? used : width;
            last = g;
        }
    }
    for (size_t g = 0; g <= last; g++) {
        if (!routing_group_is_gone(routing, g)) {
            write_branch(out, service, g, g == last, width);
        }
    }
}

void render_event(FILE *out, const struct events_entry *entry)
{
    char when[32];
    clock_format_wall(entry->wall_us, when, sizeof(when));
    fprintf(out, "%s %s %s %s %s: %s", when,
            entry->severity == EVENTS_ERROR  ? SIGN_BAD
            : entry->severity == EVENTS_WARN ? SIGN_WARN
                                             : "·",
            entry->service[0] != '\0' ? entry->service : "-", entry->kind,
            entry->actor[0] != '\0' ? entry->actor : "-", entry->text);
    if (entry->reason[0] != '\0') {
        fputs(" reason=", out);
        write_quoted(out, entry->reason);
    }
    fputc('\n', out);
}
