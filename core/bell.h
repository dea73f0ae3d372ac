/*
 * A bell: any thread rings it, and the thread of an event loop hears it soon after, once for however many
 * rings. For news that the listener can look up itself.
 */
#ifndef CORE_BELL_H
#define CORE_BELL_H

#include "core/err.h"

struct event_base;
struct bell;

/* hear(context) is called from the loop of base, which is borrowed; it sees all that was written before the
 * ring. ERR_NOMEM, ERR_SYSTEM. */
MUST_CHECK int bell_create(struct event_base *base, void (*hear)(void *context), void *context,
                           struct bell **out, struct err_text *err);
/* On the loop's thread, when nobody can ring any more. A ring that was not heard yet is dropped. NULL is
 * allowed. */
void bell_destroy(struct bell *bell);
/* Any thread. Never blocks; cheap when it was rung already. */
void bell_ring(struct bell *bell);

#endif
