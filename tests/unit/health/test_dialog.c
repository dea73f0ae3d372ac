/* Probes over a connection against real sockets: up, refused, silent, dripping, flooding, Unix paths,
 * cancelled, and started again and again. */
#include "tests/unit/health/support.h"

#include "health/probe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct seen {
    unsigned count;
    unsigned wanted;
    enum probe_outcome outcome;
    char reason[PROBE_REASON_MAX];
};

static void on_done(void *context, const struct probe_result *result)
{
    struct seen *seen = context;
    seen->count++;
    seen->outcome = result->outcome;
    (void)snprintf(seen->reason, sizeof(seen->reason), "%s", result->reason);
}

static bool is_done(void *context)
{
    const struct seen *seen = context;
    return seen->count >= seen->wanted;
}

struct rig {
    struct event_base *base;
    struct probe_means means;
    struct probe *probe;
    struct seen seen;
};

static const struct config_health tcp_config = {.type = CONFIG_HEALTH_TCP};
static const struct config_health http_config = {.type = CONFIG_HEALTH_HTTP,
                                                 .http = {.method = (char *)(uintptr_t) "GET",
                                                          .path = (char *)(uintptr_t) "/",
                                                          .status = (char *)(uintptr_t) "200-399"}};

static void rig_open_for(struct rig *rig, const struct config_health *config, const struct addr *address,
                         uint64_t timeout_us)
{
    memset(rig, 0, sizeof(*rig));
    rig->means.config = config;
    rig->base = event_base_new();
    assert_non_null(rig->base);
    struct probe_spec spec = {.base = rig->base,
                              .means = &rig->means,
                              .address = *address,
                              .timeout_us = timeout_us,
                              .done = on_done,
                              .context = &rig->seen};
    assert_int_equal(probe_dialog.create(&spec, &rig->probe), 0);
}

static void rig_open(struct rig *rig, const struct addr *address, uint64_t timeout_us)
{
    rig_open_for(rig, &tcp_config, address, timeout_us);
}

static void rig_check(struct rig *rig, enum probe_outcome outcome, const char *reason)
{
    rig->seen.wanted = rig->seen.count + 1;
    probe_dialog.start(rig->probe);
    assert_int_equal(rig->seen.count, rig->seen.wanted - 1); /* never from within start */
    assert_true(support_until(rig->base, is_done, &rig->seen));
    assert_string_equal(rig->seen.reason, reason);
    assert_int_equal(rig->seen.outcome, outcome);
    assert_int_equal(rig->seen.count, rig->seen.wanted);
}

static void rig_close(struct rig *rig)
{
    probe_dialog.destroy(rig->probe);
    event_base_free(rig->base);
}

static unsigned open_fds(void)
{
    unsigned open = 0;
    for (int fd = 0; fd < 256; fd++) {
        open += fcntl(fd, F_GETFD) >= 0;
    }
    return open;
}

static void up_refused_and_up_again(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_bind(&address);
    struct rig rig;
    rig_open(&rig, &address, CLOCK_US_PER_S);
    rig_check(&rig, PROBE_FAILED, "connection refused");
    assert_int_equal(listen(fd, 16), 0);
    unsigned open = open_fds();
    for (unsigned i = 0; i < 10; i++) {
        rig_check(&rig, PROBE_PASSED, "connected");
    }
    assert_int_equal(open_fds(), open);
    /* What the backend saw: a connection that ends in order, without a byte. */
    int peer = accept(fd, NULL, NULL);
    char byte;
    assert_true(peer >= 0);
    assert_int_equal(recv(peer, &byte, 1, 0), 0);
    (void)close(peer);
    (void)close(fd);
    rig_check(&rig, PROBE_FAILED, "connection refused");
    rig_close(&rig);
}

static void a_silent_backend_times_out(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_listen(&address, 0);
    int fill[4];
    /* The queue takes one or two; what comes after finds its SYN dropped. */
    for (unsigned i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(fill[i] >= 0);
        assert_true(connect(fill[i], &address.sa, address.len) == 0 || errno == EINPROGRESS);
    }
    struct rig rig;
    rig_open(&rig, &address, 150 * CLOCK_US_PER_MS);
    uint64_t start_us = clock_mono_us();
    rig_check(&rig, PROBE_FAILED, "timed out after 150ms");
    assert_true(clock_mono_us() - start_us >= 140 * CLOCK_US_PER_MS);
    rig_close(&rig);
    for (unsigned i = 0; i < 4; i++) {
        (void)close(fill[i]);
    }
    (void)close(fd);
}

static void unix_sockets_are_probed_too(void **state)
{
    (void)state;
    char folder[] = "/tmp/shunt-probe-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char text[sizeof(folder) + 16];
    (void)snprintf(text, sizeof(text), "unix:%s/s", folder);
    struct addr address;
    assert_int_equal(addr_parse(text, NULL, &address, NULL), 0);
    struct rig rig;
    rig_open(&rig, &address, CLOCK_US_PER_S);
    rig_check(&rig, PROBE_FAILED, "No such file or directory");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &address.sa, address.len), 0);
    rig_check(&rig, PROBE_FAILED, "connection refused");
    assert_int_equal(listen(fd, 4), 0);
    rig_check(&rig, PROBE_PASSED, "connected");
    rig_close(&rig);
    (void)close(fd);
    (void)unlink(address.un.sun_path);
    (void)rmdir(folder);
}

static void a_want_of_descriptors_is_not_the_backends_fault(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_listen(&address, 16);
    struct rig rig;
    rig_open(&rig, &address, CLOCK_US_PER_S);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rig.seen.wanted = 1;
    probe_dialog.start(rig.probe);
    bool done = support_until(rig.base, is_done, &rig.seen);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(done);
    assert_int_equal(rig.seen.outcome, PROBE_SKIPPED);
    rig_check(&rig, PROBE_PASSED, "connected");
    rig_close(&rig);
    (void)close(fd);
}

static void a_probe_is_destroyed_while_it_runs(void **state)
{
    (void)state;
    struct addr address;
    int fd = support_listen(&address, 16);
    unsigned open = open_fds();
    struct rig rig;
    rig_open(&rig, &address, CLOCK_US_PER_S);
    probe_dialog.start(rig.probe);
    probe_dialog.destroy(rig.probe);
    (void)event_base_loop(rig.base, EVLOOP_NONBLOCK);
    assert_int_equal(rig.seen.count, 0);
    event_base_free(rig.base);
    assert_int_equal(open_fds(), open);
    (void)close(fd);
}

/* A server that does one thing with each connection, whenever its socket is ready for it. */
struct server {
    struct event_base *base;
    struct event *listening, *talking;
    int fd, peer;
    void (*act)(struct server *server);
    size_t sent;
};

static void on_talk(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct server *server = arg;
    server->act(server);
}

static void on_listen(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct server *server = arg;
    assert_int_equal(server->peer, -1);
    server->peer = accept4((int)fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(server->peer >= 0);
    server->talking = event_new(server->base, server->peer, EV_WRITE | EV_PERSIST, on_talk, server);
    assert_non_null(server->talking);
    struct timeval pace = {.tv_usec = 10000};
    /* With nothing to wait for it acts at its own pace. */
    assert_int_equal(event_add(server->talking, &pace), 0);
}

static void server_open(struct server *server, struct event_base *base, int fd,
                        void (*act)(struct server *server))
{
    *server = (struct server){.base = base, .fd = fd, .peer = -1, .act = act};
    server->listening = event_new(base, fd, EV_READ | EV_PERSIST, on_listen, server);
    assert_non_null(server->listening);
    assert_int_equal(event_add(server->listening, NULL), 0);
}

static void server_close(struct server *server)
{
    event_free(server->listening);
    if (server->talking != NULL) {
        event_free(server->talking);
    }
    if (server->peer >= 0) {
        (void)close(server->peer);
    }
    (void)close(server->fd);
}

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

static void say_all(struct server *server)
{
    if (server->sent == 0) {
        server->sent = (size_t)send(server->peer, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
    }
    (void)event_del(server->talking);
}

static void say_one_byte(struct server *server)
{
    struct timeval pace = {.tv_usec = 20000};
    (void)send(server->peer, &answer[server->sent], 1, MSG_NOSIGNAL);
    server->sent = (server->sent + 1) % 12; /* never as far as the end of the status */
    (void)event_del(server->talking);
    (void)event_assign(server->talking, server->base, -1, 0, on_talk, server);
    (void)event_add(server->talking, &pace);
}

static void say_garbage(struct server *server)
{
    static const char garbage[65536];
    ssize_t n = send(server->peer, garbage, sizeof(garbage), MSG_NOSIGNAL);
    server->sent += n > 0 ? (size_t)n : 0;
    if (n < 0) {
        (void)event_del(server->talking);
    }
}

static void say_headers(struct server *server)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\nx: y\r\n\r\n";
    ssize_t n = send(server->peer, line, sizeof(line) - 1, MSG_NOSIGNAL);
    server->sent += n > 0 ? (size_t)n : 0;
    if (n < 0) {
        (void)event_del(server->talking);
    }
}

static void say_nothing(struct server *server)
{
    (void)event_del(server->talking);
}

static void run_http(void (*act)(struct server *server), uint64_t timeout_us, enum probe_outcome outcome,
                     const char *reason, size_t *sent)
{
    struct addr address;
    struct rig rig;
    struct server server;
    int fd = support_listen(&address, 16);
    unsigned open = open_fds();
    rig_open_for(&rig, &http_config, &address, timeout_us);
    server_open(&server, rig.base, fd, act);
    uint64_t start_us = clock_mono_us();
    rig_check(&rig, outcome, reason);
    assert_true(clock_mono_us() - start_us < timeout_us + CLOCK_US_PER_S);
    *sent = server.sent;
    server_close(&server);
    rig_close(&rig);
    assert_int_equal(open_fds(), open - 1);
}

static void a_protocol_talks(void **state)
{
    (void)state;
    size_t sent = 0;
    run_http(say_all, 5 * CLOCK_US_PER_S, PROBE_PASSED, "status 200", &sent);
}

static void a_dripping_backend_does_not_put_off_the_end(void **state)
{
    (void)state;
    struct addr address;
    struct rig rig;
    struct server server;
    int fd = support_listen(&address, 16);
    rig_open_for(&rig, &http_config, &address, 200 * CLOCK_US_PER_MS);
    server_open(&server, rig.base, fd, say_one_byte);
    uint64_t start_us = clock_mono_us();
    rig.seen.wanted = 1;
    probe_dialog.start(rig.probe);
    assert_true(support_until(rig.base, is_done, &rig.seen));
    assert_int_equal(rig.seen.outcome, PROBE_FAILED);
    assert_memory_equal(rig.seen.reason, "timed out after 200ms with", 26);
    uint64_t took_us = clock_mono_us() - start_us;
    assert_true(took_us >= 190 * CLOCK_US_PER_MS && took_us < 2 * CLOCK_US_PER_S);
    server_close(&server);
    rig_close(&rig);
}

static void a_silent_protocol_times_out(void **state)
{
    (void)state;
    size_t sent = 0;
    run_http(say_nothing, 150 * CLOCK_US_PER_MS, PROBE_FAILED, "timed out after 150ms with 0 bytes received",
             &sent);
}

static void a_flood_is_cut_off(void **state)
{
    (void)state;
    size_t sent = 0;
    run_http(say_garbage, 10 * CLOCK_US_PER_S, PROBE_FAILED,
             "not HTTP: \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00...",
             &sent);
    run_http(say_headers, 10 * CLOCK_US_PER_S, PROBE_FAILED, "more than 16384 bytes without an answer",
             &sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_refused_and_up_again),
        cmocka_unit_test(a_silent_backend_times_out),
        cmocka_unit_test(unix_sockets_are_probed_too),
        cmocka_unit_test(a_want_of_descriptors_is_not_the_backends_fault),
        cmocka_unit_test(a_probe_is_destroyed_while_it_runs),
        cmocka_unit_test(a_protocol_talks),
        cmocka_unit_test(a_dripping_backend_does_not_put_off_the_end),
        cmocka_unit_test(a_silent_protocol_times_out),
        cmocka_unit_test(a_flood_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
