/*
 * The state machine of a migration: what may happen in which phase, and what is to be done then. Pure: a
 * state is a plain value, time and what was observed are arguments, the answer is the next state and the
 * order of effects. It keeps nothing, calls nobody, and can be run a million times in a test. Any thread.
 *
 *   machine_due()     what has come due by now: the end of a hold, a drained group, a lost target …
 *   machine_handle()  (state, event) → (next state, effects), from one table; or a refusal
 *   machine_refuse()  the words of a refusal
 *
 * The caller carries the effects out in the order that the answer names. A state is adopted only then.
 */
#ifndef MIGRATION_MACHINE_H
#define MIGRATION_MACHINE_H

#include "core/err.h"
#include "migration/migration.h"
#include "migration/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(name, text, by_operator) */
#define MACHINE_EVENTS(X)                                                                                    \
    X(START, "start", true)                                                                                  \
    X(SHARE, "share", true)                                                                                  \
    X(PAUSE, "pause", true)                                                                                  \
    X(RESUME, "resume", true)                                                                                \
    X(SKIP, "skip", true)                                                                                    \
    X(ABORT, "abort", true)                                                                                  \
    X(COMMIT, "commit", true)                                                                                \
    X(STEP_DUE, "step-due", false)             /* the hold of the present step was served */                 \
    X(TARGET_LOST, "target-lost", false)       /* no backend of the target is usable */                      \
    X(TARGET_BACK, "target-back", false)       /* one is again */                                            \
    X(DRAINED, "drained", false)               /* the group that traffic leaves has no connection open */    \
    X(DRAIN_DEADLINE, "drain-deadline", false) /* it has some, and its time is up */                         \
    X(BACK_STEP, "back-step", false)           /* of a gradual rollback: the share falls further */          \
    X(COMMIT_DUE, "commit-due", false)         /* the commit was given and may be asked for */               \
    X(GATE_FAIL, "gate-fail", false)           /* the gate judged the target bad */                          \
    X(GATE_TOO_FEW, "gate-too-few", false)     /* it has waited too long for samples */                      \
    X(JOURNAL_FAILED, "journal-failed", false) /* the record of a move that was due could not be written */  \
    X(JOURNAL_RETRY, "journal-retry", false)   /* time to try again */                                       \
    X(RESTART, "restart", false)               /* this state was read from the journal */

enum machine_event {
#define MACHINE_EVENT_ENUM(name, text, by_operator) MACHINE_##name,
    MACHINE_EVENTS(MACHINE_EVENT_ENUM)
#undef MACHINE_EVENT_ENUM
        MACHINE_EVENT_COUNT,
    MACHINE_NO_EVENT = MACHINE_EVENT_COUNT
};

/* A pause between two attempts to write a journal that failed. */
#define MACHINE_RETRY_US UINT64_C(1000000)

/* In how many parts a gradual rollback goes down. The first is taken at once. */
#define MACHINE_BACK_STEPS 20u

/* The state. Everything but the last five fields goes into the journal. Times are monotonic. */
struct machine {
    enum migration_phase phase;
    uint32_t number;    /* of the migration: 1 is "web-1"; 0 before the first */
    uint32_t active;    /* group that takes the rest of the traffic */
    uint32_t target;    /* of the migration that runs, or of the last one; ROUTING_NONE before the first */
    uint32_t share_bp;  /* of new connections that go to target; 10000 once completed */
    uint32_t step;      /* of the plan, from 1; 0: none */
    bool by_hand;       /* the share is not that of the step: an operator set it */
    bool commit_given;  /* the operator has already said `commit` */
    bool released;      /* the next step is ordered: nothing but a question before it holds it up */
    uint64_t served_us; /* of the hold, of the drain, or of the fall of a gradual rollback, up to mark_us */
    uint32_t back_bp;   /* a gradual rollback: the share that it began with; 0 when it is over */

    uint64_t mark_us;  /* since when the rest of the hold counts */
    uint64_t retry_us; /* when to try the journal again */
    bool held;         /* the target has no usable backend: the clock of the hold stands still */
    bool detached;     /* the journal cannot be written: nothing moves towards new */
    bool overdue;      /* connections are left after the time of the drain */
};

/* What the configuration says; borrowed. */
struct machine_rules {
    const struct plan *plan; /* NULL: none */
    uint64_t drain_us;
    uint64_t back_us;       /* how long a rollback takes to share 0; 0: at once */
    uint64_t back_drain_us; /* and how long open connections may stay on the target then */
    bool commit_manual;
    bool step_asks;      /* something is asked before each step, the first too */
    bool commit_asks;    /* … before the commit, also before that of an operator */
    bool gate_pauses;    /* a failed gate pauses; else it rolls back */
    uint64_t too_few_us; /* how long after its hold a step waits for the gate; 0: without end */
};

struct machine_input {
    enum machine_event event;
    uint64_t now_us;
    uint32_t share_bp; /* SHARE: asked for. START: begin at the first step not below it */
    uint32_t target;   /* START and SHARE when no migration runs: the group to go to */
    size_t usable;     /* usable backends of the target (of the one meant, when none runs) */
    bool waited;       /* STEP_DUE: something else than the hold held it up */
    bool plan_changed; /* RESTART: the plan is not the one that the record was made with */
};

/* What the caller sees of the world. */
struct machine_sight {
    uint64_t now_us;
    size_t usable;    /* backends of the target */
    uint64_t leaving; /* open connections on the group that traffic leaves */
    uint64_t samples; /* connections that the target has taken in the present step */
    bool shut;        /* outside the hours in which the plan may advance */
    bool gate_failed; /* it is to act */
    bool gate_waits;  /* it has not passed the present step */
};

/* In which order the effects of a change happen. */
enum machine_order {
    MACHINE_NOTHING,       /* allowed, and there is nothing to do */
    MACHINE_SILENT,        /* adopt it; no record */
    MACHINE_JOURNAL_FIRST, /* towards new: the record is on disk, then it is adopted; else it did not happen
                            */
    MACHINE_ACT_FIRST      /* towards old, or standing still: adopted at once, then recorded */
};

struct machine_change {
    struct machine next;
    enum machine_order order;
};

/* Names for the words of a refusal. */
struct machine_names {
    const char *service;
    const char *old;    /* the active group */
    const char *target; /* the group meant */
    const char *down;   /* which backends of target are not usable, for people; may be NULL */
};

/* The state before any migration. */
void machine_init(struct machine *machine, uint32_t active);

/*
 * The change that an event makes. 0, or ERR_STATE when the table does not allow it in this state (machine is
 * untouched either way; *out is then meaningless).
 */
MUST_CHECK int machine_handle(const struct machine *machine, const struct machine_rules *rules,
                              const struct machine_input *input, struct machine_change *out);

/* Says why machine_handle refused an operator's event and which command would help. Returns ERR_STATE. */
int machine_refuse(const struct machine *machine, const struct machine_rules *rules,
                   const struct machine_input *input, const struct machine_names *names,
                   struct err_text *err);

/* The most urgent event that has come due, or MACHINE_NO_EVENT. Call again after each change. */
enum machine_event machine_due(const struct machine *machine, const struct machine_rules *rules,
                               const struct machine_sight *sight);
/* When machine_due would next answer by time alone; CLOCK_NEVER. What is only seen (drained, lost) needs
 * polling. */
uint64_t machine_wake_us(const struct machine *machine, const struct machine_rules *rules);

/* A migration is under way: not idle, completed or rolled back. */
bool machine_is_open(const struct machine *machine);
/* Time of the present hold or drain that has been served by now. */
uint64_t machine_served_us(const struct machine *machine, uint64_t now_us);
/* The present step is one of the plan that waits for `resume`. */
bool machine_is_manual(const struct machine *machine, const struct machine_rules *rules);
/* The present step wants more connections than these before the next. */
bool machine_wants_samples(const struct machine *machine, const struct machine_rules *rules,
                           uint64_t samples);
/* What is to be served of it; CLOCK_NEVER when nothing is. */
uint64_t machine_hold_us(const struct machine *machine, const struct machine_rules *rules);
/* What the routing must be: target ROUTING_NONE and share 0 when no migration is under way. */
void machine_route(const struct machine *machine, uint32_t *active, uint32_t *target, uint32_t *share_bp);
/* The group that traffic leaves and that is watched until it is empty; ROUTING_NONE when none is. */
uint32_t machine_leaving(const struct machine *machine);

const char *machine_event_name(enum machine_event event);
bool machine_event_is_operator(enum machine_event event);
/* Whether the table has any row for the pair; for tests and for the table in the documentation. */
bool machine_has_row(enum migration_phase phase, enum machine_event event);
/* The possible phases after the pair, as a bit mask of enum migration_phase. */
unsigned machine_successors(enum migration_phase phase, enum machine_event event);

#endif
