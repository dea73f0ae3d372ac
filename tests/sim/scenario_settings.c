/*
 * The settings of a scenario, line by line: plan, drain, rollback, gate, hours, traffic. What the words mean
 * is at the top of tests/sim/scenario.c. One thread.
 */
#include "tests/sim/scenario.h"

#include "core/clock.h"
#include "core/units.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_US (UINT64_C(86400) * CLOCK_US_PER_S)

const char *scenario_file;
unsigned scenario_line;

/* The next word of *text, cut out of it; "" at the end. */
char *scenario_word(char **text)
{
    char *begin = *text + strspn(*text, " ");
    char *end = begin + strcspn(begin, " ");

    *text = *end == '\0' ? end : end + 1;
    *end = '\0';
    return begin;
}

uint64_t scenario_duration(const char *text)
{
    uint64_t value = 0;

    if (units_parse_duration(text, &value) != 0) {
        die("\"%s\" is no duration", text);
    }
    return value;
}

uint32_t scenario_share(const char *text)
{
    uint32_t value = 0;

    if (units_parse_share(text, 0, &value) != 0) {
        die("\"%s\" is no share", text);
    }
    return value;
}

uint32_t scenario_group(const struct world *w, const char *name)
{
    for (uint32_t g = 0; g < w->config.groups_len; g++) {
        if (strcmp(w->groups[g].name, name) == 0) {
            return g;
        }
    }
    die("no group \"%s\"", name);
}

struct backend *scenario_backend(const struct world *w, char *name)
{
    char *slash = strchr(name, '/');
    struct backend *found = NULL;

    if (slash != NULL) {
        *slash = '\0';
        found = routing_find_backend(w->routing, scenario_group(w, name), slash + 1);
    }
    if (found == NULL) {
        die("no backend \"%s\"", name);
    }
    return found;
}

static uint64_t hold(const char *text)
{
    return strcmp(text, "manual") == 0 ? CONFIG_HOLD_MANUAL : scenario_duration(text);
}

/* 2026-01-31T17:00, in UTC: the wall clock now */
void scenario_set_wall(struct world *w, const char *text)
{
    struct tm tm = {0};

    if (strptime(text, "%Y-%m-%dT%H:%M", &tm) == NULL) {
        die("\"%s\" is no time", text);
    }
    w->wall_ahead_us = (uint64_t)timegm(&tm) * CLOCK_US_PER_S - w->now_us;
}

/* hours 09:00-17:00 mon-fri Europe/Berlin */
static void read_hours(struct world *w, char *rest)
{
    snprintf(w->between, sizeof(w->between), "%s", scenario_word(&rest));
    snprintf(w->weekdays, sizeof(w->weekdays), "%s", scenario_word(&rest));
    snprintf(w->time_zone, sizeof(w->time_zone), "%s", scenario_word(&rest));
    w->config.migration.between = w->between;
    w->config.migration.weekdays = w->weekdays;
}

static void read_ramp(struct config_ramp *ramp, char *text)
{
    ramp->present = true;
    ramp->from_bp = scenario_share(scenario_word(&text));
    ramp->to_bp = scenario_share(scenario_word(&text));
    ramp->over_us = scenario_duration(scenario_word(&text));
    ramp->shape =
        strcmp(scenario_word(&text), "exponential") == 0 ? CONFIG_RAMP_EXPONENTIAL : CONFIG_RAMP_LINEAR;
    ramp->tick_us = scenario_duration(scenario_word(&text));
}

static void read_plan(struct world *w, char *text)
{
    struct config_migration *migration = &w->config.migration;
    char *save = NULL;

    migration->ramp.present = false;
    migration->steps_len = 0;
    migration->present = strcmp(text, "none") != 0;
    if (!migration->present) {
        return;
    }
    if (strncmp(text, "ramp ", 5) == 0) {
        read_ramp(&migration->ramp, text + 5);
        return;
    }
    for (char *step = strtok_r(text, ",", &save); step != NULL; step = strtok_r(NULL, ",", &save)) {
        struct config_step *next = &w->steps[migration->steps_len++];

        if (migration->steps_len > WORLD_STEPS_MAX) {
            die("too many steps");
        }
        next->share_bp = scenario_share(scenario_word(&step));
        next->hold_us = hold(scenario_word(&step));
        next->min_samples = strtoul(scenario_word(&step), NULL, 10);
    }
}

/* drain 10m [rate 2] [wait] [idle] */
static void read_drain(struct config_migration *migration, char *rest)
{
    migration->drain.timeout_us = scenario_duration(scenario_word(&rest));
    migration->rollback.timeout_us = migration->drain.timeout_us;
    for (char *next = scenario_word(&rest); *next != '\0'; next = scenario_word(&rest)) {
        if (strcmp(next, "rate") == 0) {
            migration->drain.close_rate = (uint32_t)strtoul(scenario_word(&rest), NULL, 10);
        } else if (strcmp(next, "wait") == 0) {
            migration->drain.on_timeout = CONFIG_DRAIN_WAIT;
        } else if (strcmp(next, "idle") == 0) {
            migration->drain.idle_first = true;
        } else {
            die("\"%s\" is nothing of a drain", next);
        }
    }
}

/* rollback 30s|at-once [close] [timeout 1m] */
static void read_rollback(struct config_migration *migration, char *rest)
{
    const char *over = scenario_word(&rest);

    migration->rollback.shape = CONFIG_BACK_AT_ONCE;
    if (strcmp(over, "at-once") != 0) {
        migration->rollback.shape = CONFIG_BACK_LINEAR;
        migration->rollback.over_us = scenario_duration(over);
    }
    for (char *next = scenario_word(&rest); *next != '\0'; next = scenario_word(&rest)) {
        if (strcmp(next, "close") == 0) {
            migration->rollback.connections = CONFIG_BACK_CLOSE;
        } else if (strcmp(next, "timeout") == 0) {
            migration->rollback.timeout_us = scenario_duration(scenario_word(&rest));
        } else {
            die("\"%s\" is nothing of a rollback", next);
        }
    }
}

/* gate errors 1% increase 0.5% ratio 1.5 samples 200 few 10m pause */
static void read_gate(struct config_gate *gate, char *rest)
{
    *gate = (struct config_gate){.present = true,
                                 .window_us = 60 * CLOCK_US_PER_S,
                                 .min_samples = 200,
                                 .max_error_rate_bp = UNITS_BP_FULL,
                                 .max_error_increase_bp = UNITS_BP_FULL,
                                 .quantile = 9900,
                                 .failures = 2,
                                 .alpha_bp = 100,
                                 .confidence_bp = 8000};
    for (char *next = scenario_word(&rest); *next != '\0'; next = scenario_word(&rest)) {
        if (strcmp(next, "errors") == 0) {
            gate->max_error_rate_bp = scenario_share(scenario_word(&rest));
        } else if (strcmp(next, "increase") == 0) {
            gate->max_error_increase_bp = scenario_share(scenario_word(&rest));
        } else if (strcmp(next, "ratio") == 0) {
            gate->max_latency_ratio = (uint32_t)(strtod(scenario_word(&rest), NULL) * CONFIG_DECIMAL_ONE);
        } else if (strcmp(next, "samples") == 0) {
            gate->min_samples = strtoul(scenario_word(&rest), NULL, 10);
        } else if (strcmp(next, "few") == 0) {
            gate->too_few_us = scenario_duration(scenario_word(&rest));
        } else if (strcmp(next, "pause") == 0) {
            gate->on_fail = CONFIG_FAIL_PAUSE;
        } else {
            die("\"%s\" is nothing of a gate", next);
        }
    }
}

/* traffic GROUP N [every K] [T]: N connections a second, one in K refused, responses of about T */
void scenario_set_traffic(struct world *w, char *rest)
{
    uint32_t which = scenario_group(w, scenario_word(&rest));
    struct world_traffic traffic = {.per_second = strtoul(scenario_word(&rest), NULL, 10),
                                    .response_us = 5000};

    for (char *next = scenario_word(&rest); *next != '\0'; next = scenario_word(&rest)) {
        if (strcmp(next, "every") == 0) {
            traffic.error_every = strtoul(scenario_word(&rest), NULL, 10);
        } else {
            traffic.response_us = scenario_duration(next);
        }
    }
    world_set_traffic(w, which, &traffic);
}

void scenario_configure(struct world *w, const char *what, char *rest)
{
    if (strcmp(what, "plan") == 0) {
        read_plan(w, rest);
    } else if (strcmp(what, "drain") == 0) {
        read_drain(&w->config.migration, rest);
    } else if (strcmp(what, "after_restart") == 0) {
        w->config.migration.restart =
            strcmp(rest, "pause") == 0 ? CONFIG_RESTART_PAUSE : CONFIG_RESTART_CONTINUE;
    } else if (strcmp(what, "hours") == 0) {
        read_hours(w, rest);
    } else if (strcmp(what, "wall") == 0) {
        scenario_set_wall(w, rest);
    } else if (strcmp(what, "aim") == 0) { /* live 60% */
        w->config.migration.aim =
            strcmp(scenario_word(&rest), "live") == 0 ? CONFIG_AIM_LIVE : CONFIG_AIM_SHARE;
        w->config.migration.aim_limit_bp = *rest == '\0' ? UNITS_BP_FULL : scenario_share(rest);
    } else if (strcmp(what, "rollback") == 0) {
        read_rollback(&w->config.migration, rest);
    } else if (strcmp(what, "commit") == 0) {
        w->config.migration.commit = strcmp(rest, "manual") == 0 ? CONFIG_COMMIT_MANUAL : CONFIG_COMMIT_AUTO;
    } else if (strcmp(what, "health") == 0) {
        for (size_t g = 0; g < WORLD_GROUPS; g++) {
            w->groups[g].health = (struct config_health){.type = CONFIG_HEALTH_TCP,
                                                         .interval_us = scenario_duration(rest),
                                                         .timeout_us = CLOCK_US_PER_S,
                                                         .tls.expiry_warning_us = 14 * DAY_US,
                                                         .fall = 3};
        }
    } else if (strcmp(what, "gate") == 0) {
        read_gate(&w->config.migration.gate, rest);
    } else if (strcmp(what, "step_errors") == 0) { /* of the first step: a limit of its own */
        w->steps[0].gate =
            (struct config_step_gate){.present = true, .max_error_rate_bp = scenario_share(rest)};
    } else if (strcmp(what, "groups") == 0) {
        w->config.groups_len = strcmp(rest, "3") == 0 ? 3 : 2;
    } else {
        die("\"%s\" is no setting", what);
    }
}
