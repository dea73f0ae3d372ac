/*
 * An upgrade as the program that runs sees it: its state, and what the files that carry it out do for one
 * another. handover.c is asked for upgrades, handover_wire.c hears the new program and the starter,
 * handover_forward.c goes from step to step, handover_back.c takes everything back. For these four only.
 * Control thread.
 */
#ifndef DAEMON_HANDOVER_STEPS_H
#define DAEMON_HANDOVER_STEPS_H

#include "daemon/handover_internal.h"

#include <event2/util.h>

enum handover_step {
    STEP_NONE,
    STEP_BUILDING,  /* it was started, and reads and builds; here all goes on */
    STEP_HOLDING,   /* it is ready; the workers are about to stop accepting */
    STEP_TAKING,    /* it has the word */
    STEP_SETTLING,  /* it has taken over; if it dies now, we take back */
    STEP_LINGERING, /* all is let go of but the admin socket's clients */
    STEP_LEFT,      /* only connections are left */
    STEP_FAILING    /* it is being killed */
};

struct handover {
    struct app *app;         /* borrowed */
    struct starter *starter; /* borrowed; NULL: none */
    enum handover_step step;
    struct channel *channel;     /* owned; NULL: none */
    struct event *starter_event; /* owned; NULL: the starter is gone */
    struct event *channel_event; /* owned */
    struct event *room_event;    /* owned: the channel takes more */
    struct event *timer;         /* owned: the deadline of the step, then the next report */
    pid_t pid;                   /* of the new program; 0: not started yet */
    bool starting;               /* the starter owes an answer */
    bool again;                  /* another one is wanted when this one has settled */
    bool unread;                 /* the journal could not be taken back yet */
    char version[64];
    char why[400];
    char actor[64], reason[256];
    handover_done_fn *done;
    void *done_context;
};

/* ---- handover.c */

/* The time of the step is over so long from now, in place of what was said before; or never. */
void handover_arm(struct handover *h, uint64_t us);
void handover_disarm(struct handover *h);

/* ---- handover_wire.c */

/* Opens the channel, offers the sockets and has the new program started. On failure nothing is left of it.
 * ERR_NOMEM, ERR_SYSTEM, ERR_UNAVAILABLE. */
MUST_CHECK int handover_start(struct handover *h, struct err_text *err);
/* What did not go at once goes when there is room. */
void handover_flush(struct handover *h);
void handover_drop_channel(struct handover *h);
/* The starter has news; context: struct handover. */
void handover_on_starter(evutil_socket_t fd, short what, void *context);

/* ---- handover_forward.c */

/* The new program is ready; it has taken over; the time of the step is over (context: struct handover). */
void handover_on_ready(struct handover *h);
void handover_on_taken(struct handover *h);
void handover_on_time(evutil_socket_t fd, short what, void *context);
/* What is open here, for the program that took over. */
void handover_send_counts(struct handover *h);

/* ---- handover_back.c */

/* The upgrade comes to nothing: kills what was started, and when that is gone takes everything back. why is
 * copied. Does nothing when that is under way, or nothing is. */
void handover_fail(struct handover *h, const char *why);
/* The new program is dead: all goes on here. */
void handover_take_back(struct handover *h);
/* Part of it; tried again when the journal could not be read. */
void handover_take_journal_back(struct handover *h);
/* Tells the outcome to who asked and to the events. */
void handover_report(struct handover *h, bool passed, const char *text);

#endif
