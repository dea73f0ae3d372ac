/*
 * From a line to a reply: words, command, role, arguments, handler, and the audit line of everything that
 * changes something or was refused to. No handler checks a role or writes to the audit log itself. Control
 * thread. Sockets are left to admin/server.c.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"
#include "core/log.h"

#include <stdlib.h>
#include <string.h>

#define AUDIT_LINE_MAX 512u /* bytes of the line that the audit log repeats */

static command_handler *const handlers[COMMAND_COUNT] = {
    [COMMAND_HELP] = cmd_help,     [COMMAND_STATUS] = cmd_status,   [COMMAND_START] = cmd_start,
    [COMMAND_SHARE] = cmd_share,   [COMMAND_PAUSE] = cmd_pause,     [COMMAND_RESUME] = cmd_resume,
    [COMMAND_SKIP] = cmd_skip,     [COMMAND_ABORT] = cmd_abort,     [COMMAND_COMMIT] = cmd_commit,
    [COMMAND_PLAN] = cmd_plan,     [COMMAND_REPORT] = cmd_report,   [COMMAND_WAIT] = cmd_wait,
    [COMMAND_WATCH] = cmd_watch,   [COMMAND_EVENTS] = cmd_events,   [COMMAND_BACKEND] = cmd_backend,
    [COMMAND_WEIGHT] = cmd_weight, [COMMAND_TOP] = cmd_top,         [COMMAND_CONNECTIONS] = cmd_connections,
    [COMMAND_KILL] = cmd_kill,     [COMMAND_SHOW] = cmd_show,       [COMMAND_CHECK] = cmd_check,
    [COMMAND_RELOAD] = cmd_reload, [COMMAND_UPGRADE] = cmd_upgrade, [COMMAND_LOG_LEVEL] = cmd_log_level,
};

char *dispatch_error(const char *message)
{
    char *text = NULL;
    size_t length = strlen(message) + sizeof("error: \n\n");
    text = malloc(length);
    if (text == NULL) {
        return NULL;
    }
    (void)snprintf(text, length, "error: %s\n\n", message);
    /* A message may repeat what a library or a resolver said: the reply stays one line all the same. */
    for (char *p = text; p < text + length - 3; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }
    return text;
}

void dispatch_audit(const struct admin_peer *peer, const struct command *command, const char *line,
                    const char *reason, const char *outcome, const char *error)
{
    log_write(strcmp(outcome, "denied") == 0 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "admin command",
              (const struct log_field[]){LOG_TEXT("actor", peer->actor),
                                         LOG_UINT("uid", peer->uid),
                                         LOG_INT("pid", peer->pid),
                                         LOG_TEXT("role", commands_role_name(peer->role)),
                                         LOG_TEXT("command", command->name),
                                         LOG_TEXT("line", line),
                                         LOG_TEXT("reason", reason),
                                         LOG_TEXT("outcome", outcome),
                                         LOG_TEXT("error", error),
                                         {.kind = LOG_KIND_END}});
}

/* What goes on by itself has no outcome yet: one line tells that it was begun, a second one how it ended. */
static void audit(const struct command_call *call, const char *line, int code, const struct err_text *err)
{
    const char *outcome = code == ERR_OK ? "done" : code == ERR_DENIED ? "denied" : "refused";
    if (code == ERR_OK && call->follow->kind == COMMAND_FOLLOW_JOB) {
        bool over = call->follow->job->over;
        if (!over) {
            dispatch_audit(call->peer, call->command, line, call->values.reason, "begun", "");
        }
        if (job_audit(call->follow->job, call, line) || !over) {
            return;
        }
    }
    dispatch_audit(call->peer, call->command, line, call->values.reason, outcome,
                   code == ERR_OK ? "" : err->text);
}

/* Splits off and checks; *command stays NULL when there is none. */
static int run_words(struct command_call *call, const struct tokens *tokens, struct err_text *err)
{
    int code = args_find_command(tokens->word[0], &call->command, err);
    if (code != ERR_OK) {
        return code;
    }
    if (!commands_allowed(call->command, call->peer->role)) {
        return err_set(err, ERR_DENIED, "not permitted: %s needs the role %s, you have %s",
                       call->command->name, commands_role_name(call->command->role),
                       commands_role_name(call->peer->role));
    }
    code = args_read(call->admin, call->command, tokens, &call->values, err);
    if (code != ERR_OK) {
        return code;
    }
    call->who = (struct migration_asker){.actor = call->peer->actor, .reason = call->values.reason};
    return handlers[commands_id(call->command)](call, err);
}

static int run_line(struct command_call *call, char *line, size_t length, struct err_text *err)
{
    struct tokens tokens;
    char copy[AUDIT_LINE_MAX];
    (void)snprintf(copy, sizeof(copy), "%.*s", (int)length, line);
    int code = tokens_split(line, length, &tokens, err);
    if (code != ERR_OK || tokens.len == 0) {
        return code;
    }
    code = run_words(call, &tokens, err);
    if (call->command != NULL && (call->command->changes || code == ERR_DENIED)) {
        audit(call, copy, code, err);
    }
    return code;
}

void dispatch_line(struct admin *admin, const struct admin_peer *peer, char *line, size_t length,
                   struct dispatch_reply *out)
{
    struct err_text err = {.text = ""};
    *out = (struct dispatch_reply){.text = NULL};
    FILE *reply = open_memstream(&out->text, &out->length);
    if (reply == NULL) {
        return;
    }
    struct command_call call = {.admin = admin, .peer = peer, .reply = reply, .follow = &out->follow};
    int code = run_line(&call, line, length, &err);
    if (code == ERR_OK && out->follow.kind == COMMAND_FOLLOW_NONE) {
        fputc('\n', reply);
    }
    int failed = ferror(reply);
    if (fclose(reply) != 0 || failed || code != ERR_OK) {
        free(out->text);
        dispatch_unfollow(&out->follow);
        out->text = dispatch_error(code == ERR_OK ? "out of memory for the reply; what was asked is done"
                                   : err.text[0] != '\0' ? err.text
                                                         : err_describe(code));
        out->length = out->text != NULL ? strlen(out->text) : 0;
    }
}

void dispatch_unfollow(struct command_followed *follow)
{
    if (follow->job != NULL && !follow->job->over && follow->job->left != NULL) {
        follow->job->left(follow->job);
    }
    job_put(follow->job);
    follow->job = NULL;
    follow->kind = COMMAND_FOLLOW_NONE;
}

int dispatch_follow(struct admin *admin, struct command_followed *follow, uint64_t now_us, char **text,
                    size_t *length)
{
    *text = NULL;
    FILE *reply = open_memstream(text, length);
    if (reply == NULL) {
        return ERR_NOMEM;
    }
    bool over = follow->kind == COMMAND_FOLLOW_WAIT  ? cmd_wait_step(admin, follow, now_us, reply)
                : follow->kind == COMMAND_FOLLOW_JOB ? job_step(follow, reply)
                                                     : cmd_watch_step(admin, follow, reply);
    if (over) {
        dispatch_unfollow(follow);
        fputc('\n', reply);
    }
    int failed = ferror(reply);
    if (fclose(reply) != 0 || failed) {
        free(*text);
        *text = NULL;
        return ERR_NOMEM;
    }
    return ERR_OK;
}
