/*
 * The admin socket over real connections: order, halves, floods, silence, and who may take its place. Server
 * and clients run on this one thread: the loop turns until what is waited for is there.
 */
#include "tests/unit/admin/support.h"

#include "admin/server_internal.h"
#include "core/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_US (10 * CLOCK_US_PER_S)

struct fixture {
    struct support support;
    struct admin *admin;
};

static int open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 4096; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static int setup(void **state)
{
    struct err_text err;
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    support_create(&f->support);
    struct admin_options options = support_options(&f->support);
    assert_int_equal(admin_create(&options, &f->admin, &err), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    admin_destroy(f->admin);
    assert_int_not_equal(access(f->support.socket_path, F_OK), 0);
    support_destroy(&f->support);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    assert_true(event_base_loop(f->support.base, EVLOOP_NONBLOCK | EVLOOP_ONCE) >= 0);
}

static int connect_client(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, f->support.socket_path, strlen(f->support.socket_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        assert_int_equal(errno, EAGAIN); /* the backlog is full: let the server accept */
        turn(f);
    }
    return fd;
}

static void send_bytes(struct fixture *f, int fd, const char *bytes, size_t length)
{
    uint64_t end_us = clock_mono_us() + DEADLINE_US;
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0) {
            assert_true(errno == EAGAIN && clock_mono_us() < end_us);
            turn(f);
            continue;
        }
        bytes += sent;
        length -= (size_t)sent;
    }
}

static void send_text(struct fixture *f, int fd, const char *text)
{
    send_bytes(f, fd, text, strlen(text));
}

/* Reads until the end of the connection or until `replies` empty lines have come. Returns all; the caller
 * frees. *ended tells which. */
static char *receive(struct fixture *f, int fd, int replies, bool *ended)
{
    uint64_t end_us = clock_mono_us() + DEADLINE_US;
    size_t used = 0;
    size_t size = 1u << 20;
    char *text = calloc(1, size);
    assert_non_null(text);
    *ended = false;
    while (replies > 0) {
        ssize_t got = read(fd, text + used, 1);
        if (got < 0 && errno == EAGAIN) {
            assert_true(clock_mono_us() < end_us);
            turn(f);
            continue;
        }
        if (got <= 0) {
            *ended = true;
            break;
        }
        used++;
        assert_true(used + 1 < size);
        bool empty = text[used - 1] == '\n' && (used == 1 || text[used - 2] == '\n');
        replies -= empty;
    }
    return text;
}

static void expect_reply(struct fixture *f, int fd, const char *begin)
{
    bool ended;
    char *reply = receive(f, fd, 1, &ended);
    if (strncmp(reply, begin, strlen(begin)) != 0) {
        fail_msg("wanted: %s\ngot: %s", begin, reply);
    }
    assert_false(ended);
    free(reply);
}

static void expect_end(struct fixture *f, int fd)
{
    bool ended;
    char *rest = receive(f, fd, 1, &ended);
    assert_true(ended);
    assert_string_equal(rest, "");
    free(rest);
    close(fd);
}

static void expect_alive(struct fixture *f)
{
    int fd = connect_client(f);
    uint64_t before_us = clock_mono_us();
    send_text(f, fd, "show version\n");
    expect_reply(f, fd, "shuntd ");
    assert_true(clock_mono_us() - before_us < CLOCK_US_PER_S);
    close(fd);
}

static void until_clients(struct fixture *f, size_t n)
{
    uint64_t end_us = clock_mono_us() + DEADLINE_US;
    while (f->admin->server->clients_len != n) {
        assert_true(clock_mono_us() < end_us);
        turn(f);
    }
}

static void test_many_commands_on_one_connection(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    send_text(f, fd, "show version\n");
    expect_reply(f, fd, "shuntd ");
    send_text(f, fd, "nonsense\r\n");
    expect_reply(f, fd, "error: unknown command \"nonsense\"");
    send_text(f, fd, "\n");
    expect_reply(f, fd, "\n");
    send_text(f, fd, "status api\n");
    expect_reply(f, fd, "api - idle ");
    close(fd);
    until_clients(f, 0);
}

static void test_pipelined_in_order(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    bool ended;
    for (int i = 0; i < 500; i++) {
        send_text(f, fd, i % 2 == 0 ? "show version\n" : "help wait\n");
    }
    for (int i = 0; i < 500; i++) {
        expect_reply(f, fd, i % 2 == 0 ? "shuntd " : "wait ");
    }
    send_text(f, fd, "start api\nwait api 0s\nabort api\nwait api\n");
    char *all = receive(f, fd, 4, &ended);
    assert_non_null(strstr(all, "api-1 started: "));
    assert_non_null(strstr(all, "\n\ntimeout\n\napi-1 aborted: "));
    assert_non_null(strstr(all, "\n\nrolled-back\n\n"));
    free(all);
    close(fd);
}

static void test_half_close_gets_the_whole_reply(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    send_text(f, fd, "status\nshow version\n");
    shutdown(fd, SHUT_WR);
    expect_reply(f, fd, "api - idle ");
    expect_reply(f, fd, "shuntd ");
    expect_end(f, fd);
    until_clients(f, 0);
}

static void test_last_line_without_end_is_not_run(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    send_text(f, fd, "weight api/old/a 1");
    shutdown(fd, SHUT_WR);
    expect_reply(f, fd, "error: the last line has no end and was not run\n");
    expect_end(f, fd);
    assert_int_equal(backend_weight(routing_find_backend(f->support.routing[0], 0, "a")), 3);
}

static void test_one_byte_at_a_time(void **state)
{
    static const char line[] = "pause api reason \"slow typist\"\nshow version\n";
    struct fixture *f = *state;
    int fd = connect_client(f);
    for (size_t i = 0; i < sizeof(line) - 1; i++) {
        send_bytes(f, fd, line + i, 1);
        turn(f);
    }
    expect_reply(f, fd, "error: ");
    expect_reply(f, fd, "shuntd ");
    close(fd);
}

static void test_nul_and_control_bytes(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    send_bytes(f, fd, "abort\0api\n", 10);
    expect_reply(f, fd, "error: byte 6 of the line is a control byte (0x00)\n");
    send_text(f, fd, "abort \x1b[2J\n");
    expect_reply(f, fd, "error: byte 7 of the line is a control byte (0x1b)\n");
    send_text(f, fd, "show version\n");
    expect_reply(f, fd, "shuntd ");
    close(fd);
}

static void test_line_of_a_megabyte(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    char block[4096];
    size_t sent_bytes = 0;
    memset(block, 'a', sizeof(block));
    while (sent_bytes < (1u << 20)) {
        ssize_t sent = send(fd, block, sizeof(block), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            break; /* closed, as it should be */
        }
        sent_bytes += sent > 0 ? (size_t)sent : 0;
        turn(f);
    }
    assert_true(sent_bytes < (1u << 20));
    expect_reply(f, fd, "error: the line is longer than 16 KiB\n");
    close(fd);
    until_clients(f, 0);
    expect_alive(f);
}

static void test_longest_line_is_taken(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    char *line = malloc(TOKENS_LINE_MAX + 2);
    assert_non_null(line);
    memset(line, ' ', TOKENS_LINE_MAX);
    memcpy(line, "show version", 12);
    memcpy(line + TOKENS_LINE_MAX, "\n", 2);
    send_text(f, fd, line);
    expect_reply(f, fd, "shuntd ");
    memcpy(line + TOKENS_LINE_MAX, " ", 1);
    memcpy(line + TOKENS_LINE_MAX + 1, "\n", 1);
    send_bytes(f, fd, line, TOKENS_LINE_MAX + 2);
    expect_reply(f, fd, "error: the line is longer than 16 KiB\n");
    expect_end(f, fd);
    free(line);
}

static void test_a_thousand_half_commands(void **state)
{
    struct fixture *f = *state;
    int fds[1000];
    for (size_t i = 0; i < 1000; i++) {
        fds[i] = connect_client(f);
        (void)send(fds[i], "stat", 4, MSG_NOSIGNAL); /* an evicted one may be gone already */
    }
    expect_alive(f);
    assert_true(f->admin->server->clients_len <= SERVER_CLIENTS_MAX);
    for (size_t i = 0; i < 1000; i++) {
        close(fds[i]);
    }
    until_clients(f, 0);
}

/* Clients that wait are spared as long as others can go, and even they cannot lock anybody out. */
static void test_waiting_clients_are_spared(void **state)
{
    struct fixture *f = *state;
    int waiting = connect_client(f);
    int fds[SERVER_CLIENTS_MAX + 10];
    send_text(f, waiting, "start api\nwait api\n");
    expect_reply(f, waiting, "api-1 started");
    for (size_t i = 0; i < SERVER_CLIENTS_MAX + 10; i++) {
        fds[i] = connect_client(f);
        (void)send(fds[i], "a", 1, MSG_NOSIGNAL);
        turn(f);
    }
    expect_alive(f);
    free(support_run(&f->support, "abort api"));
    expect_reply(f, waiting, "rolled-back\n");
    for (size_t i = 0; i < SERVER_CLIENTS_MAX + 10; i++) {
        close(fds[i]);
    }
    close(waiting);
}

static void test_client_that_never_reads(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    uint64_t end_us = clock_mono_us() + DEADLINE_US;
    size_t queued = 0;
    /* Commands until nothing more goes in: replies fill the socket, then the output, then reading stops. */
    for (int idle = 0; idle < 50;) {
        ssize_t sent = send(fd, "help --json\n", 12, MSG_NOSIGNAL);
        idle = sent == 12 ? 0 : idle + 1;
        queued += sent == 12;
        assert_true(clock_mono_us() < end_us);
        turn(f);
    }
    assert_true(queued > 10);
    struct admin_client *client = list_entry(f->admin->server->clients.next, struct admin_client, node);
    expect_alive(f);
    /* Not yet, then yes: the time is an argument. */
    client_sweep(client, client->progress_us + SERVER_STALL_US);
    assert_int_equal(f->admin->server->clients_len >= 1, 1);
    client_sweep(client, client->progress_us + SERVER_STALL_US + 1);
    until_clients(f, 0);
    close(fd);
}

static void test_slow_reader_gets_everything(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    for (int i = 0; i < 300; i++) {
        send_text(f, fd, "help --json\n");
    }
    send_text(f, fd, "show version\n");
    for (int i = 0; i < 300; i++) {
        expect_reply(f, fd, "{\"commands\":[");
    }
    expect_reply(f, fd, "shuntd ");
    close(fd);
}

static void test_watch_nobody_reads(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    uint64_t end_us = clock_mono_us() + DEADLINE_US;
    send_text(f, fd, "watch --json\n");
    until_clients(f, 1);
    while (f->admin->server->clients_len == 1) {
        for (int i = 0; i < 100; i++) {
            events_add(f->support.events, 1, EVENTS_INFO, "api", "test", "test", NULL, "%0200d", i);
        }
        assert_true(clock_mono_us() < end_us);
        turn(f);
    }
    close(fd);
    expect_alive(f);
}

static void test_watch_follows(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    uint64_t end_us = clock_mono_us() + DEADLINE_US;
    char text[4096] = "";
    size_t used = 0;
    send_text(f, fd, "watch api\n");
    while (f->admin->server->clients_len == 0 ||
           list_entry(f->admin->server->clients.next, struct admin_client, node)->follow.kind == 0) {
        turn(f);
    }
    free(support_run(&f->support, "start web"));
    free(support_run(&f->support, "start api"));
    while (strstr(text, "api-1 started") == NULL) {
        ssize_t got = read(fd, text + used, sizeof(text) - used - 1);
        used += got > 0 ? (size_t)got : 0;
        assert_true(clock_mono_us() < end_us);
        turn(f);
    }
    assert_int_equal(strncmp(text, "api - idle ", 11), 0);
    assert_null(strstr(text, "web"));
    close(fd);
    until_clients(f, 0);
}

static void test_wait_ends_with_the_migration(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    int other = connect_client(f);
    send_text(f, fd, "start api\nwait api 1h\nshow version\n");
    expect_reply(f, fd, "api-1 started");
    send_text(f, other, "abort api reason \"enough\"\n");
    expect_reply(f, other, "api-1 aborted: ");
    expect_reply(f, fd, "rolled-back\n");
    expect_reply(f, fd, "shuntd ");
    close(fd);
    close(other);
}

static void test_wait_times_out(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    send_text(f, fd, "start api\nwait api 50ms\n");
    shutdown(fd, SHUT_WR); /* it still waits for its reply */
    expect_reply(f, fd, "api-1 started");
    uint64_t before_us = clock_mono_us();
    expect_reply(f, fd, "timeout\n");
    assert_true(clock_mono_us() - before_us < CLOCK_US_PER_S);
    expect_end(f, fd);
}

static void test_disconnect_during_wait(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    send_text(f, fd, "start api\nwait api\n");
    expect_reply(f, fd, "api-1 started");
    close(fd);
    until_clients(f, 0);
    /* Half-closed first, so that only the sweep can see it go. */
    fd = connect_client(f);
    send_text(f, fd, "wait api\n");
    shutdown(fd, SHUT_WR);
    until_clients(f, 1);
    for (int i = 0; i < 10; i++) {
        turn(f);
    }
    assert_int_equal(f->admin->server->clients_len, 1);
    close(fd);
    until_clients(f, 0);
    free(support_run(&f->support, "abort api"));
    expect_alive(f);
}

static void test_out_of_descriptors(void **state)
{
    struct fixture *f = *state;
    struct rlimit kept;
    int idle = connect_client(f);
    until_clients(f, 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, f->support.socket_path, strlen(f->support.socket_path));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &kept), 0);
    struct rlimit low = {.rlim_cur = (rlim_t)fd + 1, .rlim_max = kept.rlim_max};
    int fill[64];
    size_t filled = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (filled < 64 && (fill[filled] = dup(0)) >= 0) {
        filled++;
    }
    assert_int_equal(errno, EMFILE);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    send_text(f, fd, "show version\n");
    expect_reply(f, fd, "shuntd ");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &kept), 0);
    while (filled > 0) {
        close(fill[--filled]);
    }
    close(fd);
    close(idle);
    until_clients(f, 0);
    uint64_t end_us = clock_mono_us() + DEADLINE_US;
    while (f->admin->server->reserve_fd < 0) { /* taken back */
        assert_true(clock_mono_us() < end_us);
        turn(f);
    }
}

static void test_socket_file(void **state)
{
    struct fixture *f = *state;
    struct admin_options options = support_options(&f->support);
    struct admin *second;
    struct err_text err;
    struct stat found;
    char path[160];
    assert_int_equal(stat(f->support.socket_path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0600);
    assert_int_equal(admin_create(&options, &second, &err), ERR_EXISTS);
    assert_non_null(strstr(err.text, "another daemon serves it"));
    (void)snprintf(path, sizeof(path), "%s/missing/admin.sock", f->support.folder);
    options.socket_path = path;
    assert_int_equal(admin_create(&options, &second, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "its directory does not exist"));
    (void)snprintf(path, sizeof(path), "%s/journal", f->support.folder);
    assert_int_equal(admin_create(&options, &second, &err), ERR_EXISTS);
    (void)snprintf(path, sizeof(path), "/%0150d", 1);
    assert_int_equal(admin_create(&options, &second, &err), ERR_RANGE);
    expect_alive(f);
}

static void test_stale_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct admin_options options = support_options(&f->support);
    struct admin *second;
    struct err_text err;
    struct stat found;
    char path[160];
    mode_t kept = umask(0077);
    (void)snprintf(path, sizeof(path), "%s/stale.sock", f->support.folder);
    options.socket_path = path;
    options.mode = 0660;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd); /* the file stays */
    assert_int_equal(admin_create(&options, &second, &err), ERR_OK);
    (void)umask(kept);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0660);
    /* Somebody put another file there: it is not ours to remove. */
    assert_int_equal(unlink(path), 0);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    admin_destroy(second);
    assert_int_equal(unlink(path), 0);
}

static void test_services_are_replaced_during_a_wait(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);
    send_text(f, fd, "start web\nwait web\n");
    expect_reply(f, fd, "web-1 started");
    admin_set_services(f->admin, f->support.service, 1);
    events_add(f->support.events, 1, EVENTS_INFO, "", "reload", "test", NULL, "reloaded");
    expect_reply(f, fd, "error: no service \"web\"");
    close(fd);
}

static void test_nothing_is_left_open(void **state)
{
    struct fixture *f = *state;
    int before = open_fds();
    for (int i = 0; i < 50; i++) {
        int fd = connect_client(f);
        send_text(f, fd, i % 3 == 0 ? "status\n" : i % 3 == 1 ? "watch\n" : "half");
        turn(f);
        close(fd);
    }
    until_clients(f, 0);
    assert_int_equal(open_fds(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        TEST(test_a_thousand_half_commands),
        TEST(test_waiting_clients_are_spared),
        TEST(test_client_that_never_reads),
        TEST(test_slow_reader_gets_everything),
        TEST(test_watch_nobody_reads),
        TEST(test_watch_follows),
        TEST(test_wait_ends_with_the_migration),
        TEST(test_wait_times_out),
        TEST(test_disconnect_during_wait),
        TEST(test_out_of_descriptors),
        TEST(test_socket_file),
        TEST(test_stale_socket_is_replaced),
        TEST(test_services_are_replaced_during_a_wait),
        TEST(test_nothing_is_left_open),
    };
    struct rlimit files;
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 4096) {
        files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
