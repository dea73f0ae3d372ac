/*
 * What the files of this room share: the daemon's side of a command, from the line to the reply.
 * Control thread only.
 *
 *     server.c ──line──▶ dispatch.c ──words──▶ args.c ──typed values──▶ cmd_*.c ──▶ render*.c
 *         ▲                  └─ role, audit, one error form                │
 *         └──────────────────── reply (text) ◀─────────────────────────────┘
 */
#ifndef ADMIN_ADMIN_INTERNAL_H
#define ADMIN_ADMIN_INTERNAL_H

#include "admin/admin.h"
#include "admin/commands.h"
#include "admin/tokens.h"
#include "core/list.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct admin_server;
struct metrics_http;
struct roles;

struct admin {
    struct admin_options options; /* borrowed parts as in admin.h */
    char *socket_path;            /* owned; options.socket_path points to it */
    const char *settings;         /* borrowed; as admin_set_config had it */
    struct roles *roles;          /* owned; NULL: whoever may connect is an admin */
    struct admin_server *server;  /* owned; NULL in tests of the dispatcher */
    struct admin_server **more;   /* owned: the further sockets */
    size_t more_len;
    struct remote *remote;     /* owned; NULL: nobody comes over TLS */
    struct top *top;           /* owned; NULL in tests of the dispatcher */
    struct metrics_http *http; /* owned; NULL: metrics are not served */
    struct list jobs;          /* of struct job: replies that are still to come */
};

/* Who sits at the other end of the socket. */
struct admin_peer {
    enum command_role role;
    char actor[64]; /* "operator:alice" */
    uid_t uid;
    pid_t pid;
};

/* Arguments as the table types them. What was not given has the value named. */
struct command_values {
    const struct admin_service *service; /* NULL */
    uint32_t group;                      /* ROUTING_NONE */
    struct backend *backend;             /* NULL; of service, in group */
    bool share_given;
    bool force;        /* false */
    uint32_t share_bp; /* 0 */
    uint32_t weight;   /* 0 */
    bool choice_given;
    unsigned choice;            /* index into the choices; 0 */
    uint64_t connection;        /* id; 0 */
    uint64_t older_us, idle_us; /* 0 */
    uint64_t last_us, step_us;  /* 0 */
    bool at_given;
    uint32_t at_s;         /* of the day, UTC; 0 */
    struct addr_ip client; /* family 0; behind client_bits all 0 */
    unsigned client_bits;
    uint64_t rate;                 /* a second; 0 */
    uint64_t duration_us;          /* CLOCK_NEVER */
    uint64_t count;                /* 0 */
    const struct command *command; /* NULL */
    const char *migration;         /* NULL */
    const char *reason;            /* NULL */
    bool json;
};

/* What goes on after the first reply: the client is asked again when something happened. */
enum command_follow { COMMAND_FOLLOW_NONE, COMMAND_FOLLOW_WAIT, COMMAND_FOLLOW_WATCH, COMMAND_FOLLOW_JOB };

struct job;

struct command_followed {
    enum command_follow kind;
    bool json;
    char service[ROUTING_NAME_MAX]; /* by name: services may be replaced meanwhile; empty: all */
    uint64_t until_us;              /* WAIT: monotonic, CLOCK_NEVER */
    uint64_t seen;                  /* WATCH: number of the last event written */
    struct job *job;                /* JOB: counted */
};

struct command_call {
    struct admin *admin;
    const struct admin_peer *peer;
    const struct command *command;
    struct command_values values;
    struct migration_asker who;
    FILE *reply;                     /* lines, each ended by \n, none empty */
    struct command_followed *follow; /* to fill in by what goes on */
};

/* Serves a command: 0 when reply is complete (or follow was filled in), a negative code with err set when
 * refused; what was written to reply is then dropped. */
typedef int command_handler(struct command_call *call, struct err_text *err);

command_handler cmd_help, cmd_status, cmd_start, cmd_share, cmd_pause, cmd_resume, cmd_skip, cmd_abort,
    cmd_commit, cmd_plan, cmd_report, cmd_wait, cmd_watch, cmd_events, cmd_check, cmd_backend, cmd_weight,
    cmd_connections, cmd_kill, cmd_top, cmd_show, cmd_reload, cmd_upgrade, cmd_log_level;

/* What dispatch_line gives back. */
struct dispatch_reply {
    char *text; /* owned by the caller (free); NULL: out of memory */
    size_t length;
    struct command_followed follow; /* kind NONE: text is the whole reply, with its empty line */
};

/*
 * Runs one line: splits, finds the command, checks the role, reads the arguments, calls the handler, writes
 * the audit line of what changes something. line is taken apart (length bytes and one more).
 */
void dispatch_line(struct admin *admin, const struct admin_peer *peer, char *line, size_t length,
                   struct dispatch_reply *out);
/* Goes on with what was begun. text NULL with length 0: nothing to say yet. When it is over, follow->kind is
 * NONE and the text ends with the empty line. Returns 0 or ERR_NOMEM. */
MUST_CHECK int dispatch_follow(struct admin *admin, struct command_followed *follow, uint64_t now_us,
                               char **text, size_t *length);
/* Lets go of what is followed, also before it is over. */
void dispatch_unfollow(struct command_followed *follow);
/* "error: …" as a whole reply, control bytes replaced, always one line. Owned by the caller. */
char *dispatch_error(const char *message);

/* Reads words (without the command's own) into out by the table. ERR_NOT_FOUND, ERR_PARSE, ERR_RANGE,
 * ERR_INVALID with a message that names what would help. */
MUST_CHECK int args_read(struct admin *admin, const struct command *command, const struct tokens *tokens,
                         struct command_values *out, struct err_text *err);
/* Both: err says what was meant or what there is. */
MUST_CHECK int args_find_service(const struct admin *admin, const char *name,
                                 const struct admin_service **out, struct err_text *err);
MUST_CHECK int args_find_command(const char *name, const struct command **out, struct err_text *err);

/* follow steps: return true when it is over. */
bool cmd_wait_step(struct admin *admin, struct command_followed *follow, uint64_t now_us, FILE *reply);
bool cmd_watch_step(struct admin *admin, struct command_followed *follow, FILE *reply);

/*
 * job.c: work that a command began on the workers, whose reply comes later. One count is the client's (in
 * command_followed), one the work's. Embedded as the first member of what a command needs.
 */
struct job {
    unsigned count;
    char *asked; /* owned; the line whose outcome the audit log still lacks; NULL: none */
    const struct command *command;
    struct admin_peer peer;
    char reason[COMMAND_REASON_MAX + 1];
    struct admin *admin; /* borrowed; NULL when it has gone meanwhile */
    struct list node;    /* in admin->jobs */
    bool over;
    char *text; /* the reply; owned; NULL: out of memory */
    size_t length;
    void (*destroy)(struct job *job); /* frees what embeds it */
    void (*orphan)(struct job *job); /* the admin room goes: end what hangs on its loop; NULL: nothing does */
    void (*left)(struct job *job);   /* the client went before the end; NULL: the work goes on all the same */
};

/* With two counts: hands one to the client of the call. */
void job_begin(struct job *job, struct command_call *call, void (*destroy)(struct job *job));
/* NULL is allowed. */
void job_put(struct job *job);
/* The work is done: takes over text (lines as in a reply, or one "error: …" line), tells the client, and lets
 * go of the work's count. */
void job_end(struct job *job, char *text, size_t length);
bool job_step(struct command_followed *follow, FILE *reply);
/* What the audit log needs is kept until job_end writes how it ended; at once when it has ended already.
 * False: out of memory, its end will not be written. */
bool job_audit(struct job *job, const struct command_call *call, const char *line);
/* One audit line: who, as what, asked for what, why, and what became of it. Whatever the log's level is. */
void dispatch_audit(const struct admin_peer *peer, const struct command *command, const char *line,
                    const char *reason, const char *outcome, const char *error);
/* The admin room goes: jobs end by themselves, without anybody who listens. */
void job_orphan_all(struct admin *admin);

/* render.c: text. */
void render_service_line(FILE *out, const struct admin_service *service);
void render_service_tree(FILE *out, const struct admin_service *service);
void render_event(FILE *out, const struct events_entry *entry);
/* What is in force: "share 25%, live 21.4%, step 3/5, next step in 2m10s". */
void render_in_force(FILE *out, const struct migration_status *status);
/* Client connections open on the service. */
uint64_t render_open(const struct admin_service *service);

/* Before what is good, bad, worth a look, not known yet. */
#define SIGN_GOOD "✔"
#define SIGN_BAD "✖"
#define SIGN_WAIT "◌"
#define SIGN_WARN "⚠"

/* render_program.c: the program itself, and those before it; lines at the end of `status`. */
void render_program(FILE *out, const struct admin *admin);
/* A list, as `formers` of `status --json`. Owned by the caller, NULL without memory. */
json_t *render_json_formers(const struct admin *admin);

/* elsewhere.c: what programs before this one have open; NULL: of any service, group, backend. */
struct elsewhere_place {
    const char *service, *group, *backend;
};
struct elsewhere_programs {
    size_t len; /* how many have any */
    pid_t last; /* one of them */
};
/* A line for each backend, for the end of a list that lacks them. */
void elsewhere_write(FILE *out, const struct admin *admin, const struct elsewhere_place *place);
/* [{ pid, service, group, backend, open }]. Owned by the caller, NULL without memory. */
json_t *elsewhere_json(const struct admin *admin, const struct elsewhere_place *place);
/* Client connections; programs may be NULL. */
uint64_t elsewhere_open(const struct admin *admin, const struct elsewhere_place *place,
                        struct elsewhere_programs *programs);

/* render_tls.c: the certificates that clients are shown; nothing where a service has none. */
void render_certificates(FILE *out, const struct admin_service *service);
/* TLS handshakes that came to nothing, by reason: a line for each side where there are any; as JSON (new
 * reference, NULL without memory) all of them. */
void render_tls_failures(FILE *out, const struct stats_service_reading *reading);
json_t *render_json_tls_failures(const struct stats_service_reading *reading);
/* The certificates in JSON, added to the object of a service (`certificates`). Returns the object, NULL
 * without memory. */
json_t *render_json_add_certificates(json_t *object, const struct admin_service *service);
/* Seconds until it ends; below 0: it has. */
int64_t render_certificate_left_s(const struct proxy_certificate *certificate);

/* render_names.c: what is known of host names; nothing where no backend has one. */
void render_names(FILE *out, const struct admin_service *service);
/* The same in JSON, added to the object of a service (`names`) and of a backend (`host`, `leaving`). Return
 * the object, NULL without memory. */
json_t *render_json_add_names(json_t *object, const struct admin_service *service);
json_t *render_json_add_host(json_t *object, const struct admin_service *service,
                             const struct backend *backend);

/* render_json.c: owned by the caller, NULL without memory. service NULL: all. */
json_t *render_json_status(const struct admin *admin, const struct admin_service *service);
json_t *render_json_event(const struct events_entry *entry);
/* As which user the process runs and what the kernel keeps it from. */
json_t *render_json_confinement(void);
/* Text that may have been cut inside a character: what is not UTF-8 becomes "?". */
json_t *render_json_text(const char *text);
/* Writes one line and lets go of value. ERR_NOMEM when value is NULL. */
MUST_CHECK int render_json_write(FILE *out, json_t *value);

/* roles.c: who may what, by the ids of the process at the other end. */
struct roles;
/* Looks up the names of the configuration once. ERR_INVALID names the one that is not known here. *out NULL:
 * no roles are configured. */
MUST_CHECK int roles_create(const struct config *config, struct roles **out, struct err_text *err);
void roles_destroy(struct roles *roles);
/* The most that one of the ids gives; the default when none is named. NULL: admin. Pure. */
enum command_role roles_of(const struct roles *roles, uid_t uid, const gid_t *gids, size_t gids_len);

/* metrics.c: the whole exposition; owned by the caller, NULL without memory. */
char *metrics_format(const struct admin *admin, size_t *length);

/* metrics_http.c */
MUST_CHECK int metrics_http_create(struct admin *admin, const struct addr *address, struct metrics_http **out,
                                   struct err_text *err);
void metrics_http_destroy(struct metrics_http *http);
const struct addr *metrics_http_address(const struct metrics_http *http);
/* As admin_sockets and admin_hold; http NULL is allowed. */
void metrics_http_sockets(const struct metrics_http *http, given_visit_fn *visit, void *context);
void metrics_http_hold(struct metrics_http *http, bool hold);

/* top.c: begins to read the counters once a second. ERR_NOMEM. */
struct top;
MUST_CHECK int top_create(struct admin *admin, struct top **out, struct err_text *err);
/* NULL is allowed. */
void top_destroy(struct top *top);

/* admin.c: those that follow something look, on all sockets. */
void admin_wake(struct admin *admin);

/* server.c */
struct server_spec {
    const char *path; /* borrowed; must outlive the server */
    uint32_t mode;
    enum command_role most; /* of anybody on this socket */
    struct given *given;    /* borrowed for the call; NULL: none */
};
MUST_CHECK int server_create(struct admin *admin, const struct server_spec *spec, struct admin_server **out,
                             struct err_text *err);
void server_destroy(struct admin_server *server);
/* As admin_sockets, admin_hold, admin_leave and admin_own. */
void server_sockets(const struct admin_server *server, given_visit_fn *visit, void *context);
void server_hold(struct admin_server *server, bool hold);
void server_leave(struct admin_server *server, bool leaves);
void server_tell_stop(struct admin_server *server);
/* Those that follow something look, in the next turn of the loop. NULL is allowed. */
void server_wake(struct admin_server *server);

#endif
