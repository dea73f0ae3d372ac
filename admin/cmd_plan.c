/*
 * `plan`: the steps of a service's plan, how long they take at best and at worst, and what a start would find
 * now. Changes nothing. Control thread. Whether a start is refused is decided by the migration room alone.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"
#include "core/units.h"
#include "migration/plan.h"

#include <inttypes.h>

#define STEPS_SHOWN 12u /* of a longer plan the first ones and the last */

/* The plan as asked for, and between which groups. */
struct outlook {
    const struct admin_service *service;
    const struct config_migration *config;
    struct plan *plan; /* owned */
    struct migration_status status;
    uint32_t from, to; /* ROUTING_NONE: to be named at start */
    uint64_t fastest_us, slowest_us;
    double per_minute; /* connections now; below 0: not known */
    struct migration_finding findings[MIGRATION_FINDINGS_MAX];
    size_t findings_len;
};

/* The holds of all steps that end by themselves. */
static uint64_t holds_us(const struct plan *plan)
{
    uint64_t sum = 0;
    for (uint32_t step = 1; step <= plan_steps(plan); step++) {
        sum += plan_is_manual(plan, step) ? 0 : plan_hold_us(plan, step);
    }
    return sum;
}

/* Connections a minute that a step sends to the new group at the present rate. */
static double exposes(const struct outlook *ahead, uint32_t step)
{
    return ahead->per_minute * plan_share_bp(ahead->plan, step) / UNITS_BP_FULL;
}

/* Whether a step, or the end, waits for somebody for a time that nobody knows. */
static bool waits_without_end(const struct outlook *ahead)
{
    for (uint32_t step = 1; step <= plan_steps(ahead->plan); step++) {
        if (plan_is_manual(ahead->plan, step) || plan_min_samples(ahead->plan, step) > 0) {
            return true;
        }
    }
    for (size_t i = 0; i < ahead->config->hooks_len; i++) {
        if (ahead->config->hooks[i].on == CONFIG_HOOK_BEFORE_STEP ||
            ahead->config->hooks[i].on == CONFIG_HOOK_BEFORE_COMMIT) {
            return true;
        }
    }
    return ahead->config->drain.on_timeout == CONFIG_DRAIN_WAIT || ahead->config->between != NULL ||
           ahead->config->weekdays != NULL ||
           (ahead->config->gate.present && ahead->config->gate.too_few_us == 0);
}

/* The holds, as long as the gate may take to pass each step, and the drain. */
static uint64_t slowest_us(const struct outlook *ahead)
{
    uint64_t sum = ahead->fastest_us;
    uint64_t each = ahead->config->gate.present ? ahead->config->gate.too_few_us : 0;
    if (waits_without_end(ahead)) {
        return CLOCK_NEVER;
    }
    for (uint32_t step = 1; step <= plan_steps(ahead->plan); step++) {
        sum = each < CLOCK_NEVER - sum ? sum + each : CLOCK_NEVER;
    }
    return ahead->config->drain.timeout_us < CLOCK_NEVER - sum ? sum + ahead->config->drain.timeout_us
                                                               : CLOCK_NEVER;
}

static int look_ahead(const struct admin_service *service, uint32_t to, struct outlook *out,
                      struct err_text *err)
{
    *out = (struct outlook){.service = service, .config = &service->config->migration};
    int code = plan_compile(out->config, &out->plan, err);
    if (code != ERR_OK) {
        return code;
    }
    if (to != ROUTING_NONE && to == routing_active(service->routing)) {
        plan_destroy(out->plan);
        return err_set(err, ERR_STATE,
                       "%s takes all traffic of %s already: `plan %s to GROUP` with another group",
                       routing_group_name(service->routing, to), service->name, service->name);
    }
    if (out->plan == NULL) {
        return err_set(err, ERR_STATE,
                       "%s has no plan: add migration = { steps = … } to its configuration, or move "
                       "traffic by hand with share %s PCT",
                       service->name, service->name);
    }
    migration_read(service->migration, &out->status);
    out->from = out->status.active;
    out->to = out->status.target;
    if (to != ROUTING_NONE) {
        out->to = to;
    } else if (out->to == out->from) { /* the last one is completed: the next would go back */
        out->to = routing_other_group(service->routing, out->from);
    }
    out->fastest_us = holds_us(out->plan);
    out->slowest_us = slowest_us(out);
    out->per_minute = migration_rate_per_minute(service->migration);
    out->findings_len =
        migration_preflight(service->migration, out->to, out->findings, MIGRATION_FINDINGS_MAX);
    return ERR_OK;
}

static void write_steps(FILE *out, const struct plan *plan)
{
    uint32_t steps = plan_steps(plan);
    char share[16];
    for (uint32_t step = 1; step <= steps; step++) {
        if (steps > STEPS_SHOWN && step == STEPS_SHOWN) {
            fputs("… → ", out);
            step = steps;
        }
        units_format_share(plan_share_bp(plan, step), share, sizeof(share));
        fprintf(out, "%s → ", share);
    }
}

/* What each step holds, waits for and exposes; of a ramp with many only the line above. */
static void write_schedule(FILE *out, const struct outlook *ahead)
{
    uint32_t steps = plan_steps(ahead->plan);
    for (uint32_t step = 1; step <= steps && steps <= STEPS_SHOWN; step++) {
        char share[16];
        char hold[32];
        units_format_share(plan_share_bp(ahead->plan, step), share, sizeof(share));
        clock_format_duration(plan_hold_us(ahead->plan, step), hold, sizeof(hold));
        bool manual = plan_is_manual(ahead->plan, step);
        fprintf(out, "  step %" PRIu32 "  %s %s%s", step, share, manual ? "until resume" : "for ",
                manual ? "" : hold);
        if (plan_min_samples(ahead->plan, step) > 0) {
            fprintf(out, ", at least %" PRIu64 " connections", plan_min_samples(ahead->plan, step));
        }
        if (ahead->per_minute >= 0) {
            fprintf(out, "   exposes %.0f connections a minute", exposes(ahead, step));
        }
        fputc('\n', out);
    }
    if (ahead->config->aim == CONFIG_AIM_LIVE) {
        char limit[16];
        units_format_share(ahead->config->aim_limit_bp, limit, sizeof(limit));
        fprintf(out,
                "  shares are of the connections open: until one is reached up to %s of the new ones go to "
                "the new group\n",
                limit);
    }
    if (ahead->config->between != NULL || ahead->config->weekdays != NULL) {
        fprintf(out, "  advances only %s%s%s (%s)\n",
                ahead->config->between != NULL ? ahead->config->between : "all day",
                ahead->config->weekdays != NULL ? " " : "",
                ahead->config->weekdays != NULL ? ahead->config->weekdays : "", ahead->config->time_zone);
    }
}

/* "  error-rate ≤ 1%  latency ≤ 1.5 × old  from 200 samples" */
static void write_limits(FILE *out, const struct config_gate *gate)
{
    char text[32];
    if (gate->max_error_rate_bp < UNITS_BP_FULL) {
        units_format_share(gate->max_error_rate_bp, text, sizeof(text));
        fprintf(out, "  error-rate ≤ %s", text);
    }
    if (gate->max_error_increase_bp < UNITS_BP_FULL) {
        units_format_share(gate->max_error_increase_bp, text, sizeof(text));
        fprintf(out, "  error-increase ≤ %s", text);
    }
    if (gate->max_latency_us > 0) {
        clock_format_duration(gate->max_latency_us, text, sizeof(text));
        fprintf(out, "  latency ≤ %s", text);
    }
    if (gate->max_latency_ratio > 0) {
        fprintf(out, "  latency ≤ %g × old", (double)gate->max_latency_ratio / CONFIG_DECIMAL_ONE);
    }
    if (gate->max_connect_ratio > 0) {
        fprintf(out, "  connect ≤ %g × old", (double)gate->max_connect_ratio / CONFIG_DECIMAL_ONE);
    }
    fprintf(out, "  from %" PRIu64 " samples", gate->min_samples);
}

static void write_gate(FILE *out, const struct outlook *ahead)
{
    const struct config_gate *gate = &ahead->config->gate;
    if (!gate->present) {
        fputs("  gate  none: time alone decides\n", out);
        return;
    }
    fputs("  gate", out);
    write_limits(out, gate);
    fprintf(out, ", else %s\n", gate->on_fail == CONFIG_FAIL_PAUSE ? "it pauses" : "it goes back");
    for (uint32_t step = 1; step <= plan_steps(ahead->plan); step++) {
        const struct config_step *own = plan_step(ahead->plan, step);
        if (own->gate.present) {
            struct config_gate of_step = config_gate_of_step(gate, own);
            fprintf(out, "    in step %" PRIu32, step);
            write_limits(out, &of_step);
            fputc('\n', out);
        }
    }
}

static const char *sign_of(const struct migration_finding *finding)
{
    return !finding->passed ? SIGN_BAD : finding->warning ? SIGN_WARN : SIGN_GOOD;
}

static void write_findings(FILE *out, const struct outlook *ahead)
{
    fputs("  preflight", out);
    for (size_t i = 0; i < ahead->findings_len; i++) {
        const struct migration_finding *finding = &ahead->findings[i];
        fprintf(out, "  %s %s", sign_of(finding), finding->text);
    }
    fputc('\n', out);
    if (ahead->to == ROUTING_NONE) {
        fprintf(out, "  ◌ which group it goes to is not said, so none was looked at: `plan %s to GROUP`\n",
                ahead->service->name);
    }
    for (size_t i = 0; i < ahead->findings_len; i++) {
        const struct migration_finding *finding = &ahead->findings[i];
        if (!finding->passed || finding->warning) {
            fprintf(out, "  %s %s: %s\n", sign_of(finding), finding->text, finding->advice);
        }
    }
}

static bool is_under_way(const struct migration_status *status)
{
    return status->phase != MIGRATION_IDLE && status->phase != MIGRATION_COMPLETED &&
           status->phase != MIGRATION_ROLLED_BACK;
}

static void write_text(FILE *out, const struct outlook *ahead)
{
    const struct routing *routing = ahead->service->routing;
    char fastest[32];
    char slowest[32];
    if (is_under_way(&ahead->status)) {
        fprintf(out, "  under way: %s ", ahead->status.id);
        render_in_force(out, &ahead->status);
        fputs("\n  the next start:\n", out);
    }
    fputs("  ", out);
    write_steps(out, ahead->plan);
    clock_format_duration(ahead->fastest_us, fastest, sizeof(fastest));
    clock_format_duration(ahead->slowest_us, slowest, sizeof(slowest));
    fprintf(out, "drain %s → commit%s        fastest %s, slowest %s",
            routing_group_name(routing, ahead->from),
            ahead->config->commit == CONFIG_COMMIT_MANUAL ? " by hand" : "", fastest,
            ahead->slowest_us == CLOCK_NEVER ? "unknown" : slowest);
    if (plan_steps(ahead->plan) > STEPS_SHOWN) {
        fprintf(out, ", %" PRIu32 " steps", plan_steps(ahead->plan));
    }
    fputc('\n', out);
    write_schedule(out, ahead);
    write_gate(out, ahead);
    write_findings(out, ahead);
}

static json_t *json_of_findings(const struct outlook *ahead)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ahead->findings_len; i++) {
        const struct migration_finding *finding = &ahead->findings[i];
        (void)json_array_append_new(
            list, json_pack("{s:s,s:b,s:b,s:o,s:o}", "check", finding->check, "passed", (int)finding->passed,
                            "warning", (int)finding->warning, "text", render_json_text(finding->text),
                            "advice", render_json_text(finding->advice)));
    }
    return list;
}

/* Limits that are off are null. */
static json_t *json_of_limits(const struct config_gate *gate)
{
    bool rate = gate->max_error_rate_bp < UNITS_BP_FULL;
    bool increase = gate->max_error_increase_bp < UNITS_BP_FULL;
    if (!gate->present) {
        return json_null();
    }
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:I,s:s}", "max_error_rate_bp",
        rate ? json_integer(gate->max_error_rate_bp) : json_null(), "max_error_increase_bp",
        increase ? json_integer(gate->max_error_increase_bp) : json_null(), "max_latency_us",
        gate->max_latency_us > 0 ? json_integer((json_int_t)gate->max_latency_us) : json_null(),
        "max_latency_ratio",
        gate->max_latency_ratio > 0 ? json_real((double)gate->max_latency_ratio / CONFIG_DECIMAL_ONE)
                                    : json_null(),
        "max_connect_ratio",
        gate->max_connect_ratio > 0 ? json_real((double)gate->max_connect_ratio / CONFIG_DECIMAL_ONE)
                                    : json_null(),
        "min_samples", (json_int_t)gate->min_samples, "on_fail",
        gate->on_fail == CONFIG_FAIL_PAUSE ? "pause" : "rollback");
}

static json_t *json_of_steps(const struct outlook *ahead)
{
    const struct plan *plan = ahead->plan;
    json_t *steps = json_array();
    for (uint32_t step = 1; step <= plan_steps(plan); step++) {
        const struct config_gate own = config_gate_of_step(&ahead->config->gate, plan_step(plan, step));
        (void)json_array_append_new(
            steps,
            json_pack("{s:I,s:o,s:I,s:o,s:o}", "share_bp", (json_int_t)plan_share_bp(plan, step), "hold_s",
                      plan_is_manual(plan, step)
                          ? json_null()
                          : json_real((double)plan_hold_us(plan, step) / (double)CLOCK_US_PER_S),
                      "min_samples", (json_int_t)plan_min_samples(plan, step), "exposes_per_minute",
                      ahead->per_minute < 0 ? json_null() : json_real(exposes(ahead, step)), "gate",
                      json_of_limits(&own)));
    }
    return steps;
}

static json_t *json_of_running(const struct migration_status *status)
{
    if (!is_under_way(status)) {
        return json_null();
    }
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "migration", status->id, "phase",
                     migration_phase_name(status->phase), "step", (json_int_t)status->step, "steps",
                     (json_int_t)status->steps, "share_bp", (json_int_t)status->share_bp, "live_share_bp",
                     (json_int_t)status->live_share_bp);
}

static json_t *json_of_plan(const struct outlook *ahead)
{
    const struct routing *routing = ahead->service->routing;
    json_t *slowest = ahead->slowest_us == CLOCK_NEVER
                          ? json_null()
                          : json_real((double)ahead->slowest_us / (double)CLOCK_US_PER_S);
    return json_pack(
        "{s:{s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:s,s:f,s:o,s:o}}", "plan", "service",
        render_json_text(ahead->service->name), "from",
        render_json_text(routing_group_name(routing, ahead->from)), "to",
        ahead->to != ROUTING_NONE ? render_json_text(routing_group_name(routing, ahead->to)) : json_null(),
        "steps", json_of_steps(ahead), "gate", json_of_limits(&ahead->config->gate), "running",
        json_of_running(&ahead->status), "aim", ahead->config->aim == CONFIG_AIM_LIVE ? "live" : "share",
        "commit", ahead->config->commit == CONFIG_COMMIT_MANUAL ? "manual" : "auto", "fastest_s",
        (double)ahead->fastest_us / (double)CLOCK_US_PER_S, "slowest_s", slowest, "preflight",
        json_of_findings(ahead));
}

int cmd_plan(struct command_call *call, struct err_text *err)
{
    struct outlook ahead;
    int code = look_ahead(call->values.service, call->values.group, &ahead, err);
    if (code != ERR_OK) {
        return code;
    }
    if (call->values.json) {
        code = render_json_write(call->reply, json_of_plan(&ahead));
    } else {
        write_text(call->reply, &ahead);
    }
    plan_destroy(ahead.plan);
    return code;
}
