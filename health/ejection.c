/*
 * The shell around outlier detection: looks at the failures in a row when a worker rings, when a time is over
 * and when checks end, puts what follows in force, tells operators; and tells them of panic and of backups
 * that serve. Control thread. What follows from what is seen is decided in outlier.c.
 */
#include "health/ejection_internal.h"

#include "core/clock.h"
#include "core/units.h"
#include "health/health_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell(const struct watch *watch, enum events_severity severity, const char *text)
{
    const struct health *health = watch->health;
    char why[96];
    outlier_describe(backend_ejection(watch->backend), why, sizeof(why));
    events_add(health->events, clock_wall_us(), severity, routing_service(health->routing), "outlier",
               "health", why, "%s/%s %s", routing_group_name(health->routing, backend_group(watch->backend)),
               backend_name(watch->backend), text);
}

static struct outlier_sight see(const struct watch *watch, uint64_t now_us)
{
    const struct routing *routing = watch->health->routing;
    uint32_t group = backend_group(watch->backend);
    struct outlier_sight sight = {.now_us = now_us,
                                  .usable = backend_is_usable(watch->backend),
                                  .forced = backend_forced(watch->backend) == BACKEND_FORCED_UP,
                                  .backends = routing_backends(routing, group)};
    backend_read_runs(watch->backend, &sight.runs);
    backend_read_successes(watch->backend, &sight.connected, &sight.answered);
    for (size_t i = 0; i < sight.backends; i++) {
        const struct backend *other = routing_backend_at(routing, group, i);
        if (other != watch->backend) {
            sight.ejected += backend_ejection(other)->out;
            sight.usable_others += backend_is_usable(other);
        }
    }
    return sight;
}

/* Nothing of it would make a step. Cheap: this is asked of every backend at every look. */
static bool is_quiet(const struct watch *watch)
{
    const struct backend_ejection *ejection = backend_ejection(watch->backend);
    struct backend_runs runs;
    if (ejection->out || ejection->trial || watch->kept ||
        backend_forced(watch->backend) == BACKEND_FORCED_UP) {
        return false;
    }
    backend_read_runs(watch->backend, &runs);
    for (unsigned kind = 0; kind < STATS_ERROR_COUNT; kind++) {
        if (watch->rules->limits.of[kind] > 0 && runs.of[kind] >= watch->rules->limits.of[kind]) {
            return false;
        }
    }
    return true;
}

static void put_in_force(struct watch *watch, const struct backend_ejection *ejection)
{
    struct health *health = watch->health;
    bool was = backend_is_usable(watch->backend);
    struct backend_runs alarm = outlier_alarm(ejection, watch->rules);
    routing_set_ejection(health->routing, watch->backend, ejection);
    routing_set_run_limits(watch->backend, &alarm);
    if (was != backend_is_usable(watch->backend)) {
        event_active(health->publish_event, EV_TIMEOUT, 0);
    }
}

static void tell_ejected(const struct watch *watch)
{
    const struct routing *routing = watch->health->routing;
    const struct backend_ejection *ejection = backend_ejection(watch->backend);
    uint32_t group = backend_group(watch->backend);
    char text[160];
    char time[32];
    clock_format_duration(ejection->until_us - ejection->ejected_us, time, sizeof(time));
    (void)snprintf(text, sizeof(text), "ejected for %s, time %u in a row; %zu of %zu usable", time,
                   ejection->times, routing_usable(routing, group), routing_backends(routing, group));
    tell(watch, EVENTS_WARN, text);
}

/* It is not ejected, so the ejection cannot say why it should be. */
static void tell_kept(const struct watch *watch, const struct outlier_sight *sight)
{
    const struct health *health = watch->health;
    uint32_t group = backend_group(watch->backend);
    char most[16];
    char why[96];
    units_format_share(watch->rules->max_ejected_bp, most, sizeof(most));
    if (sight->usable_others == 0) {
        (void)snprintf(why, sizeof(why), "no other backend of the group is usable");
    } else {
        (void)snprintf(why, sizeof(why), "%zu of %zu are ejected already (max_ejected %s)", sight->ejected,
                       sight->backends, most);
    }
    events_add(health->events, clock_wall_us(), EVENTS_WARN, routing_service(health->routing), "outlier",
               "health", why, "%s/%s fails in a row and stays in service",
               routing_group_name(health->routing, group), backend_name(watch->backend));
}

static void tell_back(const struct watch *watch, const char *how)
{
    const struct backend_ejection *ejection = backend_ejection(watch->backend);
    char text[160];
    char time[32];
    clock_format_duration(ejection->returned_us - ejection->ejected_us, time, sizeof(time));
    (void)snprintf(text, sizeof(text), "is let in again after %s%s, on trial: a single failure ejects it",
                   time, how);
    tell(watch, EVENTS_INFO, text);
}

static void tell_proving(const struct watch *watch)
{
    char text[96];
    (void)snprintf(text, sizeof(text), "has served its time: %u checks in a row must pass",
                   watch->rules->rise);
    tell(watch, EVENTS_INFO, text);
}

static void follow(struct watch *watch, enum outlier_event event, const struct outlier_sight *sight)
{
    switch (event) {
    case OUTLIER_EJECTED:
        backend_clear_runs(watch->backend);
        tell_ejected(watch);
        break;
    case OUTLIER_KEPT:
        if (!watch->kept) {
            tell_kept(watch, sight);
        }
        watch->kept = true;
        break;
    case OUTLIER_PROVING:
        tell_proving(watch);
        break;
    case OUTLIER_LET_IN:
        backend_clear_runs(watch->backend);
        tell_back(watch, "");
        break;
    case OUTLIER_ABSOLVED:
        tell(watch, EVENTS_INFO, "serves again, its trial has ended well");
        break;
    case OUTLIER_OVERRULED:
        events_add(watch->health->events, clock_wall_us(), EVENTS_INFO,
                   routing_service(watch->health->routing), "outlier", "health", "an operator forced it up",
                   "%s/%s: what was held against it is forgotten",
                   routing_group_name(watch->health->routing, backend_group(watch->backend)),
                   backend_name(watch->backend));
        break;
    case OUTLIER_NOTHING:
        break;
    }
}

static void look_at(struct watch *watch, uint64_t now_us)
{
    enum outlier_event event = OUTLIER_NOTHING;
    do {
        struct outlier_sight sight = see(watch, now_us);
        struct backend_ejection ejection = *backend_ejection(watch->backend);
        event = outlier_step(&ejection, watch->rules, &sight);
        watch->kept = watch->kept && event == OUTLIER_KEPT;
        put_in_force(watch, &ejection);
        follow(watch, event, &sight);
    } while (event != OUTLIER_NOTHING && event != OUTLIER_KEPT);
}

/* When the next look is due. A shortage of memory for the timer is made up for soon. */
static void arm(struct ejections *ejections, uint64_t now_us)
{
    uint64_t due_us = CLOCK_NEVER;
    for (size_t i = 0; i < ejections->watches_len; i++) {
        uint64_t one = outlier_due(backend_ejection(ejections->watches[i]->backend), now_us);
        due_us = one < due_us ? one : due_us;
    }
    if (due_us == CLOCK_NEVER) {
        (void)event_del(ejections->look);
        return;
    }
    uint64_t wait_us = due_us > now_us ? due_us - now_us : 0;
    const struct timeval wait = {.tv_sec = (time_t)(wait_us / CLOCK_US_PER_S),
                                 .tv_usec = (suseconds_t)(wait_us % CLOCK_US_PER_S)};
    if (evtimer_add(ejections->look, &wait) != 0) {
        event_active(ejections->look, EV_TIMEOUT, 0);
    }
}

void health_look(struct health *health)
{
    struct ejections *ejections = &health->ejections;
    uint64_t now_us = clock_mono_us();
    for (size_t i = 0; i < ejections->watches_len; i++) {
        if (!is_quiet(ejections->watches[i])) {
            look_at(ejections->watches[i], now_us);
        }
    }
    arm(ejections, now_us);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    health_look(arg);
}

void ejections_note_check(struct watch *watch, bool passed)
{
    if (watch == NULL || !backend_ejection(watch->backend)->proving) {
        return;
    }
    struct backend_ejection ejection = *backend_ejection(watch->backend);
    struct outlier_sight sight = see(watch, clock_mono_us());
    bool back = outlier_check(&ejection, watch->rules, passed, &sight);
    put_in_force(watch, &ejection);
    if (back) {
        backend_clear_runs(watch->backend);
        tell_back(watch, " and its checks");
        arm(&watch->health->ejections, sight.now_us);
    }
}

/* ---- panic and backups */

static void tell_group(const struct health *health, enum events_severity severity, const char *kind,
                       size_t group, const char *reason, const char *text)
{
    events_add(health->events, clock_wall_us(), severity, routing_service(health->routing), kind, "health",
               reason, "group %s %s", routing_group_name(health->routing, group), text);
}

static void tell_panic(const struct health *health, size_t group, bool panics)
{
    static const char *const actions[] = {[CONFIG_PANIC_OTHER_GROUP] =
                                              "in a migration the other group gets its connections",
                                          [CONFIG_PANIC_USE_ALL] = "all of it is used, healthy or not",
                                          [CONFIG_PANIC_REFUSE] = "its connections are refused"};
    const struct routing_panic panic = routing_panic(health->routing, group);
    size_t usable = 0;
    size_t eligible = 0;
    char limit[16];
    char why[96];
    char text[128];
    (void)routing_in_panic(health->routing, group, &usable, &eligible);
    units_format_share(panic.threshold_bp, limit, sizeof(limit));
    (void)snprintf(why, sizeof(why), "%zu of %zu usable, threshold %s", usable, eligible, limit);
    (void)snprintf(text, sizeof(text), panics ? "is in panic: %s" : "is not in panic any more",
                   actions[panic.action]);
    tell_group(health, panics ? EVENTS_ERROR : EVENTS_INFO, "panic", group, why, text);
}

/* Something was put in force, by whomever: an operator's word changes panic too, and may free a backend. */
static void on_published(void *context)
{
    struct health *health = context;
    struct ejections *ejections = &health->ejections;
    for (size_t g = 0; g < ejections->groups; g++) {
        bool panics = routing_in_panic(health->routing, g, NULL, NULL);
        bool backups = routing_on_backups(health->routing, g);
        if (panics != ejections->panics[g]) {
            ejections->panics[g] = panics;
            tell_panic(health, g, panics);
        }
        if (backups != ejections->on_backups[g]) {
            ejections->on_backups[g] = backups;
            tell_group(health, backups ? EVENTS_WARN : EVENTS_INFO, "backup", g, NULL,
                       backups ? "is served by its backups: no other backend is usable"
                               : "is not served by its backups any more");
        }
    }
    if (ejections->watches_len > 0) {
        event_active(ejections->look, EV_TIMEOUT, 0);
    }
}

/* ---- beginning and end */

static struct outlier_rules rules_of(const struct config_group *config)
{
    struct outlier_rules rules = {
        .base_us = config->outlier.base_us,
        .max_us = config->outlier.max_us,
        .max_ejected_bp = config->outlier.max_ejected_bp,
        /* An agent need not say a word. */
        .checked = config->health.type != CONFIG_HEALTH_NONE && config->health.type != CONFIG_HEALTH_AGENT,
        .rise = config->health.rise,
    };
    rules.limits.of[STATS_ERROR_CONNECT] = config->outlier.connect_failures;
    rules.limits.of[STATS_ERROR_TIMEOUT] = config->outlier.timeouts;
    rules.limits.of[STATS_ERROR_RESET] = config->outlier.early_resets;
    rules.limits.of[STATS_ERROR_HANDSHAKE] = config->outlier.handshake_failures;
    return rules;
}

static int add_watch(struct health *health, struct backend *backend)
{
    struct ejections *ejections = &health->ejections;
    if (ejections->watches_len == ejections->watches_room) {
        size_t room = ejections->watches_room > 0 ? 2 * ejections->watches_room : 16;
        struct watch **more = realloc((void *)ejections->watches, room * sizeof(struct watch *));
        if (more == NULL) {
            return ERR_NOMEM;
        }
        ejections->watches = more;
        ejections->watches_room = room;
    }
    struct watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL) {
        return ERR_NOMEM;
    }
    *watch = (struct watch){
        .health = health, .backend = backend, .rules = &ejections->rules[backend_group(backend)]};
    ejections->watches[ejections->watches_len++] = watch;
    /* It may have been watched before a reload, and by other rules. */
    struct backend_ejection ejection = *backend_ejection(backend);
    ejection.proving = ejection.proving && watch->rules->checked;
    struct backend_runs alarm = outlier_alarm(&ejection, watch->rules);
    routing_set_ejection(health->routing, backend, &ejection);
    routing_set_run_limits(backend, &alarm);
    return 0;
}

static void drop_watch(struct watch *watch)
{
    static const struct backend_runs none = {{0}};
    routing_set_run_limits(watch->backend, &none);
    free(watch);
}

int ejections_follow(struct health *health)
{
    struct ejections *ejections = &health->ejections;
    size_t kept = 0;
    int rc = 0;
    for (size_t i = 0; i < ejections->watches_len; i++) {
        if (backend_is_leaving(ejections->watches[i]->backend)) {
            drop_watch(ejections->watches[i]);
        } else {
            ejections->watches[kept++] = ejections->watches[i];
        }
    }
    ejections->watches_len = kept;
    for (uint32_t g = 0; g < ejections->groups; g++) {
        for (size_t i = 0; rc == 0 && ejections->watched[g] && i < routing_backends(health->routing, g);
             i++) {
            struct backend *backend = routing_backend_at(health->routing, g, i);
            if (!backend_is_leaving(backend) && ejections_find(health, backend) == NULL) {
                rc = add_watch(health, backend);
            }
        }
    }
    return rc;
}

/* What was held against the backends of a group before a reload that watches it no more. */
static void forgive_group(struct health *health, uint32_t group)
{
    for (size_t i = 0; i < routing_backends(health->routing, group); i++) {
        struct backend *backend = routing_backend_at(health->routing, group, i);
        const struct backend_ejection none = {.total = backend_ejection(backend)->total};
        routing_set_ejection(health->routing, backend, &none);
    }
}

int ejections_create(struct health *health, const struct config_service *config)
{
    struct ejections *ejections = &health->ejections;
    size_t groups = routing_groups(health->routing);
    ejections->rules = calloc(groups + 1, sizeof(*ejections->rules));
    ejections->watched = calloc(groups + 1, sizeof(*ejections->watched));
    ejections->panics = calloc(groups + 1, sizeof(*ejections->panics));
    ejections->on_backups = calloc(groups + 1, sizeof(*ejections->on_backups));
    ejections->look = evtimer_new(health->base, on_look, health);
    if (ejections->rules == NULL || ejections->watched == NULL || ejections->panics == NULL ||
        ejections->on_backups == NULL || ejections->look == NULL) {
        return ERR_NOMEM;
    }
    ejections->groups = groups;
    for (uint32_t g = 0; g < groups; g++) {
        const struct config_group *group = health_find_config(config, routing_group_name(health->routing, g));
        ejections->watched[g] = group != NULL && group->outlier.present;
        if (ejections->watched[g]) {
            ejections->rules[g] = rules_of(group);
        } else {
            forgive_group(health, g);
        }
        ejections->panics[g] = routing_in_panic(health->routing, g, NULL, NULL);
        ejections->on_backups[g] = routing_on_backups(health->routing, g);
    }
    routing_set_listener(health->routing, on_published, health);
    return ejections_follow(health);
}

void ejections_destroy(struct health *health)
{
    struct ejections *ejections = &health->ejections;
    routing_set_listener(health->routing, NULL, NULL);
    for (size_t i = 0; i < ejections->watches_len; i++) {
        drop_watch(ejections->watches[i]);
    }
    if (ejections->look != NULL) {
        event_free(ejections->look);
    }
    free((void *)ejections->watches);
    free(ejections->on_backups);
    free(ejections->panics);
    free(ejections->watched);
    free(ejections->rules);
}

struct watch *ejections_find(struct health *health, const struct backend *backend)
{
    for (size_t i = 0; i < health->ejections.watches_len; i++) {
        if (health->ejections.watches[i]->backend == backend) {
            return health->ejections.watches[i];
        }
    }
    return NULL;
}
