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
    if (arg->type == COMMAND_ARG_FORCE) {
        fprintf(out, " %s", arg->name);
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

/* What is asked of the daemon for a command's first arguments, as shell functions of the head below. */
static const char *asked_words(const struct command *command)
{
    switch (command->args[0].type) {
    case COMMAND_ARG_SERVICE:
        return command->args[1].type == COMMAND_ARG_GROUP ? "$(_shuntctl_places 1) $(_shuntctl_places 0)"
                                                          : "$(_shuntctl_places 1)";
    case COMMAND_ARG_BACKEND:
        return "$(_shuntctl_places 3)";
    case COMMAND_ARG_VICTIM:
        return "$(_shuntctl_places 2) $(_shuntctl_places 3)";
    case COMMAND_ARG_COMMAND:
        return "$commands";
    default:
        return "";
    }
}

/* Addresses have colons, at which bash parts words: the line is parted anew, at blanks only. */
static const char bash_head[] =
    "# bash completion for shuntctl, made from the command table.\n"
    "# Names as status shows them: 0 groups alone, 1 services, 2 SERVICE/GROUP, 3 SERVICE/GROUP/BACKEND.\n"
    "_shuntctl_places() {\n"
    "    shuntctl \"${to[@]}\" status 2>/dev/null | awk -v depth=\"$1\" '\n"
    "        # compgen expands what it is given: only what needs no quotes is offered\n"
    "        function tell(level, text) { if (level == depth && text !~ /[^][A-Za-z0-9._:\\/@%-]/) print "
    "text }\n"
    "        /^(├─|└─) / { group = $2; tell(0, group); tell(2, service \"/\" group); next }\n"
    "        /^│  (├─|└─) / { tell(3, service \"/\" group \"/\" $3); next }\n"
    "        /^   (├─|└─) / { tell(3, service \"/\" group \"/\" $2); next }\n"
    "        /^[^ ]+ .* share=/ { service = $1; tell(1, service) }'\n"
    "}\n"
    "_shuntctl() {\n"
    "    local line=${COMP_LINE:0:COMP_POINT} words=\"\" at=1 commands\n"
    "    local -a typed to=()\n"
    "    read -ra typed <<< \"$line\"\n"
    "    case $line in *[[:blank:]]) typed+=(\"\") ;; esac\n"
    "    local last=$((${#typed[@]} - 1))\n"
    "    local word=${typed[last]}\n"
    "    if [ \"${typed[1]}\" = -s ]; then\n"
    "        at=3\n"
    "        to=(-s \"${typed[2]}\")\n"
    "    fi\n"
    "    commands=\"";

static const char bash_tail[] =
    "        esac\n    fi\n"
    "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
    "    case $COMP_WORDBREAKS in *:*) COMPREPLY=(\"${COMPREPLY[@]#\"${word%\"${word##*:}\"}\"}\") ;; esac\n"
    "}\n"
    "complete -F _shuntctl shuntctl\n";

static void write_bash(FILE *out)
{
    const struct command *table = commands_table();
    fputs(bash_head, out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "%s%s", i > 0 ? " " : "", table[i].name);
    }
    fputs("\"\n"
          "    if [ \"$at\" -eq 3 ] && [ \"$last\" -eq 2 ]; then\n"
          "        COMPREPLY=($(compgen -f -- \"$word\"))\n"
          "        return\n"
          "    fi\n"
          "    if [ \"$last\" -le \"$at\" ]; then\n"
          "        words=\"-s $commands\"\n"
          "    else\n        case ${typed[at]} in\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "        %s) words=\"%s", table[i].name, asked_words(&table[i]));
        write_following(out, &table[i]);
        fputs("\" ;;\n", out);
    }
    fputs(bash_tail, out);
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
