/*
 * Fences by the kernel: no_new_privs (prctl(2)), a deny list of system calls with libseccomp, and Landlock
 * (landlock(7)) for where files may be made or changed. The list names what no proxy and no hook of one needs
 * and what attacks on a kernel begin with; it is a deny list because hooks are programs of the operator's
 * that inherit it. Control thread.
 */
#include "daemon/sandbox.h"

#include "core/addr.h"
#include "core/confinement.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE /* linux/landlock.h of an older kernel: added in ABI 3 */
#define LANDLOCK_ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_REFER /* added in ABI 2 */
#define LANDLOCK_ACCESS_FS_REFER (UINT64_C(1) << 13)
#endif

#define WRITING                                                                                              \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |        \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |              \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |           \
     LANDLOCK_ACCESS_FS_MAKE_SYM)

/* ---- system calls */

static const char *const denied[] = {
    /* other processes */
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise",
    /* the kernel itself */
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "lookup_dcookie", "syslog",
    "reboot", "iopl", "ioperm", "modify_ldt", "vhangup", "acct", "swapon", "swapoff",
    /* file systems and namespaces */
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount",
    "fspick", "mount_setattr", "setns", "unshare", "open_by_handle_at", "name_to_handle_at", "quotactl",
    "quotactl_fd",
    /* clocks, names, keys */
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "add_key",
    "request_key", "keyctl"};

static int filter_system_calls(struct err_text *err)
{
#ifdef SHUNT_SANITIZED
    (void)denied; /* the leak checker traces its own process */
    (void)err;
    return 0;
#else
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while building the filter of system calls");
    }
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    for (size_t i = 0; rc == 0 && i < sizeof(denied) / sizeof(denied[0]); i++) {
        int number = seccomp_syscall_resolve_name(denied[i]);
        if (number != __NR_SCMP_ERROR) {
            rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
        }
    }
    if (rc == 0) {
        rc = seccomp_load(filter);
    }
    seccomp_release(filter);
    if (rc == -ENOSYS || rc == -EINVAL) {
        return 0; /* a kernel without it */
    }
    return rc == 0 ? 0
                   : err_set(err, ERR_SYSTEM, "cannot load the filter of system calls: %s", strerror(-rc));
#endif
}

/* ---- files */

/* The version of Landlock that the kernel has; below 1: none. */
static long landlock_version(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
}

static bool runs_commands(const struct config *config)
{
    for (size_t s = 0; s < config->services_len; s++) {
        const struct config_service *service = &config->services[s];
        bool runs = service->migration.hooks_len > 0;
        for (size_t c = 0; c < service->tls.certificates_len; c++) {
            runs |= service->tls.certificates[c].phrase_command_len > 0;
        }
        for (size_t g = 0; g < service->groups_len; g++) {
            runs |= service->groups[g].health.type == CONFIG_HEALTH_EXEC ||
                    service->groups[g].tls.own.phrase_command_len > 0;
        }
        if (runs) {
            return true;
        }
    }
    return false;
}

/* Below folder files may be written. A folder that is not there is nowhere to write. */
static void allow_folder(int rules, const char *folder, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access,
                                              .parent_fd = open(folder, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd >= 0) {
        (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
        (void)close(rule.parent_fd);
    }
}

static void allow_folder_of(int rules, const char *path, uint64_t access)
{
    char copy[PATH_MAX];
    if (path != NULL && path[0] == '/' && strlen(path) < sizeof(copy)) {
        (void)snprintf(copy, sizeof(copy), "%s", path);
        allow_folder(rules, dirname(copy), access);
    }
}

static void allow_all(int rules, const struct config *config, const struct targets *targets, uint64_t access)
{
    allow_folder(rules, config->state_dir, access);
    allow_folder(rules, "/dev", access & (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE));
    allow_folder_of(rules, config->admin.socket, access);
    allow_folder_of(rules, strcmp(config->log.to, "file") == 0 ? config->log.file : NULL, access);
    for (size_t i = 0; i < config->admin.sockets_len; i++) {
        allow_folder_of(rules, config->admin.sockets[i].socket, access);
    }
    for (size_t s = 0; s < config->services_len; s++) {
        for (size_t i = 0; i < targets->services[s].listen_len; i++) {
            const struct addr *address = &targets->services[s].listen[i];
            allow_folder_of(rules, addr_is_unix(address) ? address->un.sun_path : NULL, access);
        }
    }
}

static int fence_files(const struct config *config, const struct targets *targets, struct err_text *err)
{
    long version = landlock_version();
    uint64_t access = WRITING | (version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) |
                      (version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
    const struct landlock_ruleset_attr attributes = {.handled_access_fs = access};
    if (version < 1) {
        confinement_note_landlock("off: this kernel has none");
        return 0;
    }
    if (runs_commands(config)) {
        confinement_note_landlock("off: the configuration runs commands");
        return 0;
    }
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
    if (rules < 0) {
        err_set_errno(err, "cannot build the rules of Landlock");
        return ERR_SYSTEM;
    }
    allow_all(rules, config, targets, access);
    long rc = syscall(SYS_landlock_restrict_self, rules, 0);
    if (rc != 0) {
        err_set_errno(err, "cannot put the rules of Landlock in force");
    } else {
        confinement_note_landlock("on");
    }
    (void)close(rules);
    return rc != 0 ? ERR_SYSTEM : 0;
}

int sandbox_enter(const struct config *config, const struct targets *targets, struct err_text *err)
{
    if (!config->sandbox) {
        confinement_note_landlock("off: sandbox = false");
        return 0;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0) {
        err_set_errno(err, "cannot forbid new privileges");
        return ERR_SYSTEM;
    }
    int rc = fence_files(config, targets, err);
    return rc == 0 ? filter_system_calls(err) : rc;
}
