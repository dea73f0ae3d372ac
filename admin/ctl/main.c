/*
 * shuntctl: sends one command to a daemon's admin socket, prints the reply, and says by its exit code how it
 * went. It knows the command table only for help when no daemon answers: what is possible, and to whom, is
 * the daemon's decision. One thread (TLS has another, see tunnel.c).
 */
#include "admin/commands.h"
#include "admin/ctl/ctl.h"
#include "admin/ctl/watch.h"
#include "admin/tokens.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_DEFAULT "/run/shunt/admin.sock"
#define ERROR_PREFIX "error: "

static void write_usage(FILE *out)
{
    fputs("usage: shuntctl [-s SOCKET] COMMAND…\n"
          "  -s SOCKET    the daemon's admin socket; else $SHUNT_SOCKET, else " SOCKET_DEFAULT "\n"
          "               tls://HOST:PORT: a daemon elsewhere, with the files in $SHUNT_CERT, $SHUNT_KEY, "
          "$SHUNT_CA\n"
          "  --version    prints the version\n"
          "  --help       prints this and the commands\n"
          "exit codes: 0 done, 1 refused, 64 usage, 69 no daemon at the socket, 77 not permitted;\n"
          "  wait: 0 completed, 3 rolled back, 4 paused, 124 timed out\n",
          out);
}

static int usage_error(const char *what, const char *word)
{
    fprintf(stderr, "shuntctl: %s%s\n", what, word);
    write_usage(stderr);
    return EXIT_USAGE;
}

/* Output that did not arrive is a failure, also when it is only seen at the end. A reader that had enough, as
 * head(1) has, is told nothing. */
static int finish(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (errno != EPIPE) {
            fprintf(stderr, "shuntctl: cannot write the output: %s\n", strerror(errno));
        }
        return EXIT_REFUSED;
    }
    return code;
}

/* The command line as the protocol wants it. Owned by the caller, NULL without memory. */
static char *join_words(char **words, size_t *length)
{
    char *line = NULL;
    FILE *out = open_memstream(&line, length);
    if (out == NULL) {
        return NULL;
    }
    for (size_t i = 0; words[i] != NULL; i++) {
        if (i > 0) {
            fputc(' ', out);
        }
        tokens_quote(out, words[i]);
    }
    fputc('\n', out);
    if (fclose(out) != 0) {
        free(line);
        return NULL;
    }
    return line;
}

static int connect_error(const char *path, int number)
{
    fprintf(stderr, "shuntctl: no daemon at %s: %s\n", path, strerror(number));
    if (number == EACCES || number == EPERM) {
        return EXIT_NOT_PERMITTED;
    }
    fputs("          is shuntd running, and is this its admin.socket? (-s SOCKET or $SHUNT_SOCKET)\n",
          stderr);
    return EXIT_NO_DAEMON;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

int ctl_refused(const char *line)
{
    const char *message = line + (starts_with(line, ERROR_PREFIX) ? strlen(ERROR_PREFIX) : 0);
    fprintf(stderr, "shuntctl: %s", message);
    if (starts_with(message, "usage: ") || starts_with(message, "unknown command ")) {
        return EXIT_USAGE;
    }
    return starts_with(message, "not permitted") ? EXIT_NOT_PERMITTED : EXIT_REFUSED;
}

/* What the reply of `wait` means, as a word or as JSON. */
static int wait_result(const char *line)
{
    static const struct {
        const char *text, *json;
        int code;
    } results[] = {
        {"completed\n", "{\"result\":\"completed\"}\n", EXIT_DONE},
        {"rolled-back\n", "{\"result\":\"rolled-back\"}\n", EXIT_ROLLED_BACK},
        {"paused\n", "{\"result\":\"paused\"}\n", EXIT_PAUSED},
        {"timeout\n", "{\"result\":\"timeout\"}\n", EXIT_TIMED_OUT},
    };
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        if (strcmp(line, results[i].text) == 0 || strcmp(line, results[i].json) == 0) {
            return results[i].code;
        }
    }
    return EXIT_REFUSED;
}

/* Prints the reply line by line as it comes, up to its empty line. */
static int print_reply(FILE *in, bool is_wait)
{
    char *line = NULL;
    size_t size = 0;
    int code = EXIT_DONE;
    bool first = true;
    bool complete = false;
    while (!complete && getline(&line, &size, in) > 0) {
        if (strcmp(line, "\n") == 0) {
            complete = true;
        } else if (starts_with(line, ERROR_PREFIX)) {
            code = ctl_refused(line);
        } else {
            code = is_wait && first ? wait_result(line) : code;
            /* Flushed at once: whoever follows a stream sees each line when it happens. */
            if (fputs(line, stdout) == EOF || fflush(stdout) != 0) {
                free(line);
                return finish(EXIT_REFUSED);
            }
        }
        first = false;
    }
    free(line);
    if (!complete) {
        fputs("shuntctl: the daemon closed the connection before the reply was complete\n", stderr);
        return code == EXIT_DONE ? EXIT_NO_DAEMON : code;
    }
    return finish(code);
}

/* Help from the table that this program was built with. */
static int local_help(const char *name)
{
    const struct command *command = name != NULL ? commands_find(name) : NULL;
    if (name != NULL && command == NULL) {
        return usage_error("unknown command ", name);
    }
    if (command != NULL) {
        commands_write_help(stdout, command);
    } else {
        write_usage(stdout);
        commands_write_list(stdout, COMMAND_ROLE_ADMIN);
    }
    return finish(EXIT_DONE);
}

/* `watch [SERVICE]` on a terminal; elsewhere, and with --json, it is the daemon's stream of lines. */
static bool is_view(char **words)
{
    return strcmp(words[0], "watch") == 0 && (words[1] == NULL || (words[1][0] != '-' && words[2] == NULL)) &&
           isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static int run(const char *path, char **words)
{
    size_t length = 0;
    int fd = ctl_connect(path);
    if (fd < 0) {
        bool plain_help = strcmp(words[0], "help") == 0 && (words[1] == NULL || words[2] == NULL);
        return plain_help ? local_help(words[1]) : connect_error(path, errno);
    }
    if (is_view(words)) {
        return watch_run(fd, path, words[1]);
    }
    char *line = join_words(words, &length);
    FILE *in = fdopen(fd, "r");
    if (line == NULL || in == NULL) {
        fputs("shuntctl: out of memory\n", stderr);
        free(line);
        (void)close(fd);
        return EXIT_REFUSED;
    }
    /* A daemon that refuses a line while it is sent has said why before it closed: read that in any case. */
    bool sent = ctl_send_all(fd, line, length);
    if (sent) {
        (void)shutdown(fd, SHUT_WR);
    }
    int code = print_reply(in, strcmp(words[0], "wait") == 0);
    free(line);
    (void)fclose(in);
    return code;
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

int main(int argc, char **argv)
{
    const char *path = getenv("SHUNT_SOCKET");
    int at = 1;
    (void)signal(SIGPIPE, SIG_IGN);
    path = path != NULL && *path != '\0' ? path : SOCKET_DEFAULT;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--version") == 0) {
            fputs("shuntctl " SHUNT_VERSION "\n", stdout);
            return finish(EXIT_DONE);
        }
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            return local_help(NULL);
        }
        if (strncmp(argv[at], "-s", 2) != 0) {
            return usage_error("unknown option ", argv[at]);
        }
        if (argv[at][2] != '\0') {
            path = argv[at] + 2;
        } else if (++at < argc) {
            path = argv[at];
        } else {
            return usage_error("-s needs a socket", "");
        }
    }
    if (at >= argc) {
        return usage_error("which command?", "");
    }
    if (bad_word(argv + at) != NULL) {
        return usage_error("a word is not UTF-8 or has control bytes in it", "");
    }
    for (int i = at + 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            return local_help(argv[at]);
        }
    }
    return run(path, argv + at);
}
