/*
 * The rules between the settings that stand between a service and its clients: who may speak for others, and
 * the files with lists of prefixes, each of which must be readable and whole. Any thread; reads those files.
 */
#include "core/prefixes.h"
#include "core/settings_internal.h"
#include "core/source.h"

#include <string.h>

/* Every file of the list is read once, so that a fault in it is found now and not at the start. */
static void check_prefixes(struct settings_reader *reader, const config_setting_t *list, const char *name,
                           char *const *texts, size_t len)
{
    if (!list || (size_t)config_setting_length(list) != len) {
        return; /* it has a finding of its own */
    }
    size_t mark = settings_path_push(&reader->path, name);
    for (size_t i = 0; i < len; i++) {
        struct prefixes *set = NULL;
        struct err_text err;
        const char *const text = texts[i];
        int rc = text && text[0] == '@' ? prefixes_load(&text, 1, &set, &err) : 0;
        if (rc == ERR_NOMEM) {
            reader->findings->nomem = true;
        } else if (rc != 0) {
            size_t inner = settings_path_push_index(&reader->path, i);
            settings_complain(reader, settings_element(list, i), "%s", err.text);
            settings_path_cut(&reader->path, inner);
        }
        prefixes_destroy(set);
    }
    settings_path_cut(&reader->path, mark);
}

static void check_group(struct settings_reader *reader, const config_setting_t *node,
                        const struct config_group *group)
{
    struct source source;
    struct err_text err;
    const config_setting_t *written = settings_good(node, "source");
    if (written && source_parse(group->source, &source, &err) != 0) {
        settings_complain(reader, written, "source: %s", err.text);
    }
    written = settings_good(node, "send_proxy_tlvs");
    if (written && group->send_proxy != CONFIG_SEND_PROXY_V2) {
        settings_complain(reader, written,
                          "send_proxy_tlvs: only headers of version 2 have room for it: "
                          "send_proxy = \"v2\"");
    }
}

static void check_groups(struct settings_reader *reader, const config_setting_t *service_node,
                         const struct config_service *service)
{
    const config_setting_t *groups = settings_good(service_node, "groups");
    if (!groups || (size_t)config_setting_length(groups) != service->groups_len) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "groups");
    for (size_t i = 0; i < service->groups_len; i++) {
        size_t inner = settings_path_push_element(&reader->path, settings_element(groups, i), i);
        check_group(reader, settings_element(groups, i), &service->groups[i]);
        settings_path_cut(&reader->path, inner);
    }
    settings_path_cut(&reader->path, mark);
}

static bool has_unix_only(const struct config_service *service)
{
    for (size_t i = 0; i < service->listen_len; i++) {
        if (service->listen[i] && strncmp(service->listen[i], "unix:", strlen("unix:")) != 0) {
            return false;
        }
    }
    return service->listen_len > 0;
}

static void check_proxy_protocol(struct settings_reader *reader, const config_setting_t *service_node,
                                 const struct config_service *service)
{
    const config_setting_t *node = settings_good(service_node, "proxy_protocol");
    if (!node) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "proxy_protocol");
    if (service->proxy_protocol.accept != CONFIG_PROXY_OFF && !config_setting_get_member(node, "from") &&
        !has_unix_only(service)) {
        settings_complain(
            reader, node,
            "needs \"from\", the addresses that may tell whom a connection is for, such as from "
            "= [ \"10.0.0.0/8\" ]");
    }
    check_prefixes(reader, settings_good(node, "from"), "from", service->proxy_protocol.from,
                   service->proxy_protocol.from_len);
    settings_path_cut(&reader->path, mark);
}

static void check_tls(struct settings_reader *reader, const config_setting_t *service_node,
                      const struct config_service *service)
{
    const config_setting_t *node = settings_good(service_node, "tls");
    if (!node) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "tls");
    if (service->tls.client_auth != CONFIG_CLIENT_AUTH_NONE &&
        !config_setting_get_member(node, "client_ca")) {
        settings_complain(reader, node,
                          "needs \"client_ca\", the authorities by which clients' certificates are verified");
    }
    settings_path_cut(&reader->path, mark);
}

void settings_check_edge(struct settings_reader *reader, const config_setting_t *service_node,
                         const struct config_service *service)
{
    check_proxy_protocol(reader, service_node, service);
    check_tls(reader, service_node, service);
    check_groups(reader, service_node, service);
    check_prefixes(reader, settings_good(service_node, "allow"), "allow", service->allow, service->allow_len);
    check_prefixes(reader, settings_good(service_node, "deny"), "deny", service->deny, service->deny_len);
}
