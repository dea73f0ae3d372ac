/*
 * How connections end: in order, half, by reset, by a reader that stops; on TCP and on Unix sockets. What was
 * sent before an end must have arrived, and an end must look the same on the other side.
 */
#include "core/clock.h"
#include "tests/unit/proxy/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB ((size_t)1024 * 1024)

/* Sends from a second thread, since the receiver is this one. */
struct sender {
    pthread_t thread;
    int fd;
    size_t size;
    uint64_t seed;
    bool then_shut, then_reset;
};

static void *sender_run(void *context)
{
    struct sender *sender = context;
    unsigned char *bytes = malloc(sender->size + 1);
    assert_non_null(bytes);
    rig_fill(bytes, sender->size, sender->seed, 0);
    rig_send(sender->fd, bytes, sender->size);
    free(bytes);
    if (sender->then_shut) {
        (void)shutdown(sender->fd, SHUT_WR);
    }
    return NULL;
}

static void sender_start(struct sender *sender)
{
    assert_int_equal(pthread_create(&sender->thread, NULL, sender_run, sender), 0);
}

static void sender_join(struct sender *sender)
{
    assert_int_equal(pthread_join(sender->thread, NULL), 0);
}

static void expect_stream(int fd, size_t size, uint64_t seed)
{
    unsigned char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    rig_fill(bytes, size, seed, 0);
    rig_expect(fd, bytes, size);
    free(bytes);
}

/* One request, one answer, then both close, the given side first. */
static void exchange(struct rig *rig, bool client_first)
{
    int client, backend;
    rig_pair(rig, &client, &backend);
    rig_send(client, "ping", 4);
    rig_expect(backend, "ping", 4);
    rig_send(backend, "pong!", 5);
    rig_expect(client, "pong!", 5);
    int first = client_first ? client : backend, second = client_first ? backend : client;
    assert_int_equal(shutdown(first, SHUT_WR), 0);
    rig_expect_end(second);
    close(second);
    rig_expect_end(first);
    close(first);
}

static void test_in_order(void **state)
{
    const struct rig_options *options = *state;
    struct rig rig;
    rig_start(&rig, options);
    exchange(&rig, true);
    exchange(&rig, false);
    rig_wait_closed(&rig, STATS_CLOSE_CLIENT_CLOSED, 1);
    rig_wait_closed(&rig, STATS_CLOSE_BACKEND_CLOSED, 1);
    struct stats_backend_reading reading = rig_backend_stats(&rig, 0);
    assert_int_equal(reading.connections, 2);
    assert_int_equal(reading.bytes_in, 8);
    assert_int_equal(reading.bytes_out, 10);
    assert_int_equal(reading.turns, 2);
    assert_int_equal(reading.errors[STATS_ERROR_ABORT] + reading.errors[STATS_ERROR_RESET], 0);
    rig_stop(&rig);
}

/* Row 1: a close is seen on the other side at once. */
static void test_fin_is_prompt(void **state)
{
    const struct rig_options *options = *state;
    struct rig rig;
    int client, backend;
    rig_start(&rig, options);
    rig_pair(&rig, &client, &backend);
    uint64_t began = rig_now_ms();
    close(client);
    rig_expect_end(backend);
    assert_true(rig_now_ms() - began < 100);
    close(backend);
    rig_stop(&rig);
}

/* Rows 2 and 3: data and FIN together, in every size around the buffers, to a reader that starts late. */
static void test_data_then_fin(void **state)
{
    const struct rig_options *options = *state;
    static const size_t sizes[] = {1,     2,     16383,  16384,  16385, 65535,
                                   65536, 65537, 131072, 262144, MIB,   8 * MIB};
    struct rig rig;
    rig_start(&rig, options);
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        int client, backend;
        rig_pair(&rig, &client, &backend);
        bool up = i % 2 == 0;
        struct sender sender = {
            .fd = up ? client : backend, .size = sizes[i / 2], .seed = i, .then_shut = true};
        int reader = up ? backend : client;
        sender_start(&sender);
        expect_stream(reader, sender.size, i);
        rig_expect_end(reader);
        sender_join(&sender);
        /* Row 6: the other direction flows on after the FIN. */
        rig_send(reader, "still here", 10);
        rig_expect(sender.fd, "still here", 10);
        close(reader);
        rig_expect_end(sender.fd);
        close(sender.fd);
    }
    rig_stop(&rig);
}

int main(void)
{
    static struct rig_options tcp = {0}, unix_paths = {.unix_paths = true}, ipv6 = {.ipv6 = true};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_in_order, &tcp),
        cmocka_unit_test_prestate(test_in_order, &unix_paths),
        cmocka_unit_test_prestate(test_in_order, &ipv6),
        cmocka_unit_test_prestate(test_fin_is_prompt, &tcp),
        cmocka_unit_test_prestate(test_fin_is_prompt, &unix_paths),
        cmocka_unit_test_prestate(test_data_then_fin, &tcp),
        cmocka_unit_test_prestate(test_data_then_fin, &unix_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
