/*
 * Runs one command: posix_spawn, pipes, a pidfd for its end. Reaped by the pidfd, so nobody else's children
 * are touched, no signal handler is needed, and none is left a zombie. Control thread. What a command means
 * is its caller's business.
 */
#include "core/process.h"

#include "core/bytes.h"
#include "core/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READS_A_TURN 16u
#define FAREWELL_MS 100 /* for a killed process to be gone */

struct process {
    struct process_spec spec;
    struct event *ended;  /* owned: the pidfd */
    struct event *output; /* owned */
    struct event *feed;   /* owned: its input */
    struct event *timer;  /* owned */
    pid_t pid;            /* leader of the group; 0: never ran, or reaped */
    int pidfd, from, to;  /* -1: none */
    char cannot[160];     /* why it never ran; empty: it did */
    int error;            /* the same; 0: it did */
    bool late;            /* its time is over, it was killed */
    bool lives;           /* and that was told before it was gone */
    char *input;          /* owned */
    size_t fed;
    size_t kept_len;
    char kept[PROCESS_OUTPUT_MAX + 1];
};

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void drop_event(struct event **event)
{
    if (*event != NULL) {
        event_free(*event);
        *event = NULL;
    }
}

/* The leader is not reaped yet, so its number cannot be anybody else's. */
static void kill_group(const struct process *process)
{
    if (process->pid > 0) {
        (void)kill(-process->pid, SIGKILL);
    }
}

static bool reap(struct process *process, siginfo_t *info)
{
    memset(info, 0, sizeof(*info));
    if (process->pid <= 0) {
        return true;
    }
    if (process->pidfd < 0) { /* just started, and killed */
        (void)waitpid(process->pid, NULL, 0);
    } else if (waitid(P_PIDFD, (id_t)process->pidfd, info, WEXITED | WNOHANG) == 0 && info->si_pid == 0) {
        return false;
    }
    process->pid = 0;
    return true;
}

static void stop_talking(struct process *process)
{
    drop_event(&process->output);
    drop_event(&process->feed);
    drop_event(&process->timer);
    close_fd(&process->from);
    close_fd(&process->to);
}

static void destroy(struct process *process)
{
    stop_talking(process);
    drop_event(&process->ended);
    close_fd(&process->pidfd);
    explicit_bzero(process->kept, sizeof(process->kept)); /* it may be a pass phrase */
    free(process->input);
    free(process);
}

/* ---- what it says, and what it is told */

static void read_output(struct process *process)
{
    char bytes[4096];

    for (unsigned i = 0; i < READS_A_TURN && process->from >= 0; i++) {
        ssize_t n = read(process->from, bytes, sizeof(bytes));
        size_t part = PROCESS_OUTPUT_MAX - process->kept_len;

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            drop_event(&process->output);
            close_fd(&process->from);
            return;
        }
        part = part < (size_t)n ? part : (size_t)n;
        memcpy(process->kept + process->kept_len, bytes, part);
        process->kept_len += part;
    }
}

static void on_output(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    read_output(context);
}

static void on_feed(evutil_socket_t fd, short what, void *context)
{
    struct process *process = context;
    ssize_t n;

    (void)what;
    n = write(fd, process->input + process->fed, process->spec.input_len - process->fed);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    process->fed += n > 0 ? (size_t)n : 0;
    if (n < 0 || process->fed == process->spec.input_len) { /* or it does not want to know */
        drop_event(&process->feed);
        close_fd(&process->to);
    }
}

/* ---- its end */

/* The first line of what it said, as printable text. */
static void append_output(const struct process *process, char *words, size_t size)
{
    size_t len = strlen(words);
    size_t line = 0;

    while (line < process->kept_len && process->kept[line] != '\n' && process->kept[line] != '\r') {
        line++;
    }
    if (line > 0 && size - len > 16) {
        words[len++] = ':';
        words[len++] = ' ';
        bytes_escape(process->kept, line, words + len, size - len);
    }
}

/* Tells the caller; last, since it may start another. */
static void report(struct process *process, const char *words, bool passed)
{
    struct process_result result = {
        .passed = passed, .output = process->kept, .error = process->error, .lives = process->lives};
    void (*done)(void *context, const struct process_result *result) = process->spec.done;

    snprintf(result.words, sizeof(result.words), "%s", words);
    append_output(process, result.words, sizeof(result.words));
    process->kept[process->kept_len] = '\0';
    process->spec.done = NULL;
    done(process->spec.context, &result);
}

static void describe_end(const struct process *process, const siginfo_t *info, char *out, size_t size)
{
    char limit[32];
    const char *name = sigabbrev_np(info->si_status);

    if (process->late) {
        clock_format_duration(process->spec.timeout_us, limit, sizeof(limit));
        snprintf(out, size, "killed after %s", limit);
    } else if (info->si_code == CLD_EXITED) {
        snprintf(out, size, "exit status %d", info->si_status);
    } else {
        snprintf(out, size, "killed by SIG%s", name != NULL ? name : "?");
    }
}

static void on_ended(evutil_socket_t fd, short what, void *context)
{
    struct process *process = context;
    siginfo_t info;
    char words[64];

    (void)fd;
    (void)what;
    kill_group(process); /* whoever it left behind */
    if (!reap(process, &info)) {
        return;
    }
    drop_event(&process->ended);
    if (process->spec.done != NULL) {
        read_output(process);
        describe_end(process, &info, words, sizeof(words));
        stop_talking(process);
        report(process, words, !process->late && info.si_code == CLD_EXITED && info.si_status == 0);
    } else if (process->spec.gone != NULL) {
        process->spec.gone(process->spec.context);
    }
    destroy(process);
}

/* Its time is over, or it never ran. What is killed is mostly gone in a moment, and told then. */
static void on_timer(evutil_socket_t fd, short what, void *context)
{
    static const struct timeval farewell = {.tv_usec = FAREWELL_MS * 1000L};
    struct process *process = context;
    char words[64];

    (void)fd;
    (void)what;
    if (process->pid == 0) {
        report(process, process->cannot, false);
        destroy(process);
        return;
    }
    kill_group(process); /* on_ended reaps and frees */
    if (!process->late && event_add(process->timer, &farewell) == 0) {
        process->late = true;
        return;
    }
    process->late = true;
    process->lives = true;
    describe_end(process, &(siginfo_t){.si_code = 0}, words, sizeof(words));
    stop_talking(process);
    report(process, words, false);
}

pid_t process_pid(const struct process *process)
{
    return process->pid;
}

void process_cancel(struct process *process)
{
    siginfo_t info;

    process->spec.done = NULL;
    kill_group(process);
    stop_talking(process);
    drop_event(&process->ended);
    if (process->pid > 0 && process->pidfd >= 0) {
        struct pollfd dead = {.fd = process->pidfd, .events = POLLIN};

        (void)poll(&dead, 1, FAREWELL_MS);
    }
    (void)reap(process, &info); /* one that even SIGKILL does not end is left to init */
    destroy(process);
}

/* ---- its start */

/* 0, or the errno for which the file cannot be run. */
static int examine(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0) {
        return errno;
    }
    if (!S_ISREG(status.st_mode)) {
        return EACCES;
    }
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

/* The folders of PATH one after another, as posix_spawnp goes through them. */
static int examine_in_path(const char *name)
{
    const char *folder = getenv("PATH");
    int found = ENOENT;

    for (folder = folder != NULL ? folder : "/bin:/usr/bin"; folder != NULL && found != 0;) {
        char path[PATH_MAX];
        size_t len = strcspn(folder, ":");
        int n = snprintf(path, sizeof(path), "%.*s%s%s", (int)len, folder, len > 0 ? "/" : "", name);
        int rc = n > 0 && (size_t)n < sizeof(path) ? examine(path) : ENAMETOOLONG;

        found = rc == 0 || rc == EACCES ? rc : found;
        folder = folder[len] == ':' ? folder + len + 1 : NULL;
    }
    return found;
}

bool process_can_run(const char *command, char *why, size_t why_size)
{
    char text[64];
    int rc = strchr(command, '/') != NULL ? examine(command) : examine_in_path(command);

    snprintf(why, why_size, "%s",
             rc == 0        ? ""
             : rc == EACCES ? "not executable"
             : rc == ENOENT ? "no such program"
                            : strerror_r(rc, text, sizeof(text)));
    return rc == 0;
}

/* Returns 0 or an errno. */
static int spawn(struct process *process, int input, int output)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all;
    sigset_t none;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc != 0) {
        return rc;
    }
    rc = posix_spawnattr_init(&attributes);
    if (rc != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    rc = posix_spawn_file_actions_adddup2(&actions, input, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, output, 1);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, output, 2);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    rc = rc != 0 ? rc : posix_spawnattr_setpgroup(&attributes, 0);
    rc = rc != 0 ? rc : posix_spawnattr_setsigdefault(&attributes, &all);
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(&attributes, &none);
    rc = rc != 0 ? rc
                 : posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                                             POSIX_SPAWN_SETSIGMASK);
    rc = rc != 0 ? rc
                 : posix_spawnp(&process->pid, process->spec.arguments[0], &actions, &attributes,
                                process->spec.arguments, process->spec.environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    return rc;
}

/* What the command will have as 0 and 1, and our ends of it. Returns 0 or an errno; nothing is left then. */
static int open_pipes(struct process *process, int *input, int *output)
{
    int in[2] = {-1, -1};
    int out[2];

    if (process->spec.input == NULL) {
        in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    if (process->spec.input == NULL ? in[0] < 0 : pipe2(in, O_CLOEXEC) != 0) {
        return errno;
    }
    if (pipe2(out, O_CLOEXEC) != 0) {
        int error = errno;

        close_fd(&in[0]);
        close_fd(&in[1]);
        return error;
    }
    *input = in[0];
    process->to = in[1];
    process->from = out[0];
    *output = out[1];
    if (process->to >= 0) {
        (void)fcntl(process->to, F_SETFL, O_NONBLOCK);
    }
    (void)fcntl(process->from, F_SETFL, O_NONBLOCK);
    return 0;
}

/* Events for a command that runs, or for telling that it does not. */
static bool watch(struct process *process)
{
    struct event_base *base = process->spec.base;
    uint64_t wait_us = process->pid > 0 ? process->spec.timeout_us : 0;
    struct timeval limit = {.tv_sec = (time_t)(wait_us / CLOCK_US_PER_S),
                            .tv_usec = (suseconds_t)(wait_us % CLOCK_US_PER_S)};

    process->timer = event_new(base, -1, 0, on_timer, process);
    if (process->timer == NULL || event_add(process->timer, &limit) != 0) {
        return false;
    }
    if (process->pid == 0) {
        return true;
    }
    process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
    if (process->pidfd < 0) {
        return false;
    }
    process->ended = event_new(base, process->pidfd, EV_READ | EV_PERSIST, on_ended, process);
    process->output = event_new(base, process->from, EV_READ | EV_PERSIST, on_output, process);
    if (process->ended == NULL || process->output == NULL || event_add(process->ended, NULL) != 0 ||
        event_add(process->output, NULL) != 0) {
        return false;
    }
    if (process->spec.input_len == 0) {
        close_fd(&process->to);
        return true;
    }
    process->feed = event_new(base, process->to, EV_WRITE | EV_PERSIST, on_feed, process);
    return process->feed != NULL && event_add(process->feed, NULL) == 0;
}

int process_start(const struct process_spec *spec, struct process **out)
{
    struct process *process = calloc(1, sizeof(*process));
    char text[64];
    int input = -1;
    int output = -1;
    int rc;

    if (process == NULL) {
        return ERR_NOMEM;
    }
    process->spec = *spec;
    process->pidfd = process->from = process->to = -1;
    process->input = malloc(spec->input_len + 1);
    if (process->input == NULL || open_pipes(process, &input, &output) != 0) {
        rc = process->input == NULL ? ERR_NOMEM : ERR_SYSTEM;
        destroy(process);
        return rc;
    }
    if (spec->input_len > 0) {
        memcpy(process->input, spec->input, spec->input_len);
    }
    rc = spawn(process, input, output);
    if (rc != 0) {
        process->pid = 0;
        process->error = rc;
        snprintf(process->cannot, sizeof(process->cannot), "cannot run \"%.80s\": %s", spec->arguments[0],
                 strerror_r(rc, text, sizeof(text)));
    }
    close(input);
    close(output);
    if (!watch(process)) {
        process_cancel(process);
        return ERR_NOMEM;
    }
    *out = process;
    return 0;
}
