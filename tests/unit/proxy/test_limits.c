/*
 * What bounds connections: timeouts, the connection limit, descriptors that run out, closing by filter,
 * stopping; and what binding refuses.
 */
#include "core/clock.h"
#include "tests/unit/proxy/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t pauses(struct rig *rig)
{
    struct stats_service_reading reading;
    proxy_service_read(rig->service, &reading);
    return reading.accept_pauses;
}

static void echo(int client, int backend)
{
    rig_send(client, "hey", 3);
    rig_expect(backend, "hey", 3);
    rig_send(backend, "ho", 2);
    rig_expect(client, "ho", 2);
}

/* Ends in order, the client first. */
static void finish(int client, int backend)
{
    close(client);
    rig_expect_end(backend);
    close(backend);
}

static void test_idle(void **state)
{
    (void)state;
    /* So much longer than the pauses that a busy machine does not make one of them too long. */
    const struct rig_options options = {.idle_us = 2000 * CLOCK_US_PER_MS};
    struct rig rig;
    int client, backend;
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    for (int i = 0; i < 22; i++) { /* traffic keeps it alive for longer than the timeout */
        echo(client, backend);
        rig_expect_quiet(client, 100);
    }
    echo(client, backend);
    uint64_t began = rig_now_ms();
    char byte;
    assert_int_equal(recv(client, &byte, 1, 0), 0);
    uint64_t took = rig_now_ms() - began;
    assert_true(took >= 1990 && took < 8000);
    rig_expect_end(backend);
    rig_wait_closed(&rig, STATS_CLOSE_IDLE, 1);
    close(client);
    close(backend);
    rig_stop(&rig);
}

static void test_half_closed_overstays(void **state)
{
    (void)state;
    /* So much longer than the pauses that a busy machine does not make one of them too long. */
    const struct rig_options options = {.half_close_us = 2000 * CLOCK_US_PER_MS};
    struct rig rig;
    int client, backend;
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    rig_expect_end(backend);
    for (int i = 0; i < 25; i++) { /* as long as something moves it may stay */
        rig_send(backend, "more", 4);
        rig_expect(client, "more", 4);
        rig_expect_quiet(client, 80);
    }
    rig_expect_end(client);
    rig_wait_closed(&rig, STATS_CLOSE_IDLE, 1);
    close(client);
    close(backend);
    rig_stop(&rig);
}

static void test_connection_limit(void **state)
{
    (void)state;
    const struct rig_options options = {.max_connections = 3};
    struct rig rig;
    int client[4], backend[4];
    rig_start(&rig, &options);
    assert_int_equal(proxy_max_connections(rig.proxy), 3);
    for (int i = 0; i < 3; i++) {
        rig_pair(&rig, &client[i], &backend[i]);
    }
    client[3] = rig_client(&rig); /* waits in the kernel's queue */
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    while (pauses(&rig) == 0 && rig_now_ms() < until) {
        rig_turn(&rig);
    }
    assert_true(pauses(&rig) > 0);
    rig_expect_quiet(rig.backend_fd[0], 200);
    echo(client[0], backend[0]);
    finish(client[0], backend[0]);
    uint64_t began = rig_now_ms();
    backend[3] = rig_accept(&rig, 0);
    assert_true(rig_now_ms() - began < 1000);
    echo(client[3], backend[3]);
    for (int i = 1; i < 4; i++) {
        finish(client[i], backend[i]);
    }
    rig_stop(&rig);
}

static uint64_t cpu_us(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * CLOCK_US_PER_S +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Row 14: without descriptors accepting pauses instead of spinning, what is open goes on, and accepting goes
 * on within a second of their return. */
static void test_descriptors_run_out(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    struct rlimit before, low;
    int client, backend, late[8];
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    const struct addr *address = proxy_service_listen_address(rig.service, 0);
    const struct timeval wait = {.tv_sec = 10};
    for (int i = 0; i < 8; i++) {
        late[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(late[i] >= 0);
        assert_int_equal(setsockopt(late[i], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    uint64_t cpu_before = cpu_us(), began = rig_now_ms();
    for (int i = 0; i < 8; i++) {
        assert_int_equal(connect(late[i], &address->sa, address->len), 0);
    }
    echo(client, backend);
    while (pauses(&rig) == 0 && rig_now_ms() < began + RIG_WAIT_MS) {
        rig_turn(&rig);
    }
    struct pollfd none = {.fd = rig.backend_fd[0], .events = POLLIN};
    int arrived = poll(&none, 1, 500);
    uint64_t cpu_used = cpu_us() - cpu_before, elapsed_us = (rig_now_ms() - began) * CLOCK_US_PER_MS;
    echo(client, backend);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    uint64_t paused = pauses(&rig);
    assert_int_equal(arrived, 0);
    assert_true(paused > 0 && paused < 100);
    assert_true(cpu_used < elapsed_us / 10); /* all of this process; a spin would take several times that */
    began = rig_now_ms();
    for (int i = 0; i < 8; i++) {
        int accepted = rig_accept(&rig, 0);
        close(accepted);
    }
    assert_true(rig_now_ms() - began < 1000);
    for (int i = 0; i < 8; i++) {
        rig_expect_end(late[i]);
        close(late[i]);
    }
    finish(client, backend);
    rig_stop(&rig);
}

static void on_killed(void *context, uint64_t closed)
{
    *(uint64_t *)context = closed;
}

static uint64_t kill_and_wait(struct rig *rig, const struct backend *backend, enum stats_close reason)
{
    const struct proxy_close_filter filter = {.group = ROUTING_NONE, .backend = backend};
    uint64_t closed = UINT64_MAX, until = rig_now_ms() + RIG_WAIT_MS;
    assert_int_equal(proxy_service_close(rig->service, &filter, reason, on_killed, &closed), 0);
    while (closed == UINT64_MAX && rig_now_ms() < until) {
        rig_turn(rig);
    }
    return closed;
}

static uint64_t close_some(struct rig *rig, const struct proxy_close_filter *filter)
{
    uint64_t closed = UINT64_MAX, until = rig_now_ms() + RIG_WAIT_MS;
    assert_int_equal(proxy_service_close(rig->service, filter, STATS_CLOSE_DRAINED, on_killed, &closed), 0);
    while (closed == UINT64_MAX && rig_now_ms() < until) {
        rig_turn(rig);
    }
    return closed;
}

#define FEW 8

/* A drain closes a number at a time: the idle ones only, or first. */
static void test_close_a_few(void **state)
{
    (void)state;
    const struct rig_options options = {.backends = 1};
    struct rig rig;
    int client[FEW], backend[FEW];
    rig_start(&rig, &options);
    for (int i = 0; i < FEW; i++) {
        client[i] = rig_client(&rig);
        backend[i] = rig_accept(&rig, 0);
        echo(client[i], backend[i]);
    }
    struct proxy_close_filter filter = {.group = 0, .max = 3, .idle_us = UINT64_C(3600000000)};
    assert_int_equal(close_some(&rig, &filter), 0);
    for (uint64_t until = rig_now_ms() + 300; rig_now_ms() < until;) {
        echo(client[0], backend[0]); /* these two are at work, the others idle */
        echo(client[1], backend[1]);
    }
    filter.idle_us = 200000;
    assert_int_equal(close_some(&rig, &filter), 3);
    echo(client[0], backend[0]);
    echo(client[1], backend[1]);
    filter.max = 0;
    assert_int_equal(close_some(&rig, &filter), FEW - 5);
    echo(client[0], backend[0]);
    echo(client[1], backend[1]);
    filter.max = 1;
    filter.idle_first = true;
    assert_int_equal(close_some(&rig, &filter), 1);
    filter.max = 10;
    assert_int_equal(close_some(&rig, &filter), 1);
    rig_wait_closed(&rig, STATS_CLOSE_DRAINED, FEW);
    for (int i = 0; i < FEW; i++) {
        rig_expect_end(client[i]);
        finish(client[i], backend[i]);
    }
    rig_stop(&rig);
}

#define CROWD 600

static void test_close_by_filter(void **state)
{
    (void)state;
    const struct rig_options options = {.backends = 2};
    struct rig rig;
    static int client[CROWD], backend[CROWD];
    unsigned per[2] = {0, 0}, of[CROWD];
    rig_start(&rig, &options);
    for (int i = 0; i < CROWD; i++) {
        client[i] = rig_client(&rig);
        struct pollfd fds[2] = {{.fd = rig.backend_fd[0], .events = POLLIN},
                                {.fd = rig.backend_fd[1], .events = POLLIN}};
        assert_true(poll(fds, 2, RIG_WAIT_MS) > 0);
        of[i] = fds[0].revents ? 0 : 1;
        per[of[i]]++;
        backend[i] = rig_accept(&rig, of[i]);
    }
    assert_true(per[0] > 0 && per[1] > 0);
    assert_int_equal(kill_and_wait(&rig, routing_backend_at(rig.routing, 0, 0), STATS_CLOSE_KILLED), per[0]);
    rig_wait_closed(&rig, STATS_CLOSE_KILLED, per[0]);
    for (int i = 0; i < CROWD; i++) {
        if (of[i] == 0) {
            rig_expect_end(client[i]);
            rig_expect_end(backend[i]);
        } else {
            echo(client[i], backend[i]);
        }
    }
    assert_int_equal(kill_and_wait(&rig, NULL, STATS_CLOSE_DRAINED), per[1]);
    rig_wait_closed(&rig, STATS_CLOSE_DRAINED, per[1]);
    assert_int_equal(kill_and_wait(&rig, NULL, STATS_CLOSE_DRAINED), 0);
    for (int i = 0; i < CROWD; i++) {
        close(client[i]);
        close(backend[i]);
    }
    rig_stop(&rig);
}

static void test_stop(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    int client, backend;
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    struct addr address = *proxy_service_listen_address(rig.service, 0);
    proxy_service_stop(rig.service);
    int code = 0;
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    while (code != ECONNREFUSED && rig_now_ms() < until) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        code = connect(fd, &address.sa, address.len) == 0 ? 0 : errno;
        close(fd);
        rig_turn(&rig);
    }
    assert_int_equal(code, ECONNREFUSED);
    echo(client, backend);
    finish(client, backend);
    struct pollfd extra = {.fd = rig.backend_fd[0], .events = POLLIN};
    while (proxy_service_open(rig.service) > 0 && poll(&extra, 1, 100) > 0) {
        close(rig_accept(&rig, 0)); /* came in before the stop */
    }
    rig_stop(&rig);
}

/* What is open when the workers end is closed and counted. */
static void test_end_with_open_connections(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    int client[20], backend[20];
    rig_start(&rig, &options);
    for (int i = 0; i < 20; i++) {
        rig_pair(&rig, &client[i], &backend[i]);
        echo(client[i], backend[i]);
    }
    rig.leave_open = true;
    rig_stop(&rig);
    for (int i = 0; i < 20; i++) {
        rig_expect_end(client[i]);
        rig_expect_end(backend[i]);
        close(client[i]);
        close(backend[i]);
    }
}

static int create_another(struct rig *rig, const struct addr *address, struct proxy_service **out,
                          struct err_text *err)
{
    const struct proxy_service_spec spec = {
        .name = "other",
        .routing = rig->routing,
        .listen = address,
        .listen_len = 1,
        .timeouts = {.connect_us = CLOCK_US_PER_S, .idle_us = CLOCK_NEVER, .half_close_us = CLOCK_NEVER}};
    return proxy_service_create(rig->proxy, &spec, out, err);
}

static void test_address_in_use(void **state)
{
    const struct rig_options *options = *state;
    struct rig rig;
    struct proxy_service *other = NULL;
    struct err_text err = {""};
    char text[ADDR_TEXT_MAX];
    rig_start(&rig, options);
    const struct addr *address = proxy_service_listen_address(rig.service, 0);
    unsigned descriptors = rig_descriptors();
    assert_int_equal(create_another(&rig, address, &other, &err), ERR_EXISTS);
    addr_format(address, text, sizeof(text));
    assert_non_null(strstr(err.text, text));
    if (!addr_is_unix(address)) { /* the probe of a Unix path comes in as a connection */
        assert_int_equal(rig_descriptors(), descriptors);
    }
    /* What could not be created has not harmed what is there. */
    int client = rig_client(&rig);
    uint64_t served = 0;
    rig_send(client, "hey", 3);
    for (unsigned left = addr_is_unix(address) ? 2 : 1; left > 0; left--) { /* in either order */
        int backend = rig_accept(&rig, 0);
        char got[3];
        served += recv(backend, got, 3, 0) == 3;
        close(backend);
    }
    assert_int_equal(served, 1);
    rig_expect_end(client);
    close(client);
    rig_stop(&rig);
}

int main(void)
{
    static struct rig_options tcp = {0}, unix_paths = {.unix_paths = true};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_half_closed_overstays),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_descriptors_run_out),
        cmocka_unit_test(test_close_by_filter),
        cmocka_unit_test(test_close_a_few),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_end_with_open_connections),
        cmocka_unit_test_prestate(test_address_in_use, &tcp),
        cmocka_unit_test_prestate(test_address_in_use, &unix_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
