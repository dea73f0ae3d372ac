/*
 * The course of the demo: what the operator does and when, and the sentence for each thing that happens.
 * Main thread.
 */
#ifndef DAEMON_DEMO_STORY_H
#define DAEMON_DEMO_STORY_H

#include "core/err.h"
#include "daemon/demo/backends.h"
#include "daemon/demo/clients.h"
#include "daemon/demo/operator.h"
#include "daemon/demo/screen.h"

#include <signal.h>
#include <stdbool.h>

struct story {
    /* All borrowed, set by the caller. */
    struct screen *screen;
    struct demo_backends *backends;
    struct demo_clients *clients;
    struct demo_operator *admin;
    const sigset_t *signals; /* blocked; one of them ends the story early */
    double pace;             /* 1.0: about 20 seconds */
    bool break_new;
    /* What is known now. */
    struct demo_status status;
    struct demo_clients_reading seen;
    /* What was told already. */
    uint64_t events_seen;
    uint32_t told_share_bp;
    char told_phase[24];
    double migration_s; /* how long the migration took */
    bool interrupted;   /* by a signal */
};

/* Tells it from the first request to the end of the migration. Returns 0 when it went as it should;
 * ERR_TIMEOUT, ERR_STATE or ERR_SYSTEM with err saying what did not. */
MUST_CHECK int story_run(struct story *story, struct err_text *err);
/* Lets the clients finish, so that nothing is cut off. ERR_TIMEOUT when some do not. */
MUST_CHECK int story_finish(struct story *story, struct err_text *err);
/* What came out of it, in figures. */
void story_summary(struct story *story);

#endif
