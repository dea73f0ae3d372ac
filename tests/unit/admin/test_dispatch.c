/*
 * Commands from the line to the reply, on real routing, journal and migration: what is accepted, what is
 * refused with which help, who may, and what the audit log says.
 */
#include "tests/unit/admin/support.h"

#include "core/clock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct support daemon_;

static int setup(void **state)
{
    *state = &daemon_;
    support_create(&daemon_);
    return 0;
}

static int teardown(void **state)
{
    support_destroy(*state);
    return 0;
}

static struct migration_status status_of(struct support *s, size_t service)
{
    struct migration_status status;
    migration_read(s->service[service].migration, &status);
    return status;
}

static void test_a_migration_by_hand(void **state)
{
    struct support *s = *state;
    support_expect(s, "status api",
                   "api - idle share=0% live=0% step=0/3 reason=\"\" old=2/2 new=1/1 open=0\n");
    support_expect(s, "start api reason \"CHG-4711 go\"",
                   "api-1 started: 1% for 1h, then 50%        follow: shuntctl watch api      stop: shuntctl "
                   "abort api\n");
    assert_int_equal(status_of(s, 0).phase, MIGRATION_RAMPING);
    support_expect(s, "status api", "api api-1 ramping share=1% live=1% step=1/3 reason=");
    support_expect(s, "skip api", "api-1 skipped ahead: ramping, share 50%");
    support_expect(s, "pause api", "api-1 paused: paused, share 50%");
    support_expect(s, "wait api", "paused\n");
    support_expect(s, "resume api", "api-1 goes on: ramping, share 50%");
    support_expect(s, "share api 75.5", "api-1 by hand: paused, share 75.5%");
    support_expect(s, "share api 100%", "api-1 by hand: ");
    support_expect(s, "commit api", "api-1 committed: completed");
    support_expect(s, "wait api 1s", "completed\n");
    support_expect(s, "status api", "api api-1 completed ");
    assert_int_equal(routing_active(s->routing[0]), 1);
    support_expect(s, "status web", "web - idle ");
}

static void test_abort(void **state)
{
    struct support *s = *state;
    support_expect(s, "start web to new from-share 50%", "web-1 started: 50% for 1h, then 100%");
    support_expect(s, "abort web reason \"bad\"", "web-1 aborted: rolled-back, share 0%");
    support_expect(s, "wait web", "rolled-back\n");
    support_expect(s, "wait web --json", "{\"result\":\"rolled-back\"}\n");
}

static void test_backend_and_weight(void **state)
{
    struct support *s = *state;
    struct backend *a = routing_find_backend(s->routing[0], 0, "a");
    support_expect(
        s, "backend api/old/a drain reason \"patching\"",
        "api/old/a is drain: no new connections, 0 open go on; old has 1 of 2 usable        back: shuntctl "
        "backend api/old/a ready\n");
    assert_int_equal(backend_admin(a), BACKEND_DRAIN);
    support_expect(s, "backend api/old/a maint", "api/old/a is maint: ");
    assert_int_equal(backend_admin(a), BACKEND_MAINT);
    support_expect(s, "backend api/old/a ready",
                   "api/old/a is ready: state unknown; old has 2 of 2 usable\n");
    assert_int_equal(backend_admin(a), BACKEND_READY);
    support_expect(s, "weight api/old/a 65535",
                   "api/old/a has weight 65535 (before: 3); old has 2 of 2 usable\n");
    assert_int_equal(backend_weight(a), 65535);
    support_expect(s, "weight api/old/a 0",
                   "api/old/a has weight 0 (before: 65535); old has 1 of 2 usable\n");
}

static void test_forced(void **state)
{
    struct support *s = *state;
    struct backend *a = routing_find_backend(s->routing[0], 0, "a");
    struct migration_word word;
    assert_false(migration_word(s->service[0].migration, a, MIGRATION_WORD_FORCED, &word));
    support_expect(
        s, "backend api/old/a force-down reason \"smoke\"",
        "api/old/a is forced down, whatever its checks say (now: unknown); old has 1 of 2 usable     "
        "   back: shuntctl backend api/old/a auto\n");
    assert_int_equal(backend_forced(a), BACKEND_FORCED_DOWN);
    assert_true(migration_word(s->service[0].migration, a, MIGRATION_WORD_FORCED, &word));
    assert_string_equal(word.reason, "smoke");
    assert_string_equal(word.actor, "operator:test");
    support_expect(s, "backend api/old/a ready",
                   "api/old/a is ready: state down, but it is forced down; old has 1 of 2 usable\n");
    support_expect(
        s, "backend api/old/a force-up",
        "api/old/a is forced up, whatever its checks say (now: unknown); old has 2 of 2 usable       "
        " back: shuntctl backend api/old/a auto\n");
    assert_int_equal(backend_forced(a), BACKEND_FORCED_UP);
    support_expect(s, "backend api/old/a maint", "api/old/a is maint: no new connections");
    assert_false(backend_is_usable(a));
    support_expect(
        s, "backend api/old/a force-up",
        "api/old/a is forced up, whatever its checks say (now: unknown), but it is in maint; old has "
        "1 of 2 usable");
    support_expect(s, "backend api/old/a ready", "api/old/a is ready: state up; old has 2 of 2 usable\n");
    support_expect(s, "backend api/old/a auto",
                   "api/old/a is not forced: state unknown; old has 2 of 2 usable\n");
    assert_int_equal(backend_forced(a), BACKEND_AUTO);
}

/* Every refusal changes nothing and names what would help. */
static void test_refusals(void **state)
{
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"statsu", "error: unknown command \"statsu\" (did you mean \"status\"?)\n"},
        {"frobnicate everything", "error: unknown command \"frobnicate\"; help lists them\n"},
        {"help frobnicate", "error: unknown command \"frobnicate\"; help lists them\n"},
        {"start", "error: usage: start SERVICE [to GROUP] [from-share PCT] [force] [reason \"TEXT\"]: "
                  "missing SERVICE\n"},
        {"start apj", "error: no service \"apj\" (did you mean \"api\"?)\n"},
        {"start something-else", "error: no service \"something-else\"; there are: api, web\n"},
        {"start api new", "error: usage: start "},
        {"start api to", "error: usage: start "},
        {"start api to nwe", "error: no group \"nwe\" (did you mean \"new\"?)\n"},
        {"start api from-share 101%", "error: \"101%\" is not a share: 0% to 100%, at most two decimals\n"},
        {"start api from-share 1.234%", "error: \"1.234%\" is not a share"},
        {"start api reason", "error: usage: start "},
        {"start api reason two words", "error: usage: start "},
        {"start api --json", "error: usage: start "},
        {"share api", "error: usage: share SERVICE PCT [reason \"TEXT\"]: missing PCT\n"},
        {"share api -1", "error: \"-1\" is not a share"},
        {"backend api/old drain", "error: \"api/old\" is not SERVICE/GROUP/BACKEND"},
        {"backend /old/a drain", "error: no service \"\""},
        {"backend api/old/nothing drain", "error: no backend \"nothing\"; there are: a, b\n"},
        {"backend api/old/a off",
         "error: \"off\" is not one of ready|drain|maint|force-up|force-down|auto\n"},
        {"weight api/old/a 65536", "error: \"65536\" is not a weight: 0 to 65535\n"},
        {"weight api/old/a 1.5", "error: \"1.5\" is not a weight: 0 to 65535\n"},
        {"weight api/old/a", "error: usage: weight "},
        {"wait api 5 minutes", "error: \"5\" is not a duration"},
        {"wait api", "error: no migration of api to wait for: start api begins one\n"},
        {"events api 0", "error: \"0\" is not a number from 1 to 1000\n"},
        {"events 1001", "error: \"1001\" is not a number from 1 to 1000\n"},
        {"events api 5 6", "error: usage: events [SERVICE] [N]: too much: 6\n"},
        {"show", "error: usage: show settings|metrics|version|confinement: missing "
                 "settings|metrics|version|confinement\n"},
        {"show me", "error: \"me\" is not one of settings|metrics|version|confinement\n"},
        {"status api reason \"x\"", "error: usage: status [SERVICE]: too much: reason\n"},
        {"pause api", "error: "},
        {"commit api", "error: "},
        {"abort api", "error: "},
        {"\"abort", "error: a double quote is not closed\n"},
        {"abort\x01 api", "error: byte 6 of the line is a control byte (0x01)\n"},
    };
    struct support *s = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        support_expect(s, cases[i].line, cases[i].message);
    }
    assert_int_equal(status_of(s, 0).phase, MIGRATION_IDLE);
    assert_int_equal(backend_admin(routing_find_backend(s->routing[0], 0, "a")), BACKEND_READY);
    assert_int_equal(backend_weight(routing_find_backend(s->routing[0], 0, "a")), 3);
    assert_int_equal(events_last_number(s->events), 0);
    support_expect(s, "", "\n");
    support_expect(s, "   ", "\n");
}

static void test_long_reason(void **state)
{
    struct support *s = *state;
    char line[512];
    (void)snprintf(line, sizeof(line), "start api reason \"%0*d\"", (int)COMMAND_REASON_MAX + 1, 1);
    support_expect(s, line, "error: the reason is longer than 200 bytes\n");
    (void)snprintf(line, sizeof(line), "start api reason \"%0*d\"", (int)COMMAND_REASON_MAX, 1);
    support_expect(s, line, "api-1 started");
}

/* A good line for each command; with each role it is run or denied, as the table says. */
static void test_role_matrix(void **state)
{
    static const struct {
        const char *line;
        enum command_role least;
    } lines[COMMAND_COUNT] = {
        [COMMAND_HELP] = {"help", COMMAND_ROLE_VIEWER},
        [COMMAND_STATUS] = {"status", COMMAND_ROLE_VIEWER},
        [COMMAND_START] = {"start api", COMMAND_ROLE_OPERATOR},
        [COMMAND_SHARE] = {"share api 10%", COMMAND_ROLE_OPERATOR},
        [COMMAND_PAUSE] = {"pause api", COMMAND_ROLE_OPERATOR},
        [COMMAND_RESUME] = {"resume api", COMMAND_ROLE_OPERATOR},
        [COMMAND_SKIP] = {"skip api", COMMAND_ROLE_OPERATOR},
        [COMMAND_ABORT] = {"abort api", COMMAND_ROLE_OPERATOR},
        [COMMAND_COMMIT] = {"commit api", COMMAND_ROLE_OPERATOR},
        [COMMAND_PLAN] = {"plan api", COMMAND_ROLE_VIEWER},
        [COMMAND_WAIT] = {"wait api", COMMAND_ROLE_VIEWER},
        [COMMAND_REPORT] = {"report api", COMMAND_ROLE_VIEWER},
        [COMMAND_WATCH] = {"watch", COMMAND_ROLE_VIEWER},
        [COMMAND_EVENTS] = {"events", COMMAND_ROLE_VIEWER},
        [COMMAND_TOP] = {"top", COMMAND_ROLE_VIEWER},
        [COMMAND_RELOAD] = {"reload", COMMAND_ROLE_ADMIN},
        [COMMAND_UPGRADE] = {"upgrade", COMMAND_ROLE_ADMIN},
        [COMMAND_CHECK] = {"check api/old/a", COMMAND_ROLE_OPERATOR},
        [COMMAND_BACKEND] = {"backend api/old/a drain", COMMAND_ROLE_OPERATOR},
        [COMMAND_WEIGHT] = {"weight api/old/a 9", COMMAND_ROLE_OPERATOR},
        [COMMAND_CONNECTIONS] = {"connections", COMMAND_ROLE_VIEWER},
        [COMMAND_KILL] = {"kill api/old", COMMAND_ROLE_ADMIN},
        [COMMAND_LOG_LEVEL] = {"log-level info", COMMAND_ROLE_ADMIN},
        [COMMAND_SHOW] = {"show version", COMMAND_ROLE_VIEWER},
    };
    struct support *s = *state;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        for (int role = COMMAND_ROLE_NONE; role <= COMMAND_ROLE_ADMIN + 1; role++) {
            uint64_t before = events_last_number(s->events);
            bool may = role >= (int)lines[i].least && role <= COMMAND_ROLE_ADMIN;
            s->peer.role = (enum command_role)role;
            char *reply = support_run(s, lines[i].line);
            bool denied = strncmp(reply, "error: not permitted: ", 22) == 0;
            if (denied == may) {
                fail_msg("%s as %d: %s", lines[i].line, role, reply);
            }
            assert_true(may || events_last_number(s->events) == before);
            free(reply);
        }
    }
}

/* Standard error of this process into a file while fn runs: what the log writes before it has a thread. */
static char *capture_log(struct support *s, const char *line)
{
    char path[128];
    char *text = calloc(1, 8192);
    assert_non_null(text);
    (void)snprintf(path, sizeof(path), "%s/log", s->folder);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    int kept = dup(STDERR_FILENO);
    assert_true(file >= 0 && kept >= 0 && dup2(file, STDERR_FILENO) >= 0);
    free(support_run(s, line));
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    assert_true(pread(file, text, 8191, 0) >= 0);
    close(kept);
    close(file);
    unlink(path);
    return text;
}

static const char *audit_line(char *log)
{
    char *found = strstr(log, "admin command");
    if (found == NULL) {
        return "";
    }
    char *end = strchr(found, '\n');
    assert_non_null(end);
    *end = '\0';
    return found;
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in: %s", part, text);
    }
}

static void test_audit(void **state)
{
    struct support *s = *state;
    char *log = capture_log(s, "start api reason \"CHG 1\"");
    const char *line = audit_line(log);
    assert_contains(line, "operator:test");
    assert_contains(line, "uid=1000");
    assert_contains(line, "pid=42");
    assert_contains(line, "command=start");
    assert_contains(line, "reason=\"CHG 1\"");
    assert_contains(line, "outcome=done");
    free(log);
    log = capture_log(s, "start api");
    line = audit_line(log);
    assert_contains(line, "outcome=refused");
    assert_contains(line, "runs already");
    free(log);
    support_expect(s, "log-level error", "log level is error (before: info)\n");
    log = capture_log(s, "pause api");
    assert_contains(audit_line(log), "command=pause");
    free(log);
    support_expect(s, "log-level info", "log level is info (before: error)\n");
    support_expect(s, "log-level loud", "error: \"loud\" is not one of debug|info|warn|error");
    log = capture_log(s, "weight api/old/a 99999");
    assert_contains(audit_line(log), "is not a weight");
    free(log);
    log = capture_log(s, "status api");
    assert_string_equal(audit_line(log), "");
    free(log);
    s->peer.role = COMMAND_ROLE_VIEWER;
    log = capture_log(s, "abort api");
    line = audit_line(log);
    assert_contains(line, "outcome=denied");
    assert_contains(line, "role=viewer");
    free(log);
}

static void test_show_and_help(void **state)
{
    struct support *s = *state;
    char *reply = support_run(s, "show settings");
    assert_contains(reply, "services.api");
    free(reply);
    reply = support_run(s, "show settings --json");
    json_t *json = json_loads(reply, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "settings"), "state_dir")),
                        "\"/nowhere\"");
    json_decref(json);
    free(reply);
    support_expect(s, "show version", "shuntd " SHUNT_VERSION " pid ");
    support_expect(s, "help start",
                   "start SERVICE [to GROUP] [from-share PCT] [force] [reason \"TEXT\"]\nbegins a migration");
    support_expect(s, "help help", "help [COMMAND] [--json]\n");
    reply = support_run(s, "--json help");
    assert_contains(reply, "error: unknown command \"--json\"");
    free(reply);
    reply = support_run(s, "help --json");
    json = json_loads(reply, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(json, "commands")), COMMAND_COUNT);
    json_decref(json);
    free(reply);
}

static void test_events(void **state)
{
    struct support *s = *state;
    support_expect(s, "events", "\n");
    free(support_run(s, "start api reason \"why not\""));
    free(support_run(s, "weight web/old/a 7"));
    char *reply = support_run(s, "events");
    assert_contains(reply, "api phase operator:test: api-1 started");
    assert_contains(reply, "reason=\"why not\"");
    assert_contains(reply, " web ");
    free(reply);
    reply = support_run(s, "events web 5");
    assert_null(strstr(reply, " api "));
    free(reply);
    reply = support_run(s, "events 1 --json");
    json_t *json = json_loads(reply, 0, NULL);
    json_t *list = json_object_get(json, "events");
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "service")), "web");
    json_decref(json);
    free(reply);
}

static void test_plan(void **state)
{
    struct support *s = *state;
    support_expect(
        s, "plan api",
        "  1% → 50% → 100% → drain old → commit        fastest 3h, slowest 3h10m\n"
        "  step 1  1% for 1h\n  step 2  50% for 1h\n  step 3  100% for 1h\n"
        "  gate  none: time alone decides\n"
        "  preflight  ✔ old 2/2 usable  ✔ new 1/1 usable  ✔ addresses differ  ✔ journal writable\n");
    free(support_run(s, "backend api/new/c maint"));
    support_expect(s, "plan api",
                   "  1% → 50% → 100% → drain old → commit        fastest 3h, slowest 3h10m\n"
                   "  step 1  1% for 1h\n  step 2  50% for 1h\n  step 3  100% for 1h\n"
                   "  gate  none: time alone decides\n"
                   "  preflight  ✔ old 2/2 usable  ✖ new 0/1 usable  ✔ addresses differ  ✔ journal writable\n"
                   "  ✖ new 0/1 usable: see `status` for its backends\n");
    char *reply = support_run(s, "plan api --json");
    json_t *json = json_loads(reply, 0, NULL);
    json_t *plan = json_object_get(json, "plan");
    assert_string_equal(json_string_value(json_object_get(plan, "to")), "new");
    assert_int_equal(json_array_size(json_object_get(plan, "steps")), 3);
    assert_true(json_real_value(json_object_get(plan, "fastest_s")) == 10800.0);
    assert_true(
        json_is_false(json_object_get(json_array_get(json_object_get(plan, "preflight"), 1), "passed")));
    json_decref(json);
    free(reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_migration_by_hand, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backend_and_weight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(test_role_matrix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_audit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_show_and_help, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
