/*
 * The pace at which connections are closed at the end of a drain. Pure; any thread. Which connections those
 * are, and when it begins, is decided in migration/drain.c.
 */
#include "migration/pace.h"

#include "core/clock.h"
#include "core/units.h"

#define BEHIND_MAX_US (CLOCK_US_PER_S / 10)
/* Without a limit it is asked again this often, for those that came in between. */
#define ALL_AGAIN_US CLOCK_US_PER_S

/* The time to the next closing: the mean, give or take the jitter. At least 1 us, so that it ends. */
static uint64_t interval_us(const struct pace_rules *rules, struct random_state *random)
{
    uint64_t mean = CLOCK_US_PER_S / rules->rate;
    uint64_t stray = mean * rules->jitter_bp / UNITS_BP_FULL;
    uint64_t interval = mean;

    if (stray > 0) {
        interval = mean - stray + random_below(random, (uint32_t)(2 * stray + 1));
    }
    return interval == 0 ? 1 : interval;
}

uint64_t pace_take(struct pace *pace, const struct pace_rules *rules, uint64_t now_us,
                   struct random_state *random)
{
    uint64_t count = 0;

    if (pace->next_us == 0) {
        pace->next_us = now_us;
    }
    if (rules->rate == 0) {
        if (now_us < pace->next_us) {
            return 0;
        }
        pace->next_us = now_us + ALL_AGAIN_US;
        return PACE_ALL;
    }
    if (pace->next_us + BEHIND_MAX_US < now_us) {
        pace->next_us = now_us - BEHIND_MAX_US;
    }
    while (pace->next_us <= now_us) {
        pace->next_us += interval_us(rules, random);
        count++;
    }
    return count;
}
