/*
 * The room's front door: creates and destroys what admin.h promises. Control thread.
 */
#include "admin/server_internal.h"
#include "core/log.h"

#include <stdlib.h>
#include <string.h>

void admin_wake(struct admin *admin)
{
    server_wake(admin->server);
    for (size_t i = 0; i < admin->more_len; i++) {
        server_wake(admin->more[i]);
    }
}

/* Runs inside whatever wrote the event, so it only rings the bell. */
static void on_event(void *context, const struct events_entry *entry)
{
    (void)entry;
    admin_wake(context);
}

/* The further sockets of the configuration. */
static int create_more(struct admin *admin, struct err_text *err)
{
    const struct config *config = admin->options.config;
    admin->more = calloc(config->admin.sockets_len + 1, sizeof(struct admin_server *));
    if (admin->more == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the admin sockets");
    }
    int code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < config->admin.sockets_len; i++) {
        const struct config_admin_socket *socket = &config->admin.sockets[i];
        /* The values of both enums are the same, in the same order. */
        const struct server_spec spec = {.path = socket->socket,
                                         .mode = socket->mode,
                                         .most = (enum command_role)socket->most,
                                         .given = admin->options.given};
        code = server_create(admin, &spec, &admin->more[i], err);
        admin->more_len += code == ERR_OK;
    }
    return code;
}

static int create_metrics(struct admin *admin, struct err_text *err)
{
    char text[ADDR_TEXT_MAX];
    if (admin->options.metrics == NULL) {
        return ERR_OK;
    }
    int code = metrics_http_create(admin, admin->options.metrics, &admin->http, err);
    admin->options.metrics = NULL;
    if (code == ERR_OK) {
        addr_format(metrics_http_address(admin->http), text, sizeof(text));
        log_line(LOG_LEVEL_INFO, "metrics are served", LOG_TEXT("address", text));
    }
    return code;
}

static int create_parts(struct admin *admin, struct err_text *err)
{
    const struct server_spec spec = {.path = admin->socket_path,
                                     .mode = admin->options.mode,
                                     .most = COMMAND_ROLE_ADMIN,
                                     .given = admin->options.given};
    int code = roles_create(admin->options.config, &admin->roles, err);
    if (code == ERR_OK) {
        code = server_create(admin, &spec, &admin->server, err);
    }
    if (code == ERR_OK) {
        code = create_more(admin, err);
    }
    if (code == ERR_OK && admin->options.config->admin.remote.present) {
        code = remote_create(admin->server, &admin->remote, err);
    }
    if (code == ERR_OK) {
        code = top_create(admin, &admin->top, err);
    }
    if (code == ERR_OK) {
        code = create_metrics(admin, err);
    }
    if (code == ERR_OK) {
        events_set_listener(admin->options.events, on_event, admin);
    }
    return code;
}

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
    int code = create_parts(admin, err);
    admin->options.given = NULL;
    admin->options.owner = NULL;
    if (code != ERR_OK) {
        admin_destroy(admin);
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

void admin_set_config(struct admin *admin, const struct config *config, const char *settings)
{
    admin->options.config = config;
    admin->settings = settings;
    if (admin->remote != NULL) {
        remote_reload(admin->remote);
    }
}

const struct addr *admin_metrics_address(const struct admin *admin)
{
    return admin->http != NULL ? metrics_http_address(admin->http) : NULL;
}

const struct addr *admin_remote_address(const struct admin *admin)
{
    return admin->remote != NULL ? remote_address(admin->remote) : NULL;
}

void admin_sockets(const struct admin *admin, given_visit_fn *visit, void *context)
{
    server_sockets(admin->server, visit, context);
    for (size_t i = 0; i < admin->more_len; i++) {
        server_sockets(admin->more[i], visit, context);
    }
    remote_sockets(admin->remote, visit, context);
    metrics_http_sockets(admin->http, visit, context);
}

static void hold(struct admin *admin, bool on)
{
    server_hold(admin->server, on);
    for (size_t i = 0; i < admin->more_len; i++) {
        server_hold(admin->more[i], on);
    }
    remote_hold(admin->remote, on);
    metrics_http_hold(admin->http, on);
}

void admin_hold(struct admin *admin)
{
    hold(admin, true);
}

void admin_resume(struct admin *admin)
{
    hold(admin, false);
}

static void leave(struct admin *admin, bool leaves)
{
    server_leave(admin->server, leaves);
    for (size_t i = 0; i < admin->more_len; i++) {
        server_leave(admin->more[i], leaves);
    }
}

void admin_leave(struct admin *admin)
{
    leave(admin, true);
}

void admin_own(struct admin *admin)
{
    leave(admin, false);
}

void admin_tell_stop(struct admin *admin)
{
    server_tell_stop(admin->server);
    for (size_t i = 0; i < admin->more_len; i++) {
        server_tell_stop(admin->more[i]);
    }
}

void admin_destroy(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    events_set_listener(admin->options.events, NULL, NULL);
    metrics_http_destroy(admin->http);
    remote_destroy(admin->remote);
    top_destroy(admin->top);
    while (admin->more_len > 0) { /* a client that goes may wake those that are left */
        server_destroy(admin->more[--admin->more_len]);
    }
    free(admin->more);
    if (admin->server != NULL) {
        server_destroy(admin->server);
        admin->server = NULL;
    }
    job_orphan_all(admin);
    roles_destroy(admin->roles);
    free(admin->socket_path);
    free(admin);
}
