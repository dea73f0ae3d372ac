/* Groups and backends that come and go: who stays keeps what it has, who leaves is freed with its last
 * connection. */
#include "tests/unit/balancer/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Backends named by one letter each, on ports by the letter; a capital one must prove itself first. */
static size_t specs_of(const char *letters, struct routing_backend_spec *out, char names[][8])
{
    size_t n = strlen(letters);
    for (size_t i = 0; i < n; i++) {
        struct err_text err;
        char text[32];
        (void)snprintf(names[i], 8, "%c", letters[i]);
        (void)snprintf(text, sizeof(text), "127.0.0.1:%d", 1000 + letters[i]);
        out[i] = (struct routing_backend_spec){
            .name = names[i], .weight = 1, .unproven = letters[i] >= 'A' && letters[i] <= 'Z'};
        assert_int_equal(addr_parse(text, NULL, &out[i].address, &err), 0);
    }
    return n;
}

struct wanted {
    const char *group, *backends;
};

static struct routing *make(const struct wanted *wanted, size_t n)
{
    struct routing_group_spec groups[4] = {{.name = NULL}};
    struct routing_backend_spec backends[4][26];
    char names[4][26][8];
    struct routing *routing = NULL;
    struct err_text err;
    for (size_t g = 0; g < n; g++) {
        groups[g] = (struct routing_group_spec){.name = wanted[g].group, .backends = backends[g]};
        groups[g].backends_len = specs_of(wanted[g].backends, backends[g], names[g]);
    }
    const struct routing_spec spec = {.service = "web", .workers = 1, .groups = groups, .groups_len = n};
    assert_int_equal(routing_create(&spec, &routing, &err), 0);
    return routing;
}

static int prepare(struct routing *routing, const struct wanted *wanted, size_t n,
                   struct routing_change **out)
{
    struct routing_group_spec groups[24] = {{.name = NULL}};
    static struct routing_backend_spec backends[24][26];
    static char names[24][26][8];
    struct err_text err;
    for (size_t g = 0; g < n; g++) {
        groups[g] = (struct routing_group_spec){.name = wanted[g].group, .backends = backends[g]};
        groups[g].backends_len = specs_of(wanted[g].backends, backends[g], names[g]);
    }
    return routing_change_prepare(routing, groups, n, out, &err);
}

static void change(struct routing *routing, const struct wanted *wanted, size_t n)
{
    struct routing_change *out = NULL;
    struct err_text err;
    assert_int_equal(prepare(routing, wanted, n, &out), 0);
    assert_int_equal(routing_change_apply(routing, out, &err), 0);
}

/* The backends that new connections go to now, in order of the alphabet. */
static void expect_picks(const struct routing *routing, const char *letters)
{
    struct support_picker picker;
    bool seen[128] = {false};
    char found[27] = "";
    size_t len = 0;
    support_picker_init(&picker, routing, 0);
    for (uint32_t i = 0; i < 200; i++) {
        support_client(&picker, i);
        const struct backend *backend = support_pick(&picker);
        if (backend != NULL) {
            seen[(unsigned char)backend_name(backend)[0]] = true;
        }
    }
    for (unsigned c = 'a'; c <= 'z'; c++) {
        if (seen[c]) {
            found[len++] = (char)c;
        }
    }
    found[len] = '\0';
    assert_string_equal(found, letters);
}

/* No view, not even the first that knows it, gives it connections. */
static void who_must_prove_himself_waits(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}}, 1);
    struct err_text err;
    (void)state;
    change(routing, (const struct wanted[]){{"old", "abN"}}, 1);
    struct backend *fresh = routing_find_backend(routing, 0, "N");
    assert_int_equal(backend_state(fresh), BACKEND_DOWN);
    assert_true(backend_is_assumed(fresh));
    assert_int_equal(routing_usable(routing, 0), 2);
    expect_picks(routing, "ab");
    routing_set_state(routing, fresh, BACKEND_UP);
    assert_int_equal(routing_publish(routing, &err), 0);
    assert_false(backend_is_assumed(fresh));
    assert_int_equal(routing_usable(routing, 0), 3);
    change(routing, (const struct wanted[]){{"old", "abN"}}, 1);
    assert_int_equal(backend_state(fresh), BACKEND_UP); /* who stays is as it was */
    routing_destroy(routing);
}

static void backends_come_and_go(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "abc"}}, 1);
    struct support_picker picker;
    struct lease lease;
    (void)state;
    support_picker_init(&picker, routing, 0);
    support_client(&picker, 1);
    const struct backend *b = routing_find_backend(routing, 0, "b");
    do { /* a connection that stays open on b */
        assert_non_null(support_pick_hold(&picker, &lease));
        if (lease.backend != b) {
            lease_release(&lease, -1, 1);
        }
    } while (lease.backend != b);
    routing_set_weight(routing, routing_find_backend(routing, 0, "c"), 7);
    change(routing, (const struct wanted[]){{"old", "cde"}}, 1);
    assert_int_equal(routing_backends(routing, 0), 4);
    assert_null(routing_find_backend(routing, 0, "a"));
    assert_true(backend_is_removed(b) && backend_is_leaving(b));
    assert_int_equal(backend_weight(routing_find_backend(routing, 0, "c")), 7);
    expect_picks(routing, "cde");
    assert_int_equal(routing_open(routing, 0), 1); /* a drain of the group waits for it */
    assert_true(routing_sweep(routing));
    assert_int_equal(routing_backends(routing, 0), 4);
    lease_release(&lease, -1, 2);
    assert_false(routing_sweep(routing)); /* and frees b: AddressSanitizer would tell */
    assert_int_equal(routing_backends(routing, 0), 3);
    change(routing, (const struct wanted[]){{"old", "abcde"}}, 1);
    expect_picks(routing, "abcde");
    routing_destroy(routing);
}

/* A connection that stays open on this one. */
static void hold(const struct routing *routing, const struct backend *backend, struct lease *lease)
{
    struct support_picker picker;
    support_picker_init(&picker, routing, 0);
    support_client(&picker, 1);
    do {
        assert_non_null(support_pick_hold(&picker, lease));
        if (lease->backend != backend) {
            lease_release(lease, -1, 1);
        }
    } while (lease->backend != backend);
}

/* What was said of it before is over; its connection and its counters are still its own. */
static void a_removed_one_comes_back_as_new(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}}, 1);
    struct backend *b = routing_find_backend(routing, 0, "b");
    struct lease lease;
    (void)state;
    hold(routing, b, &lease);
    routing_set_state(routing, b, BACKEND_UP);
    routing_set_weight(routing, b, 9);
    routing_set_admin(routing, b, BACKEND_DRAIN);
    support_publish(routing);
    change(routing, (const struct wanted[]){{"old", "a"}}, 1);
    assert_true(backend_is_removed(b));
    change(routing, (const struct wanted[]){{"old", "ab"}}, 1);
    assert_ptr_equal(routing_find_backend(routing, 0, "b"), b);
    assert_false(backend_is_removed(b) || backend_is_leaving(b));
    assert_int_equal(backend_state(b), BACKEND_UNKNOWN);
    assert_int_equal(backend_weight(b), 1);
    assert_int_equal(backend_admin(b), BACKEND_READY);
    assert_int_equal(backend_open(b), 1);
    expect_picks(routing, "ab");
    lease_release(&lease, -1, 2);
    assert_false(routing_sweep(routing));
    assert_int_equal(routing_backends(routing, 0), 2);
    routing_destroy(routing);
}

/* Two of one name would be one for all who ask by name: the one that was removed is out of sight then. */
static void a_name_is_in_sight_once(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}}, 1);
    struct routing_backend_spec specs[2] = {{.name = "a", .weight = 1}, {.name = "b", .weight = 1}};
    const struct routing_group_spec group = {.name = "old", .backends = specs, .backends_len = 2};
    const struct backend *b = routing_find_backend(routing, 0, "b");
    struct routing_change *out = NULL;
    struct lease lease;
    struct err_text err;
    (void)state;
    hold(routing, b, &lease);
    specs[0].address = *backend_address(routing_find_backend(routing, 0, "a"));
    assert_int_equal(addr_parse("127.0.0.1:9", NULL, &specs[1].address, &err), 0);
    assert_int_equal(routing_change_prepare(routing, &group, 1, &out, &err), 0);
    assert_int_equal(routing_change_apply(routing, out, &err), 0);
    assert_int_equal(routing_backends(routing, 0), 2);
    assert_ptr_not_equal(routing_find_backend(routing, 0, "b"), b);
    lease_release(&lease, -1, 2); /* and frees it */
    routing_destroy(routing);
}

/* As of an address that a name no longer stands for: out of sight of workers, not of operators. */
static void one_that_is_to_leave_stays_in_sight(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}}, 1);
    struct support_picker picker;
    struct lease lease = {.backend = NULL};
    (void)state;
    struct backend *b = routing_find_backend(routing, 0, "b");
    support_picker_init(&picker, routing, 0);
    support_client(&picker, 1);
    while (lease.backend != b) { /* a connection that stays open on b */
        if (lease.backend != NULL) {
            lease_release(&lease, -1, 1);
        }
        assert_non_null(support_pick_hold(&picker, &lease));
    }
    assert_false(backend_is_leaving(b));
    routing_set_leaving(routing, b, true);
    support_publish(routing);
    expect_picks(routing, "a");
    assert_int_equal(routing_usable(routing, 0), 1);
    assert_int_equal(routing_backends(routing, 0), 2);
    assert_int_equal(routing_open(routing, 0), 1); /* a drain of the group waits for it */
    routing_set_leaving(routing, b, false);
    support_publish(routing);
    expect_picks(routing, "ab");
    routing_set_leaving(routing, b, true);
    change(routing, (const struct wanted[]){{"old", "a"}}, 1);
    expect_picks(routing, "a");
    lease_release(&lease, -1, 2); /* and frees b */
    routing_destroy(routing);
}

/* A group that names may fill has room for what they may stand for. */
static void room_is_made_for_what_may_come(void **state)
{
    struct routing_backend_spec specs[300];
    char names[300][8];
    struct routing_group_spec group = {.name = "old", .backends = specs, .room = 300};
    const struct routing_spec spec = {.service = "web", .workers = 1, .groups = &group, .groups_len = 1};
    struct routing *routing = NULL;
    struct routing_change *out = NULL;
    struct err_text err;
    (void)state;
    assert_int_equal(routing_create(&spec, &routing, &err), 0);
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "b%u", i);
        specs[i] = (struct routing_backend_spec){.name = names[i], .weight = 1};
        assert_int_equal(addr_parse("127.0.0.1:1", NULL, &specs[i].address, &err), 0);
    }
    group.backends_len = 300;
    assert_int_equal(routing_change_prepare(routing, &group, 1, &out, &err), 0);
    assert_int_equal(routing_change_apply(routing, out, &err), 0);
    assert_int_equal(routing_usable(routing, 0), 300);
    routing_destroy(routing);
}

static void a_changed_address_is_another_backend(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}}, 1);
    struct routing_change *out = NULL;
    struct err_text err;
    struct routing_backend_spec specs[2] = {{.name = "a", .weight = 1}, {.name = "b", .weight = 1}};
    const struct routing_group_spec group = {.name = "old", .backends = specs, .backends_len = 2};
    (void)state;
    const struct backend *a = routing_find_backend(routing, 0, "a");
    const struct backend *b = routing_find_backend(routing, 0, "b");
    specs[0].address = *backend_address(a);
    assert_int_equal(addr_parse("127.0.0.1:9", NULL, &specs[1].address, &err), 0);
    uint16_t before = addr_port(backend_address(b));
    assert_int_equal(routing_change_prepare(routing, &group, 1, &out, &err), 0);
    assert_int_equal(routing_change_apply(routing, out, &err), 0);
    assert_ptr_equal(routing_find_backend(routing, 0, "a"), a);
    assert_int_not_equal(before, 9);
    assert_int_equal(addr_port(backend_address(routing_find_backend(routing, 0, "b"))), 9);
    routing_destroy(routing);
}

static void groups_come_and_go(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}, {"new", "cd"}}, 2);
    (void)state;
    assert_int_equal(routing_other_group(routing, 0), 1);
    change(routing, (const struct wanted[]){{"third", "xy"}, {"old", "ab"}}, 2);
    assert_int_equal(routing_groups(routing), 3); /* numbers stay */
    assert_int_equal(routing_find_group(routing, "third"), 2);
    assert_int_equal(routing_find_group(routing, "new"), ROUTING_NONE);
    assert_true(routing_group_is_gone(routing, 1));
    assert_int_equal(routing_other_group(routing, 0), 2);
    assert_int_equal(routing_usable(routing, 1), 0);
    expect_picks(routing, "ab");
    routing_set_target(routing, 2);
    routing_set_share(routing, 10000);
    support_publish(routing);
    expect_picks(routing, "xy");
    change(routing, (const struct wanted[]){{"old", "ab"}, {"new", "cdz"}, {"third", "x"}}, 3);
    assert_int_equal(routing_groups(routing), 3);
    assert_int_equal(routing_backends(routing, 1), 3);
    assert_int_equal(routing_find_group(routing, "new"), 1);
    assert_int_equal(routing_other_group(routing, 0), ROUTING_NONE); /* there are two */
    expect_picks(routing, "x");
    routing_destroy(routing);
}

static void a_removed_group_is_there_until_its_last_connection_ends(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}, {"new", "cd"}}, 2);
    struct backend *c = routing_find_backend(routing, 1, "c");
    struct lease lease;
    (void)state;
    routing_set_target(routing, 1);
    routing_set_share(routing, 10000);
    support_publish(routing);
    hold(routing, c, &lease);
    routing_set_target(routing, ROUTING_NONE);
    routing_set_share(routing, 0);
    support_publish(routing);
    change(routing, (const struct wanted[]){{"old", "ab"}}, 1);
    assert_int_equal(routing_find_group(routing, "new"), 1);
    assert_true(routing_group_is_removed(routing, 1) && !routing_group_is_gone(routing, 1));
    assert_int_equal(routing_backends(routing, 1), 1);
    assert_int_equal(routing_usable(routing, 1), 0);
    assert_int_equal(routing_open(routing, 1), 1);
    assert_int_equal(routing_other_group(routing, 0), ROUTING_NONE);
    assert_true(routing_sweep(routing));
    lease_release(&lease, -1, 2);
    assert_false(routing_sweep(routing));
    assert_true(routing_group_is_gone(routing, 1));
    assert_int_equal(routing_find_group(routing, "new"), ROUTING_NONE);
    routing_destroy(routing);
}

static void what_is_dropped_changes_nothing(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}}, 1);
    struct routing_change *out = NULL;
    (void)state;
    assert_int_equal(prepare(routing, (const struct wanted[]){{"old", "bcd"}, {"new", "xyz"}}, 2, &out), 0);
    expect_picks(routing, "ab");
    routing_change_drop(out);
    assert_int_equal(routing_groups(routing), 1);
    expect_picks(routing, "ab");
    change(routing, (const struct wanted[]){{"old", "bcd"}}, 1); /* its places are free again */
    expect_picks(routing, "bcd");
    routing_destroy(routing);
}

static void room_is_bounded(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "a"}}, 1);
    struct routing_backend_spec specs[70];
    char names[70][32];
    struct routing_change *out = NULL;
    struct err_text err;
    struct routing_group_spec group = {.name = "old", .backends = specs, .backends_len = 70};
    (void)state;
    for (size_t i = 0; i < 70; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "n%zu", i);
        specs[i] = (struct routing_backend_spec){.name = names[i], .weight = 1};
        assert_int_equal(addr_parse("127.0.0.1:7", NULL, &specs[i].address, &err), 0);
    }
    assert_int_equal(routing_change_prepare(routing, &group, 1, &out, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "restart"));
    group.backends_len = ROUTING_BACKENDS_SPARE;
    /* Over and over: places of those that left are used again. */
    for (unsigned round = 0; round < 100; round++) {
        for (size_t i = 0; i < group.backends_len; i++) {
            (void)snprintf(names[i], sizeof(names[i]), "%c%zu", 'a' + (char)(round % 26), i);
        }
        group.backends_len = round % 2 == 0 ? 60 : 3;
        assert_int_equal(routing_change_prepare(routing, &group, 1, &out, &err), 0);
        assert_int_equal(routing_change_apply(routing, out, &err), 0);
    }
    struct wanted many[24];
    static char group_names[24][8];
    for (size_t i = 0; i < 24; i++) {
        (void)snprintf(group_names[i], sizeof(group_names[i]), "g%zu", i);
        many[i] = (struct wanted){group_names[i], "a"};
    }
    assert_int_equal(prepare(routing, many, 24, &out), ERR_LIMIT);
    routing_destroy(routing);
}

/* What another process has open: in sight, never picked, waited for, and gone when that is. */
static void what_another_process_has_open_is_recalled(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "ab"}}, 1);
    struct routing_backend_spec spec;
    struct backend *left = NULL, *alone = NULL;
    char names[1][8];
    struct err_text err;
    (void)state;
    assert_int_equal(specs_of("x", &spec, names), 1);
    assert_int_equal(routing_recall(routing, "old", &spec, &left, &err), 0);
    assert_int_equal(backend_inherit(left, 3, NULL), 0);
    assert_int_equal(routing_recall(routing, "blue", &spec, &alone, &err), 0);
    assert_int_equal(backend_inherit(alone, 1, NULL), 0);
    support_publish(routing);
    assert_int_equal(routing_recall(routing, "old", &spec, &left, &err), ERR_EXISTS);
    assert_true(backend_is_removed(left) && backend_is_leaving(left) && !backend_is_usable(left));
    assert_int_equal(backend_open_elsewhere(left), 3);
    assert_int_equal(routing_open(routing, 0), 3);
    assert_true(routing_group_is_removed(routing, 1) && !routing_group_is_gone(routing, 1));
    assert_int_equal(routing_find_group(routing, "blue"), 1);
    assert_int_equal(routing_other_group(routing, 0), ROUTING_NONE);
    expect_picks(routing, "ab");
    assert_true(routing_sweep(routing));
    change(routing, (const struct wanted[]){{"old", "bx"}}, 1); /* it is meant again */
    assert_false(backend_is_removed(left));
    expect_picks(routing, "bx");
    assert_int_equal(backend_inherit(alone, 0, NULL), 0);
    assert_false(routing_sweep(routing));
    assert_true(routing_group_is_gone(routing, 1));
    routing_destroy(routing);
}

static void recalled_ones_find_bounded_room(void **state)
{
    struct routing *routing = make((const struct wanted[]){{"old", "a"}}, 1);
    struct routing_backend_spec spec;
    char names[1][8];
    char group[16];
    struct backend *left = NULL;
    struct err_text err;
    int rc = 0;
    (void)state;
    assert_int_equal(specs_of("x", &spec, names), 1);
    for (unsigned i = 0; i <= ROUTING_GROUPS_SPARE; i++) {
        assert_int_equal(rc, 0);
        (void)snprintf(group, sizeof(group), "g%u", i);
        rc = routing_recall(routing, group, &spec, &left, &err);
    }
    assert_int_equal(rc, ERR_LIMIT);
    support_publish(routing);
    expect_picks(routing, "a");
    routing_destroy(routing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backends_come_and_go),
        cmocka_unit_test(who_must_prove_himself_waits),
        cmocka_unit_test(one_that_is_to_leave_stays_in_sight),
        cmocka_unit_test(room_is_made_for_what_may_come),
        cmocka_unit_test(a_changed_address_is_another_backend),
        cmocka_unit_test(a_removed_group_is_there_until_its_last_connection_ends),
        cmocka_unit_test(a_removed_one_comes_back_as_new),
        cmocka_unit_test(a_name_is_in_sight_once),
        cmocka_unit_test(groups_come_and_go),
        cmocka_unit_test(what_is_dropped_changes_nothing),
        cmocka_unit_test(what_another_process_has_open_is_recalled),
        cmocka_unit_test(recalled_ones_find_bounded_room),
        cmocka_unit_test(room_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
