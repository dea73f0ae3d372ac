/*
 * Pass phrases of keys that are about to be read, asked for ahead and beside the program: a command that
 * hangs must not hold the control thread, which answers operators meanwhile. What the commands said is at
 * hand for whoever reads those keys (core/tls_phrase.h) until it is let go of. Control thread.
 */
#ifndef CORE_PHRASES_H
#define CORE_PHRASES_H

#include "core/config.h"
#include "core/err.h"

struct event_base;
struct phrases;

/*
 * Runs the commands for the keys of a service, or of all (service NULL) of config; the same command once, a
 * few at a time, each for at most 10 seconds. done is called once, later, from the loop, when all have ended;
 * also when some failed, which whoever reads the key is told then. It may destroy what was asked. config is
 * borrowed for the call. *out is NULL, and done not called, when there is none to run. ERR_NOMEM.
 */
MUST_CHECK int phrases_ask(struct event_base *base, const struct config *config,
                           const struct config_service *service, void (*done)(void *context), void *context,
                           struct phrases **out);
/* Kills what runs, and cleanses what was said. NULL is allowed. */
void phrases_destroy(struct phrases *phrases);

#endif
