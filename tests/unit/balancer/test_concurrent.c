/*
 * Four threads pick while the control thread publishes as fast as it can: for ThreadSanitizer and
 * AddressSanitizer. Old views go through a small epoch scheme, as the workers' pool does it.
 */
#include "core/clock.h"
#include "tests/unit/balancer/support.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4u
#define BACKENDS 20u
#define HELD 8u /* leases a thread keeps, so that they outlive views */

/* A view retired in epoch e may go when every thread has ended a turn begun after e. */
struct retired {
    struct retired *next;
    void *ptr;
    void (*destroy)(void *ptr);
    uint64_t after[THREADS];
};

struct stage {
    struct routing *routing;
    _Atomic uint64_t turns[THREADS]; /* even: between turns */
    _Atomic uint64_t picks[THREADS];
    _Atomic uint64_t to_target;
    atomic_bool stop;
    struct retired *retired;
    unsigned handed_in, destroyed;
    unsigned changed; /* times that backends came and went */
};

struct stage_thread {
    struct stage *stage;
    unsigned index;
    pthread_t id;
};

static void retire(void *context, void *ptr, void (*destroy)(void *ptr))
{
    struct stage *stage = context;
    struct retired *entry = calloc(1, sizeof(*entry));
    assert_non_null(entry);
    entry->ptr = ptr;
    entry->destroy = destroy;
    for (unsigned t = 0; t < THREADS; t++) {
        entry->after[t] = atomic_load(&stage->turns[t]);
    }
    entry->next = stage->retired;
    stage->retired = entry;
    stage->handed_in++;
}

static void reap(struct stage *stage, bool all)
{
    struct retired **link = &stage->retired;
    while (*link != NULL) {
        struct retired *entry = *link;
        bool free_now = true;
        for (unsigned t = 0; t < THREADS && !all; t++) {
            free_now &= entry->after[t] % 2 == 0 || atomic_load(&stage->turns[t]) > entry->after[t];
        }
        if (free_now) {
            *link = entry->next;
            entry->destroy(entry->ptr);
            free(entry);
            stage->destroyed++;
        } else {
            link = &entry->next;
        }
    }
}

static void one_turn(struct stage *stage, unsigned index, struct support_picker *picker, struct lease *held,
                     uint64_t n)
{
    struct lease *lease = &held[n % HELD];
    if (lease->backend != NULL) {
        lease_release(lease, n % 5 == 0 ? STATS_ERROR_RESET : -1, picker->input.now_us);
    }
    picker->input.now_us += 100;
    support_client(picker, (uint32_t)(n * THREADS + index));
    if (n % 16 == 0) {
        picker->input.client.family = 0;
    }
    if (support_pick_hold(picker, lease) != NULL) {
        lease_connected(lease, 100, picker->input.now_us);
        lease_turn_begin(lease);
        lease_turn_end(lease, 100 + n % 1000, picker->input.now_us);
        lease_turn_begin(lease);
        atomic_fetch_add_explicit(&stage->to_target, lease->group == 1, memory_order_relaxed);
    }
}

static void *work(void *arg)
{
    struct stage_thread *thread = arg;
    struct stage *stage = thread->stage;
    struct support_picker picker;
    support_picker_init(&picker, stage->routing, thread->index);
    struct lease held[HELD];
    memset(held, 0, sizeof(held));
    for (uint64_t n = 0; !atomic_load(&stage->stop); n++) {
        atomic_fetch_add(&stage->turns[thread->index], 1);
        one_turn(stage, thread->index, &picker, held, n);
        atomic_fetch_add(&stage->turns[thread->index], 1);
        atomic_fetch_add_explicit(&stage->picks[thread->index], 1, memory_order_relaxed);
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (held[i].backend != NULL) {
            lease_release(&held[i], -1, picker.input.now_us);
        }
    }
    return NULL;
}

static void stage_start(struct stage *stage, struct stage_thread *threads, enum config_balance balance)
{
    memset(stage, 0, sizeof(*stage));
    stage->routing = support_routing(&(struct support_options){.balance = balance,
                                                               .assign = CONFIG_ASSIGN_CLIENT,
                                                               .fallback = true,
                                                               .groups = 2,
                                                               .backends = {BACKENDS, BACKENDS},
                                                               .backups = 2,
                                                               .workers = THREADS,
                                                               .retire = retire,
                                                               .retire_context = stage});
    routing_set_target(stage->routing, 1);
    for (unsigned t = 0; t < THREADS; t++) {
        threads[t] = (struct stage_thread){.stage = stage, .index = t};
        assert_int_equal(pthread_create(&threads[t].id, NULL, work, &threads[t]), 0);
    }
}

static uint64_t least_picks(struct stage *stage)
{
    uint64_t least = UINT64_MAX;
    for (unsigned t = 0; t < THREADS; t++) {
        uint64_t picks = atomic_load_explicit(&stage->picks[t], memory_order_relaxed);
        least = picks < least ? picks : least;
    }
    return least;
}

static void stage_end(struct stage *stage, struct stage_thread *threads, unsigned published)
{
    atomic_store(&stage->stop, true);
    for (unsigned t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_join(threads[t].id, NULL), 0);
    }
    reap(stage, true);
    assert_int_equal(stage->destroyed, stage->handed_in);
    assert_true(stage->handed_in >= published);
    assert_int_equal(routing_open(stage->routing, 0), 0);
    assert_int_equal(routing_open(stage->routing, 1), 0);
    uint64_t turns = 0;
    uint64_t picks = 0;
    static struct stats_backend_reading reading;
    for (size_t g = 0; g < 2; g++) {
        for (size_t i = 0; i < BACKENDS; i++) {
            backend_read(routing_backend_at(stage->routing, g, i), &reading);
            turns += reading.turns;
        }
    }
    for (unsigned t = 0; t < THREADS; t++) {
        picks += atomic_load(&stage->picks[t]);
    }
    assert_true(turns <= picks); /* those that left took their counters along */
    routing_destroy(stage->routing);
}

/* The last two backends of the first group leave, and others come in their place; both pairs are backups. */
static void other_backends(struct stage *stage, bool first_pair)
{
    static const char *const names[2][2] = {{"b18", "b19"}, {"x18", "x19"}};
    struct routing_backend_spec specs[2][BACKENDS];
    struct routing_group_spec groups[2];
    struct routing_change *change = NULL;
    struct err_text err;
    for (size_t g = 0; g < 2; g++) {
        for (size_t i = 0; i < BACKENDS; i++) {
            const struct backend *backend = routing_backend_at(stage->routing, g, i);
            specs[g][i] = (struct routing_backend_spec){.name = backend_name(backend),
                                                        .address = *backend_address(backend),
                                                        .weight = backend_weight(backend),
                                                        .backup = backend_is_backup(backend)};
        }
        groups[g] = (struct routing_group_spec){.name = routing_group_name(stage->routing, g),
                                                .balance = routing_group_balance(stage->routing, g),
                                                .backends = specs[g],
                                                .backends_len = BACKENDS};
    }
    specs[0][BACKENDS - 2].name = names[first_pair ? 0 : 1][0];
    specs[0][BACKENDS - 1].name = names[first_pair ? 0 : 1][1];
    int rc = routing_change_prepare(stage->routing, groups, 2, &change, &err);
    if (rc == ERR_LIMIT) {
        return; /* the threads have not let go of those that left before */
    }
    assert_int_equal(rc, 0);
    assert_int_equal(routing_change_apply(stage->routing, change, &err), 0);
    stage->changed++;
}

static void publishes_while_four_threads_pick(void **state)
{
    (void)state;
    for (enum config_balance balance = CONFIG_BALANCE_ROUND_ROBIN; balance <= CONFIG_BALANCE_HASH;
         balance++) {
        static struct stage stage;
        struct stage_thread threads[THREADS];
        stage_start(&stage, threads, balance);
        unsigned published = 0;
        while (published < 600 || least_picks(&stage) < 200 || stage.changed < 8) {
            struct backend *backend = routing_backend_at(stage.routing, published % 2, published % BACKENDS);
            /* Never all of a group: two others are always up. */
            routing_set_state(stage.routing, backend, published % 3 == 0 ? BACKEND_DOWN : BACKEND_UP);
            routing_set_weight(stage.routing, routing_backend_at(stage.routing, 0, 3),
                               published % 2 == 0 ? ROUTING_WEIGHT_MAX : 1);
            routing_set_share(stage.routing, published % 10001);
            support_publish(stage.routing);
            published++;
            if (published % 50 == 0) {
                other_backends(&stage, published / 50 % 2 == 0);
            }
            reap(&stage, false);
            sched_yield();
        }
        stage_end(&stage, threads, published);
    }
}

static void *draw_share(void *arg)
{
    struct stage_thread *thread = arg;
    struct support_picker picker;
    support_picker_init(&picker, thread->stage->routing, thread->index);
    for (unsigned n = 0; n < 2500; n++) {
        if (backend_group(support_pick(&picker)) == 1) {
            atomic_fetch_add_explicit(&thread->stage->to_target, 1, memory_order_relaxed);
        }
    }
    return NULL;
}

static void the_share_is_exact_when_four_threads_draw(void **state)
{
    (void)state;
    static struct stage stage;
    memset(&stage, 0, sizeof(stage));
    struct stage_thread threads[THREADS];
    stage.routing =
        support_routing(&(struct support_options){.groups = 2, .backends = {3, 3}, .workers = THREADS});
    routing_set_target(stage.routing, 1);
    routing_set_share(stage.routing, 3333);
    support_publish(stage.routing);
    for (unsigned t = 0; t < THREADS; t++) {
        threads[t] = (struct stage_thread){.stage = &stage, .index = t};
        assert_int_equal(pthread_create(&threads[t].id, NULL, draw_share, &threads[t]), 0);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_join(threads[t].id, NULL), 0);
    }
    assert_int_equal(atomic_load(&stage.to_target), 3333);
    routing_destroy(stage.routing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishes_while_four_threads_pick),
        cmocka_unit_test(the_share_is_exact_when_four_threads_draw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
