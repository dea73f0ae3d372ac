/* Timeouts: order, laziness, cancelling, many at once. The loop and the clock are real, the times short. */
#include "core/clock.h"
#include "core/deadline.h"
#include "core/random.h"

#include <event2/event.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LENGTH_US (200 * CLOCK_US_PER_MS) /* a busy machine loses less than half of it */
#define LIMIT_US (20 * CLOCK_US_PER_S)
#define ENTRIES 500u

struct entry {
    struct deadline deadline;
    uint64_t stamp_us; /* last traffic */
    uint64_t armed_us;
    unsigned expired;
    struct entry *cancels; /* another one, cancelled when this one expires */
};

struct fixture {
    struct event_base *base;
    struct deadline_queue *queue;
    unsigned calls, expired, early;
    uint64_t last_due_us;
    unsigned out_of_order;
};

static uint64_t on_due(struct deadline *deadline, uint64_t now_us, void *context)
{
    struct fixture *f = context;
    struct entry *entry = (struct entry *)deadline;
    f->calls++;
    f->early += deadline->due_us > now_us;
    f->out_of_order += deadline->due_us < f->last_due_us;
    f->last_due_us = deadline->due_us;
    if (entry->stamp_us + LENGTH_US > now_us) {
        return entry->stamp_us + LENGTH_US;
    }
    if (entry->cancels) {
        deadline_cancel(&entry->cancels->deadline);
    }
    entry->expired++;
    f->expired++;
    return 0;
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){.base = event_base_new()};
    assert_non_null(f->base);
    assert_int_equal(deadline_queue_create(f->base, LENGTH_US, on_due, f, &f->queue, NULL), 0);
}

static void end(struct fixture *f)
{
    assert_int_equal(f->early, 0);
    deadline_queue_destroy(f->queue);
    event_base_free(f->base);
}

static void arm(struct fixture *f, struct entry *entry, uint64_t now_us)
{
    entry->armed_us = entry->stamp_us = now_us;
    deadline_arm(f->queue, &entry->deadline, now_us);
}

/* Runs the loop until so many have expired. */
static void run_until(struct fixture *f, unsigned expired)
{
    uint64_t limit_us = clock_mono_us() + LIMIT_US;
    while (f->expired < expired && clock_mono_us() < limit_us) {
        assert_int_equal(event_base_loop(f->base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(f->expired, expired);
}

static void entries_expire_in_order(void **state)
{
    struct fixture f;
    struct entry entries[3] = {0};
    (void)state;
    begin(&f);
    uint64_t now_us = clock_mono_us();
    for (unsigned i = 0; i < 3; i++) {
        deadline_init(&entries[i].deadline);
        arm(&f, &entries[i], now_us + i);
    }
    run_until(&f, 3);
    assert_true(clock_mono_us() >= now_us + LENGTH_US);
    assert_int_equal(f.calls, 3);
    assert_int_equal(f.out_of_order, 0);
    end(&f);
}

static void traffic_only_moves_a_stamp(void **state)
{
    struct fixture f;
    struct entry busy = {0};
    struct entry idle = {0};
    (void)state;
    begin(&f);
    deadline_init(&busy.deadline);
    deadline_init(&idle.deadline);
    uint64_t now_us = clock_mono_us();
    arm(&f, &busy, now_us);
    arm(&f, &idle, now_us + 1);
    busy.stamp_us = now_us + LENGTH_US / 2;
    run_until(&f, 1);
    assert_int_equal(idle.expired, 1);
    assert_int_equal(busy.expired, 0);
    run_until(&f, 2);
    assert_true(clock_mono_us() >= busy.stamp_us + LENGTH_US);
    assert_int_equal(f.calls, 3); /* the busy one was asked once in between */
    end(&f);
}

static void cancelled_entries_never_expire(void **state)
{
    struct fixture f;
    struct entry entries[4] = {0};
    (void)state;
    begin(&f);
    uint64_t now_us = clock_mono_us();
    for (unsigned i = 0; i < 4; i++) {
        deadline_init(&entries[i].deadline);
        deadline_cancel(&entries[i].deadline); /* allowed when it is in no queue */
        arm(&f, &entries[i], now_us);
    }
    deadline_cancel(&entries[0].deadline); /* the timer is set for this one */
    entries[1].cancels = &entries[2];      /* in the midst of expiring */
    run_until(&f, 2);
    assert_int_equal(entries[0].expired, 0);
    assert_int_equal(entries[1].expired, 1);
    assert_int_equal(entries[2].expired, 0);
    assert_int_equal(entries[3].expired, 1);
    /* All cancelled, then used again: the timer must come back. */
    arm(&f, &entries[0], clock_mono_us());
    deadline_cancel(&entries[0].deadline);
    arm(&f, &entries[2], clock_mono_us());
    run_until(&f, 3);
    assert_int_equal(entries[2].expired, 1);
    end(&f);
}

static void arming_moves_between_queues(void **state)
{
    struct fixture f;
    struct fixture other;
    struct entry entry = {0};
    (void)state;
    begin(&f);
    begin(&other);
    deadline_init(&entry.deadline);
    arm(&f, &entry, clock_mono_us());
    arm(&other, &entry, clock_mono_us());
    run_until(&other, 1);
    assert_int_equal(f.calls, 0);
    end(&f);
    end(&other);
}

/* A later time than one length is allowed: the entry is asked again on the way there. */
static uint64_t on_due_far(struct deadline *deadline, uint64_t now_us, void *context)
{
    struct fixture *f = context;
    struct entry *entry = (struct entry *)deadline;
    f->calls++;
    if (now_us < entry->stamp_us) {
        return entry->stamp_us;
    }
    f->expired++;
    return 0;
}

static void an_answer_may_lie_far_ahead(void **state)
{
    struct fixture f = {.base = event_base_new()};
    struct entry entry = {0};
    (void)state;
    assert_int_equal(deadline_queue_create(f.base, 1000, on_due_far, &f, &f.queue, NULL), 0);
    deadline_init(&entry.deadline);
    uint64_t now_us = clock_mono_us();
    arm(&f, &entry, now_us);
    entry.stamp_us = now_us + 20000;
    run_until(&f, 1);
    assert_true(clock_mono_us() >= now_us + 20000);
    end(&f);
}

/* Entries with traffic at random times: each expires at its own time, none early, none forgotten, and in
 * order of their due times. */
static void many_entries_with_random_traffic(void **state)
{
    static struct entry entries[ENTRIES];
    struct fixture f;
    struct random_state random;
    (void)state;
    random_seed(&random, 1);
    begin(&f);
    uint64_t now_us = clock_mono_us();
    for (unsigned i = 0; i < ENTRIES; i++) {
        entries[i] = (struct entry){0};
        deadline_init(&entries[i].deadline);
        arm(&f, &entries[i], now_us);
        entries[i].stamp_us = now_us + random_below(&random, (uint32_t)LENGTH_US);
    }
    for (unsigned i = 0; i < ENTRIES; i += 10) {
        deadline_cancel(&entries[i].deadline);
    }
    run_until(&f, ENTRIES - ENTRIES / 10);
    assert_int_equal(f.out_of_order, 0);
    for (unsigned i = 0; i < ENTRIES; i++) {
        assert_int_equal(entries[i].expired, i % 10 ? 1 : 0);
    }
    end(&f);
}

static void lengths_are_checked(void **state)
{
    struct event_base *base = event_base_new();
    struct deadline_queue *queue = NULL;
    (void)state;
    assert_int_equal(deadline_queue_create(base, 0, on_due, NULL, &queue, NULL), ERR_INVALID);
    assert_int_equal(deadline_queue_create(base, CLOCK_NEVER, on_due, NULL, &queue, NULL), ERR_INVALID);
    assert_null(queue);
    deadline_queue_destroy(NULL);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_expire_in_order),
        cmocka_unit_test(traffic_only_moves_a_stamp),
        cmocka_unit_test(cancelled_entries_never_expire),
        cmocka_unit_test(arming_moves_between_queues),
        cmocka_unit_test(an_answer_may_lie_far_ahead),
        cmocka_unit_test(many_entries_with_random_traffic),
        cmocka_unit_test(lengths_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
