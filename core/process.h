/*
 * Runs a command beside the program: input from memory, the first of its output kept, a time limit. The
 * command gets descriptors 0 to 2 and nothing else, the environment given and nothing else, default signals,
 * and a process group of its own, which is killed at the time limit and when the command ends with children
 * left behind. Never blocks. Control thread (the thread of base).
 */
#ifndef CORE_PROCESS_H
#define CORE_PROCESS_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_OUTPUT_MAX 4096u /* bytes kept; what comes after is read and dropped */

struct event_base;
struct process;

struct process_result {
    bool passed;     /* it ended by itself with status 0 */
    char words[256]; /* "exit status 3: not today", "killed after 5s", "cannot run …": one line for people */
    const char *output; /* NUL-terminated; valid during the call */
    int error;          /* the errno for which it could not be run; 0: it ran */
    bool lives;         /* killed, and not gone yet: `gone` comes, unless it is cancelled before */
};

struct process_spec {
    struct event_base *base;
    char *const *arguments;   /* [0] is looked up in PATH; ended by NULL */
    char *const *environment; /* ended by NULL */
    const char *input;        /* copied; NULL: nothing, from /dev/null */
    size_t input_len;
    uint64_t timeout_us;
    /* Called once, from the loop, never from process_start. The process is gone for the caller afterwards. */
    void (*done)(void *context, const struct process_result *result);
    /* After a result that lives: it is gone now. NULL: nobody cares. */
    void (*gone)(void *context);
    void *context;
};

/* Starts a command. What cannot be run is told through done, as any other failure. ERR_NOMEM, ERR_SYSTEM (no
 * descriptors): done is not called. spec is only read. */
MUST_CHECK int process_start(const struct process_spec *spec, struct process **out);
/* Its number, as long as it is not gone for the caller; 0: it never ran. */
pid_t process_pid(const struct process *process);
/* Whether a command (arguments[0] of a spec) could be run now: a file that may be executed. False: why says
 * what is the matter, "not executable". Asks the file system; any thread. */
bool process_can_run(const char *command, char *why, size_t why_size);
/* Kills the command and forgets it; neither done nor gone is called. For a process whose done was not called
 * yet, or whose result lives and which is not gone yet. */
void process_cancel(struct process *process);

#endif
