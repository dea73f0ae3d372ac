/* The schedule of checks with real sockets: states, events, batches of changes, shortages. */
#include "tests/unit/health/support.h"

#include "health/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define MANY 200u

struct rig {
    struct event_base *base;
    struct routing *routing;
    struct events_ring *events;
    struct health *health;
    struct config_group groups[2];
    struct config_service config;
    unsigned published;
};

static void count_publish(void *context, void *ptr, void (*destroy)(void *ptr))
{
    struct rig *rig = context;
    rig->published++;
    destroy(ptr);
}

static const struct config_health tcp_checks = {.type = CONFIG_HEALTH_TCP,
                                                .interval_us = 20 * CLOCK_US_PER_MS,
                                                .timeout_us = CLOCK_US_PER_S,
                                                .rise = 2,
                                                .fall = 3};

/* Group old is checked as given, group new is not; both have the same backends. */
static void rig_open_for(struct rig *rig, const struct config_health *checks, const struct addr *addresses,
                         size_t len)
{
    memset(rig, 0, sizeof(*rig));
    static struct routing_backend_spec backends[MANY];
    static char names[MANY][24];
    for (size_t i = 0; i < len; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "b%zu", i);
        backends[i] = (struct routing_backend_spec){.name = names[i], .address = addresses[i], .weight = 1};
    }
    static char old_name[] = "old";
    static char new_name[] = "new";
    struct routing_group_spec groups[2] = {{.name = old_name, .backends = backends, .backends_len = len},
                                           {.name = new_name, .backends = backends, .backends_len = len}};
    struct routing_spec spec = {.service = "web",
                                .salt = "web",
                                .workers = 1,
                                .groups = groups,
                                .groups_len = 2,
                                .retire = count_publish,
                                .retire_context = rig};
    rig->groups[0] = (struct config_group){.name = old_name, .health = *checks};
    rig->groups[1] = (struct config_group){.name = new_name, .health = {.type = CONFIG_HEALTH_NONE}};
    rig->config.groups = rig->groups;
    rig->config.groups_len = 2;
    rig->base = event_base_new();
    assert_non_null(rig->base);
    assert_int_equal(routing_create(&spec, &rig->routing, NULL), 0);
    assert_int_equal(events_create(1000, &rig->events), 0);
    assert_int_equal(health_create(rig->base, rig->routing, &rig->config, rig->events, &rig->health, NULL),
                     0);
}

static void rig_open(struct rig *rig, const struct addr *addresses, size_t len)
{
    rig_open_for(rig, &tcp_checks, addresses, len);
}

static void rig_close(struct rig *rig)
{
    health_destroy(rig->health);
    events_destroy(rig->events);
    routing_destroy(rig->routing);
    event_base_free(rig->base);
}

static struct backend *backend_of(const struct rig *rig, size_t index)
{
    return routing_backend_at(rig->routing, 0, index);
}

static struct health_result last_of(const struct rig *rig, size_t index)
{
    struct health_result result;
    assert_int_equal(health_last(rig->health, backend_of(rig, index), &result), 0);
    return result;
}

static bool first_is_up(void *context)
{
    return backend_state(backend_of(context, 0)) == BACKEND_UP;
}

static bool first_is_down(void *context)
{
    return backend_state(backend_of(context, 0)) == BACKEND_DOWN;
}

static bool all_are_down(void *context)
{
    const struct rig *rig = context;
    return routing_usable(rig->routing, 0) == 0;
}

/* Events that begin so. */
static bool is_said(const struct rig *rig, const char *text)
{
    static struct events_entry entries[1000];
    size_t len = events_latest(rig->events, "web", entries, 1000);
    for (size_t i = 0; i < len; i++) {
        assert_true(strcmp(entries[i].actor, "health") == 0 || strcmp(entries[i].actor, "agent") == 0);
        if (strncmp(entries[i].text, text, strlen(text)) == 0) {
            return true;
        }
    }
    return false;
}

static void a_backend_comes_and_goes(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_bind(&address);
    struct rig rig;
    rig_open(&rig, &address, 1);
    assert_int_equal(last_of(&rig, 0).checks, 0);
    assert_true(support_until(rig.base, first_is_down, &rig));
    assert_true(is_said(&rig, "old/b0 down: first check, took "));
    assert_true(is_said(&rig, "group old has no usable backend left"));
    assert_false(last_of(&rig, 0).passed);
    assert_string_equal(last_of(&rig, 0).reason, "connection refused");
    assert_int_equal(listen(fd, 128), 0);
    assert_true(support_until(rig.base, first_is_up, &rig));
    assert_true(is_said(&rig, "old/b0 up: 2 of 2 checks passed, the last took "));
    uint64_t checks = last_of(&rig, 0).checks;
    (void)close(fd);
    assert_true(support_until(rig.base, first_is_down, &rig));
    assert_true(is_said(&rig, "old/b0 down: 3 of 3 checks failed, the last took "));
    assert_true(last_of(&rig, 0).checks >= checks + 3);
    rig_close(&rig);
}

/* As of addresses that a name stands for by turns. */
static void checks_follow_backends_that_leave_and_return(void **state)
{
    (void)state;
    struct addr addresses[2];
    int fd = support_bind(&addresses[0]);
    int other = support_bind(&addresses[1]);
    struct rig rig;
    struct health_result result;
    assert_int_equal(listen(other, 128), 0);
    rig_open(&rig, addresses, 2);
    assert_true(support_until(rig.base, first_is_down, &rig));
    uint64_t checks = last_of(&rig, 1).checks;
    routing_set_leaving(rig.routing, backend_of(&rig, 0), true);
    assert_int_equal(health_follow(rig.health), 0);
    assert_int_equal(health_last(rig.health, backend_of(&rig, 0), &result), ERR_NOT_FOUND);
    assert_true(last_of(&rig, 1).checks >= checks); /* the others go on as they were */
    routing_set_leaving(rig.routing, backend_of(&rig, 0), false);
    assert_int_equal(health_follow(rig.health), 0);
    assert_int_equal(backend_state(backend_of(&rig, 0)),
                     BACKEND_DOWN); /* as it was, until it proves itself */
    assert_int_equal(last_of(&rig, 0).checks, 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_true(support_until(rig.base, first_is_up, &rig));
    rig_close(&rig);
    (void)close(fd);
    (void)close(other);
}

static void a_group_without_checks_is_left_alone(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_bind(&address);
    struct rig rig;
    rig_open(&rig, &address, 1);
    assert_true(support_until(rig.base, first_is_down, &rig));
    struct health_result result;
    struct backend *other = routing_backend_at(rig.routing, 1, 0);
    assert_int_equal(health_last(rig.health, other, &result), ERR_NOT_FOUND);
    assert_int_equal(backend_state(other), BACKEND_UNKNOWN);
    rig_close(&rig);
    (void)close(fd);
}

static void many_changes_make_few_publishes(void **state)
{
    (void)state;
    static struct addr addresses[MANY];
    int fd = support_bind(&addresses[0]);
    for (size_t i = 1; i < MANY; i++) {
        addresses[i] = addresses[0];
    }
    struct rig rig;
    rig_open(&rig, addresses, MANY);
    assert_true(support_until(rig.base, all_are_down, &rig));
    assert_true(rig.published >= 1);
    /* They end in a few loop turns; far from one publish each. */
    assert_true(rig.published <= MANY / 10);
    rig_close(&rig);
    (void)close(fd);
}

static bool has_skipped(void *context)
{
    const struct rig *rig = context;
    return health_skipped(rig->health) >= 5;
}

static void a_want_of_descriptors_takes_nobody_down(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_listen(&address, 128);
    struct rig rig;
    rig_open(&rig, &address, 1);
    assert_true(support_until(rig.base, first_is_up, &rig));
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool skipped = support_until(rig.base, has_skipped, &rig);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(skipped);
    assert_int_equal(backend_state(backend_of(&rig, 0)), BACKEND_UP);
    assert_true(is_said(&rig, "checks are skipped and states stay as they are: Too many open files"));
    rig_close(&rig);
    (void)close(fd);
}

static void it_ends_while_checks_run(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_listen(&address, 128);
    struct rig rig;
    rig_open(&rig, &address, 1);
    (void)event_base_loop(rig.base, EVLOOP_ONCE);
    rig_close(&rig);
    (void)close(fd);
}

static void the_state_before_the_first_check_is_as_set(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_listen(&address, 128);
    struct config_health checks = tcp_checks;
    struct rig rig;
    checks.initial = CONFIG_INITIAL_DOWN;
    rig_open_for(&rig, &checks, &address, 1);
    assert_int_equal(backend_state(backend_of(&rig, 0)), BACKEND_DOWN);
    assert_int_equal(routing_usable(rig.routing, 0), 0);
    /* One check is proof, whatever rise is. */
    assert_true(support_until(rig.base, first_is_up, &rig));
    assert_int_equal(last_of(&rig, 0).checks, 1);
    rig_close(&rig);
    checks.initial = CONFIG_INITIAL_UP;
    rig_open_for(&rig, &checks, &address, 1);
    assert_int_equal(backend_state(backend_of(&rig, 0)), BACKEND_UP);
    rig_close(&rig);
    rig_open(&rig, &address, 1);
    assert_int_equal(backend_state(backend_of(&rig, 0)), BACKEND_UNKNOWN);
    rig_close(&rig);
    (void)close(fd);
}

/* Group old is checked; make the other one active, and old is what a migration would move traffic to. */
static void the_target_of_a_migration_must_prove_itself(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_bind(&address);
    struct rig rig;
    rig_open(&rig, &address, 1);
    health_destroy(rig.health);
    rig.config.migration.present = true;
    routing_set_state(rig.routing, backend_of(&rig, 0), BACKEND_UNKNOWN);
    assert_int_equal(health_create(rig.base, rig.routing, &rig.config, rig.events, &rig.health, NULL), 0);
    assert_int_equal(backend_state(backend_of(&rig, 0)), BACKEND_UNKNOWN); /* it is active */
    health_destroy(rig.health);
    routing_set_active(rig.routing, 1);
    assert_int_equal(health_create(rig.base, rig.routing, &rig.config, rig.events, &rig.health, NULL), 0);
    assert_int_equal(backend_state(backend_of(&rig, 0)), BACKEND_DOWN);
    health_destroy(rig.health);
    /* Under way already, as after a restart: it goes on. */
    routing_set_target(rig.routing, 0);
    assert_int_equal(health_create(rig.base, rig.routing, &rig.config, rig.events, &rig.health, NULL), 0);
    assert_int_equal(backend_state(backend_of(&rig, 0)), BACKEND_UNKNOWN);
    rig_close(&rig);
    (void)close(fd);
}

/* A server that says a line to each connection. */
struct teller {
    struct rig *rig;
    int fd;
    const char *line; /* NULL: takes no connections */
    struct event *event;
    bool (*reached)(const struct rig *rig);
};

static void on_tell(evutil_socket_t fd, short what, void *arg)
{
    struct teller *teller = arg;
    (void)what;
    int peer = accept4((int)fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    if (teller->line != NULL) {
        (void)send(peer, teller->line, strlen(teller->line), MSG_NOSIGNAL);
    }
    (void)close(peer);
}

static bool is_reached(void *context)
{
    const struct teller *teller = context;
    return teller->reached(teller->rig);
}

static void tell(struct teller *teller, const char *line, bool (*reached)(const struct rig *rig))
{
    teller->line = line;
    teller->reached = reached;
    assert_true(support_until(teller->rig->base, is_reached, teller));
}

static bool has_half(const struct rig *rig)
{
    return backend_agent_percent(backend_of(rig, 0)) == 50 && backend_state(backend_of(rig, 0)) == BACKEND_UP;
}

static bool drains(const struct rig *rig)
{
    return backend_agent_admin(backend_of(rig, 0)) == BACKEND_DRAIN;
}

static bool is_silent(const struct rig *rig)
{
    return is_said(rig, "old/b0 agent gives no answer: its state stays as it is");
}

static bool is_ready(const struct rig *rig)
{
    return backend_agent_admin(backend_of(rig, 0)) == BACKEND_READY;
}

static bool is_down(const struct rig *rig)
{
    return backend_state(backend_of(rig, 0)) == BACKEND_DOWN;
}

static bool has_limit(const struct rig *rig)
{
    return backend_agent_limit(backend_of(rig, 0)) == 30;
}

static void an_agent_is_heard(void **state)
{
    (void)state;
    struct addr address;
    struct rig rig;
    struct config_health checks = tcp_checks;
    struct teller teller = {.rig = &rig, .fd = support_listen(&address, 128)};
    checks.type = CONFIG_HEALTH_AGENT;
    rig_open_for(&rig, &checks, &address, 1);
    teller.event = event_new(rig.base, teller.fd, EV_READ | EV_PERSIST, on_tell, &teller);
    assert_non_null(teller.event);
    assert_int_equal(event_add(teller.event, NULL), 0);
    tell(&teller, "50% up\n", has_half);
    assert_int_equal(routing_usable(rig.routing, 0), 1);
    tell(&teller, "drain\n", drains);
    /* What the line did not name is as it was. */
    assert_true(has_half(&rig));
    assert_int_equal(routing_usable(rig.routing, 0), 0);
    tell(&teller, NULL, is_silent);
    assert_true(has_half(&rig) && drains(&rig));
    /* The operator's word is not the agent's to change. */
    routing_set_admin(rig.routing, backend_of(&rig, 0), BACKEND_MAINT);
    tell(&teller, "ready 50%\n", is_ready);
    assert_int_equal(backend_admin(backend_of(&rig, 0)), BACKEND_MAINT);
    assert_int_equal(routing_usable(rig.routing, 0), 0);
    routing_set_admin(rig.routing, backend_of(&rig, 0), BACKEND_READY);
    assert_int_equal(routing_usable(rig.routing, 0), 1);
    tell(&teller, "maxconn:30\n", has_limit);
    assert_true(has_half(&rig));
    routing_set_limit(rig.routing, backend_of(&rig, 0), 20); /* set by hand: never above it */
    assert_int_equal(backend_limit_effective(backend_of(&rig, 0)), 20);
    tell(&teller, "maxconn:10 drain\n", drains);
    assert_int_equal(backend_limit_effective(backend_of(&rig, 0)), 10);
    tell(&teller, "maxconn:0 ready\n", is_ready);
    assert_int_equal(backend_limit_effective(backend_of(&rig, 0)), 20);
    tell(&teller, "down#too hot\n", is_down);
    event_free(teller.event);
    rig_close(&rig);
    (void)close(teller.fd);
}

struct tried {
    bool done, passed;
    char reason[160];
    char lines[1024];
};

static void on_tried(void *context, bool passed, const char *reason, uint64_t duration_us)
{
    struct tried *tried = context;
    assert_true(duration_us < SUPPORT_PATIENCE_US);
    tried->done = true;
    tried->passed = passed;
    (void)snprintf(tried->reason, sizeof(tried->reason), "%s", reason);
}

static void on_line(void *context, const char *text)
{
    struct tried *tried = context;
    size_t len = strlen(tried->lines);
    (void)snprintf(tried->lines + len, sizeof(tried->lines) - len, "%s|", text);
}

static bool is_tried(void *context)
{
    return ((const struct tried *)context)->done;
}

static void a_check_by_hand_shows_the_exchange(void **state)
{
    (void)state;
    struct addr address;
    struct rig rig;
    struct health_trial *trial = NULL;
    struct tried tried = {.done = false};
    struct config_health checks = tcp_checks;
    struct teller teller = {.rig = &rig, .fd = support_listen(&address, 128), .line = "+PONG\r\n"};
    checks.type = CONFIG_HEALTH_REDIS;
    checks.interval_us = 3600 * CLOCK_US_PER_S;
    rig_open_for(&rig, &checks, &address, 1);
    teller.event = event_new(rig.base, teller.fd, EV_READ | EV_PERSIST, on_tell, &teller);
    assert_non_null(teller.event);
    assert_int_equal(event_add(teller.event, NULL), 0);
    assert_int_equal(health_try(rig.health, backend_of(&rig, 0), on_tried, on_line, &tried, &trial), 0);
    assert_false(tried.done);
    assert_true(support_until(rig.base, is_tried, &tried));
    assert_true(tried.passed);
    assert_string_equal(tried.reason, "PONG");
    assert_string_equal(tried.lines, "- connected|> *1\\r\\n$4\\r\\nPING\\r\\n|< +PONG\\r\\n|");
    health_trial_destroy(trial);
    assert_int_equal(
        health_try(rig.health, routing_backend_at(rig.routing, 1, 0), on_tried, on_line, &tried, &trial),
        ERR_NOT_FOUND);
    /* Cancelled before it ends. */
    tried.done = false;
    assert_int_equal(health_try(rig.health, backend_of(&rig, 0), on_tried, NULL, &tried, &trial), 0);
    health_trial_destroy(trial);
    assert_false(tried.done);
    event_free(teller.event);
    rig_close(&rig);
    (void)close(teller.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backend_comes_and_goes),
        cmocka_unit_test(checks_follow_backends_that_leave_and_return),
        cmocka_unit_test(a_group_without_checks_is_left_alone),
        cmocka_unit_test(many_changes_make_few_publishes),
        cmocka_unit_test(a_want_of_descriptors_takes_nobody_down),
        cmocka_unit_test(it_ends_while_checks_run),
        cmocka_unit_test(the_state_before_the_first_check_is_as_set),
        cmocka_unit_test(the_target_of_a_migration_must_prove_itself),
        cmocka_unit_test(an_agent_is_heard),
        cmocka_unit_test(a_check_by_hand_shows_the_exchange),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
