/*
 * The commands that run a migration: each asks the migration for it and tells what is in force afterwards,
 * how to follow it and how to stop it. Control thread. Why something is refused is decided, and worded, by
 * the migration room.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"
#include "core/units.h"

#include <string.h>

/* How to go on from here, behind what is in force. */
static void write_hints(struct command_call *call, const struct migration_status *status)
{
    const char *name = call->values.service->name;
    switch (status->phase) {
    case MIGRATION_IDLE:
    case MIGRATION_COMPLETED:
    case MIGRATION_ROLLED_BACK:
        fprintf(call->reply, "        see: shuntctl status %s\n", name);
        break;
    case MIGRATION_ROLLING_BACK:
        fprintf(call->reply, "        follow: shuntctl watch %s\n", name);
        break;
    case MIGRATION_AWAITING_COMMIT:
        fprintf(call->reply, "        complete: shuntctl commit %s      go back: shuntctl abort %s\n", name,
                name);
        break;
    default:
        fprintf(call->reply, "        follow: shuntctl watch %s      stop: shuntctl abort %s\n", name, name);
        break;
    }
}

/* "api-42 VERB: what is in force", then the hints. */
static void write_outcome(struct command_call *call, const char *verb)
{
    struct migration_status status;
    migration_read(call->values.service->migration, &status);
    fprintf(call->reply, "%s %s: ", status.id[0] != '\0' ? status.id : call->values.service->name, verb);
    render_in_force(call->reply, &status);
    write_hints(call, &status);
}

/* "1% for 5m, then 5%": the step that a started plan is at. */
static void write_step(FILE *out, const struct config_migration *plan, const struct migration_status *status)
{
    char share[16];
    char hold[32];
    size_t at = status->step > 0 ? status->step - 1 : 0;
    if (plan->ramp.present || at >= plan->steps_len) {
        render_in_force(out, status);
        return;
    }
    units_format_share(plan->steps[at].share_bp, share, sizeof(share));
    if (plan->steps[at].hold_us == CONFIG_HOLD_MANUAL) {
        render_in_force(out, status);
        return;
    }
    clock_format_duration(plan->steps[at].hold_us, hold, sizeof(hold));
    fprintf(out, "%s for %s, then ", share, hold);
    if (at + 1 < plan->steps_len) {
        units_format_share(plan->steps[at + 1].share_bp, share, sizeof(share));
        fputs(share, out);
    } else {
        fputs("the old group drains", out);
    }
}

int cmd_start(struct command_call *call, struct err_text *err)
{
    const struct admin_service *service = call->values.service;
    const char *target =
        call->values.group != ROUTING_NONE ? routing_group_name(service->routing, call->values.group) : NULL;
    struct migration_status status;
    migration_read(service->migration, &status);
    bool turns_back = target == NULL && status.phase == MIGRATION_COMPLETED;
    int code = migration_start(service->migration, target, call->values.share_bp, call->values.force,
                               &call->who, err);
    if (code != ERR_OK) {
        return code;
    }
    migration_read(service->migration, &status);
    fprintf(call->reply, "%s started: ", status.id);
    if (status.phase == MIGRATION_RAMPING) {
        write_step(call->reply, &service->config->migration, &status);
    } else if (status.phase == MIGRATION_PREFLIGHT) {
        fprintf(call->reply, "preflight, %s", status.reason);
    } else {
        render_in_force(call->reply, &status);
    }
    write_hints(call, &status);
    if (turns_back) {
        /* The command line of the last migration, repeated: meant where upgrades alternate, or a mistake. */
        fprintf(call->reply, "it goes from %s back to %s, since the last one is completed\n",
                routing_group_name(service->routing, status.active),
                routing_group_name(service->routing, status.target));
    }
    return ERR_OK;
}

int cmd_share(struct command_call *call, struct err_text *err)
{
    const struct admin_service *service = call->values.service;
    int code = migration_share(service->migration, call->values.share_bp, &call->who, err);
    if (code != ERR_OK) {
        return code;
    }
    struct migration_status status;
    migration_read(service->migration, &status);
    fprintf(call->reply, "%s by hand: ", status.id);
    render_in_force(call->reply, &status);
    fprintf(call->reply, "        go on: shuntctl %s %s      stop: shuntctl abort %s\n",
            status.share_bp >= UNITS_BP_FULL ? "commit" : "resume", service->name, service->name);
    return ERR_OK;
}

int cmd_pause(struct command_call *call, struct err_text *err)
{
    const struct admin_service *service = call->values.service;
    int code = migration_pause(service->migration, &call->who, err);
    if (code != ERR_OK) {
        return code;
    }
    struct migration_status status;
    migration_read(service->migration, &status);
    fprintf(call->reply, "%s paused: ", status.id);
    render_in_force(call->reply, &status);
    fprintf(call->reply, "        go on: shuntctl resume %s      stop: shuntctl abort %s\n", service->name,
            service->name);
    return ERR_OK;
}

/* After a rollback: a new migration, further on. */
static int resume_anew(struct command_call *call, struct err_text *err)
{
    const struct admin_service *service = call->values.service;
    struct migration_status status;
    migration_read(service->migration, &status);
    if (status.phase != MIGRATION_ROLLED_BACK) {
        return err_set(err, ERR_STATE,
                       "from-share is for a migration that was rolled back; `share %s PCT` moves one by hand",
                       service->name);
    }
    return cmd_start(call, err);
}

int cmd_resume(struct command_call *call, struct err_text *err)
{
    if (call->values.share_given) {
        return resume_anew(call, err);
    }
    int code = migration_resume(call->values.service->migration, &call->who, err);
    if (code == ERR_OK) {
        write_outcome(call, "goes on");
    }
    return code;
}

int cmd_skip(struct command_call *call, struct err_text *err)
{
    int code = migration_skip(call->values.service->migration, &call->who, err);
    if (code == ERR_OK) {
        write_outcome(call, "skipped ahead");
    }
    return code;
}

int cmd_abort(struct command_call *call, struct err_text *err)
{
    int code = migration_abort(call->values.service->migration, &call->who, err);
    if (code == ERR_OK) {
        write_outcome(call, "aborted");
    }
    return code;
}

int cmd_commit(struct command_call *call, struct err_text *err)
{
    int code = migration_commit(call->values.service->migration, &call->who, err);
    if (code == ERR_OK) {
        write_outcome(call, "committed");
    }
    return code;
}

static void write_wait_result(FILE *out, const char *result, bool json)
{
    fprintf(out, json ? "{\"result\":\"%s\"}\n" : "%s\n", result);
}

int cmd_wait(struct command_call *call, struct err_text *err)
{
    const struct admin_service *service = call->values.service;
    struct migration_status status;
    migration_read(service->migration, &status);
    if (status.phase == MIGRATION_IDLE) {
        return err_set(err, ERR_STATE, "no migration of %s to wait for: start %s begins one", service->name,
                       service->name);
    }
    if (migration_is_settled(service->migration)) {
        write_wait_result(call->reply, migration_phase_name(status.phase), call->values.json);
        return ERR_OK;
    }
    uint64_t now_us = clock_mono_us();
    call->follow->kind = COMMAND_FOLLOW_WAIT;
    call->follow->json = call->values.json;
    call->follow->until_us =
        call->values.duration_us < CLOCK_NEVER - now_us ? now_us + call->values.duration_us : CLOCK_NEVER;
    (void)snprintf(call->follow->service, sizeof(call->follow->service), "%s", service->name);
    return ERR_OK;
}

bool cmd_wait_step(struct admin *admin, struct command_followed *follow, uint64_t now_us, FILE *reply)
{
    const struct admin_service *service;
    struct err_text err;
    struct migration_status status;
    if (args_find_service(admin, follow->service, &service, &err) != ERR_OK) {
        fprintf(reply, "error: %s\n", err.text);
        return true;
    }
    if (migration_is_settled(service->migration)) {
        migration_read(service->migration, &status);
        write_wait_result(reply, migration_phase_name(status.phase), follow->json);
        return true;
    }
    if (now_us >= follow->until_us) {
        write_wait_result(reply, "timeout", follow->json);
        return true;
    }
    return false;
}
