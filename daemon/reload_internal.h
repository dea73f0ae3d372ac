/* A reload under way, for daemon/reload.c and daemon/reload_settle.c only. Control thread. */
#ifndef DAEMON_RELOAD_INTERNAL_H
#define DAEMON_RELOAD_INTERNAL_H

#include "core/given.h"
#include "daemon/app_internal.h"
#include "daemon/reload.h"
#include "daemon/reload_diff.h"

#include <stdio.h>

struct change {
    struct app_service *service;         /* NULL: it goes by what it was */
    const struct config_service *config; /* in the new configuration */
    const struct config_service *before;
    bool lists_only;                   /* nothing else of it differs */
    struct routing_change *routing;    /* owned until applied */
    struct migration_draft *migration; /* owned until finished */
    struct proxy_change *proxy;        /* owned until applied */
};

struct reload {
    struct app *app;
    struct migration_asker who; /* both owned */
    app_reloaded_fn *done;
    void *context;
    struct config *config;               /* owned; one share */
    struct targets *targets;             /* owned */
    struct targets_questions *questions; /* owned; while it waits for names */
    struct reload_diff diff;
    struct change *changes;          /* owned; one for each service of config */
    struct admission_limits *limits; /* owned until applied; over all services */
    struct log_sink *log;            /* likewise; where log lines are to go, NULL: no change */
    struct given given;              /* owned: second descriptors of what services that leave listen with */
    FILE *report;
};

/* What operators set for a backend stays, unless the file changed that very value; tells which. The new
 * configuration is in force. */
void reload_settle_backend(struct reload *reload, const struct change *change, uint32_t group,
                           struct backend *backend);
/* Checks begin anew, with the states that backends have. */
void reload_renew_health(const struct reload *reload, const struct change *change);
/* So does the watch on host names. */
void reload_renew_names(struct reload *reload, const struct change *change);

#endif
