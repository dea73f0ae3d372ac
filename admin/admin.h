/*
 * The operator's side: a Unix socket that takes one command a line, and the table of commands behind it.
 * Control thread only.
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "balancer/routing.h"
#include "core/config.h"
#include "core/err.h"
#include "core/events.h"
#include "core/given.h"
#include "core/worker.h"
#include "health/health.h"
#include "health/names.h"
#include "migration/migration.h"
#include "proxy/proxy.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct event_base;
struct admin;

/* One service as the commands see it; all borrowed. */
struct admin_service {
    const char *name;
    const struct config_service *config;
    struct routing *routing;
    struct proxy_service *proxy;
    struct health *health; /* NULL: no checks */
    struct names *names;   /* NULL: no backend has a host name */
    struct migration *migration;
};

/* How a reload went: rc 0 with the report (lines), or a code with why. Both borrowed for the call. */
typedef void admin_reloaded_fn(void *context, int rc, const char *report, const char *why);

/* A program before this one that still has connections. */
struct admin_former {
    pid_t pid;
    uint64_t open; /* client connections, as it said last */
};

/* What such a program has open on one backend. Borrowed for the call. */
struct admin_elsewhere {
    pid_t pid;
    const char *service, *group, *backend; /* names, which need not be of this program's configuration */
    uint64_t open;
};
typedef void admin_elsewhere_fn(void *context, const struct admin_elsewhere *elsewhere);

struct admin_owner {
    uid_t uid;
    gid_t gid;
};

struct admin_options {
    struct event_base *base;
    const char *socket_path;
    uint32_t mode;
    /* Whose a folder is to be that is made for a socket; NULL: of the user that makes it. Borrowed for the
     * call of admin_create. */
    const struct admin_owner *owner;
    const struct config *config; /* its admin section says who may what, and further sockets */
    const struct addr
        *metrics;        /* where to serve them; borrowed for the call of admin_create; NULL: nowhere */
    struct given *given; /* sockets that listen already, taken where the path or address is the same; borrowed
                            for the call of admin_create; NULL: none */
    struct worker_pool *pool;
    struct proxy *proxy;
    struct events_ring *events;
    const struct admin_service *services; /* borrowed; the array may be replaced with admin_set_services */
    size_t services_len;
    uint64_t started_us; /* monotonic */
    /* Reads the configuration again; done comes exactly once, within the call or later. NULL: cannot be done
     * here. */
    void (*reload)(void *context, const char *actor, const char *reason, admin_reloaded_fn *done,
                   void *done_context);
    /* Starts the program anew and hands over to it. 0 when that has begun: done is called once, later, from
     * the loop, with one line for people; or a code with err. NULL: cannot be done here. Same context. */
    int (*upgrade)(void *context, const char *actor, const char *reason,
                   void (*done)(void *context, bool passed, const char *text), void *done_context,
                   struct err_text *err);
    /* Writes up to max of the programs before this one, oldest first; their number. NULL: there are none.
     * Same context. */
    size_t (*formers)(void *context, struct admin_former *out, size_t max);
    /* Shows what those programs have open, backend by backend. NULL: nothing. Same context. */
    void (*elsewhere)(void *context, admin_elsewhere_fn *visit, void *visit_context);
    /* Tells them to close what filter means, of this service; group and backend by name, NULL: all. It is
     * done later, nobody answers. NULL: cannot be done. Same context. */
    void (*elsewhere_kill)(void *context, const char *service, const char *group, const char *backend,
                           const struct proxy_close_filter *filter);
    void *reload_context;
};

/*
 * Binds the socket and serves on options->base. A stale socket file is replaced; ERR_EXISTS when a daemon
 * serves it or something else is there, ERR_NOT_FOUND when its directory is missing, ERR_DENIED, ERR_RANGE
 * (length of the path), ERR_SYSTEM, ERR_NOMEM, each with a message. Takes the place of the listener of
 * options->events. The process must ignore SIGPIPE.
 */
MUST_CHECK int admin_create(const struct admin_options *options, struct admin **out, struct err_text *err);
/* Closes all clients and unlinks the socket file if it is still ours. NULL is allowed. */
void admin_destroy(struct admin *admin);
/* Shows every socket that it listens with: purposes "admin", "remote" and "metrics". */
void admin_sockets(const struct admin *admin, given_visit_fn *visit, void *context);
/* Lets nobody new in until admin_resume; who comes waits in the kernel. Those who are in stay. */
void admin_hold(struct admin *admin);
void admin_resume(struct admin *admin);
/* Another process goes on with the sockets: admin_destroy leaves the files. Stays held. */
void admin_leave(struct admin *admin);
/* The files of sockets that were given are this process's from now on, but for those of a service manager. */
void admin_own(struct admin *admin);
/* The process is about to end, and none goes on in its place: says so to those that follow something, or they
 * would look for it for long. Before admin_destroy, when the loop has ended. */
void admin_tell_stop(struct admin *admin);
/* Replaces the services that commands see; both borrowed from now on. A wait goes on by the service's name.
 */
void admin_set_services(struct admin *admin, const struct admin_service *services, size_t services_len);

/* The configuration from now on; borrowed. settings: what `show settings` shows of it, in the form of
 * config_show; borrowed too; NULL: as config has it. Roles, sockets and the metrics stay as they were;
 * the certificates of admin.remote are read again, and who may come by them is what it says. */
void admin_set_config(struct admin *admin, const struct config *config, const char *settings);

/* Where the metrics are served, with the port the system chose; NULL: nowhere. */
const struct addr *admin_metrics_address(const struct admin *admin);

/* Where commands are taken over TLS, likewise; NULL: nowhere. */
const struct addr *admin_remote_address(const struct admin *admin);

/* The reference of all commands (Markdown), from the table. Owned by the caller. */
char *admin_reference(void);

#endif
