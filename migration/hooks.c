/*
 * Runs the commands of the hooks: a queue of those that only tell, one at a time, and beside it at most one
 * question with its commands one after another. Control thread. When something is told or asked is decided in
 * migration/hooked.c; running a command is core/process.c.
 */
#include "migration/hooks.h"

#include "core/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 64u
#define ENVIRONMENT_MAX 10u

/* One run of one hook, with all that it is told. */
struct job {
    const struct config_hook *hook;     /* borrowed */
    char *environment[ENVIRONMENT_MAX]; /* owned; ended by NULL */
    char *input;                        /* owned */
};

struct hooks {
    struct hooks_options options;
    struct job queue[QUEUE_MAX]; /* a ring */
    size_t first, waiting;
    struct process *telling; /* runs queue[first]; NULL: none */
    struct process *asking;
    pid_t telling_pid, asking_pid; /* 0: it never ran */
    struct job asked;              /* what asking runs */
    size_t asked_index;            /* of its hook in the configuration */
    enum config_hook_event asked_event;
    enum hooks_answer answer;
    uint64_t key;
    char words[300];
};

const char *hooks_event_name(enum config_hook_event event)
{
    static const char *const names[] = {"start",   "before-step",   "pause",    "rollback",
                                        "drained", "before-commit", "completed"};

    return names[event];
}

static void job_clear(struct job *job)
{
    for (size_t i = 0; i < ENVIRONMENT_MAX; i++) {
        free(job->environment[i]);
    }
    free(job->input);
    *job = (struct job){0};
}

static bool put(struct job *job, size_t index, const char *name, const char *value)
{
    if (asprintf(&job->environment[index], "%s=%s", name, value == NULL ? "" : value) < 0) {
        job->environment[index] = NULL;
    }
    return job->environment[index] != NULL;
}

static bool job_fill(struct job *job, const struct config_hook *hook, const struct hooks_context *context)
{
    const char *path = getenv("PATH");
    char step[16];
    char *data = json_dumps(context->data, JSON_COMPACT);
    bool good;

    *job = (struct job){.hook = hook};
    /* One whole line: `read` in a shell wants its end. */
    if (data == NULL || asprintf(&job->input, "%s\n", data) < 0) {
        job->input = NULL;
    }
    free(data);
    snprintf(step, sizeof(step), "%u", context->step);
    good = job->input != NULL && put(job, 0, "PATH", path == NULL ? "/usr/local/bin:/usr/bin:/bin" : path) &&
           put(job, 1, "SHUNT_EVENT", hooks_event_name(hook->on)) &&
           put(job, 2, "SHUNT_SERVICE", context->service) &&
           put(job, 3, "SHUNT_MIGRATION", context->migration) && put(job, 4, "SHUNT_PHASE", context->phase) &&
           put(job, 5, "SHUNT_SHARE", context->share) && put(job, 6, "SHUNT_STEP", step) &&
           put(job, 7, "SHUNT_REASON", context->reason);
    if (!good) {
        job_clear(job);
    }
    return good;
}

static int job_start(struct hooks *hooks, const struct job *job,
                     void (*done)(void *context, const struct process_result *result), struct process **out,
                     pid_t *pid)
{
    struct process_spec spec = {.base = hooks->options.base,
                                .arguments = job->hook->command,
                                .environment = job->environment,
                                .input = job->input,
                                .input_len = strlen(job->input),
                                .timeout_us = job->hook->timeout_us,
                                .done = done,
                                .context = hooks};
    char **arguments = calloc(job->hook->command_len + 1, sizeof(char *));
    int rc = ERR_NOMEM;

    if (arguments != NULL) {
        memcpy((void *)arguments, (void *)job->hook->command, job->hook->command_len * sizeof(char *));
        spec.arguments = arguments;
        rc = process_start(&spec, out);
    }
    free((void *)arguments);
    *pid = rc == 0 ? process_pid(*out) : 0;
    if (*pid > 0) {
        char words[120];

        snprintf(words, sizeof(words), "hook %s (%.80s)", hooks_event_name(job->hook->on),
                 job->hook->command[0]);
        hooks->options.began(hooks->options.context, *pid, words, job->hook->timeout_us);
    }
    return rc;
}

static void job_gone(struct hooks *hooks, pid_t *pid)
{
    if (*pid > 0) {
        hooks->options.gone(hooks->options.context, *pid);
    }
    *pid = 0;
}

/* Kills it. */
static void job_stop(struct hooks *hooks, struct process **process, pid_t *pid)
{
    if (*process != NULL) {
        process_cancel(*process);
        *process = NULL;
        job_gone(hooks, pid);
    }
}

/* ---- those that only tell --------------------------------------------------------------------------------
 */

static void fail(struct hooks *hooks, const struct config_hook *hook, const char *why)
{
    char words[400];

    snprintf(words, sizeof(words), "hook %s (%.80s) failed: %s", hooks_event_name(hook->on), hook->command[0],
             why);
    hooks->options.failed(hooks->options.context, words);
}

static bool is_held(const struct hooks *hooks)
{
    return hooks->options.held(hooks->options.context);
}

static void tell_next(struct hooks *hooks);

static void on_told(void *context, const struct process_result *result)
{
    struct hooks *hooks = context;

    hooks->telling = NULL;
    job_gone(hooks, &hooks->telling_pid);
    if (!result->passed) {
        fail(hooks, hooks->queue[hooks->first].hook, result->words);
    }
    job_clear(&hooks->queue[hooks->first]);
    hooks->first = (hooks->first + 1) % QUEUE_MAX;
    hooks->waiting--;
    tell_next(hooks);
    if (hooks->waiting == 0) {
        hooks->options.woken(hooks->options.context);
    }
}

static void tell_next(struct hooks *hooks)
{
    while (hooks->telling == NULL && hooks->waiting > 0 && !is_held(hooks)) {
        struct job *job = &hooks->queue[hooks->first];

        if (job_start(hooks, job, on_told, &hooks->telling, &hooks->telling_pid) == 0) {
            return;
        }
        hooks->telling = NULL;
        fail(hooks, job->hook, "no memory or no descriptors to run it");
        job_clear(job);
        hooks->first = (hooks->first + 1) % QUEUE_MAX;
        hooks->waiting--;
    }
}

void hooks_tell(struct hooks *hooks, enum config_hook_event event, const struct hooks_context *context)
{
    for (size_t i = 0; i < hooks->options.config->hooks_len; i++) {
        const struct config_hook *hook = &hooks->options.config->hooks[i];

        if (hook->on != event) {
            continue;
        }
        if (hooks->waiting == QUEUE_MAX) {
            fail(hooks, hook, "too many wait before it: not run");
        } else if (!job_fill(&hooks->queue[(hooks->first + hooks->waiting) % QUEUE_MAX], hook, context)) {
            fail(hooks, hook, "no memory to run it");
        } else {
            hooks->waiting++;
        }
    }
    tell_next(hooks);
}

/* ---- those that are asked --------------------------------------------------------------------------------
 */

static void refuse(struct hooks *hooks, const char *why)
{
    hooks->answer = HOOKS_REFUSED;
    snprintf(hooks->words, sizeof(hooks->words), "hook %s (%.80s): %.180s",
             hooks_event_name(hooks->asked_event), hooks->asked.hook->command[0], why);
}

static void ask_next(struct hooks *hooks);

static void on_asked(void *context, const struct process_result *result)
{
    struct hooks *hooks = context;

    hooks->asking = NULL;
    job_gone(hooks, &hooks->asking_pid);
    if (result->passed) {
        ask_next(hooks);
    } else {
        refuse(hooks, result->words);
    }
    if (hooks->answer != HOOKS_ASKING) {
        hooks->options.woken(hooks->options.context);
    }
}

/* Goes on with the next hook of the question, or answers it. The words of the first serve all. */
static void ask_next(struct hooks *hooks)
{
    const struct config_migration *config = hooks->options.config;

    if (is_held(hooks)) {
        return; /* hooks_resume goes on */
    }
    for (; hooks->asked_index < config->hooks_len; hooks->asked_index++) {
        if (config->hooks[hooks->asked_index].on != hooks->asked_event) {
            continue;
        }
        hooks->asked.hook = &config->hooks[hooks->asked_index++];
        if (job_start(hooks, &hooks->asked, on_asked, &hooks->asking, &hooks->asking_pid) != 0) {
            hooks->asking = NULL;
            refuse(hooks, "no memory or no descriptors to run it");
        }
        return;
    }
    hooks->answer = HOOKS_PASSED;
}

void hooks_resume(struct hooks *hooks)
{
    if (hooks->answer == HOOKS_ASKING && hooks->asking == NULL) {
        ask_next(hooks);
    }
    tell_next(hooks);
}

bool hooks_idle(const struct hooks *hooks)
{
    return hooks == NULL || (hooks->waiting == 0 && hooks->asking == NULL);
}

bool hooks_has(const struct hooks *hooks, enum config_hook_event event)
{
    for (size_t i = 0; hooks != NULL && i < hooks->options.config->hooks_len; i++) {
        if (hooks->options.config->hooks[i].on == event) {
            return true;
        }
    }
    return false;
}

bool hooks_are_telling(const struct hooks *hooks)
{
    return hooks != NULL && hooks->waiting > 0;
}

void hooks_drop(struct hooks *hooks)
{
    job_stop(hooks, &hooks->asking, &hooks->asking_pid);
    job_clear(&hooks->asked);
    hooks->answer = HOOKS_NONE;
    hooks->key = 0;
}

enum hooks_answer hooks_answer(const struct hooks *hooks, const char **words)
{
    *words = hooks->words;
    return hooks->answer;
}

static void ask(struct hooks *hooks, enum config_hook_event event, uint64_t key,
                const struct hooks_context *context)
{
    hooks_drop(hooks);
    hooks->asked_event = event;
    hooks->asked_index = 0;
    hooks->key = key;
    for (size_t i = 0; i < hooks->options.config->hooks_len; i++) {
        const struct config_hook *hook = &hooks->options.config->hooks[i];

        if (hook->on != event) {
            continue;
        }
        hooks->answer = HOOKS_ASKING;
        if (!job_fill(&hooks->asked, hook, context)) {
            hooks->asked.hook = hook;
            refuse(hooks, "no memory to run it");
            return;
        }
        ask_next(hooks);
        return;
    }
}

enum hooks_answer hooks_ask(struct hooks *hooks, enum config_hook_event event, uint64_t key,
                            const struct hooks_context *context, const char **words)
{
    if (key != hooks->key || event != hooks->asked_event) {
        ask(hooks, event, key, context);
    }
    *words = hooks->words;
    return hooks->answer;
}

int hooks_create(const struct hooks_options *options, struct hooks **out)
{
    struct hooks *hooks = calloc(1, sizeof(*hooks));

    if (hooks == NULL) {
        return ERR_NOMEM;
    }
    hooks->options = *options;
    *out = hooks;
    return 0;
}

void hooks_destroy(struct hooks *hooks)
{
    if (hooks == NULL) {
        return;
    }
    hooks_drop(hooks);
    job_stop(hooks, &hooks->telling, &hooks->telling_pid);
    for (size_t i = 0; i < QUEUE_MAX; i++) {
        job_clear(&hooks->queue[i]);
    }
    free(hooks);
}
