/*
 * `upgrade`: asks for another program to take this one's place. The reply comes when that has taken over, or
 * when everything was taken back. Control thread. The work is the daemon's.
 */
#include "admin/admin_internal.h"

#include <stdlib.h>
#include <string.h>

struct upgrade_job {
    struct job job;
};

static void destroy(struct job *job)
{
    free(list_entry(job, struct upgrade_job, job));
}

static void on_done(void *context, bool passed, const char *text)
{
    struct upgrade_job *self = context;
    char *line = NULL;
    int length = asprintf(&line, "%s%s\n", passed ? "" : "error: ", text);
    job_end(&self->job, length < 0 ? NULL : line, length < 0 ? 0 : (size_t)length);
}

int cmd_upgrade(struct command_call *call, struct err_text *err)
{
    const struct admin_options *options = &call->admin->options;
    if (options->upgrade == NULL) {
        return err_set(err, ERR_UNAVAILABLE, "there is no program to start here");
    }
    struct upgrade_job *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for an upgrade");
    }
    int code =
        options->upgrade(options->reload_context, call->who.actor, call->who.reason, on_done, self, err);
    if (code != ERR_OK) {
        free(self);
        return code;
    }
    job_begin(&self->job, call, destroy);
    return ERR_OK;
}
