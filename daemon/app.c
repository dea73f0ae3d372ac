/*
 * Answers for building the program from its configuration and for taking it down again, in one order and its
 * reverse: log, events, loop, journal, workers, then for each service routing, migration (which restores the
 * share before anything is accepted), health and listeners, and last the admin socket. Control thread. How it
 * stops while connections are open: daemon/stop.c.
 */
#include "daemon/app_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define APP_EVENTS_KEPT 4096u

static int facility_of(const char *name)
{
    if (strncmp(name, "local", 5) == 0) {
        return LOG_LOCAL0 + ((name[5] - '0') << 3);
    }
    return strcmp(name, "user") == 0 ? LOG_USER : LOG_DAEMON;
}

static int start_log(struct app *app, int fd, struct err_text *err)
{
    enum log_level level = LOG_LEVEL_INFO;
    for (int l = LOG_LEVEL_DEBUG; l <= LOG_LEVEL_ERROR; l++) {
        if (strcmp(app->config->log.level, log_level_name((enum log_level)l)) == 0) {
            level = (enum log_level)l;
        }
    }
    bool json = strcmp(app->config->log.format, "json") == 0;
    struct log_target target = {.kind = LOG_SINK_FD, .fd = fd};
    if (strcmp(app->config->log.to, "file") == 0) {
        target = (struct log_target){.kind = LOG_SINK_FILE, .path = app->config->log.file};
    } else if (strcmp(app->config->log.to, "syslog") == 0) {
        target = (struct log_target){.kind = LOG_SINK_SYSLOG,
                                     .path = app->config->log.syslog_socket,
                                     .facility = facility_of(app->config->log.facility)};
    }
    log_set_rate(app->config->log.rate);
    int rc = log_start_on(&target, level, json ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT, err);
    app->log_started = rc == 0;
    return rc;
}

/* The last part of the path is made when it is missing: a service manager prepares the rest. */
static int prepare_state_dir(const char *dir, struct err_text *err)
{
    if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
        int cause = errno;
        err_set_errno(err, "cannot create state_dir \"%s\" (make it, owned by the user that runs shuntd)",
                      dir);
        return cause == EACCES || cause == EPERM ? ERR_DENIED : ERR_SYSTEM;
    }
    if (access(dir, R_OK | W_OK | X_OK) != 0) {
        err_set_errno(
            err,
            "cannot keep the journal in state_dir \"%s\" (it must be writable by the user that runs "
            "shuntd)",
            dir);
        return ERR_DENIED;
    }
    return 0;
}

static int open_journal(struct app *app, struct err_text *err)
{
    int rc = prepare_state_dir(app->config->state_dir, err);
    if (rc == 0) {
        rc = journal_open(app->config->state_dir, &app->journal, err);
    }
    if (rc != 0) {
        return rc;
    }
    migration_recall(app->journal, app->events);
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

static void retire(void *context, void *ptr, void (*destroy)(void *ptr))
{
    worker_pool_retire(context, ptr, destroy);
}

static int create_routing(struct app *app, struct app_service *service, struct err_text *err)
{
    const struct config_service *config = service->config;
    struct routing_group_spec *groups = calloc(config->groups_len, sizeof(*groups));
    if (groups == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while building service \"%s\"", config->name);
    }
    for (size_t g = 0; g < config->groups_len; g++) {
        groups[g] = (struct routing_group_spec){.name = config->groups[g].name,
                                                .balance = config->groups[g].balance,
                                                .backends = service->targets->groups[g].backends,
                                                .backends_len = service->targets->groups[g].backends_len};
    }
    const struct routing_spec spec = {.service = config->name,
                                      .assign = config->assign,
                                      .prefix_ipv4 = config->client_prefix.ipv4,
                                      .prefix_ipv6 = config->client_prefix.ipv6,
                                      .salt = config->salt,
                                      .fallback = config->fallback,
                                      .workers = worker_pool_count(app->pool),
                                      .groups = groups,
                                      .groups_len = config->groups_len,
                                      .retire = retire,
                                      .retire_context = app->pool};
    int rc = routing_create(&spec, &service->routing, err);
    free(groups);
    return rc;
}

/* A drain closes some of what is left on a group. What fails here is asked for again a moment later. */
static void close_connections(void *context, const struct migration_close *what)
{
    struct app_service *service = context;
    if (service->proxy == NULL) {
        return; /* taken up from the journal before anything was accepted */
    }
    const struct proxy_close_filter filter = {.group = what->group,
                                              .max = what->max == UINT64_MAX ? 0 : what->max,
                                              .idle_us =
                                                  what->idle_only || what->idle_first ? what->idle_us : 0,
                                              .idle_first = !what->idle_only && what->idle_first};
    if (proxy_service_close(service->proxy, &filter, STATS_CLOSE_DRAINED, NULL, NULL) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: connections of a drained group stay open",
                 LOG_TEXT("service", service->config->name),
                 LOG_TEXT("group", routing_group_name(service->routing, what->group)));
    }
}

static void tell_room(void *context, uint64_t *open, uint64_t *most)
{
    const struct app_service *service = context;
    *open = app_open(service->app);
    *most = proxy_max_connections(service->app->proxy);
}

static uint64_t tell_drained(void *context)
{
    const struct app_service *service = context;
    struct stats_service_reading reading;
    if (service->proxy == NULL) {
        return 0;
    }
    proxy_service_read(service->proxy, &reading);
    return reading.closed[STATS_CLOSE_DRAINED];
}

static int create_migration(struct app *app, struct app_service *service, struct err_text *err)
{
    const struct migration_options options = {.base = app->base,
                                              .routing = service->routing,
                                              .config = service->config,
                                              .journal = app->journal,
                                              .events = app->events,
                                              .close_connections = close_connections,
                                              .room = tell_room,
                                              .drained = tell_drained,
                                              .context = service};
    return migration_create(&options, &service->migration, err);
}

/* Adds to the words of a failed bind what to do about it. */
static int advise_listen(const char *service, int rc, struct err_text *err)
{
    const struct err_text what = *err;
    const char *advice = "";
    if (rc == ERR_EXISTS) {
        advice = "; `ss -ltxnp` (as root) shows who has it";
    } else if (rc == ERR_DENIED) {
        advice = "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE";
    }
    return err_set(err, rc, "service \"%s\": %s%s", service, what.text, advice);
}

static int create_listeners(struct app *app, struct app_service *service, struct err_text *err)
{
    const struct config_service *config = service->config;
    const struct proxy_service_spec spec = {.name = config->name,
                                            .routing = service->routing,
                                            .listen = service->targets->listen,
                                            .listen_len = service->targets->listen_len,
                                            .timeouts = {.connect_us = config->timeouts.connect_us,
                                                         .idle_us = config->timeouts.idle_us,
                                                         .half_close_us = config->timeouts.half_close_us},
                                            .retries = config->retries,
                                            .connection_log_bp = config->connection_log_bp,
                                            .config = config};
    int rc = proxy_service_create(app->proxy, &spec, &service->proxy, err);
    return rc != 0 ? advise_listen(config->name, rc, err) : 0;
}

static bool has_checks(const struct config_service *config)
{
    for (size_t g = 0; g < config->groups_len; g++) {
        if (config->groups[g].health.type != CONFIG_HEALTH_NONE) {
            return true;
        }
    }
    return false;
}

static int create_service(struct app *app, size_t index, struct err_text *err)
{
    struct app_service *service = &app->services[index];
    service->app = app;
    service->config = &app->config->services[index];
    service->targets = &app->targets->services[index];
    int rc = create_routing(app, service, err);
    if (rc == 0) {
        rc = create_migration(app, service, err);
    }
    if (rc == 0 && has_checks(service->config)) {
        rc = health_create(app->base, service->routing, service->config, app->events, &service->health, err);
    }
    if (rc == 0) {
        rc = create_listeners(app, service, err);
    }
    return rc;
}

static int create_services(struct app *app, struct err_text *err)
{
    app->services = calloc(app->config->services_len + 1, sizeof(*app->services));
    app->admin_services = calloc(app->config->services_len + 1, sizeof(*app->admin_services));
    if (app->services == NULL || app->admin_services == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while building the services");
    }
    app->services_len = app->config->services_len;
    for (size_t i = 0; i < app->services_len; i++) {
        int rc = create_service(app, i, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
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

static int create_admin(struct app *app, struct err_text *err)
{
    struct addr metrics;
    const struct addr *metrics_listen = NULL;
    int code = metrics_address(app->config, &metrics, &metrics_listen, err);
    if (code != 0) {
        return code;
    }
    for (size_t i = 0; i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        app->admin_services[i] = (struct admin_service){.name = app->config->services[i].name,
                                                        .config = &app->config->services[i],
                                                        .routing = service->routing,
                                                        .proxy = service->proxy,
                                                        .health = service->health,
                                                        .migration = service->migration};
    }
    const struct admin_options options = {.base = app->base,
                                          .socket_path = app->config->admin.socket,
                                          .mode = app->config->admin.mode,
                                          .config = app->config,
                                          .metrics = metrics_listen,
                                          .pool = app->pool,
                                          .proxy = app->proxy,
                                          .events = app->events,
                                          .services = app->admin_services,
                                          .services_len = app->services_len,
                                          .started_us = app->started_us};
    return admin_create(&options, &app->admin, err);
}

static int build(struct app *app, const struct app_options *options, struct err_text *err)
{
    int rc = start_log(app, options->log_fd, err);
    if (rc != 0) {
        return rc;
    }
    app->base = event_base_new();
    if (app->base == NULL || events_create(APP_EVENTS_KEPT, &app->events) != 0) {
        return err_set(err, ERR_NOMEM, "out of memory while creating the event loop");
    }
    rc = open_journal(app, err);
    if (rc == 0) {
        rc = create_workers(app, err);
    }
    if (rc == 0) {
        rc = create_services(app, err);
    }
    if (rc == 0) {
        rc = create_admin(app, err);
    }
    return rc;
}

int app_create(const struct app_options *options, struct app **out, struct err_text *err)
{
    struct app *app = calloc(1, sizeof(*app));
    if (app == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    app->config = options->config;
    app->targets = options->targets;
    app->started_us = clock_mono_us();
    app->state = APP_BUILT;
    int rc = build(app, options, err);
    if (rc != 0) {
        app_destroy(app);
        return rc;
    }
    *out = app;
    return 0;
}

static void tell_addresses(const struct app_service *service)
{
    for (size_t i = 0; i < proxy_service_listeners(service->proxy); i++) {
        char text[ADDR_TEXT_MAX];
        addr_format(proxy_service_listen_address(service->proxy, i), text, sizeof(text));
        log_line(LOG_LEVEL_INFO, "listening", LOG_TEXT("service", service->config->name),
                 LOG_TEXT("address", text),
                 LOG_TEXT("active", routing_group_name(service->routing, routing_active(service->routing))));
    }
}

int app_run(struct app *app, struct err_text *err)
{
    int rc = worker_pool_start(app->pool, err);
    for (size_t i = 0; rc == 0 && i < app->services_len; i++) {
        rc = proxy_service_start(app->services[i].proxy, err);
        if (rc == 0) {
            tell_addresses(&app->services[i]);
        }
    }
    if (rc != 0) {
        return rc;
    }
    app->state = APP_SERVING;
    events_add(app->events, clock_wall_us(), EVENTS_INFO, NULL, "start", "shuntd", NULL,
               "shuntd %s is ready: services %zu, backends %zu, workers %u", SHUNT_VERSION, app->services_len,
               app->targets->backends, worker_pool_count(app->pool));
    rc = notify_create(app->base, app->pool, app_describe, app, &app->notify, err);
    if (rc != 0) {
        return rc;
    }
    if (event_base_loop(app->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0) {
        return err_set(err, ERR_SYSTEM, "the control loop failed");
    }
    return 0;
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

static void destroy_services(struct app *app)
{
    for (size_t i = app->services_len; i-- > 0;) {
        struct app_service *service = &app->services[i];
        if (service->proxy != NULL) {
            proxy_service_destroy(service->proxy);
        }
        if (service->routing != NULL) {
            routing_destroy(service->routing);
        }
    }
    free(app->services);
    free(app->admin_services);
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
    notify_destroy(app->notify);
    if (app->admin != NULL) {
        admin_destroy(app->admin);
    }
    for (size_t i = app->services_len; i-- > 0;) {
        struct app_service *service = &app->services[i];
        if (service->health != NULL) {
            health_destroy(service->health);
        }
        if (service->migration != NULL) {
            migration_destroy(service->migration);
        }
    }
    if (app->pool != NULL) {
        worker_pool_destroy(app->pool);
    }
    destroy_services(app);
    if (app->proxy != NULL) {
        proxy_destroy(app->proxy);
    }
    if (app->journal != NULL) {
        journal_close(app->journal);
    }
    events_destroy(app->events);
    if (app->base != NULL) {
        event_base_free(app->base);
    }
    if (app->log_started) {
        log_stop();
    }
    free(app);
}
