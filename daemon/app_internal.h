/* The parts of a running program and how they hang together. For daemon/app.c and daemon/stop.c only. */
#ifndef DAEMON_APP_INTERNAL_H
#define DAEMON_APP_INTERNAL_H

#include "admin/admin.h"
#include "core/bell.h"
#include "core/events.h"
#include "core/list.h"
#include "core/log.h"
#include "core/worker.h"
#include "daemon/app.h"
#include "daemon/notify.h"
#include "health/health.h"
#include "health/names.h"
#include "migration/journal.h"
#include "migration/migration.h"
#include "proxy/proxy.h"

struct event;

struct app;

struct app_service {
    struct app *app;                     /* whose it is */
    const struct config_service *config; /* borrowed */
    struct targets_service *targets;     /* borrowed, while it is built; else NULL */
    struct routing *routing;
    struct migration *migration;
    struct health *health;
    struct names *names; /* NULL: no backend has a host name */
    struct proxy_service *proxy;
    struct config *owned; /* what config is part of, when it is of a reload; a share. NULL: of the start */
    uint64_t tls_seen,
        tls_refused; /* certificates.c: stamps of files that changed; of those that were no good */
    uint64_t checks_seen, checks_refused; /* likewise of those that checks go by */
    bool fresh;                           /* made by a reload that is not in force yet */
    bool leaving;                         /* not in the configuration any more; its last connections go on */
};

enum app_state {
    APP_BUILT,
    APP_SERVING,
    APP_DRAINING, /* stopped accepting, waits for open connections until stop_due_us */
    APP_CLOSING,  /* told the rest to close, waits a moment for that */
    APP_STOPPED
};

struct app {
    const struct config *config; /* borrowed */
    const struct config
        *started;            /* borrowed; of the start: what no reload changes is in force as it has it */
    struct targets *targets; /* borrowed */
    enum app_state state;
    uint64_t started_us;
    bool log_started;
    int log_fd; /* borrowed; where lines go with log.to = "stderr" */
    struct event_base *base;
    struct events_ring *events;
    struct resolver *resolver;
    struct reload *reload; /* one that waits for names; NULL: none */
    struct journal *journal;
    struct bell *bell; /* rung by workers when backends fail in a row */
    struct worker_pool *pool;
    struct proxy *proxy;
    struct config *owned; /* config, when it is of a reload; a share */
    char *in_force;       /* owned; what `show settings` says since the last reload; NULL: as config has it */
    struct app_service
        *services; /* in a fixed place: others point there. Those without a config are free places */
    size_t services_len, services_room;
    struct event *certificates_timer;
    struct certificates_asking *certificates_asking; /* certificates.c: NULL: it waits for no pass phrase */
    struct event *slow_start_timer;                  /* while backends start slowly; NULL: none ever did */
    struct event *leaving_timer;          /* looks whether what leaves is done; NULL: nothing ever left */
    struct admin_service *admin_services; /* owned; what the admin room borrows */
    size_t admin_services_len;
    struct admin *admin;
    struct notify *notify;       /* NULL: no service manager listens */
    struct starter *starter;     /* borrowed; NULL: none */
    struct successor *successor; /* borrowed; NULL: this program did not take over from another */
    struct given *given;         /* borrowed, while it is built; NULL: none */
    struct handover *handover;   /* to the program that follows */
    struct list formers;         /* of struct former: programs before this one */
    struct json_t *ended;        /* owned; what those counted that are gone; NULL: none */
    bool settling;               /* the one before may still take everything back */
    struct event *stop_timer;    /* while stopping */
    uint64_t stop_due_us;        /* when the present wait is over, monotonic */
    uint64_t stop_told_us;       /* when the log last said what it waits for */
};

/* Client connections open now, over all services, in the programs before this one too. */
uint64_t app_open(const struct app *app);
/* Begins to talk to the service manager. */
MUST_CHECK int app_tell_manager(struct app *app, struct err_text *err);
/* ---- stop.c */

/* Another program has taken over: only the connections that are open go on here, for upgrade.drain_timeout.
 */
void app_retire(struct app *app);
/* While that goes on: they have shutdown_timeout from now on, or no time at all. */
void app_hurry(struct app *app, bool at_once);
/* ---- certificates.c */

/* Looks after the files of TLS from now on. ERR_NOMEM. */
MUST_CHECK int certificates_watch(struct app *app, struct err_text *err);
void certificates_unwatch(struct app *app);

/* ---- app_services.c */

/* Whether a service needs a health room: checks, or live connections that are watched. */
bool app_has_health(const struct config_service *config);
/* The bell was rung: backends fail in a row. context: struct app. */
void app_hear_alarm(void *context);
/* Those of app->config and app->targets. What was made is taken down by app_destroy. */
MUST_CHECK int app_create_services(struct app *app, struct err_text *err);
/* Builds one more, from a part of whole, which it takes a share of; it does not accept yet. On failure
 * nothing is left of it. */
MUST_CHECK int app_add_service(struct app *app, struct config *whole, const struct config_service *config,
                               struct targets_service *targets, struct err_text *err);
/* Begins to ask for the host names of a service by its present configuration; takes the sets. resolve is
 * borrowed. ERR_NOMEM. */
MUST_CHECK int app_create_names(struct app *app, struct app_service *service,
                                const struct config_resolve *resolve, struct targets_service *targets,
                                struct err_text *err);
/* Takes down those that were added and not yet put in force. */
void app_drop_fresh(struct app *app);
/* From now on looks whether what was taken away still has connections: services, groups, backends. */
void app_await_leaving(struct app *app);
/* Stops accepting; the rest goes when the last connection has ended. given: what its sockets were offered in;
 * those that were taken are another service's now. */
void app_remove_service(struct app *app, struct app_service *service, const struct given *given);
/* Adds to the words of a failed bind which service it was for and what to do about it; returns rc. */
int app_advise_listen(const struct app *app, const char *service, int rc, struct err_text *err);
/* As the admin room sees them; owned by the caller. ERR_NOMEM. */
/* Where config sends log lines; borrows its texts. */
struct log_target app_log_target(const struct app *app, const struct config *config);
MUST_CHECK int app_list_services(struct app *app, struct admin_service **out, size_t *len);
void app_tell_addresses(const struct app_service *service);
/* The end, in two halves: what acts on others, and after the workers the rest. */
void app_silence_services(struct app *app);
void app_destroy_services(struct app *app);

/* ---- slow_start.c */

/* For routing_spec.starting; context: struct app. */
void app_slow_start(void *context);

/* The program in one line. context: struct app. */
void app_describe(void *context, char *out, size_t size);

#endif
