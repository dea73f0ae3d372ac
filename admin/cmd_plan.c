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
};

static int look_ahead(const struct admin_service *service, struct outlook *out, struct err_text *err)
{
    *out = (struct outlook){.service = service, .config = &service->config->migration};
    int code = plan_compile(out->config, &out->plan, err);
    if (code != ERR_OK) {
        return code;
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
    if (out->to == out->from) { /* the last one is completed: the next would go back */
        out->to = routing_groups(service->routing) == 2 ? 1 - out->from : ROUTING_NONE;
    }
    uint64_t drain_us = out->config->drain.timeout_us;
    out->fastest_us = plan_total_us(out->plan);
    out->slowest_us = drain_us < CLOCK_NEVER - out->fastest_us ? out->fastest_us + drain_us : CLOCK_NEVER;
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

static void write_group_check(FILE *out, const struct routing *routing, uint32_t group)
{
    if (group != ROUTING_NONE) {
        size_t usable = routing_usable(routing, group);
        fprintf(out, "  %s %s %zu/%zu usable", usable > 0 ? "✔" : "✖", routing_group_name(routing, group),
                usable, routing_backends(routing, group));
    }
}

static void write_text(FILE *out, const struct outlook *ahead)
{
    const struct routing *routing = ahead->service->routing;
    char fastest[32];
    char slowest[32];
    fputs("  ", out);
    write_steps(out, ahead->plan);
    clock_format_duration(ahead->fastest_us, fastest, sizeof(fastest));
    clock_format_duration(ahead->slowest_us, slowest, sizeof(slowest));
    fprintf(out, "drain %s → commit%s        fastest %s, slowest %s",
            routing_group_name(routing, ahead->from),
            ahead->config->commit == CONFIG_COMMIT_MANUAL ? " by hand" : "", fastest, slowest);
    if (plan_steps(ahead->plan) > STEPS_SHOWN) {
        fprintf(out, ", %" PRIu32 " steps", plan_steps(ahead->plan));
    }
    fputs("\n  preflight", out);
    write_group_check(out, routing, ahead->from);
    write_group_check(out, routing, ahead->to);
    fprintf(out, "  %s\n", ahead->status.detached ? "✖ journal cannot be written" : "✔ journal");
}

static json_t *json_of_group_check(const struct routing *routing, uint32_t group)
{
    return json_pack("{s:o,s:b,s:I,s:I}", "check", render_json_text(routing_group_name(routing, group)),
                     "passed", (int)(routing_usable(routing, group) > 0), "usable",
                     (json_int_t)routing_usable(routing, group), "backends",
                     (json_int_t)routing_backends(routing, group));
}

static json_t *json_of_steps(const struct plan *plan)
{
    json_t *steps = json_array();
    for (uint32_t step = 1; step <= plan_steps(plan); step++) {
        (void)json_array_append_new(
            steps, json_pack("{s:I,s:f}", "share_bp", (json_int_t)plan_share_bp(plan, step), "hold_s",
                             (double)plan_hold_us(plan, step) / (double)CLOCK_US_PER_S));
    }
    return steps;
}

static json_t *json_of_plan(const struct outlook *ahead)
{
    const struct routing *routing = ahead->service->routing;
    json_t *preflight = json_array();
    (void)json_array_append_new(preflight, json_of_group_check(routing, ahead->from));
    if (ahead->to != ROUTING_NONE) {
        (void)json_array_append_new(preflight, json_of_group_check(routing, ahead->to));
    }
    (void)json_array_append_new(
        preflight, json_pack("{s:s,s:b}", "check", "journal", "passed", (int)!ahead->status.detached));
    json_t *slowest = ahead->slowest_us == CLOCK_NEVER
                          ? json_null()
                          : json_real((double)ahead->slowest_us / (double)CLOCK_US_PER_S);
    return json_pack(
        "{s:{s:o,s:o,s:o,s:o,s:s,s:f,s:o,s:o}}", "plan", "service", render_json_text(ahead->service->name),
        "from", render_json_text(routing_group_name(routing, ahead->from)), "to",
        ahead->to != ROUTING_NONE ? render_json_text(routing_group_name(routing, ahead->to)) : json_null(),
        "steps", json_of_steps(ahead->plan), "commit",
        ahead->config->commit == CONFIG_COMMIT_MANUAL ? "manual" : "auto", "fastest_s",
        (double)ahead->fastest_us / (double)CLOCK_US_PER_S, "slowest_s", slowest, "preflight", preflight);
}

int cmd_plan(struct command_call *call, struct err_text *err)
{
    struct outlook ahead;
    int code = look_ahead(call->values.service, &ahead, err);
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
