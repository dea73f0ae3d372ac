/*
 * The table of commands and the roles over it: who may run what is decided from here, by commands_allowed,
 * and nowhere else. Data only, shared by the daemon and shuntctl. Any thread.
 */
#include "admin/commands.h"

#include <string.h>

static const char *const backend_words[] = {"ready",      "drain", "maint", "force-up",
                                            "force-down", "auto",  NULL};
static const char *const count_keys[] = {"backend", "client", "group", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const show_topics[] = {"settings", "metrics", "version", "confinement", NULL};

#define ARG_SERVICE                                                                                          \
    {                                                                                                        \
        .type = COMMAND_ARG_SERVICE, .name = "SERVICE"                                                       \
    }
#define ARG_SERVICE_OPTIONAL                                                                                 \
    {                                                                                                        \
        .type = COMMAND_ARG_SERVICE, .name = "SERVICE", .optional = true                                     \
    }
#define ARG_BACKEND                                                                                          \
    {                                                                                                        \
        .type = COMMAND_ARG_BACKEND, .name = "SERVICE/GROUP/BACKEND"                                         \
    }

#define ARG_OLDER                                                                                            \
    {                                                                                                        \
        .type = COMMAND_ARG_OLDER, .name = "T", .keyword = "--older", .optional = true                       \
    }
#define ARG_IDLE                                                                                             \
    {                                                                                                        \
        .type = COMMAND_ARG_IDLE, .name = "T", .keyword = "--idle", .optional = true                         \
    }
#define ARG_CLIENT                                                                                           \
    {                                                                                                        \
        .type = COMMAND_ARG_CLIENT, .name = "ADDR", .keyword = "--client", .optional = true                  \
    }

static const struct command table[COMMAND_COUNT] = {
    [COMMAND_HELP] =
        {
            .name = "help",
            .role = COMMAND_ROLE_VIEWER,
            .args = {{.type = COMMAND_ARG_COMMAND, .name = "COMMAND", .optional = true}},
            .summary = "lists the commands, or explains one",
            .help = "Without COMMAND it lists what you may run.\n",
        },
    [COMMAND_STATUS] =
        {
            .name = "status",
            .role = COMMAND_ROLE_VIEWER,
            .args = {ARG_SERVICE_OPTIONAL},
            .summary = "everything at a glance",
            .help =
                "For each service one line that is made for scripts and eyes alike (service, migration, "
                "phase,\n"
                "share asked for, live share of the open connections, step, reason, usable/all backends of\n"
                "each group, open connections), and below it the tree of groups and backends.\n"
                "With --json one line of JSON; docs/status.schema.json describes it.\n",
        },
    [COMMAND_START] =
        {
            .name = "start",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_SERVICE,
                     {.type = COMMAND_ARG_GROUP, .name = "GROUP", .keyword = "to", .optional = true},
                     {.type = COMMAND_ARG_SHARE, .name = "PCT", .keyword = "from-share", .optional = true},
                     {.type = COMMAND_ARG_FORCE, .name = "force", .optional = true}},
            .summary = "begins a migration by the service's plan",
            .help = "Without GROUP it goes to the only other group, or to the one that the last migration "
                    "named.\n"
                    "With from-share it begins at the last step that is not above PCT.\n"
                    "What plan shows as ✖ stops it; force starts all the same, which is written down.\n"
                    "Follow with wait or watch; abort takes everything back.\n",
        },
    [COMMAND_SHARE] =
        {
            .name = "share",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_SERVICE, {.type = COMMAND_ARG_SHARE, .name = "PCT"}},
            .summary = "sets the share of new connections by hand",
            .help = "A running plan pauses. With none running this opens a migration that is paused: resume "
                    "goes on\n"
                    "with the plan from there, abort goes back to 0, commit at 100% drains and completes.\n",
        },
    [COMMAND_PAUSE] =
        {
            .name = "pause",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_SERVICE},
            .summary = "freezes the plan where it is",
            .help = "The share stays as it is until resume, share, abort or commit.\n",
        },
    [COMMAND_RESUME] =
        {
            .name = "resume",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_SERVICE,
                     {.type = COMMAND_ARG_SHARE, .name = "PCT", .keyword = "from-share", .optional = true}},
            .summary = "goes on with a paused plan",
            .help = "The plan goes on from the share in force; a manual step is left for the next one.\n"
                    "After a rollback, resume from-share PCT begins a new migration there, as start does.\n",
        },
    [COMMAND_SKIP] =
        {
            .name = "skip",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_SERVICE},
            .summary = "ends the present hold and takes the next step now",
            .help = "It does not wait for what the step still wants, be it time, connections or an hour of "
                    "the day.\n",
        },
    [COMMAND_ABORT] =
        {
            .name = "abort",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_SERVICE},
            .summary = "rolls the migration back at once",
            .help = "New connections go to the old group from the next one on. It never asks back.\n",
        },
    [COMMAND_COMMIT] =
        {
            .name = "commit",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_SERVICE},
            .summary = "ends a migration that waits for it",
            .help = "From then on the new group is the active one. A migration at 100% that was moved by "
                    "hand is\n"
                    "first drained.\n",
        },
    [COMMAND_PLAN] =
        {
            .name = "plan",
            .role = COMMAND_ROLE_VIEWER,
            .args = {ARG_SERVICE,
                     {.type = COMMAND_ARG_GROUP, .name = "GROUP", .keyword = "to", .optional = true}},
            .summary = "dry run: the steps, how long they take, what would stand in the way",
            .help = "fastest is the holds of all steps with nothing left to drain; slowest has the gate's "
                    "longest "
                    "wait in\n"
                    "each step and the whole drain on top, and is unknown where an operator, hours, hooks or "
                    "clients are\n"
                    "waited for. Each step shows how many connections a\n"
                    "minute it would send to the new group at the present rate. Below it stands what a start "
                    "would\n"
                    "find now: a ✖ stops it.\n",
        },
    [COMMAND_WAIT] =
        {
            .name = "wait",
            .role = COMMAND_ROLE_VIEWER,
            .args = {ARG_SERVICE, {.type = COMMAND_ARG_DURATION, .name = "TIMEOUT", .optional = true}},
            .summary = "answers when the migration is completed, rolled back or paused",
            .help = "The reply is one word: completed, rolled-back, paused or timeout. It comes at once when "
                    "the last\n"
                    "migration has ended. shuntctl turns it into its exit code: 0, 3, 4 or 124.\n",
        },
    [COMMAND_REPORT] =
        {
            .name = "report",
            .role = COMMAND_ROLE_VIEWER,
            .args = {ARG_SERVICE, {.type = COMMAND_ARG_MIGRATION, .name = "MIGRATION", .optional = true}},
            .summary = "the whole story of a migration, from the journal",
            .help = "Every change with its time, who asked and why, and between two of them what each group "
                    "took\n"
                    "and failed. Without MIGRATION (as web-3) the last one. The journal keeps the last "
                    "five.\n",
        },
    [COMMAND_WATCH] =
        {
            .name = "watch",
            .role = COMMAND_ROLE_VIEWER,
            .args = {ARG_SERVICE_OPTIONAL},
            .summary = "follows what happens, one line a change",
            .help = "The stream goes on until you close the connection. Leaving it never stops a "
                    "migration.\n",
        },
    [COMMAND_EVENTS] =
        {
            .name = "events",
            .role = COMMAND_ROLE_VIEWER,
            .args = {ARG_SERVICE_OPTIONAL, {.type = COMMAND_ARG_COUNT, .name = "N", .optional = true}},
            .summary = "what happened, who asked, why",
            .help = "The newest N (20 unless told, at most 1000), oldest first.\n",
        },
    [COMMAND_TOP] =
        {
            .name = "top",
            .role = COMMAND_ROLE_VIEWER,
            .args = {ARG_SERVICE_OPTIONAL,
                     {.type = COMMAND_ARG_AT, .name = "HH:MM", .keyword = "--at", .optional = true},
                     {.type = COMMAND_ARG_LAST, .name = "T", .keyword = "--last", .optional = true},
                     {.type = COMMAND_ARG_STEP, .name = "T", .keyword = "--step", .optional = true}},
            .summary = "what each group did, second by second, within the last hour",
            .help = "New connections a second, errors, open connections, response times and the share, of "
                    "the last\n"
                    "minute, with the events of that time. --last takes another length, --at begins at a "
                    "time of day\n"
                    "(UTC, with or without seconds), --step adds up so much to a line: of the p99 the "
                    "highest is\n"
                    "shown. Kept in memory for an hour, so nothing is known of the time before the last "
                    "start.\n",
        },
    [COMMAND_CHECK] =
        {
            .name = "check",
            .role = COMMAND_ROLE_OPERATOR,
            .args = {ARG_BACKEND},
            .summary = "checks one backend now and shows what was said",
            .help = "The same check as its group's health section has, beside the schedule and without "
                    "weight "
                    "in the\n"
                    "backend's state. > is what was sent, < what came back, in printable form; passwords are "
                    "hidden.\n",
        },
    [COMMAND_BACKEND] =
        {
            .name = "backend",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_BACKEND,
                     {.type = COMMAND_ARG_CHOICE,
                      .name = "ready|drain|maint|force-up|force-down|auto",
                      .choices = backend_words}},
            .summary = "sets the operator state of one backend",
            .help = "drain and maint take no new connections; those that are open go on. ready takes it back "
                    "into\n"
                    "service. force-up and force-down take the place of its checks, its agent and outlier "
                    "detection,\n"
                    "which go on and are shown but do not count, until auto lets them count again. drain and "
                    "maint hold\n"
                    "for a backend that is forced up, too. All of it outlives a restart; status shows who "
                    "set "
                    "it, when\n"
                    "and why.\n",
        },
    [COMMAND_WEIGHT] =
        {
            .name = "weight",
            .role = COMMAND_ROLE_OPERATOR,
            .changes = true,
            .args = {ARG_BACKEND, {.type = COMMAND_ARG_WEIGHT, .name = "N"}},
            .summary = "sets the weight of one backend",
            .help = "0 to 65535; 0 takes no new connections. It holds from the next connection on and "
                    "outlives a\n"
                    "restart.\n",
        },
    [COMMAND_CONNECTIONS] =
        {
            .name = "connections",
            .role = COMMAND_ROLE_VIEWER,
            .args = {ARG_SERVICE_OPTIONAL,
                     ARG_OLDER,
                     ARG_IDLE,
                     ARG_CLIENT,
                     {.type = COMMAND_ARG_PLACE, .name = "BACKEND", .keyword = "--backend", .optional = true},
                     {.type = COMMAND_ARG_LIMIT, .name = "N", .keyword = "--limit", .optional = true},
                     {.type = COMMAND_ARG_CHOICE,
                      .name = "backend|client|group",
                      .keyword = "--count-by",
                      .choices = count_keys,
                      .optional = true}},
            .summary = "lists the open connections, or counts them",
            .help = "The oldest N (100 unless told, at most 10000), with their ids for kill. --older and "
                    "--idle take\n"
                    "durations, --client an address or a network (10.0.0.0/8), --backend a name or "
                    "GROUP/NAME.\n"
                    "The workers are asked in small slices, so traffic does not notice.\n",
        },
    [COMMAND_KILL] =
        {
            .name = "kill",
            .role = COMMAND_ROLE_ADMIN,
            .changes = true,
            .args = {{.type = COMMAND_ARG_VICTIM, .name = "CONNECTION|SERVICE/GROUP[/BACKEND]"},
                     ARG_OLDER,
                     ARG_IDLE,
                     ARG_CLIENT,
                     {.type = COMMAND_ARG_RATE, .name = "N", .keyword = "--rate", .optional = true}},
            .summary = "closes one connection, or all that are meant",
            .help = "What was read is delivered first. CONNECTION is an id that connections shows. With "
                    "--rate at\n"
                    "most N a second are closed. SERVICE alone is possible together with --older, --idle "
                    "or --client.\n"
                    "Connections accepted after the command are not meant. The reply comes when all is done; "
                    "leaving\n"
                    "it does not stop a kill that has begun.\n",
        },
    [COMMAND_RELOAD] =
        {
            .name = "reload",
            .role = COMMAND_ROLE_ADMIN,
            .changes = true,
            .summary = "reads the configuration again, all of it or nothing",
            .help = "As SIGHUP, with the outcome as the reply: what changed, what stays as it was set by "
                    "hand, and what\n"
                    "is in force only after a restart or an upgrade. A file with an error changes nothing. "
                    "Open "
                    "connections and\n"
                    "listening sockets are not touched; a migration that runs goes on by the plan it began "
                    "with.\n",
        },
    [COMMAND_UPGRADE] =
        {
            .name = "upgrade",
            .role = COMMAND_ROLE_ADMIN,
            .changes = true,
            .summary = "replaces the running program by the one in its file now",
            .help = "As SIGUSR2, with the outcome as the reply. The new program is started with the same "
                    "arguments, takes\n"
                    "over listening sockets, journal and counters, and serves from then on; the old one "
                    "ends when its\n"
                    "last connection has. If the new one fails, hangs or does not fit, the old one goes on "
                    "as before.\n",
        },
    [COMMAND_LOG_LEVEL] =
        {
            .name = "log-level",
            .role = COMMAND_ROLE_ADMIN,
            .changes = true,
            .args = {{.type = COMMAND_ARG_CHOICE, .name = "debug|info|warn|error", .choices = levels}},
            .summary = "sets the least important log lines that are written",
            .help = "Until the next start, which takes log.level from the settings. The audit log is "
                    "written at\n"
                    "every level.\n",
        },
    [COMMAND_SHOW] =
        {
            .name = "show",
            .role = COMMAND_ROLE_VIEWER,
            .args = {{.type = COMMAND_ARG_CHOICE,
                      .name = "settings|metrics|version|confinement",
                      .choices = show_topics}},
            .summary = "shows what is in force now",
            .help = "settings: every setting with its value and default. metrics: as served to Prometheus. "
                    "version: of the running daemon. confinement: as which user it runs and what the kernel "
                    "keeps it from.\n",
        },
};

const struct command *commands_table(void)
{
    return table;
}

enum command_id commands_id(const struct command *command)
{
    return (enum command_id)(command - table);
}

const struct command *commands_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const char *commands_role_name(enum command_role role)
{
    switch (role) {
    case COMMAND_ROLE_VIEWER:
        return "viewer";
    case COMMAND_ROLE_OPERATOR:
        return "operator";
    case COMMAND_ROLE_ADMIN:
        return "admin";
    case COMMAND_ROLE_NONE:
        break;
    }
    return "none";
}

bool commands_allowed(const struct command *command, enum command_role role)
{
    if (command == NULL || command->role <= COMMAND_ROLE_NONE || command->role > COMMAND_ROLE_ADMIN) {
        return false;
    }
    return role > COMMAND_ROLE_NONE && role <= COMMAND_ROLE_ADMIN && role >= command->role;
}
