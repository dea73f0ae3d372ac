/*
 * The admin socket itself: its file, crowds, and what is left behind.
 */
#include "tests/unit/admin/wire.h"

#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
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

static void test_a_thousand_half_commands(void **state)
{
    struct wire *f = *state;
    int fds[1000];
    for (size_t i = 0; i < 1000; i++) {
        fds[i] = wire_connect(f);
        (void)send(fds[i], "stat", 4, MSG_NOSIGNAL); /* an evicted one may be gone already */
    }
    wire_expect_alive(f);
    assert_true(f->admin->server->clients_len <= SERVER_CLIENTS_MAX);
    for (size_t i = 0; i < 1000; i++) {
        close(fds[i]);
    }
    wire_until_clients(f, 0);
}

/* Clients that wait are spared as long as others can go, and even they cannot lock anybody out. */
static void test_waiting_clients_are_spared(void **state)
{
    struct wire *f = *state;
    int waiting = wire_connect(f);
    int fds[SERVER_CLIENTS_MAX + 10];
    wire_send(f, waiting, "start api\nwait api\n");
    wire_expect_reply(f, waiting, "api-1 started");
    for (size_t i = 0; i < SERVER_CLIENTS_MAX + 10; i++) {
        fds[i] = wire_connect(f);
        (void)send(fds[i], "a", 1, MSG_NOSIGNAL);
        wire_turn(f);
    }
    wire_expect_alive(f);
    free(support_run(&f->support, "abort api"));
    wire_expect_reply(f, waiting, "rolled-back\n");
    for (size_t i = 0; i < SERVER_CLIENTS_MAX + 10; i++) {
        close(fds[i]);
    }
    close(waiting);
}

static void test_out_of_descriptors(void **state)
{
    struct wire *f = *state;
    struct rlimit kept;
    int idle = wire_connect(f);
    wire_until_clients(f, 1);
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
    wire_send(f, fd, "show version\n");
    wire_expect_reply(f, fd, "shuntd ");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &kept), 0);
    while (filled > 0) {
        close(fill[--filled]);
    }
    close(fd);
    close(idle);
    wire_until_clients(f, 0);
    uint64_t end_us = clock_mono_us() + WIRE_DEADLINE_US;
    while (f->admin->server->reserve_fd < 0) { /* taken back */
        assert_true(clock_mono_us() < end_us);
        wire_turn(f);
    }
}

static void test_socket_file(void **state)
{
    struct wire *f = *state;
    struct admin_options options = support_options(&f->support);
    struct admin *second;
    struct err_text err;
    struct stat found;
    char path[160];
    assert_int_equal(stat(f->support.socket_path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0600);
    assert_int_equal(admin_create(&options, &second, &err), ERR_EXISTS);
    assert_non_null(strstr(err.text, "another daemon serves it"));
    (void)snprintf(path, sizeof(path), "%s/missing/more/admin.sock", f->support.folder);
    options.socket_path = path;
    assert_int_equal(admin_create(&options, &second, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "its directory does not exist"));
    (void)snprintf(path, sizeof(path), "%s/journal", f->support.folder);
    assert_int_equal(admin_create(&options, &second, &err), ERR_EXISTS);
    (void)snprintf(path, sizeof(path), "/%0150d", 1);
    assert_int_equal(admin_create(&options, &second, &err), ERR_RANGE);
    wire_expect_alive(f);
}

/* As /run/shunt is after each start of the system. */
static void test_missing_folder_is_made(void **state)
{
    struct wire *f = *state;
    struct admin_options options = support_options(&f->support);
    struct admin *second = NULL;
    struct err_text err;
    struct stat found;
    char folder[120];
    char path[160];
    (void)snprintf(folder, sizeof(folder), "%s/missing", f->support.folder);
    (void)snprintf(path, sizeof(path), "%s/admin.sock", folder);
    options.socket_path = path;
    assert_int_equal(admin_create(&options, &second, &err), 0);
    assert_int_equal(stat(folder, &found), 0);
    assert_int_equal(found.st_mode & 07022, 0); /* nobody else may put a socket there */
    admin_destroy(second);
    assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
    wire_expect_alive(f);
}

static void test_stale_socket_is_replaced(void **state)
{
    struct wire *f = *state;
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
    struct wire *f = *state;
    int fd = wire_connect(f);
    wire_send(f, fd, "start web\nwait web\n");
    wire_expect_reply(f, fd, "web-1 started");
    admin_set_services(f->admin, f->support.service, 1);
    events_add(f->support.events, 1, EVENTS_INFO, "", "reload", "test", NULL, "reloaded");
    wire_expect_reply(f, fd, "error: no service \"web\"");
    close(fd);
}

static void test_nothing_is_left_open(void **state)
{
    struct wire *f = *state;
    int before = wire_count_fds();
    for (int i = 0; i < 50; i++) {
        int fd = wire_connect(f);
        wire_send(f, fd, i % 3 == 0 ? "status\n" : i % 3 == 1 ? "watch\n" : "half");
        wire_turn(f);
        close(fd);
    }
    wire_until_clients(f, 0);
    assert_int_equal(wire_count_fds(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_thousand_half_commands), TEST(test_waiting_clients_are_spared),
        TEST(test_out_of_descriptors),       TEST(test_socket_file),
        TEST(test_stale_socket_is_replaced), TEST(test_services_are_replaced_during_a_wait),
        TEST(test_missing_folder_is_made),   TEST(test_nothing_is_left_open),
    };
    wire_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
