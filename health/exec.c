/*
 * The probe by a command: exit status 0 passes. The command runs in a process group of its own with nothing
 * but descriptors 0 to 2 and a few words of environment; at the timeout, and when it ends with children left
 * behind, the whole group is killed. Reaped by its pidfd, so nobody else's children are touched and no signal
 * is needed. Never blocks. Control thread.
 */
#include "health/probe_internal.h"

#include "core/bytes.h"
#include "core/clock.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_KEPT_BYTES 4096u
#define READS_A_TURN 16u
#define FAREWELL_MS 100
#define ENVIRONMENT_MAX 8u

struct probe {
    struct probe_spec spec;
    struct event *exit_event;   /* owned; the pidfd */
    struct event *output_event; /* owned */
    struct event *timer;        /* owned; the timeout, and what ended within start */
    pid_t pid;                  /* leader of the group; 0: none, or reaped */
    int pidfd, output;          /* -1: none */
    bool reported;              /* at the timeout; the command is dying */
    bool ended_in_start;
    enum probe_outcome outcome;
    char reason[PROBE_REASON_MAX];
    size_t kept_len;
    char kept[OUTPUT_KEPT_BYTES]; /* what the command said first */
};

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* The leader is not reaped yet, so its number cannot be anybody else's. */
static void kill_group(const struct probe *probe)
{
    if (probe->pid > 0) {
        (void)kill(-probe->pid, SIGKILL);
    }
}

/* Takes the exit status, when there is one. */
static bool reap(struct probe *probe, siginfo_t *info)
{
    memset(info, 0, sizeof(*info));
    int rc = waitid(P_PIDFD, (id_t)probe->pidfd, info, WEXITED | WNOHANG);
    if (rc == 0 && info->si_pid == 0) {
        return false;
    }
    (void)event_del(probe->exit_event);
    close_fd(&probe->pidfd);
    probe->pid = 0;
    return true;
}

static void stop_listening(struct probe *probe)
{
    (void)event_del(probe->timer);
    (void)event_del(probe->output_event);
    close_fd(&probe->output);
}

/* Last: the callee may start or destroy the probe. */
static void report(struct probe *probe, enum probe_outcome outcome, const char *text)
{
    char reason[PROBE_REASON_MAX];
    (void)snprintf(reason, sizeof(reason), "%s", text);
    stop_listening(probe);
    const struct probe_result result = {.outcome = outcome, .reason = reason};
    probe->spec.done(probe->spec.context, &result);
}

/* The first line of what it said, for people. */
static void append_output(const struct probe *probe, char *reason, size_t size)
{
    size_t len = strlen(reason);
    size_t line = 0;
    while (line < probe->kept_len && probe->kept[line] != '\n' && probe->kept[line] != '\r') {
        line++;
    }
    if (line > 0 && size - len > 16) {
        (void)snprintf(reason + len, size - len, ": ");
        bytes_escape(probe->kept, line, reason + len + 2, size - len - 2);
    }
}

static void read_output(struct probe *probe)
{
    char bytes[4096];
    for (unsigned i = 0; i < READS_A_TURN; i++) {
        ssize_t n = read(probe->output, bytes, sizeof(bytes));
        if (n <= 0) {
            if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
                (void)event_del(probe->output_event);
                close_fd(&probe->output);
            }
            return;
        }
        if (probe->spec.trace != NULL && probe->kept_len < sizeof(probe->kept)) {
            probe->spec.trace(probe->spec.context, PROBE_TRACED_RECEIVED, bytes, (size_t)n);
        }
        size_t part = sizeof(probe->kept) - probe->kept_len;
        part = part < (size_t)n ? part : (size_t)n;
        memcpy(probe->kept + probe->kept_len, bytes, part);
        probe->kept_len += part;
    }
}

static void on_output(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    read_output(arg);
}

static void on_exit_event(evutil_socket_t fd, short what, void *arg)
{
    struct probe *probe = arg;
    siginfo_t info;
    (void)fd;
    (void)what;
    kill_group(probe); /* whoever it left behind */
    if (!reap(probe, &info)) {
        return;
    }
    if (probe->reported) {
        probe->reported = false;
        return;
    }
    if (probe->output >= 0) {
        read_output(probe);
    }
    char reason[PROBE_REASON_MAX];
    bool passed = info.si_code == CLD_EXITED && info.si_status == 0;
    if (info.si_code == CLD_EXITED) {
        (void)snprintf(reason, sizeof(reason), "exit status %d", info.si_status);
    } else {
        const char *name = sigabbrev_np(info.si_status);
        (void)snprintf(reason, sizeof(reason), "killed by SIG%s", name != NULL ? name : "?");
    }
    append_output(probe, reason, sizeof(reason));
    report(probe, passed ? PROBE_PASSED : PROBE_FAILED, reason);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct probe *probe = arg;
    (void)fd;
    (void)what;
    if (probe->ended_in_start) {
        probe->ended_in_start = false;
        report(probe, probe->outcome, probe->reason);
        return;
    }
    char timeout[32];
    char reason[PROBE_REASON_MAX];
    kill_group(probe);
    probe->reported = true; /* it is reaped by on_exit_event */
    clock_format_duration(probe->spec.timeout_us, timeout, sizeof(timeout));
    (void)snprintf(reason, sizeof(reason), "killed after %s", timeout);
    append_output(probe, reason, sizeof(reason));
    report(probe, PROBE_FAILED, reason);
}

/* ---- starting */

struct environment {
    char text[ENVIRONMENT_MAX][512];
    char *list[ENVIRONMENT_MAX + 1];
};

static void put(struct environment *environment, unsigned *n, const char *name, const char *value)
{
    (void)snprintf(environment->text[*n], sizeof(environment->text[0]), "%s=%s", name, value);
    environment->list[*n] = environment->text[*n];
    environment->list[++*n] = NULL;
}

static void fill_environment(const struct probe *probe, struct environment *environment)
{
    const struct probe_spec *spec = &probe->spec;
    char address[ADDR_TEXT_MAX];
    char port[8];
    unsigned n = 0;
    const char *path = getenv("PATH");
    addr_format(&spec->address, address, sizeof(address));
    if (!addr_is_unix(&spec->address)) {
        /* The host alone: what stands before the last colon, without brackets. */
        *strrchr(address, ':') = '\0';
        size_t len = strlen(address);
        if (address[0] == '[' && address[len - 1] == ']') {
            memmove(address, address + 1, len - 2);
            address[len - 2] = '\0';
        }
    }
    (void)snprintf(port, sizeof(port), "%u",
                   addr_is_unix(&spec->address) ? 0u : (unsigned)addr_port(&spec->address));
    put(environment, &n, "PATH", path != NULL ? path : "/usr/local/bin:/usr/bin:/bin");
    put(environment, &n, "SHUNT_SERVICE", spec->service);
    put(environment, &n, "SHUNT_GROUP", spec->group);
    put(environment, &n, "SHUNT_BACKEND", spec->backend);
    put(environment, &n, "SHUNT_ADDRESS", address);
    put(environment, &n, "SHUNT_PORT", port);
}

/* Returns 0 or an errno. output: the writing end. */
static int spawn(struct probe *probe, int output)
{
    const struct config_health *config = probe->spec.means->config;
    struct environment environment;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all;
    sigset_t none;
    char **arguments = calloc(config->exec.command_len + 1, sizeof(char *));
    if (arguments == NULL) {
        return ENOMEM;
    }
    memcpy((void *)arguments, (void *)config->exec.command, config->exec.command_len * sizeof(char *));
    fill_environment(probe, &environment);
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    int rc = posix_spawn_file_actions_init(&actions);
    rc = rc != 0 ? rc : posix_spawnattr_init(&attributes);
    if (rc == 0) {
        rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
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
                     : posix_spawnp(&probe->pid, arguments[0], &actions, &attributes, arguments,
                                    environment.list);
        (void)posix_spawn_file_actions_destroy(&actions);
        (void)posix_spawnattr_destroy(&attributes);
    }
    free((void *)arguments);
    return rc;
}

/* Events for what was started. Returns 0 or an errno. */
static int watch(struct probe *probe)
{
    struct timeval timeout = {.tv_sec = (time_t)(probe->spec.timeout_us / CLOCK_US_PER_S),
                              .tv_usec = (suseconds_t)(probe->spec.timeout_us % CLOCK_US_PER_S)};
    probe->pidfd = open_pidfd(probe->pid);
    if (probe->pidfd < 0) {
        return errno;
    }
    bool good = event_assign(probe->exit_event, probe->spec.base, probe->pidfd, EV_READ | EV_PERSIST,
                             on_exit_event, probe) == 0 &&
                event_assign(probe->output_event, probe->spec.base, probe->output, EV_READ | EV_PERSIST,
                             on_output, probe) == 0 &&
                event_add(probe->exit_event, NULL) == 0 && event_add(probe->output_event, NULL) == 0 &&
                evtimer_add(probe->timer, &timeout) == 0;
    return good ? 0 : ENOMEM;
}

/* Waits a moment for what was killed. A process that even SIGKILL does not end is left to init. */
static void bury(struct probe *probe)
{
    siginfo_t info;
    kill_group(probe);
    if (probe->pid > 0 && probe->pidfd < 0) {
        (void)waitpid(probe->pid, NULL, 0); /* just started, and just killed */
        probe->pid = 0;
    } else if (probe->pid > 0) {
        struct pollfd dead = {.fd = probe->pidfd, .events = POLLIN};
        (void)poll(&dead, 1, FAREWELL_MS);
        (void)reap(probe, &info);
    }
    (void)event_del(probe->exit_event);
    close_fd(&probe->pidfd);
    stop_listening(probe);
}

static int launch(struct probe *probe)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return errno;
    }
    int rc = spawn(probe, ends[1]);
    (void)close(ends[1]);
    probe->output = ends[0];
    if (rc != 0) {
        probe->pid = 0;
        return rc;
    }
    (void)fcntl(probe->output, F_SETFL, O_NONBLOCK);
    return watch(probe);
}

static void end_in_start(struct probe *probe, enum probe_outcome outcome)
{
    probe->outcome = outcome;
    probe->ended_in_start = true;
    event_active(probe->timer, EV_TIMEOUT, 0);
}

static void start(struct probe *probe)
{
    char text[64];
    assert(!probe->ended_in_start);
    probe->kept_len = 0;
    if (probe->pid > 0) {
        (void)snprintf(probe->reason, sizeof(probe->reason), "the last command cannot be killed");
        end_in_start(probe, PROBE_FAILED);
        return;
    }
    int rc = launch(probe);
    if (rc != 0) {
        bury(probe);
        (void)snprintf(probe->reason, sizeof(probe->reason), "cannot run \"%.64s\": %s",
                       probe->spec.means->config->exec.command[0], strerror_r(rc, text, sizeof(text)));
        end_in_start(probe, probe_is_shortage(rc) || rc == EAGAIN ? PROBE_SKIPPED : PROBE_FAILED);
    }
}

static void destroy(struct probe *probe)
{
    if (probe->exit_event != NULL && probe->output_event != NULL && probe->timer != NULL) {
        bury(probe);
    }
    struct event *const events[] = {probe->exit_event, probe->output_event, probe->timer};
    for (size_t i = 0; i < 3; i++) {
        if (events[i] != NULL) {
            event_free(events[i]);
        }
    }
    free(probe);
}

static int create(const struct probe_spec *spec, struct probe **out)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    if (probe == NULL) {
        return ERR_NOMEM;
    }
    probe->spec = *spec;
    probe->pidfd = -1;
    probe->output = -1;
    probe->exit_event = event_new(spec->base, -1, 0, on_exit_event, probe);
    probe->output_event = event_new(spec->base, -1, 0, on_output, probe);
    probe->timer = evtimer_new(spec->base, on_timer, probe);
    if (probe->exit_event == NULL || probe->output_event == NULL || probe->timer == NULL) {
        destroy(probe);
        return ERR_NOMEM;
    }
    *out = probe;
    return 0;
}

const struct probe_type probe_exec = {.create = create, .start = start, .destroy = destroy};
