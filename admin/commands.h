/*
 * The commands: one table from which parsing, help, roles, docs/commands.md and the tests are made. The
 * table holds no code, so shuntctl links it too; which function serves a command stands in admin/dispatch.c.
 * Immutable; any thread.
 */
#ifndef ADMIN_COMMANDS_H
#define ADMIN_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The last line of what wait and watch are told when the daemon ends and none goes on in its place. */
#define COMMANDS_STOPS "error: shuntd stops: nothing more comes until it is started again"

/* X(NAME): in the order in which help lists them. */
#define COMMAND_LIST(X)                                                                                      \
    X(HELP)                                                                                                  \
    X(STATUS)                                                                                                \
    X(START)                                                                                                 \
    X(SHARE)                                                                                                 \
    X(PAUSE)                                                                                                 \
    X(RESUME)                                                                                                \
    X(SKIP)                                                                                                  \
    X(ABORT)                                                                                                 \
    X(COMMIT)                                                                                                \
    X(PLAN)                                                                                                  \
    X(WAIT)                                                                                                  \
    X(REPORT)                                                                                                \
    X(WATCH)                                                                                                 \
    X(EVENTS)                                                                                                \
    X(TOP)                                                                                                   \
    X(CHECK)                                                                                                 \
    X(BACKEND)                                                                                               \
    X(WEIGHT)                                                                                                \
    X(CONNECTIONS)                                                                                           \
    X(KILL)                                                                                                  \
    X(RELOAD)                                                                                                \
    X(UPGRADE)                                                                                               \
    X(LOG_LEVEL)                                                                                             \
    X(SHOW)

enum command_id {
#define COMMAND_ENUM(name) COMMAND_##name,
    COMMAND_LIST(COMMAND_ENUM)
#undef COMMAND_ENUM
        COMMAND_COUNT
};

/* Each role may do what those before it may. NONE may nothing, and is what an unknown peer gets. */
enum command_role {
    COMMAND_ROLE_NONE,
    COMMAND_ROLE_VIEWER,   /* shows */
    COMMAND_ROLE_OPERATOR, /* migrations, shares, backends */
    COMMAND_ROLE_ADMIN     /* the program itself */
};

enum command_arg_type {
    COMMAND_ARG_END,
    COMMAND_ARG_SERVICE,  /* name of a service */
    COMMAND_ARG_GROUP,    /* name of a group of the service before it */
    COMMAND_ARG_BACKEND,  /* SERVICE/GROUP/BACKEND */
    COMMAND_ARG_SHARE,    /* 25%, 0.25%, 25 */
    COMMAND_ARG_WEIGHT,   /* 0 to 65535 */
    COMMAND_ARG_CHOICE,   /* one of the words in choices */
    COMMAND_ARG_DURATION, /* 30s, 5m */
    COMMAND_ARG_COUNT,    /* 1 to COMMAND_COUNT_MAX */
    COMMAND_ARG_COMMAND,  /* name of a command */
    COMMAND_ARG_VICTIM,   /* CONNECTION, SERVICE, SERVICE/GROUP or SERVICE/GROUP/BACKEND */
    COMMAND_ARG_OLDER,    /* a duration: at least so old */
    COMMAND_ARG_LAST,     /* a duration: how much of the past */
    COMMAND_ARG_STEP,     /* a duration of whole seconds */
    COMMAND_ARG_AT,       /* HH:MM or HH:MM:SS */
    COMMAND_ARG_IDLE,     /* a duration: without a byte for so long */
    COMMAND_ARG_CLIENT,   /* an address, with or without /BITS */
    COMMAND_ARG_PLACE,    /* BACKEND or GROUP/BACKEND of the service that stands before it */
    COMMAND_ARG_RATE,     /* so many a second */
    COMMAND_ARG_LIMIT,    /* so many lines, 1 to COMMAND_LIMIT_MAX */
    COMMAND_ARG_FORCE,    /* the word "force" */
    COMMAND_ARG_MIGRATION /* id of a migration, as "web-3" */
};

#define COMMAND_ARGS_MAX 9u      /* with the ending one */
#define COMMAND_LIMIT_MAX 10000u /* lines that a list of connections may have */
#define COMMAND_RATE_MAX 1000000u
#define COMMAND_COUNT_MAX 1000u /* largest N that a command takes */
#define COMMAND_REASON_MAX 200u /* bytes of a reason: what journal and events keep whole */

struct command_arg {
    enum command_arg_type type;
    bool optional;
    /* The word that goes before it ("to"); NULL: none. One that begins with "--" makes it an option: it may
     * stand anywhere, and options come last in the table. */
    const char *keyword;
    const char *name;           /* as in the usage: "SERVICE" */
    const char *const *choices; /* CHOICE only: the words, ended by NULL */
};

struct command {
    const char *name;
    enum command_role role; /* the least that may */
    bool changes;           /* changes something: takes a reason, is audited; all others take --json */
    struct command_arg args[COMMAND_ARGS_MAX];
    const char *summary; /* a few words, no full stop */
    const char *help;    /* sentences; lines end in \n, none is empty */
};

/* The table: COMMAND_COUNT entries, at the index of their id. */
const struct command *commands_table(void);
enum command_id commands_id(const struct command *command);
/* By name, NULL when there is none. */
const struct command *commands_find(const char *name);
/* "viewer", "operator", "admin", "none"; "none" for any other value. */
const char *commands_role_name(enum command_role role);
/* True if role may run command. Denies unless the table says otherwise: unknown roles, unknown commands. */
bool commands_allowed(const struct command *command, enum command_role role);

/* "start SERVICE [to GROUP] [from-share PCT] [reason "TEXT"]" */
void commands_write_usage(FILE *out, const struct command *command);
/* The list of all commands that role may run, one a line. */
void commands_write_list(FILE *out, enum command_role role);
/* All about one. No empty line. */
void commands_write_help(FILE *out, const struct command *command);
/* The reference in Markdown. */
void commands_write_reference(FILE *out);
/* Completion for "bash", "zsh" or "fish"; false for any other shell. */
bool commands_write_completion(FILE *out, const char *shell);
/* The list of commands for shuntctl(1), in the language of scdoc. */
void commands_write_man(FILE *out);

#endif
