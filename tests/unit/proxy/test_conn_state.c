/* The table of connection states: every edge that exists, and that no other does. Pure. */
#include "proxy/conn_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

struct edge {
    enum conn_state from, to;
};

static const struct edge edges[] = {
    {CONN_ACCEPTED, CONN_PICK},
    {CONN_PICK, CONN_CONNECTING},
    {CONN_PICK, CONN_RELAY},
    {CONN_CONNECTING, CONN_PICK},
    {CONN_CONNECTING, CONN_RELAY},
    {CONN_RELAY, CONN_HALF_CLOSED},
    {CONN_RELAY, CONN_FLUSHING},
    {CONN_HALF_CLOSED, CONN_FLUSHING},
    {CONN_ACCEPTED, CONN_CLOSED},
    {CONN_PICK, CONN_CLOSED},
    {CONN_CONNECTING, CONN_CLOSED},
    {CONN_RELAY, CONN_CLOSED},
    {CONN_HALF_CLOSED, CONN_CLOSED},
    {CONN_FLUSHING, CONN_CLOSED},
    {CONN_ACCEPTED, CONN_PROXY_HEADER},
    {CONN_PROXY_HEADER, CONN_PICK},
    {CONN_PROXY_HEADER, CONN_CLOSED},
    {CONN_ACCEPTED, CONN_CLIENT_TLS},
    {CONN_PROXY_HEADER, CONN_CLIENT_TLS},
    {CONN_CLIENT_TLS, CONN_PICK},
    {CONN_CLIENT_TLS, CONN_CLOSED},
    {CONN_ACCEPTED, CONN_CLIENT_HELLO},
    {CONN_PROXY_HEADER, CONN_CLIENT_HELLO},
    {CONN_CLIENT_HELLO, CONN_CLIENT_TLS},
    {CONN_CLIENT_HELLO, CONN_PICK},
    {CONN_CLIENT_HELLO, CONN_CLOSED},
    {CONN_PICK, CONN_QUEUED},
    {CONN_QUEUED, CONN_PICK},
    {CONN_QUEUED, CONN_CLOSED},
    {CONN_PICK, CONN_BACKEND_TLS},
    {CONN_CONNECTING, CONN_BACKEND_TLS},
    {CONN_BACKEND_TLS, CONN_PICK},
    {CONN_BACKEND_TLS, CONN_RELAY},
    {CONN_BACKEND_TLS, CONN_CLOSED},
};

static void test_every_edge(void **state)
{
    (void)state;
    for (int from = 0; from < CONN_STATE_COUNT; from++) {
        for (int to = 0; to < CONN_STATE_COUNT; to++) {
            bool expected = false;
            for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
                expected |= (int)edges[i].from == from && (int)edges[i].to == to;
            }
            assert_int_equal(conn_state_may_follow((enum conn_state)from, (enum conn_state)to), expected);
        }
    }
}

static void test_deadlines(void **state)
{
    (void)state;
    assert_int_equal(conn_state_deadline(CONN_PROXY_HEADER), CONN_DEADLINE_PROXY_HEADER);
    assert_int_equal(conn_state_deadline(CONN_CLIENT_TLS), CONN_DEADLINE_HANDSHAKE);
    assert_int_equal(conn_state_deadline(CONN_CLIENT_HELLO), CONN_DEADLINE_CLIENT_HELLO);
    assert_int_equal(conn_state_deadline(CONN_PICK), CONN_DEADLINE_NONE);
    assert_int_equal(conn_state_deadline(CONN_QUEUED), CONN_DEADLINE_QUEUE);
    assert_int_equal(conn_state_deadline(CONN_CONNECTING), CONN_DEADLINE_CONNECT);
    assert_int_equal(conn_state_deadline(CONN_BACKEND_TLS), CONN_DEADLINE_CONNECT);
    assert_int_equal(conn_state_deadline(CONN_RELAY), CONN_DEADLINE_IDLE);
    assert_int_equal(conn_state_deadline(CONN_HALF_CLOSED), CONN_DEADLINE_HALF_CLOSE);
    assert_int_equal(conn_state_deadline(CONN_FLUSHING), CONN_DEADLINE_HALF_CLOSE);
    assert_int_equal(conn_state_deadline(CONN_CLOSED), CONN_DEADLINE_NONE);
}

static void test_names_differ(void **state)
{
    (void)state;
    for (int a = 0; a < CONN_STATE_COUNT; a++) {
        for (int b = a + 1; b < CONN_STATE_COUNT; b++) {
            assert_string_not_equal(conn_state_name((enum conn_state)a), conn_state_name((enum conn_state)b));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_edge),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_names_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
