/*
 * Who may get new connections: every combination of what operator, agent, health and outlier detection say;
 * failures in a row over several workers.
 */
#include "tests/unit/balancer/support.h"

#include <stdio.h>
#include <string.h>

/* ---- operator, agent, health, ejection */

struct word {
    enum backend_admin admin;
    enum backend_forced forced;
    enum backend_admin agent;
    uint32_t percent;
    enum backend_state state;
    bool out;
    uint32_t weight;
};

/* In words: the operator's drain, maint and weight 0 come first; then what is forced; then all the others
 * have to agree. */
static bool should_serve(const struct word *word)
{
    if (word->admin != BACKEND_READY || word->weight == 0 || word->forced == BACKEND_FORCED_DOWN) {
        return false;
    }
    if (word->forced == BACKEND_FORCED_UP) {
        return true;
    }
    return word->agent == BACKEND_READY && word->percent > 0 && word->state != BACKEND_DOWN && !word->out;
}

static enum backend_state should_show(const struct word *word)
{
    if (word->forced != BACKEND_AUTO) {
        return word->forced == BACKEND_FORCED_UP ? BACKEND_UP : BACKEND_DOWN;
    }
    return word->out ? BACKEND_DOWN : word->state;
}

static void say(struct routing *routing, struct backend *backend, const struct word *word)
{
    const struct backend_ejection ejection = {.out = word->out};
    routing_set_weight(routing, backend, word->weight);
    routing_set_admin(routing, backend, word->admin);
    routing_set_forced(routing, backend, word->forced);
    routing_set_agent(routing, backend, word->agent, word->percent);
    routing_set_state(routing, backend, word->state);
    routing_set_ejection(routing, backend, &ejection);
    support_publish(routing);
}

static void check_word(struct routing *routing, struct support_picker *picker, const struct word *word)
{
    struct backend *backend = support_backend(routing, 0, 0);
    say(routing, backend, word);
    assert_int_equal(backend_is_usable(backend), should_serve(word));
    assert_int_equal(backend_standing(backend), should_show(word));
    assert_int_equal(backend_state(backend), word->state); /* what checks found stays known */
    assert_int_equal(backend_admin(backend), word->admin);
    assert_int_equal(backend_forced(backend), word->forced);
    assert_int_equal(routing_usable(routing, 0), should_serve(word));
    assert_ptr_equal(support_pick(picker), should_serve(word) ? backend : NULL);
}

static void test_nobody_overrides_an_operator(void **state)
{
    (void)state;
    static const uint32_t percents[] = {0, 50, 100};
    const struct support_options options = {.backends = {1}};
    struct routing *routing = support_routing(&options);
    struct support_picker picker;
    support_picker_init(&picker, routing, 0);
    unsigned words = 0;
    for (unsigned i = 0; i < 3 * 3 * 3 * 3 * 4 * 2 * 2; i++) {
        unsigned rest = i;
        struct word word;
        word.admin = (enum backend_admin)(rest % 3);
        rest /= 3;
        word.forced = (enum backend_forced)(rest % 3);
        rest /= 3;
        word.agent = (enum backend_admin)(rest % 3);
        rest /= 3;
        word.percent = percents[rest % 3];
        rest /= 3;
        word.state = (enum backend_state)(rest % 4);
        rest /= 4;
        word.out = rest % 2 != 0;
        word.weight = rest / 2;
        check_word(routing, &picker, &word);
        words++;
    }
    assert_int_equal(words, 1296);
    routing_destroy(routing);
}

/* What comes later from a check, an agent or outlier detection does not lift what an operator said. */
static void test_what_comes_later_does_not_lift_it(void **state)
{
    (void)state;
    const struct support_options options = {.backends = {2}};
    struct routing *routing = support_routing(&options);
    struct backend *backend = support_backend(routing, 0, 0);
    for (unsigned i = 0; i < 4; i++) {
        const struct backend_ejection out = {.out = true};
        const struct backend_ejection in = {.out = false};
        bool up = i == 0;
        routing_set_admin(routing, backend, i == 2 ? BACKEND_DRAIN : i == 3 ? BACKEND_MAINT : BACKEND_READY);
        routing_set_forced(routing, backend,
                           up       ? BACKEND_FORCED_UP
                           : i == 1 ? BACKEND_FORCED_DOWN
                                    : BACKEND_AUTO);
        routing_set_state(routing, backend, BACKEND_UP);
        assert_int_equal(backend_is_usable(backend), up);
        routing_set_state(routing, backend, BACKEND_DOWN);
        assert_int_equal(backend_is_usable(backend), up);
        routing_set_agent(routing, backend, BACKEND_MAINT, 0);
        assert_int_equal(backend_is_usable(backend), up);
        routing_set_agent(routing, backend, BACKEND_READY, 100);
        routing_set_ejection(routing, backend, &out);
        assert_int_equal(backend_is_usable(backend), up);
        routing_set_ejection(routing, backend, &in);
        routing_set_state(routing, backend, BACKEND_UP);
        assert_int_equal(backend_is_usable(backend), up);
    }
    routing_destroy(routing);
}

/* ---- failures in a row */

static unsigned alarms;

static void count_alarm(void *context)
{
    (*(unsigned *)context)++;
}

static struct routing *watched(unsigned workers, uint32_t limit)
{
    struct routing_backend_spec backends[] = {{.name = "b0", .weight = 1}, {.name = "b1", .weight = 1}};
    struct routing_group_spec groups[] = {{.name = "old", .backends = backends, .backends_len = 2}};
    const struct routing_spec spec = {.service = "web",
                                      .workers = workers,
                                      .groups = groups,
                                      .groups_len = 1,
                                      .alarm = count_alarm,
                                      .alarm_context = &alarms};
    const struct backend_runs limits = {{limit, limit, limit, limit, limit}};
    struct routing *routing = NULL;
    assert_int_equal(routing_create(&spec, &routing, NULL), 0);
    routing_set_admin(routing, support_backend(routing, 0, 1), BACKEND_MAINT);
    support_publish(routing);
    routing_set_run_limits(support_backend(routing, 0, 0), &limits);
    alarms = 0;
    return routing;
}

/* A connection of that worker that ended so. spoke: the backend sent something before. */
static void serve(const struct routing *routing, unsigned worker, bool connected, bool spoke, int outcome)
{
    struct support_picker picker;
    struct lease lease;
    support_picker_init(&picker, routing, worker);
    assert_non_null(support_pick_hold(&picker, &lease));
    if (connected) {
        lease_connected(&lease, 100, picker.input.now_us);
    }
    if (spoke) {
        lease_turn_begin(&lease);
        lease_turn_end(&lease, 100, picker.input.now_us);
    }
    lease_release(&lease, outcome, picker.input.now_us);
}

static struct backend_runs runs_of(const struct routing *routing)
{
    struct backend_runs runs;
    backend_read_runs(support_backend(routing, 0, 0), &runs);
    return runs;
}

static void test_rows_count_over_all_workers(void **state)
{
    (void)state;
    struct routing *routing = watched(4, 5);
    for (unsigned i = 0; i < 4; i++) {
        serve(routing, i, false, false, STATS_ERROR_CONNECT);
    }
    assert_int_equal(runs_of(routing).of[STATS_ERROR_CONNECT], 4);
    assert_int_equal(alarms, 0);
    serve(routing, 2, false, false, STATS_ERROR_CONNECT);
    assert_int_equal(alarms, 1);
    for (unsigned i = 0; i < 100; i++) { /* one row, one alarm */
        serve(routing, i % 4, false, false, STATS_ERROR_CONNECT);
    }
    assert_int_equal(alarms, 1);
    serve(routing, 3, true, true, -1); /* of any worker */
    assert_int_equal(runs_of(routing).of[STATS_ERROR_CONNECT], 0);
    for (unsigned i = 0; i < 5; i++) {
        serve(routing, 0, false, false, STATS_ERROR_CONNECT);
    }
    assert_int_equal(alarms, 2);
    routing_destroy(routing);
}

static void test_what_ends_a_row(void **state)
{
    (void)state;
    struct routing *routing = watched(1, 100);
    for (unsigned i = 0; i < 3; i++) {
        serve(routing, 0, false, false, STATS_ERROR_CONNECT);
        serve(routing, 0, false, false, STATS_ERROR_TIMEOUT);
    }
    assert_int_equal(runs_of(routing).of[STATS_ERROR_CONNECT], 3);
    assert_int_equal(runs_of(routing).of[STATS_ERROR_TIMEOUT], 3);
    for (unsigned i = 0; i < 3; i++) { /* each of these was established before */
        serve(routing, 0, true, false, STATS_ERROR_RESET);
        serve(routing, 0, true, false, STATS_ERROR_HANDSHAKE);
    }
    assert_int_equal(runs_of(routing).of[STATS_ERROR_CONNECT], 0);
    assert_int_equal(runs_of(routing).of[STATS_ERROR_TIMEOUT], 0);
    assert_int_equal(runs_of(routing).of[STATS_ERROR_RESET], 3);
    assert_int_equal(runs_of(routing).of[STATS_ERROR_HANDSHAKE], 3);
    serve(routing, 0, true, false, -1); /* ended in order without a byte: says nothing */
    assert_int_equal(runs_of(routing).of[STATS_ERROR_RESET], 3);
    serve(routing, 0, true, true, STATS_ERROR_ABORT); /* an answer, then an abort */
    for (unsigned kind = 0; kind < STATS_ERROR_COUNT; kind++) {
        assert_int_equal(runs_of(routing).of[kind], kind == STATS_ERROR_ABORT ? 1 : 0);
    }
    routing_destroy(routing);
}

static void test_our_own_fault_is_counted_but_in_no_row(void **state)
{
    (void)state;
    struct routing *routing = watched(1, 1);
    struct support_picker picker;
    struct lease lease;
    struct stats_backend_reading reading;
    support_picker_init(&picker, routing, 0);
    assert_non_null(support_pick_hold(&picker, &lease));
    lease.excused = true;
    lease_release(&lease, STATS_ERROR_CONNECT, picker.input.now_us);
    backend_read(support_backend(routing, 0, 0), &reading);
    assert_int_equal(reading.errors[STATS_ERROR_CONNECT], 1);
    assert_int_equal(runs_of(routing).of[STATS_ERROR_CONNECT], 0);
    assert_int_equal(alarms, 0);
    routing_destroy(routing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_overrides_an_operator),
        cmocka_unit_test(test_what_comes_later_does_not_lift_it),
        cmocka_unit_test(test_rows_count_over_all_workers),
        cmocka_unit_test(test_what_ends_a_row),
        cmocka_unit_test(test_our_own_fault_is_counted_but_in_no_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
