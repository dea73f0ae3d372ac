/*
 * Listing, counting and closing connections by command: what is asked of the data path, how the answer looks,
 * and what is refused.
 */
#include "tests/unit/admin/fake_below.h"
#include "tests/unit/admin/support.h"

#include "core/clock.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct support daemon_;
static struct proxy_service proxies[SUPPORT_SERVICES];
static struct proxy_connection rows[3];

static int setup(void **state)
{
    *state = &daemon_;
    support_create(&daemon_);
    memset(proxies, 0, sizeof(proxies));
    for (size_t i = 0; i < SUPPORT_SERVICES; i++) {
        daemon_.service[i].proxy = &proxies[i];
    }
    struct routing *routing = daemon_.service[0].routing;
    rows[0] = (struct proxy_connection){.id = 7,
                                        .age_us = 3000000,
                                        .idle_us = 500000,
                                        .bytes_in = 10,
                                        .bytes_out = 20,
                                        .group = 0,
                                        .backend = routing_backend_at(routing, 0, 0),
                                        .client = {.bytes = {192, 0, 2, 1}, .port = 5000, .family = 4},
                                        .state = "relay"};
    rows[1] = rows[0];
    rows[1].id = (UINT64_C(1) << 48) | 8;
    rows[1].age_us = 9000000;
    rows[1].client.port = 5001;
    rows[2] = rows[0];
    rows[2].id = 9;
    rows[2].age_us = 1000;
    rows[2].group = ROUTING_NONE;
    rows[2].backend = NULL;
    rows[2].client = (struct addr_ip){.family = 0};
    proxies[0].rows = rows;
    proxies[0].rows_len = 3;
    return 0;
}

static int teardown(void **state)
{
    support_destroy(*state);
    return 0;
}

/* Runs a line whose reply comes later; the loop runs for its timers. The caller frees. */
static char *run_job(struct support *s, const char *line)
{
    struct dispatch_reply reply;
    char *copy = strdup(line);
    char *text = NULL;
    size_t length = 0;
    uint64_t until_us = clock_mono_us() + 10 * CLOCK_US_PER_S;
    assert_non_null(copy);
    dispatch_line(&s->admin, &s->peer, copy, strlen(copy), &reply);
    free(copy);
    if (reply.follow.kind == COMMAND_FOLLOW_NONE) {
        return reply.text;
    }
    free(reply.text);
    while (reply.follow.kind != COMMAND_FOLLOW_NONE && clock_mono_us() < until_us) {
        free(text);
        assert_int_equal(dispatch_follow(&s->admin, &reply.follow, clock_mono_us(), &text, &length), ERR_OK);
        (void)event_base_loop(s->base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(reply.follow.kind, COMMAND_FOLLOW_NONE);
    assert_true(list_empty(&s->admin.jobs));
    return text;
}

static void expect(struct support *s, const char *line, const char *wanted)
{
    char *reply = run_job(s, line);
    if (strcmp(reply, wanted) != 0) {
        fail_msg("%s\n  wanted: %s\n  got:    %s", line, wanted, reply);
    }
    free(reply);
}

static void test_list(void **state)
{
    struct support *s = *state;
    expect(s, "connections api",
           "1-8        api/old/a   client 192.0.2.1:5001   relay   age 9s   idle 500ms   in 10 out 20 bytes\n"
           "0-7        api/old/a   client 192.0.2.1:5000   relay   age 3s   idle 500ms   in 10 out 20 bytes\n"
           "0-9        api/-/-   client unix   relay   age 1ms   idle 500ms   in 10 out 20 bytes\n"
           "3 of 3 connections, oldest first\n\n");
    expect(s, "connections --limit 1",
           "1-8        api/old/a   client 192.0.2.1:5001   relay   age 9s   idle 500ms   in 10 out 20 bytes\n"
           "1 of 3 connections, oldest first\n\n");
    expect(s, "connections --limit 1 --json api",
           "{\"matched\":3,\"complete\":true,\"elsewhere\":[],\"connections\":[{\"id\":\"1-8\",\"service\":"
           "\"api\",\"group\":"
           "\"old\",\"backend\":\"a\",\"client\":\"192.0.2.1:5001\",\"state\":\"relay\",\"age_s\":9.0,"
           "\"idle_s\":0.5,\"bytes_in\":10,\"bytes_out\":20}]}\n\n");
    proxies[0].cut_short = true;
    expect(s, "connections web", "0 of 0 connections, oldest first\n\n");
    expect(s, "connections api --limit 1 --count-by group",
           "       2  api/old\n       3  in all; 1 of 2 shown; incomplete: memory ran out\n\n");
}

static void test_count(void **state)
{
    struct support *s = *state;
    expect(s, "connections --count-by backend",
           "       2  api/old/a\n       1  api/-/-\n       3  in all; 2 of 2 shown\n\n");
    expect(s, "connections --count-by client",
           "       2  192.0.2.1\n       1  unix\n       3  in all; 2 of 2 shown\n\n");
    expect(s, "connections --json --count-by group",
           "{\"matched\":3,\"complete\":true,\"elsewhere\":[],\"counts\":[{\"key\":\"api/old\",\"open\":2},"
           "{\"key\":\"api/-\",\"open\":1}]}\n\n");
}

/* More different clients than the table begins with. */
static void test_count_many(void **state)
{
    struct support *s = *state;
    static struct proxy_connection many[1000];
    for (size_t i = 0; i < 1000; i++) {
        many[i] = rows[0];
        many[i].client.bytes[3] = (uint8_t)(i % 250);
        many[i].client.bytes[2] = (uint8_t)(i % 2);
    }
    proxies[0].rows = many;
    proxies[0].rows_len = 1000;
    char *reply = run_job(s, "connections --count-by client --limit 1000");
    assert_non_null(strstr(reply, "    1000  in all; 250 of 250 shown\n"));
    assert_non_null(strstr(reply, "       4  192.0.0.0\n"));
    free(reply);
}

static void test_filters(void **state)
{
    struct support *s = *state;
    free(run_job(s, "connections --older 5s --idle 2s --client 10.1.2.3/8 api --backend a"));
    assert_int_equal(proxies[0].filter.idle_us, 2000000);
    assert_true(proxies[0].filter.before_us > 0 && proxies[0].filter.before_us < clock_mono_us());
    assert_ptr_equal(proxies[0].filter.backend, rows[0].backend);
    assert_int_equal(proxies[0].filter.group, 0);
    assert_int_equal(proxies[0].filter.client_bits, 8);
    assert_int_equal(proxies[0].filter.client.bytes[0], 10);
    assert_int_equal(proxies[0].filter.client.bytes[1], 0);
    free(run_job(s, "connections api --client 2001:db8::1 --backend new/c"));
    assert_int_equal(proxies[0].filter.client.family, 6);
    free(run_job(s, "connections --client ::ffff:10.1.2.3/104"));
    assert_int_equal(proxies[0].filter.client.family, 4);
    assert_int_equal(proxies[0].filter.client_bits, 8);
    assert_memory_equal(proxies[0].filter.client.bytes, "\x0a\0\0\0\0\0\0\0", 8);
    free(run_job(s, "connections --client 10.1.2.3/0"));
    assert_int_equal(proxies[0].filter.client.family, 4);
    assert_int_equal(proxies[0].filter.client_bits, 0);
    assert_int_equal(proxies[0].filter.client.bytes[0], 0);
    free(run_job(s, "connections api --client 2001:db8::1 --backend new/c"));
    assert_int_equal(proxies[0].filter.client_bits, 128);
    assert_int_equal(proxies[0].filter.group, 1);
}

static void test_kill(void **state)
{
    struct support *s = *state;
    proxies[1].closable = 1;
    expect(s, "kill 1-8 reason \"stuck\"", "closed 1 connection: 1-8\n\n");
    assert_int_equal(proxies[1].filter.id, (UINT64_C(1) << 48) | 8);
    expect(s, "kill 1-8", "error: no connection 1-8 is open; connections lists them\n\n");
    proxies[0].closable = 400;
    expect(s, "kill api/old", "closed 400 connections: api/old\n\n");
    assert_int_equal(proxies[0].filter.group, 0);
    assert_null(proxies[0].filter.backend);
    assert_int_equal(proxies[0].filter.max, 0);
    proxies[0].closable = 2;
    expect(s, "kill api/old/a", "closed 2 connections: api/old/a\n\n");
    assert_ptr_equal(proxies[0].filter.backend, rows[0].backend);
    expect(s, "kill api --client ::/1", "closed 0 connections: api\n\n");
    struct events_entry entry;
    assert_int_equal(events_latest(s->events, "web", &entry, 1), 1);
    assert_string_equal(entry.kind, "kill");
    assert_string_equal(entry.text, "closed 1 connection: 1-8");
    assert_string_equal(entry.reason, "stuck");
}

static void test_kill_at_a_pace(void **state)
{
    struct support *s = *state;
    uint64_t began_us = clock_mono_us();
    proxies[0].closable = 25;
    expect(s, "kill api/old --rate 100", "closed 25 connections: api/old\n\n");
    assert_int_equal(proxies[0].filter.max, 10);
    assert_true(clock_mono_us() - began_us >= 190000); /* 10, 10 and 5, a tenth of a second apart */
}

/* A client that leaves, and a room that goes, leave nothing behind. */
static void test_nobody_waits(void **state)
{
    struct support *s = *state;
    struct dispatch_reply reply;
    char line[] = "kill api/old --rate 1";
    proxies[0].closable = 5;
    dispatch_line(&s->admin, &s->peer, line, strlen(line), &reply);
    assert_int_equal(reply.follow.kind, COMMAND_FOLLOW_JOB);
    free(reply.text);
    dispatch_unfollow(&reply.follow);
    assert_false(list_empty(&s->admin.jobs));
    job_orphan_all(&s->admin);
    assert_true(list_empty(&s->admin.jobs));
}

static void test_refusals(void **state)
{
    struct support *s = *state;
    static const char *const lines[][2] = {
        {"connections wbe", "error: no service \"wbe\" (did you mean \"web\"?)\n"},
        {"connections --oldr 5s", "error: no option \"--oldr\" (did you mean \"--older\"?)\n"},
        {"connections --xyzzy 5s", "error: usage: connections [SERVICE]"},
        {"connections --older", "error: usage: connections"},
        {"connections --older soon", "error: \"soon\" is not a duration"},
        {"connections --older 1s --older 2s", "error: usage: connections"},
        {"connections --client localhost", "error: \"localhost\" is not a client"},
        {"connections --client 10.0.0.0/33", "error: \"10.0.0.0/33\" is not a client"},
        {"connections --limit 0", "error: \"0\" is not a number from 1 to 10000"},
        {"connections --limit 10001", "error: \"10001\" is not a number from 1 to 10000"},
        {"connections --count-by colour", "error: \"colour\" is not one of backend|client|group"},
        {"connections --backend a", "error: usage: connections"},
        {"connections api --backend x", "error: no backend \"x\" in api"},
        {"connections api --backend old/x", "error: no backend \"x\""},
        {"kill", "error: usage: kill"},
        {"kill api", "error: all connections of api? say which: kill api/GROUP"},
        {"kill api --client 0.0.0.0/0", "error: all connections of api? say which"},
        {"kill --client ::/0 api", "error: all connections of api? say which"},
        {"kill api/", "error: no group \"\""},
        {"kill api/odl", "error: no group \"odl\" (did you mean \"old\"?)"},
        {"kill api/old/z", "error: no backend \"z\""},
        {"kill 1-0", "error: no service \"1-0\""},
        {"kill 99999-1", "error: no service \"99999-1\""},
        {"kill api/old --rate 0", "error: \"0\" is not a number from 1 to 1000000"},
        {"kill api/old --json", "error: usage: kill"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        support_expect(s, lines[i][0], lines[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill_at_a_pace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
