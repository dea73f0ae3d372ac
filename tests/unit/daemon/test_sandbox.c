/*
 * What a confined worker can still do, and what not. The confinement cannot be taken back, so it is put on a
 * child process, which tells by its exit status.
 */
#include "daemon/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs one thing in a confined child; true when it says so. */
static bool confined(bool (*thing)(void))
{
    pid_t child = fork();
    if (child == 0) {
        bool ready = prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) == 0 && sandbox_confine_thread(false) == 0;
        _exit(ready && thing() ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool moves_bytes(void)
{
    int pair[2];
    int pipe_fds[2];
    char buffer[8];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 && errno == EPERM && /* it never needs one */
           pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) == 0 && write(pipe_fds[1], "bytes", 5) == 5 &&
           read(pipe_fds[0], buffer, sizeof(buffer)) == 5 && fcntl(pipe_fds[1], F_SETPIPE_SZ, 131072) > 0 &&
           close(pipe_fds[0]) == 0;
}

static bool has_sockets(void)
{
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int unix_path = socket(AF_UNIX, SOCK_STREAM, 0);
    return tcp >= 0 && unix_path >= 0 && socket(AF_NETLINK, SOCK_RAW, 0) < 0 && errno == EPERM;
}

static bool gets_memory(void)
{
    char *much = malloc((size_t)8 << 20);
    if (much == NULL) {
        return false;
    }
    memset(much, 1, (size_t)8 << 20);
    free(much);
    return true;
}

static bool reads_only(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0 && open("/dev/null", O_WRONLY) < 0 && errno == EPERM && open("/dev/null", O_RDWR) < 0 &&
           errno == EPERM && open("/tmp", O_TMPFILE | O_RDWR, 0600) < 0 && errno == EPERM &&
           mkdir("/tmp/shunt-never", 0700) < 0 && errno == EPERM && chmod("/dev/null", 0666) < 0 &&
           errno == EPERM && rename("/tmp/shunt-never", "/tmp/shunt-nowhere") < 0 && errno == EPERM;
}

static bool starts_nothing(void)
{
    static char name[] = "true";
    char *const words[] = {name, NULL};
    return fork() < 0 && errno == EPERM && execv("/bin/true", words) < 0 && errno == EPERM &&
           kill(getppid(), 0) < 0 && errno == EPERM && prctl(PR_GET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L) < 0 &&
           errno == EPERM;
}

static bool is_nobody_special(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    /* Asked through the kernel's list of what it may, which it may not read either. */
    return capget(&header, data) < 0 && errno == EPERM && setuid(0) < 0 && errno == EPERM;
}

/* Where the filter is left out the capabilities go all the same. */
static bool has_no_capabilities(void)
{
    char line[4096];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, line, sizeof(line) - 1) : -1;
    if (n <= 0) {
        return false;
    }
    line[n] = '\0';
    const char *at = strstr(line, "CapEff:");
    return at != NULL && (strtoull(at + 7, NULL, 16) & ~(UINT64_C(1) << CAP_NET_RAW)) == 0;
}

static void what_carrying_traffic_needs(void **state)
{
    (void)state;
    assert_true(confined(gets_memory));
    assert_true(confined(has_no_capabilities));
#ifndef SHUNT_SANITIZED
    assert_true(confined(moves_bytes));
    assert_true(confined(has_sockets));
#else
    (void)moves_bytes;
    (void)has_sockets;
#endif
}

static void and_nothing_else(void **state)
{
    (void)state;
#ifndef SHUNT_SANITIZED
    assert_true(confined(reads_only));
    assert_true(confined(starts_nothing));
    assert_true(confined(is_nobody_special));
#else
    (void)reads_only;
    (void)starts_nothing;
    (void)is_nobody_special;
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_carrying_traffic_needs),
        cmocka_unit_test(and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
