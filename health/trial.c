/*
 * A check by hand: a probe of its own beside the schedule, its exchange as printable lines. Control thread.
 */
#include "health/health_internal.h"

#include "core/bytes.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_TEXT_MAX 1024u
#define LINES_MAX 200u

struct health_trial {
    struct list node; /* in health->trials */
    const struct probe_type *type;
    struct probe *probe; /* owned */
    uint64_t started_us;
    unsigned lines;
    health_trial_fn *done;
    void (*line)(void *context, const char *text);
    void *context;
};

static void on_trace(void *context, enum probe_traced kind, const void *data, size_t len)
{
    static const char *const signs[] = {"> ", "< ", "- "};
    struct health_trial *trial = context;
    char text[LINE_TEXT_MAX];
    if (trial->line == NULL || trial->lines >= LINES_MAX) {
        return;
    }
    trial->lines++;
    (void)snprintf(text, sizeof(text), "%s", signs[kind]);
    bytes_escape(data, len, text + 2, sizeof(text) - 2);
    trial->line(trial->context, trial->lines < LINES_MAX ? text : "- (and more)");
}

static void on_done(void *context, const struct probe_result *result)
{
    const struct health_trial *trial = context;
    trial->done(trial->context, result->outcome == PROBE_PASSED, result->reason,
                clock_mono_us() - trial->started_us);
}

int health_try(struct health *health, const struct backend *backend, health_trial_fn *done,
               void (*line)(void *context, const char *text), void *context, struct health_trial **out)
{
    const struct check *check = health_find(health, backend);
    if (check == NULL) {
        return ERR_NOT_FOUND;
    }
    struct health_trial *trial = calloc(1, sizeof(*trial));
    if (trial == NULL) {
        return ERR_NOMEM;
    }
    struct probe_spec spec;
    health_fill_spec(check, &spec);
    spec.done = on_done;
    spec.trace = on_trace;
    spec.context = trial;
    *trial = (struct health_trial){
        .type = check->type, .started_us = clock_mono_us(), .done = done, .line = line, .context = context};
    if (trial->type->create(&spec, &trial->probe) != 0) {
        free(trial);
        return ERR_NOMEM;
    }
    list_append(&health->trials, &trial->node);
    *out = trial;
    trial->type->start(trial->probe);
    return 0;
}

void health_end_trials(struct health *health)
{
    list_each (node, &health->trials) {
        struct health_trial *trial = list_entry(node, struct health_trial, node);
        list_remove(node);
        trial->type->destroy(trial->probe); /* it reads what all checks of its group share */
        trial->probe = NULL;
        trial->done(trial->context, false, "given up: the checks were made anew by a reload",
                    clock_mono_us() - trial->started_us);
    }
}

void health_trial_destroy(struct health_trial *trial)
{
    if (trial != NULL) {
        list_remove(&trial->node);
        if (trial->probe != NULL) {
            trial->type->destroy(trial->probe);
        }
        free(trial);
    }
}
