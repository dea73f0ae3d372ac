/*
 * Questions to name servers, on an event loop and without ever blocking it: c-ares underneath. Each question
 * has a channel of its own, so that it goes by /etc/resolv.conf and /etc/hosts as they are at that moment and
 * can be given up on at any time. The thread of the base.
 */
#ifndef HEALTH_LOOKUP_H
#define HEALTH_LOOKUP_H

#include "core/config.h"
#include "core/err.h"
#include "health/name_set.h"

#include <stdint.h>

struct event_base;
struct resolver;
struct lookup;

/* answer is borrowed for the call. The callee may start and cancel others; this one is gone. */
typedef void lookup_done_fn(void *context, const struct name_answer *answer);

/* base is borrowed. parallel: questions under way at a time, the others wait in order. ERR_NOMEM. */
MUST_CHECK int resolver_create(struct event_base *base, unsigned parallel, struct resolver **out);
/* Every lookup must be over or cancelled. NULL is allowed. */
void resolver_destroy(struct resolver *resolver);

/*
 * Asks for the addresses of host (borrowed for the call) and gives them port. done comes exactly once, from
 * the loop, never from within the call, at the latest config->timeout_us after the question was sent.
 * ERR_NOMEM: done does not come.
 */
MUST_CHECK int lookup_start(struct resolver *resolver, const struct config_resolve *config, const char *host,
                            uint16_t port, lookup_done_fn *done, void *context, struct lookup **out);
/* done does not come any more. For a lookup whose done has not come yet. */
void lookup_cancel(struct lookup *lookup);

#endif
