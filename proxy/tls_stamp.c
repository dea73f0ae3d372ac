/* Inode, size and times of each file, hashed together: see proxy/tls_stamp.h. */
#include "proxy/tls_stamp.h"

#include "core/siphash.h"

#include <string.h>
#include <sys/stat.h>

/* What tells one state of a file from another. */
struct mark {
    uint64_t before; /* of the files ahead of it */
    uint64_t device, inode, size;
    int64_t modified_s, modified_ns, changed_s, changed_ns;
};

static void add(uint64_t *stamp, const char *path)
{
    static const struct siphash_key key = {.k0 = UINT64_C(0x736875), .k1 = UINT64_C(0x6e742e)};
    struct stat state;
    struct mark mark;
    memset(&mark, 0, sizeof(mark));
    mark.before = *stamp;
    if (path == NULL) {
        return;
    }
    if (stat(path, &state) == 0) {
        mark.device = state.st_dev;
        mark.inode = state.st_ino;
        mark.size = (uint64_t)state.st_size;
        mark.modified_s = state.st_mtim.tv_sec;
        mark.modified_ns = state.st_mtim.tv_nsec;
        mark.changed_s = state.st_ctim.tv_sec;
        mark.changed_ns = state.st_ctim.tv_nsec;
    }
    *stamp = siphash(&key, &mark, sizeof(mark));
}

uint64_t tls_stamp(const struct config_service *config)
{
    uint64_t stamp = 0;
    for (size_t i = 0; config->tls.present && i < config->tls.certificates_len; i++) {
        add(&stamp, config->tls.certificates[i].certificate);
        add(&stamp, config->tls.certificates[i].key);
        add(&stamp, config->tls.certificates[i].ocsp);
    }
    if (config->tls.present && config->tls.client_auth != CONFIG_CLIENT_AUTH_NONE) {
        add(&stamp, config->tls.client_ca);
        add(&stamp, config->tls.client_crl);
    }
    for (size_t g = 0; g < config->groups_len; g++) {
        const struct config_group *group = &config->groups[g];
        if (group->tls.present) {
            add(&stamp, group->tls.ca);
            add(&stamp, group->tls.crl);
            add(&stamp, group->tls.own.certificate);
            add(&stamp, group->tls.own.key);
        }
    }
    return stamp;
}
