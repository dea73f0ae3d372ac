/*
 * `check`: one check of a backend now, with what was said, as an operator would try it by hand. The reply
 * comes when the check has ended, which its own timeout bounds. Control thread.
 */
#include "admin/admin_internal.h"

#include "core/clock.h"

#include <stdlib.h>
#include <string.h>

struct check_job {
    struct job job;
    struct health_trial *trial; /* owned */
    FILE *lines;                /* owned; into text */
    char *text;                 /* owned; a line for each piece of the exchange */
    size_t text_len;
    bool json;
    char path[3 * ROUTING_NAME_MAX]; /* SERVICE/GROUP/BACKEND */
};

static void destroy(struct job *job)
{
    struct check_job *self = list_entry(job, struct check_job, job);
    health_trial_destroy(self->trial);
    if (self->lines != NULL) {
        (void)fclose(self->lines);
    }
    free(self->text);
    free(self);
}

static void on_line(void *context, const char *text)
{
    struct check_job *self = context;
    (void)fprintf(self->lines, "%s\n", text);
}

static json_t *exchange(const struct check_job *self)
{
    json_t *list = json_array();
    const char *at = self->text;
    while (list != NULL && at != NULL && *at != '\0') {
        size_t len = strcspn(at, "\n");
        (void)json_array_append_new(list, json_stringn_nocheck(at, len));
        at += len + (at[len] == '\n');
    }
    return list;
}

static void write_json(FILE *out, const struct check_job *self, bool passed, const char *reason,
                       uint64_t duration_us)
{
    json_t *value = json_pack("{s:s, s:b, s:o, s:I, s:o}", "backend", self->path, "passed", passed, "reason",
                              render_json_text(reason), "duration_us", (json_int_t)duration_us, "exchange",
                              exchange(self));
    if (render_json_write(out, value) != ERR_OK) {
        fputs("error: out of memory for the reply\n", out);
    }
}

static void on_done(void *context, bool passed, const char *reason, uint64_t duration_us)
{
    struct check_job *self = context;
    char *text = NULL;
    size_t length = 0;
    char took[32];
    FILE *out = fflush(self->lines) == 0 ? open_memstream(&text, &length) : NULL;
    if (out != NULL) {
        clock_format_duration(duration_us, took, sizeof(took));
        if (self->json) {
            write_json(out, self, passed, reason, duration_us);
        } else {
            fprintf(out, "%s%s %s %s in %s: %s\n", self->text, passed ? "✔" : "✖", self->path,
                    passed ? "passed" : "failed", took, reason);
        }
        bool failed = ferror(out) != 0;
        if (fclose(out) != 0 || failed) {
            free(text);
            text = NULL;
        }
    }
    health_trial_destroy(self->trial);
    self->trial = NULL;
    job_end(&self->job, text, length);
}

/* The checks go next: this one must not outlive them. Or its client has gone: a descriptor for each that
 * nobody waits for any more would soon be many. */
static void orphan(struct job *job)
{
    struct check_job *self = list_entry(job, struct check_job, job);
    if (self->trial != NULL) {
        health_trial_destroy(self->trial);
        self->trial = NULL;
        job_end(job, NULL, 0);
    }
}

int cmd_check(struct command_call *call, struct err_text *err)
{
    const struct admin_service *service = call->values.service;
    const char *group = routing_group_name(service->routing, call->values.group);
    struct check_job *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a check");
    }
    self->json = call->values.json;
    (void)snprintf(self->path, sizeof(self->path), "%s/%s/%s", service->name, group,
                   backend_name(call->values.backend));
    int code = ERR_NOT_FOUND;
    self->lines = open_memstream(&self->text, &self->text_len);
    if (self->lines == NULL) {
        code = ERR_NOMEM;
    } else if (service->health != NULL) {
        code = health_try(service->health, call->values.backend, on_done, on_line, self, &self->trial);
    }
    if (code != ERR_OK) {
        destroy(&self->job);
        return code == ERR_NOT_FOUND
                   ? err_set(err, code, "group %s of %s has no checks: set health in its configuration",
                             group, service->name)
                   : err_set(err, code, "out of memory for a check");
    }
    self->job.orphan = orphan;
    self->job.left = orphan;
    job_begin(&self->job, call, destroy);
    return ERR_OK;
}
