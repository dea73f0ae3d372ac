/*
 * The schedule of a migration: what the configuration writes as steps or as a ramp, compiled into one list of
 * (share, hold). Pure: no clock, no events. Immutable once compiled; any thread.
 */
#ifndef MIGRATION_PLAN_H
#define MIGRATION_PLAN_H

#include "core/config.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan;

/* A ramp with more ticks than this gets longer ticks: a share has no more than 10000 values anyway. */
#define PLAN_TICKS_MAX 10000u

/*
 * Compiles the migration part of a service. Ticks of a ramp that would not change the share are merged into
 * one step with their holds added, so each step is above the one before it. config is only read. *out is the
 * caller's (plan_destroy), NULL when config has no migration part. Errors: ERR_INVALID (no step, or shares
 * that do not rise), ERR_NOMEM.
 */
MUST_CHECK int plan_compile(const struct config_migration *config, struct plan **out, struct err_text *err);
void plan_destroy(struct plan *plan);

/* Steps count from 1, as operators count them; 0 and numbers past the last give 0. */
uint32_t plan_steps(const struct plan *plan);
uint32_t plan_share_bp(const struct plan *plan, uint32_t step);
/* CLOCK_NEVER for a manual step. */
uint64_t plan_hold_us(const struct plan *plan, uint32_t step);
/* The step waits for `resume`. */
bool plan_is_manual(const struct plan *plan, uint32_t step);
/* As the configuration has it; NULL for 0 and numbers past the last. */
const struct config_step *plan_step(const struct plan *plan, uint32_t step);
/* Connections to the target in this step that are needed before the next. */
uint64_t plan_min_samples(const struct plan *plan, uint32_t step);
/* Where a start from share_bp begins: the last step whose share is not above it, so that no more than was
 * asked for goes to the target; the first for 0; 0 when the first step is above it already. */
uint32_t plan_step_from(const struct plan *plan, uint32_t share_bp);
/* The first step whose share is above share_bp; 0 when there is none. */
uint32_t plan_step_above(const struct plan *plan, uint32_t share_bp);
/* All holds together: the fastest time from the start to the drain; CLOCK_NEVER with a manual step. */
uint64_t plan_total_us(const struct plan *plan);
/* What is left of all holds when served_us of the hold of step are over; step 0: the whole plan. */
uint64_t plan_left_us(const struct plan *plan, uint32_t step, uint64_t served_us);
/* A checksum of all shares, holds and conditions: tells a plan that was edited from one that was not. */
uint32_t plan_fingerprint(const struct plan *plan);

#endif
