/*
 * The structs that the files of this room share, and who owns what:
 *
 *     proxy ──owns──▶ proxy_worker[workers]      pipes, free connections, paused listeners
 *       └─ counts: open connections, pipes
 *     proxy_service ──owns──▶ service_worker[workers] ──owns──▶ connections, deadline queues
 *           └─────────owns──▶ places ──owns──▶ listeners[workers], each its worker's
 *     conn ──owns──▶ two streams (fds), two flows (pipe or spill while bytes wait), one lease
 *
 * A service_worker and all it owns belong to its worker's thread from proxy_service_start on; its counters
 * may be read by any.
 */
#ifndef PROXY_PROXY_INTERNAL_H
#define PROXY_PROXY_INTERNAL_H

#include "balancer/routing.h"
#include "core/deadline.h"
#include "core/list.h"
#include "core/mailbox.h"
#include "core/prefixes.h"
#include "core/proxy_protocol.h"
#include "core/source.h"
#include "core/stats.h"
#include "core/worker.h"
#include "proxy/admission.h"
#include "proxy/bandwidth.h"
#include "proxy/conn_state.h"
#include "proxy/passthrough.h"
#include "proxy/pipes.h"
#include "proxy/proxy.h"
#include "proxy/stream.h"
#include "proxy/tls_stream.h"

#include <event2/event_struct.h>
#include <sys/types.h>

#define CONN_STATE_FREE 0xffu /* in conn.state: it is not a connection any more, or not yet again */

#define CONN_ID_WORKER_SHIFT 48u /* an id: the worker above, its count of connections below */

enum conn_side { CONN_CLIENT, CONN_BACKEND };
#define CONN_OTHER(side) ((enum conn_side)(1 - (int)(side)))

/* Bytes that were received but that the other side did not take. Exactly the rest, allocated when needed. */
struct conn_spill {
    size_t begin, end;
    unsigned char bytes[];
};

/* One direction, named by the side it comes from. At most one of pipe data and spill exists. */
struct conn_flow {
    struct pipes_pipe *pipe;  /* lent by the pool while bulk goes on */
    struct conn_spill *spill; /* owned; NULL most of the time */
};

/* What connecting needs and relaying does not; freed when the connection is established. */
struct conn_attempt {
    struct routing_attempts attempts;
    uint64_t began_us; /* the present attempt */
    uint32_t retries_left;
    struct conn_wait *wait;     /* owned; NULL: it never waited for a backend with room */
    struct conn_origin *origin; /* owned; what a received PROXY header told. NULL: nothing to be passed on */
    int outcome;                /* enum stats_error of the last attempt, -1: none failed */
};

/* What a ClientHello told. */
struct conn_hello {
    struct proxy_protocol_text protocol; /* the first that the client offers; into text */
    char text[];                         /* the server's name ("": none), then the protocol */
};

/* The client has not spoken in time. */
struct conn_first_byte {
    struct deadline deadline;
    struct conn *conn;
};

/* An idle one is paid for many thousand times: what few have is behind pointers. */
struct conn {
    struct addr_ip client; /* behind a PROXY header the one in it */
    uint8_t state;         /* enum conn_state; written by conn_enter only */
    bool client_spoke : 1;
    bool backend_spoke : 1;
    bool in_turn : 1;
    bool look_armed : 1;
    bool routed : 1;  /* came from another service */
    bool delayed : 1; /* its route led to a service that this worker had not heard of yet */
    bool first_ended_known : 1;
    bool first_ended_backend : 1; /* which side's end was read first */
    uint8_t reason;               /* enum stats_close, decided when FLUSHING is entered */
    int8_t outcome;               /* enum stats_error for the lease, -1: ended in order */
    struct service_worker *home;  /* borrowed; outlives the connection */
    uint64_t id;                  /* unique over all workers */
    struct list node;             /* in home->connections */
    struct deadline deadline;     /* of the present state */
    struct deadline look;         /* a second look at sockets whose last receive came back short */
    struct worker_task task;      /* continue after a used-up budget, then the deferred free */
    uint64_t accepted_us;
    uint32_t connect_us,
        answer_us;     /* for the log: connecting took, the first byte came after accept; 0: never */
    uint64_t moved_us; /* when bytes last moved */
    uint64_t delivered_bytes[2];  /* by the side they came from */
    uint64_t turn_us;             /* when the present turn began; before the first byte: established */
    struct conn_attempt *attempt; /* owned; NULL once established */
    struct lease lease;           /* held while lease.backend is set */
    struct stream stream[2];      /* by enum conn_side */
    struct conn_flow flow[2];
    struct conn_pace *pace;             /* owned; NULL: its bandwidth is not limited */
    struct conn_hello *hello;           /* owned; NULL: none was read */
    struct conn_first_byte *first_byte; /* owned; NULL: not bounded */
    struct admission_claim claim[2];    /* on the service's limits, and on those over all */
};

struct listener {
    struct event event;
    int fd; /* owned, except for a Unix path: then by the place */
    bool registered;
    bool paused;
    bool leaving;            /* its place was taken away: it serves who still waits */
    bool gone;               /* nothing of it is held any more */
    struct list at_home;     /* in service_worker.listeners */
    struct list node;        /* in proxy_worker.paused */
    struct worker_task rest; /* goes on serving them */
    unsigned rest_left;      /* so many of them at most */
    struct deadline retry;
    struct service_worker *home;
    struct place *place; /* whose it is */
};

/* A place that was taken away and may not be closed yet. The proxy's, which forgets it later. */
struct resting {
    struct list node;
    struct addr bound;
    _Atomic bool closed; /* the last that the place writes */
};

/* What a place tells one worker. */
struct place_part {
    struct mailbox_message join, leave;
    struct place *place;
    struct service_worker *home;
};

/*
 * An address that a service listens on. The control thread's, but for the listeners. It ends with its
 * service, or, when it was taken away from it before, with the last worker that lets go of it.
 */
struct place {
    struct proxy_service *service;
    struct addr bound;
    struct addr wanted; /* as asked for: port 0 takes a free one */
    bool foreign;       /* of a service manager: neither the path nor the queue is ours to end */
    bool detached;      /* no part of its service any more; written before the workers are told */
    bool serves;        /* with that: who waits in the queues is served first. Else others have the sockets */
    _Atomic bool leaves_path; /* others go on with the socket, or have it still */
    int unix_fd;              /* owned; the shared descriptor of a Unix path, else -1 */
    dev_t device;             /* with inode: what the path was when it was bound. 0: not known */
    ino_t inode;
    struct listener *listeners; /* owned; the n-th is for worker n modulo their number */
    size_t listeners_len;
    struct place_part *parts; /* owned; one for each worker */
    struct resting *resting;  /* owned, until the place is detached */
    _Atomic unsigned held; /* listeners that are not let go, and messages on their way that it must outlive */
};

struct service_worker {
    struct stats_service stats;
    struct proxy_service *service;
    struct proxy_worker *shared;
    struct list listeners;   /* of all places, those that leave among them; owned by them */
    struct list connections; /* in order of id */
    struct list visits;      /* of visit_part: those that are in the middle of the connections */
    struct deadline_queue *queue[CONN_DEADLINE_COUNT]; /* NULL: that timeout is off */
    uint64_t queue_us[CONN_DEADLINE_COUNT];            /* their lengths; CLOCK_NEVER: none */
    struct list node;                                  /* in proxy_worker.homes */
    struct mailbox_message attach, start, stop, end;
    bool stopped; /* takes no new connections: it was taken away, or the program stops */
    bool ended;   /* nothing of the loop is held any more */
};

struct tls_back;
struct tls_front;
struct tls_tickets;

/* How we appear to the backends of a group. */
struct outward {
    unsigned version; /* of the PROXY header; 0: none */
    unsigned tlvs;    /* bits of enum proxy_protocol_tlv */
    struct source source;
    struct tls_back *tls; /* NULL: we speak plainly */
    bool known;           /* false: a group that these terms do not know */
};

/*
 * What a service goes by and a reload may change: made as a whole, immutable once in force, read with one
 * load, valid to the end of the loop turn. Files: terms.c, but for what each part means.
 */
struct service_terms {
    uint64_t length_us[CONN_DEADLINE_COUNT]; /* CLOCK_NEVER: none. A worker goes by its queues */
    struct {
        enum config_proxy_accept accept;
        struct prefixes *from; /* owned */
    } proxy_header;
    struct prefixes *allow, *deny;   /* owned; NULL: everybody, nobody */
    struct passthrough *passthrough; /* owned; NULL: names are not looked at */
    struct bandwidth_limits pace;
    struct outward *outward; /* owned; by group of the routing, behind them as the configuration has them */
    size_t outward_len, outward_made; /* of each. The latter hold the references to what they point to */
    bool introduces;                  /* a group wants PROXY headers */
    struct tls_front *front;          /* a reference; NULL: clients speak plainly */
    uint32_t max_handshakes;          /* with clients, at once; 0: no limit */
    uint64_t tls_stamp;               /* of the files when they were read */
};

struct proxy_service {
    struct proxy *proxy;
    struct routing *routing; /* borrowed */
    char *name;
    struct place **places; /* owned; where it listens. Control thread */
    size_t places_len;
    _Atomic unsigned resting;              /* places that were taken away and are not closed yet */
    _Atomic(struct service_terms *) terms; /* owned */
    _Atomic uint32_t retries;              /* this and the next may change at run time */
    _Atomic uint32_t log_bp;               /* of its connections so many are logged at their end */
    struct admission *admission;           /* owned; NULL: no limits */
    _Atomic uint64_t paid_ns[2];           /* of its bandwidth, see proxy/bandwidth.h */
    _Atomic uint32_t handshakes;           /* with clients, that run now */
    _Atomic unsigned alive;   /* workers that still hold anything of it; 0: the workers have ended */
    _Atomic unsigned unfreed; /* workers that have not yet seen a destroy; the last one frees */
    bool started, stopped;
    struct stats_service_reading inherited; /* counted by another process; control thread */
    struct service_worker **per_worker;     /* owned */
};

struct proxy_worker {
    struct proxy *proxy;
    struct worker *worker;
    struct pipes_pool pipes;
    struct conn *free_conns; /* linked through node.next */
    unsigned free_conns_len;
    int spare_fd; /* owned; -1: none. What was accepted can then connect too when no other descriptor is left
                   */
    struct list homes;             /* what the services have on this worker */
    struct list paused;            /* listeners that wait for descriptors */
    bool held;                     /* nothing is accepted, by proxy_hold */
    struct deadline_queue *look;   /* CONN_LOOK_US */
    struct deadline_queue *flush;  /* CONN_FLUSH_POLL_US: looks whether a peer has acknowledged all */
    struct deadline_queue *pace;   /* BANDWIDTH_AGAIN_US: those that wait for bandwidth */
    struct deadline_queue *accept; /* LISTENER_RETRY_US */
    struct worker_task at_end;     /* runs when the loop ends for good */
    uint64_t next_id;
};

struct proxy {
    struct worker_pool *pool; /* borrowed */
    uint64_t max_connections;
    uint64_t descriptors, pipes; /* in all, see proxy_limits */
    _Atomic uint64_t open;       /* over all services and workers */
    _Atomic long pipes_budget;   /* pipes that may still be opened */
    unsigned workers;
    struct list resting;          /* owned; control thread */
    struct admission *admission;  /* owned; limits over all services. NULL: none */
    struct tls_tickets *tickets;  /* owned; NULL: no service had TLS yet. Control thread; its ring any */
    uint64_t session_lifetime_us; /* the longest of any service's TLS */
    uint64_t tickets_us;          /* when the key of their tickets last changed, monotonic */
    bool paces;                   /* stream_system_paces */
    size_t scratch_bytes;         /* of a worker: the longest receive */
    bool encrypts;                /* a service has or had TLS on either side; control thread */
    struct proxy_worker *worker;  /* owned */
};

/* ---- terms.c */

/* What the connection's service goes by now. */
static inline const struct service_terms *service_terms(const struct conn *conn)
{
    return atomic_load_explicit(&conn->home->service->terms, memory_order_acquire);
}
/* The first ones of a service. config NULL: nothing but the timeouts. ERR_NOMEM and those of prefixes_load
 * and source_try. */
MUST_CHECK int terms_begin(struct proxy_service *service, const struct proxy_timeouts *timeouts,
                           const struct config_service *config, struct err_text *err);
void terms_release(struct proxy_service *service);
/* On the worker: its queues of timeouts as the terms have them, armed anew where a length changed; and a pace
 * for all connections where there is a limit. */
void terms_adopt(struct service_worker *home);

/* ---- service.c */

/* Closes all that a service has on this worker, on its thread. Idempotent. */
void service_worker_end(struct service_worker *home);

#define CONN_QUEUE_LOOK_US (50 * CLOCK_US_PER_MS)
#define CONN_LOOK_US (50 * CLOCK_US_PER_MS)
#define CONN_FLUSH_POLL_US (10 * CLOCK_US_PER_MS)
#define BANDWIDTH_AGAIN_US (20 * CLOCK_US_PER_MS)
#define LISTENER_RETRY_US (100 * CLOCK_US_PER_MS)

/* ---- visit.c: all connections of a service, in slices */

/* Whether a connection is one that the filter means; idle_first is left to the caller. */
bool visit_is_meant(const struct proxy_close_filter *filter, const struct conn *conn, uint64_t now_us);
/* A connection is about to leave the list: those that would go on from it go on from the next one. */
void visit_skip(struct service_worker *home, const struct conn *conn);

/* ---- conn.c: the life of a connection */

/* Takes over an accepted descriptor and starts to connect. The slot in proxy->open was taken. -1: no memory
 * (the descriptor is closed and nothing counted). */
int conn_accept(struct service_worker *home, int fd, const struct addr *peer);
/* The one place where a state changes: checks the edge, arms the deadline. */
void conn_enter(struct conn *conn, enum conn_state state, uint64_t now_us);
/* The name that the client asked for; "": none, or not known. */
static inline const char *conn_server_name(const struct conn *conn)
{
    return conn->hello != NULL ? conn->hello->text : "";
}
uint64_t conn_next_id(struct proxy_worker *shared);
/* Registers the client's socket with the loop, unless that was done. False without memory. */
bool conn_listen_to_client(struct conn *conn);
/* The client is to speak in time, where that is bounded. False without memory. */
bool conn_await_first_byte(struct conn *conn, uint64_t now_us);
void conn_forget_first_byte(struct conn *conn);
/* Moves what can be moved, then ends what has ended. May close the connection. */
void conn_run(struct conn *conn, uint64_t now_us);
void conn_on_client(evutil_socket_t fd, short what, void *context);
void conn_on_backend(evutil_socket_t fd, short what, void *context);
deadline_fn conn_on_deadline, conn_on_look, conn_on_first_byte;
/* Memory of a connection goes back to the worker's pool; all of the pool is freed. */
void conn_recycle(struct proxy_worker *shared, struct conn *conn);
void conn_pool_clear(struct proxy_worker *shared);

/* ---- arrival.c: from accepted to known */

/* Goes through what comes before a backend is picked, as far as it gets, then picks. May close. */
void arrival_begin(struct conn *conn, uint64_t now_us);
/* Asks lists and limits of the service it is at. True when it may go on; else it is closed. */
bool arrival_let_in(struct conn *conn, uint64_t now_us);
/* All is known that decides where it goes: the handshake, where the service ends TLS, then a backend. */
void arrival_go_in(struct conn *conn, uint64_t now_us);
/* PROXY_HEADER, CLIENT_HELLO: the client's socket has news; or the time is over. */
void arrival_go_on(struct conn *conn, uint64_t now_us);
void arrival_on_timeout(struct conn *conn, uint64_t now_us);
/* The connection ends, or leaves its service for another one: gives back what it holds of the limits. */
void arrival_leave(struct conn *conn);
void arrival_leave_service(struct conn *conn);

/* The client may be served: picks a backend. */
void arrival_pick(struct conn *conn, uint64_t now_us);

/* ---- handshake.c: TLS as a stage of a connection */

/* Takes from config (borrowed for the call) what this needs; handshake_release gives it back, also after a
 * failure. Errors as those of tls_front_create. Control thread. */
MUST_CHECK int handshake_configure(const struct proxy_service *service, struct service_terms *terms,
                                   const struct config_service *config, struct err_text *err);
void handshake_release(struct service_terms *terms);
/* Whether clients of the service speak TLS. */
bool handshake_is_due(const struct conn *conn);
/* CLIENT_TLS: begins; the client's socket has news; the time is over. May close, or go on to PICK. */
void handshake_begin(struct conn *conn, uint64_t now_us);
void handshake_go_on(struct conn *conn, uint64_t now_us);
void handshake_on_timeout(struct conn *conn, uint64_t now_us);
/* That state is left, one way or the other. */
void handshake_leave(struct conn *conn);
/* BACKEND_TLS: begins with the lease's backend; its socket has news. DONE: it is who it should be. FAILED:
 * the log says why. The caller does what follows. */
enum tls_progress handshake_call(struct conn *conn, struct tls_back *back);
enum tls_progress handshake_call_go_on(struct conn *conn);
/* It took too long: says so. */
void handshake_call_overdue(struct conn *conn);
/* The backend is gone before its first byte: whether that was its late answer to our handshake (TLS 1.3),
 * which is then counted and told. Before its stream is closed. */
bool handshake_was_refused(struct conn *conn);

/* ---- tls_care.c */

/* Makes the keys of session tickets unless they are there. Errors as those of tls_tickets_create. */
MUST_CHECK int tickets_begin(struct proxy *proxy, struct err_text *err);

/* ---- outward.c: how we appear to a backend */

/* Takes from config (borrowed for the call) what this needs, and tries it, into terms. Groups are found by
 * name in routing; others must not be there before outward_resolve. ERR_NOMEM and those of source_try, with
 * the group's name. */
MUST_CHECK int outward_configure(const struct proxy_service *service, struct service_terms *terms,
                                 const struct config_service *config, size_t groups_max,
                                 struct err_text *err);
void outward_release(struct service_terms *terms);
/* The groups as the routing counts them; config as before. */
void outward_resolve(struct service_terms *terms, const struct config_service *config,
                     const struct routing *routing);
/* Whether the terms in force say how to appear to the lease's backend. A reload makes a group known to the
 * routing first: who picks it in that moment must not speak plainly where TLS was asked for. */
bool outward_is_known(const struct conn *conn);
/* Binds a socket that is to connect to the lease's backend. 0 or an errno. */
int outward_bind(const struct conn *conn, int fd, int family);
/* Keeps what a received header tells for the one we send, where any group wants one. False without memory. */
bool outward_keep(struct conn *conn, const struct proxy_protocol_header *header);
void outward_forget(struct conn_attempt *attempt);
/* The connection to the lease's backend is established: sends the PROXY header if its group wants one. False:
 * it could not be sent, the backend is of no use. */
bool outward_introduce(struct conn *conn);
/* How the group of the lease speaks TLS; NULL: it does not. Good to the end of the turn. */
struct tls_back *outward_tls(const struct conn *conn);

/* ---- conn_log.c */

/* Logs a connection that ends, if it is one of those to be logged. Before its lease is given back. */
void conn_log(const struct conn *conn, enum stats_close reason, uint64_t now_us);

/* ---- connect.c */

/* Picks a backend and connects, again until one is on its way, established or none is left (then the
 * connection is closed). */
void connect_next(struct conn *conn, uint64_t now_us);
/* Gives the lease back; somebody may wait for the room. */
void connect_give_back(struct conn *conn, int outcome, uint64_t now_us);
/* Frees what only connecting needed. */
void connect_drop(struct conn *conn);
void connect_on_event(struct conn *conn, short what, uint64_t now_us);
/* BACKEND_TLS: the backend's socket has news. */
void connect_on_tls(struct conn *conn, uint64_t now_us);
void connect_on_timeout(struct conn *conn, uint64_t now_us);

/* One pick, when there may be one: 0; ERR_LIMIT: every backend left is full; ERR_UNAVAILABLE. waits: it is
 * in the queue and its turn has come. */
MUST_CHECK int connect_pick(struct conn *conn, bool waits, uint64_t now_us);
/* With a lease that was picked: connects, and goes on as connect_next does. */
void connect_leased(struct conn *conn, uint64_t now_us);
/* Why a connection ends for which no backend is left. */
enum stats_close connect_reason(const struct conn *conn);

/* ---- queue.c: waiting for a backend with room */

/* Waits, or closes when it may not. In PICK, after a pick that found all full. */
void queue_begin(struct conn *conn, uint64_t now_us);
/* As routing_wait_turn. */
MUST_CHECK int queue_turn(struct conn_attempt *attempt, struct routing *routing,
                          const struct routing_pick_input *input, struct lease *lease);
/* QUEUED: the client's socket has news. */
void queue_on_client(struct conn *conn, short what, uint64_t now_us);
/* QUEUED: 0 when the time was over and it is closed, else when to look again. */
uint64_t queue_on_deadline(struct conn *conn, uint64_t now_us);
/* The connection ends, or needs no queue any more: leaves it and gives back its memory. */
void queue_end(struct conn_attempt *attempt, struct routing *routing);

/* ---- relay.c */

/* Pumps one direction until it is dry, blocked or the budget is used up (then true). */
bool relay_pump(struct conn *conn, enum conn_side from, uint64_t now_us);
/* Delivers what was read before, without reading. True when nothing of it is left. */
bool relay_flush(struct conn *conn, enum conn_side from, uint64_t now_us);
bool relay_is_empty(const struct conn_flow *flow);
/* Gives back pipe and spill, with what they hold. */
void relay_drop(struct conn *conn, enum conn_side from);

/* ---- bandwidth.c */

deadline_fn bandwidth_on_deadline;

/* ---- close.c */

/* After a pump: ends the connection, or one direction, when that is due. True when it was closed. */
bool close_settle(struct conn *conn, uint64_t now_us);
/* Closes now with a reason: delivers what goes without waiting; an end that would lose bytes gets a reset. */
void close_now(struct conn *conn, enum stats_close reason, uint64_t now_us);
/* FLUSHING: goes on delivering; resets the remaining side once it has acknowledged all. */
void close_continue(struct conn *conn, uint64_t now_us);
deadline_fn close_on_poll;
/* Both ends are closed: counts, releases, frees at the end of the turn. */
void close_finish(struct conn *conn, enum stats_close reason, int outcome, uint64_t now_us);

/* ---- place.c: control thread, but for place_put */

/* Listens on address, with sockets that were given or bound anew; accepts nothing yet. given may be NULL. All
 * homes are there. Errors as those of proxy_service_create. */
MUST_CHECK int place_open(struct proxy_service *service, const struct addr *address, struct given *given,
                          struct place **out, struct err_text *err);
/* Of one that no worker holds anything of, or has heard of. NULL is allowed. */
void place_destroy(struct place *place);
/* Shows its sockets. */
void place_show(const struct place *place, given_visit_fn *visit, void *context);
/* One of a running service begins to accept. */
void place_join(struct place *place);
/* It is no part of its service any more: who waits in its queues is served, then it is closed. handed_on:
 * others go on with its sockets, so nobody needs to be. */
void place_leave(struct place *place, bool handed_on);
/* Forgets those that were taken away and are closed now. */
void places_sweep(struct proxy *proxy);
/* Lets go of one of held. Any thread. */
void place_put(struct place *place);

/* ---- listen_change.c */

/* Each place leaves, handed on where its sockets were taken from given. */
void listen_change_leave(struct place **places, size_t len, const struct given *given);

/* ---- listener.c */

void listener_on_join(struct mailbox_message *message, void *receiver);
void listener_on_leave(struct mailbox_message *message, void *receiver);
/* All of this worker, of every service: they stop accepting but stay open, and begin again. */
void listener_hold(struct proxy_worker *shared);
void listener_unhold(struct proxy_worker *shared);
void listener_start(struct service_worker *home);
/* Stops accepting and closes, but for those that leave. */
void listener_stop(struct service_worker *home);
/* Those too. */
void listener_end(struct service_worker *home);
/* A descriptor came free: paused listeners of this worker accept again. */
void listener_resume(struct proxy_worker *shared);
/* Gives up the spare descriptor, so that the next one asked for is to be had. False when there was none.
 * Nothing more is accepted before another spare is there. */
bool listener_use_spare(struct proxy_worker *shared);
/* Takes a spare descriptor unless there is one. False when none is to be had. */
bool listener_hold_spare(struct proxy_worker *shared);
/* Descriptors ran out elsewhere than in accept. */
void listener_pause_all(struct service_worker *home, uint64_t now_us);
deadline_fn listener_on_retry;

#endif
