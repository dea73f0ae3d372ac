/*
 * A reload under a migration: what runs keeps its plan, what it uses cannot be taken away, what is new holds
 * from the next start. The configurations are real ones and are freed when a daemon would free them, so that
 * a sanitizer sees whoever still looks.
 */
#include "migration/migration.h"

#include "core/clock.h"
#include "migration/journal.h"
#include "migration/migration_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PLAN_A                                                                                               \
    "migration = { steps = ( { share = \"10%\"; hold = \"1m\"; }, { share = \"100%\"; hold = \"1m\"; } ); "  \
    "};"
#define PLAN_B                                                                                               \
    "migration = { steps = ( { share = \"50%\"; hold = \"5m\"; }, { share = \"100%\"; hold = \"5m\"; } ); "  \
    "};"
#define PLAN_HOURS                                                                                           \
    "migration = { steps = ( { share = \"100%\"; hold = \"1m\"; } ); between = \"09:00-17:00\"; "            \
    "gate = { max_error_rate = \"1%\"; }; };"
#define OLD "{ name = \"old\"; backends = ( { address = \"127.0.0.1:1001\"; } ); }"
#define NEW "{ name = \"new\"; backends = ( { address = \"127.0.0.1:1002\"; } ); }"
#define SPARE "{ name = \"spare\"; backends = ( { address = \"127.0.0.1:1003\"; } ); }"

struct fixture {
    char dir[64];
    uint64_t now_us;
    struct config *config; /* in force */
    struct routing *routing;
    struct events_ring *events;
    struct journal *journal;
    struct migration *migration;
};

static const struct migration_asker who = {.actor = "operator:test", .reason = "CHG-1"};

static uint64_t fake_clock(void *context)
{
    return ((const struct fixture *)context)->now_us;
}

static struct config *load(const char *groups, const char *plan)
{
    struct config_errors errors;
    struct config *config = NULL;
    char text[2048];

    snprintf(text, sizeof(text),
             "state_dir = \"/nowhere\"; services = ( { name = \"web\"; listen = [ \"127.0.0.1:0\" ]; groups "
             "= ( %s ); "
             "%s } );",
             groups, plan);
    if (config_load_text(text, NULL, &config, &errors) != 0) {
        fail_msg("%s", errors.list[0].text);
    }
    config_errors_clear(&errors);
    return config;
}

static struct routing *make_routing(const struct config_service *config)
{
    struct routing_backend_spec backends[4];
    struct routing_group_spec groups[4];
    struct routing_spec spec = {.service = config->name,
                                .prefix_ipv4 = 32,
                                .prefix_ipv6 = 64,
                                .salt = config->salt,
                                .workers = 1,
                                .groups = groups,
                                .groups_len = config->groups_len};
    struct routing *routing = NULL;

    for (size_t g = 0; g < config->groups_len; g++) {
        backends[g] = (struct routing_backend_spec){.name = config->groups[g].backends[0].name, .weight = 1};
        groups[g] = (struct routing_group_spec){
            .name = config->groups[g].name, .backends = &backends[g], .backends_len = 1};
    }
    assert_int_equal(routing_create(&spec, &routing, NULL), 0);
    return routing;
}

static void boot(struct fixture *f)
{
    assert_int_equal(journal_open(f->dir, &f->journal, NULL), 0);
    f->routing = make_routing(&f->config->services[0]);

    struct migration_options options = {.routing = f->routing,
                                        .config = &f->config->services[0],
                                        .whole = f->config,
                                        .journal = f->journal,
                                        .events = f->events};
    assert_int_equal(migration_create_with_clock(&options, fake_clock, f, &f->migration, NULL), 0);
}

static int make_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->now_us = CLOCK_US_PER_S;
    snprintf(f->dir, sizeof(f->dir), "/tmp/shunt-reconfigure-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(events_create(64, &f->events), 0);
    f->config = load(OLD "," NEW, PLAN_A);
    boot(f);
    *state = f;
    return 0;
}

static void stop(struct fixture *f)
{
    migration_destroy(f->migration);
    journal_close(f->journal);
    routing_destroy(f->routing);
}

static int destroy_fixture(void **state)
{
    struct fixture *f = *state;
    char path[96];

    stop(f);
    config_free(f->config);
    events_destroy(f->events);
    snprintf(path, sizeof(path), "%s/journal", f->dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/journal.lock", f->dir);
    unlink(path);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* As the daemon: all of it, or the old one stays. */
static int reload(struct fixture *f, const char *groups, const char *plan, struct err_text *err)
{
    struct config *next = load(groups, plan);
    struct migration_draft *draft = NULL;
    int rc = migration_reconfigure_begin(f->migration, &next->services[0], next, &draft, err);

    if (rc != 0) {
        config_free(next);
        return rc;
    }
    migration_reconfigure_finish(f->migration, draft, &who);
    config_free(f->config);
    f->config = next;
    return 0;
}

static struct migration_status read_status(const struct fixture *f)
{
    struct migration_status status;

    migration_read(f->migration, &status);
    return status;
}

static void run_for(struct fixture *f, uint64_t us)
{
    for (uint64_t passed = 0; passed < us; passed += CLOCK_US_PER_S) {
        f->now_us += CLOCK_US_PER_S;
        migration_turn(f->migration);
    }
}

static void what_runs_keeps_its_plan(void **state)
{
    struct fixture *f = *state;
    struct err_text err;

    assert_int_equal(migration_start(f->migration, NULL, 0, false, &who, &err), 0);
    assert_int_equal(reload(f, OLD "," NEW, PLAN_HOURS, &err), 0);
    assert_int_equal(reload(f, OLD "," NEW, PLAN_B, &err), 0); /* the last one counts */
    assert_int_equal(read_status(f).phase, MIGRATION_RAMPING);
    assert_int_equal(routing_share_bp(f->routing), 1000);
    run_for(f, 61 * CLOCK_US_PER_S);
    assert_int_equal(routing_share_bp(f->routing), 10000);
    run_for(f, 61 * CLOCK_US_PER_S);
    assert_int_equal(read_status(f).phase, MIGRATION_COMPLETED);
    assert_int_equal(migration_start(f->migration, NULL, 0, false, &who, &err), 0);
    assert_int_equal(routing_share_bp(f->routing), 5000);
    assert_int_equal(read_status(f).target, 0);
}

static void a_plan_that_is_removed_is_played_to_its_end(void **state)
{
    struct fixture *f = *state;
    struct err_text err;

    assert_int_equal(migration_start(f->migration, NULL, 0, false, &who, &err), 0);
    assert_int_equal(reload(f, OLD "," NEW, "", &err), 0);
    assert_int_equal(read_status(f).steps, 2);
    run_for(f, 122 * CLOCK_US_PER_S);
    assert_int_equal(read_status(f).phase, MIGRATION_COMPLETED);
    assert_int_equal(migration_start(f->migration, NULL, 0, false, &who, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "no plan"));
    assert_int_equal(read_status(f).steps, 2); /* those that were served */
}

static void what_is_in_use_cannot_be_removed(void **state)
{
    struct fixture *f = *state;
    struct err_text err;

    assert_int_equal(reload(f, NEW "," SPARE, PLAN_A, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "\"old\" takes all traffic"));
    assert_int_equal(migration_start(f->migration, NULL, 0, false, &who, &err), 0);
    assert_int_equal(reload(f, OLD "," SPARE, PLAN_B, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "\"new\" is the target of web-1, which is ramping"));
    assert_non_null(strstr(err.text, "`abort web`"));
    run_for(f, 61 * CLOCK_US_PER_S); /* nothing was changed by it */
    assert_int_equal(routing_share_bp(f->routing), 10000);
    assert_int_equal(reload(f, NEW "," SPARE, PLAN_A, &err), ERR_STATE);
    run_for(f, 61 * CLOCK_US_PER_S);
    assert_int_equal(read_status(f).phase, MIGRATION_COMPLETED);
    assert_int_equal(reload(f, OLD, "", &err), ERR_STATE); /* new has it all now */
    assert_non_null(strstr(err.text, "\"new\" takes all traffic"));
}

static void a_draft_that_is_dropped_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct config *next = load(OLD "," NEW, PLAN_B);
    struct migration_draft *draft = NULL;
    struct err_text err;

    assert_int_equal(migration_reconfigure_begin(f->migration, &next->services[0], next, &draft, &err), 0);
    migration_reconfigure_drop(draft);
    config_free(next);
    assert_int_equal(migration_start(f->migration, NULL, 0, false, &who, &err), 0);
    assert_int_equal(routing_share_bp(f->routing), 1000);
}

/* The file is the new one by then, so the process that comes back knows the new plan only. */
static void killed_after_a_reload_it_comes_back_paused_at_its_share(void **state)
{
    struct fixture *f = *state;
    struct err_text err;

    assert_int_equal(migration_start(f->migration, NULL, 0, false, &who, &err), 0);
    assert_int_equal(reload(f, OLD "," NEW, PLAN_B, &err), 0);
    migration_abandon(f->migration);
    journal_close(f->journal);
    routing_destroy(f->routing);
    boot(f);
    assert_int_equal(read_status(f).phase, MIGRATION_PAUSED);
    assert_int_equal(routing_share_bp(f->routing), 1000);
    assert_int_equal(migration_resume(f->migration, &who, &err), 0);
    assert_int_equal(routing_share_bp(f->routing), 5000);
}

static void an_idle_service_takes_the_new_plan_at_once(void **state)
{
    struct fixture *f = *state;
    struct err_text err;

    assert_int_equal(reload(f, OLD "," NEW, "", &err), 0);
    assert_int_equal(read_status(f).steps, 0);
    assert_int_equal(reload(f, OLD "," NEW, PLAN_B, &err), 0);
    assert_int_equal(read_status(f).steps, 2);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, make_fixture, destroy_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(what_runs_keeps_its_plan),
        WITH_FIXTURE(a_plan_that_is_removed_is_played_to_its_end),
        WITH_FIXTURE(what_is_in_use_cannot_be_removed),
        WITH_FIXTURE(a_draft_that_is_dropped_changes_nothing),
        WITH_FIXTURE(killed_after_a_reload_it_comes_back_paused_at_its_share),
        WITH_FIXTURE(an_idle_service_takes_the_new_plan_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
