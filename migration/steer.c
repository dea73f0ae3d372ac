/*
 * The controller behind aim = "live": measures the rate of arrivals, answers with a share of new connections.
 * Pure, any thread. When it is asked, and what becomes of the answer, is migration/aim.c's.
 */
#include "migration/steer.h"

#include "core/units.h"

void steer_begin(struct steer *steer)
{
    *steer = (struct steer){0};
}

/* Smoothed over the horizon; a sudden rush counts at once, since to underrate it would be to oversteer. */
static double rate_now(struct steer *steer, const struct steer_input *input)
{
    double passed = (double)(input->now_us - steer->look_us);
    double now;

    if (!steer->primed || input->arrivals < steer->arrivals || passed <= 0.0) {
        return steer->per_us;
    }
    now = (double)(input->arrivals - steer->arrivals) / passed;
    if (!steer->rated) {
        steer->per_us = now;
        steer->rated = true;
    }
    steer->per_us += (now - steer->per_us) * passed / ((double)STEER_HORIZON_US + passed);
    return now > steer->per_us ? now : steer->per_us;
}

static uint32_t within(double share, uint32_t low_bp, uint32_t high_bp)
{
    if (share <= (double)low_bp) {
        return low_bp;
    }
    return share >= (double)high_bp ? high_bp : (uint32_t)share;
}

static uint32_t share_for(const struct steer_input *input, double per_us)
{
    double aim = input->aim_bp;
    double arrivals = per_us * (double)STEER_HORIZON_US;
    uint32_t high_bp = input->limit_bp < input->aim_bp ? input->aim_bp : input->limit_bp;
    uint32_t low_bp = input->aim_bp / STEER_FLOOR_PARTS;
    double open = (double)input->open;
    double live;
    double gain;

    if (input->open == 0 || input->aim_bp >= UNITS_BP_FULL) {
        return input->aim_bp;
    }
    live = (double)input->open_target * UNITS_BP_FULL / open;
    arrivals = arrivals < 1.0 ? 1.0 : arrivals;
    gain = open > arrivals ? open / arrivals : 1.0;
    return within(live + (aim - live) * gain, low_bp == 0 ? 1 : low_bp, high_bp);
}

/* Small changes wait until they have added up; the ends and the aim itself are always reached. */
static bool is_worth(uint32_t before_bp, uint32_t after_bp, const struct steer_input *input)
{
    uint32_t by_bp = after_bp > before_bp ? after_bp - before_bp : before_bp - after_bp;

    return by_bp >= STEER_STEP_BP || after_bp == input->aim_bp || after_bp == input->limit_bp ||
           by_bp * 4 > before_bp;
}

uint32_t steer_look(struct steer *steer, const struct steer_input *input)
{
    uint32_t share_bp;
    double per_us;

    if (steer->primed && steer->aim_bp == input->aim_bp && input->now_us - steer->look_us < STEER_EVERY_US) {
        return steer->share_bp;
    }
    per_us = rate_now(steer, input);
    share_bp = steer->rated ? share_for(input, per_us) : input->aim_bp;
    if (!steer->primed || steer->aim_bp != input->aim_bp || is_worth(steer->share_bp, share_bp, input)) {
        steer->share_bp = share_bp;
    }
    steer->primed = true;
    steer->look_us = input->now_us;
    steer->arrivals = input->arrivals;
    steer->aim_bp = input->aim_bp;
    return steer->share_bp;
}
