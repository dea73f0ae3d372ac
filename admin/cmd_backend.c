/*
 * The commands for a single backend: its operator state, what is forced, its weight. All go through the
 * migration room, which keeps them over a restart. Control thread.
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

/* The way back from a word that takes it out or forces it. */
static void write_way_back(struct command_call *call, const char *word)
{
    fputs("        back: shuntctl backend ", call->reply);
    write_backend_path(call);
    fprintf(call->reply, " %s", word);
}

/* Whatever else keeps it from serving, so that "ready" and "force-up" are not misread. */
static void write_what_is_left(struct command_call *call)
{
    const struct backend *backend = call->values.backend;
    if (backend_admin(backend) != BACKEND_READY) {
        fprintf(call->reply, ", but it is in %s", backend_admin_name(backend_admin(backend)));
    } else if (backend_weight(backend) == 0) {
        fputs(", but its weight is 0", call->reply);
    } else if (backend_forced(backend) == BACKEND_FORCED_DOWN) {
        fputs(", but it is forced down", call->reply);
    }
}

static int set_admin(struct command_call *call, enum backend_admin admin, struct err_text *err)
{
    struct backend *backend = call->values.backend;
    int code = migration_set_admin(call->values.service->migration, backend, admin, &call->who, err);
    if (code != ERR_OK) {
        return code;
    }
    write_backend_path(call);
    fprintf(call->reply, " is %s: ", backend_admin_name(admin));
    if (admin == BACKEND_READY) {
        fprintf(call->reply, "state %s", backend_state_name(backend_standing(backend)));
        write_what_is_left(call);
    } else {
        fprintf(call->reply, "no new connections, %" PRIu64 " open go on", backend_open(backend));
    }
    write_usable(call);
    if (admin != BACKEND_READY) {
        write_way_back(call, "ready");
    }
    fputc('\n', call->reply);
    return ERR_OK;
}

static int set_forced(struct command_call *call, enum backend_forced forced, struct err_text *err)
{
    struct backend *backend = call->values.backend;
    int code = migration_set_forced(call->values.service->migration, backend, forced, &call->who, err);
    if (code != ERR_OK) {
        return code;
    }
    const char *health = backend_state_name(backend_state(backend));
    write_backend_path(call);
    if (forced == BACKEND_AUTO) {
        fprintf(call->reply, " is not forced: state %s", backend_state_name(backend_standing(backend)));
    } else {
        fprintf(call->reply, " is forced %s, whatever its checks say (now: %s)", backend_forced_name(forced),
                health);
    }
    if (forced != BACKEND_FORCED_DOWN) {
        write_what_is_left(call);
    }
    write_usable(call);
    if (forced != BACKEND_AUTO) {
        write_way_back(call, "auto");
    }
    fputc('\n', call->reply);
    return ERR_OK;
}

int cmd_backend(struct command_call *call, struct err_text *err)
{
    /* The order of the choices in the table: enum backend_admin, then these. */
    static const enum backend_forced words[] = {BACKEND_FORCED_UP, BACKEND_FORCED_DOWN, BACKEND_AUTO};
    unsigned choice = call->values.choice;
    return choice <= BACKEND_MAINT ? set_admin(call, (enum backend_admin)choice, err)
                                   : set_forced(call, words[choice - BACKEND_MAINT - 1], err);
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
