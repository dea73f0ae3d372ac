/*
 * The command table as other programs want it: completion for shells, and the part of shuntctl(1) that lists
 * the commands. Any thread.
 */
#include "admin/commands.h"

#include <string.h>

/* "ready|drain|maint" as words; other arguments are left to the shell. */
static void write_words(FILE *out, const struct command_arg *arg)
{
    for (size_t i = 0; arg->choices != NULL && arg->choices[i] != NULL; i++) {
        fprintf(out, " %s", arg->choices[i]);
    }
    if (arg->keyword != NULL) {
        fprintf(out, " %s", arg->keyword);
    }
}

static bool names_service(const struct command *command)
{
    return command->args[0].type == COMMAND_ARG_SERVICE;
}

/* All words that may follow a command, services apart. */
static void write_following(FILE *out, const struct command *command)
{
    for (const struct command_arg *arg = command->args; arg->type != COMMAND_ARG_END; arg++) {
        write_words(out, arg);
    }
    fputs(command->changes ? " reason" : " --json", out);
}

static void write_bash(FILE *out)
{
    const struct command *table = commands_table();
    fputs("# bash completion for shuntctl, made from the command table.\n"
          "_shuntctl() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} words=\"\" at=1\n"
          "    [ \"${COMP_WORDS[1]}\" = -s ] && at=3\n"
          "    if [ \"$COMP_CWORD\" -le \"$at\" ]; then\n"
          "        words=\"-s",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, " %s", table[i].name);
    }
    fputs("\"\n    else\n        case ${COMP_WORDS[$at]} in\n", out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "        %s) words=\"%s", table[i].name,
                names_service(&table[i]) ? "$(_shuntctl_services)" : "");
        write_following(out, &table[i]);
        fputs("\" ;;\n", out);
    }
    fputs(
        "        esac\n    fi\n    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\n"
        "_shuntctl_services() { shuntctl status 2>/dev/null | sed -n 's/^\\([^ ]*\\) .* share=.*/\\1/p'; }\n"
        "complete -F _shuntctl shuntctl\n",
        out);
}

/* A summary between single quotes. */
static void write_quoted(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        fputs(*text == '\'' ? "'\\''" : (char[]){*text, '\0'}, out);
    }
}

static void write_zsh(FILE *out)
{
    const struct command *table = commands_table();
    fputs("#compdef shuntctl\n# zsh completion for shuntctl, made from the command table.\n"
          "local -a commands services\ncommands=(\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "    '%s:", table[i].name);
        write_quoted(out, table[i].summary);
        fputs("'\n", out);
    }
    fputs(")\nif (( CURRENT == 2 )); then\n    _describe command commands\n    return\nfi\n"
          "services=(${(f)\"$(shuntctl status 2>/dev/null | sed -n 's/^\\([^ ]*\\) .* share=.*/\\1/p')\"})\n"
          "case $words[2] in\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "%s) compadd --%s", table[i].name, names_service(&table[i]) ? " $services" : "");
        write_following(out, &table[i]);
        fputs(" ;;\n", out);
    }
    fputs("esac\n", out);
}

static void write_fish(FILE *out)
{
    const struct command *table = commands_table();
    fputs("# fish completion for shuntctl, made from the command table.\n"
          "function __shuntctl_services\n"
          "    shuntctl status 2>/dev/null | string replace -rf '^(\\S+) .* share=.*' '$1'\nend\n"
          "complete -c shuntctl -f\n"
          "complete -c shuntctl -s s -r -F -d 'the admin socket'\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "complete -c shuntctl -n __fish_use_subcommand -a %s -d '", table[i].name);
        write_quoted(out, table[i].summary);
        fprintf(out, "'\ncomplete -c shuntctl -n '__fish_seen_subcommand_from %s' -a '%s", table[i].name,
                names_service(&table[i]) ? "(__shuntctl_services)" : "");
        write_following(out, &table[i]);
        fputs("'\n", out);
    }
}

bool commands_write_completion(FILE *out, const char *shell)
{
    if (strcmp(shell, "bash") == 0) {
        write_bash(out);
    } else if (strcmp(shell, "zsh") == 0) {
        write_zsh(out);
    } else if (strcmp(shell, "fish") == 0) {
        write_fish(out);
    } else {
        return false;
    }
    return true;
}

/* Text for scdoc: its own signs are escaped, and a line break is only a blank. */
static void write_plain(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("\\_*#<>~|", *text) != NULL) {
            fputc('\\', out);
        }
        fputc(*text == '\n' ? ' ' : *text, out);
    }
}

void commands_write_man(FILE *out)
{
    const struct command *table = commands_table();
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char usage[400] = "";
        FILE *text = fmemopen(usage, sizeof(usage), "w");
        if (text == NULL) {
            return;
        }
        commands_write_usage(text, &table[i]);
        (void)fclose(text);
        fputc('*', out);
        write_plain(out, usage);
        fputs("*\n\t", out);
        write_plain(out, table[i].summary);
        fputs(". ", out);
        write_plain(out, table[i].help);
        fprintf(out, "Role: %s.\n\n", commands_role_name(table[i].role));
    }
}
