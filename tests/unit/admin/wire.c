/*
 * Clients of the admin socket, for its tests.
 */
#include "tests/unit/admin/wire.h"

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
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

void wire_prepare(void)
{
    struct rlimit files;
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 4096) {
        files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

int wire_count_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 4096; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

int wire_setup(void **state)
{
    struct err_text err;
    struct wire *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    support_create(&w->support);
    struct admin_options options = support_options(&w->support);
    assert_int_equal(admin_create(&options, &w->admin, &err), ERR_OK);
    *state = w;
    return 0;
}

int wire_teardown(void **state)
{
    struct wire *w = *state;
    admin_destroy(w->admin);
    assert_int_not_equal(access(w->support.socket_path, F_OK), 0);
    support_destroy(&w->support);
    free(w);
    return 0;
}

void wire_turn(struct wire *w)
{
    assert_true(event_base_loop(w->support.base, EVLOOP_NONBLOCK | EVLOOP_ONCE) >= 0);
}

int wire_connect(struct wire *w)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, w->support.socket_path, strlen(w->support.socket_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        assert_int_equal(errno, EAGAIN); /* the backlog is full: let the server accept */
        wire_turn(w);
    }
    return fd;
}

void wire_send_bytes(struct wire *w, int fd, const char *bytes, size_t length)
{
    uint64_t end_us = clock_mono_us() + WIRE_DEADLINE_US;
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0) {
            assert_true(errno == EAGAIN && clock_mono_us() < end_us);
            wire_turn(w);
            continue;
        }
        bytes += sent;
        length -= (size_t)sent;
    }
}

void wire_send(struct wire *w, int fd, const char *text)
{
    wire_send_bytes(w, fd, text, strlen(text));
}

char *wire_receive(struct wire *w, int fd, int replies, bool *ended)
{
    uint64_t end_us = clock_mono_us() + WIRE_DEADLINE_US;
    size_t used = 0;
    size_t size = 1u << 20;
    char *text = calloc(1, size);
    assert_non_null(text);
    *ended = false;
    while (replies > 0) {
        ssize_t got = read(fd, text + used, 1);
        if (got < 0 && errno == EAGAIN) {
            assert_true(clock_mono_us() < end_us);
            wire_turn(w);
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

void wire_expect_reply(struct wire *w, int fd, const char *begin)
{
    bool ended;
    char *reply = wire_receive(w, fd, 1, &ended);
    if (strncmp(reply, begin, strlen(begin)) != 0) {
        fail_msg("wanted: %s\ngot: %s", begin, reply);
    }
    assert_false(ended);
    free(reply);
}

void wire_expect_end(struct wire *w, int fd)
{
    bool ended;
    char *rest = wire_receive(w, fd, 1, &ended);
    assert_true(ended);
    assert_string_equal(rest, "");
    free(rest);
    close(fd);
}

void wire_expect_alive(struct wire *w)
{
    int fd = wire_connect(w);
    uint64_t before_us = clock_mono_us();
    wire_send(w, fd, "show version\n");
    wire_expect_reply(w, fd, "shuntd ");
    assert_true(clock_mono_us() - before_us < CLOCK_US_PER_S);
    close(fd);
}

void wire_until_clients(struct wire *w, size_t n)
{
    uint64_t end_us = clock_mono_us() + WIRE_DEADLINE_US;
    while (w->admin->server->clients_len != n) {
        assert_true(clock_mono_us() < end_us);
        wire_turn(w);
    }
}
