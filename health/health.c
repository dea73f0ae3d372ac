/*
 * The schedule of active checks of one service: starts probes on time, passes their results through the
 * verdict, tells the routing and the operators. Control thread. What a check does is the probe's matter, what
 * follows from its results the verdict's.
 */
#include "health/health.h"

#include "core/clock.h"
#include "health/probe_internal.h"
#include "health/verdict.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First checks are made within this time, so that a start soon knows where it stands. */
#define FIRST_WITHIN_US (500 * CLOCK_US_PER_MS)
#define PUBLISH_AGAIN_US (100 * CLOCK_US_PER_MS)

struct check {
    struct health *health;              /* borrowed: the owner */
    struct backend *backend;            /* borrowed from the routing */
    const struct config_health *config; /* borrowed */
    const struct probe_type *type;
    struct probe *probe; /* owned */
    struct event *timer; /* owned */
    uint64_t due_us;     /* when the next check is to start */
    uint64_t phase_us;   /* its place within the interval */
    uint64_t started_us;
    struct verdict verdict;
    struct health_result last;
};

struct health {
    struct event_base *base;     /* borrowed */
    struct routing *routing;     /* borrowed */
    struct events_ring *events;  /* borrowed */
    struct event *publish_event; /* owned; active: states changed in this loop turn */
    uint64_t skipped;
    bool short_of; /* the last check was skipped; said once */
    size_t checks_len;
    struct check checks[];
};

/* A later protocol adds its file and its line here. */
static const struct probe_type *const probe_types[] = {&probe_tcp};

static const struct probe_type *find_type(enum config_health_type type)
{
    for (size_t i = 0; i < sizeof(probe_types) / sizeof(probe_types[0]); i++) {
        if (probe_types[i]->type == type) {
            return probe_types[i];
        }
    }
    return NULL;
}

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

/* The next start keeps the pace; what was missed (a check longer than the interval) is left out. */
static void schedule_next(struct check *check, uint64_t now_us)
{
    uint64_t interval = check->config->interval_us;
    if (check->last.checks == 1 && check->phase_us > 0) {
        /* From the crowded first round to its own place: half to one and a half intervals later. */
        check->due_us += check->phase_us >= interval / 2 ? check->phase_us : check->phase_us + interval;
        check->phase_us = 0;
    } else {
        check->due_us += interval;
    }
    if (check->due_us < now_us) {
        check->due_us += (now_us - check->due_us + interval - 1) / interval * interval;
    }
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
    char count[48];
    if (first) {
        (void)snprintf(count, sizeof(count), "first check");
    } else {
        (void)snprintf(count, sizeof(count), "%u of %u", needed, needed);
    }
    const char *service = routing_service(health->routing);
    uint64_t now_us = clock_wall_us();
    events_add(health->events, now_us, up ? EVENTS_INFO : EVENTS_WARN, service, "health", "health", reason,
               "%s/%s %s: %s, %s", routing_group_name(health->routing, group), backend_name(check->backend),
               backend_state_name(check->verdict.state), reason, count);
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

static void on_done(void *context, enum probe_outcome outcome, const char *reason)
{
    struct check *check = context;
    struct health *health = check->health;
    uint64_t now_us = clock_mono_us();
    if (outcome == PROBE_SKIPPED) {
        note_skipped(health, reason);
        schedule_next(check, now_us);
        return;
    }
    health->short_of = false;
    struct health_result *last = &check->last;
    bool first = last->checks == 0;
    last->checks++;
    last->passed = outcome == PROBE_PASSED;
    last->wall_us = clock_wall_us();
    last->duration_us = now_us - check->started_us;
    (void)snprintf(last->reason, sizeof(last->reason), "%s", reason);
    if (verdict_step(&check->verdict, last->passed, check->config->rise, check->config->fall)) {
        routing_set_state(health->routing, check->backend, check->verdict.state);
        tell_transition(check, reason, first);
        event_active(health->publish_event, EV_TIMEOUT, 0);
    }
    schedule_next(check, now_us);
}

static int fill_check(struct health *health, struct check *check, const struct config_health *config,
                      const struct probe_type *type, struct backend *backend)
{
    *check = (struct check){.health = health, .backend = backend, .config = config, .type = type};
    verdict_init(&check->verdict);
    assert(config->interval_us > 0); /* the configuration's range */
    struct probe_spec spec = {.base = health->base,
                              .address = *backend_address(backend),
                              .timeout_us = config->timeout_us,
                              .done = on_done,
                              .context = check};
    check->timer = evtimer_new(health->base, on_timer, check);
    return check->timer != NULL ? type->create(&spec, &check->probe) : ERR_NOMEM;
}

/* Spreads the first checks over a short while and gives each its place within the interval. */
static void start_checks(struct health *health)
{
    uint64_t now_us = clock_mono_us();
    for (size_t i = 0; i < health->checks_len; i++) {
        struct check *check = &health->checks[i];
        uint64_t interval = check->config->interval_us;
        uint64_t within = interval < FIRST_WITHIN_US ? 0 : FIRST_WITHIN_US;
        uint64_t first_us = within * i / health->checks_len;
        check->due_us = now_us + first_us;
        check->phase_us = interval * i / health->checks_len - (within > 0 ? first_us : 0);
        arm(check, now_us);
    }
}

static const struct config_group *find_config(const struct config_service *config, const char *name)
{
    for (size_t g = 0; g < config->groups_len; g++) {
        if (strcmp(config->groups[g].name, name) == 0) {
            return &config->groups[g];
        }
    }
    return NULL;
}

int health_create(struct event_base *base, struct routing *routing, const struct config_service *config,
                  struct events_ring *events, struct health **out, struct err_text *err)
{
    size_t backends = 0;
    for (size_t g = 0; g < routing_groups(routing); g++) {
        backends += routing_backends(routing, g);
    }
    struct health *health = calloc(1, sizeof(*health) + backends * sizeof(health->checks[0]));
    if (health == NULL) {
        return err_set(err, ERR_NOMEM, "%s: no memory for health checks", routing_service(routing));
    }
    health->base = base;
    health->routing = routing;
    health->events = events;
    health->publish_event = evtimer_new(base, on_publish, health);
    int rc = health->publish_event != NULL ? 0 : ERR_NOMEM;
    for (size_t g = 0; rc == 0 && g < routing_groups(routing); g++) {
        const struct config_group *group = find_config(config, routing_group_name(routing, g));
        const struct probe_type *type = group != NULL ? find_type(group->health.type) : NULL;
        for (size_t i = 0; rc == 0 && type != NULL && i < routing_backends(routing, g); i++) {
            rc = fill_check(health, &health->checks[health->checks_len++], &group->health, type,
                            routing_backend_at(routing, g, i));
        }
    }
    if (rc != 0) {
        health_destroy(health);
        return err_set(err, rc, "%s: no memory for health checks", routing_service(routing));
    }
    start_checks(health);
    *out = health;
    return 0;
}

void health_destroy(struct health *health)
{
    if (health == NULL) {
        return;
    }
    for (size_t i = 0; i < health->checks_len; i++) {
        struct check *check = &health->checks[i];
        if (check->probe != NULL) {
            check->type->destroy(check->probe);
        }
        if (check->timer != NULL) {
            event_free(check->timer);
        }
    }
    if (health->publish_event != NULL) {
        event_free(health->publish_event);
    }
    free(health);
}

int health_last(const struct health *health, const struct backend *backend, struct health_result *out)
{
    for (size_t i = 0; i < health->checks_len; i++) {
        if (health->checks[i].backend == backend) {
            *out = health->checks[i].last;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

uint64_t health_skipped(const struct health *health)
{
    return health->skipped;
}
