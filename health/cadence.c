/* The pace of checks: see health/cadence.h. Pure; control thread. */
#include "health/cadence.h"

void cadence_init(struct cadence *cadence, uint64_t shift_us)
{
    cadence->shift_us = shift_us;
}

uint64_t cadence_interval(const struct config_health *config, const struct verdict *verdict)
{
    uint64_t other = verdict->state == BACKEND_DOWN ? config->down_interval_us : 0;
    other = verdict->against > 0 ? config->fast_interval_us : other;
    return other > 0 ? other : config->interval_us;
}

uint64_t cadence_next(struct cadence *cadence, const struct config_health *config,
                      const struct verdict *verdict, uint64_t due_us, uint64_t now_us)
{
    uint64_t interval = cadence_interval(config, verdict);
    uint64_t shift = cadence->shift_us;
    uint64_t next = due_us + interval;
    if (shift > 0 && interval == config->interval_us) {
        /* Half to one and a half intervals later. */
        next = due_us + (shift >= interval / 2 ? shift : shift + interval);
        cadence->shift_us = 0;
    }
    if (next < now_us) {
        next += (now_us - next + interval - 1) / interval * interval;
    }
    return next;
}
