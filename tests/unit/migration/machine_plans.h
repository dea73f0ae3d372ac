/* The plans that the tests of the state machine share: none, to 100 %, to 50 %, and one with manual steps. */
#ifndef TESTS_UNIT_MIGRATION_MACHINE_PLANS_H
#define TESTS_UNIT_MIGRATION_MACHINE_PLANS_H

#include "migration/plan.h"

#include "core/clock.h"

#define MINUTE (60 * CLOCK_US_PER_S)

static struct config_step full_steps[] = {{.share_bp = 100, .hold_us = 5 * MINUTE},
                                          {.share_bp = 2500, .hold_us = 10 * MINUTE},
                                          {.share_bp = 10000, .hold_us = 10 * MINUTE}};
static struct config_step half_steps[] = {{.share_bp = 100, .hold_us = 5 * MINUTE},
                                          {.share_bp = 5000, .hold_us = 10 * MINUTE}};
static struct config_step manual_steps[] = {{.share_bp = 2500, .hold_us = CONFIG_HOLD_MANUAL},
                                            {.share_bp = 5000, .hold_us = MINUTE, .min_samples = 10},
                                            {.share_bp = 10000, .hold_us = CONFIG_HOLD_MANUAL}};
static struct plan *plans[4]; /* none, to 100 %, to 50 %, with manual steps */

static int compile_plans(void **state)
{
    struct config_migration full = {.present = true, .steps = full_steps, .steps_len = 3};
    struct config_migration half = {.present = true, .steps = half_steps, .steps_len = 2};

    struct config_migration manual = {.present = true, .steps = manual_steps, .steps_len = 3};

    (void)state;
    return plan_compile(&full, &plans[1], NULL) != 0 || plan_compile(&half, &plans[2], NULL) != 0 ||
                   plan_compile(&manual, &plans[3], NULL) != 0
               ? -1
               : 0;
}

static int destroy_plans(void **state)
{
    (void)state;
    plan_destroy(plans[1]);
    plan_destroy(plans[2]);
    plan_destroy(plans[3]);
    return 0;
}

#endif
