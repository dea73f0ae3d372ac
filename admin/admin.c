/*
 * The room's front door: creates and destroys what admin.h promises. Control thread.
 */
#include "admin/admin_internal.h"

#include <stdlib.h>
#include <string.h>

int admin_create(const struct admin_options *options, struct admin **out, struct err_text *err)
{
    struct admin *admin = calloc(1, sizeof(*admin));
    char *path = strdup(options->socket_path);
    if (admin == NULL || path == NULL) {
        free(admin);
        free(path);
        return err_set(err, ERR_NOMEM, "out of memory for the admin socket");
    }
    admin->options = *options;
    admin->options.socket_path = path;
    admin->socket_path = path;
    list_init(&admin->jobs);
    int code = server_create(admin, &admin->server, err);
    if (code != ERR_OK) {
        free(admin->socket_path);
        free(admin);
        return code;
    }
    *out = admin;
    return ERR_OK;
}

void admin_set_services(struct admin *admin, const struct admin_service *services, size_t services_len)
{
    admin->options.services = services;
    admin->options.services_len = services_len;
}

void admin_destroy(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    server_destroy(admin->server);
    job_orphan_all(admin);
    free(admin->socket_path);
    free(admin);
}
