/*
 * Who may what: the names of the configuration as ids, looked up once, and the decision by the ids of a peer.
 * With roles configured, whoever is not named gets the default, which is none unless said otherwise. Control
 * thread; roles_of is pure. What a role may is the command table's business.
 */
#include "admin/admin_internal.h"
#include "core/units.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define LOOKUP_BYTES 65536u /* a group with thousands of members */

struct roles_entry {
    bool is_group;
    uint32_t id;
    enum command_role role;
};

struct roles {
    enum command_role fallback;
    size_t len;
    struct roles_entry entry[];
};

static bool find_user(const char *name, char *memory, uint32_t *id)
{
    struct passwd entry;
    struct passwd *found = NULL;
    if (getpwnam_r(name, &entry, memory, LOOKUP_BYTES, &found) != 0 || found == NULL) {
        return false;
    }
    *id = found->pw_uid;
    return true;
}

static bool find_group(const char *name, char *memory, uint32_t *id)
{
    struct group entry;
    struct group *found = NULL;
    if (getgrnam_r(name, &entry, memory, LOOKUP_BYTES, &found) != 0 || found == NULL) {
        return false;
    }
    *id = found->gr_gid;
    return true;
}

/* A name of this system, or a number. UINT32_MAX is the kernel's "nobody known" and names no one. */
static int resolve(const struct config_admin_role *config, char *memory, struct roles_entry *out,
                   struct err_text *err)
{
    uint64_t number = 0;
    if ((config->user == NULL) == (config->group == NULL)) {
        return err_set(err, ERR_INVALID, "admin.roles (line %u): say either user or group", config->line);
    }
    out->is_group = config->group != NULL;
    out->role = (enum command_role)config->role; /* the values of both enums are the same */
    const char *name = out->is_group ? config->group : config->user;
    if (out->is_group ? find_group(name, memory, &out->id) : find_user(name, memory, &out->id)) {
        return ERR_OK;
    }
    if (units_parse_count(name, UINT32_MAX - 1, &number) == ERR_OK) {
        out->id = (uint32_t)number;
        return ERR_OK;
    }
    return err_set(err, ERR_INVALID, "admin.roles (line %u): this system has no %s \"%s\"", config->line,
                   out->is_group ? "group" : "user", name);
}

int roles_create(const struct config *config, struct roles **out, struct err_text *err)
{
    size_t len = config->admin.roles_len;
    *out = NULL;
    if (len == 0) {
        return ERR_OK;
    }
    struct roles *roles = calloc(1, sizeof(*roles) + len * sizeof(roles->entry[0]));
    char *memory = malloc(LOOKUP_BYTES);
    int code = roles == NULL || memory == NULL ? err_set(err, ERR_NOMEM, "out of memory for the roles") : 0;
    if (roles != NULL && memory != NULL) {
        roles->fallback = (enum command_role)config->admin.default_role;
        roles->len = len;
        for (size_t i = 0; code == ERR_OK && i < len; i++) {
            code = resolve(&config->admin.roles[i], memory, &roles->entry[i], err);
        }
    }
    free(memory);
    if (code != ERR_OK) {
        free(roles);
        return code;
    }
    *out = roles;
    return ERR_OK;
}

void roles_destroy(struct roles *roles)
{
    free(roles);
}

static bool fits(const struct roles_entry *entry, uid_t uid, const gid_t *gids, size_t gids_len)
{
    if (!entry->is_group) {
        return entry->id == uid;
    }
    for (size_t i = 0; i < gids_len; i++) {
        if (entry->id == gids[i]) {
            return true;
        }
    }
    return false;
}

enum command_role roles_of(const struct roles *roles, uid_t uid, const gid_t *gids, size_t gids_len)
{
    if (roles == NULL) {
        return COMMAND_ROLE_ADMIN;
    }
    enum command_role most = COMMAND_ROLE_NONE;
    bool named = false;
    for (size_t i = 0; i < roles->len; i++) {
        if (fits(&roles->entry[i], uid, gids, gids_len)) {
            named = true;
            most = roles->entry[i].role > most ? roles->entry[i].role : most;
        }
    }
    return named ? most : roles->fallback;
}
