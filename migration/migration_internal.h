/*
 * Inside the room: what the files of the controller share. The controller is the thin shell around the
 * machine:
 *
 *   commands.c    the operator's verbs          ─┐
 *   controller.c  timer, poll, restart          ─┼─▶ migration_perform() ─▶ machine, journal, routing, events
 *   setup.c       what it goes by, of one configuration; reload
 *   record.c      state ⇄ journal record
 *   narrate.c     the words of events and of the status
 *   overrides.c   weights and operator states that outlive a restart
 *   words.c       who set them, when and why
 *   drain.c       closes what is left on a group, at a pace
 *   waits.c       hours and numbers that a step waits for
 *   judge.c       the gate: reads the counters for it, says what it sees
 *   preflight.c   what is looked at before a start
 *   aim.c         the share in force, steered or not
 *   rate.c        connections a minute, for the plan
 *   toll.c        what the target has failed since the migration began
 *   hooked.c      what hooks and webhooks are told and asked
 *   handover.c    stands still for another program, and goes on
 *
 * Control thread only.
 */
#ifndef MIGRATION_MIGRATION_INTERNAL_H
#define MIGRATION_MIGRATION_INTERNAL_H

#include "core/calendar.h"
#include "core/random.h"
#include "migration/gate.h"
#include "migration/hooks.h"
#include "migration/journal.h"
#include "migration/journal_internal.h"
#include "migration/machine.h"
#include "migration/migration.h"
#include "migration/pace.h"
#include "migration/plan.h"
#include "migration/steer.h"
#include "migration/strays.h"
#include "migration/webhooks.h"

#include <jansson.h>

struct event;

/* After a hook refused, it is asked again this much later. */
#define HOOKED_RETRY_US UINT64_C(30000000)

/* How often the world is looked at while a migration is under way. */
#define MIGRATION_POLL_US UINT64_C(100000)
/* Of the hold served, at most this much is lost by a kill: 1/20 of it, but no less than 5 s apart. */
#define MIGRATION_PROGRESS_PARTS 20u
#define MIGRATION_PROGRESS_MIN_US UINT64_C(5000000)

#define RATE_LOOKS 7u

struct rate_look {
    uint64_t at_us, count;
};

/* The last looks at the counters, in a ring. */
struct rate {
    struct event *timer; /* owned; NULL without a base */
    struct rate_look looks[RATE_LOOKS];
    unsigned next;
};

/* Different sets of limits in one plan. */
#define SETUP_GATES_MAX 16u

/* What a migration goes by, made from one configuration and kept together with it: a reload changes what the
 * next start goes by, never what runs. */
struct setup {
    const struct config_service *config; /* borrowed from whole, or from the caller when that is NULL */
    struct config *whole;                /* counted; NULL: the caller sees to it */
    struct plan *plan;                   /* owned; NULL: none */
    struct machine_rules rules;
    struct calendar_window window;       /* in which the plan may advance */
    struct zone *zone;                   /* owned; NULL: always */
    struct gate *gate;                   /* of the present step, one of gates; NULL: none is configured */
    struct gate *gates[SETUP_GATES_MAX]; /* owned; the first for steps without limits of their own */
    size_t gates_len;
    struct hooks *hooks;       /* owned; NULL: none */
    struct webhooks *webhooks; /* owned; NULL: none */
};

/* What operators last said of backends. */
struct words {
    struct word *list; /* owned */
    size_t len, room;
};

struct migration {
    struct migration_options options;    /* config: of the last reload */
    uint64_t (*clock_us)(void *context); /* monotonic; tests put their own */
    void *clock_context;
    uint64_t (*wall_us)(void *context); /* for the hours of the plan; same context */
    struct event *timer;                /* owned; NULL without a base */
    struct setup setup;                 /* in force */
    struct setup *next;                 /* owned; for the next start; NULL: the same */
    struct machine machine;
    char why[256];           /* reason of the last command, or of what stopped the plan */
    char actor[64];          /* who gave it */
    char journal_error[256]; /* the last failure to write */
    bool frozen;             /* another program takes over, or is about to hand over to this one */
    bool unpublished;        /* the routing could not be published: try again */
    struct restored {        /* by migration_restore */
        bool found, plan_changed;
        char words[200]; /* what could not be taken over */
    } restored;
    uint64_t settle_until_us; /* after a restart: until then the health checks may not have spoken */
    uint64_t progress_us;     /* when progress was last journaled */
    uint64_t drained_from;    /* connections that drains had closed when this one began */
    struct pace pace;         /* of closing connections at the end of a drain */
    struct random_state random;
    struct rate rate;
    struct steer steer;                    /* with aim = "live" */
    uint64_t toll_from[STATS_ERROR_COUNT]; /* what the target had failed when the migration began */
    struct strays *strays;                 /* owned; hooks of the program before. NULL: none were found */
    bool hook_held;                        /* a question to the hooks holds the step up */
    uint64_t hook_retry_us;                /* when a refusal is asked about again; 0: none */
    char hook_words[300];                  /* of the refusal last said */
    bool shut;                             /* as of the last look: outside those hours */
    bool held_up;                          /* the hold was served, and it waited for something else */
    uint64_t samples;                      /* as of the last look: connections to the target in this step */
    uint64_t counted_from;                 /* what the counters said when it began */
    uint32_t counted_step, counted_number;
    bool judging; /* it watches the present migration, judged_number, at judged_share_bp */
    uint32_t judged_number, judged_share_bp;
    enum migration_phase judged_phase;
    uint64_t judge_due_us; /* its next look */
    struct words words;
};

/* migration_create with a clock of the caller's and base possibly NULL (then nothing runs by itself:
 * migration_turn). */
MUST_CHECK int migration_create_with_clock(const struct migration_options *options,
                                           uint64_t (*clock_us)(void *context), void *clock_context,
                                           struct migration **out, struct err_text *err);
/* Frees without the last record of an orderly end: what a kill leaves behind. For tests. */
void migration_abandon(struct migration *m);
/* Does what has come due, then arms the timer. */
void migration_turn(struct migration *m);
/* When the next turn is needed; CLOCK_NEVER when nothing runs. */
uint64_t migration_wake_us(const struct migration *m);

/* Puts an event through machine, journal, routing and ring, in the order that the machine names. */
MUST_CHECK int migration_perform(struct migration *m, struct machine_input *input,
                                 const struct migration_asker *who, struct err_text *err);
/* An event that changes nothing, and its record in the journal. */
void migration_note(struct migration *m, const struct migration_asker *who, const char *text);
/* The group that a start without a name would go to; ROUTING_NONE when several could be meant. */
uint32_t migration_default_target(const struct migration *m);
const char *migration_group_name(const struct migration *m, uint32_t group);
/* Sets the routing to what the machine says and publishes it. */
void migration_route(struct migration *m);
void migration_arm(struct migration *m);

/* record.c: a state as a journal record (owned by the caller, NULL without memory), and back. who: makes this
 * record; cause: whom the state is owed to (kept in m->actor and m->why). */
json_t *record_of_state(const struct migration *m, const struct machine *state, const char *kind,
                        const char *event, const struct migration_asker *who,
                        const struct migration_asker *cause, const char *text);
/* A text of an operator as a JSON string, whatever bytes it holds; NULL is empty. NULL without memory. */
json_t *record_text(const char *text);
/* Puts the state that the journal last held into m (not routed yet). *plan_changed, *found as named. words:
 * what could not be taken over, empty when all was. */
void record_restore(struct migration *m, bool *found, bool *plan_changed, char *words, size_t words_size);

/* narrate.c: one line for people about a change; the severity of its event. */
void narrate_change(const struct migration *m, const struct machine *before, const struct machine *after,
                    enum machine_event event, char *out, size_t out_size);
enum events_severity narrate_severity(const struct machine *after, enum machine_event event);
const char *narrate_kind(const struct machine *before, const struct machine *after);
/* Why the migration is where it is, or what it waits for. */
void narrate_reason(const struct migration *m, uint64_t now_us, char *out, size_t out_size);
void narrate_id(const struct migration *m, const struct machine *state, char *out, size_t out_size);
/* Names of the backends of a group that are not usable, for people; empty when all are. */
void narrate_down(const struct migration *m, uint32_t group, char *out, size_t out_size);

/* handover.c: 0, or why nothing can be changed now. */
MUST_CHECK int handover_allows(const struct migration *m, struct err_text *err);
/* controller.c: takes up what the journal says, and begin puts it in force for good and says so; who: why. */
void migration_restore(struct migration *m);
void migration_begin(struct migration *m, const struct migration_asker *who);
/* The time served, durable, unless nothing runs. */
void migration_write_served(struct migration *m, const struct migration_asker *who);

/* drain.c: closes what is due now. */
void drain_turn(struct migration *m);
/* When it wants to be called again; CLOCK_NEVER. */
uint64_t drain_wake_us(const struct migration *m, uint64_t now_us);
/* Connections of the group that traffic leaves are being closed, idle or not. */
bool drain_is_closing(const struct migration *m);
/* Connections that the present drain has closed. */
uint64_t drain_closed(const struct migration *m);
/* Until the drain, or the fall of a gradual rollback, is over; CLOCK_NEVER when it waits for the clients. */
uint64_t drain_left_us(const struct migration *m, uint64_t now_us);

/* setup.c: all that can fail of taking up a configuration. m is only remembered. On failure nothing is left.
 */
MUST_CHECK int setup_create(struct migration *m, const struct config_service *config, struct config *whole,
                            struct setup *out, struct err_text *err);
void setup_clear(struct setup *setup);
void setup_destroy(struct setup *setup); /* with its memory; NULL is allowed */
/* The configuration last read for a group, by its name; NULL: none. */
const struct config_group *migration_group_config(const struct migration *m, uint32_t group);
/* Puts the setup that a reload left for the next start in force, unless a migration runs or its last hooks
 * still do. begin: a migration is about to begin, no hook is waited for. */
void setup_renew(struct migration *m, bool begin);

/* waits.c: reads the configuration's hours. */
MUST_CHECK int waits_create(struct setup *setup, struct err_text *err);
/* Looks what the present step still waits for. */
void waits_look(struct migration *m);
/* Its hold is served and it waits for something else, as of the last look. */
bool waits_any(const struct migration *m);
/* Until the plan may advance again; 0: it may. */
uint64_t waits_open_us(const struct migration *m);
/* For what it waits. */
void waits_narrate(const struct migration *m, char *out, size_t out_size);

/* judge.c: the gate of the configuration, if it has one. ERR_INVALID, ERR_NOMEM. */
MUST_CHECK int judge_create(struct setup *setup, struct err_text *err);
/* Looks at the counters when that is due. */
void judge_look(struct migration *m);
/* What the gate tells the machine. */
void judge_see(const struct migration *m, struct machine_sight *sight);
/* The gate watches and has not passed the step. */
bool judge_waits(const struct migration *m);
/* What the deciding check says; empty when all pass. Valid until the next look. */
const char *judge_message(const struct migration *m);
/* What it last saw; NULL: no gate, or nothing yet. */
const struct gate_result *judge_result(const struct migration *m);
/* What it saw, for the journal; owned by the caller, NULL without memory. Only with a gate. */
json_t *judge_json(const struct migration *m);
/* hooked.c: looks whether hooks of a program before this one still run; those of this one wait for them. */
void hooked_find_strays(struct migration *m);

/* hooked.c: the hooks and webhooks of the configuration. ERR_NOMEM. */
MUST_CHECK int hooked_create(struct migration *m, struct setup *setup);
/* None of them runs or waits to. */
bool hooked_idle(const struct setup *setup);
/* Tells them of a change that is in force. text: what the events say of it. */
void hooked_tell(struct migration *m, const struct machine *before, enum machine_event event,
                 const struct migration_asker *who, const char *text);
/* Whether what is due may happen, as far as the hooks have a say; asks them. */
bool hooked_allows(struct migration *m, enum machine_event event);
/* They are asked, or have refused. */
bool hooked_waits(const struct migration *m);
/* For what it then waits. */
void hooked_narrate(const struct migration *m, char *out, size_t out_size);

/* rate.c: looks at the counters every few seconds. ERR_NOMEM; rate_end in any case. */
MUST_CHECK int rate_begin(struct migration *m);
void rate_end(struct migration *m);
void rate_look(struct migration *m, uint64_t now_us);
/* Connections established on all backends so far. */
uint64_t rate_count(const struct migration *m);

/* toll.c: counts from here. */
void toll_begin(struct migration *m);
/* "; new failed 87 (connect 86, reset 1)"; empty when it failed none. */
void toll_narrate(const struct migration *m, char *out, size_t out_size);

/* aim.c: whether the share in force is steered now. */
bool aim_steers(const struct migration *m);
/* The share that the routing is to have; looks at the counters when that is due. */
uint32_t aim_share_bp(struct migration *m);
/* Puts it in force when it has changed. */
void aim_turn(struct migration *m);

/* overrides.c: applies the weights and operator states of the journal that the configuration has not
 * overtaken. */
void overrides_restore(struct migration *m);

/* words.c: who is kept with a wall time for migration_word. */
void words_keep(struct migration *m, const struct backend *backend, enum migration_word_kind kind,
                uint64_t wall_us, const struct migration_asker *who);
void words_clear(struct migration *m);
/* The kind by its name in the journal. */
bool words_kind(const char *text, enum migration_word_kind *out);

#endif
