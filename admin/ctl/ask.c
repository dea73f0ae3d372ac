/*
 * One command to the daemon: the words as a line, the reply printed as it comes, its meaning as an exit code.
 * `wait` and `watch` last, so they are asked again when the daemon is replaced under them. What a daemon says
 * is cleaned before a terminal sees it. One thread.
 */
#include "admin/commands.h"
#include "admin/ctl/ctl.h"
#include "admin/ctl/replay.h"
#include "admin/tokens.h"
#include "core/clock.h"
#include "core/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ERROR_PREFIX "error: "
#define AGAIN_FOR_US (30 * CLOCK_US_PER_S)    /* a daemon that is replaced or started anew is back by then */
#define AGAIN_STOPPED_US (5 * CLOCK_US_PER_S) /* one that said that it stops: a restart is sooner */
#define AGAIN_FIRST_US (100 * CLOCK_US_PER_MS)
#define AGAIN_SLOWEST_US (2 * CLOCK_US_PER_S)
#define STAYED_US CLOCK_US_PER_S /* a daemon that hangs up sooner was not back */
#define BROKEN_OFF (-1)
#define MISSED_MAX "1000" /* as many as events gives */

/* What is said about a command that lasts. */
struct asking {
    const char *path;
    char **words; /* borrowed; the one at timeout_at is replaced */
    bool is_wait, is_watch;
    bool stops;          /* the daemon said so */
    bool again;          /* it was asked before */
    struct replay shown; /* of a watch */
    size_t timeout_at;   /* index of wait's TIMEOUT; 0: none */
    uint64_t until_us;   /* when that is over; monotonic, CLOCK_NEVER */
    uint64_t give_up_us; /* while no daemon stays; CLOCK_NEVER: one did */
    uint64_t pause_us;
    char timeout[32];
};

int ctl_no_daemon(const char *path, int number)
{
    if (number == EACCES || number == EPERM) {
        fprintf(stderr, "shuntctl: not permitted to ask the daemon at %s: %s\n", path, strerror(number));
        return EXIT_NOT_PERMITTED;
    }
    fprintf(stderr, "shuntctl: no daemon at %s: %s\n", path, strerror(number));
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
    fputs("shuntctl: ", stderr);
    ctl_say(stderr, message, strlen(message));
    if (starts_with(message, "usage: ") || starts_with(message, "unknown command ")) {
        return EXIT_USAGE;
    }
    return starts_with(message, "not permitted") ? EXIT_NOT_PERMITTED : EXIT_REFUSED;
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

/* Prints the reply line by line as it comes, up to its empty line. BROKEN_OFF: that did not come; *code is
 * what the lines before it meant. */
static int print_reply(FILE *in, struct asking *asking, int *code)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    bool first = true;
    bool complete = false;
    while (!complete && (length = getline(&line, &size, in)) > 0) {
        if (strcmp(line, "\n") == 0) {
            complete = true;
        } else if ((asking->is_wait || asking->is_watch) && strcmp(line, COMMANDS_STOPS "\n") == 0) {
            asking->stops = true;
            break;
        } else if (starts_with(line, ERROR_PREFIX)) {
            *code = ctl_refused(line);
        } else {
            *code = asking->is_wait && first ? wait_result(line) : *code;
            ctl_say(stdout, line, (size_t)length);
            if (asking->is_watch) {
                replay_note(&asking->shown, line);
            }
            /* Flushed at once: whoever follows a stream sees each line when it happens. */
            if (ferror(stdout) || fflush(stdout) != 0) {
                free(line);
                return ctl_finish(EXIT_REFUSED);
            }
        }
        first = false;
    }
    free(line);
    /* The result of a wait is one line: that is all that was asked for. */
    return complete || (asking->is_wait && !first) ? ctl_finish(*code) : BROKEN_OFF;
}

/* The commands: for a stream that broke off, first what happened meanwhile. Owned by the caller. */
static char *write_commands(const struct asking *asking, size_t *length)
{
    char *text = NULL;
    char *line = join_words(asking->words, length);
    if (line == NULL || !asking->again || !asking->is_watch) {
        return line;
    }
    const char *rest = line + strcspn(line, " \n"); /* the service, --json */
    int rc = asprintf(&text, "events%.*s " MISSED_MAX "\n%s", (int)strcspn(rest, "\n"), rest, line);
    free(line);
    *length = rc < 0 ? 0 : (size_t)rc;
    return rc < 0 ? NULL : text;
}

/* Reads the first of the replies and prints what of it is new. False: it broke off. */
static bool print_missed(FILE *in, struct asking *asking)
{
    char *text = NULL;
    char *missed = NULL;
    char *line = NULL;
    size_t size = 0, text_len = 0, missed_len = 0;
    ssize_t length = 0;
    FILE *reply = open_memstream(&text, &text_len);
    FILE *out = open_memstream(&missed, &missed_len);
    while (reply != NULL && (length = getline(&line, &size, in)) > 0 && strcmp(line, "\n") != 0) {
        (void)fwrite(line, 1, (size_t)length, reply);
    }
    free(line);
    if (reply != NULL && fclose(reply) == 0 && out != NULL && !starts_with(text, ERROR_PREFIX)) {
        replay_write_missed(&asking->shown, text, out);
    }
    if (out != NULL && fclose(out) == 0) {
        char *rest = missed;
        for (char *one = strsep(&rest, "\n"); rest != NULL; one = strsep(&rest, "\n")) {
            ctl_say(stdout, one, strlen(one));
            fputc('\n', stdout);
            replay_note(&asking->shown, one);
        }
    }
    free(text);
    free(missed);
    return length > 0;
}

/* Sends the words and prints what comes. Takes over fd. */
static int ask_once(struct asking *asking, int fd, int *code)
{
    size_t length = 0;
    char *line = write_commands(asking, &length);
    FILE *in = fdopen(fd, "r");
    asking->stops = false;
    *code = EXIT_DONE;
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
    bool whole = !asking->again || !asking->is_watch || print_missed(in, asking);
    int result = whole ? print_reply(in, asking, code) : BROKEN_OFF;
    asking->again = true;
    free(line);
    (void)fclose(in);
    return result;
}

/* Sees whether the command lasts, and until when. */
static void prepare(struct asking *asking)
{
    uint64_t duration_us = 0;
    size_t place = 0;
    asking->is_wait = strcmp(asking->words[0], "wait") == 0;
    asking->is_watch = strcmp(asking->words[0], "watch") == 0;
    asking->until_us = CLOCK_NEVER;
    asking->give_up_us = CLOCK_NEVER;
    replay_begin(&asking->shown, clock_wall_us());
    for (size_t i = 1; asking->is_wait && asking->words[i] != NULL; i++) {
        place += strcmp(asking->words[i], "--json") != 0;
        if (place == 2 && asking->timeout_at == 0 &&
            units_parse_duration(asking->words[i], &duration_us) == 0) {
            asking->timeout_at = i;
            asking->until_us = clock_mono_us() + duration_us;
        }
    }
}

/* The daemon must not wait longer than was asked for in all. False: that time is over. */
static bool shorten(struct asking *asking)
{
    uint64_t now_us = clock_mono_us();
    if (asking->timeout_at > 0 && now_us >= asking->until_us) {
        return false;
    }
    if (asking->timeout_at > 0) {
        uint64_t left_ms = (asking->until_us - now_us) / CLOCK_US_PER_MS + 1;
        (void)snprintf(asking->timeout, sizeof(asking->timeout), "%" PRIu64 "ms", left_ms);
        asking->words[asking->timeout_at] = asking->timeout;
    }
    return true;
}

static void pause_for(uint64_t time_us)
{
    const struct timespec span = {.tv_sec = (time_t)(time_us / CLOCK_US_PER_S),
                                  .tv_nsec = (long)(time_us % CLOCK_US_PER_S) * 1000};
    (void)nanosleep(&span, NULL);
}

/* Returns a socket to a daemon that is there again, or -1 with errno when it is given up. */
static int connect_again(struct asking *asking)
{
    for (;;) {
        pause_for(asking->pause_us);
        asking->pause_us = asking->pause_us < AGAIN_SLOWEST_US / 2 ? asking->pause_us * 2 : AGAIN_SLOWEST_US;
        int fd = ctl_connect(asking->path);
        uint64_t now_us = clock_mono_us();
        if (fd >= 0 || now_us >= asking->give_up_us || now_us >= asking->until_us) {
            return fd;
        }
    }
}

/* After a connection that was there since began_us has broken off. */
static void note_break(struct asking *asking, uint64_t began_us)
{
    uint64_t now_us = clock_mono_us();
    if (asking->stops) {
        asking->give_up_us = now_us + AGAIN_STOPPED_US;
        asking->pause_us = AGAIN_FIRST_US;
        fputs("shuntctl: the daemon stops: looking for up to 5s whether it is started anew\n", stderr);
    } else if (asking->give_up_us == CLOCK_NEVER || now_us - began_us >= STAYED_US) {
        asking->give_up_us = now_us + AGAIN_FOR_US;
        asking->pause_us = AGAIN_FIRST_US;
        fputs("shuntctl: the daemon closed the connection: trying again for up to 30s\n", stderr);
    }
}

static int timed_out(const struct asking *asking)
{
    bool json = false;
    for (size_t i = 1; asking->words[i] != NULL; i++) {
        json = json || strcmp(asking->words[i], "--json") == 0;
    }
    fputs(json ? "{\"result\":\"timeout\"}\n" : "timeout\n", stdout);
    return ctl_finish(EXIT_TIMED_OUT);
}

int ctl_ask(int fd, const char *path, char **words)
{
    struct asking asking = {.path = path, .words = words};
    prepare(&asking);
    for (;;) {
        int code = EXIT_DONE;
        uint64_t began_us = clock_mono_us();
        int result = ask_once(&asking, fd, &code);
        if (result != BROKEN_OFF) {
            return result;
        }
        bool lasts = (asking.is_wait || asking.is_watch) && code == EXIT_DONE;
        if (lasts) {
            note_break(&asking, began_us);
        }
        if (!lasts || clock_mono_us() >= asking.give_up_us) {
            fputs("shuntctl: the daemon closed the connection before the reply was complete\n", stderr);
            return code == EXIT_DONE ? EXIT_NO_DAEMON : code;
        }
        fd = connect_again(&asking);
        if (!shorten(&asking)) {
            if (fd >= 0) {
                (void)close(fd);
            }
            return timed_out(&asking);
        }
        if (fd < 0) {
            return ctl_no_daemon(path, errno);
        }
    }
}
