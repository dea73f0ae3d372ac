/*
 * Answers for a reload: what is read, checked and made before anything changes, the order in which it then
 * changes, and what the operator is told. Control thread. What differs is found by daemon/reload_diff.c;
 * groups and backends are the routing's business, plans the migration's.
 */
#include "daemon/reload.h"

#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log_sink.h"
#include "daemon/app_internal.h"
#include "daemon/handover.h"
#include "daemon/in_force.h"
#include "daemon/notify.h"
#include "daemon/reload_internal.h"

#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- before anything changes */

static int first_error(const struct config_errors *errors, struct err_text *err)
{
    if (errors->len == 0) {
        return err_set(err, ERR_NOMEM, "out of memory while reading the configuration");
    }
    const struct config_error *first = &errors->list[0];
    char more[64] = "";
    if (errors->len > 1) {
        (void)snprintf(more, sizeof(more), "; and %zu more errors: shuntd -t shows all", errors->len - 1);
    }
    const char *path = first->path != NULL ? first->path : errors->path;
    if (first->line == 0) { /* of the file as a whole */
        return err_set(err, ERR_INVALID, "nothing was changed: %s: %s%s", path, first->text, more);
    }
    return err_set(err, ERR_INVALID, "nothing was changed: %s:%u: %s%s", path, first->line, first->text,
                   more);
}

struct app_service *reload_find_service(const struct app *app, const char *name)
{
    for (size_t i = 0; i < app->services_len; i++) {
        struct app_service *service = &app->services[i];
        if (service->config != NULL && !service->leaving && strcmp(service->config->name, name) == 0) {
            return service;
        }
    }
    return NULL;
}

/* What is known of names that stay. */
static int recall_names(struct reload *reload)
{
    for (size_t s = 0; s < reload->config->services_len; s++) {
        const struct config_service *config = &reload->config->services[s];
        const struct app_service *there = reload_find_service(reload->app, config->name);
        struct targets_service *targets = &reload->targets->services[s];
        for (size_t h = 0; there != NULL && h < targets->hosts_len; h++) {
            struct names_host *host = &targets->hosts[h];
            int rc = ERR_NOT_FOUND;
            if (host->group != TARGETS_LISTEN && there->names != NULL) {
                const struct config_group *group = &config->groups[host->group];
                rc = names_recall(there->names, group->name, group->backends[host->backend].name, host,
                                  &host->set);
            }
            if (rc == ERR_NOMEM) {
                return rc;
            }
            host->running = rc == 0;
        }
    }
    return 0;
}

static int read_file(struct reload *reload, struct err_text *err)
{
    struct config_errors errors;
    int rc = config_load(reload->app->config->path, &reload->config, &errors);
    if (rc == 0) {
        config_errors_clear(&errors);
        rc = targets_begin(reload->config, &reload->targets, &errors);
        rc = rc == 0 ? recall_names(reload) : rc;
    }
    if (rc != 0) {
        rc = first_error(&errors, err);
    }
    config_errors_clear(&errors);
    return rc;
}

/* Every name has an answer by now. */
static int finish_names(struct reload *reload, struct err_text *err)
{
    struct config_errors errors = {.path = reload->app->config->path};
    int rc = targets_finish(reload->targets, TARGETS_RELOAD, &errors);
    if (rc != 0) {
        rc = first_error(&errors, err);
    }
    errors.path = NULL; /* borrowed */
    config_errors_clear(&errors);
    return rc;
}

static bool is_migrating(const struct app_service *service)
{
    struct migration_status status;
    migration_read(service->migration, &status);
    return status.phase != MIGRATION_IDLE && status.phase != MIGRATION_COMPLETED &&
           status.phase != MIGRATION_ROLLED_BACK;
}

bool reload_keeps(const struct reload *reload, const struct app_service *service)
{
    bool stays = false;
    for (size_t s = 0; !stays && s < reload->config->services_len; s++) {
        stays = strcmp(reload->config->services[s].name, service->config->name) == 0;
    }
    return stays;
}

/* Services that are not in the file any more must not be in the middle of something. */
static int check_leaving(struct reload *reload, struct err_text *err)
{
    for (size_t i = 0; i < reload->app->services_len; i++) {
        const struct app_service *service = &reload->app->services[i];
        if (service->config == NULL || service->leaving || reload_keeps(reload, service)) {
            continue;
        }
        if (is_migrating(service)) {
            return err_set(
                err, ERR_STATE,
                "nothing was changed: service %s is not in the file any more, but a migration of it runs: "
                "`abort %s` or wait for its end",
                service->config->name, service->config->name);
        }
    }
    return 0;
}

static int prepare_groups(struct reload *reload, struct change *change, size_t index, struct err_text *err)
{
    const struct config_service *config = change->config;
    struct routing_group_spec *groups = calloc(config->groups_len, sizeof(*groups));
    if (groups == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    for (size_t g = 0; g < config->groups_len; g++) {
        const struct targets_group *targets = &reload->targets->services[index].groups[g];
        /* Put in force with the groups: a check that begins afterwards would be an instant too late. */
        bool unproven = health_must_prove(config, change->service->routing, config->groups[g].name);
        for (size_t b = 0; b < targets->backends_len; b++) {
            targets->backends[b].unproven = unproven;
        }
        groups[g] = (struct routing_group_spec){.name = config->groups[g].name,
                                                .balance = config->groups[g].balance,
                                                .queue_size = config->groups[g].queue.size,
                                                .queue_timeout_us = config->groups[g].queue.timeout_us,
                                                .panic = routing_panic_of(config, &config->groups[g]),
                                                .backends = targets->backends,
                                                .backends_len = targets->backends_len};
    }
    struct err_text why;
    int rc =
        routing_change_prepare(change->service->routing, groups, config->groups_len, &change->routing, &why);
    free(groups);
    return rc == 0 ? 0 : err_set(err, rc, "nothing was changed: service %s: %s", config->name, why.text);
}

static bool any_file(char *const *texts, size_t len)
{
    bool any = false;
    for (size_t i = 0; i < len; i++) {
        any |= texts[i][0] == '@';
    }
    return any;
}

/* Lists of addresses and certificates are in files of their own, which may have changed although the
 * configuration did not. */
static bool has_files(const struct config_service *config)
{
    return any_file(config->allow, config->allow_len) || any_file(config->deny, config->deny_len) ||
           any_file(config->proxy_protocol.from, config->proxy_protocol.from_len) ||
           proxy_tls_stamp(config) != 0 || health_files_now(config) != 0;
}

/* Makes all that can fail for one service of the new configuration. */
static int prepare_service(struct reload *reload, size_t index, struct err_text *err)
{
    struct change *change = &reload->changes[index];
    struct err_text why;
    change->config = &reload->config->services[index];
    struct app_service *there = reload_find_service(reload->app, change->config->name);
    if (there == NULL) {
        int rc = app_add_service(reload->app, reload->config, change->config,
                                 &reload->targets->services[index], &why);
        return rc == 0 ? 0 : err_set(err, rc, "nothing was changed: %s", why.text);
    }
    bool touched = reload_diff_touches(&reload->diff, change->config->name);
    if (!touched && !has_files(change->config)) {
        return 0;
    }
    change->service = there;
    change->lists_only = !touched;
    if (!touched) {
        int rc = health_files_now(change->config) != 0 ? health_examine(change->config, &why) : 0;
        rc = rc == 0 ? proxy_service_change_prepare(there->proxy, change->config, &change->proxy, &why) : rc;
        return rc == 0
                   ? 0
                   : err_set(err, rc, "nothing was changed: service %s: %s", change->config->name, why.text);
    }
    change->before = there->config;
    int rc = prepare_groups(reload, change, index, err);
    if (rc == 0) {
        rc = health_examine(change->config, &why);
        rc = rc == 0 ? migration_reconfigure_begin(there->migration, change->config, reload->config,
                                                   &change->migration, &why)
                     : rc;
        rc = rc == 0 ? proxy_service_change_prepare(there->proxy, change->config, &change->proxy, &why) : rc;
        rc = rc == 0 ? 0 : err_set(err, rc, "nothing was changed: %s", why.text);
    }
    return rc;
}

static int prepare(struct reload *reload, struct err_text *err)
{
    int rc = finish_names(reload, err);
    if (rc != 0) {
        return rc;
    }
    if (reload_diff_make(reload->app->config, reload->config, &reload->diff) != 0) {
        return err_set(err, ERR_NOMEM, "out of memory while comparing configurations");
    }
    reload->changes = calloc(reload->config->services_len + 1, sizeof(*reload->changes));
    if (reload->changes == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    rc = check_leaving(reload, err);
    rc = rc == 0 ? reload_listen_begin(reload, err) : rc;
    if (rc == 0) {
        rc = proxy_limits_prepare(reload->app->proxy, &reload->config->limits, &reload->limits, err);
    }
    if (rc == 0 && reload_diff_moves_log(&reload->diff)) {
        struct log_target target = app_log_target(reload->app, reload->config);
        rc = log_sink_create(&target, &reload->log, err);
    }
    reload->app->given = &reload->given;
    for (size_t i = 0; rc == 0 && i < reload->config->services_len; i++) {
        rc = prepare_service(reload, i, err);
        rc = rc == 0 ? reload_listen_prepare(reload, i, err) : rc;
    }
    reload->app->given = NULL;
    return rc;
}

/* ---- the changes */

static void apply_service(struct reload *reload, struct change *change)
{
    struct app_service *service = change->service;
    struct err_text err;
    if (change->lists_only) {
        proxy_service_change_apply(service->proxy, change->proxy);
        change->proxy = NULL;
        if (service->health != NULL && health_reread(service->health, &err) != 0) {
            fprintf(reload->report, "%s: its checks go by the files as they were: %s\n", change->config->name,
                    err.text);
        }
        fprintf(reload->report, "%s: its files of addresses, certificates and passwords were read again\n",
                change->config->name);
        return;
    }
    names_destroy(service->names);
    service->names = NULL;
    health_destroy(service->health); /* it knows backends that may leave */
    service->health = NULL;
    if (routing_change_apply(service->routing, change->routing, &err) != 0) {
        log_line(LOG_LEVEL_ERROR, "a reload is not wholly in force yet", LOG_TEXT("error", err.text));
    }
    change->routing = NULL;
    proxy_service_change_apply(service->proxy, change->proxy);
    change->proxy = NULL;
    service->config = change->config;
    struct config *before = service->owned;
    service->owned = config_share(reload->config);
    reload_renew_health(reload, change);
    reload_renew_names(reload, change);
    migration_reconfigure_finish(service->migration, change->migration, &reload->who);
    change->migration = NULL;
    proxy_service_tune(service->proxy, change->config->retries, change->config->connection_log_bp);
    for (uint32_t g = 0; g < routing_groups(service->routing); g++) {
        for (size_t b = 0; b < routing_backends(service->routing, g); b++) {
            reload_settle_backend(reload, change, g, routing_backend_at(service->routing, g, b));
        }
    }
    config_free(before); /* change->before may be part of it */
    change->before = NULL;
    fprintf(reload->report, "%s: changed%s\n", change->config->name,
            is_migrating(service) ? "; its migration goes on by the plan that it began with" : "");
}

static void apply_global(struct reload *reload)
{
    const struct config *config = reload->config;
    if (reload_diff_touches_limits(&reload->diff)) {
        proxy_limits_apply(reload->app->proxy, reload->limits);
        reload->limits = NULL;
        fputs("limits: changed\n", reload->report);
    }
    if (reload_diff_has(&reload->diff, "log.level")) {
        for (int l = LOG_LEVEL_DEBUG; l <= LOG_LEVEL_ERROR; l++) {
            if (strcmp(config->log.level, log_level_name((enum log_level)l)) == 0) {
                log_set_level((enum log_level)l);
            }
        }
        fprintf(reload->report, "log.level: %s\n", config->log.level);
    }
    if (reload_diff_has(&reload->diff, "log.format")) {
        log_set_format(strcmp(config->log.format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT);
        fprintf(reload->report, "log.format: %s\n", config->log.format);
    }
    if (reload_diff_has(&reload->diff, "log.rate")) {
        log_set_rate(config->log.rate);
        fprintf(reload->report, "log.rate: %u\n", config->log.rate);
    }
    if (reload->log != NULL) {
        log_move(reload->log);
        reload->log = NULL;
        fprintf(reload->report, "log.to: %s\n", config->log.to);
    }
    for (size_t i = 0; i < reload->app->services_len; i++) {
        if (reload->app->services[i].names != NULL) {
            names_tune(reload->app->services[i].names, &config->resolve);
        }
    }
}

/* Services that are gone from the file stop accepting; those that were made begin. */
static void come_and_go(struct reload *reload)
{
    struct app *app = reload->app;
    for (size_t i = 0; i < app->services_len; i++) {
        struct app_service *service = &app->services[i];
        if (service->config != NULL && !service->leaving && !reload_keeps(reload, service)) {
            fprintf(reload->report, "%s: takes no new connections, %llu open ones go on to their end\n",
                    service->config->name, (unsigned long long)proxy_service_open(service->proxy));
            app_remove_service(app, service, &reload->given);
        }
    }
    for (size_t i = 0; i < app->services_len; i++) {
        struct app_service *service = &app->services[i];
        struct err_text err = {""};
        if (service->fresh && service->config != NULL) {
            service->fresh = false;
            proxy_service_own(service->proxy);
            int rc = proxy_service_start(service->proxy, &err);
            fprintf(reload->report, "%s: %s%s\n", service->config->name,
                    rc == 0 ? "new" : "not started: ", err.text);
            app_tell_addresses(service);
        }
    }
}

static bool needs_restart(const struct reload *reload, const char *path)
{
    for (size_t s = 0; s < reload->config->services_len; s++) {
        const char *name = reload->config->services[s].name;
        size_t length = strlen(name);
        if (reload->changes[s].service != NULL && strncmp(path + 9, name, length) == 0 &&
            path[9 + length] == '.') {
            return !reload_is_live(path, name);
        }
    }
    return false; /* a service that comes or goes does so as a whole */
}

static void tell_one(const struct reload *reload, const char *path)
{
    bool restart = strcmp(path, "state_dir") == 0; /* the journal stays where it is */
    fprintf(reload->report, "%s: changed in the file, in force only after a restart%s\n", path,
            restart ? "" : " or an upgrade");
}

/* What is not of a service is in force as the start found it, whatever reloads between have read. */
static void tell_restart(const struct reload *reload)
{
    static const char services[] = "services.";
    struct reload_diff since = {.len = 0};
    if (reload_diff_make(reload->app->started, reload->config, &since) != 0) {
        fputs("out of memory: what waits for a restart is not told\n", reload->report);
    }
    for (size_t i = 0; i < since.len; i++) {
        if (strncmp(since.paths[i], services, strlen(services)) != 0 &&
            !reload_is_live(since.paths[i], NULL)) {
            tell_one(reload, since.paths[i]);
        }
    }
    reload_diff_clear(&since);
    for (size_t i = 0; i < reload->diff.len; i++) {
        if (strncmp(reload->diff.paths[i], services, strlen(services)) == 0 &&
            needs_restart(reload, reload->diff.paths[i])) {
            tell_one(reload, reload->diff.paths[i]);
        }
    }
}

/* The admin room sees the services as they are now. Without memory it would see what is gone: then its list
 * is cut short. */
static void show_services(struct app *app)
{
    struct admin_service *list = NULL;
    size_t len = 0;
    if (app_list_services(app, &list, &len) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: the services cannot be shown before the next reload");
    }
    admin_set_services(app->admin, list, len);
    admin_set_config(app->admin, app->config, app->in_force);
    free(app->admin_services);
    app->admin_services = list;
    app->admin_services_len = len;
}

/* Before the new configuration takes the place of the old one. Without memory what waits for a restart is
 * shown as if it were in force. */
static void note_in_force(struct app *app, const struct config *config)
{
    char *before = app->in_force != NULL ? app->in_force : config_show(app->config);
    app->in_force = before != NULL ? in_force_after(before, config) : NULL;
    free(before);
}

static void apply(struct reload *reload)
{
    struct app *app = reload->app;
    tell_restart(reload);
    for (size_t i = 0; i < reload->config->services_len; i++) {
        if (reload->changes[i].service != NULL) {
            apply_service(reload, &reload->changes[i]);
        }
    }
    apply_global(reload);
    reload_listen_apply(reload);
    come_and_go(reload);
    app_await_leaving(app);
    note_in_force(app, reload->config);
    config_free(app->owned);
    app->owned = reload->config;
    app->config = reload->config;
    reload->config = NULL;
    show_services(app);
}

/* ---- both */

static void reload_destroy(struct reload *reload)
{
    for (size_t i = 0; reload->changes != NULL && reload->config != NULL && i < reload->config->services_len;
         i++) {
        routing_change_drop(reload->changes[i].routing);
        migration_reconfigure_drop(reload->changes[i].migration);
        proxy_service_change_drop(reload->changes[i].proxy);
        proxy_listen_change_drop(reload->changes[i].listen);
    }
    app_drop_fresh(reload->app);
    proxy_limits_drop(reload->limits);
    log_sink_destroy(reload->log);
    given_clear(&reload->given);
    targets_unask(reload->questions);
    phrases_destroy(reload->phrases);
    free(reload->changes);
    reload_diff_clear(&reload->diff);
    targets_destroy(reload->targets);
    config_free(reload->config);
    free((void *)(uintptr_t)reload->who.actor);
    free((void *)(uintptr_t)reload->who.reason);
    free(reload);
}

/* Tells how it went, and is over. */
static void end(struct reload *reload, int rc, const char *report, const char *why)
{
    struct app *app = reload->app;
    app->reload = NULL;
    if (!app_is_stopping(app)) {
        notify_ready(app->notify);
    }
    events_add(app->events, clock_wall_us(), rc == 0 ? EVENTS_INFO : EVENTS_ERROR, NULL, "reload",
               reload->who.actor, reload->who.reason, "%s", rc == 0 ? "reloaded" : why);
    reload->done(reload->context, rc, report, why);
    reload_destroy(reload);
}

static void go_on(struct reload *reload)
{
    struct err_text err = {""};
    char *text = NULL;
    size_t length = 0;
    reload->report = open_memstream(&text, &length);
    (void)failpoint("reload-read");
    int rc = reload->report != NULL ? prepare(reload, &err) : err_set(&err, ERR_NOMEM, "out of memory");
    if (rc == 0 && failpoint("reload-made") != 0) {
        rc = err_set(&err, ERR_SYSTEM, "nothing was changed: a failpoint when all was made");
    }
    if (rc == 0) {
        apply(reload);
        (void)failpoint("reload-done");
        if (ftell(reload->report) == 0) {
            fputs("the file says what is in force already\n", reload->report);
        }
    }
    bool written = reload->report != NULL && fclose(reload->report) == 0;
    reload->report = NULL;
    end(reload, rc, written ? text : "reloaded, but there is no memory to tell what changed\n", err.text);
    free(text);
}

static void on_names(void *context)
{
    struct reload *reload = context;
    targets_unask(reload->questions);
    reload->questions = NULL;
    if (app_is_stopping(reload->app)) {
        app_reload_drop(reload->app);
        return;
    }
    reload_ask_phrases(reload, go_on);
}

static struct reload *reload_create(struct app *app, const char *actor, const char *reason,
                                    app_reloaded_fn *done, void *context)
{
    struct reload *reload = calloc(1, sizeof(*reload));
    if (reload == NULL) {
        return NULL;
    }
    *reload = (struct reload){.app = app, .done = done, .context = context};
    reload->who.actor = strdup(actor);
    reload->who.reason = reason != NULL ? strdup(reason) : NULL;
    if (reload->who.actor == NULL || (reason != NULL && reload->who.reason == NULL)) {
        reload_destroy(reload);
        return NULL;
    }
    return reload;
}

void app_reload(struct app *app, const char *actor, const char *reason, app_reloaded_fn *done, void *context)
{
    struct err_text err = {""};
    bool upgrade = handover_is_under_way(app->handover) || app->settling;
    if (app->config->path == NULL || app_is_stopping(app) || app->reload != NULL || upgrade) {
        const char *why = app->reload != NULL    ? "another reload waits for names or pass phrases"
                          : upgrade              ? "an upgrade is under way, try again in a moment"
                          : app_is_stopping(app) ? "the program is stopping"
                                                 : "it was started without a file";
        (void)err_set(&err, ERR_STATE, "nothing was changed: %s", why);
        done(context, ERR_STATE, "", err.text);
        return;
    }
    struct reload *reload = reload_create(app, actor, reason, done, context);
    if (reload == NULL) {
        done(context, ERR_NOMEM, "", "nothing was changed: out of memory");
        return;
    }
    app->reload = reload;
    notify_reloading(app->notify);
    int rc = read_file(reload, &err);
    if (rc == 0 && targets_are_known(reload->targets)) {
        reload_ask_phrases(reload, go_on);
        return;
    }
    if (rc == 0 &&
        targets_ask(reload->targets, app->base, app->resolver, on_names, reload, &reload->questions) != 0) {
        rc = err_set(&err, ERR_NOMEM, "nothing was changed: out of memory for asking for names");
    }
    if (rc != 0) {
        end(reload, rc, "", err.text);
    }
}

void app_reload_drop(struct app *app)
{
    if (app->reload != NULL) {
        end(app->reload, ERR_STATE, "", "nothing was changed: the program is stopping");
    }
}
