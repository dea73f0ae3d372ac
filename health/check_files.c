/*
 * Answers for the files that checks go by (authorities, revocations, certificates of ours), when they change
 * while the program runs: the contexts of the groups are made anew and swapped. A check under way goes on by
 * what it began with, libssl counts who uses a context. Control thread. Why it is asked for is the daemon's
 * business.
 */
#include "core/file_stamp.h"
#include "health/health_internal.h"
#include "health/secure_internal.h"

#include <openssl/ssl.h>
#include <stdlib.h>

/* Whatever is not there adds nothing. */
static uint64_t stamp_group(uint64_t stamp, const struct config_group *group)
{
    const struct check_tls tls = check_tls_of(group);
    if (tls.way == CHECK_TLS_NONE) {
        return stamp;
    }
    stamp = file_stamp(stamp, tls.ca);
    stamp = file_stamp(stamp, tls.crl);
    stamp = file_stamp(stamp, tls.own != NULL ? tls.own->certificate : NULL);
    return file_stamp(stamp, tls.own != NULL ? tls.own->key : NULL);
}

uint64_t health_files_now(const struct config_service *config)
{
    uint64_t stamp = 0;
    for (size_t g = 0; g < config->groups_len; g++) {
        stamp = stamp_group(stamp, &config->groups[g]);
    }
    return stamp;
}

uint64_t health_files_in_force(const struct health *health)
{
    return health->files;
}

/* By place in health->means; NULL where nothing is to be swapped. */
static int make(const struct health *health, SSL_CTX **made, struct err_text *err)
{
    for (size_t g = 0; g < health->means_len; g++) {
        const struct probe_means *means = &health->means[g];
        int rc = means->tls != NULL ? secure_context_create(&means->security, &made[g], err) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int health_reread(struct health *health, struct err_text *err)
{
    uint64_t files = health_files_now(health->config);
    SSL_CTX **made = calloc(health->means_len + 1, sizeof(SSL_CTX *));
    int rc = made != NULL ? make(health, made, err) : err_set(err, ERR_NOMEM, "no memory for TLS");
    for (size_t g = 0; made != NULL && g < health->means_len; g++) {
        if (rc == 0 && made[g] != NULL) {
            SSL_CTX *before = health->means[g].tls;
            health->means[g].tls = made[g];
            made[g] = before;
        }
        SSL_CTX_free(made[g]);
    }
    free((void *)made);
    health->files = rc == 0 ? files : health->files;
    return rc;
}
