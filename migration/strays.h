/*
 * Hooks that outlive the program that started them: a killed daemon cannot end its commands, and the next one
 * must neither run the same beside them nor let them run for ever. Each hook that runs is written down in
 * state_dir, in a file of its own, "hook.PID", with what tells the process apart from a later one of that
 * number: when it was started, and in which boot of the system (proc(5)). A program that starts reads those
 * of its service, watches those that still run by a pidfd (pidfd_open(2)), and kills them when their time is
 * over. Why it is done so: docs/decisions/hooks.md. Control thread.
 */
#ifndef MIGRATION_STRAYS_H
#define MIGRATION_STRAYS_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STRAYS_WORDS_MAX 200u /* with NUL */

struct event_base;
struct strays;

struct strays_options {
    struct event_base *base; /* borrowed */
    int folder;              /* of state_dir, a descriptor; borrowed */
    const char *service;     /* borrowed */
    /* One more has ended, by itself or killed; words says so. May be the last. */
    void (*ended)(void *context, const char *words);
    void *context;
};

/* Writes down that a hook of the service runs. What fails is told in the log and costs only this. words: the
 * hook and its command for people; timeout_us: after which it is to be killed. */
void strays_note(int folder, const char *service, pid_t pid, const char *words, uint64_t timeout_us);
/* It has ended. */
void strays_forget(int folder, pid_t pid);

/* Looks for those of a former program that still run, and watches them. *out is NULL when there are none.
 * ERR_NOMEM, ERR_SYSTEM. */
MUST_CHECK int strays_find(const struct strays_options *options, struct strays **out);
/* Forgets them; they run on. NULL is allowed. */
void strays_destroy(struct strays *strays);
/* Whether any still runs; false with NULL. */
bool strays_any(const struct strays *strays);
/* One line: "hook before-step (/bin/x) of the program before this one still runs, pid 12, killed in 8s";
 * empty when there is none. NULL is allowed. */
void strays_describe(const struct strays *strays, char *out, size_t size);

#endif
