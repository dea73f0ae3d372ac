/*
 * Answers for building the program from its configuration and for taking it down again, in one order and its
 * reverse: log, events, loop, journal, workers, then for each service routing, migration (which restores the
 * share before anything is accepted), health and listeners, and last the admin socket. Control thread. How it
 * stops while connections are open: daemon/stop.c.
 */
#include "daemon/app_internal.h"
#include "daemon/sandbox.h"

#include "core/clock.h"
#include "core/log.h"
#include "daemon/handover_internal.h"
#include "daemon/privileges.h"
#include "daemon/reload.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define APP_EVENTS_KEPT 4096u
#define APP_LOOKUPS 64u /* host names that are asked for at a time */

static int facility_of(const char *name)
{
    if (strncmp(name, "local", 5) == 0) {
        return LOG_LOCAL0 + ((name[5] - '0') << 3);
    }
    return strcmp(name, "user") == 0 ? LOG_USER : LOG_DAEMON;
}

struct log_target app_log_target(const struct app *app, const struct config *config)
{
    struct log_target target = {.kind = LOG_SINK_FD, .fd = app->log_fd};
    if (strcmp(config->log.to, "file") == 0) {
        target = (struct log_target){.kind = LOG_SINK_FILE, .path = config->log.file};
    } else if (strcmp(config->log.to, "syslog") == 0) {
        target = (struct log_target){.kind = LOG_SINK_SYSLOG,
                                     .path = config->log.syslog_socket,
                                     .facility = facility_of(config->log.facility)};
    }
    return target;
}

static int start_log(struct app *app, struct err_text *err)
{
    enum log_level level = LOG_LEVEL_INFO;
    for (int l = LOG_LEVEL_DEBUG; l <= LOG_LEVEL_ERROR; l++) {
        if (strcmp(app->config->log.level, log_level_name((enum log_level)l)) == 0) {
            level = (enum log_level)l;
        }
    }
    bool json = strcmp(app->config->log.format, "json") == 0;
    struct log_target target = app_log_target(app, app->config);
    log_set_rate(app->config->log.rate);
    int rc = log_start_on(&target, level, json ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT, err);
    app->log_started = rc == 0;
    return rc;
}

/* The last part of the path is made when it is missing: a service manager prepares the rest. Never
 * ERR_DENIED: why ever the journal cannot be written, the program ends with the code for "cannot create". */
static int prepare_state_dir(const char *dir, struct err_text *err)
{
    if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
        return err_set_errno(
            err, "cannot create state_dir \"%s\" (make it, owned by the user that runs shuntd)", dir);
    }
    if (access(dir, R_OK | W_OK | X_OK) != 0) {
        return err_set_errno(
            err,
            "cannot keep the journal in state_dir \"%s\" (it must be writable by the user that runs "
            "shuntd)",
            dir);
    }
    return 0;
}

static int open_journal(struct app *app, struct err_text *err)
{
    int rc = prepare_state_dir(app->config->state_dir, err);
    if (rc != 0) {
        return rc;
    }
    int lock = successor_take_lock(app->successor);
    rc = lock < 0 ? journal_open(app->config->state_dir, &app->journal, err)
                  : journal_open_held(app->config->state_dir, lock, &app->journal, err);
    if (rc != 0) {
        if (lock >= 0) {
            (void)close(lock);
        }
        return rc;
    }
    if (app->successor == NULL) { /* else that program has more to tell */
        migration_recall(app->journal, app->events);
    }
    const char *notes = journal_open_notes(app->journal);
    if (notes[0] != '\0') {
        events_add(app->events, clock_wall_us(), EVENTS_WARN, NULL, "journal", "restart", NULL, "%s", notes);
    }
    return 0;
}

static int create_workers(struct app *app, struct err_text *err)
{
    unsigned count = app->config->workers;
    if (count == 0) {
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        count = cpus > 0 ? (unsigned)cpus : 1;
    }
    const struct worker_pool_options options = {
        .count = count, .spin_us = app->config->spin_us, .control = app->base};
    int rc = worker_pool_create(&options, &app->pool, err);
    if (rc != 0) {
        return rc;
    }
    const struct proxy_options proxy = {
        .pool = app->pool, .max_connections = 0, .limits = &app->config->limits};
    return proxy_create(&proxy, &app->proxy, err);
}

/* *out points to address, or is NULL when no metrics are wanted. */
static int metrics_address(const struct config *config, struct addr *address, const struct addr **out,
                           struct err_text *err)
{
    struct err_text why;
    *out = NULL;
    if (!config->metrics.present) {
        return 0;
    }
    if (addr_parse(config->metrics.listen, NULL, address, &why) != 0 || addr_is_unix(address)) {
        return err_set(err, ERR_INVALID, "metrics.listen = \"%s\": an IP address and a port are needed",
                       config->metrics.listen);
    }
    *out = address;
    return 0;
}

static void reload(void *context, const char *actor, const char *reason, admin_reloaded_fn *done,
                   void *done_context)
{
    app_reload(context, actor, reason, done, done_context);
}

static int upgrade(void *context, const char *actor, const char *reason,
                   void (*done)(void *context, bool passed, const char *text), void *done_context,
                   struct err_text *err)
{
    struct app *app = context;
    return handover_begin(app->handover, actor, reason, done, done_context, err);
}

static int create_admin(struct app *app, struct err_text *err)
{
    struct addr metrics;
    const struct addr *metrics_listen = NULL;
    int code = metrics_address(app->config, &metrics, &metrics_listen, err);
    if (code != 0) {
        return code;
    }
    if (app_list_services(app, &app->admin_services, &app->admin_services_len) != 0) {
        return err_set(err, ERR_NOMEM, "out of memory for the admin socket");
    }
    struct admin_owner owner = {.uid = 0};
    bool given_away = privileges_owner(app->config, &owner.uid, &owner.gid);
    const struct admin_options options = {.base = app->base,
                                          .socket_path = app->config->admin.socket,
                                          .mode = app->config->admin.mode,
                                          .owner = given_away ? &owner : NULL,
                                          .config = app->config,
                                          .metrics = metrics_listen,
                                          .pool = app->pool,
                                          .proxy = app->proxy,
                                          .events = app->events,
                                          .services = app->admin_services,
                                          .services_len = app->admin_services_len,
                                          .given = app->given,
                                          .reload = reload,
                                          .upgrade = upgrade,
                                          .formers = formers_list,
                                          .elsewhere = formers_elsewhere,
                                          .elsewhere_kill = formers_kill,
                                          .reload_context = app,
                                          .started_us = app->started_us};
    return admin_create(&options, &app->admin, err);
}

static int build(struct app *app, const struct app_options *options, struct err_text *err)
{
    app->log_fd = options->log_fd;
    int rc = start_log(app, err);
    if (rc != 0) {
        return rc;
    }
    app->base = event_base_new();
    if (app->base == NULL || events_create(APP_EVENTS_KEPT, &app->events) != 0) {
        return err_set(err, ERR_NOMEM, "out of memory while creating the event loop");
    }
    if (resolver_create(app->base, APP_LOOKUPS, &app->resolver) != 0) {
        return err_set(err, ERR_NOMEM, "out of memory for the resolver of host names");
    }
    rc = open_journal(app, err);
    if (rc == 0) {
        rc = bell_create(app->base, app_hear_alarm, app, &app->bell, err);
    }
    if (rc == 0) {
        rc = create_workers(app, err);
    }
    if (rc == 0) {
        rc = app_create_services(app, err);
    }
    if (rc == 0) {
        rc = create_admin(app, err);
    }
    if (rc == 0 && handover_create(app, app->starter, &app->handover) != 0) {
        rc = err_set(err, ERR_NOMEM, "out of memory");
    }
    return rc;
}

int app_create(const struct app_options *options, struct app **out, struct err_text *err)
{
    struct app *app = calloc(1, sizeof(*app));
    if (app == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    app->config = app->started = options->config;
    app->targets = options->targets;
    app->starter = options->starter;
    app->successor = options->successor;
    app->given = options->successor != NULL ? successor_given(options->successor) : options->given;
    list_init(&app->formers);
    app->started_us = clock_mono_us();
    app->state = APP_BUILT;
    int rc = build(app, options, err);
    app->given = NULL;
    if (rc != 0) {
        app_destroy(app);
        return rc;
    }
    *out = app;
    return 0;
}

int app_run(struct app *app, struct err_text *err)
{
    int rc = worker_pool_start(app->pool, err);
    if (rc == 0) {
        rc = sandbox_enter_workers(app->config, app->pool, err); /* before they accept */
    }
    bool follows = app->successor != NULL;
    if (rc == 0 && follows) {
        rc = successor_take(app->successor, app, err);
        app->successor = NULL;
    }
    if (rc == 0) {
        admin_own(app->admin);
    }
    for (size_t i = 0; rc == 0 && i < app->services_len; i++) {
        proxy_service_own(app->services[i].proxy);
        rc = proxy_service_start(app->services[i].proxy, err);
        if (rc == 0) {
            app_tell_addresses(&app->services[i]);
        }
    }
    rc = rc == 0 ? certificates_watch(app, err) : rc;
    if (rc != 0) {
        return rc;
    }
    app->state = APP_SERVING;
    struct proxy_limits limits;
    proxy_read_limits(app->proxy, &limits);
    events_add(app->events, clock_wall_us(), EVENTS_INFO, NULL, "start", "shuntd", NULL,
               "shuntd %s is ready: services %zu, backends %zu, workers %u, at most %" PRIu64
               " connections in %" PRIu64 " MiB",
               SHUNT_VERSION, app->services_len, app->targets->backends, worker_pool_count(app->pool),
               limits.connections, limits.memory_bytes >> 20);
    rc = app->settling ? 0 : app_tell_manager(app, err);
    if (rc == 0 && follows && successor_taken(app) != 0) {
        rc = err_set(err, ERR_NOMEM, "out of memory");
    }
    if (rc != 0) {
        return rc;
    }
    if (event_base_loop(app->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0) {
        return err_set(err, ERR_SYSTEM, "the control loop failed");
    }
    return 0;
}

int app_tell_manager(struct app *app, struct err_text *err)
{
    return notify_create(app->base, app->pool, app_describe, app, &app->notify, err);
}

struct handover *app_handover(struct app *app)
{
    return app->handover;
}

bool app_is_stopping(const struct app *app)
{
    return app->state > APP_SERVING;
}

struct event_base *app_base(struct app *app)
{
    return app->base;
}

uint64_t app_open(const struct app *app)
{
    uint64_t open = 0;
    for (size_t i = 0; i < app->services_len; i++) {
        if (app->services[i].proxy != NULL) {
            open += proxy_service_open(app->services[i].proxy);
        }
    }
    return open;
}

/* Those that act on others go first, then the threads, then what the threads used. */
void app_destroy(struct app *app)
{
    if (app == NULL) {
        return;
    }
    if (app->stop_timer != NULL) {
        event_free(app->stop_timer);
    }
    if (app->slow_start_timer != NULL) {
        event_free(app->slow_start_timer);
    }
    certificates_unwatch(app);
    if (app->leaving_timer != NULL) {
        event_free(app->leaving_timer);
    }
    app_reload_drop(app);
    notify_destroy(app->notify);
    handover_destroy(app->handover);
    formers_destroy(app);
    if (app->admin != NULL) {
        admin_destroy(app->admin);
    }
    app_silence_services(app);
    if (app->pool != NULL) {
        worker_pool_destroy(app->pool);
    }
    app_destroy_services(app);
    bell_destroy(app->bell);
    free(app->admin_services);
    config_free(app->owned);
    if (app->proxy != NULL) {
        proxy_destroy(app->proxy);
    }
    if (app->journal != NULL) {
        journal_close(app->journal);
    }
    free(app->in_force);
    resolver_destroy(app->resolver);
    events_destroy(app->events);
    if (app->base != NULL) {
        event_base_free(app->base);
    }
    if (app->log_started) {
        log_stop();
    }
    free(app);
}
