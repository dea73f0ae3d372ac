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

/* Group old is checked, group new is not; both have the same backends. */
static void rig_open(struct rig *rig, const struct addr *addresses, size_t len)
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
    rig->groups[0] = (struct config_group){.name = old_name,
                                           .health = {.type = CONFIG_HEALTH_TCP,
                                                      .interval_us = 20 * CLOCK_US_PER_MS,
                                                      .timeout_us = CLOCK_US_PER_S,
                                                      .rise = 2,
                                                      .fall = 3}};
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

static bool is_said(const struct rig *rig, const char *text)
{
    static struct events_entry entries[1000];
    size_t len = events_latest(rig->events, "web", entries, 1000);
    for (size_t i = 0; i < len; i++) {
        assert_string_equal(entries[i].actor, "health");
        if (strcmp(entries[i].text, text) == 0) {
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
    assert_true(is_said(&rig, "old/b0 down: connection refused, first check"));
    assert_true(is_said(&rig, "group old has no usable backend left"));
    assert_false(last_of(&rig, 0).passed);
    assert_string_equal(last_of(&rig, 0).reason, "connection refused");
    assert_int_equal(listen(fd, 128), 0);
    assert_true(support_until(rig.base, first_is_up, &rig));
    assert_true(is_said(&rig, "old/b0 up: connected, 2 of 2"));
    uint64_t checks = last_of(&rig, 0).checks;
    (void)close(fd);
    assert_true(support_until(rig.base, first_is_down, &rig));
    assert_true(is_said(&rig, "old/b0 down: connection refused, 3 of 3"));
    assert_true(last_of(&rig, 0).checks >= checks + 3);
    rig_close(&rig);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backend_comes_and_goes),
        cmocka_unit_test(a_group_without_checks_is_left_alone),
        cmocka_unit_test(many_changes_make_few_publishes),
        cmocka_unit_test(a_want_of_descriptors_takes_nobody_down),
        cmocka_unit_test(it_ends_while_checks_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
