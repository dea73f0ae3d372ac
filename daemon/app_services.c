/*
 * Answers for the services of the program: each built in one order (routing, migration, checks, listeners)
 * and taken down in the reverse, at the start, at a reload and at the end. Control thread.
 */
#include "daemon/app_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "daemon/handover_internal.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define LEAVING_LOOK_US (500 * CLOCK_US_PER_MS)
#define SERVICES_SPARE 64u /* that may be added while the program runs */

static void retire(void *context, void *ptr, void (*destroy)(void *ptr))
{
    worker_pool_retire(context, ptr, destroy);
}

/* On a worker. */
static void alarm_raised(void *bell)
{
    bell_ring(bell);
}

void app_hear_alarm(void *context)
{
    struct app *app = context;
    for (size_t i = 0; i < app->services_len; i++) {
        if (app->services[i].health != NULL) {
            health_look(app->services[i].health);
        }
    }
}

static int create_routing(struct app *app, struct app_service *service, struct err_text *err)
{
    const struct config_service *config = service->config;
    assert(config != NULL);
    struct routing_group_spec *groups = calloc(config->groups_len, sizeof(*groups));
    if (groups == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while building service \"%s\"", config->name);
    }
    for (size_t g = 0; g < config->groups_len; g++) {
        groups[g] = (struct routing_group_spec){.name = config->groups[g].name,
                                                .balance = config->groups[g].balance,
                                                .queue_size = config->groups[g].queue.size,
                                                .queue_timeout_us = config->groups[g].queue.timeout_us,
                                                .panic = routing_panic_of(config, &config->groups[g]),
                                                .backends = service->targets->groups[g].backends,
                                                .backends_len = service->targets->groups[g].backends_len,
                                                .room = service->targets->groups[g].room};
    }
    const struct routing_spec spec = {.service = config->name,
                                      .assign = config->assign,
                                      .prefix_ipv4 = config->client_prefix.ipv4,
                                      .prefix_ipv6 = config->client_prefix.ipv6,
                                      .salt = config->salt,
                                      .fallback = config->fallback,
                                      .fallback_when_full = config->fallback_when_full,
                                      .workers = worker_pool_count(app->pool),
                                      .groups = groups,
                                      .groups_len = config->groups_len,
                                      .retire = retire,
                                      .retire_context = app->pool,
                                      .starting = app_slow_start,
                                      .starting_context = app,
                                      .alarm = alarm_raised,
                                      .alarm_context = app->bell};
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
    formers_close(service->app, service->config->name, routing_group_name(service->routing, what->group),
                  what);
}

static void tell_room(void *context, uint64_t *open, uint64_t *most)
{
    const struct app_service *service = context;
    *open = app_open(service->app);
    *most = proxy_max_connections(service->app->proxy);
}

/* Of those that clients are shown, the first to end; 0: none. */
static uint64_t shown_certificate_end_us(const struct app_service *service)
{
    int64_t first_s = 0;
    size_t len = service->proxy != NULL ? proxy_service_certificates(service->proxy) : 0;
    for (size_t i = 0; i < len; i++) {
        struct proxy_certificate one;
        proxy_service_certificate(service->proxy, i, &one);
        first_s = first_s == 0 || one.end_s < first_s ? one.end_s : first_s;
    }
    return first_s > 0 ? (uint64_t)first_s * CLOCK_US_PER_S : 0;
}

static uint64_t tell_certificate(void *context, const struct backend *backend)
{
    const struct app_service *service = context;
    struct health_result result;
    if (backend == NULL) {
        return shown_certificate_end_us(service);
    }
    return service->health != NULL && health_last(service->health, backend, &result) == ERR_OK
               ? result.certificate_us
               : 0;
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
                                              .handed_over = app->successor != NULL,
                                              .close_connections = close_connections,
                                              .room = tell_room,
                                              .certificate_end_us = tell_certificate,
                                              .drained = tell_drained,
                                              .context = service};
    return migration_create(&options, &service->migration, err);
}

int app_advise_listen(const struct app *app, const char *service, int rc, struct err_text *err)
{
    const struct err_text what = *err;
    bool runs = app->state == APP_SERVING;
    const char *advice = "";
    if (rc == ERR_EXISTS) {
        advice = "; `ss -ltxnp` (as root) shows who has it";
    } else if (rc == ERR_UNAVAILABLE) {
        advice = "; `ip address` shows which addresses this host has";
    } else if (rc == ERR_DENIED && strncmp(what.text, "unix:", 5) == 0) {
        advice = "; the folder must be writable, and in a program that runs one that it was started with: an "
                 "upgrade or a restart takes in others";
    } else if (rc == ERR_DENIED) {
        advice =
            runs ? "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE, which was let go "
                   "of at the start: an upgrade or a restart begins with it anew, if it was there"
                 : "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE";
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
                                            .config = config,
                                            .given = app->given};
    int rc = proxy_service_create(app->proxy, &spec, &service->proxy, err);
    return rc != 0 ? app_advise_listen(app, config->name, rc, err) : 0;
}

bool app_has_health(const struct config_service *config)
{
    for (size_t g = 0; g < config->groups_len; g++) {
        if (config->groups[g].health.type != CONFIG_HEALTH_NONE || config->groups[g].outlier.present) {
            return true;
        }
    }
    return false;
}

/* Operators' weights and states are kept by name, so an address that comes back has them again. */
static void on_arrived(void *context, struct backend *backend)
{
    const struct app_service *service = context;
    migration_adopt(service->migration, backend);
}

int app_create_names(struct app *app, struct app_service *service, const struct config_resolve *resolve,
                     struct targets_service *targets, struct err_text *err)
{
    const struct names_options options = {.base = app->base,
                                          .resolver = app->resolver,
                                          .resolve = resolve,
                                          .config = service->config,
                                          .routing = service->routing,
                                          .events = app->events,
                                          .arrived = on_arrived,
                                          .context = service};
    size_t len = targets->hosts_len - targets->listen_hosts;
    if (len == 0) {
        return 0;
    }
    int rc = names_create(&options, targets->hosts, len, &service->names);
    if (rc == 0) {
        names_set_health(service->names, service->health);
    }
    return rc == 0 ? 0
                   : err_set(err, rc, "out of memory for the host names of service \"%s\"",
                             service->config->name);
}

static int create_service(struct app *app, struct app_service *service, const struct config_resolve *resolve,
                          struct err_text *err)
{
    int rc = create_routing(app, service, err);
    if (rc == 0) {
        rc = create_migration(app, service, err);
    }
    if (rc == 0 && app_has_health(service->config) && app->successor != NULL) {
        rc = health_examine(service->config, err); /* they begin with the states that are handed over */
    } else if (rc == 0 && app_has_health(service->config)) {
        rc = health_create(app->base, service->routing, service->config, app->events, &service->health, err);
    }
    if (rc == 0) {
        rc = app_create_names(app, service, resolve, service->targets, err);
    }
    if (rc == 0) {
        rc = create_listeners(app, service, err);
    }
    service->targets = NULL; /* was for building only */
    return rc;
}

int app_create_services(struct app *app, struct err_text *err)
{
    app->services_room = app->config->services_len + SERVICES_SPARE;
    app->services = calloc(app->services_room, sizeof(*app->services));
    if (app->services == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory while building the services");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < app->config->services_len; i++) {
        struct app_service *service = &app->services[app->services_len++];
        *service = (struct app_service){
            .app = app, .config = &app->config->services[i], .targets = &app->targets->services[i]};
        rc = create_service(app, service, &app->config->resolve, err);
    }
    return rc;
}

/* ---- while the program runs */

static void destroy_routing(void *routing)
{
    routing_destroy(routing);
}

/* What acts on others goes first; connections, if any, go on. */
static void silence(struct app_service *service)
{
    names_destroy(service->names);
    service->names = NULL;
    health_destroy(service->health);
    service->health = NULL;
    if (service->migration != NULL) {
        migration_destroy(service->migration);
    }
    service->migration = NULL;
}

/* Nothing of it is open any more. Its place is free then. */
static void release(struct app *app, struct app_service *service)
{
    silence(service);
    if (service->proxy != NULL) {
        proxy_service_destroy(service->proxy);
    }
    if (service->routing != NULL) {
        worker_pool_retire(app->pool, service->routing, destroy_routing);
    }
    config_free(service->owned);
    *service = (struct app_service){.app = app};
}

int app_add_service(struct app *app, struct config *whole, const struct config_service *config,
                    struct targets_service *targets, struct err_text *err)
{
    size_t at = 0;
    while (at < app->services_len && app->services[at].config != NULL) {
        at++;
    }
    if (at == app->services_room) {
        return err_set(err, ERR_LIMIT, "service \"%s\": %u services were added already; a restart makes room",
                       config->name, SERVICES_SPARE);
    }
    struct app_service *service = &app->services[at];
    *service = (struct app_service){
        .app = app, .config = config, .owned = config_share(whole), .targets = targets, .fresh = true};
    int rc = create_service(app, service, &whole->resolve, err);
    if (rc != 0) {
        release(app, service);
    } else if (at == app->services_len) {
        app->services_len++;
    }
    return rc;
}

void app_drop_fresh(struct app *app)
{
    for (size_t i = 0; i < app->services_len; i++) {
        if (app->services[i].fresh) {
            release(app, &app->services[i]);
        }
    }
}

static void on_look(evutil_socket_t fd, short what, void *context)
{
    struct app *app = context;
    bool any = false;
    (void)fd;
    (void)what;
    for (size_t i = 0; i < app->services_len; i++) {
        struct app_service *service = &app->services[i];
        if (service->leaving && proxy_service_is_closed(service->proxy)) {
            log_line(LOG_LEVEL_INFO, "the last connection of a service that was taken away has ended",
                     LOG_TEXT("service", service->config->name));
            release(app, service);
        }
        any |= service->leaving;
        any |= service->config != NULL && !service->leaving && routing_sweep(service->routing);
    }
    if (!any) {
        (void)event_del(app->leaving_timer);
    }
}

void app_await_leaving(struct app *app)
{
    const struct timeval look = {.tv_usec = LEAVING_LOOK_US};
    if (app->leaving_timer == NULL) {
        app->leaving_timer = event_new(app->base, -1, EV_PERSIST, on_look, app);
    }
    if (app->leaving_timer == NULL || event_add(app->leaving_timer, &look) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: what was taken away stays in sight until the next reload");
    }
}

void app_remove_service(struct app *app, struct app_service *service, const struct given *given)
{
    proxy_service_retire(service->proxy, given);
    silence(service);
    service->leaving = true;
    app_await_leaving(app);
}

int app_list_services(struct app *app, struct admin_service **out, size_t *len)
{
    struct admin_service *list = calloc(app->services_room + 1, sizeof(*list));
    *len = 0;
    if (list == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        if (service->config != NULL && !service->leaving) {
            list[(*len)++] = (struct admin_service){.name = service->config->name,
                                                    .config = service->config,
                                                    .routing = service->routing,
                                                    .proxy = service->proxy,
                                                    .health = service->health,
                                                    .names = service->names,
                                                    .migration = service->migration};
        }
    }
    *out = list;
    return 0;
}

void app_tell_addresses(const struct app_service *service)
{
    for (size_t i = 0; i < proxy_service_listeners(service->proxy); i++) {
        char text[ADDR_TEXT_MAX];
        addr_format(proxy_service_listen_address(service->proxy, i), text, sizeof(text));
        log_line(LOG_LEVEL_INFO, "listening", LOG_TEXT("service", service->config->name),
                 LOG_TEXT("address", text),
                 LOG_TEXT("active", routing_group_name(service->routing, routing_active(service->routing))));
    }
}

/* ---- the end */

void app_silence_services(struct app *app)
{
    for (size_t i = app->services_len; i-- > 0;) {
        silence(&app->services[i]);
    }
}

void app_destroy_services(struct app *app)
{
    for (size_t i = app->services_len; i-- > 0;) {
        struct app_service *service = &app->services[i];
        if (service->proxy != NULL) {
            proxy_service_destroy(service->proxy);
        }
        if (service->routing != NULL) {
            routing_destroy(service->routing);
        }
        config_free(service->owned);
    }
    free(app->services);
}
