/*
 * Plays scenarios: text files that say what happens when, and what must be seen then. The real controller,
 * journal and routing run under a clock that jumps. One file a run:  scenario FILE.scn
 *
 *   plan 1% 5m, 25% 10m 100, 100% manual     the steps, with the connections that one wants; also "plan
 * none", "plan ramp 1% 100% 30m exponential 10s" drain 10m [rate N] [wait] [idle] | rollback 30s|at-once
 * [close] [timeout 1m] hours 09:00-17:00 mon-fri UTC | wall 2026-01-31T17:00 commit manual | groups 3 |
 * health 2s (the interval; backends are then found up or down by "at … up|down") at 5m COMMAND start, start
 * to new, start from 5%, share 40%, pause, resume, skip, abort, commit, weight new/b1 7, admin new/b1 maint
 * at 5m refuse COMMAND: TEXT        the command is refused, the refusal holds TEXT, nothing changed at 5m
 * down|up GROUP               all its backends at 5m open|close GROUP N          connections at 5m idle N: so
 * many of the group left are idle at 5m kill | restart              as kill -9, or in order; both start again
 * at 5m traffic GROUP N [every K] [T]  short connections a second from now on, one in K refused, of about T
 * at 5m journal full | works at 5m edit LINE a plan, drain or commit line for after the next restart at 5m
 * expect NAME VALUE           phase, share, live, routed, step, steps, id, active, target, left, eta, closed,
 * open, weight GROUP/B, admin GROUP/B; "reason TEXT" and "event TEXT" look for TEXT
 */
#include "core/clock.h"
#include "core/failpoint.h"
#include "core/units.h"
#include "migration/gate.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *file;
static unsigned line_number;

#define die(...)                                                                                             \
    do {                                                                                                     \
        fprintf(stderr, "%s:%u: ", file, line_number);                                                       \
        fprintf(stderr, __VA_ARGS__);                                                                        \
        fputc('\n', stderr);                                                                                 \
        exit(1);                                                                                             \
    } while (0)

static const struct migration_asker alice = {.actor = "operator:alice", .reason = "CHG-1"};

/* The next word of *text, cut out of it; "" at the end. */
static char *word(char **text)
{
    char *begin = *text + strspn(*text, " ");
    char *end = begin + strcspn(begin, " ");

    *text = *end == '\0' ? end : end + 1;
    *end = '\0';
    return begin;
}

static uint64_t duration(const char *text)
{
    uint64_t value = 0;

    if (units_parse_duration(text, &value) != 0) {
        die("\"%s\" is no duration", text);
    }
    return value;
}

static uint32_t share(const char *text)
{
    uint32_t value = 0;

    if (units_parse_share(text, 0, &value) != 0) {
        die("\"%s\" is no share", text);
    }
    return value;
}

static uint32_t group(const struct world *w, const char *name)
{
    for (uint32_t g = 0; g < w->config.groups_len; g++) {
        if (strcmp(w->groups[g].name, name) == 0) {
            return g;
        }
    }
    die("no group \"%s\"", name);
}

static struct backend *backend(const struct world *w, char *name)
{
    char *slash = strchr(name, '/');
    struct backend *found = NULL;

    if (slash != NULL) {
        *slash = '\0';
        found = routing_find_backend(w->routing, group(w, name), slash + 1);
    }
    if (found == NULL) {
        die("no backend \"%s\"", name);
    }
    return found;
}

static uint64_t hold(const char *text)
{
    return strcmp(text, "manual") == 0 ? CONFIG_HOLD_MANUAL : duration(text);
}

/* 2026-01-31T17:00, in UTC: the wall clock now */
static void set_wall(struct world *w, const char *text)
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
    snprintf(w->between, sizeof(w->between), "%s", word(&rest));
    snprintf(w->weekdays, sizeof(w->weekdays), "%s", word(&rest));
    snprintf(w->time_zone, sizeof(w->time_zone), "%s", word(&rest));
    w->config.migration.between = w->between;
    w->config.migration.weekdays = w->weekdays;
}

static void read_ramp(struct config_ramp *ramp, char *text)
{
    ramp->present = true;
    ramp->from_bp = share(word(&text));
    ramp->to_bp = share(word(&text));
    ramp->over_us = duration(word(&text));
    ramp->shape = strcmp(word(&text), "exponential") == 0 ? CONFIG_RAMP_EXPONENTIAL : CONFIG_RAMP_LINEAR;
    ramp->tick_us = duration(word(&text));
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
        next->share_bp = share(word(&step));
        next->hold_us = hold(word(&step));
        next->min_samples = strtoul(word(&step), NULL, 10);
    }
}

/* drain 10m [rate 2] [wait] [idle] */
static void read_drain(struct config_migration *migration, char *rest)
{
    migration->drain.timeout_us = duration(word(&rest));
    migration->rollback.timeout_us = migration->drain.timeout_us;
    for (char *next = word(&rest); *next != '\0'; next = word(&rest)) {
        if (strcmp(next, "rate") == 0) {
            migration->drain.close_rate = (uint32_t)strtoul(word(&rest), NULL, 10);
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
    const char *over = word(&rest);

    migration->rollback.shape = CONFIG_BACK_AT_ONCE;
    if (strcmp(over, "at-once") != 0) {
        migration->rollback.shape = CONFIG_BACK_LINEAR;
        migration->rollback.over_us = duration(over);
    }
    for (char *next = word(&rest); *next != '\0'; next = word(&rest)) {
        if (strcmp(next, "close") == 0) {
            migration->rollback.connections = CONFIG_BACK_CLOSE;
        } else if (strcmp(next, "timeout") == 0) {
            migration->rollback.timeout_us = duration(word(&rest));
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
    for (char *next = word(&rest); *next != '\0'; next = word(&rest)) {
        if (strcmp(next, "errors") == 0) {
            gate->max_error_rate_bp = share(word(&rest));
        } else if (strcmp(next, "increase") == 0) {
            gate->max_error_increase_bp = share(word(&rest));
        } else if (strcmp(next, "ratio") == 0) {
            gate->max_latency_ratio = (uint32_t)(strtod(word(&rest), NULL) * CONFIG_DECIMAL_ONE);
        } else if (strcmp(next, "samples") == 0) {
            gate->min_samples = strtoul(word(&rest), NULL, 10);
        } else if (strcmp(next, "few") == 0) {
            gate->too_few_us = duration(word(&rest));
        } else if (strcmp(next, "pause") == 0) {
            gate->on_fail = CONFIG_FAIL_PAUSE;
        } else {
            die("\"%s\" is nothing of a gate", next);
        }
    }
}

/* traffic GROUP N [every K] [T]: N connections a second, one in K refused, responses of about T */
static void set_traffic(struct world *w, char *rest)
{
    uint32_t which = group(w, word(&rest));
    struct world_traffic traffic = {.per_second = strtoul(word(&rest), NULL, 10), .response_us = 5000};

    for (char *next = word(&rest); *next != '\0'; next = word(&rest)) {
        if (strcmp(next, "every") == 0) {
            traffic.error_every = strtoul(word(&rest), NULL, 10);
        } else {
            traffic.response_us = duration(next);
        }
    }
    world_set_traffic(w, which, &traffic);
}

static void configure(struct world *w, const char *what, char *rest)
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
        set_wall(w, rest);
    } else if (strcmp(what, "aim") == 0) { /* live 60% */
        w->config.migration.aim = strcmp(word(&rest), "live") == 0 ? CONFIG_AIM_LIVE : CONFIG_AIM_SHARE;
        w->config.migration.aim_limit_bp = *rest == '\0' ? UNITS_BP_FULL : share(rest);
    } else if (strcmp(what, "rollback") == 0) {
        read_rollback(&w->config.migration, rest);
    } else if (strcmp(what, "commit") == 0) {
        w->config.migration.commit = strcmp(rest, "manual") == 0 ? CONFIG_COMMIT_MANUAL : CONFIG_COMMIT_AUTO;
    } else if (strcmp(what, "health") == 0) {
        for (size_t g = 0; g < WORLD_GROUPS; g++) {
            w->groups[g].health = (struct config_health){.type = CONFIG_HEALTH_TCP,
                                                         .interval_us = duration(rest),
                                                         .timeout_us = CLOCK_US_PER_S,
                                                         .fall = 3};
        }
    } else if (strcmp(what, "gate") == 0) {
        read_gate(&w->config.migration.gate, rest);
    } else if (strcmp(what, "step_errors") == 0) { /* of the first step: a limit of its own */
        w->steps[0].gate = (struct config_step_gate){.present = true, .max_error_rate_bp = share(rest)};
    } else if (strcmp(what, "groups") == 0) {
        w->config.groups_len = strcmp(rest, "3") == 0 ? 3 : 2;
    } else {
        die("\"%s\" is no setting", what);
    }
}

static int start(struct world *w, char *rest, struct err_text *err)
{
    const char *target = NULL;
    uint32_t from_bp = 0;
    bool force = false;

    for (char *next = word(&rest); *next != '\0'; next = word(&rest)) {
        if (strcmp(next, "to") == 0) {
            target = word(&rest);
        } else if (strcmp(next, "from") == 0) {
            from_bp = share(word(&rest));
        } else if (strcmp(next, "force") == 0) {
            force = true;
        }
    }
    return migration_start(w->migration, target, from_bp, force, &alice, err);
}

static int set_weight(struct world *w, char *rest, struct err_text *err)
{
    struct backend *which = backend(w, word(&rest));

    return migration_set_weight(w->migration, which, (uint32_t)strtoul(rest, NULL, 10), &alice, err);
}

static int set_admin(struct world *w, char *rest, struct err_text *err)
{
    struct backend *which = backend(w, word(&rest));

    for (int admin = BACKEND_READY; admin <= BACKEND_MAINT; admin++) {
        if (strcmp(rest, backend_admin_name((enum backend_admin)admin)) == 0) {
            return migration_set_admin(w->migration, which, (enum backend_admin)admin, &alice, err);
        }
    }
    die("\"%s\" is no operator state", rest);
}

static const struct {
    const char *name;
    int (*run)(struct migration *m, const struct migration_asker *who, struct err_text *err);
} verbs[] = {{"pause", migration_pause},
             {"resume", migration_resume},
             {"skip", migration_skip},
             {"abort", migration_abort},
             {"commit", migration_commit}};

/* Runs a command of an operator; 1 when it is none. */
static int run_command(struct world *w, const char *verb, char *rest, struct err_text *err)
{
    if (strcmp(verb, "start") == 0) {
        return start(w, rest, err);
    }
    if (strcmp(verb, "share") == 0) {
        return migration_share(w->migration, share(rest), &alice, err);
    }
    if (strcmp(verb, "weight") == 0) {
        return set_weight(w, rest, err);
    }
    if (strcmp(verb, "admin") == 0) {
        return set_admin(w, rest, err);
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verb, verbs[i].name) == 0) {
            return verbs[i].run(w->migration, &alice, err);
        }
    }
    return 1;
}

static void refuse(struct world *w, char *rest)
{
    char *says = strstr(rest, ": ");
    struct migration_status before;
    struct migration_status after;
    uint64_t events = events_last_number(w->events);
    struct err_text err = {""};
    char *verb;
    int rc;

    if (says == NULL) {
        die("want: refuse COMMAND: TEXT");
    }
    *says = '\0';
    says += 2;
    migration_read(w->migration, &before);
    verb = word(&rest);
    rc = run_command(w, verb, rest, &err);
    migration_read(w->migration, &after);
    if (rc >= 0) {
        die("%s was not refused", verb);
    }
    if (strstr(err.text, says) == NULL) {
        die("the refusal is \"%s\"", err.text);
    }
    if (before.phase != after.phase || before.share_bp != after.share_bp || before.step != after.step ||
        before.target != after.target || before.step_left_us != after.step_left_us ||
        before.detached != after.detached || strcmp(before.id, after.id) != 0 ||
        strcmp(before.reason, after.reason) != 0 || events != events_last_number(w->events)) {
        die("the refused %s changed something", verb);
    }
}

static void expect_event(const struct world *w, const char *text)
{
    static struct events_entry entries[512];
    size_t n = events_latest(w->events, "web", entries, 512);

    for (size_t i = n; i > 0; i--) {
        if (strstr(entries[i - 1].text, text) != NULL) {
            return;
        }
    }
    for (size_t i = 0; i < n; i++) {
        fprintf(stderr, "    %s: %s\n", entries[i].actor, entries[i].text);
    }
    die("no event says \"%s\"", text);
}

static const char *group_text(const struct world *w, uint32_t index)
{
    return index == ROUTING_NONE ? "none" : w->groups[index].name;
}

/* The value of a name as text. rest: what follows the name, without the value. */
static void value_of(struct world *w, const char *name, char **rest, char *out, size_t out_size)
{
    struct migration_status status;

    migration_read(w->migration, &status);
    if (strcmp(name, "phase") == 0) {
        snprintf(out, out_size, "%s%s", migration_phase_name(status.phase),
                 status.detached ? " detached" : "");
    } else if (strcmp(name, "share") == 0) {
        units_format_share(status.share_bp, out, out_size);
    } else if (strcmp(name, "live") == 0) {
        units_format_share(status.live_share_bp, out, out_size);
    } else if (strcmp(name, "routed") == 0) {
        units_format_share(routing_share_bp(w->routing), out, out_size);
    } else if (strcmp(name, "step") == 0) {
        snprintf(out, out_size, "%" PRIu32, status.step);
    } else if (strcmp(name, "steps") == 0) {
        snprintf(out, out_size, "%" PRIu32, status.steps);
    } else if (strcmp(name, "id") == 0) {
        snprintf(out, out_size, "%s", status.id);
    } else if (strcmp(name, "active") == 0) {
        snprintf(out, out_size, "%s", group_text(w, routing_active(w->routing)));
    } else if (strcmp(name, "target") == 0) {
        snprintf(out, out_size, "%s", group_text(w, routing_target(w->routing)));
    } else if (strcmp(name, "left") == 0) {
        clock_format_duration(status.step_left_us, out, out_size);
    } else if (strcmp(name, "eta") == 0) {
        clock_format_duration(status.eta_us, out, out_size);
    } else if (strcmp(name, "closed") == 0) {
        snprintf(out, out_size, "%u", w->closed);
    } else if (strcmp(name, "open") == 0) {
        snprintf(out, out_size, "%" PRIu64, routing_open(w->routing, group(w, word(rest))));
    } else if (strcmp(name, "gate") == 0) {
        snprintf(out, out_size, "%s", status.gate == NULL ? "none" : gate_verdict_name(status.gate->verdict));
    } else if (strcmp(name, "weight") == 0) {
        snprintf(out, out_size, "%" PRIu32, backend_weight(backend(w, word(rest))));
    } else if (strcmp(name, "admin") == 0) {
        snprintf(out, out_size, "%s", backend_admin_name(backend_admin(backend(w, word(rest)))));
    } else {
        die("\"%s\" cannot be expected", name);
    }
}

static void expect(struct world *w, char *rest)
{
    char *name = word(&rest);
    struct migration_status status;
    char value[256];

    if (strcmp(name, "event") == 0) {
        expect_event(w, rest);
    } else if (strcmp(name, "reason") == 0) {
        migration_read(w->migration, &status);
        if (strcmp(rest, "none") == 0 ? status.reason[0] != '\0' : strstr(status.reason, rest) == NULL) {
            die("the reason is \"%s\"", status.reason);
        }
    } else {
        value_of(w, name, &rest, value, sizeof(value));
        if (strcmp(value, rest) != 0) {
            die("%s is %s, not %s", name, value, rest);
        }
    }
}

static void set_failpoint(const char *text)
{
    if (failpoint_set(text, NULL) != 0) {
        die("cannot set the failpoint");
    }
}

/* What the world does; false when it is not that. */
static bool happen(struct world *w, const char *what, char *rest)
{
    struct err_text err;

    if (strcmp(what, "down_one") == 0) {
        world_set_one_down(w, group(w, rest));
    } else if (strcmp(what, "same_address") == 0) {
        w->same_address = true;
        world_stop(w, false);
        if (world_boot(w, &err) != 0) {
            die("cannot start again: %s", err.text);
        }
    } else if (strcmp(what, "down") == 0 || strcmp(what, "up") == 0) {
        world_set_state(w, group(w, rest), *what == 'd' ? BACKEND_DOWN : BACKEND_UP);
    } else if (strcmp(what, "open") == 0 || strcmp(what, "close") == 0) {
        uint32_t index = group(w, word(&rest));
        size_t n = strtoul(rest, NULL, 10);

        (*what == 'o' ? world_open : world_close)(w, index, n);
    } else if (strcmp(what, "idle") == 0) {
        w->idle = strtoul(rest, NULL, 10);
    } else if (strcmp(what, "kill") == 0 || strcmp(what, "restart") == 0) {
        world_stop(w, *what == 'k');
        if (world_boot(w, &err) != 0) {
            die("cannot start again: %s", err.text);
        }
    } else if (strcmp(what, "journal") == 0) {
        set_failpoint(strcmp(rest, "full") == 0 ? "journal-append:1+:enospc" : NULL);
    } else if (strcmp(what, "wall") == 0) {
        set_wall(w, rest);
    } else if (strcmp(what, "traffic") == 0) {
        set_traffic(w, rest);
    } else if (strcmp(what, "edit") == 0) {
        char *setting = word(&rest);

        configure(w, setting, rest);
    } else {
        return false;
    }
    return true;
}

static void at(struct world *w, char *rest)
{
    uint64_t begin_us = CLOCK_US_PER_S; /* the clock's start is not zero */
    struct err_text err;
    char *what;
    int rc;

    if (w->migration == NULL && world_boot(w, &err) != 0) {
        die("cannot start: %s", err.text);
    }
    world_run_to(w, begin_us + duration(word(&rest)));
    what = word(&rest);
    if (strcmp(what, "expect") == 0) {
        expect(w, rest);
    } else if (strcmp(what, "refuse") == 0) {
        refuse(w, rest);
    } else if (!happen(w, what, rest)) {
        rc = run_command(w, what, rest, &err);
        if (rc != 0) {
            die("%s: %s", what, rc > 0 ? "no such word" : err.text);
        }
    }
    world_run_to(w, w->now_us); /* what is due now happens now */
}

int main(int argc, char **argv)
{
    struct world world;
    char line[512];
    FILE *in;

    if (argc != 2) {
        fprintf(stderr, "usage: scenario FILE.scn\n");
        return 64;
    }
    file = argv[1];
    in = fopen(file, "re");
    if (in == NULL) {
        perror(file);
        return 66;
    }
    world_init(&world);
    while (fgets(line, sizeof(line), in) != NULL) {
        char *rest = line;
        char *first;

        line_number++;
        line[strcspn(line, "\n")] = '\0';
        if (line[strspn(line, " ")] == '\0' || line[0] == '#') {
            continue;
        }
        first = word(&rest);
        if (strcmp(first, "at") == 0) {
            at(&world, rest);
        } else {
            configure(&world, first, rest);
        }
    }
    fclose(in);
    world_stop(&world, false);
    world_destroy(&world);
    return 0;
}
