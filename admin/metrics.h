/*
 * The metrics: one table of names, from which the exposition, docs/metrics.md and the tests of the dashboard
 * and of the alert rules are made. The table holds no code (admin/metrics_table.c); the figures come from
 * admin/metrics.c. Immutable; any thread.
 */
#ifndef ADMIN_METRICS_H
#define ADMIN_METRICS_H

#include "core/stats.h"

#include <stdio.h>

/* X(ID, "name", TYPE, "help"): one family each, in the order of the exposition. What core/stats.h counts for
 * a service comes on top, under shunt_service_. */
#define METRICS(X)                                                                                           \
    X(BUILD_INFO, "shunt_build_info", GAUGE, "always 1; the version is a label")                             \
    X(UPTIME, "shunt_uptime_seconds", GAUGE, "time since the start")                                         \
    X(WORKERS, "shunt_workers", GAUGE, "threads that carry traffic")                                         \
    X(LOG_DROPPED, "shunt_log_lines_dropped_total", COUNTER,                                                 \
      "log lines that could not be written, or not in time")                                                 \
    X(LOG_LEFT_OUT, "shunt_log_lines_left_out_total", COUNTER, "log lines beyond log.rate")                  \
    X(SERVICE_OPEN, "shunt_service_connections_open", GAUGE, "client connections open now")                  \
    X(CLOSED, "shunt_connections_closed_total", COUNTER, "client connections ended, by reason")              \
    X(TLS_FAILED, "shunt_tls_handshakes_failed_total", COUNTER,                                              \
      "TLS handshakes with clients that came to nothing, by reason")                                         \
    X(TLS_BACKEND_FAILED, "shunt_tls_backend_handshakes_failed_total", COUNTER,                              \
      "TLS handshakes with backends that came to nothing, by reason")                                        \
    X(SHARE, "shunt_share_ratio", GAUGE, "share of the step, or set by hand, 0 to 1")                        \
    X(ROUTED_SHARE, "shunt_routed_share_ratio", GAUGE,                                                       \
      "part of the new connections that go to the target, 0 to 1; with aim = live not that of the step")     \
    X(LIVE_SHARE, "shunt_live_share_ratio", GAUGE, "part of the open connections on the target, 0 to 1")     \
    X(PHASE, "shunt_migration_phase", GAUGE, "1 for the phase that the migration is in, else 0")             \
    X(STEP, "shunt_migration_step", GAUGE, "step of the plan, from 1; 0 before the first")                   \
    X(STEPS, "shunt_migration_steps", GAUGE, "steps of the plan")                                            \
    X(DETACHED, "shunt_migration_detached", GAUGE, "1 when the journal cannot be written")                   \
    X(GATE_OBSERVED, "shunt_gate_observed", GAUGE, "what a check of the gate saw last")                      \
    X(GATE_LIMIT, "shunt_gate_limit", GAUGE, "what it may be at most")                                       \
    X(GATE_SAMPLES, "shunt_gate_samples", GAUGE, "on which that rests")                                      \
    X(GATE_VERDICT, "shunt_gate_verdict", GAUGE,                                                             \
      "what it came to: 1 passes, 0 not known yet or not judged, -1 fails")                                  \
    X(GATE_FAILED, "shunt_gate_failed", GAUGE, "failures of the gate in a row")                              \
    X(CHECKS_SKIPPED, "shunt_health_checks_skipped_total", COUNTER,                                          \
      "checks not made because descriptors or memory ran out here")                                          \
    X(CERTIFICATE, "shunt_certificate_expires_seconds", GAUGE,                                               \
      "time until a certificate that clients are shown ends, below 0 when it has; certificate: its file")    \
    X(NAME_RESOLVED, "shunt_name_resolved", GAUGE,                                                           \
      "1 when the last answer about a backend's host name was good; backend: the name in the file")          \
    X(NAME_ADDRESSES, "shunt_name_addresses", GAUGE,                                                         \
      "addresses of the name that take connections, kept ones included")                                     \
    X(NAME_LEFT_OUT, "shunt_name_addresses_left_out", GAUGE, "beyond resolve.max_addresses")                 \
    X(NAME_FAILURES, "shunt_name_failures_total", COUNTER,                                                   \
      "questions about the name without an answer, or with one without addresses")                           \
    X(GROUP_ACTIVE, "shunt_group_active", GAUGE, "1 for the group that takes the traffic without migration") \
    X(GROUP_BACKENDS, "shunt_group_backends", GAUGE, "backends of the group")                                \
    X(QUEUE_LENGTH, "shunt_queue_length", GAUGE,                                                             \
      "connections that wait for a backend of the group with room")                                          \
    X(QUEUE_SIZE, "shunt_queue_size", GAUGE, "so many may wait")                                             \
    X(QUEUE_SECONDS, "shunt_queue_seconds", HISTOGRAM, "how long those waited that were served then")        \
    X(GROUP_USABLE, "shunt_group_backends_usable", GAUGE, "of them, those that may get new connections")     \
    X(GROUP_PANIC, "shunt_group_panic", GAUGE, "1 while too few of its backends are usable (panic)")         \
    X(GROUP_ON_BACKUPS, "shunt_group_on_backups", GAUGE, "1 while only its backups serve")                   \
    X(BACKEND_UP, "shunt_backend_up", GAUGE, "0 when it is down: by its checks, ejected, forced; else 1")    \
    X(BACKEND_EJECTED, "shunt_backend_ejected", GAUGE, "1 while it is out because live connections failed")  \
    X(EJECTIONS, "shunt_backend_ejections_total", COUNTER, "how often that happened")                        \
    X(BACKEND_FORCED, "shunt_backend_forced", GAUGE, "1 while an operator forces it up or down")             \
    X(BACKEND_READY, "shunt_backend_ready", GAUGE, "1 unless an operator took it out (drain, maint)")        \
    X(BACKEND_WEIGHT, "shunt_backend_weight", GAUGE, "weight in force")                                      \
    X(BACKEND_SLOW_START, "shunt_backend_slow_start_ratio", GAUGE,                                           \
      "how much of its weight it has while it starts slowly, 0 to 1; else 1")                                \
    X(BACKEND_LIMIT, "shunt_backend_max_connections", GAUGE,                                                 \
      "connections it may have at a time; 0: no limit")                                                      \
    X(BACKEND_CERTIFICATE, "shunt_backend_certificate_expires_seconds", GAUGE,                               \
      "time until the certificate ends that the backend shows to checks over TLS, below 0 when it has")      \
    X(CONNECTIONS, "shunt_connections_total", COUNTER, "connections established with the backend")           \
    X(OPEN, "shunt_connections_open", GAUGE, "connections open on the backend")                              \
    X(ERRORS, "shunt_connection_errors_total", COUNTER, "what went wrong with the backend, by reason")       \
    X(BYTES, "shunt_bytes_total", COUNTER, "bytes to (in) and from (out) the backend, by direction")         \
    X(TURNS, "shunt_turns_total", COUNTER, "request/response turns measured")                                \
    X(CONNECT, "shunt_connect_seconds", HISTOGRAM, "time from connect to established")                       \
    X(RESPONSE, "shunt_response_seconds", HISTOGRAM, "time from the first client bytes to the answer")

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum metric_id {
#define METRIC_ENUM(id, name, type, help) METRIC_ID_##id,
    METRICS(METRIC_ENUM)
#undef METRIC_ENUM
/* NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define METRIC_ENUM(name, help) METRIC_ID_SERVICE_##name,
        STATS_SERVICE_COUNTERS(METRIC_ENUM)
#undef METRIC_ENUM
            METRIC_COUNT
};

struct metric {
    const char *name;
    enum metric_type type;
    const char *help;
};

/* METRIC_COUNT entries, at the index of their id. */
const struct metric *metrics_table(void);
/* "counter", "gauge", "histogram". */
const char *metrics_type_name(enum metric_type type);
/* The reference in Markdown. */
void metrics_write_reference(FILE *out);

#endif
