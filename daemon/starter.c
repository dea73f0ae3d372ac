/*
 * The process that starts the next program, and its handle. The child has one thread, reads requests from a
 * socket pair and looks after the one process that it started; everything else it closes. Parent: control
 * thread.
 */
#include "daemon/starter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHANNEL_AT 3 /* the descriptor's number in the new program */

enum request { REQUEST_START = 1, REQUEST_KILL };

struct starter {
    int fd;
    pid_t pid;
};

/* ---- the child */

struct child {
    char *const *argv;
    int fd;
    pid_t pid; /* what it started and has not seen the end of; 0: none */
    int pidfd;
};

static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE};

static void tell(const struct child *self, enum starter_news news, int value)
{
    const struct starter_report report = {.news = news, .value = value};
    (void)send(self->fd, &report, sizeof(report), MSG_NOSIGNAL);
}

/* In the new process. Only returns when the program cannot be run. */
static void become(const struct child *self, int channel)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%d", (int)getpid());
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        (void)signal(ignored[i], SIG_DFL);
    }
    if (getenv("WATCHDOG_PID") != NULL) {
        (void)setenv("WATCHDOG_PID", text, 1);
    }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    (void)snprintf(text, sizeof(text), "%d", CHANNEL_AT);
    if (setenv(STARTER_CHANNEL, text, 1) == 0 &&
        (channel == CHANNEL_AT ? fcntl(channel, F_SETFD, 0) : dup2(channel, CHANNEL_AT)) >= 0) {
        (void)execvp(self->argv[0], self->argv);
    }
}

/* The pipe closes with the exec; an errno in it says that there was none. */
static void start(struct child *self, int channel)
{
    int word[2];
    int cause = 0;
    if (self->pid != 0 || pipe2(word, O_CLOEXEC) != 0) {
        tell(self, STARTER_FAILED, self->pid != 0 ? EBUSY : errno);
        return;
    }
    /* Above the place where the channel goes. */
    int writer = fcntl(word[1], F_DUPFD_CLOEXEC, CHANNEL_AT + 1);
    int far = fcntl(channel, F_DUPFD_CLOEXEC, CHANNEL_AT + 1);
    (void)close(word[1]);
    self->pid = writer >= 0 && far >= 0 ? fork() : -1;
    if (self->pid == 0) {
        become(self, far);
        cause = errno;
        (void)!write(writer, &cause, sizeof(cause));
        _exit(127);
    }
    cause = self->pid < 0 ? errno : 0;
    (void)close(writer);
    (void)close(far);
    if (self->pid > 0 && read(word[0], &cause, sizeof(cause)) == (ssize_t)sizeof(cause)) {
        (void)waitpid(self->pid, NULL, 0);
        self->pid = 0;
    }
    (void)close(word[0]);
    self->pid = cause != 0 ? 0 : self->pid;
    self->pidfd = self->pid > 0 ? (int)syscall(SYS_pidfd_open, self->pid, 0) : -1;
    tell(self, cause != 0 ? STARTER_FAILED : STARTER_STARTED, cause != 0 ? cause : (int)self->pid);
}

static void look_after(struct child *self)
{
    int status = 0;
    if (self->pid > 0 && waitpid(self->pid, &status, WNOHANG) == self->pid) {
        (void)close(self->pidfd);
        self->pidfd = -1;
        self->pid = 0;
        tell(self, STARTER_ENDED, status);
    }
}

/* False when the program is gone. */
static bool serve(struct child *self)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    uint32_t request = 0;
    struct iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(self->fd, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *rights = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (n <= 0) {
        return n < 0 && errno == EINTR;
    }
    if (request == REQUEST_KILL && self->pid > 0) {
        (void)kill(self->pid, SIGKILL);
    } else if (request == REQUEST_START && rights != NULL && rights->cmsg_type == SCM_RIGHTS) {
        int channel = -1;
        memcpy(&channel, CMSG_DATA(rights), sizeof(channel));
        start(self, channel);
        (void)close(channel);
    }
    return true;
}

static _Noreturn void live(char *const *argv, int fd)
{
    struct child self = {.argv = argv, .fd = CHANNEL_AT, .pidfd = -1};
    (void)prctl(PR_SET_NAME, "shunt-starter", 0L, 0L, 0L);
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
    if (fd != CHANNEL_AT && dup2(fd, CHANNEL_AT) < 0) {
        _exit(1);
    }
    (void)fcntl(CHANNEL_AT, F_SETFD, FD_CLOEXEC);
    (void)syscall(SYS_close_range, (unsigned)CHANNEL_AT + 1, ~0u, 0u);
    for (;;) {
        struct pollfd both[] = {{.fd = self.fd, .events = POLLIN}, {.fd = self.pidfd, .events = POLLIN}};
        (void)poll(both, self.pidfd >= 0 ? 2 : 1, -1);
        look_after(&self);
        if (both[0].revents != 0 && !serve(&self)) {
            _exit(0);
        }
    }
}

/* ---- the parent */

int starter_create(char *const *argv, struct starter **out, struct err_text *err)
{
    int pair[2];
    struct starter *starter = calloc(1, sizeof(*starter));
    if (starter == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        free(starter);
        return err_set_errno(err, "cannot prepare for upgrades");
    }
    starter->pid = fork();
    if (starter->pid == 0) {
        (void)close(pair[0]);
        live(argv, pair[1]);
    }
    (void)close(pair[1]);
    starter->fd = pair[0];
    if (starter->pid < 0) {
        (void)err_set_errno(err, "cannot prepare for upgrades");
        (void)close(starter->fd);
        free(starter);
        return ERR_SYSTEM;
    }
    *out = starter;
    return 0;
}

void starter_destroy(struct starter *starter)
{
    if (starter != NULL) {
        (void)close(starter->fd);
        (void)waitpid(starter->pid, NULL, 0);
        free(starter);
    }
}

int starter_fd(const struct starter *starter)
{
    return starter->fd;
}

static int ask(const struct starter *starter, uint32_t request, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
    }
    return sendmsg(starter->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

int starter_start(struct starter *starter, int channel, struct err_text *err)
{
    return ask(starter, REQUEST_START, channel) == 0
               ? 0
               : err_set(err, ERR_UNAVAILABLE,
                         "the process that starts programs is gone (%s): a restart brings it back",
                         strerror(errno));
}

void starter_kill(struct starter *starter)
{
    (void)(ask(starter, REQUEST_KILL, -1) == 0);
}

struct starter_report starter_read(struct starter *starter)
{
    struct starter_report report = {.news = STARTER_NONE};
    ssize_t n = recv(starter->fd, &report, sizeof(report), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        return (struct starter_report){.news = STARTER_GONE};
    }
    return n == (ssize_t)sizeof(report) ? report : (struct starter_report){.news = STARTER_NONE};
}

void starter_describe_end(int status, char *out, size_t out_size)
{
    const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    if (name != NULL) {
        (void)snprintf(out, out_size, " (killed by SIG%s)", name);
    } else {
        (void)snprintf(out, out_size, " (exit status %d)", WEXITSTATUS(status));
    }
}
