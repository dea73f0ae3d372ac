/*
 * The fence around each worker, inside that of the process: a worker reads bytes from strangers and needs few
 * system calls, which are listed here; all others fail with EPERM. Files it may open for reading alone. It
 * keeps no capability but CAP_NET_RAW, where a group's source needs that. What the whole process may do is
 * daemon/sandbox.c's. Posted on the control thread, put in force on each worker's own.
 */
#include "daemon/sandbox.h"

#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SHUNT_SANITIZED /* a sanitizer has needs of its own */
static const char *const allowed[] = {
    /* sockets and pipes */
    "connect", "accept4", "bind", "shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername",
    "recvfrom", "recvmsg", "sendto", "sendmsg", "splice", "pipe2", "read", "readv", "write", "writev",
    "close", "fcntl", "ioctl", "lseek", "fstat", "newfstatat",
    /* waiting, and other threads of this process */
    "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "poll", "ppoll", "futex", "eventfd2",
    "timerfd_settime", "restart_syscall", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres",
    "gettimeofday", "time", "sched_yield", "sched_getaffinity", "getcpu", "rseq", "set_robust_list",
    "membarrier",
    /* memory */
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "sysinfo",
    /* itself: its end, its signals, a failed assertion */
    "exit", "exit_group", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "getpid", "gettid",
    "tgkill", "getuid", "geteuid", "getgid", "getegid", "getrandom",
    /* the last worker of a service takes its Unix path away */
    "unlink"};

static int allow_sockets(scmp_filter_ctx filter)
{
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(families) / sizeof(families[0]); i++) {
        const struct scmp_arg_cmp family = {
            .arg = 0, .op = SCMP_CMP_EQ, .datum_a = (scmp_datum_t)families[i]};
        rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, &family);
    }
    return rc;
}

static int allow_reading(scmp_filter_ctx filter)
{
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
    return rc == 0 ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
                                      SCMP_A1(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY))
                   : rc;
}
#endif

/* 0 or a negative errno. */
static int filter_system_calls(void)
{
#ifdef SHUNT_SANITIZED
    return 0;
#else
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return -ENOMEM;
    }
    int rc = allow_sockets(filter);
    rc = rc == 0 ? allow_reading(filter) : rc;
    for (size_t i = 0; rc == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        int number = seccomp_syscall_resolve_name(allowed[i]);
        if (number != __NR_SCMP_ERROR) {
            rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        }
    }
    if (rc == 0) {
        rc = seccomp_load(filter);
    }
    seccomp_release(filter);
    return rc == -ENOSYS || rc == -EINVAL ? 0 : rc; /* a kernel without it */
#endif
}

/* Of those that this thread has. */
static int drop_capabilities(void)
{
    const cap_value_t kept = CAP_NET_RAW;
    cap_flag_value_t has = CAP_CLEAR;
    cap_t now = cap_get_proc();
    cap_t set = cap_init();
    int rc = now != NULL && set != NULL && cap_get_flag(now, kept, CAP_EFFECTIVE, &has) == 0 ? 0 : -1;
    if (rc == 0 && has == CAP_SET) {
        rc = cap_set_flag(set, CAP_PERMITTED, 1, &kept, CAP_SET);
        rc = rc == 0 ? cap_set_flag(set, CAP_EFFECTIVE, 1, &kept, CAP_SET) : rc;
    }
    rc = rc == 0 ? cap_set_proc(set) : rc;
    int code = errno;
    (void)cap_free(now);
    (void)cap_free(set);
    return rc == 0 ? 0 : -code;
}

int sandbox_confine_thread(bool keep_capabilities)
{
    int rc = keep_capabilities ? 0 : drop_capabilities();
    return rc == 0 ? filter_system_calls() : rc;
}

static void confine_worker(struct worker *worker, void *context)
{
    int rc = sandbox_confine_thread(context != NULL);
    if (rc != 0) {
        log_line(LOG_LEVEL_ERROR, "a worker could not be confined, the process's own fences stand",
                 LOG_UINT("worker", worker_index(worker)), LOG_TEXT("why", strerror(-rc)));
    }
}

int sandbox_enter_workers(const struct config *config, struct worker_pool *pool, struct err_text *err)
{
    static char keep; /* only its address counts */
    if (!config->sandbox) {
        return 0;
    }
    /* Who runs as root without `user` may need root's rights to reach the backends' Unix paths. */
    int rc =
        worker_pool_call(pool, confine_worker, NULL, config->user == NULL && geteuid() == 0 ? &keep : NULL);
    return rc == 0 ? 0 : err_set(err, rc, "out of memory while confining the workers");
}
