/*
 * Replies that come later: what a command began on the workers, counted between the work and the client that
 * waits for it. Either may go first; a client that leaves does not stop what it began, unless nobody else has
 * a use for it (left). Control thread.
 */
#include "admin/admin_internal.h"

#include <stdlib.h>
#include <string.h>

#define REFUSED "error: "

void job_begin(struct job *job, struct command_call *call, void (*destroy)(struct job *job))
{
    job->count = 2;
    job->admin = call->admin;
    job->over = false;
    job->text = NULL;
    job->length = 0;
    job->asked = NULL;
    job->destroy = destroy;
    list_append(&call->admin->jobs, &job->node);
    call->follow->kind = COMMAND_FOLLOW_JOB;
    call->follow->json = call->values.json;
    call->follow->job = job;
}

void job_put(struct job *job)
{
    if (job == NULL || --job->count > 0) {
        return;
    }
    list_remove(&job->node);
    free(job->text);
    free(job->asked);
    job->destroy(job);
}

/* The second audit line: how it ended. */
static void audit_end(struct job *job)
{
    char why[256] = "";
    bool refused = job->text != NULL && strncmp(job->text, REFUSED, strlen(REFUSED)) == 0;
    if (job->asked == NULL) {
        return;
    }
    if (refused) {
        const char *text = job->text + strlen(REFUSED);
        (void)snprintf(why, sizeof(why), "%.*s", (int)strcspn(text, "\n"), text);
    }
    dispatch_audit(&job->peer, job->command, job->asked, job->reason, refused ? "refused" : "done", why);
    free(job->asked);
    job->asked = NULL;
}

bool job_audit(struct job *job, const struct command_call *call, const char *line)
{
    job->asked = strdup(line);
    if (job->asked == NULL) {
        return false;
    }
    job->command = call->command;
    job->peer = *call->peer;
    (void)snprintf(job->reason, sizeof(job->reason), "%s",
                   call->values.reason != NULL ? call->values.reason : "");
    if (job->over) {
        audit_end(job);
    }
    return true;
}

void job_end(struct job *job, char *text, size_t length)
{
    job->over = true;
    job->text = text;
    job->length = length;
    audit_end(job);
    if (job->admin != NULL) {
        admin_wake(job->admin);
    }
    job_put(job);
}

bool job_step(struct command_followed *follow, FILE *reply)
{
    const struct job *job = follow->job;
    if (!job->over) {
        return false;
    }
    if (job->text == NULL) {
        fputs("error: out of memory for the reply; what was asked is done\n", reply);
    } else {
        (void)fwrite(job->text, 1, job->length, reply);
    }
    return true;
}

void job_orphan_all(struct admin *admin)
{
    list_each (node, &admin->jobs) {
        struct job *job = list_entry(node, struct job, node);
        job->admin = NULL;
        list_remove(node);
        if (job->orphan != NULL) {
            job->orphan(job);
        }
    }
}
