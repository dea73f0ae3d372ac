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

/* All words that may follow a command, services apart. */
static void write_following(FILE *out, const struct command *command)
{
    for (const struct command_arg *arg = command->args; arg->type != COMMAND_ARG_END; arg++) {
        write_words(out, arg);
    }
    fputs(command->changes ? " reason" : " --json", out);
}

/* What is asked of the daemon for a command's first arguments: levels of the awk program below, or n for the
 * names of commands. */
static const char *asked_levels(const struct command *command)
{
    switch (command->args[0].type) {
    case COMMAND_ARG_SERVICE:
        return command->args[1].type == COMMAND_ARG_GROUP ? "10" : "1";
    case COMMAND_ARG_BACKEND:
        return "3";
    case COMMAND_ARG_VICTIM:
        return "23";
    case COMMAND_ARG_COMMAND:
        return "n";
    default:
        return "";
    }
}

/* How a shell writes a call of the function that asks, and the names of the commands. */
struct shell {
    const char *call, *end, *names;
};

/* All that may stand behind a command. */
static void write_offered(FILE *out, const struct shell *shell, const struct command *command)
{
    for (const char *level = asked_levels(command); *level != '\0'; level++) {
        const char *between = level[1] != '\0' ? " " : "";
        if (*level == 'n') {
            fprintf(out, "%s%s", shell->names, between);
        } else {
            fprintf(out, "%s%c%s%s", shell->call, *level, shell->end, between);
        }
    }
    write_following(out, command);
}

/* Names as status shows them. */
static const char awk_program[] =
    "        # only what needs no quotes is offered\n"
    "        function tell(level, text) { if (level == depth && text !~ /[^][A-Za-z0-9._:\\/@%-]/) print "
    "text }\n"
    "        /^(├─|└─) / { group = $2; tell(0, group); tell(2, service \"/\" group); next }\n"
    "        /^│  (├─|└─) / { tell(3, service \"/\" group \"/\" $3); next }\n"
    "        /^   (├─|└─) / { tell(3, service \"/\" group \"/\" $2); next }\n"
    "        /^[^ ]+ .* share=/ { service = $1; tell(1, service) }'\n";

static const char levels_comment[] =
    "# Names as status shows them: 0 groups alone, 1 services, 2 SERVICE/GROUP, 3 SERVICE/GROUP/BACKEND.\n";

/* Addresses have colons, at which bash parts words: the line is parted anew, at blanks only. */
static const char bash_head[] = "_shuntctl() {\n"
                                "    local line=${COMP_LINE:0:COMP_POINT} words=\"\" at=1 names\n"
                                "    local -a typed to=()\n"
                                "    read -ra typed <<< \"$line\"\n"
                                "    case $line in *[[:blank:]]) typed+=(\"\") ;; esac\n"
                                "    local last=$((${#typed[@]} - 1))\n"
                                "    local word=${typed[last]}\n"
                                "    while [ \"$at\" -lt \"$last\" ]; do\n"
                                "        case ${typed[at]} in\n"
                                "        -s) to=(-s \"${typed[at + 1]}\"); at=$((at + 2)) ;;\n"
                                "        -s?*) to=(\"${typed[at]}\"); at=$((at + 1)) ;;\n"
                                "        --json) at=$((at + 1)) ;;\n"
                                "        *) break ;;\n"
                                "        esac\n"
                                "    done\n"
                                "    names=\"";

static const char bash_tail[] =
    "        esac\n    fi\n"
    "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
    "    case $COMP_WORDBREAKS in *:*) COMPREPLY=(\"${COMPREPLY[@]#\"${word%\"${word##*:}\"}\"}\") ;; esac\n"
    "}\n"
    "complete -F _shuntctl shuntctl\n";

static void write_bash(FILE *out)
{
    static const struct shell shell = {"$(_shuntctl_places ", ")", "$names"};
    const struct command *table = commands_table();
    fprintf(out,
            "# bash completion for shuntctl, made from the command table.\n%s_shuntctl_places() {\n"
            "    LC_ALL=C.UTF-8 shuntctl \"${to[@]}\" status 2>/dev/null | awk -v depth=\"$1\" '\n%s}\n%s",
            levels_comment, awk_program, bash_head);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "%s%s", i > 0 ? " " : "", table[i].name);
    }
    fputs("\"\n"
          "    if [ \"${typed[last - 1]}\" = -s ]; then\n"
          "        COMPREPLY=($(compgen -f -- \"$word\"))\n"
          "        return\n"
          "    fi\n"
          "    if [ \"$last\" -le \"$at\" ]; then\n"
          "        words=\"-s --json $names\"\n"
          "    else\n        case ${typed[at]} in\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "        %s) words=\"", table[i].name);
        write_offered(out, &shell, &table[i]);
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

static const char zsh_head[] = ")\n"
                               "while (( at < CURRENT )); do\n"
                               "    case $words[at] in\n"
                               "    -s) to=(-s \"${(Q)words[at + 1]}\"); (( at += 2 )) ;;\n"
                               "    -s?*) to=(\"${(Q)words[at]}\"); (( at += 1 )) ;;\n"
                               "    --json) (( at += 1 )) ;;\n"
                               "    *) break ;;\n"
                               "    esac\n"
                               "done\n"
                               "if [[ $words[CURRENT-1] == -s ]]; then\n    _files\n    return\nfi\n"
                               "if (( CURRENT <= at )); then\n"
                               "    _describe command known\n    compadd -- -s --json\n    return\nfi\n"
                               "case $words[at] in\n";

static void write_zsh(FILE *out)
{
    static const struct shell shell = {"$(_shuntctl_places ", ")", "${known%%:*}"};
    const struct command *table = commands_table();
    fprintf(out,
            "#compdef shuntctl\n# zsh completion for shuntctl, made from the command table.\n"
            "%s_shuntctl_places() {\n"
            "    LC_ALL=C.UTF-8 shuntctl \"${to[@]}\" status 2>/dev/null | awk -v depth=\"$1\" '\n%s}\n"
            "local -a known to\nlocal at=2\nto=()\nknown=(\n",
            levels_comment, awk_program);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "    '%s:", table[i].name);
        write_quoted(out, table[i].summary);
        fputs("'\n", out);
    }
    fputs(zsh_head, out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "%s) compadd -- ", table[i].name);
        write_offered(out, &shell, &table[i]);
        fputs(" ;;\n", out);
    }
    fputs("esac\n", out);
}

static const char fish_head[] =
    "# The command among the words before the cursor; nothing: there is none yet.\n"
    "function __shuntctl_command\n"
    "    set -l typed (commandline -opc)\n"
    "    set -l at 2\n"
    "    while test $at -le (count $typed)\n"
    "        switch $typed[$at]\n"
    "            case -s\n"
    "                set at (math $at + 2)\n"
    "            case '-s*' --json\n"
    "                set at (math $at + 1)\n"
    "            case '*'\n"
    "                echo $typed[$at]\n"
    "                return\n"
    "        end\n"
    "    end\n"
    "end\n"
    "function __shuntctl_at\n"
    "    set -l found (__shuntctl_command)\n"
    "    test \"$found\" = \"$argv[1]\"\n"
    "end\n"
    "complete -c shuntctl -f\n"
    "complete -c shuntctl -s s -r -F -d 'the admin socket'\n"
    "complete -c shuntctl -n '__shuntctl_at \"\"' -l json -d 'JSON instead of text'\n";

static void write_fish(FILE *out)
{
    static const struct shell shell = {"(__shuntctl_places ", ")", "(__shuntctl_names)"};
    const struct command *table = commands_table();
    fprintf(out,
            "# fish completion for shuntctl, made from the command table.\n%s"
            "function __shuntctl_places\n"
            "    set -l typed (commandline -opc)\n"
            "    set -l to (string match -- '-s?*' $typed)\n"
            "    if set -l at (contains -i -- -s $typed); and test $at -lt (count $typed)\n"
            "        set to -s $typed[(math $at + 1)]\n"
            "    end\n"
            "    LC_ALL=C.UTF-8 shuntctl $to status 2>/dev/null | awk -v depth=$argv[1] '\n%send\nfunction "
            "__shuntctl_names\n    printf '%%s\\n'",
            levels_comment, awk_program);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, " %s", table[i].name);
    }
    fprintf(out, "\nend\n%s", fish_head);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "complete -c shuntctl -n '__shuntctl_at \"\"' -a %s -d '", table[i].name);
        write_quoted(out, table[i].summary);
        fprintf(out, "'\ncomplete -c shuntctl -n '__shuntctl_at %s' -a '", table[i].name);
        write_offered(out, &shell, &table[i]);
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
