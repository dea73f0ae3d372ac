/*
 * The contract between the schedule of checks and the probes: dialog.c for all that talks over a connection,
 * exec.c for commands. A probe belongs to one backend for good and is started again for each check. Control
 * thread.
 */
#ifndef HEALTH_PROBE_INTERNAL_H
#define HEALTH_PROBE_INTERNAL_H

#include "core/addr.h"
#include "core/config.h"
#include "core/err.h"
#include "core/source.h"
#include "health/agent.h"
#include "health/check_tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct probe;
struct ssl_ctx_st; /* OpenSSL's SSL_CTX */

#define PROBE_REASON_MAX 160u

/* SKIPPED: we ran short of something ourselves (descriptors, memory); it says nothing of the backend.
 */
enum probe_outcome { PROBE_PASSED, PROBE_FAILED, PROBE_SKIPPED };

struct probe_result {
    enum probe_outcome outcome;
    const char *reason;               /* never NULL */
    bool warning;                     /* passed, but the reason names something to look after */
    const struct agent_report *agent; /* NULL: no agent was heard */
    uint64_t certificate_us;          /* when the server's certificate ends, wall time; 0: none was seen */
};

/* Exactly once for each start that was not cancelled, from the loop and never from within start. result is
 * borrowed for the call. The callee may start the probe again or destroy it. */
typedef void probe_done_fn(void *context, const struct probe_result *result);

/* What was exchanged, for who wants to see it. Secrets never come here: a text in their place does. */
enum probe_traced { PROBE_TRACED_SENT, PROBE_TRACED_RECEIVED, PROBE_TRACED_NOTE };
typedef void probe_trace_fn(void *context, enum probe_traced kind, const void *data, size_t len);

/* What the checks of one group share. */
struct probe_means {
    const struct config_group *group;   /* borrowed */
    const struct config_health *config; /* borrowed: the group's */
    struct check_tls security;
    char *password;         /* owned; NULL: none */
    struct ssl_ctx_st *tls; /* owned; NULL: no TLS */
    unsigned proxy_version; /* of the PROXY header ahead of each check; 0: none */
    struct source source;   /* where checks come from */
};

/* The file with the password of such checks, or NULL. */
const char *probe_password_file(const struct config_health *config);
/* Reads the file with the password and the certificates. group is borrowed. ERR_INVALID, ERR_SYSTEM,
 * ERR_NOMEM with err. */
MUST_CHECK int probe_means_create(const struct config_group *group, struct probe_means *out,
                                  struct err_text *err);
void probe_means_destroy(struct probe_means *means);

struct probe_spec {
    struct event_base *base;               /* borrowed */
    const struct probe_means *means;       /* borrowed */
    struct addr address;                   /* where to, with the port of the checks */
    const char *service, *group, *backend; /* borrowed; names, for commands */
    uint64_t timeout_us;                   /* from start to done, at most */
    probe_done_fn *done;
    probe_trace_fn *trace; /* NULL: nobody looks */
    void *context;
};

struct probe_type {
    MUST_CHECK int (*create)(const struct probe_spec *spec, struct probe **out); /* ERR_NOMEM */
    void (*start)(struct probe *probe);                                          /* must not be running */
    void (*destroy)(struct probe *probe);                                        /* running or not */
};

extern const struct probe_type probe_dialog, probe_exec;

/* NULL for "none". */
const struct probe_type *probe_find(enum config_health_type type);
/* Whether an errno is our own shortage and not the backend's fault. */
bool probe_is_shortage(int error);

#endif
