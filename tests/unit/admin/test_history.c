/* The last hour: what is counted to which second, how seconds are summed up, and that memory is bounded. */
#include "admin/history.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define START_US (UINT64_C(1769860800) * CLOCK_US_PER_S)

struct seen {
    struct history_row rows[4000];
    size_t len;
};

static void keep(void *context, const struct history_row *row)
{
    struct seen *seen = context;
    if (seen->len < sizeof(seen->rows) / sizeof(seen->rows[0])) {
        seen->rows[seen->len++] = *row;
    }
}

static struct history *make(void)
{
    struct history *history = NULL;
    assert_int_equal(history_create(&history), 0);
    return history;
}

/* n samples of the response time so far, all of us. */
static void sample(struct stats_backend_reading *sum, uint32_t n, uint64_t us)
{
    sum->response_us.bucket[histogram_index(us)] += n;
    sum->response_us.count += n;
    sum->response_us.sum_us += n * us;
}

static void differences_belong_to_their_second(void **state)
{
    struct history *history = make();
    struct stats_backend_reading sum = {.connections = 1000};
    static struct seen seen;
    (void)state;
    seen.len = 0;
    for (uint32_t s = 0; s < 5; s++) {
        history_tick(history, START_US + s * CLOCK_US_PER_S);
        history_add(history, "web", "old", &sum, 10 + s, 10000 - 100 * s);
        sum.connections += 10 * (uint64_t)(s + 1);
        sum.errors[STATS_ERROR_CONNECT] += s;
        sample(&sum, 4, 1000 * (uint64_t)(s + 1));
    }
    history_each(history, NULL, START_US, START_US + 10 * CLOCK_US_PER_S, 1, keep, &seen);
    assert_int_equal(seen.len, 4); /* the first reading only sets where to count from */
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(seen.rows[i].service, "web");
        assert_string_equal(seen.rows[i].group, "old");
        assert_int_equal(seen.rows[i].from_wall_us, START_US + (i + 1) * CLOCK_US_PER_S);
        assert_int_equal(seen.rows[i].connections, 10 * (i + 1));
        assert_int_equal(seen.rows[i].errors, i);
        assert_int_equal(seen.rows[i].open, 11 + i);
        assert_int_equal(seen.rows[i].samples, 4);
        assert_in_range(seen.rows[i].p99_us, 1000 * (i + 1) * 15 / 16, 1000 * (i + 1) * 17 / 16);
        assert_int_equal(seen.rows[i].share_bp, 10000 - 100 * (i + 1));
    }
    history_destroy(history);
}

static void steps_are_summed_up(void **state)
{
    struct history *history = make();
    struct stats_backend_reading sum = {.connections = 0};
    static struct seen seen;
    (void)state;
    seen.len = 0;
    for (uint32_t s = 0; s < 31; s++) {
        history_tick(history, START_US + s * CLOCK_US_PER_S);
        history_add(history, "web", "old", &sum, s, 10000);
        history_add(history, "web", "new", &sum, 2 * (uint64_t)s, 0);
        history_add(history, "db", "old", &sum, 0, 10000);
        sum.connections += 3;
        sample(&sum, 1, s == 14 ? 90000 : 1000);
    }
    history_each(history, "web", START_US, START_US + 31 * CLOCK_US_PER_S, 10, keep, &seen);
    assert_int_equal(seen.len, 8);
    assert_int_equal(seen.rows[0].seconds, 9);
    assert_int_equal(seen.rows[0].connections, 27);
    assert_int_equal(seen.rows[2].seconds, 10);
    assert_int_equal(seen.rows[2].connections, 30);
    assert_in_range(seen.rows[2].p99_us, 85000, 95000); /* the worst second shows */
    assert_in_range(seen.rows[4].p99_us, 900, 1100);
    assert_int_equal(seen.rows[2].open, 19);
    assert_int_equal(seen.rows[3].open, 38);
    for (size_t i = 0; i < seen.len; i++) {
        assert_string_equal(seen.rows[i].service, "web");
    }
    history_destroy(history);
}

static void an_hour_and_no_more(void **state)
{
    struct history *history = make();
    struct stats_backend_reading sum = {.connections = 0};
    static struct seen seen;
    uint32_t total = 2 * HISTORY_SECONDS + 17;
    (void)state;
    seen.len = 0;
    for (uint32_t s = 0; s < total; s++) {
        history_tick(history, START_US + s * CLOCK_US_PER_S);
        history_add(history, "web", "old", &sum, s, 0);
        if (s < 100) {
            history_add(history, "web", "gone", &sum, s, 0);
        }
        sum.connections++;
    }
    history_each(history, NULL, 0, UINT64_MAX, 1, keep, &seen);
    assert_int_equal(seen.len, HISTORY_SECONDS);
    assert_int_equal(seen.rows[0].open, total - HISTORY_SECONDS);
    assert_int_equal(seen.rows[seen.len - 1].open, total - 1);
    assert_true(history_bytes(history) < 600000); /* the group that went is forgotten */
    history_destroy(history);
}

static void counters_that_fall_are_no_figures(void **state)
{
    struct history *history = make();
    struct stats_backend_reading sum = {.connections = 500};
    static struct seen seen;
    (void)state;
    seen.len = 0;
    sample(&sum, 100, 1000);
    history_tick(history, START_US);
    history_add(history, "web", "old", &sum, 1, 0);
    struct stats_backend_reading less = {.connections = 10};
    history_tick(history, START_US + CLOCK_US_PER_S);
    history_add(history, "web", "old", &less, 1, 0); /* a backend left with its counters */
    history_each(history, NULL, 0, UINT64_MAX, 1, keep, &seen);
    assert_int_equal(seen.len, 0);
    history_destroy(history);
}

static void memory_is_bounded(void **state)
{
    struct history *history = make();
    const struct stats_backend_reading sum = {.connections = 0};
    char name[32];
    (void)state;
    history_tick(history, START_US);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof(name), "service-%u", i);
        history_add(history, name, "old", &sum, 0, 0);
    }
    assert_in_range(history_left_out(history), 1, 900);
    assert_true(history_bytes(history) < HISTORY_BYTES_MAX + 200000);
    history_destroy(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_belong_to_their_second), cmocka_unit_test(steps_are_summed_up),
        cmocka_unit_test(an_hour_and_no_more), cmocka_unit_test(counters_that_fall_are_no_figures),
        cmocka_unit_test(memory_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
