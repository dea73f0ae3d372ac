/*
 * The contract between the schedule of checks and the probes, one file a protocol. A probe belongs to one
 * backend for good and is started again for each check. Control thread.
 */
#ifndef HEALTH_PROBE_INTERNAL_H
#define HEALTH_PROBE_INTERNAL_H

#include "core/addr.h"
#include "core/config.h"
#include "core/err.h"

#include <stdint.h>

struct event_base;
struct probe;

#define PROBE_REASON_MAX 96u

/* SKIPPED: we ran short of something ourselves (descriptors, memory); it says nothing of the backend.
 */
enum probe_outcome { PROBE_PASSED, PROBE_FAILED, PROBE_SKIPPED };

/* Exactly once for each start that was not cancelled, from the loop and never from within start. reason is
 * borrowed for the call. The callee may start the probe again or destroy it. */
typedef void probe_done_fn(void *context, enum probe_outcome outcome, const char *reason);

struct probe_spec {
    struct event_base *base; /* borrowed */
    struct addr address;
    uint64_t timeout_us; /* from start to done, at most */
    probe_done_fn *done;
    void *context;
};

struct probe_type {
    enum config_health_type type;
    MUST_CHECK int (*create)(const struct probe_spec *spec, struct probe **out); /* ERR_NOMEM */
    void (*start)(struct probe *probe);                                          /* must not be running */
    void (*destroy)(struct probe *probe);                                        /* running or not */
};

extern const struct probe_type probe_tcp;

#endif
