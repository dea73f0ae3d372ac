/*
 * Replacing the running program by another one, with its listening sockets and its state, while clients come
 * and go (docs/upgrade.md). handover is the side of the program that runs, successor that of the one that was
 * started to take its place. Control thread.
 */
#ifndef DAEMON_HANDOVER_H
#define DAEMON_HANDOVER_H

#include "core/err.h"
#include "core/given.h"

#include <stdbool.h>
#include <stddef.h>

struct app;
struct handover;
struct starter;
struct successor;

/* ---- the program that runs */

/* What became of an upgrade; text is one line for people, borrowed for the call. */
typedef void handover_done_fn(void *context, bool passed, const char *text);

/* starter is borrowed; NULL: upgrades are refused. ERR_NOMEM. */
MUST_CHECK int handover_create(struct app *app, struct starter *starter, struct handover **out);
/* NULL is allowed. One that is under way must have ended (handover_cancel). */
void handover_destroy(struct handover *handover);
/*
 * Starts the program anew and hands over to it, or takes everything back. done (may be NULL) is called once,
 * later, from the loop; the outcome is an event too. actor and reason are copied; reason may be NULL.
 * ERR_STATE: one is under way, or the program is stopping; ERR_UNAVAILABLE: nothing can be started.
 */
MUST_CHECK int handover_begin(struct handover *handover, const char *actor, const char *reason,
                              handover_done_fn *done, void *context, struct err_text *err);
/* The same for a signal, which cannot be answered: waits while the last one settles. */
void handover_signal(struct handover *handover);
/* The program stops: what was started is killed. */
void handover_cancel(struct handover *handover);
/* Something is under way that an end of the loop would cut. */
bool handover_is_busy(const struct handover *handover);
/* One is under way, or was carried out: nothing else may be changed here. */
bool handover_is_under_way(const struct handover *handover);

/* ---- the program that was started */

/* Whether this process was started to take over; *out is then its side, else NULL. Reads what the former
 * sends of sockets and waits for it. Unsets the environment variable. ERR_NOMEM; ERR_UNAVAILABLE: the two do
 * not understand each other, which was told. */
MUST_CHECK int successor_create(struct successor **out, struct err_text *err);
/* NULL is allowed, here and below. */
void successor_destroy(struct successor *successor);
/* The configuration is good; or something is not, and this program is about to end. */
void successor_hello(struct successor *successor);
void successor_refuse(struct successor *successor, const char *why);
/* The former program lives and goes on when this one fails. */
bool successor_is_awaited(const struct successor *successor);
/* Sockets to take instead of binding. NULL: none. */
struct given *successor_given(struct successor *successor);
/* The descriptor of the journal's lock, taken out; -1: none. */
int successor_take_lock(struct successor *successor);
/* Everything is built: says so, waits for the word, and takes up what is handed over. From then on the former
 * and those before it belong to app. A failure ends this program, and the former goes on. */
MUST_CHECK int successor_take(struct successor *successor, struct app *app, struct err_text *err);
/* It accepts and decides: tells the former as soon as the workers do. */
MUST_CHECK int successor_taken(struct app *app);

#endif
