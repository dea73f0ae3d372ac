/*
 * Plays scenarios: text files that say what happens when, and what must be seen then. The real controller,
 * journal and routing run under a clock that jumps. One file a run: scenario FILE.scn. One thread.
 *
 * Settings, one a line, before the first "at":
 * - plan 1% 5m, 25% 10m 100, 100% manual (share, hold, connections wanted); plan none;
 *   plan ramp 1% 100% 30m exponential 10s
 * - drain 10m [rate N] [wait] [idle]
 * - rollback 30s|at-once [close] [timeout 1m]
 * - gate errors 1% increase 0.5% ratio 1.5 samples 200 few 10m pause; step_errors 0.2%
 * - hours 09:00-17:00 mon-fri UTC; wall 2026-01-31T17:00
 * - commit manual; groups 3; aim live 60%; after_restart pause
 * - health 2s: the interval; backends are then found up or down by "at … up|down"
 *
 * What happens, "at 5m …", counted from the start:
 * - a command: start, start to new, start from 5%, share 40%, pause, resume, skip, abort, commit,
 *   weight new/b1 7, admin new/b1 maint
 * - refuse COMMAND: TEXT: it is refused, the refusal holds TEXT, nothing changed
 * - down|up GROUP: all its backends; down_one GROUP; same_address: of b1 in both groups
 * - open|close GROUP N: connections; idle N: so many of the group left are idle
 * - traffic GROUP N [every K] [T]: N short connections a second from now on, one in K refused, of about T
 * - kill, restart: as kill -9, or in order; both start again
 * - journal full|no-room|works; room N|any: so many connections may be open; certificate 3d|-2d: of each
 * backend, time left
 * - wall TIME: the wall clock is set; edit SETTING: in force after the next restart
 * - expect NAME VALUE: phase, share, live, routed, step, steps, id, active, target, left, eta, closed, gate,
 *   open GROUP, weight GROUP/B, admin GROUP/B; "reason TEXT" and "event TEXT" look for TEXT
 */
#include "tests/sim/scenario.h"
#include "core/clock.h"
#include "core/failpoint.h"
#include "core/units.h"
#include "migration/gate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct migration_asker alice = {.actor = "operator:alice", .reason = "CHG-1"};

static int start(struct world *w, char *rest, struct err_text *err)
{
    const char *target = NULL;
    uint32_t from_bp = 0;
    bool force = false;

    for (char *next = scenario_word(&rest); *next != '\0'; next = scenario_word(&rest)) {
        if (strcmp(next, "to") == 0) {
            target = scenario_word(&rest);
        } else if (strcmp(next, "from") == 0) {
            from_bp = scenario_share(scenario_word(&rest));
        } else if (strcmp(next, "force") == 0) {
            force = true;
        }
    }
    return migration_start(w->migration, target, from_bp, force, &alice, err);
}

static int set_weight(struct world *w, char *rest, struct err_text *err)
{
    struct backend *which = scenario_backend(w, scenario_word(&rest));

    return migration_set_weight(w->migration, which, (uint32_t)strtoul(rest, NULL, 10), &alice, err);
}

static int set_admin(struct world *w, char *rest, struct err_text *err)
{
    struct backend *which = scenario_backend(w, scenario_word(&rest));

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
        return migration_share(w->migration, scenario_share(rest), &alice, err);
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
    verb = scenario_word(&rest);
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
        snprintf(out, out_size, "%" PRIu64, routing_open(w->routing, scenario_group(w, scenario_word(rest))));
    } else if (strcmp(name, "gate") == 0) {
        snprintf(out, out_size, "%s", status.gate == NULL ? "none" : gate_verdict_name(status.gate->verdict));
    } else if (strcmp(name, "weight") == 0) {
        snprintf(out, out_size, "%" PRIu32, backend_weight(scenario_backend(w, scenario_word(rest))));
    } else if (strcmp(name, "admin") == 0) {
        snprintf(out, out_size, "%s",
                 backend_admin_name(backend_admin(scenario_backend(w, scenario_word(rest)))));
    } else {
        die("\"%s\" cannot be expected", name);
    }
}

static void expect(struct world *w, char *rest)
{
    char *name = scenario_word(&rest);
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
        world_set_one_down(w, scenario_group(w, rest));
    } else if (strcmp(what, "same_address") == 0) {
        w->same_address = true;
        world_stop(w, false);
        if (world_boot(w, &err) != 0) {
            die("cannot start again: %s", err.text);
        }
    } else if (strcmp(what, "down") == 0 || strcmp(what, "up") == 0) {
        world_set_state(w, scenario_group(w, rest), *what == 'd' ? BACKEND_DOWN : BACKEND_UP);
    } else if (strcmp(what, "open") == 0 || strcmp(what, "close") == 0) {
        uint32_t index = scenario_group(w, scenario_word(&rest));
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
        set_failpoint(strcmp(rest, "full") == 0      ? "journal-append:1+:enospc"
                      : strcmp(rest, "no-room") == 0 ? "journal-room:1+:enospc"
                                                     : NULL);
    } else if (strcmp(what, "room") == 0) {
        w->room = strtoul(rest, NULL, 10);
    } else if (strcmp(what, "certificate") == 0) {
        w->certificate_us = w->now_us + w->wall_ahead_us;
        w->certificate_us += *rest == '-' ? -scenario_duration(rest + 1) : scenario_duration(rest);
    } else if (strcmp(what, "wall") == 0) {
        scenario_set_wall(w, rest);
    } else if (strcmp(what, "traffic") == 0) {
        scenario_set_traffic(w, rest);
    } else if (strcmp(what, "edit") == 0) {
        char *setting = scenario_word(&rest);

        scenario_configure(w, setting, rest);
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
    world_run_to(w, begin_us + scenario_duration(scenario_word(&rest)));
    what = scenario_word(&rest);
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
    scenario_file = argv[1];
    in = fopen(scenario_file, "re");
    if (in == NULL) {
        perror(scenario_file);
        return 66;
    }
    world_init(&world);
    while (fgets(line, sizeof(line), in) != NULL) {
        char *rest = line;
        char *first;

        scenario_line++;
        line[strcspn(line, "\n")] = '\0';
        if (line[strspn(line, " ")] == '\0' || line[0] == '#') {
            continue;
        }
        first = scenario_word(&rest);
        if (strcmp(first, "at") == 0) {
            at(&world, rest);
        } else {
            scenario_configure(&world, first, rest);
        }
    }
    fclose(in);
    world_stop(&world, false);
    world_destroy(&world);
    return 0;
}
