/*
 * The migration of one service: drives the state machine (migration/machine.h, pure) on the control thread,
 * keeps the journal, sets the share in routing. Order of effects: towards new, the journal first (fsync),
 * then routing; towards old, routing first, then the journal.
 */
#ifndef MIGRATION_MIGRATION_H
#define MIGRATION_MIGRATION_H

#include "balancer/routing.h"
#include "core/config.h"
#include "core/err.h"
#include "core/events.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct gate_result;
struct journal;
struct migration;
struct migration_draft;

#define MIGRATION_PHASES(X)                                                                                  \
    X(IDLE, "idle")                                                                                          \
    X(PREFLIGHT, "preflight")                                                                                \
    X(RAMPING, "ramping")                                                                                    \
    X(PAUSED, "paused")                                                                                      \
    X(DRAINING, "draining")                                                                                  \
    X(AWAITING_COMMIT, "awaiting-commit")                                                                    \
    X(COMPLETED, "completed")                                                                                \
    X(ROLLING_BACK, "rolling-back")                                                                          \
    X(ROLLED_BACK, "rolled-back")

enum migration_phase {
#define MIGRATION_ENUM(name, text) MIGRATION_##name,
    MIGRATION_PHASES(MIGRATION_ENUM)
#undef MIGRATION_ENUM
        MIGRATION_PHASE_COUNT
};

const char *migration_phase_name(enum migration_phase phase);

/* Who asked and why; part of every event and journal line. Borrowed for the call; reason may be NULL. */
struct migration_asker {
    const char *actor; /* "operator:alice", "plan", "restart" */
    const char *reason;
};

struct migration_status {
    enum migration_phase phase;
    char id[96];      /* "web-1"; empty before the first migration */
    char reason[256]; /* why it is in this phase or what it waits for; empty when there is nothing to say */
    uint32_t active;  /* group indices; target ROUTING_NONE when idle and none could be meant */
    uint32_t target;
    uint32_t share_bp;      /* of the step, or by hand */
    uint32_t routed_bp;     /* of new connections, in force: share_bp, but for aim_live */
    bool aim_live;          /* share_bp is of the connections open, and routed_bp is steered for that */
    uint32_t live_share_bp; /* of the connections open now */
    uint32_t step, steps;   /* step counts from 1; 0 before the first. A ramp counts as its number of ticks */
    uint64_t step_left_us;  /* until the next step, or the end of the drain; CLOCK_NEVER when it waits for
                               something else */
    uint64_t eta_us; /* until completed if nothing but its hours holds it up, CLOCK_NEVER when unknown */
    const struct gate_result *gate; /* what it last saw, until the next turn; NULL: none, or nothing yet */
    char stray[200];                /* a hook of the program before this one that still runs; empty: none */
    bool detached;                  /* the journal cannot be written: the ramp is frozen */
};

/* Connections to close on a group. */
struct migration_close {
    uint32_t group;
    uint64_t max;     /* at most so many; UINT64_MAX: all */
    uint64_t idle_us; /* without a byte for so long one counts as idle */
    bool idle_only;   /* no others */
    bool idle_first;  /* others only when no idle one is left */
};

struct migration_options {
    struct event_base *base; /* borrowed, as are all the rest */
    struct routing *routing;
    const struct config_service *config;
    struct config *whole; /* that config is part of: shared (config_share). NULL: it outlives the migration */
    struct journal *journal; /* shared by all services */
    struct events_ring *events;
    bool handed_over; /* by another program, which has frozen it: nothing is done before migration_take */
    /* Closes connections still open on a group (drain), in its own time. May be NULL in tests. */
    void (*close_connections)(void *context, const struct migration_close *what);
    /* Client connections open now, and how many there may be at most. NULL: not looked at. */
    void (*room)(void *context, uint64_t *open, uint64_t *most);
    /* When the certificate of a backend ends, wall time, as its checks last saw it; without a backend (NULL),
     * the first to end of those that clients are shown. 0: not known, or none. NULL: not looked at. */
    uint64_t (*certificate_end_us)(void *context, const struct backend *backend);
    /* Connections that close_connections has ended so far. NULL: not told. */
    uint64_t (*drained)(void *context);
    void *context;
};

/* Takes up where the journal stops for this service: active group, share, phase, step, hold time already
 * served, runtime weights and operator states. Publishes the routing. */
MUST_CHECK int migration_create(const struct migration_options *options, struct migration **out,
                                struct err_text *err);
void migration_destroy(struct migration *migration);

/*
 * Another program takes over, in steps, so that it can be taken back. freeze writes the time served to the
 * journal and stands still: no step is taken, every verb is refused; the traffic goes by what is in force.
 * take goes on, in the program that took over or, when nothing came of it, in this one: again says that the
 * journal was written by another meanwhile and counts. The part of a hold that was served counts, what the
 * gate had seen does not. A frozen one that is destroyed writes nothing more.
 */
void migration_freeze(struct migration *m);
void migration_take(struct migration *m, bool again);

/*
 * A reload, in two halves so that it is all or nothing. begin makes all that can fail and changes nothing:
 * ERR_STATE when the active group, or the target of a migration that runs, is not in config any more,
 * ERR_INVALID, ERR_NOMEM. config: of the same name; part of whole, which is shared (config_share) for as long
 * as the migration goes by it, so that the caller may config_free both configurations afterwards; whole NULL:
 * config outlives the migration. finish cannot fail; call it when the routing holds the groups of config
 * (they are found again by name). A migration that runs goes on by the plan, gate, drain and hooks that it
 * began with; what is new holds from the next start. Either finish or drop ends a draft.
 */
MUST_CHECK int migration_reconfigure_begin(struct migration *m, const struct config_service *config,
                                           struct config *whole, struct migration_draft **out,
                                           struct err_text *err);
void migration_reconfigure_finish(struct migration *m, struct migration_draft *draft,
                                  const struct migration_asker *who);
void migration_reconfigure_drop(struct migration_draft *draft);

/* The verbs of the operator. Each returns 0, or a negative code with err saying why not and which command
 * would help; a refusal changes nothing. */
/* target NULL: the only other group, or the one named by the last migration; ambiguous is refused.
 * from_share_bp: begin at the last step not above it; 0: from the start. A finding of the preflight refuses;
 * force starts all the same, and writes down in spite of what. */
MUST_CHECK int migration_start(struct migration *m, const char *target, uint32_t from_share_bp, bool force,
                               const struct migration_asker *who, struct err_text *err);
MUST_CHECK int migration_share(struct migration *m, uint32_t share_bp, const struct migration_asker *who,
                               struct err_text *err);
MUST_CHECK int migration_pause(struct migration *m, const struct migration_asker *who, struct err_text *err);
MUST_CHECK int migration_resume(struct migration *m, const struct migration_asker *who, struct err_text *err);
MUST_CHECK int migration_skip(struct migration *m, const struct migration_asker *who, struct err_text *err);
MUST_CHECK int migration_abort(struct migration *m, const struct migration_asker *who, struct err_text *err);
MUST_CHECK int migration_commit(struct migration *m, const struct migration_asker *who, struct err_text *err);

/* Runtime changes that must outlive a restart go through here too: routing, publish, journal, event. */
MUST_CHECK int migration_set_weight(struct migration *m, struct backend *backend, uint32_t weight,
                                    const struct migration_asker *who, struct err_text *err);
MUST_CHECK int migration_set_admin(struct migration *m, struct backend *backend, enum backend_admin admin,
                                   const struct migration_asker *who, struct err_text *err);

/* A backend came to the routing: what operators set for one of its name, and the journal still knows, is put
 * into the model again. Publishing is the caller's. */
void migration_adopt(struct migration *m, struct backend *backend);

MUST_CHECK int migration_set_forced(struct migration *m, struct backend *backend, enum backend_forced forced,
                                    const struct migration_asker *who, struct err_text *err);

enum migration_word_kind { MIGRATION_WORD_WEIGHT, MIGRATION_WORD_ADMIN, MIGRATION_WORD_FORCED };

/* Who set it last. The texts are borrowed until it is set again. */
struct migration_word {
    uint64_t wall_us;
    const char *actor, *reason; /* reason may be empty */
};

/* False when nobody ever did. */
bool migration_word(const struct migration *m, const struct backend *backend, enum migration_word_kind kind,
                    struct migration_word *out);

void migration_read(const struct migration *m, struct migration_status *out);

#define MIGRATION_FINDINGS_MAX 12u

/* One thing that was looked at before a start. */
struct migration_finding {
    const char *check; /* "old", "target", "addresses", "certificate", "capacity", "routes", "hooks",
                          "descriptors", "journal" */
    bool passed;
    bool warning;     /* passed, and worth a look all the same */
    char text[256];   /* what was seen: "new 1/2 usable" */
    char advice[128]; /* what to do about it; empty when passed without a warning */
};

/* Looks over what a start would find now; target may be ROUTING_NONE. Returns how many were written to out.
 */
size_t migration_preflight(const struct migration *m, uint32_t target, struct migration_finding *out,
                           size_t max);
/*
 * The story of a migration from the journal: *out (the caller's) is { service, migration, from, to, phase,
 * duration_s, records: [ { time, event, phase, share_bp, step, actor, reason, text, since_last: { group: {
 * connections, errors } } } … ] }. id NULL: the last one. ERR_NOT_FOUND, ERR_NOMEM.
 */
MUST_CHECK int migration_report(const struct migration *m, const char *id, json_t **out,
                                struct err_text *err);
/* Puts what the journal tells of the time before this start into the ring of events. */
void migration_recall(const struct journal *journal, struct events_ring *events);
/* Connections established a minute over all groups, over the last half minute; below 0: not known yet. */
double migration_rate_per_minute(const struct migration *m);
/* True in completed, rolled-back, paused, idle: what `wait` waits for. */
bool migration_is_settled(const struct migration *m);

#endif
