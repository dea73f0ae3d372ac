/* Which files are those of a service's TLS: see proxy/tls_stamp.h. */
#include "proxy/tls_stamp.h"

#include "core/file_stamp.h"

static void add(uint64_t *stamp, const char *path)
{
    *stamp = file_stamp(*stamp, path);
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
