/* Panic and backups with every strategy: who gets the connections of a group of which too few are usable. */
#include "tests/unit/balancer/support.h"

#include <stdio.h>
#include <string.h>

static const enum config_balance strategies[] = {CONFIG_BALANCE_ROUND_ROBIN, CONFIG_BALANCE_WEIGHTED,
                                                 CONFIG_BALANCE_LEAST_LATENCY,
                                                 CONFIG_BALANCE_LEAST_CONNECTIONS, CONFIG_BALANCE_HASH};
#define STRATEGIES (sizeof(strategies) / sizeof(strategies[0]))

/* ---- panic */

#define MANY 8u

static struct routing *panicking(enum config_balance balance, enum config_panic action, uint32_t threshold_bp,
                                 bool fallback, size_t backups)
{
    struct routing_backend_spec backends[MANY];
    char names[MANY][8];
    memset(backends, 0, sizeof(backends));
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "b%zu", i);
        backends[i].name = names[i];
        backends[i].weight = 1;
        backends[i].backup = i + backups >= MANY;
    }
    struct routing_group_spec groups[2] = {
        {.name = "old", .balance = balance, .backends = backends, .backends_len = MANY},
        {.name = "new", .balance = balance, .backends = backends, .backends_len = MANY}};
    groups[1].panic = (struct routing_panic){.threshold_bp = threshold_bp, .action = action};
    const struct routing_spec spec = {.service = "web",
                                      .salt = "salt",
                                      .prefix_ipv4 = 32,
                                      .prefix_ipv6 = 64,
                                      .workers = 1,
                                      .fallback = fallback,
                                      .groups = groups,
                                      .groups_len = 2};
    struct routing *routing = NULL;
    assert_int_equal(routing_create(&spec, &routing, NULL), 0);
    return routing;
}

/* The first so many of group new are up, the others down. */
static void leave_up(struct routing *routing, size_t up)
{
    for (size_t i = 0; i < MANY; i++) {
        routing_set_state(routing, support_backend(routing, 1, i), i < up ? BACKEND_UP : BACKEND_DOWN);
    }
    support_publish(routing);
}

static void migrate_to_new(struct routing *routing)
{
    routing_set_target(routing, 1);
    routing_set_share(routing, 10000);
    support_publish(routing);
}

/* Where 200 connections of as many clients go: to backends of new, of old, nowhere. */
struct tally {
    unsigned of_new[MANY];
    unsigned to_new, to_old, nowhere;
};

static struct tally tally(struct routing *routing)
{
    struct tally count = {.to_new = 0};
    struct support_picker picker;
    support_picker_init(&picker, routing, 0);
    for (uint32_t i = 0; i < 200; i++) {
        support_client(&picker, i * 2654435761u);
        const struct backend *backend = support_pick(&picker);
        if (backend == NULL) {
            count.nowhere++;
        } else if (backend_group(backend) == 0) {
            count.to_old++;
        } else {
            count.to_new++;
            count.of_new[support_index(routing, backend)]++;
        }
    }
    return count;
}

static unsigned used(const struct tally *count)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MANY; i++) {
        n += count->of_new[i] > 0;
    }
    return n;
}

static void test_panic_sends_the_share_to_the_other_group(void **state)
{
    (void)state;
    for (size_t s = 0; s < STRATEGIES; s++) {
        struct routing *routing = panicking(strategies[s], CONFIG_PANIC_OTHER_GROUP, 5000, true, 0);
        migrate_to_new(routing);
        leave_up(routing, 4); /* half is not below half */
        assert_false(routing_in_panic(routing, 1, NULL, NULL));
        assert_int_equal(tally(routing).to_new, 200);
        assert_int_equal(routing_serving(routing, 1), 4);
        leave_up(routing, 3);
        assert_true(routing_in_panic(routing, 1, NULL, NULL));
        assert_int_equal(tally(routing).to_old, 200);
        assert_int_equal(routing_serving(routing, 1), 0);
        assert_int_equal(routing_usable(routing, 1), 3);
        leave_up(routing, 4);
        assert_int_equal(tally(routing).to_new, 200);
        routing_destroy(routing);
    }
}

/* Without a migration, without fallback, or with the other group gone: those that are usable serve. */
static void test_where_no_other_group_can_help_the_usable_serve(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 3; c++) {
        struct routing *routing =
            panicking(CONFIG_BALANCE_ROUND_ROBIN, CONFIG_PANIC_OTHER_GROUP, 5000, c != 1, 0);
        if (c == 0) {
            routing_set_active(routing, 1);
        } else {
            migrate_to_new(routing);
        }
        if (c == 2) {
            support_all_states(routing, 0, BACKEND_DOWN);
        }
        leave_up(routing, 1);
        assert_true(routing_in_panic(routing, 1, NULL, NULL));
        struct tally count = tally(routing);
        assert_int_equal(count.to_new, 200);
        assert_int_equal(used(&count), 1);
        assert_int_equal(routing_serving(routing, 1), 1);
        routing_destroy(routing);
    }
}

static void test_two_groups_in_panic_do_not_play_ball(void **state)
{
    (void)state;
    const struct routing_panic panic = {.threshold_bp = 5000, .action = CONFIG_PANIC_OTHER_GROUP};
    struct routing_backend_spec backends[] = {
        {.name = "a", .weight = 1}, {.name = "b", .weight = 1}, {.name = "c", .weight = 1}};
    struct routing_group_spec groups[2] = {
        {.name = "old", .panic = panic, .backends = backends, .backends_len = 3},
        {.name = "new", .panic = panic, .backends = backends, .backends_len = 3}};
    const struct routing_spec spec = {
        .service = "web", .workers = 1, .fallback = true, .groups = groups, .groups_len = 2};
    struct routing *routing = NULL;
    assert_int_equal(routing_create(&spec, &routing, NULL), 0);
    routing_set_target(routing, 1);
    routing_set_share(routing, 5000);
    for (size_t g = 0; g < 2; g++) {
        routing_set_state(routing, support_backend(routing, g, 0), BACKEND_DOWN);
        routing_set_state(routing, support_backend(routing, g, 1), BACKEND_DOWN);
    }
    support_publish(routing);
    struct support_picker picker;
    support_picker_init(&picker, routing, 0);
    unsigned of_group[2] = {0, 0};
    for (unsigned i = 0; i < 100; i++) {
        of_group[backend_group(support_pick(&picker))]++;
    }
    assert_int_equal(of_group[0], 50);
    assert_int_equal(of_group[1], 50);
    routing_destroy(routing);
}

static void test_panic_uses_all_but_those_the_operator_took_out(void **state)
{
    (void)state;
    for (size_t s = 0; s < STRATEGIES; s++) {
        struct routing *routing = panicking(strategies[s], CONFIG_PANIC_USE_ALL, 5000, true, 0);
        const struct backend_ejection out = {.out = true};
        migrate_to_new(routing);
        routing_set_admin(routing, support_backend(routing, 1, 6), BACKEND_DRAIN);
        routing_set_forced(routing, support_backend(routing, 1, 7), BACKEND_FORCED_DOWN);
        leave_up(routing, 2); /* of six */
        routing_set_ejection(routing, support_backend(routing, 1, 1), &out);
        support_publish(routing);
        size_t usable = 0;
        size_t eligible = 0;
        assert_true(routing_in_panic(routing, 1, &usable, &eligible));
        assert_int_equal(usable, 1);
        assert_int_equal(eligible, 6);
        struct tally count = tally(routing);
        assert_int_equal(count.to_new, 200);
        assert_int_equal(count.of_new[6] + count.of_new[7], 0);
        /* With nothing measured the strategies differ in how they spread; none keeps to the one that is up.
         */
        assert_true(used(&count) > 1);
        assert_int_equal(routing_serving(routing, 1), 6);
        leave_up(routing, 4);
        count = tally(routing);
        assert_int_equal(count.of_new[1] + count.of_new[4] + count.of_new[5], 0);
        routing_destroy(routing);
    }
}

static void test_panic_refuses(void **state)
{
    (void)state;
    for (size_t s = 0; s < STRATEGIES; s++) {
        struct routing *routing = panicking(strategies[s], CONFIG_PANIC_REFUSE, 5000, true, 0);
        migrate_to_new(routing);
        leave_up(routing, 3);
        assert_int_equal(tally(routing).nowhere, 200);
        assert_int_equal(routing_serving(routing, 1), 0);
        leave_up(routing, 4);
        assert_int_equal(tally(routing).to_new, 200);
        routing_destroy(routing);
    }
}

/* What an operator takes out is not missing. */
static void test_a_drained_backend_is_no_reason_for_panic(void **state)
{
    (void)state;
    struct routing *routing = panicking(CONFIG_BALANCE_ROUND_ROBIN, CONFIG_PANIC_REFUSE, 10000, true, 0);
    migrate_to_new(routing);
    leave_up(routing, 5);
    assert_true(routing_in_panic(routing, 1, NULL, NULL));
    routing_set_admin(routing, support_backend(routing, 1, 5), BACKEND_DRAIN);
    routing_set_weight(routing, support_backend(routing, 1, 6), 0);
    routing_set_agent(routing, support_backend(routing, 1, 7), BACKEND_MAINT, 100);
    support_publish(routing);
    assert_false(routing_in_panic(routing, 1, NULL, NULL));
    assert_int_equal(tally(routing).to_new, 200);
    routing_destroy(routing);
}

static void test_a_group_without_traffic_does_not_panic(void **state)
{
    (void)state;
    struct routing *routing = panicking(CONFIG_BALANCE_ROUND_ROBIN, CONFIG_PANIC_USE_ALL, 5000, true, 0);
    leave_up(routing, 0);
    assert_false(routing_in_panic(routing, 1, NULL, NULL));
    migrate_to_new(routing);
    assert_true(routing_in_panic(routing, 1, NULL, NULL));
    routing_destroy(routing);
}

/* A connection that was sent to the group by name stays there: what is usable serves, or all, or none. */
static void test_a_group_asked_for_by_name_helps_itself(void **state)
{
    (void)state;
    static const enum config_panic actions[] = {CONFIG_PANIC_OTHER_GROUP, CONFIG_PANIC_USE_ALL,
                                                CONFIG_PANIC_REFUSE};
    for (size_t a = 0; a < 3; a++) {
        struct routing *routing = panicking(CONFIG_BALANCE_ROUND_ROBIN, actions[a], 5000, true, 0);
        struct support_picker picker;
        unsigned to_first = 0;
        unsigned served = 0;
        migrate_to_new(routing);
        leave_up(routing, 1);
        support_picker_init(&picker, routing, 0);
        for (unsigned i = 0; i < 80; i++) {
            struct routing_attempts attempts;
            struct lease lease;
            memset(&attempts, 0, sizeof(attempts));
            attempts.fixed = true;
            attempts.group = 1;
            if (routing_pick(routing_view(routing), &picker.input, &attempts, &lease) == 0) {
                assert_int_equal(lease.group, 1);
                served++;
                to_first += support_index(routing, lease.backend) == 0;
                lease_release(&lease, -1, picker.input.now_us);
            }
        }
        assert_int_equal(served, actions[a] == CONFIG_PANIC_REFUSE ? 0 : 80);
        assert_int_equal(to_first, actions[a] == CONFIG_PANIC_OTHER_GROUP ? 80
                                   : actions[a] == CONFIG_PANIC_USE_ALL   ? 10
                                                                          : 0);
        routing_destroy(routing);
    }
}

static void test_a_group_asked_for_by_name_panics_visibly(void **state)
{
    (void)state;
    static char old_name[] = "old";
    static char new_name[] = "new";
    static char host[] = "new.example";
    struct config_sni_route route = {.name = host, .group = new_name};
    struct config_group groups[2] = {{.name = old_name}, {.name = new_name}};
    struct config_service service = {.groups = groups, .groups_len = 2};
    groups[1].panic.present = true;
    groups[1].panic.threshold_bp = 100;
    service.sni.routes = &route;
    service.sni.routes_len = 1;
    assert_int_equal(routing_panic_of(&service, &groups[0]).threshold_bp, 0);
    assert_false(routing_panic_of(&service, &groups[0]).addressed);
    assert_int_equal(routing_panic_of(&service, &groups[1]).threshold_bp, 100);
    assert_true(routing_panic_of(&service, &groups[1]).addressed);
    route.group = NULL;
    assert_false(routing_panic_of(&service, &groups[1]).addressed);
}

/* ---- backups */

static void test_backups_serve_alone_and_step_back(void **state)
{
    (void)state;
    for (size_t s = 0; s < STRATEGIES; s++) {
        struct routing *routing = panicking(strategies[s], CONFIG_PANIC_REFUSE, 2000, true, 3);
        migrate_to_new(routing);
        for (unsigned turn = 0; turn < 3; turn++) {
            for (size_t i = 0; i < MANY; i++) {
                routing_set_state(routing, support_backend(routing, 1, i), BACKEND_UP);
            }
            support_publish(routing);
            struct tally count = tally(routing);
            assert_int_equal(count.of_new[5] + count.of_new[6] + count.of_new[7], 0);
            assert_false(routing_on_backups(routing, 1));
            for (size_t i = 0; i < 5; i++) {
                assert_int_equal(routing_usable(routing, 1), 5 - i);
                routing_set_state(routing, support_backend(routing, 1, i), BACKEND_DOWN);
            }
            support_publish(routing);
            count = tally(routing);
            assert_int_equal(count.of_new[5] + count.of_new[6] + count.of_new[7], 200);
            assert_true(used(&count) > 1);
            assert_true(routing_on_backups(routing, 1));
            assert_int_equal(routing_usable(routing, 1), 3);
            assert_false(routing_in_panic(routing, 1, NULL, NULL)); /* none while they serve alone */
        }
        /* And when they are gone too, it is panic. */
        leave_up(routing, 0);
        assert_true(routing_in_panic(routing, 1, NULL, NULL));
        assert_int_equal(tally(routing).nowhere, 200);
        routing_destroy(routing);
    }
}

/* A backup takes over within a connection, too, when none of the others is left to try. */
static void test_a_connection_goes_on_to_a_backup(void **state)
{
    (void)state;
    for (size_t s = 0; s < STRATEGIES; s++) {
        const struct support_options options = {.balance = strategies[s], .backends = {3}, .backups = 1};
        struct routing *routing = support_routing(&options);
        struct support_picker picker;
        struct routing_attempts attempts;
        support_picker_init(&picker, routing, 0);
        memset(&attempts, 0, sizeof(attempts));
        for (unsigned i = 0; i < 3; i++) {
            struct lease lease;
            assert_int_equal(routing_pick(routing_view(routing), &picker.input, &attempts, &lease), 0);
            assert_int_equal(backend_is_backup(lease.backend), i == 2);
            lease_release(&lease, STATS_ERROR_CONNECT, picker.input.now_us);
        }
        routing_destroy(routing);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_panic_sends_the_share_to_the_other_group),
        cmocka_unit_test(test_where_no_other_group_can_help_the_usable_serve),
        cmocka_unit_test(test_two_groups_in_panic_do_not_play_ball),
        cmocka_unit_test(test_panic_uses_all_but_those_the_operator_took_out),
        cmocka_unit_test(test_panic_refuses),
        cmocka_unit_test(test_a_drained_backend_is_no_reason_for_panic),
        cmocka_unit_test(test_a_group_without_traffic_does_not_panic),
        cmocka_unit_test(test_a_group_asked_for_by_name_helps_itself),
        cmocka_unit_test(test_a_group_asked_for_by_name_panics_visibly),
        cmocka_unit_test(test_backups_serve_alone_and_step_back),
        cmocka_unit_test(test_a_connection_goes_on_to_a_backup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
