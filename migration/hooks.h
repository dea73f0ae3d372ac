/*
 * The hooks of a migration: commands run at its turning points. Those that only tell run one after another,
 * in the order of what happened, and their failure changes nothing. Those that are asked before something
 * ("before-step", "before-commit") may refuse it. Control thread.
 */
#ifndef MIGRATION_HOOKS_H
#define MIGRATION_HOOKS_H

#include "core/config.h"
#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct event_base;
struct hooks;

/* What a hook is told; borrowed for the call. */
struct hooks_context {
    const char *service, *migration, *phase, *share, *reason;
    uint32_t step;
    const json_t *data; /* the same and more, for its standard input */
};

enum hooks_answer {
    HOOKS_NONE,    /* no hook is set for it */
    HOOKS_ASKING,  /* they run */
    HOOKS_PASSED,  /* all ended with status 0 */
    HOOKS_REFUSED, /* one did not; words says which and why */
};

struct hooks_options {
    struct event_base *base; /* borrowed, as is config */
    const struct config_migration *config;
    /* Something ended: the answer to a question may have changed, or nothing runs any more. The hooks may be
     * destroyed in it. */
    void (*woken)(void *context);
    /* While it says true nothing is begun: hooks of the program before this one still run (hooks_resume). */
    bool (*held)(void *context);
    /* A hook has been started, and is gone: words name it. */
    void (*began)(void *context, pid_t pid, const char *words, uint64_t timeout_us);
    void (*gone)(void *context, pid_t pid);
    /* A hook that only tells has failed, or could not be run. */
    void (*failed)(void *context, const char *words);
    void *context;
};

MUST_CHECK int hooks_create(const struct hooks_options *options, struct hooks **out);
/* Kills what runs. NULL is allowed. */
void hooks_destroy(struct hooks *hooks);

/* None runs and none waits to; also with NULL. */
bool hooks_idle(const struct hooks *hooks);
bool hooks_has(const struct hooks *hooks, enum config_hook_event event);
/* One that only tells runs, or waits to; false with NULL. */
bool hooks_are_telling(const struct hooks *hooks);
/* Tells all hooks of an event. More than can wait are dropped, which is a failure. */
void hooks_tell(struct hooks *hooks, enum config_hook_event event, const struct hooks_context *context);
/*
 * Asks the hooks of an event about one question; key names it (never 0). The first call begins, further ones
 * with the same key tell how it stands; another key drops the question before. *words: of a refusal; valid
 * until the next call.
 */
enum hooks_answer hooks_ask(struct hooks *hooks, enum config_hook_event event, uint64_t key,
                            const struct hooks_context *context, const char **words);
/* `held` says something else now: begins what waited. */
void hooks_resume(struct hooks *hooks);
/* Drops the question asked, kills what was asked. */
void hooks_drop(struct hooks *hooks);
/* How the question asked stands; HOOKS_NONE when none is. */
enum hooks_answer hooks_answer(const struct hooks *hooks, const char **words);

const char *hooks_event_name(enum config_hook_event event);

#endif
