/* Workers: tasks between turns, calls on all of them, reclaiming memory, starting and ending. */
#include "core/clock.h"
#include "core/worker.h"

#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WORKERS 3u
#define LIMIT_US (20 * CLOCK_US_PER_S)

struct fixture {
    struct event_base *control;
    struct worker_pool *pool;
    _Atomic unsigned ran; /* counted on workers */
    unsigned done;        /* counted on the control thread, as all below */
    unsigned destroyed;
    char order[64]; /* one letter for each thing that happened */
    pthread_t control_thread;
    bool elsewhere; /* something ran on a thread that it should not run on */
};

static struct fixture *fixture; /* of the test that runs; destroy callbacks have no context */

static void create_pool(struct fixture *f, unsigned count, uint64_t spin_us)
{
    *f = (struct fixture){.control = event_base_new(), .control_thread = pthread_self()};
    assert_non_null(f->control);
    struct worker_pool_options options = {.count = count, .spin_us = spin_us, .control = f->control};
    assert_int_equal(worker_pool_create(&options, &f->pool, NULL), 0);
    fixture = f;
}

static void start_pool(struct fixture *f)
{
    assert_int_equal(worker_pool_start(f->pool, NULL), 0);
}

static void end(struct fixture *f)
{
    worker_pool_destroy(f->pool);
    event_base_free(f->control);
    assert_false(f->elsewhere);
}

/* Runs the control loop until *counter is wanted. */
static void wait_for(struct fixture *f, const unsigned *counter, unsigned wanted)
{
    uint64_t limit_us = clock_mono_us() + LIMIT_US;
    while (*counter < wanted && clock_mono_us() < limit_us) {
        const struct timeval tick = {.tv_usec = 50000};
        assert_int_equal(event_base_loopexit(f->control, &tick), 0);
        assert_int_equal(event_base_loop(f->control, EVLOOP_ONCE), 0);
    }
    assert_int_equal(*counter, wanted);
}

static void note(struct fixture *f, char letter)
{
    size_t len = strlen(f->order);
    if (len + 1 < sizeof(f->order)) {
        f->order[len] = letter;
    }
}

static void on_worker(struct worker *worker, void *arg)
{
    struct fixture *f = arg;
    (void)worker;
    atomic_fetch_add(&f->ran, 1);
}

static void on_done(void *arg)
{
    struct fixture *f = arg;
    f->elsewhere |= !pthread_equal(pthread_self(), f->control_thread);
    f->done++;
    note(f, 'd');
}

static void on_destroy(void *ptr)
{
    fixture->elsewhere |= !pthread_equal(pthread_self(), fixture->control_thread);
    fixture->destroyed++;
    note(fixture, *(char *)ptr);
    free(ptr);
}

static char *object(char letter)
{
    char *ptr = malloc(1);
    assert_non_null(ptr);
    *ptr = letter;
    return ptr;
}

static void a_call_runs_once_on_every_worker(void **state)
{
    struct fixture f;
    (void)state;
    create_pool(&f, WORKERS, 0);
    assert_int_equal(worker_pool_count(f.pool), WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(worker_index(worker_pool_get(f.pool, i)), i);
    }
    start_pool(&f);
    for (unsigned i = 1; i <= 20; i++) {
        assert_int_equal(worker_pool_call(f.pool, on_worker, on_done, &f), 0);
        wait_for(&f, &f.done, i);
        assert_int_equal(atomic_load(&f.ran), i * WORKERS);
    }
    assert_int_equal(worker_pool_call(f.pool, on_worker, NULL, &f), 0);
    end(&f);
    assert_int_equal(atomic_load(&f.ran), 21 * WORKERS); /* what was asked for is done before the end */
}

static void retired_memory_is_freed_in_order_on_the_control_thread(void **state)
{
    struct fixture f;
    (void)state;
    create_pool(&f, WORKERS, 0);
    start_pool(&f);
    for (int letter = 'A'; letter <= 'J'; letter++) {
        worker_pool_retire(f.pool, object((char)letter), on_destroy);
    }
    wait_for(&f, &f.destroyed, 10);
    assert_string_equal(f.order, "ABCDEFGHIJ");
    end(&f);
}

/* A call made before a retire has run everywhere by the time the pointer is freed. */
static void a_call_before_a_retire_comes_first(void **state)
{
    struct fixture f;
    (void)state;
    create_pool(&f, WORKERS, 0);
    start_pool(&f);
    for (unsigned i = 1; i <= 10; i++) {
        assert_int_equal(worker_pool_call(f.pool, on_worker, NULL, &f), 0);
        worker_pool_retire(f.pool, object('x'), on_destroy);
        wait_for(&f, &f.destroyed, i);
        assert_int_equal(atomic_load(&f.ran), i * WORKERS);
    }
    end(&f);
}

static void retire_again(void *ptr)
{
    worker_pool_retire(fixture->pool, object('2'), on_destroy);
    on_destroy(ptr);
}

static void a_destroy_callback_may_retire_more(void **state)
{
    struct fixture f;
    (void)state;
    create_pool(&f, WORKERS, 0);
    start_pool(&f);
    worker_pool_retire(f.pool, object('1'), retire_again);
    wait_for(&f, &f.destroyed, 2);
    assert_string_equal(f.order, "12");
    worker_pool_retire(f.pool, object('1'), retire_again);
    end(&f);
    assert_string_equal(f.order, "1212");
}

/* Workers read a pointer in a callback and again at the end of the turn; the control thread swaps and
 * retires it all the while. AddressSanitizer and ThreadSanitizer watch. */
struct reader {
    struct mailbox_message message;
    struct worker_task task;
    struct worker *worker;
    struct reader_shared *shared;
    unsigned *seen;
};

struct reader_shared {
    unsigned *_Atomic current;
    _Atomic bool stop;
    _Atomic unsigned running;
    _Atomic unsigned torn;
};

static void reader_end_of_turn(struct worker_task *task, struct worker *worker)
{
    struct reader *reader = (struct reader *)(void *)((char *)task - offsetof(struct reader, task));
    if (reader->seen[0] != reader->seen[1]) {
        atomic_fetch_add(&reader->shared->torn, 1);
    }
    if (atomic_load(&reader->shared->stop)) {
        atomic_fetch_sub(&reader->shared->running, 1);
    } else {
        worker_post(worker, &reader->message);
    }
}

static void reader_callback(struct mailbox_message *message, void *receiver)
{
    struct reader *reader = (struct reader *)message;
    reader->worker = receiver;
    reader->seen = atomic_load_explicit(&reader->shared->current, memory_order_acquire);
    worker_defer(reader->worker, &reader->task);
}

static unsigned *pair(unsigned value)
{
    unsigned *p = malloc(2 * sizeof(*p));
    assert_non_null(p);
    p[0] = p[1] = value;
    return p;
}

static void destroy_pair(void *ptr)
{
    unsigned *p = ptr;
    p[0] = 1; /* whoever still reads sees two halves that differ */
    p[1] = 2;
    free(p);
    fixture->destroyed++;
}

static void nothing_is_freed_that_a_turn_still_reads(void **state)
{
    enum { SWAPS = 300 };
    struct fixture f;
    struct reader readers[WORKERS];
    struct reader_shared shared = {.current = NULL};
    (void)state;
    create_pool(&f, WORKERS, 0);
    atomic_store(&shared.current, pair(0));
    atomic_store(&shared.running, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        readers[i] = (struct reader){
            .message = {.run = reader_callback}, .task = {.run = reader_end_of_turn}, .shared = &shared};
        worker_post(worker_pool_get(f.pool, i), &readers[i].message);
    }
    start_pool(&f);
    for (unsigned i = 1; i <= SWAPS; i++) {
        unsigned *old = atomic_exchange_explicit(&shared.current, pair(i), memory_order_acq_rel);
        worker_pool_retire(f.pool, old, destroy_pair);
        if (i % 7 == 0) {
            wait_for(&f, &f.destroyed, i);
        }
    }
    wait_for(&f, &f.destroyed, SWAPS);
    atomic_store(&shared.stop, true);
    end(&f);
    assert_int_equal(atomic_load(&shared.torn), 0);
    assert_int_equal(atomic_load(&shared.running), 0);
    free(atomic_load(&shared.current));
}

static void a_pool_that_never_started_ends_cleanly(void **state)
{
    struct fixture f;
    (void)state;
    create_pool(&f, WORKERS, 100);
    worker_pool_retire(f.pool, object('a'), on_destroy);
    worker_pool_retire(f.pool, object('b'), on_destroy);
    assert_int_equal(worker_pool_call(f.pool, on_worker, on_done, &f), 0);
    assert_int_equal(f.destroyed, 0);
    end(&f);
    assert_int_equal(f.destroyed, 2);
    assert_int_equal(f.done, 1);
    assert_int_equal(atomic_load(&f.ran), WORKERS);
    worker_pool_destroy(NULL);
}

static void a_pool_ends_with_work_under_way(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct fixture f;
        create_pool(&f, WORKERS, 0);
        start_pool(&f);
        for (int letter = 'a'; letter < 'a' + 5; letter++) {
            worker_pool_retire(f.pool, object((char)letter), on_destroy);
            assert_int_equal(worker_pool_call(f.pool, on_worker, on_done, &f), 0);
        }
        end(&f);
        assert_int_equal(f.destroyed, 5);
        assert_int_equal(f.done, 5);
        assert_int_equal(atomic_load(&f.ran), 5 * WORKERS);
    }
}

static void options_are_checked(void **state)
{
    struct event_base *control = event_base_new();
    struct worker_pool *pool = NULL;
    struct err_text err;
    (void)state;
    struct worker_pool_options none = {.count = 0, .control = control};
    assert_int_equal(worker_pool_create(&none, &pool, &err), ERR_INVALID);
    struct worker_pool_options homeless = {.count = 1};
    assert_int_equal(worker_pool_create(&homeless, &pool, &err), ERR_INVALID);
    assert_null(pool);
    event_base_free(control);
}

/* What one worker does in which turn, written down by its tasks. */
struct script {
    struct fixture *f;
    struct worker_task deferred, deferred_more, continued, cancelled, cancelled_later;
    unsigned turns_left;
};

static struct script *script; /* tasks have no context of their own here */

static void on_deferred(struct worker_task *task, struct worker *worker)
{
    note(script->f, 'D');
    if (task == &script->deferred) {
        worker_defer(worker, &script->deferred_more); /* still of the same turn */
    }
}

static void on_continued(struct worker_task *task, struct worker *worker)
{
    note(script->f, 'C');
    worker_cancel(worker, &script->cancelled_later); /* stands behind this one in the same queue */
    if (--script->turns_left > 0) {
        worker_continue(worker, task); /* not before the next turn */
        worker_defer(worker, &script->deferred_more);
    } else {
        atomic_fetch_add(&script->f->ran, 1);
    }
}

static void on_cancelled(struct worker_task *task, struct worker *worker)
{
    (void)task;
    (void)worker;
    note(script->f, '!');
}

static void begin_script(struct worker *worker, void *arg)
{
    struct fixture *f = arg;
    note(f, 'b');
    worker_defer(worker, &script->cancelled);
    worker_cancel(worker, &script->cancelled);
    worker_cancel(worker, &script->cancelled);
    worker_defer(worker, &script->deferred);
    worker_defer(worker, &script->deferred); /* once is enough */
    worker_continue(worker, &script->continued);
    worker_continue(worker, &script->cancelled_later);
    note(f, 'e');
}

static void tasks_run_in_their_turns(void **state)
{
    struct fixture f;
    struct script s = {.f = &f,
                       .deferred = {.run = on_deferred},
                       .deferred_more = {.run = on_deferred},
                       .continued = {.run = on_continued},
                       .cancelled = {.run = on_cancelled},
                       .cancelled_later = {.run = on_cancelled},
                       .turns_left = 3};
    (void)state;
    script = &s;
    create_pool(&f, 1, 0);
    start_pool(&f);
    assert_int_equal(worker_pool_call(f.pool, begin_script, NULL, &f), 0);
    uint64_t limit_us = clock_mono_us() + LIMIT_US;
    while (atomic_load(&f.ran) < 1 && clock_mono_us() < limit_us) {
        sched_yield();
    }
    end(&f);
    /* The callback to its end, its deferred task and what that defers; then each turn a continued task and
     * what it deferred. */
    assert_string_equal(f.order, "beDDCDCDC");
}

static void read_scratch(struct worker *worker, void *arg)
{
    struct fixture *f = arg;
    size_t size = 0;
    unsigned char *scratch = worker_scratch(worker, &size);
    memset(scratch, 0xa5, size);
    f->elsewhere |= size != 65536 || !worker_base(worker) || !worker_random(worker);
}

static void a_worker_has_what_its_callbacks_need(void **state)
{
    struct fixture f;
    (void)state;
    create_pool(&f, 1, 0);
    struct worker *worker = worker_pool_get(f.pool, 0);
    read_scratch(worker, &f); /* before the start it is the control thread's */
    start_pool(&f);
    assert_int_equal(worker_pool_call(f.pool, read_scratch, on_done, &f), 0);
    wait_for(&f, &f.done, 1);
    struct worker_load load;
    worker_read_load(worker, &load);
    assert_true(load.sleeps >= 1);
    assert_int_equal(load.spins, 0);
    end(&f);
}

static void on_traffic(struct worker *worker, void *arg)
{
    (void)arg;
    worker_note_activity(worker);
}

/* With a look of 100 ms nearly every wait here is a short one: soon the worker looks, and finds. Messages
 * that are not traffic of the data path never make it look. */
static void a_worker_looks_when_traffic_is_dense(void **state)
{
    struct fixture f;
    struct worker_load load = {0};
    (void)state;
    create_pool(&f, 1, 100 * CLOCK_US_PER_MS);
    start_pool(&f);
    struct worker *worker = worker_pool_get(f.pool, 0);
    for (unsigned i = 1; i <= 50; i++) {
        assert_int_equal(worker_pool_call(f.pool, on_worker, on_done, &f), 0);
        wait_for(&f, &f.done, i);
    }
    worker_read_load(worker, &load);
    assert_int_equal(load.spins, 0);
    for (unsigned i = 51; i <= 2000 && load.spin_hits == 0; i++) {
        assert_int_equal(worker_pool_call(f.pool, on_traffic, on_done, &f), 0);
        wait_for(&f, &f.done, i);
        worker_read_load(worker, &load);
    }
    assert_true(load.spin_hits > 0);
    assert_true(load.spins >= load.spin_hits);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_runs_once_on_every_worker),
        cmocka_unit_test(retired_memory_is_freed_in_order_on_the_control_thread),
        cmocka_unit_test(a_call_before_a_retire_comes_first),
        cmocka_unit_test(a_destroy_callback_may_retire_more),
        cmocka_unit_test(nothing_is_freed_that_a_turn_still_reads),
        cmocka_unit_test(a_pool_that_never_started_ends_cleanly),
        cmocka_unit_test(a_pool_ends_with_work_under_way),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(tasks_run_in_their_turns),
        cmocka_unit_test(a_worker_looks_when_traffic_is_dense),
        cmocka_unit_test(a_worker_has_what_its_callbacks_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
