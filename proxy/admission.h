/*
 * Who is let in: limits on connections and on new connections in a time, of all clients together and of each.
 * One of these for each service that has limits, and one over all services; all workers share it, and its
 * figures are exact over them (atomics, and the locks of proxy/tracker.h when a connection begins or ends).
 * Time is an argument. Any thread.
 */
#ifndef PROXY_ADMISSION_H
#define PROXY_ADMISSION_H

#include "core/addr.h"
#include "core/config.h"
#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

struct admission;

enum admission_verdict {
    ADMISSION_LET_IN,
    ADMISSION_UNTRACKED, /* let in, but for this client's own limits there was no room in the table */
    ADMISSION_TOO_MANY,  /* open: of the client, or of all */
    ADMISSION_TOO_OFTEN  /* in the time: of the client, or of all */
};

/* What one connection holds; plain data. */
struct admission_claim {
    uint32_t client; /* of the tracker */
    bool counted;    /* among all that are open */
    bool tracked;
};

/* *out is NULL when nothing is limited. ERR_NOMEM. */
MUST_CHECK int admission_create(const struct config_limits *limits, struct admission **out,
                                struct err_text *err);
/* NULL is allowed. */
void admission_destroy(struct admission *admission);

/* One more connection. Whatever the answer, *claim (overwritten) may be given to admission_leave; it must be
 * when it was let in. admission may be NULL. A client of family 0 has no limits of its own. */
enum admission_verdict admission_enter(struct admission *admission, const struct addr_ip *client,
                                       uint64_t now_us, struct admission_claim *claim);
/* The connection has ended. Idempotent. */
void admission_leave(struct admission *admission, struct admission_claim *claim);

#endif
