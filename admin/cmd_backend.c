/*
 * The commands for a single backend: its operator state and its weight. Both go through the migration room,
 * which keeps them over a restart. Control thread.
 */
#include "admin/admin_internal.h"

#include <inttypes.h>

static void write_backend_path(struct command_call *call)
{
    fprintf(call->reply, "%s/%s/%s", call->values.service->name,
            routing_group_name(call->values.service->routing, call->values.group),
            backend_name(call->values.backend));
}

/* How many backends of the group are left for new connections: what one wants to know after a change. */
static void write_usable(struct command_call *call)
{
    const struct routing *routing = call->values.service->routing;
    fprintf(call->reply, "; %s has %zu of %zu usable", routing_group_name(routing, call->values.group),
            routing_usable(routing, call->values.group), routing_backends(routing, call->values.group));
}

int cmd_backend(struct command_call *call, struct err_text *err)
{
    /* The order of the choices in the table is that of enum backend_admin. */
    enum backend_admin admin = (enum backend_admin)call->values.choice;
    struct backend *backend = call->values.backend;
    int code = migration_set_admin(call->values.service->migration, backend, admin, &call->who, err);
    if (code != ERR_OK) {
        return code;
    }
    write_backend_path(call);
    fprintf(call->reply, " is %s: ", backend_admin_name(admin));
    if (admin == BACKEND_READY) {
        fprintf(call->reply, "state %s", backend_state_name(backend_state(backend)));
    } else {
        fprintf(call->reply, "no new connections, %" PRIu64 " open go on", backend_open(backend));
    }
    write_usable(call);
    if (admin != BACKEND_READY) {
        fputs("        back: shuntctl backend ", call->reply);
        write_backend_path(call);
        fputs(" ready", call->reply);
    }
    fputc('\n', call->reply);
    return ERR_OK;
}

int cmd_weight(struct command_call *call, struct err_text *err)
{
    uint32_t before = backend_weight(call->values.backend);
    int code = migration_set_weight(call->values.service->migration, call->values.backend,
                                    call->values.weight, &call->who, err);
    if (code != ERR_OK) {
        return code;
    }
    write_backend_path(call);
    fprintf(call->reply, " has weight %" PRIu32 " (before: %" PRIu32 ")", call->values.weight, before);
    write_usable(call);
    fputc('\n', call->reply);
    return ERR_OK;
}
