/*
 * A small process beside the program that starts the next one when an upgrade is asked for. It is forked
 * before anything is given away or fenced in, so what it starts has all that the first start had: rights,
 * limits, environment, no fences yet. It can do one thing only, run the program with the arguments that it
 * was itself started with; and it ends when the program does. Control thread.
 */
#ifndef DAEMON_STARTER_H
#define DAEMON_STARTER_H

#include "core/err.h"

#include <stddef.h>
#include <sys/types.h>

struct starter;

/* The environment variable that tells a program which descriptor is its channel to the one before it. */
#define STARTER_CHANNEL "SHUNT_UPGRADE"

enum starter_news {
    STARTER_NONE,    /* nothing new */
    STARTER_STARTED, /* value: pid */
    STARTER_FAILED,  /* it could not be run; value: errno */
    STARTER_ENDED,   /* value: wait status as of waitpid(2) */
    STARTER_GONE     /* the starter itself has ended */
};

struct starter_report {
    enum starter_news news;
    int value;
};

/* Forks. argv is kept by the child as it is: the program is found as the shell found it, so a replaced file
 * is the new program. Before threads, and before signals are blocked. ERR_SYSTEM, ERR_NOMEM. */
MUST_CHECK int starter_create(char *const *argv, struct starter **out, struct err_text *err);
/* Ends the process, but not what it started. NULL is allowed. */
void starter_destroy(struct starter *starter);

/* Readable when there is news. */
int starter_fd(const struct starter *starter);
/* Asks for a start with this end of a channel, borrowed. ERR_UNAVAILABLE when the starter is gone. */
MUST_CHECK int starter_start(struct starter *starter, int channel, struct err_text *err);
/* Kills what was started, unless it has ended. */
void starter_kill(struct starter *starter);
struct starter_report starter_read(struct starter *starter);
/* " (killed by SIGSEGV)" or " (exit status 3)", of the value of STARTER_ENDED. */
void starter_describe_end(int status, char *out, size_t out_size);

#endif
