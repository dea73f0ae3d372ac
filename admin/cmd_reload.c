/*
 * `reload`: the configuration read again. Mostly done at once; where names must be asked for first, the reply
 * comes when that is over, which its own time limit bounds. Control thread.
 */
#include "admin/admin_internal.h"

#include <stdlib.h>
#include <string.h>

struct reload_job {
    struct job job;
    bool waits; /* the client was told to wait */
    bool over;
    int rc;
    char *report; /* owned; NULL: out of memory */
    struct err_text err;
};

static void destroy(struct job *job)
{
    struct reload_job *self = list_entry(job, struct reload_job, job);
    free(self->report);
    free(self);
}

static void on_reloaded(void *context, int rc, const char *report, const char *why)
{
    struct reload_job *self = context;
    if (self->waits) {
        char *text = rc == ERR_OK ? strdup(report) : dispatch_error(why);
        size_t length = text != NULL ? strlen(text) : 0;
        job_end(&self->job, text, length);
        return;
    }
    self->over = true;
    self->rc = rc;
    self->report = rc == ERR_OK ? strdup(report) : NULL;
    if (rc != ERR_OK) {
        (void)err_set(&self->err, rc, "%s", why);
    }
}

int cmd_reload(struct command_call *call, struct err_text *err)
{
    const struct admin_options *options = &call->admin->options;
    if (options->reload == NULL) {
        return err_set(err, ERR_UNAVAILABLE, "there is no configuration to read again here");
    }
    struct reload_job *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a reload");
    }
    options->reload(options->reload_context, call->who.actor, call->who.reason, on_reloaded, self);
    if (!self->over) {
        self->waits = true;
        job_begin(&self->job, call, destroy);
        return ERR_OK;
    }
    int rc = self->rc;
    if (rc != ERR_OK) {
        *err = self->err;
    } else {
        fputs(self->report != NULL ? self->report : "reloaded\n", call->reply);
    }
    free(self->report);
    free(self);
    return rc;
}
