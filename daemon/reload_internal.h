/* A reload under way, for the files daemon/reload*.c only. Control thread. */
#ifndef DAEMON_RELOAD_INTERNAL_H
#define DAEMON_RELOAD_INTERNAL_H

#include "core/given.h"
#include "core/phrases.h"
#include "daemon/app_internal.h"
#include "daemon/reload.h"
#include "daemon/reload_diff.h"

#include <stdio.h>

struct change {
    struct app_service *service;         /* NULL: it goes by what it was */
    const struct config_service *config; /* in the new configuration */
    const struct config_service *before;
    bool lists_only;                    /* nothing else of it differs */
    struct routing_change *routing;     /* owned until applied */
    struct migration_draft *migration;  /* owned until finished */
    struct proxy_change *proxy;         /* owned until applied */
    struct proxy_listen_change *listen; /* owned until applied; of one that is there, else NULL */
};

struct reload {
    struct app *app;
    struct migration_asker who; /* both owned */
    app_reloaded_fn *done;
    void *context;
    struct config *config;               /* owned; one share */
    struct targets *targets;             /* owned */
    struct targets_questions *questions; /* owned; while it waits for names */
    struct phrases *phrases;             /* owned; of keys that are read, NULL: none are asked for */
    void (*next)(struct reload *reload); /* when all of them have been */
    struct reload_diff diff;
    struct change *changes;          /* owned; one for each service of config */
    struct admission_limits *limits; /* owned until applied; over all services */
    struct log_sink *log;            /* likewise; where log lines are to go, NULL: no change */
    struct given given;              /* owned: second descriptors of what services leave */
    FILE *report;
};

/* Of this name and not on its way out; NULL: none. */
struct app_service *reload_find_service(const struct app *app, const char *name);
/* Whether the new configuration has a service of its name. */
bool reload_keeps(const struct reload *reload, const struct app_service *service);

/* ---- reload_listen.c */

/* Finds out where services will not listen any more, and offers those sockets to who comes. ERR_NOMEM. */
MUST_CHECK int reload_listen_begin(struct reload *reload, struct err_text *err);
/* Binds what is new for one service of the new configuration, if it is there already. Errors as those of
 * proxy_service_create. */
MUST_CHECK int reload_listen_prepare(struct reload *reload, size_t index, struct err_text *err);
/* Puts that in force for all services that are there, and tells it. */
void reload_listen_apply(struct reload *reload);

/* ---- reload_settle.c */

/* What operators set for a backend stays, unless the file changed that very value; tells which. The new
 * configuration is in force. */
void reload_settle_backend(struct reload *reload, const struct change *change, uint32_t group,
                           struct backend *backend);
/* Has the pass phrases of all keys of the new configuration at hand before next reads them: calls it within
 * the call when there are none to ask for. */
void reload_ask_phrases(struct reload *reload, void (*next)(struct reload *reload));
/* Checks begin anew, with the states that backends have. */
void reload_renew_health(const struct reload *reload, const struct change *change);
/* So does the watch on host names. */
void reload_renew_names(struct reload *reload, const struct change *change);

#endif
