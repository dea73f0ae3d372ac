/*
 * What all probes share: which file makes which check, the passwords and certificates of a group. Reads files
 * when it is created, never later. Control thread.
 */
#include "health/probe_internal.h"

#include "core/openssl.h"

#include "health/secure_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD_MAX 1024u

const struct probe_type *probe_find(enum config_health_type type)
{
    switch (type) {
    case CONFIG_HEALTH_NONE:
        return NULL;
    case CONFIG_HEALTH_EXEC:
        return &probe_exec;
    default:
        return &probe_dialog;
    }
}

bool probe_is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

const char *probe_password_file(const struct config_health *config)
{
    switch (config->type) {
    case CONFIG_HEALTH_REDIS:
        return config->redis.password_file;
    case CONFIG_HEALTH_POSTGRESQL:
        return config->postgresql.password_file;
    case CONFIG_HEALTH_MYSQL:
        return config->mysql.password_file;
    case CONFIG_HEALTH_LDAP:
        return config->ldap.password_file;
    default:
        return NULL;
    }
}

/* The first line. */
static int read_password(const char *path, char **out, struct err_text *err)
{
    char line[PASSWORD_MAX + 2];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return err_set_errno(err, "cannot read the password in \"%s\"", path);
    }
    bool read = fgets(line, sizeof(line), file) != NULL;
    (void)fclose(file);
    size_t len = read ? strcspn(line, "\r\n") : 0;
    if (len == 0 || len > PASSWORD_MAX) {
        return err_set(err, ERR_INVALID, "the first line of \"%s\" must be a password of 1 to %u bytes", path,
                       PASSWORD_MAX);
    }
    line[len] = '\0';
    *out = strdup(line);
    OPENSSL_cleanse(line, sizeof(line));
    return *out != NULL ? 0 : err_set(err, ERR_NOMEM, "no memory for a password");
}

/* A check on a port of its own talks to something else than the group's connections do. */
static unsigned proxy_version(const struct config_group *group)
{
    switch (group->health.send_proxy) {
    case CONFIG_CHECK_PROXY_V1:
        return 1;
    case CONFIG_CHECK_PROXY_V2:
        return 2;
    case CONFIG_CHECK_PROXY_OFF:
        return 0;
    case CONFIG_CHECK_PROXY_GROUP:
        break;
    }
    return group->health.port == 0 ? (unsigned)group->send_proxy : 0;
}

int probe_means_create(const struct config_group *group, struct probe_means *out, struct err_text *err)
{
    const struct config_health *config = &group->health;
    *out = (struct probe_means){.group = group,
                                .config = config,
                                .security = check_tls_of(group),
                                .proxy_version = proxy_version(group)};
    const char *path = probe_password_file(config);
    int rc = source_parse(group->source, &out->source, err);
    if (rc == 0 && path != NULL) {
        rc = read_password(path, &out->password, err);
    }
    if (rc == 0 && out->security.way != CHECK_TLS_NONE) {
        rc = secure_context_create(&out->security, &out->tls, err);
    }
    if (rc != 0) {
        probe_means_destroy(out);
    }
    return rc;
}

void probe_means_destroy(struct probe_means *means)
{
    if (means->password != NULL) {
        OPENSSL_cleanse(means->password, strlen(means->password));
        free(means->password);
    }
    SSL_CTX_free(means->tls);
    *means = (struct probe_means){0};
}
