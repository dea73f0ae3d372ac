/*
 * The shell around outlier detection with real workers: failures in a row ring the bell, the control thread
 * ejects and publishes, and lets in again, while the workers go on. For ThreadSanitizer too.
 */
#include "tests/unit/health/support.h"

#include "core/bell.h"
#include "core/worker.h"
#include "health/health.h"

#include <stdatomic.h>
#include <stdio.h>

#define WORKERS 3u
#define BACKENDS 4u
#define A_BATCH 100u /* connections of a worker in one turn */

struct rig {
    struct event_base *base;
    struct worker_pool *pool;
    struct bell *bell;
    struct routing *routing;
    struct events_ring *events;
    struct health *health;
    struct config_group group;
    struct config_service config;
    _Atomic unsigned failing; /* bit i: connections to backend i fail */
    _Atomic uint64_t served[BACKENDS], failed[BACKENDS];
    bool busy;        /* a batch is under way */
    unsigned batches; /* that ended */
    unsigned heard;   /* rings */
    unsigned wanted;  /* for conditions */
    uint64_t until;
};

static void retire(void *pool, void *ptr, void (*destroy)(void *ptr))
{
    worker_pool_retire(pool, ptr, destroy);
}

static void ring(void *bell)
{
    bell_ring(bell);
}

static void hear(void *context)
{
    struct rig *rig = context;
    rig->heard++;
    health_look(rig->health);
}

static void rig_open(struct rig *rig, uint64_t base_us)
{
    static char group_name[] = "old";
    static char service_name[] = "web";
    struct routing_backend_spec backends[BACKENDS];
    char names[BACKENDS][8];
    memset(rig, 0, sizeof(*rig));
    memset(backends, 0, sizeof(backends));
    for (size_t i = 0; i < BACKENDS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "b%zu", i);
        backends[i].name = names[i];
        backends[i].weight = 1;
    }
    rig->group = (struct config_group){.name = group_name, .health = {.type = CONFIG_HEALTH_NONE}};
    rig->group.outlier.present = true;
    rig->group.outlier.connect_failures = 5;
    rig->group.outlier.base_us = base_us;
    rig->group.outlier.max_us = 10 * base_us;
    rig->group.outlier.max_ejected_bp = 5000;
    rig->config = (struct config_service){.name = service_name, .groups = &rig->group, .groups_len = 1};
    rig->base = event_base_new();
    assert_non_null(rig->base);
    const struct worker_pool_options pool = {.count = WORKERS, .control = rig->base};
    assert_int_equal(worker_pool_create(&pool, &rig->pool, NULL), 0);
    assert_int_equal(bell_create(rig->base, hear, rig, &rig->bell, NULL), 0);
    struct routing_group_spec group = {.name = group_name, .backends = backends, .backends_len = BACKENDS};
    const struct routing_spec spec = {.service = service_name,
                                      .salt = service_name,
                                      .workers = WORKERS,
                                      .groups = &group,
                                      .groups_len = 1,
                                      .retire = retire,
                                      .retire_context = rig->pool,
                                      .alarm = ring,
                                      .alarm_context = rig->bell};
    assert_int_equal(routing_create(&spec, &rig->routing, NULL), 0);
    assert_int_equal(events_create(1000, &rig->events), 0);
    assert_int_equal(health_create(rig->base, rig->routing, &rig->config, rig->events, &rig->health, NULL),
                     0);
    assert_int_equal(worker_pool_start(rig->pool, NULL), 0);
}

static void rig_close(struct rig *rig)
{
    health_destroy(rig->health);
    worker_pool_destroy(rig->pool);
    bell_destroy(rig->bell);
    events_destroy(rig->events);
    routing_destroy(rig->routing);
    event_base_free(rig->base);
}

/* ---- the workers' side */

static size_t number_of(const struct rig *rig, const struct backend *backend)
{
    size_t i = 0;
    while (routing_backend_at(rig->routing, 0, i) != backend) {
        i++;
    }
    return i;
}

/* A connection with a retry, as the proxy would make it. */
static void connect_once(struct rig *rig, const struct routing_pick_input *input)
{
    struct routing_attempts attempts;
    memset(&attempts, 0, sizeof(attempts));
    for (unsigned tries = 0; tries < 2; tries++) {
        struct lease lease;
        if (routing_pick(routing_view(rig->routing), input, &attempts, &lease) != 0) {
            return;
        }
        size_t i = number_of(rig, lease.backend);
        if ((atomic_load_explicit(&rig->failing, memory_order_relaxed) >> i & 1) == 0) {
            lease_connected(&lease, 100, input->now_us);
            lease_release(&lease, -1, input->now_us);
            atomic_fetch_add_explicit(&rig->served[i], 1, memory_order_relaxed);
            return;
        }
        lease_release(&lease, STATS_ERROR_CONNECT, input->now_us);
        atomic_fetch_add_explicit(&rig->failed[i], 1, memory_order_relaxed);
    }
}

static void work(struct worker *worker, void *arg)
{
    struct rig *rig = arg;
    const struct routing_pick_input input = {
        .worker = worker_index(worker), .now_us = clock_mono_us(), .random = worker_random(worker)};
    for (unsigned i = 0; i < A_BATCH; i++) {
        connect_once(rig, &input);
    }
}

static void worked(void *arg)
{
    struct rig *rig = arg;
    rig->busy = false;
    rig->batches++;
}

/* Keeps the workers busy while it waits. */
static void keep_busy(struct rig *rig)
{
    if (!rig->busy) {
        rig->busy = true;
        assert_int_equal(worker_pool_call(rig->pool, work, worked, rig), 0);
    }
}

static bool idle(void *context)
{
    return !((struct rig *)context)->busy;
}

static const struct backend_ejection *ejection(const struct rig *rig, size_t i)
{
    return backend_ejection(routing_backend_at(rig->routing, 0, i));
}

static bool out_as_wanted(void *context)
{
    struct rig *rig = context;
    unsigned out = 0;
    for (size_t i = 0; i < BACKENDS; i++) {
        out |= (unsigned)ejection(rig, i)->out << i;
    }
    if (out == rig->wanted) {
        return true;
    }
    keep_busy(rig);
    return false;
}

static bool served_as_wanted(void *context)
{
    struct rig *rig = context;
    if (atomic_load(&rig->served[0]) > rig->until) {
        return true;
    }
    keep_busy(rig);
    return false;
}

static bool none_on_trial(void *context)
{
    struct rig *rig = context;
    for (size_t i = 0; i < BACKENDS; i++) {
        if (ejection(rig, i)->trial) {
            keep_busy(rig);
            return false;
        }
    }
    return true;
}

/* ---- the tests */

static void failing_backends_go_and_come_back(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 20 * CLOCK_US_PER_MS);
    rig.wanted = 0;
    assert_true(support_until(rig.base, out_as_wanted, &rig));
    for (unsigned round = 0; round < 3; round++) {
        atomic_store(&rig.failing, 1u);
        rig.wanted = 1u;
        assert_true(support_until(rig.base, out_as_wanted, &rig));
        atomic_store(&rig.failing, 0u);
        rig.wanted = 0;
        assert_true(support_until(rig.base, out_as_wanted, &rig));
        rig.until = atomic_load(&rig.served[0]);
        assert_true(support_until(rig.base, served_as_wanted, &rig));
        assert_true(support_until(rig.base, none_on_trial, &rig));
    }
    assert_true(ejection(&rig, 0)->total >= 3);
    for (size_t i = 1; i < BACKENDS; i++) {
        assert_int_equal(ejection(&rig, i)->total, 0);
    }
    assert_true(support_until(rig.base, idle, &rig));
    rig_close(&rig);
}

static void an_ejected_backend_gets_nothing(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1000 * CLOCK_US_PER_S);
    atomic_store(&rig.failing, 1u);
    rig.wanted = 1u;
    assert_true(support_until(rig.base, out_as_wanted, &rig));
    assert_true(support_until(rig.base, idle, &rig)); /* the turns that began before are over */
    keep_busy(&rig);
    assert_true(support_until(rig.base, idle, &rig));
    uint64_t failed = atomic_load(&rig.failed[0]);
    for (unsigned i = 0; i < 5; i++) {
        keep_busy(&rig);
        assert_true(support_until(rig.base, idle, &rig));
    }
    assert_true(atomic_load(&rig.failed[0]) == failed);
    assert_true(rig.heard >= 1 && rig.heard <= 3); /* not once a failure */
    rig_close(&rig);
}

/* Half of the group at most, and whoever is kept is said so once. */
static void half_of_a_broken_group_stays(void **state)
{
    (void)state;
    static struct events_entry entries[1000];
    struct rig rig;
    unsigned out = 0;
    rig_open(&rig, 1000 * CLOCK_US_PER_S);
    atomic_store(&rig.failing, 0xfu);
    for (unsigned i = 0; i < 20; i++) {
        keep_busy(&rig);
        assert_true(support_until(rig.base, idle, &rig));
    }
    size_t len = events_latest(rig.events, "web", entries, 1000);
    unsigned kept = 0;
    for (size_t i = 0; i < len; i++) {
        kept += strstr(entries[i].text, "stays in service") != NULL;
    }
    for (size_t i = 0; i < BACKENDS; i++) {
        out += ejection(&rig, i)->out;
    }
    assert_int_equal(out, 2);
    assert_int_equal(kept, 2);
    assert_int_equal(routing_usable(rig.routing, 0), 2);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_backends_go_and_come_back),
        cmocka_unit_test(an_ejected_backend_gets_nothing),
        cmocka_unit_test(half_of_a_broken_group_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
