/*
 * The schedule of active checks of one service: starts probes on time, passes their results through the
 * verdict, tells the routing and the operators. Control thread. What a check does is the probe's matter, what
 * follows from its results the verdict's.
 */
#include "health/health.h"

#include "core/clock.h"
#include "core/siphash.h"
#include "health/cadence.h"
#include "health/health_internal.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First checks are made within this time, so that a start soon knows where it stands. */
#define FIRST_WITHIN_US (500 * CLOCK_US_PER_MS)
#define PUBLISH_AGAIN_US (100 * CLOCK_US_PER_MS)

static struct timeval timeval_of(uint64_t us)
{
    return (struct timeval){.tv_sec = (time_t)(us / CLOCK_US_PER_S),
                            .tv_usec = (suseconds_t)(us % CLOCK_US_PER_S)};
}

static void arm(struct check *check, uint64_t now_us)
{
    struct timeval wait = timeval_of(check->due_us > now_us ? check->due_us - now_us : 0);
    if (evtimer_add(check->timer, &wait) != 0) {
        /* libevent had no memory for the timer: sooner than planned is better than never again. */
        event_active(check->timer, EV_TIMEOUT, 0);
    }
}

static void schedule_next(struct check *check, uint64_t now_us)
{
    check->due_us = cadence_next(&check->cadence, check->config, &check->verdict, check->due_us, now_us);
    arm(check, now_us);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct check *check = arg;
    check->started_us = clock_mono_us();
    check->type->start(check->probe);
}

/* Once a loop turn at most: an event that is active already is not made active again. */
static void on_publish(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct health *health = arg;
    struct err_text err;
    if (routing_publish(health->routing, &err) != 0) {
        events_add(health->events, clock_wall_us(), EVENTS_ERROR, routing_service(health->routing), "health",
                   "health", NULL, "states found by checks are not in force yet: %s", err.text);
        struct timeval wait = timeval_of(PUBLISH_AGAIN_US);
        (void)evtimer_add(health->publish_event, &wait);
    }
}

static void tell_transition(const struct check *check, const char *reason, bool first)
{
    const struct health *health = check->health;
    bool up = check->verdict.state == BACKEND_UP;
    uint32_t group = backend_group(check->backend);
    uint32_t needed = up ? check->config->rise : check->config->fall;
    char took[32];
    char count[96];
    clock_format_duration(check->last.duration_us, took, sizeof(took));
    if (first) {
        (void)snprintf(count, sizeof(count), "first check, took %s", took);
    } else {
        (void)snprintf(count, sizeof(count), "%u of %u checks %s, the last took %s", needed, needed,
                       up ? "passed" : "failed", took);
    }
    const char *service = routing_service(health->routing);
    uint64_t now_us = clock_wall_us();
    events_add(health->events, now_us, up ? EVENTS_INFO : EVENTS_WARN, service, "health", "health", reason,
               "%s/%s %s: %s", routing_group_name(health->routing, group), backend_name(check->backend),
               backend_state_name(check->verdict.state), count);
    if (!up && routing_usable(health->routing, group) == 0) {
        events_add(health->events, now_us, EVENTS_ERROR, service, "health", "health", reason,
                   "group %s has no usable backend left", routing_group_name(health->routing, group));
    }
}

static void note_skipped(struct health *health, const char *reason)
{
    health->skipped++;
    if (!health->short_of) {
        health->short_of = true;
        events_add(health->events, clock_wall_us(), EVENTS_WARN, routing_service(health->routing), "health",
                   "health", reason, "checks are skipped and states stay as they are: %s", reason);
    }
}

static void remember(struct check *check, const struct probe_result *result, uint64_t now_us)
{
    struct health_result *last = &check->last;
    last->checks++;
    last->passed = result->outcome == PROBE_PASSED;
    last->wall_us = clock_wall_us();
    last->duration_us = now_us - check->started_us;
    last->certificate_us = result->certificate_us != 0 ? result->certificate_us : last->certificate_us;
    (void)snprintf(last->reason, sizeof(last->reason), "%s", result->reason);
}

static void tell_warning(struct check *check, const struct probe_result *result)
{
    const struct health *health = check->health;
    if (result->warning && !check->warned) {
        events_add(health->events, clock_wall_us(), EVENTS_WARN, routing_service(health->routing), "health",
                   "health", result->reason, "%s/%s passes with a warning",
                   routing_group_name(health->routing, backend_group(check->backend)),
                   backend_name(check->backend));
    }
    check->warned = result->warning;
}

static void judge(struct check *check, const struct probe_result *result, bool first)
{
    const struct health *health = check->health;
    bool passed = result->outcome == PROBE_PASSED;
    if (verdict_step(&check->verdict, passed, check->config->rise, check->config->fall)) {
        routing_set_state(health->routing, check->backend, check->verdict.state);
        tell_transition(check, result->reason, first);
        event_active(health->publish_event, EV_TIMEOUT, 0);
    }
}

static void on_done(void *context, const struct probe_result *result)
{
    struct check *check = context;
    struct health *health = check->health;
    uint64_t now_us = clock_mono_us();
    if (result->outcome == PROBE_SKIPPED) {
        note_skipped(health, result->reason);
        schedule_next(check, now_us);
        return;
    }
    health->short_of = false;
    bool first = check->last.checks == 0;
    remember(check, result, now_us);
    if (check->config->type == CONFIG_HEALTH_AGENT) {
        health_apply_agent(check, result);
    } else {
        judge(check, result, first);
        ejections_note_check(check->watch, result->outcome == PROBE_PASSED);
    }
    tell_warning(check, result);
    schedule_next(check, now_us);
}

void health_fill_spec(const struct check *check, struct probe_spec *spec)
{
    const struct health *health = check->health;
    *spec = (struct probe_spec){
        .base = health->base,
        .means = check->means,
        .address = *backend_address(check->backend),
        .service = routing_service(health->routing),
        .group = routing_group_name(health->routing, backend_group(check->backend)),
        .backend = backend_name(check->backend),
        .timeout_us = check->config->timeout_us,
    };
    uint16_t port = htons((uint16_t)check->config->port);
    if (port != 0 && spec->address.sa.sa_family == AF_INET) {
        spec->address.in.sin_port = port;
    } else if (port != 0 && spec->address.sa.sa_family == AF_INET6) {
        spec->address.in6.sin6_port = port;
    }
}

/* What is taken for the state until the first check. A group that a migration would move traffic to must
 * prove itself first; one that it is moving traffic to right now (after a restart) goes on as it was. */
static enum backend_state initial_state(const struct health *health, const struct config_service *config,
                                        const struct config_health *group_config, uint32_t group)
{
    bool target = config->migration.present && routing_active(health->routing) != group &&
                  routing_target(health->routing) != group;
    switch (group_config->initial) {
    case CONFIG_INITIAL_UP:
        return BACKEND_UP;
    case CONFIG_INITIAL_DOWN:
        return BACKEND_DOWN;
    case CONFIG_INITIAL_AUTO:
        break;
    }
    /* An agent may never say a word of its own accord: it must not be waited for. */
    return target && group_config->type != CONFIG_HEALTH_AGENT ? BACKEND_DOWN : BACKEND_UNKNOWN;
}

bool health_must_prove(const struct config_service *config, const struct routing *routing, const char *group)
{
    const struct config_group *group_config = health_find_config(config, group);
    if (group_config == NULL || group_config->health.type == CONFIG_HEALTH_NONE) {
        return false;
    }
    if (group_config->health.initial != CONFIG_INITIAL_AUTO) {
        return group_config->health.initial == CONFIG_INITIAL_DOWN;
    }
    return config->migration.present && group_config->health.type != CONFIG_HEALTH_AGENT &&
           routing_find_group(routing, group) != routing_active(routing);
}

int health_make_probe(const struct check *check, struct probe **out)
{
    struct probe_spec spec;
    health_fill_spec(check, &spec);
    spec.done = on_done;
    spec.context = (void *)(uintptr_t)check;
    return check->type->create(&spec, out);
}

void health_take_probe(struct check *check, struct probe *probe)
{
    uint64_t now_us = clock_mono_us();
    check->type->destroy(check->probe);
    check->probe = probe;
    check->due_us = now_us;
    arm(check, now_us);
}

static void check_destroy(struct check *check)
{
    if (check->probe != NULL) {
        check->type->destroy(check->probe);
    }
    if (check->timer != NULL) {
        event_free(check->timer);
    }
    free(check);
}

/* NULL without memory. */
static struct check *check_create(struct health *health, const struct probe_means *means,
                                  struct backend *backend)
{
    struct check *check = calloc(1, sizeof(*check));
    if (check == NULL) {
        return NULL;
    }
    *check = (struct check){.health = health, .backend = backend, .config = means->config, .means = means};
    check->agent_admin = backend_agent_admin(backend); /* said before a reload */
    check->agent_weight = backend_agent_percent(backend);
    check->type = probe_find(means->config->type);
    check->watch = ejections_find(health, backend);
    verdict_init(&check->verdict);
    assert(means->config->interval_us > 0); /* the configuration's range */
    check->timer = evtimer_new(health->base, on_timer, check);
    if (check->timer == NULL || health_make_probe(check, &check->probe) != 0) {
        check_destroy(check);
        return NULL;
    }
    return check;
}

/* Makes the check of a backend and says what is taken for its state until then. */
static int add_check(struct health *health, uint32_t group, struct backend *backend, bool known)
{
    const struct probe_means *means = &health->means[group];
    if (health->checks_len == health->checks_room) {
        size_t room = health->checks_room > 0 ? 2 * health->checks_room : 16;
        struct check **more = realloc((void *)health->checks, room * sizeof(struct check *));
        if (more == NULL) {
            return ERR_NOMEM;
        }
        health->checks = more;
        health->checks_room = room;
    }
    struct check *check = check_create(health, means, backend);
    if (check == NULL) {
        return ERR_NOMEM;
    }
    health->checks[health->checks_len++] = check;
    if (!known || backend_state(backend) == BACKEND_UNKNOWN) {
        routing_assume_state(health->routing, backend,
                             initial_state(health, health->config, means->config, group));
    } else if (!backend_is_assumed(backend)) { /* it was checked before */
        enum backend_state state = backend_state(backend);
        check->verdict.state = state == BACKEND_STARTING ? BACKEND_UP : state;
    }
    return 0;
}

/* Spreads the first checks over a short while and gives each its place within the interval: evenly within the
 * service, from where its name puts it among the other services. */
static void start_checks(struct health *health, size_t from)
{
    static const struct siphash_key key = {0, 0};
    uint64_t now_us = clock_mono_us();
    const char *service = routing_service(health->routing);
    uint64_t turn = siphash(&key, service, strlen(service));
    size_t len = health->checks_len - from;
    for (size_t i = 0; i < len; i++) {
        struct check *check = health->checks[from + i];
        uint64_t interval = check->config->interval_us;
        uint64_t within = interval < FIRST_WITHIN_US ? 0 : FIRST_WITHIN_US;
        uint64_t first_us = within * i / len;
        uint64_t place_us = (turn % interval + interval * i / len) % interval;
        check->due_us = now_us + first_us;
        cadence_init(&check->cadence, (place_us + interval - first_us % interval) % interval);
        arm(check, now_us);
    }
}

const struct config_group *health_find_config(const struct config_service *config, const char *name)
{
    for (size_t g = 0; g < config->groups_len; g++) {
        if (strcmp(config->groups[g].name, name) == 0) {
            return &config->groups[g];
        }
    }
    return NULL;
}

/* The checks of one group. */
static int create_group(struct health *health, const struct config_service *config, uint32_t group,
                        struct err_text *err)
{
    struct routing *routing = health->routing;
    const struct config_group *group_config = health_find_config(config, routing_group_name(routing, group));
    if (group_config == NULL || group_config->health.type == CONFIG_HEALTH_NONE) {
        return 0;
    }
    struct probe_means *means = &health->means[group];
    int rc = probe_means_create(group_config, means, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < routing_backends(routing, group); i++) {
        struct backend *backend = routing_backend_at(routing, group, i);
        rc = backend_is_leaving(backend) ? 0 : add_check(health, group, backend, health->renewed);
        if (rc != 0) {
            return err_set(err, rc, "no memory for health checks");
        }
    }
    return 0;
}

int health_follow(struct health *health)
{
    struct routing *routing = health->routing;
    size_t kept = 0;
    int rc = 0;
    for (size_t i = 0; i < health->checks_len; i++) {
        struct check *check = health->checks[i];
        if (backend_is_leaving(check->backend)) {
            check_destroy(check);
        } else {
            health->checks[kept++] = check;
        }
    }
    health->checks_len = kept;
    rc = ejections_follow(health);
    for (uint32_t g = 0; rc == 0 && g < health->means_len; g++) {
        bool checked = health->means[g].config != NULL;
        for (size_t i = 0; rc == 0 && checked && i < routing_backends(routing, g); i++) {
            struct backend *backend = routing_backend_at(routing, g, i);
            if (!backend_is_leaving(backend) && health_find(health, backend) == NULL) {
                rc = add_check(health, g, backend, true);
            }
        }
    }
    start_checks(health, kept);
    return rc;
}

int health_examine(const struct config_service *config, struct err_text *err)
{
    for (size_t g = 0; g < config->groups_len; g++) {
        struct probe_means means = {.config = NULL};
        struct err_text why;
        int rc = config->groups[g].health.type == CONFIG_HEALTH_NONE
                     ? 0
                     : probe_means_create(&config->groups[g], &means, &why);
        probe_means_destroy(&means);
        if (rc != 0) {
            return err_set(err, rc, "service \"%s\": %s", config->name, why.text);
        }
    }
    return 0;
}

static int create(struct event_base *base, struct routing *routing, const struct config_service *config,
                  struct events_ring *events, bool renewed, struct health **out, struct err_text *err)
{
    struct health *health = calloc(1, sizeof(*health));
    if (health == NULL) {
        return err_set(err, ERR_NOMEM, "%s: no memory for health checks", routing_service(routing));
    }
    health->base = base;
    list_init(&health->trials);
    health->renewed = renewed;
    health->config = config;
    health->routing = routing;
    health->events = events;
    health->files = health_files_now(config);
    health->means_len = routing_groups(routing);
    health->means = calloc(health->means_len + 1, sizeof(*health->means));
    health->publish_event = evtimer_new(base, on_publish, health);
    struct err_text why = {"no memory for health checks"};
    int rc = health->publish_event != NULL && health->means != NULL ? 0 : ERR_NOMEM;
    rc = rc == 0 ? ejections_create(health, config) : rc;
    for (uint32_t g = 0; rc == 0 && g < health->means_len; g++) {
        rc = create_group(health, config, g, &why);
    }
    if (rc == 0) {
        rc = routing_publish(routing, &why);
    }
    if (rc != 0) {
        health_destroy(health);
        return err_set(err, rc, "service \"%s\": %s", routing_service(routing), why.text);
    }
    start_checks(health, 0);
    health_look(health);
    *out = health;
    return 0;
}

int health_create(struct event_base *base, struct routing *routing, const struct config_service *config,
                  struct events_ring *events, struct health **out, struct err_text *err)
{
    return create(base, routing, config, events, false, out, err);
}

int health_renew(struct event_base *base, struct routing *routing, const struct config_service *config,
                 struct events_ring *events, struct health **out, struct err_text *err)
{
    return create(base, routing, config, events, true, out, err);
}

void health_destroy(struct health *health)
{
    if (health == NULL) {
        return;
    }
    health_end_trials(health);
    for (size_t i = 0; i < health->checks_len; i++) {
        check_destroy(health->checks[i]);
    }
    free((void *)health->checks);
    ejections_destroy(health);
    if (health->publish_event != NULL) {
        event_free(health->publish_event);
    }
    for (size_t g = 0; health->means != NULL && g < health->means_len; g++) {
        probe_means_destroy(&health->means[g]);
    }
    free(health->means);
    free(health);
}

struct check *health_find(struct health *health, const struct backend *backend)
{
    for (size_t i = 0; i < health->checks_len; i++) {
        if (health->checks[i]->backend == backend) {
            return health->checks[i];
        }
    }
    return NULL;
}

int health_last(const struct health *health, const struct backend *backend, struct health_result *out)
{
    for (size_t i = 0; i < health->checks_len; i++) {
        if (health->checks[i]->backend == backend) {
            *out = health->checks[i]->last;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

uint64_t health_skipped(const struct health *health)
{
    return health->skipped;
}
