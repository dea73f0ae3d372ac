/*
 * shuntctl watch on a terminal: asks the daemon once a second over one connection, draws what the layout
 * gives, and turns keys into commands. Leaving it changes nothing. One thread, one poll loop; signals only
 * set flags.
 */
#include "admin/ctl/watch.h"
#include "admin/ctl/ctl.h"
#include "admin/tokens.h"
#include "core/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ASK_EVERY_US CLOCK_US_PER_S
#define NOTICE_US (8 * CLOCK_US_PER_S)
#define SILENT_AFTER_US (3 * CLOCK_US_PER_S)
#define EVENTS_ASKED 60
#define QUEUE_MAX 16u
#define REPLY_MAX_BYTES ((size_t)64 << 20)

enum asked { ASKED_FIGURES, ASKED_COMMAND };

struct watch {
    const char *socket_path;
    const char *only; /* the one service asked for; NULL: all */
    struct watch_model model;
    int fd;                      /* -1: the daemon is gone */
    enum asked queue[QUEUE_MAX]; /* replies that are to come, in order */
    size_t queue_len;
    char *input; /* what has come and is no whole reply yet; owned */
    size_t input_len, input_room;
    uint64_t ask_due_us, answered_us; /* when figures are due, and came last */
    char *refusal;    /* owned; the very first question was refused: there is nothing to show */
    char chosen[128]; /* the service that keys act on; empty: none yet */
    char notice[512]; /* empty: the keys are shown */
    uint64_t notice_until_us;
    char pending[16]; /* the command that waits for "yes"; empty: none */
    char typed[8];
    bool ascii, colour, over, dirty;
    bool silent; /* the notice says that no answer comes */
    struct termios before;
};

static volatile sig_atomic_t resized;
static volatile sig_atomic_t stopped;
static volatile sig_atomic_t suspended;

static void on_resize(int number)
{
    (void)number;
    resized = 1;
}

static void on_stop(int number)
{
    (void)number;
    stopped = 1;
}

static void on_suspend(int number)
{
    (void)number;
    suspended = 1;
}

/* ---- the terminal */

static void terminal_begin(struct watch *watch)
{
    struct termios raw = watch->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs("\033[?1049h\033[?25l", stdout); /* the other screen, no cursor */
}

static void terminal_end(const struct watch *watch)
{
    fputs("\033[?25h\033[?1049l", stdout);
    (void)fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &watch->before);
}

/* Ctrl-Z: the shell gets its screen back; with fg the view does. */
static void suspend(struct watch *watch)
{
    suspended = 0;
    terminal_end(watch);
    (void)raise(SIGSTOP);
    terminal_begin(watch);
    watch->dirty = true;
}

/* Writes a line with its signs in colour. */
static void paint(const struct watch *watch, const char *line, size_t length)
{
    static const struct {
        const char *sign, *colour;
    } colours[] = {{"✔", "32"}, {"✖", "31"}, {"⚠", "33"}, {"◌", "36"}};
    for (size_t i = 0; i < length; i++) {
        const char *colour = NULL;
        for (size_t c = 0; watch->colour && c < sizeof(colours) / sizeof(colours[0]); c++) {
            if (length - i >= 3 && memcmp(line + i, colours[c].sign, 3) == 0) {
                colour = colours[c].colour;
            }
        }
        if (colour != NULL) {
            printf("\033[%sm%.3s\033[0m", colour, line + i);
            i += 2;
        } else {
            fputc(line[i], stdout);
        }
    }
}

static void draw(struct watch *watch)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL) {
        return;
    }
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    const struct watch_look look = {.rows = size.ws_row > 0 ? size.ws_row : 24,
                                    .columns = size.ws_col > 0 ? size.ws_col : 80,
                                    .ascii = watch->ascii,
                                    .service = watch->chosen[0] != '\0' ? watch->chosen : NULL,
                                    .notice = watch->notice[0] != '\0' ? watch->notice : NULL};
    watch_layout(&watch->model, &look, out);
    if (fclose(out) == 0) {
        fputs("\033[H", stdout);
        for (char *line = text; *line != '\0';) {
            size_t n = strcspn(line, "\n");
            bool last = line[n] == '\0' || line[n + 1] == '\0';
            paint(watch, line, n);
            fputs(last ? "\033[K" : "\033[K\r\n", stdout); /* a break in the last line would scroll */
            line += line[n] == '\n' ? n + 1 : n;
        }
        fputs("\033[J", stdout);
        (void)fflush(stdout);
    }
    free(text);
    watch->dirty = false;
}

static void say(struct watch *watch, const char *text)
{
    (void)snprintf(watch->notice, sizeof(watch->notice), "%.*s", (int)strcspn(text, "\n"), text);
    watch->notice_until_us = clock_mono_us() + NOTICE_US;
    watch->dirty = true;
}

/* ---- the daemon */

/* Said again at each attempt: old figures must not look like those of now. */
static void say_gone(struct watch *watch)
{
    watch->pending[0] = '\0';
    say(watch, "the daemon is gone; trying again each second      q quit");
}

static void lose(struct watch *watch)
{
    (void)close(watch->fd);
    watch->fd = -1;
    watch->queue_len = 0;
    watch->input_len = 0;
    say_gone(watch);
}

static void ask(struct watch *watch, enum asked what, const char *line)
{
    if (watch->fd < 0 || watch->queue_len == QUEUE_MAX) {
        return;
    }
    if (!ctl_send_all(watch->fd, line, strlen(line))) {
        lose(watch);
        return;
    }
    watch->queue[watch->queue_len++] = what;
}

/* One line with a service's name, quoted as the protocol wants it. NULL without memory; the caller frees. */
static char *make_line(const char *before, const char *service, const char *after)
{
    char *line = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&line, &length);
    if (out == NULL) {
        return NULL;
    }
    fputs(before, out);
    if (service != NULL) {
        fputc(' ', out);
        tokens_quote(out, service);
    }
    fputs(after, out);
    if (fclose(out) != 0) {
        free(line);
        return NULL;
    }
    return line;
}

static void ask_with(struct watch *watch, enum asked what, const char *before, const char *service,
                     const char *after)
{
    char *line = make_line(before, service, after);
    if (line != NULL) {
        ask(watch, what, line);
    }
    free(line);
}

/* A daemon that is there and says nothing. A question to the operator stays. */
static void say_silent(struct watch *watch, uint64_t now_us)
{
    char text[96];
    uint64_t silent_us = now_us - watch->answered_us;
    if (silent_us >= SILENT_AFTER_US && watch->pending[0] == '\0') {
        (void)snprintf(text, sizeof(text),
                       "the daemon has not answered for %u s: these figures are old      q quit",
                       (unsigned)(silent_us / CLOCK_US_PER_S));
        say(watch, text);
        watch->silent = true;
    }
}

static void ask_figures(struct watch *watch, uint64_t now_us)
{
    char events[32];
    watch->ask_due_us = now_us + ASK_EVERY_US;
    if (watch->fd < 0) {
        watch->fd = ctl_connect(watch->socket_path);
        if (watch->fd < 0) {
            say_gone(watch);
            return;
        }
        watch->answered_us = now_us;
        say(watch, "the daemon is back");
    }
    for (size_t i = 0; i < watch->queue_len; i++) {
        if (watch->queue[i] == ASKED_FIGURES) {
            say_silent(watch, now_us);
            return; /* it has not answered the last time yet */
        }
    }
    ask_with(watch, ASKED_FIGURES, "status --json", watch->only, "\n");
    (void)snprintf(events, sizeof(events), " %d\n", EVENTS_ASKED);
    ask_with(watch, ASKED_FIGURES, "events --json", watch->only, events);
}

static void choose_first(struct watch *watch)
{
    json_t *services = json_object_get(watch->model.status, "services");
    if (watch->chosen[0] == '\0' && (watch->only != NULL || json_array_size(services) == 1)) {
        const char *name = json_string_value(json_object_get(json_array_get(services, 0), "name"));
        (void)snprintf(watch->chosen, sizeof(watch->chosen), "%s", name != NULL ? name : "");
    }
}

static void take_reply(struct watch *watch, char *reply)
{
    enum asked what = watch->queue_len > 0 ? watch->queue[0] : ASKED_COMMAND;
    if (watch->queue_len > 0) {
        memmove(watch->queue, watch->queue + 1, --watch->queue_len * sizeof(watch->queue[0]));
    }
    json_t *json = what == ASKED_FIGURES ? json_loads(reply, 0, NULL) : NULL;
    if (what == ASKED_FIGURES) {
        watch->answered_us = clock_mono_us();
        if (watch->silent) {
            watch->silent = false;
            watch->notice_until_us = 0; /* it answers again */
        }
    }
    if (json == NULL && what == ASKED_FIGURES && watch->model.status == NULL) {
        watch->refusal = watch->refusal != NULL ? watch->refusal : strdup(reply);
        watch->over = true;
    } else if (json == NULL) {
        say(watch, reply);
    } else if (watch_model_take(&watch->model, json)) {
        choose_first(watch);
        watch->dirty = true;
    }
}

/* Takes whole replies out of what has come. */
static void take_input(struct watch *watch)
{
    size_t from = 0;
    for (size_t i = 0; i < watch->input_len; i++) {
        bool empty_line = watch->input[i] == '\n' && (i == from || watch->input[i - 1] == '\n');
        if (empty_line) {
            watch->input[i] = '\0';
            take_reply(watch, watch->input + from);
            from = i + 1;
        }
    }
    memmove(watch->input, watch->input + from, watch->input_len - from);
    watch->input_len -= from;
}

static void read_daemon(struct watch *watch)
{
    if (watch->input_room - watch->input_len < 65536) {
        size_t room = watch->input_room * 2 + 131072;
        char *grown = room > REPLY_MAX_BYTES ? NULL : realloc(watch->input, room);
        if (grown == NULL) {
            lose(watch);
            return;
        }
        watch->input = grown;
        watch->input_room = room;
    }
    ssize_t n = read(watch->fd, watch->input + watch->input_len, watch->input_room - watch->input_len);
    if (n > 0) {
        watch->input_len += (size_t)n;
        take_input(watch);
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        lose(watch);
    }
}

/* ---- keys */

static void choose_next(struct watch *watch)
{
    json_t *services = json_object_get(watch->model.status, "services");
    size_t n = json_array_size(services);
    size_t next = 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_object_get(json_array_get(services, i), "name"));
        if (name != NULL && strcmp(name, watch->chosen) == 0) {
            next = (i + 1) % n;
        }
    }
    const char *name = json_string_value(json_object_get(json_array_get(services, next), "name"));
    (void)snprintf(watch->chosen, sizeof(watch->chosen), "%s", name != NULL ? name : "");
    watch->dirty = true;
}

static void command(struct watch *watch, const char *verb)
{
    if (watch->chosen[0] == '\0') {
        say(watch, "which service? Tab chooses one");
        return;
    }
    if (watch->fd < 0 || watch->queue_len == QUEUE_MAX) {
        char text[64];
        (void)snprintf(text, sizeof(text), "%s was not sent: no daemon answers", verb);
        say(watch, text);
        return;
    }
    ask_with(watch, ASKED_COMMAND, verb, watch->chosen, "\n");
    watch->ask_due_us = 0;
}

static void show_question(struct watch *watch)
{
    (void)snprintf(watch->notice, sizeof(watch->notice), "%s %s? type yes and Enter, Esc goes back: %s",
                   watch->pending, watch->chosen, watch->typed);
    watch->notice_until_us = CLOCK_NEVER;
    watch->dirty = true;
}

static void ask_first(struct watch *watch, const char *verb)
{
    if (watch->chosen[0] == '\0') {
        say(watch, "which service? Tab chooses one");
        return;
    }
    (void)snprintf(watch->pending, sizeof(watch->pending), "%s", verb);
    watch->typed[0] = '\0';
    show_question(watch);
}

/* A key while "yes" is awaited. */
static void answer_key(struct watch *watch, char key)
{
    size_t length = strlen(watch->typed);
    if (key == '\n' || key == '\r') {
        bool yes = strcmp(watch->typed, "yes") == 0;
        char verb[sizeof(watch->pending)];
        memcpy(verb, watch->pending, sizeof(verb));
        watch->pending[0] = '\0';
        if (yes) {
            watch->notice[0] = '\0';
            command(watch, verb);
        } else {
            say(watch, "not done: that was not yes");
        }
        return;
    }
    if (key == '\033') {
        watch->pending[0] = '\0';
        say(watch, "not done");
        return;
    }
    if ((key == '\b' || key == 0x7f) && length > 0) {
        watch->typed[length - 1] = '\0';
    } else if (key >= 'a' && key <= 'z' && length + 1 < sizeof(watch->typed)) {
        watch->typed[length] = key;
        watch->typed[length + 1] = '\0';
    }
    show_question(watch);
}

static void on_key(struct watch *watch, char key)
{
    if (watch->pending[0] != '\0' && key != 'a') {
        answer_key(watch, key);
        return;
    }
    switch (key) {
    case 'q':
        watch->over = true;
        break;
    case 'a': /* never asks, not even in the middle of a question */
        watch->pending[0] = '\0';
        command(watch, "abort");
        break;
    case 'p':
        command(watch, "pause");
        break;
    case 'r':
        ask_first(watch, "resume");
        break;
    case 's':
        ask_first(watch, "skip");
        break;
    case '\t':
        choose_next(watch);
        break;
    default:
        break;
    }
}

static void read_keys(struct watch *watch)
{
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        watch->over = true; /* the terminal is gone */
    }
    if (n > 1 && keys[0] == '\033') {
        return; /* an arrow or the like */
    }
    for (ssize_t i = 0; i < n && !watch->over; i++) {
        on_key(watch, keys[i]);
    }
}

/* ---- the loop */

static void turn(struct watch *watch, const sigset_t *mask)
{
    uint64_t now_us = clock_mono_us();
    if (now_us >= watch->notice_until_us) {
        watch->notice[0] = '\0';
        watch->notice_until_us = CLOCK_NEVER;
        watch->dirty = true;
    }
    if (now_us >= watch->ask_due_us) {
        ask_figures(watch, now_us);
    }
    if (watch->dirty || resized) {
        resized = 0;
        draw(watch);
    }
    uint64_t left_us = watch->ask_due_us > now_us ? watch->ask_due_us - now_us : 0;
    const struct timespec wait = {.tv_sec = (time_t)(left_us / CLOCK_US_PER_S),
                                  .tv_nsec = (long)(left_us % CLOCK_US_PER_S) * 1000};
    struct pollfd polled[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = watch->fd, .events = POLLIN}};
    int ready = ppoll(polled, 2, &wait, mask);
    if (suspended) {
        suspend(watch);
    }
    if (ready <= 0) {
        return;
    }
    if (polled[1].revents != 0) {
        read_daemon(watch);
    }
    if (polled[0].revents != 0) {
        read_keys(watch);
    }
}

/* Signals arrive only while the loop waits, so that none falls between a look and the wait. mask: for it. */
static void prepare_signals(sigset_t *mask)
{
    static const int stopping[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_resize};
    sigset_t blocked;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGWINCH);
    (void)sigaction(SIGWINCH, &action, NULL);
    action.sa_handler = on_suspend;
    (void)sigaction(SIGTSTP, &action, NULL);
    (void)sigaddset(&blocked, SIGTSTP);
    action.sa_handler = on_stop;
    for (size_t i = 0; i < sizeof(stopping) / sizeof(stopping[0]); i++) {
        (void)sigaction(stopping[i], &action, NULL);
        (void)sigaddset(&blocked, stopping[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &blocked, mask);
}

int watch_run(int fd, const char *socket_path, const char *service)
{
    static struct watch watch;
    const char *terminal = getenv("TERM");
    const char *no_colour = getenv("NO_COLOR");
    sigset_t mask;
    watch.ascii = ctl_is_ascii();
    watch.colour =
        (no_colour == NULL || *no_colour == '\0') && terminal != NULL && strcmp(terminal, "dumb") != 0;
    watch.fd = fd;
    watch.socket_path = socket_path;
    watch.only = service;
    watch.notice_until_us = CLOCK_NEVER;
    if (tcgetattr(STDIN_FILENO, &watch.before) != 0) {
        (void)close(fd);
        return EXIT_REFUSED;
    }
    watch.answered_us = clock_mono_us();
    prepare_signals(&mask);
    terminal_begin(&watch);
    watch.dirty = true;
    while (!watch.over && !stopped) {
        turn(&watch, &mask);
    }
    terminal_end(&watch);
    if (watch.fd >= 0) {
        (void)close(watch.fd);
    }
    int code = watch.refusal != NULL ? ctl_refused(watch.refusal) : EXIT_DONE;
    free(watch.refusal);
    free(watch.input);
    watch_model_clear(&watch.model);
    return code;
}
