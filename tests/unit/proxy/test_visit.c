/*
 * Looking at open connections while they live: all are shown once, the filter holds, connections that close
 * in between do no harm, one can be closed by its id.
 */
#include "core/clock.h"
#include "tests/unit/proxy/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CROWD 700 /* more than a slice on each worker */

struct seen {
    struct rig *rig;
    size_t n;
    bool over, complete;
    struct proxy_connection row[CROWD + 1];
    int *close_meanwhile; /* descriptors of clients, closed after the first rows; NULL: none */
};

static struct seen seen;
static int client[CROWD], backend[CROWD];

static void on_rows(void *context, const struct proxy_connection *rows, size_t n)
{
    struct seen *s = context;
    for (size_t i = 0; i < n && s->n < CROWD + 1; i++) {
        s->row[s->n++] = rows[i];
    }
    if (s->close_meanwhile != NULL) {
        for (size_t i = 0; i < CROWD; i++) {
            close(s->close_meanwhile[i]);
        }
        s->close_meanwhile = NULL;
    }
}

static void on_done(void *context, bool complete)
{
    struct seen *s = context;
    s->over = true;
    s->complete = complete;
}

static void visit(struct rig *rig, const struct proxy_close_filter *filter, int *close_meanwhile)
{
    const struct proxy_visitor visitor = {.rows = on_rows, .done = on_done, .context = &seen};
    seen.rig = rig;
    seen.n = 0;
    seen.over = false;
    seen.close_meanwhile = close_meanwhile;
    assert_int_equal(proxy_service_visit(rig->service, filter, &visitor), 0);
    for (uint64_t until = rig_now_ms() + RIG_WAIT_MS; !seen.over && rig_now_ms() < until;) {
        rig_turn(rig);
    }
    assert_true(seen.over && seen.complete);
}

static void crowd_open(struct rig *rig)
{
    for (int i = 0; i < CROWD; i++) {
        client[i] = rig_client(rig);
        backend[i] = rig_accept(rig, 0);
    }
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = ((const struct proxy_connection *)a)->id;
    uint64_t y = ((const struct proxy_connection *)b)->id;
    return (x > y) - (x < y);
}

static void on_killed(void *context, uint64_t closed)
{
    *(uint64_t *)context = closed;
}

static uint64_t kill_one(struct rig *rig, uint64_t id)
{
    const struct proxy_close_filter filter = {.group = ROUTING_NONE, .id = id};
    uint64_t closed = UINT64_MAX;
    assert_int_equal(proxy_service_close(rig->service, &filter, STATS_CLOSE_KILLED, on_killed, &closed), 0);
    for (uint64_t until = rig_now_ms() + RIG_WAIT_MS; closed == UINT64_MAX && rig_now_ms() < until;) {
        rig_turn(rig);
    }
    return closed;
}

static void test_all_once(void **state)
{
    (void)state;
    const struct rig_options options = {.backends = 1};
    const struct proxy_close_filter all = {.group = ROUTING_NONE};
    struct rig rig;
    char id[PROXY_ID_TEXT_MAX];
    uint64_t parsed = 0;
    rig_start(&rig, &options);
    crowd_open(&rig);
    rig_send(client[0], "hello", 5);
    rig_expect(backend[0], "hello", 5);
    rig_send(backend[0], "yes", 3);
    rig_expect(client[0], "yes", 3);
    visit(&rig, &all, NULL);
    assert_int_equal(seen.n, CROWD);
    uint64_t bytes_in = 0, bytes_out = 0;
    qsort(seen.row, seen.n, sizeof(seen.row[0]), by_id);
    for (size_t i = 0; i < seen.n; i++) {
        assert_true(i == 0 || seen.row[i].id > seen.row[i - 1].id);
        assert_ptr_equal(seen.row[i].backend, routing_backend_at(rig.routing, 0, 0));
        assert_string_equal(seen.row[i].state, "relay");
        assert_int_equal(seen.row[i].client.family, 4);
        assert_true(seen.row[i].age_us < 60 * CLOCK_US_PER_S && seen.row[i].idle_us <= seen.row[i].age_us);
        proxy_id_format(seen.row[i].id, id, sizeof(id));
        assert_int_equal(proxy_id_parse(id, &parsed), 0);
        assert_int_equal(parsed, seen.row[i].id);
        bytes_in += seen.row[i].bytes_in;
        bytes_out += seen.row[i].bytes_out;
    }
    assert_int_equal(bytes_in, 5);
    assert_int_equal(bytes_out, 3);
    uint64_t one = seen.row[CROWD / 2].id;
    assert_int_equal(kill_one(&rig, one), 1);
    assert_int_equal(kill_one(&rig, one), 0);
    visit(&rig, &all, NULL);
    assert_int_equal(seen.n, CROWD - 1);
    for (size_t i = 0; i < seen.n; i++) {
        assert_true(seen.row[i].id != one);
    }
    for (int i = 0; i < CROWD; i++) {
        close(client[i]);
        close(backend[i]);
    }
    rig_stop(&rig);
}

static void test_filters(void **state)
{
    (void)state;
    const struct rig_options options = {.backends = 1};
    struct proxy_close_filter filter = {.group = ROUTING_NONE, .client_bits = 8};
    struct rig rig;
    rig_start(&rig, &options);
    rig_pair(&rig, &client[0], &backend[0]);
    filter.client.family = 4;
    filter.client.bytes[0] = 127;
    visit(&rig, &filter, NULL);
    assert_int_equal(seen.n, 1);
    filter.client.bytes[0] = 126;
    visit(&rig, &filter, NULL);
    assert_int_equal(seen.n, 0);
    filter = (struct proxy_close_filter){.group = ROUTING_NONE, .before_us = clock_mono_us()};
    rig_pair(&rig, &client[1], &backend[1]);
    visit(&rig, &filter, NULL);
    assert_int_equal(seen.n, 1);
    filter = (struct proxy_close_filter){.group = ROUTING_NONE, .idle_us = UINT64_C(3600000000)};
    visit(&rig, &filter, NULL);
    assert_int_equal(seen.n, 0);
    filter = (struct proxy_close_filter){.group = 1};
    visit(&rig, &filter, NULL);
    assert_int_equal(seen.n, 0);
    for (int i = 0; i < 2; i++) {
        close(client[i]);
        close(backend[i]);
    }
    rig_stop(&rig);
}

static void test_closing_meanwhile(void **state)
{
    (void)state;
    const struct rig_options options = {.backends = 1};
    const struct proxy_close_filter all = {.group = ROUTING_NONE};
    struct rig rig;
    rig_start(&rig, &options);
    crowd_open(&rig);
    visit(&rig, &all, client);
    assert_true(seen.n > 0 && seen.n <= CROWD);
    qsort(seen.row, seen.n, sizeof(seen.row[0]), by_id);
    for (size_t i = 1; i < seen.n; i++) {
        assert_true(seen.row[i].id > seen.row[i - 1].id);
    }
    for (int i = 0; i < CROWD; i++) {
        close(backend[i]);
    }
    rig_wait_open(&rig, 0);
    visit(&rig, &all, NULL);
    assert_int_equal(seen.n, 0);
    rig_stop(&rig);
}

static void test_ids(void **state)
{
    static const char *const bad[] = {
        "",    "-", "1", "1-", "-1", "1-0", "x-1", "1-x", "65536-1", "1-281474976710656", "00000000000-1",
        "1--1"};
    uint64_t id;
    char text[PROXY_ID_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(proxy_id_parse(bad[i], &id), ERR_PARSE);
    }
    assert_int_equal(proxy_id_parse("65535-281474976710655", &id), 0);
    assert_true(id == UINT64_MAX);
    proxy_id_format(id, text, sizeof(text));
    assert_string_equal(text, "65535-281474976710655");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_once),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_closing_meanwhile),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
