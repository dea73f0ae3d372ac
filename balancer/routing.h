/*
 * Routing of one service: its groups and backends, what is known of them, the split between old and new, and
 * the choice of a backend for a connection. Two halves that never wait for each other:
 *
 *   control thread   routing_set_*() change the model; routing_publish() builds an immutable view and swaps
 * it in workers          routing_view() reads the present view; routing_pick() chooses and returns a lease
 *
 * A view is valid until the end of the loop turn in which it was read. A backend lives as long as the model
 * knows it or a lease is out. Pure: no socket, no event loop; time, randomness and the worker's number are
 * arguments.
 *
 *     routing ──owns──▶ groups ──own──▶ backend (counted: model + leases)
 *        └──publishes──▶ view ──borrows──▶ backend        lease ──counted──▶ backend
 */
#ifndef BALANCER_ROUTING_H
#define BALANCER_ROUTING_H

#include "core/addr.h"
#include "core/config.h"
#include "core/err.h"
#include "core/list.h"
#include "core/random.h"
#include "core/stats.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUTING_NONE UINT32_MAX /* "no group" */
#define ROUTING_WEIGHT_MAX 65535u
#define ROUTING_BACKENDS_MAX 65535u /* in one group */
#define ROUTING_NAME_MAX 128u       /* bytes of a group's or backend's name with NUL; longer is ERR_RANGE */
#define ROUTING_GROUPS_SPARE 16u    /* groups that may be added later */
#define ROUTING_BACKENDS_SPARE 64u  /* a group has room for twice what it begins with and so many more */
#define ROUTING_ATTEMPTS_MAX 16u    /* backends that one connection may try */

struct routing;
struct routing_view;
struct backend;

/* What health says. STARTING (slow start) takes part with the weight it has reached. */
enum backend_state { BACKEND_UNKNOWN, BACKEND_UP, BACKEND_STARTING, BACKEND_DOWN };
/* What the operator says. */
enum backend_admin { BACKEND_READY, BACKEND_DRAIN, BACKEND_MAINT };
/* What the operator says in the place of all that watches a backend: while it is forced, neither its checks
 * nor its agent nor outlier detection count. Admin and weight, which are the operator's too, do. */
enum backend_forced { BACKEND_AUTO, BACKEND_FORCED_UP, BACKEND_FORCED_DOWN };

/* Where a backend stands with outlier detection (health/outlier.h, which is the one to change it). The
 * balancer looks at `out` alone; it is kept with the backend so that it lives as long. Times are monotonic.
 */
struct backend_ejection {
    bool out;     /* takes no new connections */
    bool proving; /* out, its time is over, and checks have to pass */
    bool trial;   /* let in again: a single failure is enough */
    enum stats_error kind;
    uint32_t failures;    /* of that kind in a row, when it was ejected */
    uint32_t times;       /* ejections that still count */
    uint32_t passes;      /* PROVING: checks in a row that passed */
    uint64_t ejected_us;  /* when */
    uint64_t until_us;    /* and until when at least */
    uint64_t returned_us; /* let in again; 0: never was out */
    uint64_t successes;   /* TRIAL: what was counted when it began */
    uint64_t total;       /* ejections ever */
};

struct routing_backend_spec {
    const char *name;
    struct addr address;
    uint32_t weight;
    uint32_t limit;         /* connections at a time; 0: no limit */
    uint64_t slow_start_us; /* how long its weight rises when it comes back; 0: it has it at once */
    bool backup;
    bool unproven; /* a new one is taken for down until its state is set: it gets nothing before */
};

/* Below threshold_bp of the backends that the operator lets serve, a group is in panic: then action says who
 * gets its connections. 0: never. */
struct routing_panic {
    uint32_t threshold_bp;
    enum config_panic action;
    bool addressed; /* connections come to the group by name too (sni.routes), whatever the split is */
};

struct routing_panic routing_panic_of(const struct config_service *service,
                                      const struct config_group *config);

struct routing_group_spec {
    const char *name;
    enum config_balance balance;
    uint32_t queue_size;       /* connections that may wait while all of its backends are full */
    uint64_t queue_timeout_us; /* and how long */
    struct routing_panic panic;
    const struct routing_backend_spec *backends;
    size_t backends_len;
    size_t room; /* backends that may come to it, beyond the usual spare */
};

struct routing_spec {
    const char *service;
    enum config_assign assign;
    unsigned prefix_ipv4, prefix_ipv6;
    const char *salt;
    bool fallback;
    bool fallback_when_full; /* a group whose backends are all full counts as one that cannot serve */
    unsigned workers;
    const struct routing_group_spec *groups; /* the first is active until told otherwise */
    size_t groups_len;
    /* How a replaced view is disposed of once no worker reads it: retire(context, ptr, destroy) must call
     * destroy(ptr) on the control thread when every worker has ended its present turn. NULL: at once (tests
     * with one thread). */
    void (*retire)(void *context, void *ptr, void (*destroy)(void *ptr));
    void *retire_context;
    /* Called on a worker when a backend has as many failures of a kind in a row as routing_set_run_limits
     * says. Must be quick and never block. NULL: nobody wants to know. */
    void (*alarm)(void *context);
    void *alarm_context;
    /* A backend comes back slowly: routing_slow_start is to be called from now on. On the control thread,
     * within a change of the routing; it changes nothing there. NULL: nobody does. */
    void (*starting)(void *context);
    void *starting_context;
};

/* ---- control thread
 * ------------------------------------------------------------------------------------------- */

/* Copies what it needs of spec. Publishes a first view (all backends UNKNOWN, which is usable; share 0).
 * Errors: ERR_NOMEM, ERR_INVALID (no group, no worker, an empty name), ERR_EXISTS (a name twice), ERR_RANGE
 * (a long name, a weight, a prefix, more than ROUTING_BACKENDS_MAX in a group). */
MUST_CHECK int routing_create(const struct routing_spec *spec, struct routing **out, struct err_text *err);
/* No worker may read it any more; leases must have been released. */
void routing_destroy(struct routing *routing);

const char *routing_service(const struct routing *routing);
size_t routing_groups(const struct routing *routing);
const char *routing_group_name(const struct routing *routing, size_t group);
enum config_balance routing_group_balance(const struct routing *routing, size_t group);
/* Index of a group by name, or ROUTING_NONE. */
uint32_t routing_find_group(const struct routing *routing, const char *name);
size_t routing_backends(const struct routing *routing, size_t group);
struct backend *routing_backend_at(const struct routing *routing, size_t group, size_t index);
struct backend *routing_find_backend(const struct routing *routing, size_t group, const char *name);
/* Backends of the group that new connections could go to now: state and admin allow it, weight above 0.
 * Backups count only when no other is usable. */
size_t routing_usable(const struct routing *routing, size_t group);
/* As routing_usable, with what panic makes of it: all that the operator lets serve when all are used, none
 * when the group's connections are refused or go to the other group. */
size_t routing_serving(const struct routing *routing, size_t group);
/* Whether too few of its backends are usable, as published last. Never of a group that nobody is sent to
 * (neither active nor the target of a migration, nor addressed by name). usable and eligible, when set: how
 * many are, and of how many that the operator (and their agents) let serve; backups are not among them. */
bool routing_in_panic(const struct routing *routing, size_t group, size_t *usable, size_t *eligible);
struct routing_panic routing_panic(const struct routing *routing, size_t group);
/* Whether only backups serve: there are others, and none of them is usable. */
bool routing_on_backups(const struct routing *routing, size_t group);
/* Connections open on the group now (leases out). */
uint64_t routing_open(const struct routing *routing, size_t group);

uint32_t routing_active(const struct routing *routing);
uint32_t routing_target(const struct routing *routing); /* ROUTING_NONE when no migration runs */
uint32_t routing_share_bp(const struct routing *routing);

/* Changes of the model. None takes effect before routing_publish. Indices must be valid. */
void routing_set_active(struct routing *routing, uint32_t group);
void routing_set_target(struct routing *routing, uint32_t group_or_none);
void routing_set_share(struct routing *routing, uint32_t share_bp); /* 0 to 10000 */
void routing_set_state(struct routing *routing, struct backend *backend, enum backend_state state);
/* The same for what is only assumed, before anything is known: a backend that is then found to be up did not
 * come back, and has no slow start. */
void routing_assume_state(struct routing *routing, struct backend *backend, enum backend_state state);
void routing_set_admin(struct routing *routing, struct backend *backend, enum backend_admin admin);
void routing_set_weight(struct routing *routing, struct backend *backend, uint32_t weight);

/* What the backend's own agent asks for, beside state, admin and weight and never in their place: no new
 * connections unless admin is READY, and percent (0 to 1000) of the weight. READY and 100 at the beginning.
 */
void routing_set_agent(struct routing *routing, struct backend *backend, enum backend_admin admin,
                       uint32_t percent);

/* How many connections a backend may have at a time; 0: no limit. Of the operator's and the agent's the lower
 * one counts. */
void routing_set_limit(struct routing *routing, struct backend *backend, uint32_t limit);
void routing_set_agent_limit(struct routing *routing, struct backend *backend, uint32_t limit);

/* A backend that is to leave: no new connections, whatever else is said of it, but it stays in sight until
 * a change takes it away. False at the beginning. */
void routing_set_leaving(struct routing *routing, struct backend *backend, bool leaving);
/* What the operator says in the place of health. AUTO at the beginning. */
void routing_set_forced(struct routing *routing, struct backend *backend, enum backend_forced forced);
/* What outlier detection found; copied. */
void routing_set_ejection(struct routing *routing, struct backend *backend,
                          const struct backend_ejection *ejection);

/* One listener, told after each publish that put something in force; it may change the routing, and publish
 * in a later turn of the loop. fn NULL: none. */
void routing_set_listener(struct routing *routing, void (*fn)(void *context), void *context);

/* Lets the weights of backends that came back rise to what they have at now_us (monotonic). To be called some
 * ten times a second while it returns true, and published; a backend's time begins with the first call. */
bool routing_slow_start(struct routing *routing, uint64_t now_us);

/* How many connections may wait for a backend with room, and how long. At once. */
void routing_set_queue(struct routing *routing, uint32_t group, uint32_t size, uint64_t timeout_us);

struct routing_queue_reading {
    uint32_t waiting; /* now */
    uint32_t size;
    uint64_t timeout_us;
    struct histogram_reading waited_us; /* of those that were served after all */
};
void routing_queue_read(const struct routing *routing, size_t group, struct routing_queue_reading *out);

/*
 * Where the exact count of connections stands, 0 to 9999, for a routing in another process that goes on from
 * there. set: before anything is picked by the view in force.
 */
uint32_t routing_count_phase(const struct routing *routing);
void routing_set_count_phase(struct routing *routing, uint32_t phase_bp);

/* Builds the view and puts it in force for the next pick on any worker. ERR_NOMEM: the old view stays, call
 * again. */
MUST_CHECK int routing_publish(struct routing *routing, struct err_text *err);

/*
 * Other groups and backends while connections are open. prepare makes all that can fail and changes nothing:
 * groups are meant by name, backends by name, address and backup; who stays keeps its counters, state and
 * connections. Neither the active group nor the target may be missing in the list. ERR_NOMEM, ERR_LIMIT (no
 * room), ERR_RANGE, ERR_INVALID, ERR_EXISTS. apply changes the model and publishes; it fails only without
 * memory (ERR_NOMEM: the next routing_publish makes up for it) and ends the change in either case. Backends
 * that left stay in sight, as removed, while connections of them are open (until routing_sweep), unless
 * another one has their name now; so do groups. A group without any then is gone: its number stays, but
 * nobody finds it by its name. New ones are UNKNOWN and READY, and so are removed ones that come back.
 * Weights of those that stay do not change, limits and slow starts do. New ones in a group that had others
 * start slowly.
 */
struct routing_change;
MUST_CHECK int routing_change_prepare(struct routing *routing, const struct routing_group_spec *groups,
                                      size_t groups_len, struct routing_change **out, struct err_text *err);
MUST_CHECK int routing_change_apply(struct routing *routing, struct routing_change *change,
                                    struct err_text *err);
/* NULL is allowed. */
void routing_change_drop(struct routing_change *change);
/*
 * A backend that is not meant here, and maybe its group neither, but on which another process has connections
 * open: it comes into sight as removed, with a group as removed where there is none of the name. The caller
 * tells what it has open (backend_inherit), or it goes with the next routing_sweep, and publishes. Never
 * while a change is prepared. *out is borrowed. ERR_EXISTS (the group has one of the name), ERR_LIMIT (no
 * room), ERR_RANGE, ERR_INVALID, ERR_NOMEM.
 */
MUST_CHECK int routing_recall(struct routing *routing, const char *group,
                              const struct routing_backend_spec *spec, struct backend **out,
                              struct err_text *err);
/* Lets go of removed backends that have nothing open any more. True: others are left, call again later. */
bool routing_sweep(struct routing *routing);
/* A change took the group away. It is gone once none of its backends is in sight. */
bool routing_group_is_removed(const struct routing *routing, size_t group);
bool routing_group_is_gone(const struct routing *routing, size_t group);
/* The group beside this one, where there are two; ROUTING_NONE. Removed ones do not count. */
uint32_t routing_other_group(const struct routing *routing, uint32_t group);

/*
 * Failures in a row, over all workers: a failure adds one to its kind's run; a connection established ends
 * those of CONNECT and TIMEOUT, a first byte from the backend ends all. Aborts later than that do not count.
 */
struct backend_runs {
    uint32_t of[STATS_ERROR_COUNT];
};
/* When the alarm is raised: a run of a kind reaches its limit. 0: never. */
void routing_set_run_limits(struct backend *backend, const struct backend_runs *limits);
void backend_read_runs(const struct backend *backend, struct backend_runs *out);
void backend_clear_runs(struct backend *backend);
/* Connections established, and turns that were answered: all workers. */
void backend_read_successes(const struct backend *backend, uint64_t *connected, uint64_t *answered);

/* A backend as the control thread sees it. */
const char *backend_name(const struct backend *backend);
const struct addr *backend_address(const struct backend *backend);
uint32_t backend_group(const struct backend *backend);
enum backend_state backend_state(const struct backend *backend);
enum backend_admin backend_admin(const struct backend *backend);
uint32_t backend_weight(const struct backend *backend);
enum backend_admin backend_agent_admin(const struct backend *backend);
uint32_t backend_agent_percent(const struct backend *backend);
/* Its state is only assumed: nothing has looked at it yet. */
bool backend_is_assumed(const struct backend *backend);
/* As the operator set it, as the agent did, and what counts; 0: no limit. */
uint32_t backend_limit(const struct backend *backend);
uint32_t backend_agent_limit(const struct backend *backend);
uint32_t backend_limit_effective(const struct backend *backend);
bool backend_is_backup(const struct backend *backend);
/* How much of its weight it has while it starts slowly; 100 otherwise. */
uint32_t backend_slow_start_percent(const struct backend *backend);
/* Takes no new connection, since its name does not stand for it any more or since it was removed. */
bool backend_is_leaving(const struct backend *backend);
/* A change took it away while connections of it were open. */
bool backend_is_removed(const struct backend *backend);
enum backend_forced backend_forced(const struct backend *backend);
/* Never NULL; all zero for a backend that was never ejected. */
const struct backend_ejection *backend_ejection(const struct backend *backend);
/* What its state comes to: as forced, else down while it is ejected, else what health says. */
enum backend_state backend_standing(const struct backend *backend);
/* Whether new connections may go to it now: state, operator, agent, ejection, weight. */
bool backend_is_usable(const struct backend *backend);
uint64_t backend_open(const struct backend *backend);
/* Those of them that are open in another process (backend_inherit). */
uint64_t backend_open_elsewhere(const struct backend *backend);
/* Sums the counters of all workers into out (cleared first). */
void backend_read(const struct backend *backend, struct stats_backend_reading *out);
/* What another process has or had open on it and counted (copied; NULL: nothing): part of backend_open and
 * backend_read from now on, in place of what was set before. ERR_NOMEM: that stays. */
MUST_CHECK int backend_inherit(struct backend *backend, uint64_t open,
                               const struct stats_backend_reading *counted);
const char *backend_state_name(enum backend_state state);
const char *backend_forced_name(enum backend_forced forced);
const char *backend_admin_name(enum backend_admin admin);

/* ---- workers
 * -------------------------------------------------------------------------------------------------- */

/* The view in force. One acquire load. Valid until this loop turn ends. */
const struct routing_view *routing_view(const struct routing *routing);

/* One connection's way through the balancer. Zeroed by the caller before the first pick (but for fixed), then
 * passed to each pick of the same connection: it remembers the group decided on and the backends that failed.
 */
struct routing_attempts {
    uint32_t group;    /* decided by the first pick; set by routing_pick */
    uint32_t full;     /* after ERR_LIMIT: the group that has no room */
    uint32_t share_bp; /* at which was decided */
    uint8_t count;     /* picks made */
    bool decided;
    bool fixed; /* set by the caller, with group: it is not the split's to decide, and no other group helps
                   out */
    const struct backend *tried[ROUTING_ATTEMPTS_MAX]; /* only compared, never followed */
};

struct routing_pick_input {
    unsigned worker;
    struct addr_ip client;   /* family 0 (Unix peer): assign = "client" falls back to connection counting */
    const char *server_name; /* asked for, in small letters; NULL: none, assign = "sni" goes by the client */
    uint64_t now_us;
    struct random_state *random;
    bool waited; /* others that wait need not be let ahead; set by routing_wait_turn */
};

/* A claim on a backend. Plain data; moved with the connection, released exactly once. */
struct lease {
    struct backend *backend;     /* counted */
    struct stats_backend *stats; /* this worker's counters of it */
    uint32_t group;
    bool spilled; /* serves a connection that belonged to the other group */
    bool in_turn;
    bool connecting; /* picked and not yet connected: counts as work under way */
    bool excused;    /* what goes wrong now is our own fault: counted, but not in the backend's run */
};

/*
 * Chooses a backend: the group by the split on the first pick of a connection, then a usable backend of it
 * that was not tried; its backups when none of the others is left (down, or tried by this connection); when
 * none at all is left and fallback is set and a migration runs, one of the other group (lease->spilled). A
 * decision for a group that is neither active nor target any more is made anew; one made at another share
 * follows it the way that it went, without being counted as a new connection. Every call that returns 0
 * counts as an attempt. A backend has never more leases than its limit, over all workers; one that is full is
 * passed over, yet it is usable: while there are such, neither backups nor (unless fallback_when_full is set)
 * the other group step in. Returns 0 with *lease filled; ERR_LIMIT: those left are all full, or others wait
 * for them already; attempts->full says in which group; ERR_UNAVAILABLE: none is left. Never allocates, locks
 * or loops without bound.
 */
MUST_CHECK int routing_pick(const struct routing_view *view, const struct routing_pick_input *input,
                            struct routing_attempts *attempts, struct lease *lease);

/* Gives the claim back. An outcome below 0 means the connection ended in order, else one of enum stats_error,
 * which is counted. connect errors are reported here too, before the next pick. now_us feeds the strategies.
 */
void lease_release(struct lease *lease, int outcome, uint64_t now_us);
/* Counts and samples the time to connect; the connection is established. */
void lease_connected(struct lease *lease, uint64_t connect_us, uint64_t now_us);
/* A turn begins (first client bytes after backend bytes) and ends (next backend bytes) with its duration. */
void lease_turn_begin(struct lease *lease);
void lease_turn_end(struct lease *lease, uint64_t response_us, uint64_t now_us);
/* The turn ended without an answer (the connection closed). Called by lease_release when needed. */
void lease_turn_cancel(struct lease *lease);

/* ---- waiting for a backend with room, on the workers
 * ------------------------------------------------------------------------------ */

/* One connection that waits. Zeroed by its owner, who sets wake; the rest is the queue's. */
struct routing_waiter {
    struct list node;
    uint64_t arrival; /* its place: over all workers and groups; kept when it waits again */
    uint64_t since_us;
    uint32_t group; /* in whose queue it is */
    bool woken;     /* wake was called, and routing_wait_turn not yet */
    struct routing_attempts attempts;
    /* There may be room: routing_wait_turn should be called soon, on the waiter's own worker. Called with the
     * queue's lock held, by any thread: it passes the word on and calls nothing here. */
    void (*wake)(struct routing_waiter *waiter);
};

/*
 * After ERR_LIMIT from routing_pick: waits in the queue of attempts->full. While somebody waits there, newer
 * connections wait too. wake may be called before this returns. ERR_LIMIT: the queue has as many as it may.
 */
MUST_CHECK int routing_wait(struct routing *routing, struct routing_waiter *waiter,
                            const struct routing_attempts *attempts, uint64_t now_us);
/*
 * Its turn has come: picks anew, as routing_pick. ERR_LIMIT: it goes on waiting, at its place (in the other
 * group's queue when the share has changed so). Otherwise it has left the queue; while waiter->woken is then
 * set, wake was called once more and the waiter's memory must stay until the word has arrived.
 */
MUST_CHECK int routing_wait_turn(struct routing *routing, struct routing_waiter *waiter,
                                 const struct routing_pick_input *input, struct routing_attempts *attempts,
                                 struct lease *lease);
/* Gives up. waiter->woken as above. */
void routing_wait_leave(struct routing *routing, struct routing_waiter *waiter);
/* When it has waited long enough, by what is set now. */
uint64_t routing_wait_due_us(const struct routing *routing, const struct routing_waiter *waiter);
/* To be called after each lease_release, with the group that the lease was of: wakes who waits for it. One
 * load when nobody does. */
void routing_wake(const struct routing *routing, uint32_t group);

#endif
