/* The parts of a running program and how they hang together. For daemon/app.c and daemon/stop.c only. */
#ifndef DAEMON_APP_INTERNAL_H
#define DAEMON_APP_INTERNAL_H

#include "admin/admin.h"
#include "core/events.h"
#include "core/worker.h"
#include "daemon/app.h"
#include "daemon/notify.h"
#include "health/health.h"
#include "migration/journal.h"
#include "migration/migration.h"
#include "proxy/proxy.h"

struct event;

struct app;

struct app_service {
    struct app *app;                       /* whose it is */
    const struct config_service *config;   /* borrowed */
    const struct targets_service *targets; /* borrowed */
    struct routing *routing;
    struct migration *migration;
    struct health *health;
    struct proxy_service *proxy;
};

enum app_state {
    APP_BUILT,
    APP_SERVING,
    APP_DRAINING, /* stopped accepting, waits for open connections until stop_due_us */
    APP_CLOSING,  /* told the rest to close, waits a moment for that */
    APP_STOPPED
};

struct app {
    const struct config *config;   /* borrowed */
    const struct targets *targets; /* borrowed */
    enum app_state state;
    uint64_t started_us;
    bool log_started;
    struct event_base *base;
    struct events_ring *events;
    struct journal *journal;
    struct worker_pool *pool;
    struct proxy *proxy;
    struct app_service *services;
    size_t services_len;
    struct admin_service *admin_services; /* what the admin room borrows */
    struct admin *admin;
    struct notify *notify;    /* NULL: no service manager listens */
    struct event *stop_timer; /* while stopping */
    uint64_t stop_due_us;     /* when the present wait is over, monotonic */
    uint64_t stop_told_us;    /* when the log last said what it waits for */
};

/* Client connections open now, over all services. */
uint64_t app_open(const struct app *app);
/* The program in one line. context: struct app. */
void app_describe(void *context, char *out, size_t size);

#endif
