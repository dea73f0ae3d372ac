/*
 * The demo's operator: types commands at the admin socket, as a person or a script would, and reads the
 * replies. Blocking, with a deadline. Main thread.
 */
#ifndef DAEMON_DEMO_OPERATOR_H
#define DAEMON_DEMO_OPERATOR_H

#include "core/addr.h"
#include "core/err.h"
#include "daemon/demo/backends.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct demo_operator;

/* What `status --json` says, as far as the demo shows it. */
struct demo_status {
    char listen[ADDR_TEXT_MAX];
    char phase[24];
    char reason[256];
    char migration[96];
    char active[64];
    uint32_t share_bp, live_share_bp;
    unsigned step, steps;
    double step_left_s; /* below 0: it waits for something else */
    uint64_t spilled;   /* connections that the other group served */
    struct {
        unsigned usable, backends;
        uint64_t open;
        uint64_t connections; /* established, since the start */
        uint64_t refused;     /* connects that failed */
    } group[DEMO_VERSIONS];   /* in the order of the configuration: old, new */
};

/* Connects; path must outlive nothing. *out is owned by the caller. ERR_SYSTEM when nobody answers. */
MUST_CHECK int demo_operator_create(const char *path, struct demo_operator **out, struct err_text *err);
void demo_operator_destroy(struct demo_operator *admin);
/* Sends one command and waits for its reply (owned by the caller, without the closing empty line). ERR_STATE
 * with the daemon's words when it refused, ERR_SYSTEM when the connection failed. */
MUST_CHECK int demo_operator_command(struct demo_operator *admin, const char *command, char **reply,
                                     struct err_text *err);
/* Reads the status of the only service. */
MUST_CHECK int demo_operator_status(struct demo_operator *admin, struct demo_status *out,
                                    struct err_text *err);
/* Calls fn for each event after number *seen, oldest first, and moves *seen on. */
MUST_CHECK int demo_operator_events(struct demo_operator *admin, uint64_t *seen,
                                    void (*fn)(void *context, const char *kind, const char *text,
                                               const char *severity),
                                    void *context, struct err_text *err);

#endif
