/*
 * One connection to the admin socket: order, halves, silence, and everything that bad input can be.
 */
#include "tests/unit/admin/wire.h"

#include "core/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void test_many_commands_on_one_connection(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    wire_send(f, fd, "show version\n");
    wire_expect_reply(f, fd, "shuntd ");
    wire_send(f, fd, "nonsense\r\n");
    wire_expect_reply(f, fd, "error: unknown command \"nonsense\"");
    wire_send(f, fd, "\n");
    wire_expect_reply(f, fd, "\n");
    wire_send(f, fd, "status api\n");
    wire_expect_reply(f, fd, "api - idle ");
    close(fd);
    wire_until_clients(f, 0);
}

static void test_pipelined_in_order(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    bool ended;
    for (int i = 0; i < 500; i++) {
        wire_send(f, fd, i % 2 == 0 ? "show version\n" : "help wait\n");
    }
    for (int i = 0; i < 500; i++) {
        wire_expect_reply(f, fd, i % 2 == 0 ? "shuntd " : "wait ");
    }
    wire_send(f, fd, "start api\nwait api 0s\nabort api\nwait api\n");
    char *all = wire_receive(f, fd, 4, &ended);
    assert_non_null(strstr(all, "api-1 started: "));
    assert_non_null(strstr(all, "\n\ntimeout\n\napi-1 aborted: "));
    assert_non_null(strstr(all, "\n\nrolled-back\n\n"));
    free(all);
    close(fd);
}

static void test_half_close_gets_the_whole_reply(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    wire_send(f, fd, "status\nshow version\n");
    shutdown(fd, SHUT_WR);
    wire_expect_reply(f, fd, "api - idle ");
    wire_expect_reply(f, fd, "shuntd ");
    wire_expect_end(f, fd);
    wire_until_clients(f, 0);
}

static void test_last_line_without_end_is_not_run(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    wire_send(f, fd, "weight api/old/a 1");
    shutdown(fd, SHUT_WR);
    wire_expect_reply(f, fd, "error: the last line has no end and was not run\n");
    wire_expect_end(f, fd);
    assert_int_equal(backend_weight(routing_find_backend(f->support.routing[0], 0, "a")), 3);
}

static void test_one_byte_at_a_time(void **state)
{
    static const char line[] = "pause api reason \"slow typist\"\nshow version\n";
    struct wire *f = *state;
    int fd = wire_connect(f);
    for (size_t i = 0; i < sizeof(line) - 1; i++) {
        wire_send_bytes(f, fd, line + i, 1);
        wire_turn(f);
    }
    wire_expect_reply(f, fd, "error: ");
    wire_expect_reply(f, fd, "shuntd ");
    close(fd);
}

static void test_nul_and_control_bytes(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    wire_send_bytes(f, fd, "abort\0api\n", 10);
    wire_expect_reply(f, fd, "error: byte 6 of the line is a control byte (0x00)\n");
    wire_send(f, fd, "abort \x1b[2J\n");
    wire_expect_reply(f, fd, "error: byte 7 of the line is a control byte (0x1b)\n");
    wire_send(f, fd, "show version\n");
    wire_expect_reply(f, fd, "shuntd ");
    close(fd);
}

static void test_line_of_a_megabyte(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    char block[4096];
    size_t sent_bytes = 0;
    memset(block, 'a', sizeof(block));
    while (sent_bytes < (1u << 20)) {
        ssize_t sent = send(fd, block, sizeof(block), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            break; /* closed, as it should be */
        }
        sent_bytes += sent > 0 ? (size_t)sent : 0;
        wire_turn(f);
    }
    assert_true(sent_bytes < (1u << 20));
    wire_expect_reply(f, fd, "error: the line is longer than 16 KiB\n");
    close(fd);
    wire_until_clients(f, 0);
    wire_expect_alive(f);
}

static void test_longest_line_is_taken(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    char *line = malloc(TOKENS_LINE_MAX + 2);
    assert_non_null(line);
    memset(line, ' ', TOKENS_LINE_MAX);
    for (size_t i = 0; i < 12; i++) {
        line[i] = "show version"[i];
    }
    line[TOKENS_LINE_MAX] = '\n';
    wire_send_bytes(f, fd, line, TOKENS_LINE_MAX + 1);
    wire_expect_reply(f, fd, "shuntd ");
    line[TOKENS_LINE_MAX] = ' ';
    line[TOKENS_LINE_MAX + 1] = '\n';
    wire_send_bytes(f, fd, line, TOKENS_LINE_MAX + 2);
    wire_expect_reply(f, fd, "error: the line is longer than 16 KiB\n");
    wire_expect_end(f, fd);
    free(line);
}

static void test_client_that_never_reads(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    uint64_t end_us = clock_mono_us() + WIRE_DEADLINE_US;
    size_t queued = 0;
    /* Commands until nothing more goes in: replies fill the socket, then the output, then reading stops. */
    for (int idle = 0; idle < 50;) {
        ssize_t sent = send(fd, "help --json\n", 12, MSG_NOSIGNAL);
        idle = sent == 12 ? 0 : idle + 1;
        queued += sent == 12;
        assert_true(clock_mono_us() < end_us);
        wire_turn(f);
    }
    assert_true(queued > 10);
    struct admin_client *client = list_entry(f->admin->server->clients.next, struct admin_client, node);
    wire_expect_alive(f);
    /* Not yet, then yes: the time is an argument. */
    client_sweep(client, client->progress_us + SERVER_STALL_US);
    assert_int_equal(f->admin->server->clients_len >= 1, 1);
    client_sweep(client, client->progress_us + SERVER_STALL_US + 1);
    wire_until_clients(f, 0);
    close(fd);
}

static void test_slow_reader_gets_everything(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    for (int i = 0; i < 300; i++) {
        wire_send(f, fd, "help --json\n");
    }
    wire_send(f, fd, "show version\n");
    for (int i = 0; i < 300; i++) {
        wire_expect_reply(f, fd, "{\"commands\":[");
    }
    wire_expect_reply(f, fd, "shuntd ");
    close(fd);
}

static void test_watch_nobody_reads(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    uint64_t end_us = clock_mono_us() + WIRE_DEADLINE_US;
    wire_send(f, fd, "watch --json\n");
    wire_until_clients(f, 1);
    while (f->admin->server->clients_len == 1) {
        for (int i = 0; i < 100; i++) {
            events_add(f->support.events, 1, EVENTS_INFO, "api", "test", "test", NULL, "%0200d", i);
        }
        assert_true(clock_mono_us() < end_us);
        wire_turn(f);
    }
    close(fd);
    wire_expect_alive(f);
}

static void test_watch_follows(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    uint64_t end_us = clock_mono_us() + WIRE_DEADLINE_US;
    char text[4096] = "";
    size_t used = 0;
    wire_send(f, fd, "watch api\n");
    while (f->admin->server->clients_len == 0 ||
           list_entry(f->admin->server->clients.next, struct admin_client, node)->follow.kind == 0) {
        wire_turn(f);
    }
    free(support_run(&f->support, "start web"));
    free(support_run(&f->support, "start api"));
    while (strstr(text, "api-1 started") == NULL) {
        ssize_t got = read(fd, text + used, sizeof(text) - used - 1);
        used += got > 0 ? (size_t)got : 0;
        assert_true(clock_mono_us() < end_us);
        wire_turn(f);
    }
    assert_int_equal(strncmp(text, "api - idle ", 11), 0);
    assert_null(strstr(text, "web"));
    close(fd);
    wire_until_clients(f, 0);
}

static void test_wait_ends_with_the_migration(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    int other = wire_connect(f);
    wire_send(f, fd, "start api\nwait api 1h\nshow version\n");
    wire_expect_reply(f, fd, "api-1 started");
    wire_send(f, other, "abort api reason \"enough\"\n");
    wire_expect_reply(f, other, "api-1 aborted: ");
    wire_expect_reply(f, fd, "rolled-back\n");
    wire_expect_reply(f, fd, "shuntd ");
    close(fd);
    close(other);
}

static void test_wait_times_out(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    wire_send(f, fd, "start api\nwait api 50ms\n");
    shutdown(fd, SHUT_WR); /* it still waits for its reply */
    wire_expect_reply(f, fd, "api-1 started");
    uint64_t before_us = clock_mono_us();
    wire_expect_reply(f, fd, "timeout\n");
    assert_true(clock_mono_us() - before_us < CLOCK_US_PER_S);
    wire_expect_end(f, fd);
}

static void test_disconnect_during_wait(void **state)
{
    struct wire *f = *state;
    int fd = wire_connect(f);
    wire_send(f, fd, "start api\nwait api\n");
    wire_expect_reply(f, fd, "api-1 started");
    close(fd);
    wire_until_clients(f, 0);
    /* Half-closed first, so that only the sweep can see it go. */
    fd = wire_connect(f);
    wire_send(f, fd, "wait api\n");
    shutdown(fd, SHUT_WR);
    wire_until_clients(f, 1);
    for (int i = 0; i < 10; i++) {
        wire_turn(f);
    }
    assert_int_equal(f->admin->server->clients_len, 1);
    close(fd);
    wire_until_clients(f, 0);
    free(support_run(&f->support, "abort api"));
    wire_expect_alive(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_many_commands_on_one_connection),
        TEST(test_pipelined_in_order),
        TEST(test_half_close_gets_the_whole_reply),
        TEST(test_last_line_without_end_is_not_run),
        TEST(test_one_byte_at_a_time),
        TEST(test_nul_and_control_bytes),
        TEST(test_line_of_a_megabyte),
        TEST(test_longest_line_is_taken),
        TEST(test_client_that_never_reads),
        TEST(test_slow_reader_gets_everything),
        TEST(test_watch_nobody_reads),
        TEST(test_watch_follows),
        TEST(test_wait_ends_with_the_migration),
        TEST(test_wait_times_out),
        TEST(test_disconnect_during_wait),
    };
    wire_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
