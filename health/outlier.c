/* Ejection of outliers and their way back: see health/outlier.h. Pure. */
#include "health/outlier.h"

#include <stdio.h>

const char *outlier_kind_text(enum stats_error kind)
{
    switch (kind) {
    case STATS_ERROR_CONNECT:
        return "connect failures";
    case STATS_ERROR_TIMEOUT:
        return "timeouts";
    case STATS_ERROR_RESET:
        return "resets before the first byte";
    case STATS_ERROR_HANDSHAKE:
        return "failed handshakes";
    case STATS_ERROR_ABORT:
    case STATS_ERROR_COUNT:
        break;
    }
    return "aborts";
}

void outlier_describe(const struct backend_ejection *ejection, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%u %s in a row", ejection->failures, outlier_kind_text(ejection->kind));
}

static uint64_t after(uint64_t now_us, uint64_t then_us)
{
    return now_us > then_us ? now_us - then_us : 0;
}

uint32_t outlier_times(const struct backend_ejection *ejection, uint64_t now_us)
{
    uint64_t took_us = ejection->until_us - ejection->ejected_us;
    if (ejection->out || ejection->times == 0 || took_us == 0) {
        return ejection->times;
    }
    uint64_t forgotten = after(now_us, ejection->returned_us) / took_us;
    return forgotten < ejection->times ? ejection->times - (uint32_t)forgotten : 0;
}

/* Base times the ejections, without overflow, at most max and never less than base. */
static uint64_t time_of(const struct outlier_rules *rules, uint32_t times)
{
    uint64_t most = rules->max_us > rules->base_us ? rules->max_us : rules->base_us;
    return rules->base_us > most / times ? most : rules->base_us * times;
}

struct backend_runs outlier_alarm(const struct backend_ejection *ejection, const struct outlier_rules *rules)
{
    struct backend_runs alarm = rules->limits;
    for (unsigned kind = 0; kind < STATS_ERROR_COUNT; kind++) {
        if (ejection->out) {
            alarm.of[kind] = 0;
        } else if (ejection->trial && alarm.of[kind] > 1) {
            alarm.of[kind] = 1;
        }
    }
    return alarm;
}

/* What a trial has to show: for failures of the connect that one succeeds, for the others an answer. */
static uint64_t successes_of(const struct backend_ejection *ejection, const struct outlier_sight *sight)
{
    bool connect = ejection->kind == STATS_ERROR_CONNECT || ejection->kind == STATS_ERROR_TIMEOUT;
    return connect ? sight->connected : sight->answered;
}

static void let_in(struct backend_ejection *ejection, const struct outlier_sight *sight)
{
    ejection->out = false;
    ejection->proving = false;
    ejection->trial = true;
    ejection->returned_us = sight->now_us;
    ejection->successes = successes_of(ejection, sight);
}

/* One may always be out; beyond that the part of the group that is set; and one stays that can serve. */
static bool may_eject(const struct outlier_rules *rules, const struct outlier_sight *sight)
{
    uint64_t most = (uint64_t)sight->backends * rules->max_ejected_bp / 10000;
    return sight->usable_others > 0 && sight->ejected < (most > 0 ? most : 1);
}

static enum outlier_event eject(struct backend_ejection *ejection, const struct outlier_rules *rules,
                                const struct outlier_sight *sight, enum stats_error kind)
{
    if (!may_eject(rules, sight)) {
        return OUTLIER_KEPT;
    }
    uint32_t times = outlier_times(ejection, sight->now_us);
    *ejection = (struct backend_ejection){
        .out = true,
        .kind = kind,
        .failures = sight->runs.of[kind],
        .times = times < UINT32_MAX ? times + 1 : times,
        .ejected_us = sight->now_us,
        .returned_us = ejection->returned_us,
        .total = ejection->total + 1,
    };
    ejection->until_us = sight->now_us + time_of(rules, ejection->times);
    return OUTLIER_EJECTED;
}

static enum outlier_event step_out(struct backend_ejection *ejection, const struct outlier_rules *rules,
                                   const struct outlier_sight *sight)
{
    if (ejection->proving || sight->now_us < ejection->until_us) {
        return OUTLIER_NOTHING;
    }
    if (rules->checked) {
        ejection->proving = true;
        ejection->passes = 0;
        return OUTLIER_PROVING;
    }
    let_in(ejection, sight);
    return OUTLIER_LET_IN;
}

enum outlier_event outlier_step(struct backend_ejection *ejection, const struct outlier_rules *rules,
                                const struct outlier_sight *sight)
{
    if (sight->forced) {
        bool held = ejection->out || ejection->trial || ejection->times > 0;
        *ejection = (struct backend_ejection){.total = ejection->total};
        return held ? OUTLIER_OVERRULED : OUTLIER_NOTHING;
    }
    if (ejection->out) {
        return step_out(ejection, rules, sight);
    }
    if (ejection->trial && successes_of(ejection, sight) > ejection->successes) {
        ejection->trial = false;
        return OUTLIER_ABSOLVED;
    }
    const struct backend_runs limits = outlier_alarm(ejection, rules);
    for (unsigned kind = 0; sight->usable && kind < STATS_ERROR_COUNT; kind++) {
        if (limits.of[kind] > 0 && sight->runs.of[kind] >= limits.of[kind]) {
            return eject(ejection, rules, sight, (enum stats_error)kind);
        }
    }
    return OUTLIER_NOTHING;
}

bool outlier_check(struct backend_ejection *ejection, const struct outlier_rules *rules, bool passed,
                   const struct outlier_sight *sight)
{
    if (!ejection->proving) {
        return false;
    }
    ejection->passes = passed ? ejection->passes + 1 : 0;
    if (ejection->passes < rules->rise) {
        return false;
    }
    let_in(ejection, sight);
    return true;
}

uint64_t outlier_due(const struct backend_ejection *ejection, uint64_t now_us)
{
    if (ejection->out) {
        return ejection->proving ? UINT64_MAX : ejection->until_us;
    }
    return ejection->trial ? now_us + OUTLIER_TRIAL_LOOK_US : UINT64_MAX;
}
