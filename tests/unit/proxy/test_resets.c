/*
 * Connections that do not end in order: resets on either side, a peer that goes on sending to one that has
 * closed, a reader that stops. An abort stays an abort, but what had been read before it arrives.
 */
#include "core/clock.h"
#include "tests/unit/proxy/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB ((size_t)1024 * 1024)

/* Sends as much as is taken without waiting, at most size. */
static size_t send_some(int fd, const unsigned char *bytes, size_t size)
{
    size_t sent = 0;
    ssize_t n;
    while (sent < size && (n = send(fd, bytes + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT)) > 0) {
        sent += (size_t)n;
    }
    return sent;
}

/* Waits until the peer's kernel has acknowledged all that was sent: then a reset discards nothing here. */
static void wait_taken(struct rig *rig, uint64_t bytes, bool from_backend)
{
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    uint64_t seen = 0;
    while (seen < bytes && rig_now_ms() < until) {
        struct stats_backend_reading reading = rig_backend_stats(rig, 0);
        seen = from_backend ? reading.bytes_out : reading.bytes_in;
        rig_turn(rig);
    }
    assert_int_equal(seen, bytes);
}

/* Row 7, in both directions: data, then a reset. */
static void data_then_reset(bool from_backend, size_t size)
{
    const struct rig_options options = {0};
    struct rig rig;
    int client, backend;
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    rig_fill(bytes, size, 7, 0);
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    int writer = from_backend ? backend : client, reader = from_backend ? client : backend;
    size_t sent = send_some(writer, bytes, size);
    wait_taken(&rig, sent, from_backend);
    rig_reset(writer);
    rig_expect(reader, bytes, sent);
    assert_int_equal(rig_expect_reset(reader), 0);
    close(reader);
    rig_wait_closed(&rig, from_backend ? STATS_CLOSE_BACKEND_RESET : STATS_CLOSE_CLIENT_RESET, 1);
    struct stats_backend_reading reading = rig_backend_stats(&rig, 0);
    assert_int_equal(reading.errors[STATS_ERROR_ABORT], from_backend ? 1 : 0);
    rig_stop(&rig);
    free(bytes);
}

static void test_data_then_reset(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 1000, 65536, 100000, MIB};
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        data_then_reset(i % 2 == 0, sizes[i / 2]);
    }
}

/* The reader starts only after the reset: what the relay holds and what the kernel still has to send must
 * outlive it. */
static void test_reset_waits_for_a_slow_reader(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    rig_start(&rig, &options);
    const struct addr *address = proxy_service_listen_address(rig.service, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int small = 4096;
    const struct timeval wait = {.tv_sec = 10};
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
    assert_int_equal(connect(client, &address->sa, address->len), 0);
    int backend = rig_accept(&rig, 0);
    const size_t size = 200000;
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    rig_fill(bytes, size, 8, 0);
    rig_send(backend, bytes, size);
    wait_taken(&rig, size, true);
    rig_reset(backend);
    rig_expect_quiet(rig.backend_fd[0], 100); /* the connection lives on although nobody reads */
    assert_int_equal(proxy_service_open(rig.service), 1);
    rig_expect(client, bytes, size);
    assert_int_equal(rig_expect_reset(client), 0);
    close(client);
    rig_stop(&rig);
    free(bytes);
}

/* A reset right behind data, before anybody looked: no second event tells of it. */
static void test_reset_hidden_behind_data(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    rig_start(&rig, &options);
    for (int i = 0; i < 50; i++) {
        int client, backend;
        rig_pair(&rig, &client, &backend);
        rig_send(client, "QUIT", 4);
        rig_reset(client);
        assert_true(rig_expect_reset(backend) <= 4);
        close(backend);
    }
    rig_wait_closed(&rig, STATS_CLOSE_CLIENT_RESET, 50);
    rig_stop(&rig);
}

static void test_reset_before_the_first_byte(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    int client, backend;
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    rig_send(client, "hello", 5);
    rig_expect(backend, "hello", 5);
    rig_reset(backend);
    assert_int_equal(rig_expect_reset(client), 0);
    close(client);
    rig_wait_closed(&rig, STATS_CLOSE_BACKEND_RESET, 1);
    assert_int_equal(rig_backend_stats(&rig, 0).errors[STATS_ERROR_RESET], 1);
    rig_stop(&rig);
}

/* Row 9: the backend answers and closes while the client goes on sending; the answer is whole. */
static void test_reply_survives_late_data(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    const size_t size = 300000;
    unsigned char *bytes = malloc(size), junk[4096] = {0};
    assert_non_null(bytes);
    rig_fill(bytes, size, 9, 0);
    rig_start(&rig, &options);
    for (int i = 0; i < 20; i++) {
        int client, backend;
        rig_pair(&rig, &client, &backend);
        rig_send(client, "request", 7);
        rig_expect(backend, "request", 7);
        rig_send(backend, bytes, size);
        /* What the backend's own kernel has not sent when late data meets its closed socket is lost there. */
        wait_taken(&rig, (uint64_t)(i + 1) * size, true);
        close(backend);
        for (int n = 0; n < 20; n++) {
            (void)send(client, junk, sizeof(junk), MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        rig_expect(client, bytes, size);
        close(client);
    }
    rig_wait_open(&rig, 0);
    assert_int_equal(rig_backend_stats(&rig, 0).errors[STATS_ERROR_ABORT], 0);
    rig_stop(&rig);
    free(bytes);
}

/* The client has closed, the backend still sends: it learns of it, and nothing stays. */
static void test_client_gone_while_backend_sends(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    int client, backend;
    static unsigned char bytes[65536];
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    close(client);
    rig_expect_end(backend);
    ssize_t n = 1;
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    while (n > 0 && rig_now_ms() < until) {
        n = send(backend, bytes, sizeof(bytes), MSG_NOSIGNAL);
    }
    assert_int_equal(n, -1);
    assert_true(errno == ECONNRESET || errno == EPIPE);
    close(backend);
    rig_wait_closed(&rig, STATS_CLOSE_CLIENT_RESET, 1);
    rig_stop(&rig);
}

/* Row 4: a reader that stops costs its connection at the timeout, on both sides. */
static void test_stopped_reader(void **state)
{
    (void)state;
    const struct rig_options options = {.idle_us = 300 * CLOCK_US_PER_MS};
    struct rig rig;
    int client, backend;
    static unsigned char bytes[65536];
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    ssize_t n = 1;
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    while (n > 0 && rig_now_ms() < until) {
        n = send(backend, bytes, sizeof(bytes), MSG_NOSIGNAL);
    }
    assert_int_equal(n, -1);
    assert_true(errno == ECONNRESET || errno == EPIPE);
    rig_wait_closed(&rig, STATS_CLOSE_IDLE, 1);
    (void)rig_expect_reset(client);
    close(client);
    close(backend);
    rig_stop(&rig);
}

/* Row 8: where both ends close in order nobody ever sees a reset. */
static void test_no_reset_in_clean_runs(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    rig_start(&rig, &options);
    for (uint64_t i = 0; i < 40; i++) {
        int client, backend, error = -1;
        socklen_t len = sizeof(error);
        rig_pair(&rig, &client, &backend);
        int first = i % 2 ? client : backend, second = i % 2 ? backend : client;
        rig_send(first, "bye", 3);
        assert_int_equal(shutdown(first, SHUT_WR), 0);
        rig_expect(second, "bye", 3);
        rig_expect_end(second);
        rig_send(second, "farewell", 8);
        assert_int_equal(shutdown(second, SHUT_WR), 0);
        rig_expect(first, "farewell", 8);
        rig_expect_end(first);
        rig_wait_open(&rig, 0);
        assert_int_equal(getsockopt(first, SOL_SOCKET, SO_ERROR, &error, &len), 0);
        assert_int_equal(error, 0);
        assert_int_equal(getsockopt(second, SOL_SOCKET, SO_ERROR, &error, &len), 0);
        assert_int_equal(error, 0);
        rig_expect_end(first);
        rig_expect_end(second);
        close(first);
        close(second);
    }
    rig_stop(&rig);
}

/* Row 13: clients that die in the middle of bulk; pipes and descriptors come back (rig_stop looks). */
static void test_deaths_in_bulk(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    static unsigned char bytes[1024 * 1024];
    rig_start(&rig, &options);
    for (int round = 0; round < 10; round++) {
        int client[10], backend[10];
        for (int i = 0; i < 10; i++) {
            rig_pair(&rig, &client[i], &backend[i]);
            (void)send_some(backend[i], bytes, sizeof(bytes));
            (void)send_some(backend[i], bytes, sizeof(bytes));
        }
        for (int i = 0; i < 10; i++) {
            (void)send_some(backend[i], bytes, sizeof(bytes));
            rig_reset(client[i]);
        }
        for (int i = 0; i < 10; i++) {
            (void)rig_expect_reset(backend[i]);
            close(backend[i]);
        }
    }
    rig_wait_closed(&rig, STATS_CLOSE_CLIENT_RESET, 100);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_then_reset),
        cmocka_unit_test(test_reset_waits_for_a_slow_reader),
        cmocka_unit_test(test_reset_hidden_behind_data),
        cmocka_unit_test(test_reset_before_the_first_byte),
        cmocka_unit_test(test_reply_survives_late_data),
        cmocka_unit_test(test_client_gone_while_backend_sends),
        cmocka_unit_test(test_stopped_reader),
        cmocka_unit_test(test_no_reset_in_clean_runs),
        cmocka_unit_test(test_deaths_in_bulk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
