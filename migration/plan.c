/*
 * Compiles the steps or the ramp of a configuration into a list of (share, hold) and answers questions about
 * it. Pure; any thread. What to do when a hold is over is the machine's business (migration/machine.c), not
 * this file's.
 */
#include "migration/plan.h"

#include "core/units.h"

#include <math.h>
#include <stdlib.h>

struct plan {
    size_t len;
    struct config_step steps[]; /* shares rise strictly */
};

/* The share after tick i of n. Exponential: each tick multiplies by the same factor, so a ramp from 1 % to
 * 100 % spends as long between 1 % and 10 % as between 10 % and 100 %. */
static uint32_t ramp_share_bp(const struct config_ramp *ramp, uint32_t i, uint32_t n)
{
    double from = ramp->from_bp;
    double to = ramp->to_bp;
    double part = n == 0 ? 1.0 : (double)i / n;
    double share;

    if (i >= n) {
        return ramp->to_bp;
    }
    if (ramp->shape == CONFIG_RAMP_EXPONENTIAL) {
        from = from < 1.0 ? 1.0 : from; /* nothing grows from zero */
        share = from * pow(to / from, part);
    } else {
        share = from + (to - from) * part;
    }
    return (uint32_t)share; /* rounded down: never ahead of the line */
}

/* ⌊over × i / n⌋ without overflow, so that the ticks together are exactly as long as the ramp. */
static uint64_t part_us(uint64_t over_us, uint32_t i, uint32_t n)
{
    return over_us / n * i + over_us % n * i / n;
}

static int compile_ramp(const struct config_ramp *ramp, struct plan **out, struct err_text *err)
{
    uint64_t ticks = ramp->tick_us == 0 ? PLAN_TICKS_MAX : ramp->over_us / ramp->tick_us;
    uint32_t n;
    struct plan *plan;

    if (ramp->to_bp <= ramp->from_bp || ramp->to_bp > UNITS_BP_FULL) {
        return err_set(err, ERR_INVALID, "ramp: \"to\" must be above \"from\" and at most 100%%");
    }
    n = ticks > PLAN_TICKS_MAX ? PLAN_TICKS_MAX : (uint32_t)ticks;
    n = n == 0 ? 1 : n;
    plan = calloc(1, sizeof(*plan) + (n + 1) * sizeof(plan->steps[0]));
    if (plan == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a ramp of %u ticks", n);
    }
    for (uint32_t i = 0; i <= n; i++) {
        uint32_t share = ramp_share_bp(ramp, i, n);
        uint64_t begin = part_us(ramp->over_us, i, n);
        uint64_t end = i < n ? part_us(ramp->over_us, i + 1, n) : begin;

        if (share == 0 || (plan->len > 0 && share <= plan->steps[plan->len - 1].share_bp)) {
            if (plan->len > 0) {
                plan->steps[plan->len - 1].hold_us += end - begin;
                continue;
            }
            share = 1; /* a migration that starts sends something */
        }
        plan->steps[plan->len++] = (struct config_step){.share_bp = share, .hold_us = end - begin};
    }
    *out = plan;
    return 0;
}

static int compile_steps(const struct config_migration *config, struct plan **out, struct err_text *err)
{
    struct plan *plan;

    if (config->steps_len == 0 || config->steps_len > UNITS_BP_FULL) {
        return err_set(err, ERR_INVALID, "a plan needs 1 to %u steps", UNITS_BP_FULL);
    }
    plan = calloc(1, sizeof(*plan) + config->steps_len * sizeof(plan->steps[0]));
    if (plan == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a plan of %zu steps", config->steps_len);
    }
    for (size_t i = 0; i < config->steps_len; i++) {
        uint32_t before = i == 0 ? 0 : config->steps[i - 1].share_bp;

        if (config->steps[i].share_bp <= before || config->steps[i].share_bp > UNITS_BP_FULL) {
            free(plan);
            return err_set(err, ERR_INVALID,
                           "step %zu of the plan: each share must be above the one before and at most 100%%",
                           i + 1);
        }
        plan->steps[plan->len++] = config->steps[i];
    }
    *out = plan;
    return 0;
}

int plan_compile(const struct config_migration *config, struct plan **out, struct err_text *err)
{
    if (!config->present) {
        *out = NULL;
        return 0;
    }
    return config->ramp.present ? compile_ramp(&config->ramp, out, err) : compile_steps(config, out, err);
}

void plan_destroy(struct plan *plan)
{
    free(plan);
}

uint32_t plan_steps(const struct plan *plan)
{
    return plan == NULL ? 0 : (uint32_t)plan->len;
}

uint32_t plan_share_bp(const struct plan *plan, uint32_t step)
{
    return step == 0 || step > plan_steps(plan) ? 0 : plan->steps[step - 1].share_bp;
}

uint64_t plan_hold_us(const struct plan *plan, uint32_t step)
{
    return step == 0 || step > plan_steps(plan) ? 0 : plan->steps[step - 1].hold_us;
}

bool plan_is_manual(const struct plan *plan, uint32_t step)
{
    return plan_hold_us(plan, step) == CONFIG_HOLD_MANUAL;
}

const struct config_step *plan_step(const struct plan *plan, uint32_t step)
{
    return step == 0 || step > plan_steps(plan) ? NULL : &plan->steps[step - 1];
}

uint64_t plan_min_samples(const struct plan *plan, uint32_t step)
{
    return step == 0 || step > plan_steps(plan) ? 0 : plan->steps[step - 1].min_samples;
}

uint32_t plan_step_from(const struct plan *plan, uint32_t share_bp)
{
    uint32_t found = 0;

    if (share_bp == 0) {
        return plan_steps(plan) > 0 ? 1 : 0;
    }
    for (uint32_t step = 1; step <= plan_steps(plan) && plan_share_bp(plan, step) <= share_bp; step++) {
        found = step;
    }
    return found;
}

uint32_t plan_step_above(const struct plan *plan, uint32_t share_bp)
{
    for (uint32_t step = 1; step <= plan_steps(plan); step++) {
        if (plan_share_bp(plan, step) > share_bp) {
            return step;
        }
    }
    return 0;
}

uint64_t plan_total_us(const struct plan *plan)
{
    return plan_left_us(plan, 0, 0);
}

uint64_t plan_left_us(const struct plan *plan, uint32_t step, uint64_t served_us)
{
    uint64_t hold = plan_hold_us(plan, step);
    uint64_t left = served_us < hold ? hold - served_us : 0;

    for (uint32_t next = step + 1; next <= plan_steps(plan); next++) {
        uint64_t more = plan_hold_us(plan, next);

        left = more > UINT64_MAX - left ? UINT64_MAX : left + more;
    }
    return left;
}

/* FNV-1a (Fowler, Noll, Vo), 32 bits: enough to notice an edit; nobody forges a plan here. */
static uint32_t fingerprint_add(uint32_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        hash = (hash ^ (uint32_t)((value >> (8 * i)) & 0xff)) * UINT32_C(16777619);
    }
    return hash;
}

/* Limits of a step's own. What is not given is added as such: it is the migration's then. */
static uint32_t fingerprint_add_gate(uint32_t hash, const struct config_step_gate *gate)
{
    hash = fingerprint_add(hash, gate->min_samples);
    hash = fingerprint_add(hash, gate->max_error_rate_bp);
    hash = fingerprint_add(hash, gate->max_error_increase_bp);
    hash = fingerprint_add(hash, gate->max_latency_us);
    hash = fingerprint_add(hash, gate->max_latency_ratio);
    return fingerprint_add(hash, gate->max_connect_ratio);
}

uint32_t plan_fingerprint(const struct plan *plan)
{
    uint32_t hash = UINT32_C(2166136261);

    for (uint32_t step = 1; step <= plan_steps(plan); step++) {
        hash = fingerprint_add(hash, plan_share_bp(plan, step));
        hash = fingerprint_add(hash, plan_hold_us(plan, step));
        if (plan_min_samples(plan, step) > 0) {
            hash = fingerprint_add(hash, plan_min_samples(plan, step));
        }
        if (plan->steps[step - 1].gate.present) {
            hash = fingerprint_add_gate(hash, &plan->steps[step - 1].gate);
        }
    }
    return hash;
}
