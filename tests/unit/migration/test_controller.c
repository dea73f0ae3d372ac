/*
 * The controller under a real event loop and the real clock: it wakes by itself, steps, drains, completes,
 * and is quiet when nothing runs. What it decides is tested under a clock that jumps (tests/sim/scenarios).
 */
#include "migration/migration.h"

#include "core/clock.h"
#include "migration/journal.h"
#include "migration/migration_internal.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_US (20 * CLOCK_US_PER_S)

struct fixture {
    char dir[64];
    struct event_base *base;
    struct events_ring *events;
    struct routing *routing;
    struct journal *journal;
    struct migration *migration;
    struct config_service config;
    struct config_group groups[2];
    struct config_backend backends[2];
    struct config_step steps[2];
};

static struct routing *make_routing(struct fixture *f)
{
    struct routing_backend_spec old = {.name = "b", .weight = 1};
    struct routing_backend_spec new = {.name = "b", .weight = 1};
    struct routing_group_spec groups[2] = {{.name = "old", .backends = &old, .backends_len = 1},
                                           {.name = "new", .backends = &new, .backends_len = 1}};
    struct routing_spec spec = {.service = "web",
                                .prefix_ipv4 = 32,
                                .prefix_ipv6 = 64,
                                .salt = "web",
                                .workers = 1,
                                .groups = groups,
                                .groups_len = 2};
    struct routing *routing = NULL;

    (void)f;
    assert_int_equal(routing_create(&spec, &routing, NULL), 0);
    return routing;
}

static int make_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    static char web[] = "web";
    static char old[] = "old";
    static char new[] = "new";
    static char b[] = "b";

    assert_non_null(f);
    f->steps[0] = (struct config_step){.share_bp = 2500, .hold_us = 30 * CLOCK_US_PER_MS};
    f->steps[1] = (struct config_step){.share_bp = 10000, .hold_us = 30 * CLOCK_US_PER_MS};
    f->backends[0] = f->backends[1] = (struct config_backend){.name = b, .weight = 1};
    f->groups[0] = (struct config_group){.name = old, .backends = &f->backends[0], .backends_len = 1};
    f->groups[1] = (struct config_group){.name = new, .backends = &f->backends[1], .backends_len = 1};
    f->config = (struct config_service){.name = web, .groups = f->groups, .groups_len = 2};
    f->config.migration.present = true;
    f->config.migration.steps = f->steps;
    f->config.migration.steps_len = 2;
    f->config.migration.drain.timeout_us = CLOCK_US_PER_S;
    snprintf(f->dir, sizeof(f->dir), "/tmp/shunt-controller-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->base = event_base_new();
    assert_non_null(f->base);
    assert_int_equal(events_create(64, &f->events), 0);
    f->routing = make_routing(f);
    assert_int_equal(journal_open(f->dir, &f->journal, NULL), 0);
    *state = f;
    return 0;
}

static int destroy_fixture(void **state)
{
    struct fixture *f = *state;
    char path[96];

    migration_destroy(f->migration);
    journal_close(f->journal);
    routing_destroy(f->routing);
    events_destroy(f->events);
    event_base_free(f->base);
    snprintf(path, sizeof(path), "%s/journal", f->dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/journal.lock", f->dir);
    unlink(path);
    rmdir(f->dir);
    free(f);
    return 0;
}

static void create(struct fixture *f)
{
    struct migration_options options = {.base = f->base,
                                        .routing = f->routing,
                                        .config = &f->config,
                                        .journal = f->journal,
                                        .events = f->events};

    assert_int_equal(migration_create(&options, &f->migration, NULL), 0);
}

static const struct migration_asker who = {.actor = "operator:test", .reason = NULL};

static struct migration_status read_status(const struct fixture *f)
{
    struct migration_status status;

    migration_read(f->migration, &status);
    return status;
}

/* Turns the loop until the phase is reached; the loop sleeps only as long as the migration asked. */
static void run_until(struct fixture *f, enum migration_phase phase)
{
    uint64_t begin_us = clock_mono_us();

    while (read_status(f).phase != phase) {
        assert_true(clock_mono_us() - begin_us < DEADLINE_US);
        assert_int_equal(event_base_loop(f->base, EVLOOP_ONCE), 0);
    }
}

static void a_plan_runs_by_itself(void **state)
{
    struct fixture *f = *state;
    uint64_t begin_us;

    create(f);
    assert_int_equal(read_status(f).phase, MIGRATION_IDLE);
    assert_int_equal(read_status(f).target, 1);
    assert_true(migration_is_settled(f->migration));
    begin_us = clock_mono_us();
    assert_int_equal(migration_start(f->migration, NULL, 0, false, &who, NULL), 0);
    assert_false(migration_is_settled(f->migration));
    assert_int_equal(routing_share_bp(f->routing), 2500);
    run_until(f, MIGRATION_COMPLETED);
    assert_true(clock_mono_us() - begin_us >= 60 * CLOCK_US_PER_MS);
    assert_int_equal(routing_active(f->routing), 1);
    assert_int_equal(routing_target(f->routing), ROUTING_NONE);
    assert_true(migration_is_settled(f->migration));
}

static void nothing_wakes_when_nothing_runs(void **state)
{
    struct fixture *f = *state;

    create(f);
    assert_int_equal(migration_wake_us(f->migration), CLOCK_NEVER);
    /* 0: something is pending, which is only the look at the counters each few seconds */
    assert_int_equal(event_base_loop(f->base, EVLOOP_NONBLOCK), 0);
    assert_int_equal(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), 1);
    assert_int_equal(migration_share(f->migration, 500, &who, NULL), 0);
    assert_true(migration_wake_us(f->migration) <= clock_mono_us() + MIGRATION_POLL_US);
    assert_int_equal(migration_abort(f->migration, &who, NULL), 0);
    run_until(f, MIGRATION_ROLLED_BACK);
    assert_int_equal(event_base_loop(f->base, EVLOOP_NONBLOCK), 0);
    assert_int_equal(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), 1);
}

static void it_goes_on_after_a_restart(void **state)
{
    struct fixture *f = *state;
    uint64_t share_at_end;

    f->steps[1].hold_us = 3600 * CLOCK_US_PER_S;
    create(f);
    assert_int_equal(migration_start(f->migration, "new", 10000, false, &who, NULL), 0);
    share_at_end = routing_share_bp(f->routing);
    migration_destroy(f->migration);
    journal_close(f->journal);
    routing_destroy(f->routing);
    f->routing = make_routing(f);
    assert_int_equal(journal_open(f->dir, &f->journal, NULL), 0);
    create(f);
    assert_int_equal(read_status(f).phase, MIGRATION_RAMPING);
    assert_int_equal(routing_share_bp(f->routing), share_at_end);
    assert_string_equal(read_status(f).id, "web-1");
    assert_true(read_status(f).step_left_us <= 3600 * CLOCK_US_PER_S);
    /* texts that are no UTF-8 reach the journal all the same */
    assert_int_equal(
        migration_abort(f->migration, &(struct migration_asker){"operator:\xff", "\xfe\xfd"}, NULL), 0);
    assert_false(read_status(f).detached);
    assert_int_equal(migration_set_weight(f->migration, routing_backend_at(f->routing, 0, 0), 9,
                                          &(struct migration_asker){"operator:\xff", NULL}, NULL),
                     0);
    assert_int_equal(
        migration_set_weight(f->migration, routing_backend_at(f->routing, 0, 0), 65536, &who, NULL),
        ERR_RANGE);
    assert_int_equal(backend_weight(routing_backend_at(f->routing, 0, 0)), 9);
}

static void a_bad_plan_is_an_error_not_a_crash(void **state)
{
    struct fixture *f = *state;
    struct migration_options options = {.base = f->base,
                                        .routing = f->routing,
                                        .config = &f->config,
                                        .journal = f->journal,
                                        .events = f->events};
    struct err_text err;

    f->steps[1].share_bp = 100;
    assert_int_equal(migration_create(&options, &f->migration, &err), ERR_INVALID);
    assert_null(f->migration);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, make_fixture, destroy_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_plan_runs_by_itself),
        WITH_FIXTURE(nothing_wakes_when_nothing_runs),
        WITH_FIXTURE(it_goes_on_after_a_restart),
        WITH_FIXTURE(a_bad_plan_is_an_error_not_a_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
