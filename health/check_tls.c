/*
 * Answers for the question how checks speak TLS, which one table of cases decides: the type of the check, its
 * own section, the group's, its port. Pure; any thread. What is done with it is health/secure.c's.
 */
#include "health/check_tls.h"

#include "core/addr.h"

#include <string.h>

/* They begin TLS in the clear, by their own messages, where it is not there from the first byte. */
static bool asks_itself(enum config_health_type type)
{
    return type == CONFIG_HEALTH_POSTGRESQL || type == CONFIG_HEALTH_MYSQL;
}

static bool starts_late(const struct config_health *health)
{
    return (health->type == CONFIG_HEALTH_SMTP && health->smtp.starttls) ||
           (health->type == CONFIG_HEALTH_LDAP && health->ldap.starttls);
}

/* The port speaks TLS to everybody: so say the group's connections, which go to it. */
static bool shares_port(const struct config_group *group)
{
    return group->tls.present && group->health.port == 0;
}

static enum check_tls_way way_of(const struct config_group *group)
{
    const struct config_health *health = &group->health;
    bool own = health->tls.present && health->tls.enabled;
    if (health->tls.present && !health->tls.enabled) {
        return CHECK_TLS_NONE;
    }
    switch (health->type) {
    case CONFIG_HEALTH_NONE:
    case CONFIG_HEALTH_TCP:
    case CONFIG_HEALTH_EXEC:
        return CHECK_TLS_NONE;
    case CONFIG_HEALTH_TLS:
        return CHECK_TLS_FIRST;
    case CONFIG_HEALTH_AGENT:
        return own ? CHECK_TLS_FIRST : CHECK_TLS_NONE;
    default:
        break;
    }
    if (starts_late(health)) {
        return CHECK_TLS_ASKED;
    }
    if (shares_port(group)) {
        return CHECK_TLS_FIRST;
    }
    if (!own) {
        return CHECK_TLS_NONE;
    }
    return asks_itself(health->type) ? CHECK_TLS_ASKED : CHECK_TLS_FIRST;
}

/* "client" stands for what a client agreed on, and a check has none. A check of HTTP speaks its first version
 * and must not be given the second one. */
static void take_alpn(const struct config_group *group, struct check_tls *out)
{
    char *const *list = group->tls.alpn;
    size_t len = group->tls.alpn_len;
    if (len == 1 && strcmp(list[0], "client") == 0) {
        return;
    }
    if (group->health.type != CONFIG_HEALTH_HTTP) {
        out->alpn = list;
        out->alpn_len = len;
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (strcmp(list[i], "http/1.1") == 0) {
            out->alpn = &list[i];
            out->alpn_len = 1;
        }
    }
}

struct check_tls check_tls_of(const struct config_group *group)
{
    const struct config_health *health = &group->health;
    struct check_tls out = {.way = way_of(group),
                            .verify = health->tls.verify,
                            .ca = health->tls.ca_file,
                            .server_name = health->tls.server_name};
    out.of_group = out.way != CHECK_TLS_NONE && health->type != CONFIG_HEALTH_AGENT && shares_port(group);
    if (!out.of_group) {
        return out;
    }
    if (!health->tls.present) {
        out.verify = group->tls.verify;
    }
    if (out.ca == NULL) {
        out.ca = group->tls.ca;
        out.crl = group->tls.crl; /* it is about certificates of these authorities */
    }
    if (out.server_name == NULL) {
        out.server_name = group->tls.server_name;
    }
    if (group->tls.own.certificate != NULL) {
        out.own = &group->tls.own;
    }
    out.min_version = group->tls.min_version;
    take_alpn(group, &out);
    return out;
}

/* The host in "HOST:PORT"; false for an IP address and for a path. */
static bool host_in(const char *address, char out[CHECK_TLS_NAME_MAX])
{
    struct addr literal;
    const char *colon = strrchr(address, ':');
    if (colon == NULL || strncmp(address, "unix:", 5) == 0 ||
        (size_t)(colon - address) >= CHECK_TLS_NAME_MAX || addr_parse(address, NULL, &literal, NULL) == 0) {
        return false;
    }
    memcpy(out, address, (size_t)(colon - address));
    out[colon - address] = '\0';
    return true;
}

/* Of several addresses of a host each has its own behind the name. */
static bool is_of(const char *backend, const char *name)
{
    size_t len = strlen(name);
    const char *at = strrchr(backend, '@');
    return strcmp(backend, name) == 0 ||
           (at != NULL && (size_t)(at - backend) == len && strncmp(backend, name, len) == 0);
}

const char *check_tls_name(const struct check_tls *tls, const struct config_group *group, const char *backend,
                           char out[CHECK_TLS_NAME_MAX])
{
    if (tls->server_name != NULL || !tls->of_group) {
        return tls->server_name;
    }
    for (size_t i = 0; i < group->backends_len; i++) {
        if (is_of(backend, group->backends[i].name)) {
            return host_in(group->backends[i].address, out) ? out : NULL;
        }
    }
    return NULL;
}

const char *check_tls_doubt(const struct config_group *group)
{
    const struct config_health *health = &group->health;
    if (!shares_port(group)) {
        return NULL;
    }
    switch (health->type) {
    case CONFIG_HEALTH_NONE:
    case CONFIG_HEALTH_TCP:
    case CONFIG_HEALTH_EXEC:
    case CONFIG_HEALTH_AGENT:
        return NULL;
    default:
        break;
    }
    if (starts_late(health)) {
        return "the checks begin in the clear (\"starttls\") on the port that the group speaks TLS to from "
               "the "
               "first byte, and will fail: take \"starttls\" out, or give the checks a \"port\"";
    }
    if (health->tls.present && !health->tls.enabled) {
        return "the checks speak plainly (\"tls.enabled\" is false) to the port that the group speaks TLS "
               "to, "
               "and will fail unless the port takes both: take \"tls\" out of \"health\", or give the checks "
               "a "
               "\"port\"";
    }
    return NULL;
}
