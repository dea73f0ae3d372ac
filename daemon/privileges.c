/*
 * Becomes an own user and lets go of what root has: groups, user, capabilities (with libcap), in that order.
 * Control thread. The fences that stay after that are daemon/sandbox.c's.
 */
#include "daemon/privileges.h"

#include "core/addr.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOW_PORTS 1024u

struct identity {
    uid_t uid;
    gid_t gid;
    char name[256]; /* for its further groups; empty when the user has no name */
};

static bool read_number(const char *text, unsigned *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    bool good = errno == 0 && end != text && *end == '\0' && text[0] != '-' && number < UINT32_MAX;
    *out = (unsigned)number;
    return good;
}

static int find_identity(const struct config *config, struct identity *out, struct err_text *err)
{
    unsigned number = 0;
    const struct passwd *user = getpwnam(config->user);
    if (user == NULL && read_number(config->user, &number)) {
        user = getpwuid(number);
        if (user == NULL && config->group == NULL) {
            return err_set(err, ERR_INVALID, "user = \"%s\": no such user, so `group` is needed too",
                           config->user);
        }
    } else if (user == NULL) {
        return err_set(err, ERR_INVALID, "user = \"%s\": no such user on this system; `useradd --system %s`",
                       config->user, config->user);
    }
    *out = (struct identity){.uid = user != NULL ? user->pw_uid : number,
                             .gid = user != NULL ? user->pw_gid : 0};
    (void)snprintf(out->name, sizeof(out->name), "%s", user != NULL ? user->pw_name : "");
    if (config->group == NULL) {
        return 0;
    }
    const struct group *group = getgrnam(config->group);
    if (group == NULL && !read_number(config->group, &number)) {
        return err_set(err, ERR_INVALID, "group = \"%s\": no such group on this system", config->group);
    }
    out->gid = group != NULL ? group->gr_gid : number;
    return 0;
}

int privileges_check(const struct config *config, struct err_text *err)
{
    struct identity identity;
    if (config->user == NULL) {
        return config->group == NULL ? 0 : err_set(err, ERR_INVALID, "group is set, so `user` is needed too");
    }
    return find_identity(config, &identity, err);
}

bool privileges_owner(const struct config *config, uid_t *uid, gid_t *gid)
{
    struct identity identity = {.uid = 0};
    if (config->user == NULL || geteuid() != 0 || find_identity(config, &identity, NULL) != 0) {
        return false;
    }
    *uid = identity.uid;
    *gid = identity.gid;
    return true;
}

/* What was made as root and is written on later. Links are not followed. */
static void give(const char *path, const struct identity *identity)
{
    if (path != NULL && path[0] != '\0') {
        (void)fchownat(AT_FDCWD, path, identity->uid, identity->gid, AT_SYMLINK_NOFOLLOW);
    }
}

static int give_state(const char *dir, const struct identity *identity, struct err_text *err)
{
    DIR *folder = opendir(dir);
    if (folder == NULL) {
        err_set_errno(err, "cannot give state_dir \"%s\" to the user", dir);
        return ERR_SYSTEM;
    }
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (strncmp(entry->d_name, "journal", 7) == 0) {
            (void)fchownat(dirfd(folder), entry->d_name, identity->uid, identity->gid, AT_SYMLINK_NOFOLLOW);
        }
    }
    int rc = fchown(dirfd(folder), identity->uid, identity->gid);
    if (rc != 0) {
        err_set_errno(err, "cannot give state_dir \"%s\" to the user", dir);
    }
    (void)closedir(folder);
    return rc != 0 ? ERR_SYSTEM : 0;
}

static int give_all(const struct config *config, const struct targets *targets,
                    const struct identity *identity, struct err_text *err)
{
    int rc = give_state(config->state_dir, identity, err);
    give(config->admin.socket, identity);
    give(strcmp(config->log.to, "file") == 0 ? config->log.file : NULL, identity);
    for (size_t i = 0; i < config->admin.sockets_len; i++) {
        give(config->admin.sockets[i].socket, identity);
    }
    for (size_t s = 0; s < config->services_len; s++) {
        for (size_t i = 0; i < targets->services[s].listen_len; i++) {
            const struct addr *address = &targets->services[s].listen[i];
            if (addr_is_unix(address)) {
                give(address->un.sun_path, identity);
            }
        }
    }
    return rc;
}

static bool needs_low_ports(const struct config *config, const struct targets *targets)
{
    for (size_t s = 0; s < config->services_len; s++) {
        for (size_t i = 0; i < targets->services[s].listen_len; i++) {
            const struct addr *address = &targets->services[s].listen[i];
            if (!addr_is_unix(address) && addr_port(address) > 0 && addr_port(address) < LOW_PORTS) {
                return true;
            }
        }
    }
    return false;
}

/* Whether backends are reached from the clients' own addresses (IP_TRANSPARENT, ip(7)). */
static bool needs_foreign_addresses(const struct config *config)
{
    for (size_t s = 0; s < config->services_len; s++) {
        for (size_t g = 0; g < config->services[s].groups_len; g++) {
            const char *source = config->services[s].groups[g].source;
            if (source != NULL && strcmp(source, "client") == 0) {
                return true;
            }
        }
    }
    return false;
}

/* What is dropped here cannot come back, not even by starting a program that is set to have it. A kernel
 * without one of them refuses; what counts is keep_capabilities. */
static void narrow_bounds(const cap_value_t *kept, int n)
{
    for (cap_value_t c = 0; c <= CAP_LAST_CAP; c++) {
        bool stays = false;
        for (int i = 0; i < n; i++) {
            stays |= kept[i] == c;
        }
        if (!stays && cap_get_bound(c) > 0) {
            (void)cap_drop_bound(c);
        }
    }
}

/* Leaves these capabilities and no others. */
static int keep_capabilities(const cap_value_t *kept, int n, struct err_text *err)
{
    cap_t set = cap_init();
    if (set == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while dropping capabilities");
    }
    int rc = n == 0 || (cap_set_flag(set, CAP_PERMITTED, n, kept, CAP_SET) == 0 &&
                        cap_set_flag(set, CAP_EFFECTIVE, n, kept, CAP_SET) == 0)
                 ? cap_set_proc(set)
                 : -1;
    if (rc != 0) {
        err_set_errno(err, "cannot drop capabilities");
    }
    (void)cap_free(set);
    return rc != 0 ? ERR_SYSTEM : 0;
}

static int become(const struct identity *identity, const char *user, struct err_text *err)
{
    int groups = identity->name[0] != '\0' ? initgroups(identity->name, identity->gid) : setgroups(0, NULL);
    if (groups != 0 || setresgid(identity->gid, identity->gid, identity->gid) != 0 ||
        prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) != 0 ||
        setresuid(identity->uid, identity->uid, identity->uid) != 0) {
        err_set_errno(err, "cannot become user \"%s\"", user);
        return ERR_DENIED;
    }
    return 0;
}

int privileges_drop(const struct config *config, const struct targets *targets, struct err_text *err)
{
    struct identity identity = {.uid = 0};
    if (config->user == NULL) {
        return 0;
    }
    int rc = find_identity(config, &identity, err);
    if (rc != 0) {
        return rc;
    }
    if (geteuid() == identity.uid && geteuid() != 0) {
        return 0; /* a service manager has done it all */
    }
    if (geteuid() != 0) {
        return err_set(err, ERR_DENIED,
                       "user = \"%s\": only root can become another user; start as root or as that user",
                       config->user);
    }
    cap_value_t capabilities[2];
    int kept = 0;
    if (needs_low_ports(config, targets)) {
        capabilities[kept++] = CAP_NET_BIND_SERVICE;
    }
    if (needs_foreign_addresses(config)) {
        capabilities[kept++] = CAP_NET_RAW;
    }
    rc = give_all(config, targets, &identity, err);
    if (rc == 0) {
        narrow_bounds(capabilities, kept);
        rc = become(&identity, config->user, err);
    }
    return rc == 0 ? keep_capabilities(capabilities, kept, err) : rc;
}
