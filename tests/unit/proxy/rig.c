/*
 * Answers for starting and ending a data path inside a test, and for the sockets on both sides of it. Runs on
 * the test's thread, which is the control thread.
 */
#include "tests/unit/proxy/rig.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

uint64_t rig_now_ms(void)
{
    return clock_mono_us() / CLOCK_US_PER_MS;
}

unsigned rig_descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

void rig_turn(struct rig *rig)
{
    event_base_loop(rig->control, EVLOOP_NONBLOCK);
    (void)poll(NULL, 0, 1);
}

static void retire(void *context, void *ptr, void (*destroy)(void *ptr))
{
    worker_pool_retire(context, ptr, destroy);
}

static void any_address(struct addr *address, const struct rig_options *options, const char *folder,
                        unsigned number)
{
    char text[ADDR_TEXT_MAX];
    if (options->unix_paths) {
        (void)snprintf(text, sizeof(text), "unix:%s/%u", folder, number);
    } else {
        (void)snprintf(text, sizeof(text), "%s", options->ipv6 ? "[::1]:0" : "127.0.0.1:0");
    }
    assert_int_equal(addr_parse(text, NULL, address, NULL), 0);
}

static void rig_open_backend(struct rig *rig, const struct rig_options *options, unsigned i)
{
    struct addr *address = &rig->backend[i];
    any_address(address, options, rig->folder, i);
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &address->sa, address->len), 0);
    bool full = (options->full >> i) & 1;
    bool dead = (options->dead >> i) & 1;
    assert_true(dead || listen(fd, full ? 0 : 1024) == 0);
    if (!options->unix_paths) {
        address->len = sizeof(address->in6);
        assert_int_equal(getsockname(fd, &address->sa, &address->len), 0);
    }
    for (unsigned n = 0; full && n < 4; n++) {
        int client = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(client, &address->sa, address->len);
        rig->filler[rig->filler_len++] = client;
    }
    if (dead) {
        rig->filler[rig->filler_len++] = fd; /* nobody listens, and nobody else gets the port meanwhile */
        fd = -1;
    }
    rig->backend_fd[i] = fd;
}

static void rig_open_routing(struct rig *rig)
{
    struct routing_backend_spec backends[RIG_BACKENDS_MAX];
    char names[RIG_BACKENDS_MAX][16];
    for (unsigned i = 0; i < rig->backends; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "b%u", i);
        backends[i] =
            (struct routing_backend_spec){.name = names[i], .address = rig->backend[i], .weight = 1};
    }
    const struct routing_group_spec group = {.name = "old",
                                             .balance = CONFIG_BALANCE_ROUND_ROBIN,
                                             .backends = backends,
                                             .backends_len = rig->backends};
    const struct routing_spec spec = {.service = "test",
                                      .prefix_ipv4 = 32,
                                      .prefix_ipv6 = 64,
                                      .salt = "test",
                                      .fallback = true,
                                      .workers = 2,
                                      .groups = &group,
                                      .groups_len = 1,
                                      .retire = retire,
                                      .retire_context = rig->pool};
    struct err_text err = {""};
    assert_int_equal(routing_create(&spec, &rig->routing, &err), 0);
}

static void rig_open_service(struct rig *rig, const struct rig_options *options)
{
    const uint64_t ten_s = 10 * CLOCK_US_PER_S;
    struct addr listen_on;
    struct err_text err = {""};
    any_address(&listen_on, options, rig->folder, 99);
    const struct proxy_options proxy_options = {.pool = rig->pool,
                                                .max_connections = options->max_connections};
    assert_int_equal(proxy_create(&proxy_options, &rig->proxy, &err), 0);
    const struct proxy_service_spec spec = {
        .name = "test",
        .routing = rig->routing,
        .listen = &listen_on,
        .listen_len = 1,
        .timeouts = {.connect_us = options->connect_us != 0 ? options->connect_us : ten_s,
                     .idle_us = options->idle_us != 0 ? options->idle_us : ten_s,
                     .half_close_us = options->half_close_us != 0 ? options->half_close_us : ten_s},
        .config = options->config,
        .retries = options->retries};
    assert_int_equal(proxy_service_create(rig->proxy, &spec, &rig->service, &err), 0);
    assert_int_equal(proxy_service_start(rig->service, &err), 0);
    assert_int_equal(worker_pool_start(rig->pool, &err), 0);
}

void rig_start(struct rig *rig, const struct rig_options *options)
{
    memset(rig, 0, sizeof(*rig));
    rig->descriptors = rig_descriptors();
    rig->backends = options->backends != 0 ? options->backends : 1;
    if (options->unix_paths) {
        (void)snprintf(rig->folder, sizeof(rig->folder), "/tmp/shunt-test-XXXXXX");
        assert_non_null(mkdtemp(rig->folder));
    }
    rig->control = event_base_new();
    assert_non_null(rig->control);
    const struct worker_pool_options pool_options = {.count = 2, .control = rig->control};
    struct err_text err = {""};
    assert_int_equal(worker_pool_create(&pool_options, &rig->pool, &err), 0);
    for (unsigned i = 0; i < rig->backends; i++) {
        rig_open_backend(rig, options, i);
    }
    rig_open_routing(rig);
    rig_open_service(rig, options);
}

static void check_counters(struct rig *rig)
{
    struct stats_service_reading reading;
    proxy_service_read(rig->service, &reading);
    uint64_t closed = 0;
    for (int i = 0; i < STATS_CLOSE_COUNT; i++) {
        closed += reading.closed[i];
    }
    assert_int_equal(reading.accepted, closed + proxy_service_open(rig->service));
}

void rig_stop(struct rig *rig)
{
    if (!rig->leave_open) {
        rig_wait_open(rig, 0);
        check_counters(rig);
        assert_int_equal(routing_open(rig->routing, 0), 0);
    }
    unsigned held = rig->leave_open ? (unsigned)proxy_service_open(rig->service) : 0;
    proxy_service_stop(rig->service);
    worker_pool_destroy(rig->pool);
    check_counters(rig);
    assert_int_equal(proxy_service_open(rig->service), 0);
    assert_int_equal(rig_closed(rig, STATS_CLOSE_SHUTDOWN), held);
    proxy_service_destroy(rig->service);
    proxy_destroy(rig->proxy);
    routing_destroy(rig->routing);
    event_base_free(rig->control);
    for (unsigned i = 0; i < rig->backends; i++) {
        if (rig->backend_fd[i] >= 0) {
            close(rig->backend_fd[i]);
        }
        if (addr_is_unix(&rig->backend[i])) {
            (void)unlink(rig->backend[i].un.sun_path);
        }
    }
    for (unsigned i = 0; i < rig->filler_len; i++) {
        close(rig->filler[i]);
    }
    if (rig->folder[0] != '\0') {
        assert_int_equal(rmdir(rig->folder), 0); /* the listener's path is gone too */
    }
    assert_int_equal(rig_descriptors(), rig->descriptors + 2 * held); /* the test's own ends */
}

static void bound_waits(int fd)
{
    const struct timeval wait = {.tv_sec = RIG_WAIT_MS / 1000};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)), 0);
}

int rig_client(struct rig *rig)
{
    const struct addr *address = proxy_service_listen_address(rig->service, 0);
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    bound_waits(fd);
    assert_int_equal(connect(fd, &address->sa, address->len), 0);
    return fd;
}

int rig_accept(struct rig *rig, unsigned backend)
{
    struct pollfd poll_fd = {.fd = rig->backend_fd[backend], .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, RIG_WAIT_MS), 1);
    int fd = accept4(rig->backend_fd[backend], NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    bound_waits(fd);
    return fd;
}

void rig_pair(struct rig *rig, int *client, int *backend)
{
    *client = rig_client(rig);
    *backend = rig_accept(rig, 0);
}

void rig_send(int fd, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += n;
        size -= (size_t)n;
    }
}

void rig_expect(int fd, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    unsigned char buffer[65536];
    while (size > 0) {
        ssize_t n = recv(fd, buffer, size < sizeof(buffer) ? size : sizeof(buffer), 0);
        assert_true(n > 0);
        assert_memory_equal(buffer, at, (size_t)n);
        at += n;
        size -= (size_t)n;
    }
}

void rig_expect_end(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

size_t rig_expect_reset(int fd)
{
    char buffer[65536];
    size_t before = 0;
    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        assert_int_not_equal(n, 0);
        if (n < 0) {
            assert_int_equal(errno, ECONNRESET);
            return before;
        }
        before += (size_t)n;
    }
}

void rig_expect_quiet(int fd, int ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, ms), 0);
}

void rig_reset(int fd)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(fd);
}

void rig_fill(unsigned char *out, size_t size, uint64_t seed, uint64_t offset)
{
    for (size_t i = 0; i < size; i++) {
        uint64_t x = (offset + i) / 8 + seed * UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        out[i] = (unsigned char)(x >> (8 * ((offset + i) % 8)));
    }
}

uint64_t rig_closed(struct rig *rig, enum stats_close reason)
{
    struct stats_service_reading reading;
    proxy_service_read(rig->service, &reading);
    return reading.closed[reason];
}

void rig_wait_closed(struct rig *rig, enum stats_close reason, uint64_t n)
{
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    while (rig_closed(rig, reason) < n && rig_now_ms() < until) {
        rig_turn(rig);
    }
    assert_int_equal(rig_closed(rig, reason), n);
}

void rig_wait_open(struct rig *rig, uint64_t n)
{
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    while (proxy_service_open(rig->service) != n && rig_now_ms() < until) {
        rig_turn(rig);
    }
    assert_int_equal(proxy_service_open(rig->service), n);
}

struct stats_backend_reading rig_backend_stats(struct rig *rig, unsigned backend)
{
    struct stats_backend_reading reading;
    backend_read(routing_backend_at(rig->routing, 0, backend), &reading);
    return reading;
}
