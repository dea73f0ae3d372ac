/*
 * The gate at work in a migration: reads the counters of both groups at its pace, tells it of steps, and puts
 * its failures into the events. Control thread. What the figures mean is decided in migration/gate.c, what
 * follows from a verdict in migration/machine.c.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"
#include "core/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static double part(uint32_t share_bp)
{
    return (double)share_bp / UNITS_BP_FULL;
}

static double decimal(uint32_t value)
{
    return (double)value / CONFIG_DECIMAL_ONE;
}

static struct gate_rules rules_of(const struct config_gate *config)
{
    return (struct gate_rules){.window_us = config->window_us,
                               .min_samples = config->min_samples,
                               .max_error_rate = part(config->max_error_rate_bp),
                               .max_error_increase = part(config->max_error_increase_bp),
                               .max_latency_us = config->max_latency_us,
                               .max_latency_ratio = decimal(config->max_latency_ratio),
                               .max_connect_ratio = decimal(config->max_connect_ratio),
                               .quantile = decimal(config->quantile),
                               .failures = config->failures,
                               .alpha = part(config->alpha_bp),
                               .confidence = part(config->confidence_bp),
                               .grace_us = config->grace_us};
}

/* Whether two sets of limits are the same; all else is the same for all steps. */
static bool same_limits(const struct config_gate *a, const struct config_gate *b)
{
    return a->min_samples == b->min_samples && a->max_error_rate_bp == b->max_error_rate_bp &&
           a->max_error_increase_bp == b->max_error_increase_bp && a->max_latency_us == b->max_latency_us &&
           a->max_latency_ratio == b->max_latency_ratio && a->max_connect_ratio == b->max_connect_ratio;
}

/* The sets of limits that occur in a plan, each once, that of the migration first; how many, 0: too many. */
static size_t collect(const struct setup *setup, struct config_gate sets[SETUP_GATES_MAX])
{
    const struct config_gate *all = &setup->config->migration.gate;
    size_t len = 1;

    sets[0] = *all;
    for (uint32_t step = 1; step <= plan_steps(setup->plan); step++) {
        struct config_gate own = config_gate_of_step(all, plan_step(setup->plan, step));
        size_t at = 0;

        while (at < len && !same_limits(&sets[at], &own)) {
            at++;
        }
        if (at == SETUP_GATES_MAX) {
            return 0;
        }
        sets[at] = own;
        len = at == len ? len + 1 : len;
    }
    return len;
}

/* Each set of limits is a hypothesis of its own: alpha is divided among them, so that it holds for the whole.
 */
int judge_create(struct setup *setup, struct err_text *err)
{
    const struct config_gate *config = &setup->config->migration.gate;
    struct config_gate sets[SETUP_GATES_MAX];
    size_t len;
    int rc = 0;

    if (!config->present) {
        return 0;
    }
    setup->rules.gate_pauses = config->on_fail == CONFIG_FAIL_PAUSE;
    setup->rules.too_few_us = config->too_few_us;
    len = collect(setup, sets);
    if (len == 0) {
        return err_set(err, ERR_INVALID,
                       "%s: the steps have more than %u different sets of limits of their own",
                       setup->config->name, SETUP_GATES_MAX - 1);
    }
    for (size_t i = 0; rc == 0 && i < len; i++) {
        struct gate_rules rules = rules_of(&sets[i]);

        rules.alpha /= (double)len;
        rc = gate_create(&rules, &setup->gates[i], err);
        setup->gates_len += rc == 0;
    }
    setup->gate = setup->gates[0];
    return rc;
}

/* The gate with the limits of the present step. By hand, and in the drain, those of the step last taken hold.
 */
static struct gate *gate_now(const struct migration *m)
{
    const struct config_step *step = plan_step(m->setup.plan, m->machine.step);
    const struct config_gate *all = &m->setup.config->migration.gate;
    struct config_gate own = step == NULL ? *all : config_gate_of_step(all, step);
    struct gate_rules wanted = rules_of(&own);

    for (size_t i = 0; i < m->setup.gates_len; i++) {
        const struct gate_rules *rules = gate_rules(m->setup.gates[i]);

        if (rules->min_samples == wanted.min_samples && rules->max_latency_us == wanted.max_latency_us &&
            rules->max_error_rate == wanted.max_error_rate &&
            rules->max_error_increase == wanted.max_error_increase &&
            rules->max_latency_ratio == wanted.max_latency_ratio &&
            rules->max_connect_ratio == wanted.max_connect_ratio) {
            return m->setup.gates[i];
        }
    }
    return m->setup.gate;
}

static void add_reading(struct histogram_reading *to, const struct histogram_reading *more)
{
    to->count += more->count;
    to->sum_us += more->sum_us;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        to->bucket[i] += more->bucket[i];
    }
}

static void read_group(const struct migration *m, uint32_t group, struct stats_backend_reading *sum)
{
    memset(sum, 0, sizeof(*sum));
    for (size_t i = 0; i < routing_backends(m->options.routing, group); i++) {
        struct stats_backend_reading one;

        backend_read(routing_backend_at(m->options.routing, group, i), &one);
        sum->connections += one.connections;
        for (size_t kind = 0; kind < STATS_ERROR_COUNT; kind++) {
            sum->errors[kind] += one.errors[kind];
        }
        add_reading(&sum->connect_us, &one.connect_us);
        add_reading(&sum->response_us, &one.response_us);
    }
}

/* There is a group to go back to, or going back is not what is asked for. */
static bool can_act(const struct migration *m)
{
    return m->setup.rules.gate_pauses || routing_usable(m->options.routing, m->machine.active) > 0;
}

static void say(const struct migration *m, enum gate_verdict before)
{
    const struct gate_result *result = gate_result(m->setup.gate);
    const char *service = m->options.config->name;

    if (result->verdict == GATE_FAIL && before != GATE_FAIL) {
        events_add(m->options.events, clock_wall_us(), EVENTS_WARN, service, "gate", "gate", NULL,
                   "%s, failure 1 of %" PRIu32 "%s%s", result->worst->message,
                   gate_rules(m->setup.gate)->failures,
                   can_act(m) ? "" : "; no way back: no usable backend in ",
                   can_act(m) ? "" : migration_group_name(m, m->machine.active));
    } else if (result->verdict != GATE_FAIL && before == GATE_FAIL) {
        events_add(m->options.events, clock_wall_us(), EVENTS_INFO, service, "gate", "gate", NULL,
                   "no check fails any more");
    }
}

/* Whether there are two groups with traffic to judge. */
static bool is_watching(const struct machine *s)
{
    return machine_is_open(s) && s->phase != MIGRATION_PREFLIGHT && s->phase != MIGRATION_ROLLING_BACK &&
           s->target != ROUTING_NONE;
}

void judge_look(struct migration *m)
{
    const struct machine *s = &m->machine;
    uint64_t now_us = m->clock_us(m->clock_context);
    struct stats_backend_reading old;
    struct stats_backend_reading target;
    enum gate_verdict before;

    if (m->setup.gate == NULL || !is_watching(s)) {
        m->judging = false;
        return;
    }
    if (gate_now(m) != m->setup.gate) { /* other limits: a clean window */
        m->setup.gate = gate_now(m);
        m->judging = false;
    }
    /* Who resumes after a failure wants it judged anew. */
    if (!m->judging || m->judged_number != s->number ||
        (m->judged_phase == MIGRATION_PAUSED && s->phase != MIGRATION_PAUSED &&
         gate_result(m->setup.gate)->verdict == GATE_FAIL)) {
        m->judging = true;
        m->judged_number = s->number;
        m->judged_share_bp = 0;
        m->judge_due_us = now_us;
        gate_begin(m->setup.gate, now_us);
    }
    m->judged_phase = s->phase;
    if (m->judged_share_bp != s->share_bp) {
        m->judged_share_bp = s->share_bp;
        gate_step(m->setup.gate, s->share_bp, now_us);
    }
    if (now_us < m->judge_due_us) {
        return;
    }
    m->judge_due_us = now_us + gate_interval_us(m->setup.gate);
    before = gate_result(m->setup.gate)->verdict;
    read_group(m, s->active, &old);
    read_group(m, s->target, &target);
    if (gate_look(m->setup.gate, &old, &target, now_us)) {
        say(m, before);
    }
}

void judge_see(const struct migration *m, struct machine_sight *sight)
{
    if (m->judging) {
        sight->gate_failed = gate_result(m->setup.gate)->act && can_act(m);
        sight->gate_waits = gate_result(m->setup.gate)->verdict != GATE_PASS;
    }
}

bool judge_waits(const struct migration *m)
{
    return m->judging && gate_result(m->setup.gate)->verdict != GATE_PASS;
}

const char *judge_message(const struct migration *m)
{
    const struct gate_check *worst = m->setup.gate == NULL ? NULL : gate_result(m->setup.gate)->worst;

    return worst == NULL ? "" : worst->message;
}

const struct gate_result *judge_result(const struct migration *m)
{
    return m->setup.gate != NULL && gate_result(m->setup.gate)->looks > 0 ? gate_result(m->setup.gate) : NULL;
}

json_t *judge_json(const struct migration *m)
{
    const struct gate_result *result = gate_result(m->setup.gate);
    json_t *checks = json_array();

    for (size_t i = 0; i < result->checks_len; i++) {
        const struct gate_check *check = &result->checks[i];

        (void)json_array_append_new(
            checks,
            json_pack("{s:s, s:f, s:f, s:I, s:s, s:s}", "name", gate_check_name(check->kind), "observed",
                      check->observed, "limit", check->limit, "samples", (json_int_t)check->samples,
                      "verdict", gate_verdict_name(check->verdict), "message", check->message));
    }
    return json_pack("{s:s, s:o}", "verdict", gate_verdict_name(result->verdict), "checks", checks);
}
