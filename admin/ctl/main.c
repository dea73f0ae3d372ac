/*
 * shuntctl: reads its own options and leaves the command to ask.c, or to watch.c on a terminal. It knows the
 * command table only for help when no daemon answers: what is possible, and to whom, is the daemon's
 * decision. One thread (TLS has another, see tunnel.c).
 */
#include "admin/commands.h"
#include "admin/ctl/ctl.h"
#include "admin/ctl/watch.h"
#include "admin/tokens.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_DEFAULT "/run/shunt/admin.sock"

static void write_usage(FILE *out)
{
    fputs("usage: shuntctl [-s SOCKET] [--json] COMMAND…\n"
          "  -s SOCKET    the daemon's admin socket; else $SHUNT_SOCKET, else " SOCKET_DEFAULT "\n"
          "               tls://HOST:PORT: a daemon elsewhere, with the files in $SHUNT_CERT, $SHUNT_KEY, "
          "$SHUNT_CA\n"
          "  --json       JSON instead of text, as after a command that shows something\n"
          "  --version    prints the version\n"
          "  --help       prints this and the commands\n"
          "exit codes: 0 done, 1 refused, 64 usage, 69 no daemon at the socket, 77 not permitted;\n"
          "  wait: 0 completed, 3 rolled back, 4 paused, 124 timed out\n",
          out);
}

/* Writes what is beyond ASCII as the locale has it. command: its help; NULL: the usage, and with list all
 * commands. */
static void write_help(FILE *out, const struct command *command, bool list)
{
    char *text = NULL;
    size_t length = 0;
    FILE *page = open_memstream(&text, &length);
    if (page != NULL && command != NULL) {
        commands_write_help(page, command);
    } else if (page != NULL) {
        write_usage(page);
        if (list) {
            commands_write_list(page, COMMAND_ROLE_ADMIN);
        }
    }
    if (page == NULL || fclose(page) != 0) {
        fputs("shuntctl: out of memory\n", stderr);
    } else {
        ctl_say(out, text, length);
    }
    free(text);
}

static int usage_error(const char *what, const char *word)
{
    fprintf(stderr, "shuntctl: %s%s\n", what, word);
    write_help(stderr, NULL, false);
    return EXIT_USAGE;
}

/* Help from the table that this program was built with. */
static int local_help(const char *name)
{
    const struct command *command = name != NULL ? commands_find(name) : NULL;
    if (name != NULL && command == NULL) {
        return usage_error("unknown command ", name);
    }
    write_help(stdout, command, true);
    return ctl_finish(EXIT_DONE);
}

/* `watch [SERVICE]` on a terminal; elsewhere, and with --json, it is the daemon's stream of lines. */
static bool is_view(char **words)
{
    return strcmp(words[0], "watch") == 0 && (words[1] == NULL || (words[1][0] != '-' && words[2] == NULL)) &&
           isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static int run(const char *path, char **words)
{
    int fd = ctl_connect(path);
    if (fd < 0) {
        bool plain_help = strcmp(words[0], "help") == 0 && (words[1] == NULL || words[2] == NULL);
        return plain_help ? local_help(words[1]) : ctl_no_daemon(path, errno);
    }
    return is_view(words) ? watch_run(fd, path, words[1]) : ctl_ask(fd, path, words);
}

/* A line break in a word would make two commands of it. */
static const char *bad_word(char **words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (!tokens_is_text(words[i], strlen(words[i]))) {
            return words[i];
        }
    }
    return NULL;
}

/* What the words before and among those of the command say to this program. */
struct options {
    const char *path;
    bool json, help, version;
    char **words; /* of the command, ended by NULL; point into argv */
    size_t len;
};

/* Takes -s with its value at argv[*at]. False: it has none. */
static bool take_socket(struct options *options, char **argv, int *at)
{
    const char *value = argv[*at] + 2;
    if (*value == '\0') {
        value = argv[++*at];
    }
    options->path = value;
    return value != NULL && *value != '\0';
}

/* Before the command there are only options of this program. Returns the index behind them, or -1: told. */
static int read_leading(struct options *options, char **argv)
{
    int at = 1;
    for (; argv[at] != NULL && argv[at][0] == '-'; at++) {
        const char *word = argv[at];
        if (strcmp(word, "--") == 0) {
            return at + 1;
        }
        if (strcmp(word, "--version") == 0) {
            options->version = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            options->help = true;
        } else if (strcmp(word, "--json") == 0) {
            options->json = true;
        } else if (strncmp(word, "-s", 2) != 0) {
            (void)usage_error("unknown option (those of a command stand after it) ", word);
            return -1;
        } else if (!take_socket(options, argv, &at)) {
            (void)usage_error("-s needs a socket", "");
            return -1;
        }
    }
    return at;
}

/* Behind the command -s and --help are this program's too, but not where a reason is told. False: told. */
static bool read_command(struct options *options, char **argv, int at)
{
    static char json[] = "--json";
    for (; argv[at] != NULL; at++) {
        bool told = options->len > 0 && strcmp(options->words[options->len - 1], "reason") == 0;
        if (!told && options->len > 0 && strcmp(argv[at], "-s") == 0) {
            if (!take_socket(options, argv, &at)) {
                (void)usage_error("-s needs a socket", "");
                return false;
            }
            continue;
        }
        options->help = options->help || (!told && options->len > 0 && strcmp(argv[at], "--help") == 0);
        options->words[options->len++] = argv[at];
        if (options->json && options->len == 1) {
            options->words[options->len++] = json; /* a reason stands at the end */
        }
    }
    return true;
}

static int run_options(const struct options *options)
{
    if (options->version) {
        fputs("shuntctl " SHUNT_VERSION "\n", stdout);
        return ctl_finish(EXIT_DONE);
    }
    if (options->help) {
        return local_help(options->words[0]);
    }
    if (options->words[0] == NULL) {
        return usage_error("which command?", "");
    }
    if (bad_word(options->words) != NULL) {
        return usage_error("a word is not UTF-8 or has control bytes in it", "");
    }
    return run(options->path, options->words);
}

int main(int argc, char **argv)
{
    const char *path = getenv("SHUNT_SOCKET");
    struct options options = {.path = path != NULL && *path != '\0' ? path : SOCKET_DEFAULT};
    (void)signal(SIGPIPE, SIG_IGN);
    options.words = calloc((size_t)argc + 2, sizeof(*options.words));
    if (options.words == NULL) {
        fputs("shuntctl: out of memory\n", stderr);
        return EXIT_REFUSED;
    }
    int at = argc > 0 ? read_leading(&options, argv) : 0;
    int code = at < 0 || !read_command(&options, argv, at) ? EXIT_USAGE : run_options(&options);
    free(options.words);
    return code;
}
