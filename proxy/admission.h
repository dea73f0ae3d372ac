/*
 * Who is let in: limits on connections and on new connections in a time, of all clients together and of each.
 * One of these for each service, and one over all services; all workers share it, and its
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

struct tracker;

/* What one connection holds; plain data. */
struct admission_claim {
    struct tracker *tracker; /* counted; NULL: its client is not kept track of */
    uint32_t client;         /* of the tracker */
    bool counted;            /* among all that are open */
};

/* ERR_NOMEM. */
MUST_CHECK int admission_create(const struct config_limits *limits, struct admission **out,
                                struct err_text *err);
/* NULL is allowed. No thread enters or leaves any more. */
void admission_destroy(struct admission *admission);

/*
 * Other limits for the same connections: counts and rates go on, and so does the table of clients where its
 * size is the same; with another one (or with limits of each client where there were none) the clients of
 * connections that are open then are not known. Control thread. ERR_NOMEM.
 */
struct admission_limits;
MUST_CHECK int admission_limits_create(const struct admission *admission, const struct config_limits *limits,
                                       struct admission_limits **out, struct err_text *err);
/* Puts them in force (taken over) and returns those before, which are to be given to admission_limits_destroy
 * once no thread reads them any more. */
struct admission_limits *admission_limits_replace(struct admission *admission,
                                                  struct admission_limits *limits);
/* limits: a struct admission_limits; the signature is that of worker_pool_retire. NULL is allowed. */
void admission_limits_destroy(void *limits);

/* One more connection. Whatever the answer, *claim (overwritten) may be given to admission_leave; it must be
 * when it was let in. admission may be NULL. A client of family 0 has no limits of its own. */
enum admission_verdict admission_enter(struct admission *admission, const struct addr_ip *client,
                                       uint64_t now_us, struct admission_claim *claim);
/* The connection has ended. Idempotent. */
void admission_leave(struct admission *admission, struct admission_claim *claim);

#endif
