/* The TCP probe against real sockets: up, refused, silent, Unix paths, cancelled, and started again and
 * again. */
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

static void on_done(void *context, enum probe_outcome outcome, const char *reason)
{
    struct seen *seen = context;
    seen->count++;
    seen->outcome = outcome;
    (void)snprintf(seen->reason, sizeof(seen->reason), "%s", reason);
}

static bool is_done(void *context)
{
    const struct seen *seen = context;
    return seen->count >= seen->wanted;
}

struct rig {
    struct event_base *base;
    struct probe *probe;
    struct seen seen;
};

static void rig_open(struct rig *rig, const struct addr *address, uint64_t timeout_us)
{
    memset(rig, 0, sizeof(*rig));
    rig->base = event_base_new();
    assert_non_null(rig->base);
    struct probe_spec spec = {.base = rig->base,
                              .address = *address,
                              .timeout_us = timeout_us,
                              .done = on_done,
                              .context = &rig->seen};
    assert_int_equal(probe_tcp.create(&spec, &rig->probe), 0);
}

static void rig_check(struct rig *rig, enum probe_outcome outcome, const char *reason)
{
    rig->seen.wanted = rig->seen.count + 1;
    probe_tcp.start(rig->probe);
    assert_int_equal(rig->seen.count, rig->seen.wanted - 1); /* never from within start */
    assert_true(support_until(rig->base, is_done, &rig->seen));
    assert_string_equal(rig->seen.reason, reason);
    assert_int_equal(rig->seen.outcome, outcome);
    assert_int_equal(rig->seen.count, rig->seen.wanted);
}

static void rig_close(struct rig *rig)
{
    probe_tcp.destroy(rig->probe);
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
    probe_tcp.start(rig.probe);
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
    probe_tcp.start(rig.probe);
    probe_tcp.destroy(rig.probe);
    (void)event_base_loop(rig.base, EVLOOP_NONBLOCK);
    assert_int_equal(rig.seen.count, 0);
    event_base_free(rig.base);
    assert_int_equal(open_fds(), open);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_refused_and_up_again),
        cmocka_unit_test(a_silent_backend_times_out),
        cmocka_unit_test(unix_sockets_are_probed_too),
        cmocka_unit_test(a_want_of_descriptors_is_not_the_backends_fault),
        cmocka_unit_test(a_probe_is_destroyed_while_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
