/*
 * The rules between settings, which the table cannot hold: duplicates, addresses that would lead in circles;
 * those of a plan are in settings_check_migration.c. Walks libconfig's tree beside the structs, because only
 * the tree has lines. A setting that had a finding already is passed over. Any thread.
 */
#include "core/addr.h"
#include "core/settings_internal.h"
#include "core/units.h"

#include <stdlib.h>
#include <string.h>

/* One value among those that must differ. */
struct claim {
    char *key; /* owned; the canonical text */
    const config_setting_t *node;
    bool written; /* not a default */
    char where[sizeof(((struct settings_path *)0)->text)];
};

struct claims {
    struct claim *list;
    size_t len;
};

/* Whether the tree's list was read whole, so that its elements and those of the struct are the same. */
static bool same_length(const config_setting_t *list, size_t len)
{
    return list && (size_t)config_setting_length(list) == len;
}

/* ---- duplicates */

/* Two ways to write one address are one address; a host name is compared as it is written. */
static char *canonical(const char *text)
{
    struct addr addr;
    char out[ADDR_TEXT_MAX];
    if (addr_parse(text, NULL, &addr, NULL) != ERR_OK) {
        return strdup(text);
    }
    addr_format(&addr, out, sizeof out);
    return strdup(out);
}

/* By text, and the first written first. */
static int compare_claims(const void *a, const void *b)
{
    const struct claim *left = a;
    const struct claim *right = b;
    int order = strcmp(left->key, right->key);
    if (order != 0) {
        return order;
    }
    unsigned left_line = config_setting_source_line(left->node);
    unsigned right_line = config_setting_source_line(right->node);
    return left_line < right_line ? -1 : left_line > right_line;
}

/* A claim on key (taken over, NULL when there was no memory for it) at the reader's path. */
static void claims_add(struct settings_reader *reader, struct claims *claims, char *key,
                       const config_setting_t *node, bool written)
{
    if (key && (claims->len & (claims->len - 1)) == 0) {
        size_t room = claims->len ? claims->len * 2 : 1;
        struct claim *list = realloc(claims->list, room * sizeof *list);
        if (!list) {
            free(key);
            key = NULL;
        } else {
            claims->list = list;
        }
    }
    if (!key) {
        reader->findings->nomem = true;
        return;
    }
    struct claim *claim = &claims->list[claims->len++];
    claim->key = key;
    claim->node = node;
    claim->written = written;
    memcpy(claim->where, reader->path.text, reader->path.len + 1);
}

/* Complains about each claim that repeats an earlier one, and forgets them all. */
static void claims_settle(struct settings_reader *reader, struct claims *claims)
{
    const struct settings_source *source = reader->findings->source;
    if (claims->len == 0) {
        return;
    }
    qsort(claims->list, claims->len, sizeof claims->list[0], compare_claims);
    const struct claim *first = claims->list;
    for (size_t i = 0; i < claims->len; i++) {
        const struct claim *claim = &claims->list[i];
        if (claim == first || strcmp(claim->key, first->key) != 0) {
            first = claim;
        } else if (claim->written || first->written) {
            /* Two defaults alike come from two sources alike, which have a finding of their own. */
            unsigned line = settings_node_line(reader, first->node);
            settings_finding_add(reader->findings, settings_node_line(reader, claim->node),
                                 "%s: \"%s\" is taken already by %s in line %u", claim->where, claim->key,
                                 first->where, line > 0 ? source->lines[line - 1].number : 0);
        }
    }
    for (size_t i = 0; i < claims->len; i++) {
        free(claims->list[i].key);
    }
    free(claims->list);
    *claims = (struct claims){0};
}

static void check_unique(struct settings_reader *reader, const struct setting *setting,
                         const config_setting_t *list, const char *elements, size_t size, size_t len)
{
    struct claims claims = {0};
    for (size_t i = 0; i < len; i++) {
        const config_setting_t *element = settings_element(list, i);
        const char *value = NULL;
        memcpy(&value, elements + i * size + setting->offset, sizeof(char *));
        if (!value) {
            continue; /* missing or wrong, and said so */
        }
        const config_setting_t *node = config_setting_get_member(element, settings_leaf(setting));
        size_t mark = settings_path_push_index(&reader->path, i);
        settings_path_push(&reader->path, settings_leaf(setting));
        claims_add(reader, &claims, setting->type == SETTINGS_ADDRESS ? canonical(value) : strdup(value),
                   node ? node : element, node != NULL);
        settings_path_cut(&reader->path, mark);
    }
    claims_settle(reader, &claims);
}

/* Every setting of the list's elements that must differ between them. */
static void check_list(struct settings_reader *reader, const char *path, const config_setting_t *list,
                       const void *elements, size_t len)
{
    const struct setting *setting = reader->table->list;
    const struct setting *end = setting + reader->table->len;
    while (setting < end && strcmp(setting->path, path) != 0) {
        setting++;
    }
    const struct setting *child = NULL;
    while (setting < end && (child = settings_next(reader->table, setting, child)) != NULL) {
        if (child->flags & SETTINGS_UNIQUE) {
            check_unique(reader, child, list, elements, setting->size, len);
        }
    }
}

/* ---- migration */

static void check_migration(struct settings_reader *reader, const config_setting_t *service_node,
                            const struct config_service *service)
{
    const config_setting_t *node = config_setting_get_member(service_node, "migration");
    const config_setting_t *groups = settings_good(service_node, "groups");
    if (!service->migration.present) {
        return;
    }
    const config_setting_t *steps = config_setting_get_member(node, "steps");
    const config_setting_t *ramp = config_setting_get_member(node, "ramp");
    size_t mark = settings_path_push(&reader->path, "migration");
    if (same_length(groups, service->groups_len) && service->groups_len < 2) {
        settings_complain(reader, node, "a migration needs two groups to go from one to the other");
    }
    if (steps && ramp) {
        settings_complain(reader, node, "has both \"steps\" and \"ramp\": keep one");
    } else if (!steps && !ramp) {
        settings_complain(reader, node, "needs \"steps\" or \"ramp\"");
    }
    if (service->migration.aim == CONFIG_AIM_LIVE && service->assign != CONFIG_ASSIGN_CONNECTION) {
        settings_complain(reader, config_setting_get_member(node, "aim"),
                          "aim = \"live\" does not go with assign = \"%s\": to steer the connections open, "
                          "%s would be sent forth and back; use assign = \"connection\", or aim = \"share\"",
                          service->assign == CONFIG_ASSIGN_SNI ? "sni" : "client",
                          service->assign == CONFIG_ASSIGN_SNI ? "names" : "clients");
    }
    settings_check_migration(reader, node, &service->migration);
    settings_path_cut(&reader->path, mark);
}

/* ---- addresses */

/* A fixed address has one user; port 0 is a different port each time. */
static bool is_free_port(const char *text)
{
    struct addr addr;
    return addr_parse(text, NULL, &addr, NULL) == ERR_OK && !addr_is_unix(&addr) && addr_port(&addr) == 0;
}

/* Whether the address is one that the service itself listens on. */
static bool is_own(const struct config_service *service, const char *address)
{
    struct addr own;
    struct addr other;
    if (addr_parse(address, NULL, &other, NULL) != ERR_OK) {
        return false;
    }
    for (size_t i = 0; i < service->listen_len; i++) {
        if (service->listen[i] && addr_parse(service->listen[i], NULL, &own, NULL) == ERR_OK &&
            addr_equal(&own, &other)) {
            return true;
        }
    }
    return false;
}

static void check_backends(struct settings_reader *reader, const config_setting_t *list,
                           const struct config_service *service, const struct config_group *group)
{
    size_t mark = settings_path_push(&reader->path, "backends");
    check_list(reader, "services.groups.backends", list, group->backends, group->backends_len);
    for (size_t i = 0; i < group->backends_len; i++) {
        const config_setting_t *node = settings_good(settings_element(list, i), "address");
        const char *address = group->backends[i].address;
        if (!node || !address) {
            continue;
        }
        size_t inner = settings_path_push_element(&reader->path, settings_element(list, i), i);
        if (is_free_port(address)) {
            settings_complain(reader, node, "\"%s\" has no port to connect to", address);
        } else if (is_own(service, address)) {
            settings_complain(reader, node,
                              "the service itself listens on %s: connections would go in circles", address);
        }
        settings_path_cut(&reader->path, inner);
    }
    settings_path_cut(&reader->path, mark);
}

static void check_groups(struct settings_reader *reader, const config_setting_t *service_node,
                         const struct config_service *service)
{
    const config_setting_t *groups = settings_good(service_node, "groups");
    if (!same_length(groups, service->groups_len)) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "groups");
    check_list(reader, "services.groups", groups, service->groups, service->groups_len);
    for (size_t i = 0; i < service->groups_len; i++) {
        const config_setting_t *backends = settings_good(settings_element(groups, i), "backends");
        size_t inner = settings_path_push_element(&reader->path, settings_element(groups, i), i);
        if (same_length(backends, service->groups[i].backends_len)) {
            check_backends(reader, backends, service, &service->groups[i]);
        }
        settings_check_health(reader, settings_element(groups, i), &service->groups[i]);
        settings_check_outlier(reader, settings_element(groups, i), service, &service->groups[i]);
        settings_path_cut(&reader->path, inner);
    }
    settings_path_cut(&reader->path, mark);
}

static void claim_listen(struct settings_reader *reader, struct claims *claims,
                         const config_setting_t *service_node, const struct config_service *service)
{
    const config_setting_t *list = settings_good(service_node, "listen");
    if (!same_length(list, service->listen_len)) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "listen");
    for (size_t i = 0; i < service->listen_len; i++) {
        if (service->listen[i] && !is_free_port(service->listen[i])) {
            size_t inner = settings_path_push_index(&reader->path, i);
            claims_add(reader, claims, canonical(service->listen[i]), settings_element(list, i), true);
            settings_path_cut(&reader->path, inner);
        }
    }
    settings_path_cut(&reader->path, mark);
}

/* ---- host names */

static void check_resolve(struct settings_reader *reader, const config_setting_t *root,
                          const struct config_resolve *resolve)
{
    const config_setting_t *section = settings_good(root, "resolve");
    const config_setting_t *servers = settings_good(section, "servers");
    if (section == NULL) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "resolve");
    const config_setting_t *longest = settings_good(section, "max_ttl");
    if (resolve->min_ttl_us > resolve->max_ttl_us) {
        settings_complain(reader, longest != NULL ? longest : section, "\"max_ttl\" is below \"min_ttl\"");
    }
    for (size_t i = 0; same_length(servers, resolve->servers_len) && i < resolve->servers_len; i++) {
        struct addr addr;
        const char *text = resolve->servers[i];
        if (text != NULL &&
            (addr_parse(text, NULL, &addr, NULL) != ERR_OK || addr_is_unix(&addr) || addr_port(&addr) == 0)) {
            settings_complain(reader, settings_element(servers, i),
                              "\"%s\": a name server is an IP address and a port: \"127.0.0.1:53\"", text);
        }
    }
    settings_path_cut(&reader->path, mark);
}

/* ---- the whole */

void settings_check(struct settings_reader *reader, const config_setting_t *root, const struct config *config)
{
    const config_setting_t *services = settings_good(root, "services");
    struct claims listen = {0};
    check_resolve(reader, root, &config->resolve);
    if (!same_length(services, config->services_len)) {
        return;
    }
    size_t mark = settings_path_push(&reader->path, "services");
    check_list(reader, "services", services, config->services, config->services_len);
    for (size_t i = 0; i < config->services_len; i++) {
        const config_setting_t *node = settings_element(services, i);
        if (!config_setting_is_group(node)) {
            continue;
        }
        size_t inner = settings_path_push_element(&reader->path, node, i);
        claim_listen(reader, &listen, node, &config->services[i]);
        check_groups(reader, node, &config->services[i]);
        settings_check_edge(reader, node, &config->services[i]);
        settings_check_sni(reader, node, config, &config->services[i]);
        check_migration(reader, node, &config->services[i]);
        settings_path_cut(&reader->path, inner);
    }
    settings_path_cut(&reader->path, mark);
    claims_settle(reader, &listen);
}
