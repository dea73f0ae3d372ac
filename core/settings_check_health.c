/*
 * The rules between the settings of a health section: a section for another type of check, what a type cannot
 * do without, texts that have a form of their own. Any thread.
 */
#include "core/bytes.h"
#include "core/settings_internal.h"

#include <string.h>

#define HTTP_STATUS_LOWEST 100
#define HTTP_STATUS_HIGHEST 599

/* Sections that belong to one type of check. */
static const struct {
    const char *name;
    enum config_health_type type;
} sections[] = {
    {"send_expect", CONFIG_HEALTH_SEND_EXPECT},
    {"http", CONFIG_HEALTH_HTTP},
    {"redis", CONFIG_HEALTH_REDIS},
    {"postgresql", CONFIG_HEALTH_POSTGRESQL},
    {"mysql", CONFIG_HEALTH_MYSQL},
    {"smtp", CONFIG_HEALTH_SMTP},
    {"ldap", CONFIG_HEALTH_LDAP},
    {"exec", CONFIG_HEALTH_EXEC},
};

/* Complains about a section of another type; returns the type's own, NULL when it was not written. */
static const config_setting_t *own_section(struct settings_reader *reader, const config_setting_t *node,
                                           enum config_health_type type)
{
    const config_setting_t *own = NULL;
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        const config_setting_t *section = settings_good(node, sections[i].name);
        if (section == NULL) {
            continue;
        }
        if (sections[i].type == type) {
            own = section;
        } else {
            settings_complain(reader, section, "\"%s\" is for checks of another type than the one set here",
                              sections[i].name);
        }
    }
    return own;
}

/* Complains about name at the section when it was written (wrong) or was not (missing). */
static void require(struct settings_reader *reader, const config_setting_t *section, const char *name,
                    const char *needed, bool there)
{
    const config_setting_t *node = settings_good(section, name);
    if (node != NULL && !there) {
        settings_complain(reader, node, "\"%s\" needs \"%s\"", name, needed);
    }
}

static void check_bytes(struct settings_reader *reader, const config_setting_t *step, const char *name,
                        const char *text)
{
    size_t len = 0;
    const config_setting_t *node = settings_good(step, name);
    if (node != NULL && text != NULL && bytes_unescape(text, NULL, 0, &len) != 0) {
        settings_complain(
            reader, node,
            "\"%s\" has a backslash that stands for nothing: known are \\r \\n \\t \\0 \\xNN and \\\\", name);
    }
}

static void check_steps(struct settings_reader *reader, const config_setting_t *section,
                        const struct config_health *health)
{
    const config_setting_t *list = settings_good(section, "steps");
    if (list == NULL || (size_t)config_setting_length(list) != health->send_expect.steps_len) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "steps");
    for (size_t i = 0; i < health->send_expect.steps_len; i++) {
        const config_setting_t *node = settings_element(list, i);
        const struct config_health_step *step = &health->send_expect.steps[i];
        size_t inner = settings_path_push_index(&reader->path, i);
        if (config_setting_is_group(node) && config_setting_length(node) == 0) {
            settings_complain(reader, node, "needs \"send\" or \"expect\"");
        }
        check_bytes(reader, node, "send", step->send);
        check_bytes(reader, node, "expect", step->expect);
        settings_path_cut(&reader->path, inner);
    }
    settings_path_cut(&reader->path, mark);
}

/* What would end the line or the word that it becomes part of. */
static void check_word(struct settings_reader *reader, const config_setting_t *section, const char *name,
                       const char *text)
{
    const config_setting_t *node = settings_good(section, name);
    if (node != NULL && text != NULL && strchr(text, ' ') != NULL) {
        settings_complain(reader, node, "\"%s\" must not contain blanks", name);
    }
}

static void check_http(struct settings_reader *reader, const config_setting_t *section,
                       const struct config_health *health)
{
    struct bytes_ranges ranges;
    const config_setting_t *status = settings_good(section, "status");
    const config_setting_t *path = settings_good(section, "path");
    if (status != NULL &&
        bytes_ranges_parse(health->http.status, HTTP_STATUS_LOWEST, HTTP_STATUS_HIGHEST, &ranges) != 0) {
        settings_complain(reader, status,
                          "\"%s\" is not a list of statuses such as \"200-399\" or \"200,204,301-303\"",
                          health->http.status);
    }
    if (path != NULL && health->http.path[0] != '/' && strcmp(health->http.path, "*") != 0) {
        settings_complain(reader, path, "path must begin with \"/\"");
    }
    check_word(reader, section, "path", health->http.path);
    check_word(reader, section, "method", health->http.method);
    check_word(reader, section, "host", health->http.host);
}

/* Good or not: what is wrong with it was said. */
static bool is_written(const config_setting_t *section, const char *name)
{
    return config_setting_get_member(section, name) != NULL;
}

static void check_own(struct settings_reader *reader, const config_setting_t *node,
                      const config_setting_t *own, const struct config_health *health)
{
    switch (health->type) {
    case CONFIG_HEALTH_SEND_EXPECT:
        if (!is_written(node, "send_expect") || (own != NULL && !is_written(own, "steps"))) {
            settings_complain(reader, node, "type \"send-expect\" needs \"send_expect\" with \"steps\"");
        } else if (own != NULL) {
            check_steps(reader, own, health);
        }
        break;
    case CONFIG_HEALTH_EXEC:
        if (!is_written(node, "exec")) {
            settings_complain(reader, node, "type \"exec\" needs \"exec\" with a \"command\"");
        }
        break;
    case CONFIG_HEALTH_HTTP:
        check_http(reader, own, health);
        break;
    case CONFIG_HEALTH_REDIS:
        require(reader, own, "user", "password_file", health->redis.password_file != NULL);
        break;
    case CONFIG_HEALTH_POSTGRESQL:
        require(reader, own, "password_file", "user", health->postgresql.user != NULL);
        require(reader, own, "database", "user", health->postgresql.user != NULL);
        require(reader, own, "role", "user",
                health->postgresql.user != NULL || health->postgresql.role == CONFIG_POSTGRESQL_ANY);
        break;
    case CONFIG_HEALTH_MYSQL:
        require(reader, own, "password_file", "user", health->mysql.user != NULL);
        break;
    case CONFIG_HEALTH_LDAP:
        require(reader, own, "password_file", "bind_dn", health->ldap.bind_dn != NULL);
        require(reader, own, "bind_dn", "password_file", health->ldap.password_file != NULL);
        break;
    default:
        break;
    }
}

static void check_channel(struct settings_reader *reader, const config_setting_t *node,
                          const struct config_group *group)
{
    const struct config_health *health = &group->health;
    const config_setting_t *tls = settings_good(node, "tls");
    const config_setting_t *port = settings_good(node, "port");
    if (tls != NULL && !health->tls.enabled) {
        bool needed = health->type == CONFIG_HEALTH_TLS || health->smtp.starttls || health->ldap.starttls;
        const config_setting_t *enabled = settings_good(tls, "enabled");
        if (needed && enabled != NULL) {
            settings_complain(reader, enabled, "these checks cannot do without TLS");
        }
    } else if (tls != NULL && (health->type == CONFIG_HEALTH_TCP || health->type == CONFIG_HEALTH_EXEC ||
                               health->type == CONFIG_HEALTH_NONE)) {
        settings_complain(reader, tls,
                          health->type == CONFIG_HEALTH_TCP
                              ? "a check of type \"tcp\" only connects: type \"tls\" makes the handshake"
                              : "a check of this type has no connection of its own");
    }
    for (size_t i = 0; port != NULL && health->port != 0 && i < group->backends_len; i++) {
        const char *address = group->backends[i].address;
        if (address != NULL && strncmp(address, "unix:", 5) == 0) {
            settings_complain(reader, port, "\"%s\" has no ports", address);
            break;
        }
    }
}

void settings_check_health(struct settings_reader *reader, const config_setting_t *group_node,
                           const struct config_group *group)
{
    const config_setting_t *node = settings_good(group_node, "health");
    if (node == NULL || !config_setting_is_group(node)) {
        return;
    }
    const config_setting_t *type = config_setting_get_member(node, "type");
    if (type != NULL && settings_good(node, "type") == NULL) {
        return; /* an unknown type, and said so */
    }
    size_t mark = settings_path_push(&reader->path, "health");
    const config_setting_t *own = own_section(reader, node, group->health.type);
    check_own(reader, node, own, &group->health);
    check_channel(reader, node, group);
    settings_path_cut(&reader->path, mark);
}
