/*
 * Everything that is written from the command table: usage, help, the reference. Used by the daemon, by
 * shuntctl when no daemon answers, and by the program that keeps docs/commands.md. Any thread.
 */
#include "admin/admin.h"
#include "admin/commands.h"

#include <stdlib.h>

void commands_write_usage(FILE *out, const struct command *command)
{
    fputs(command->name, out);
    for (const struct command_arg *arg = command->args; arg->type != COMMAND_ARG_END; arg++) {
        fprintf(out, " %s%s%s%s%s", arg->optional ? "[" : "", arg->keyword != NULL ? arg->keyword : "",
                arg->keyword != NULL ? " " : "", arg->name, arg->optional ? "]" : "");
    }
    fputs(command->changes ? " [reason \"TEXT\"]" : "", out);
}

void commands_write_list(FILE *out, enum command_role role)
{
    const struct command *table = commands_table();
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (commands_allowed(&table[i], role)) {
            fprintf(out, "%-11s  %s\n", table[i].name, table[i].summary);
        }
    }
    fputs("help COMMAND explains one. Commands that change something take reason \"TEXT\" at the end,\n"
          "those that show something take --json.\n",
          out);
}

void commands_write_help(FILE *out, const struct command *command)
{
    commands_write_usage(out, command);
    fprintf(out, "%s\n%s.\n%sRole: %s.\n", command->changes ? "" : " [--json]", command->summary,
            command->help, commands_role_name(command->role));
}

void commands_write_reference(FILE *out)
{
    const struct command *table = commands_table();
    fputs("# Commands\n\n"
          "Written from the command table (`admin/commands_table.c`) by `commands_reference`; a test fails "
          "when it is\n"
          "stale. `shuntctl COMMAND…` sends one command; over the socket it is one command a line, and the "
          "reply ends\n"
          "with an empty line. A refusal is one line that begins with `error: ` and has changed nothing.\n\n"
          "Roles: a viewer may see, an operator may also run migrations and change backends, an admin may "
          "also change\n"
          "the program itself. Commands that change something take `reason \"TEXT\"` at the end and are "
          "written to the\n"
          "audit log; the others take `--json` anywhere and then answer with one line of JSON.\n\n"
          "| command | does | role | changes |\n|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "| [`%s`](#%s) | %s | %s | %s |\n", table[i].name, table[i].name, table[i].summary,
                commands_role_name(table[i].role), table[i].changes ? "yes" : "no");
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "\n## %s\n\n    ", table[i].name);
        commands_write_usage(out, &table[i]);
        fprintf(out, "%s\n\n%s.\n\n%s", table[i].changes ? "" : " [--json]", table[i].summary, table[i].help);
    }
}

char *admin_reference(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    commands_write_reference(out);
    int failed = ferror(out);
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
