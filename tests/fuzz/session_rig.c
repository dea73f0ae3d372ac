/*
 * Answers for what the session target plays with: the data path on one worker that is turned here, the
 * sockets of both ends, the clock, and calls that fall short. One thread. The clock is replaced for libevent
 * too: this file's clock_gettime takes the place of the library's.
 */
#include "balancer/routing.h"
#include "core/clock.h"
#include "core/worker_internal.h"
#include "proxy/proxy_internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/session.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PATTERN_BYTES 1048573u /* a prime: pieces of no usual size repeat */
#define TURN_US 20u
#define SMALL_BUFFER 4096
#define KINDS 3u /* over TCP, over Unix paths, over TCP with a first backend that refuses */

struct path {
    struct routing *routing;
    struct proxy_service *service;
    int listener; /* of the backend that serves */
};

static struct {
    bool ready;
    struct event_base *control;
    struct worker_pool *pool;
    struct proxy *proxy;
    struct path path[KINDS];
    struct path *used; /* by the present session */
    unsigned char pattern[PATTERN_BYTES + SESSION_PIECE_MAX];
    unsigned char piece[SESSION_PIECE_MAX];
    char folder[32];
} rig;

/* ---- the clock and the calls that fall short */

static uint64_t ahead_us; /* of the start */
static struct {
    unsigned kind, left;
    size_t most;
} fault;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the library has its own names */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE) {
        return (int)syscall(SYS_clock_gettime, clock, now);
    }
    uint64_t us = CLOCK_US_PER_S + ahead_us;
    *now = (struct timespec){.tv_sec = (time_t)(us / CLOCK_US_PER_S),
                             .tv_nsec = (long)(us % CLOCK_US_PER_S) * 1000};
    return 0;
}

void session_pass_time(uint64_t ms)
{
    ahead_us += ms * CLOCK_US_PER_MS;
}

enum { FAULT_NONE, FAULT_RECV, FAULT_SEND, FAULT_SPLICE, FAULT_INTERRUPT, FAULT_PIPE, FAULT_COUNT };

void session_fault(unsigned kind, unsigned most)
{
    fault.kind = kind % FAULT_COUNT;
    fault.most = (size_t)1 << (most & 0x0f);
    fault.left = 1 + (most >> 4);
}

/* True when the call is to be interrupted; else *size may have become smaller. */
static bool strikes(unsigned kind, size_t *size)
{
    if (fault.left == 0 || (fault.kind != kind && fault.kind != FAULT_INTERRUPT)) {
        return false;
    }
    fault.left--;
    if (fault.kind == FAULT_INTERRUPT) {
        errno = EINTR;
        return true;
    }
    *size = *size < fault.most ? *size : fault.most;
    return false;
}

/* The linker sends the calls of the data path here (--wrap). */
ssize_t __real_recv(int fd, void *buffer, size_t size, int flags);
ssize_t __real_send(int fd, const void *buffer, size_t size, int flags);
ssize_t __real_splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size,
                      unsigned flags);
int __real_pipe2(int fds[2], int flags);
ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *buffer, size_t size, int flags);
ssize_t __wrap_splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size,
                      unsigned flags);
int __wrap_pipe2(int fds[2], int flags);

ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags)
{
    return strikes(FAULT_RECV, &size) ? -1 : __real_recv(fd, buffer, size, flags);
}

ssize_t __wrap_send(int fd, const void *buffer, size_t size, int flags)
{
    return strikes(FAULT_SEND, &size) ? -1 : __real_send(fd, buffer, size, flags);
}

ssize_t __wrap_splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size, unsigned flags)
{
    return strikes(FAULT_SPLICE, &size) ? -1 : __real_splice(from, from_offset, to, to_offset, size, flags);
}

int __wrap_pipe2(int fds[2], int flags)
{
    if (fault.left > 0 && fault.kind == FAULT_PIPE) {
        fault.left--;
        errno = EMFILE;
        return -1;
    }
    return __real_pipe2(fds, flags);
}

/* ---- the data path */

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static void need(int code, const struct err_text *err)
{
    if (code != 0) {
        fprintf(stderr, "session: %s\n", err->text);
        exit(1);
    }
}

/* A backend's address; its listener in *fd, or -1 where it is to refuse. */
static struct addr open_backend(unsigned kind, bool refuses, int *fd)
{
    struct addr address;
    char text[ADDR_TEXT_MAX];
    struct err_text err = {""};
    (void)snprintf(text, sizeof(text), kind == 1 ? "unix:%s/backend" : "127.0.0.1:0", rig.folder);
    need(addr_parse(text, NULL, &address, NULL), &err);
    *fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0 || bind(*fd, &address.sa, address.len) != 0 || (!refuses && listen(*fd, 64) != 0)) {
        die("backend");
    }
    if (kind != 1) {
        address.len = sizeof(address.in6);
        (void)getsockname(*fd, &address.sa, &address.len);
    }
    return address;
}

static void open_routing(struct path *path, unsigned kind)
{
    int refusing = -1;
    struct err_text err = {""};
    struct routing_backend_spec backends[2] = {{.name = "one", .weight = 1}, {.name = "two", .weight = 1}};
    backends[0].address = open_backend(kind, kind == 2, kind == 2 ? &refusing : &path->listener);
    if (kind == 2) {
        backends[1].address = open_backend(kind, false, &path->listener);
    }
    const struct routing_group_spec group = {.name = "old",
                                             .balance = CONFIG_BALANCE_ROUND_ROBIN,
                                             .backends = backends,
                                             .backends_len = kind == 2 ? 2 : 1};
    const struct routing_spec spec = {.service = "session",
                                      .prefix_ipv4 = 32,
                                      .prefix_ipv6 = 64,
                                      .salt = "session",
                                      .fallback = true,
                                      .workers = 1,
                                      .groups = &group,
                                      .groups_len = 1};
    need(routing_create(&spec, &path->routing, &err), &err);
}

static void open_path(unsigned kind)
{
    const uint64_t ever_us = UINT64_C(1000000) * 3600 * CLOCK_US_PER_S;
    struct path *path = &rig.path[kind];
    struct addr listen_on;
    char text[ADDR_TEXT_MAX];
    struct err_text err = {""};
    open_routing(path, kind);
    (void)snprintf(text, sizeof(text), kind == 1 ? "unix:%s/service" : "127.0.0.1:0", rig.folder);
    need(addr_parse(text, NULL, &listen_on, NULL), &err);
    const struct proxy_service_spec spec = {
        .name = "session",
        .routing = path->routing,
        .listen = &listen_on,
        .listen_len = 1,
        .timeouts = {.connect_us = ever_us, .idle_us = ever_us, .half_close_us = ever_us},
        .retries = 3};
    need(proxy_service_create(rig.proxy, &spec, &path->service, &err), &err);
    need(proxy_service_start(path->service, &err), &err);
}

static void remove_folder(void)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/backend", rig.folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/service", rig.folder);
    (void)unlink(path);
    (void)rmdir(rig.folder);
}

static void open_rig(void)
{
    struct err_text err = {""};
    uint64_t x = 1;
    for (size_t i = 0; i < sizeof(rig.pattern); i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        rig.pattern[i] = i < PATTERN_BYTES ? (unsigned char)(x >> 56) : rig.pattern[i - PATTERN_BYTES];
    }
    (void)snprintf(rig.folder, sizeof(rig.folder), "/tmp/shunt-session-XXXXXX");
    if (mkdtemp(rig.folder) == NULL || atexit(remove_folder) != 0) {
        die("folder");
    }
    rig.control = event_base_new();
    const struct worker_pool_options options = {.count = 1, .control = rig.control};
    need(worker_pool_create(&options, &rig.pool, &err), &err);
    const struct proxy_options proxy_options = {.pool = rig.pool};
    need(proxy_create(&proxy_options, &rig.proxy, &err), &err);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        open_path(kind);
    }
    rig.ready = true;
}

/* ---- the ends */

static void set_buffers(int fd, bool small)
{
    int size = SMALL_BUFFER;
    if (small) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
}

static uint64_t accepted(void)
{
    struct stats_service_reading reading;
    proxy_service_read(rig.used->service, &reading);
    return reading.accepted;
}

void session_begin(struct session *session, uint8_t kind)
{
    if (!rig.ready) {
        open_rig();
    }
    rig.used = &rig.path[kind % KINDS];
    *session = (struct session){.is_unix = kind % KINDS == 1, .accepted_before = accepted()};
    session->end[0] = (struct session_end){.seed = 3};
    session->end[1] = (struct session_end){.fd = -1, .seed = 400009};
    set_buffers(rig.used->listener, (kind & 0x40) != 0); /* what is accepted has them too */
    if ((kind & 0x40) == 0) {
        int usual = 131072;
        (void)setsockopt(rig.used->listener, SOL_SOCKET, SO_RCVBUF, &usual, sizeof(usual));
        (void)setsockopt(rig.used->listener, SOL_SOCKET, SO_SNDBUF, &usual, sizeof(usual));
    }
    const struct addr *address = proxy_service_listen_address(rig.used->service, 0);
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_buffers(fd, (kind & 0x80) != 0);
    if (fd < 0 || connect(fd, &address->sa, address->len) != 0) {
        die("connect");
    }
    session->end[0].fd = fd;
}

static void fail_on(struct session_end *end, int code)
{
    if (code == EAGAIN) {
        return;
    }
    FUZZ_CHECK(code == ECONNRESET || code == EPIPE);
    end->saw_reset = true;
}

static const unsigned char *bytes_at(uint64_t seed, uint64_t offset)
{
    return rig.pattern + (seed + offset) % PATTERN_BYTES;
}

void session_send(struct session_end *end, size_t size)
{
    if (end->fd < 0 || end->shut || end->saw_reset || size == 0) {
        return;
    }
    size = size < SESSION_PIECE_MAX ? size : SESSION_PIECE_MAX;
    ssize_t n = __real_send(end->fd, bytes_at(end->seed, end->sent), size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        fail_on(end, errno);
        return;
    }
    end->sent += (uint64_t)n;
}

void session_receive(struct session_end *end, const struct session_end *other, size_t size)
{
    if (end->fd < 0 || end->saw_end || end->saw_reset || size == 0) {
        return;
    }
    size = size < SESSION_PIECE_MAX ? size : SESSION_PIECE_MAX;
    ssize_t n = __real_recv(end->fd, rig.piece, size, MSG_DONTWAIT);
    if (n < 0) {
        fail_on(end, errno);
        return;
    }
    if (n == 0) {
        FUZZ_CHECK(other->shut);
        FUZZ_CHECK(end->received == other->sent); /* an end never overtakes data */
        end->saw_end = true;
        return;
    }
    FUZZ_CHECK(end->received + (uint64_t)n <= other->sent);
    FUZZ_CHECK(memcmp(rig.piece, bytes_at(other->seed, end->received), (size_t)n) == 0);
    end->received += (uint64_t)n;
}

void session_shut(struct session_end *end)
{
    if (end->fd >= 0 && !end->shut && !end->saw_reset && shutdown(end->fd, SHUT_WR) == 0) {
        end->shut = true;
    }
}

static void close_hard(struct session_end *end)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (end->fd >= 0) {
        (void)setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        (void)close(end->fd);
        end->fd = -1;
    }
}

void session_reset(struct session *session, int which)
{
    struct session_end *end = &session->end[which];
    if (!session->is_unix && end->fd >= 0) {
        close_hard(end);
        end->reset = true;
    }
}

bool session_turn(struct session *session)
{
    ahead_us += TURN_US;
    bool moved = worker_turn(worker_pool_get(rig.pool, 0));
    if (session->end[1].fd < 0 && !session->end[1].reset) {
        session->end[1].fd = accept4(rig.used->listener, NULL, NULL, SOCK_CLOEXEC);
    }
    return moved;
}

void session_wait(const struct session *session)
{
    /* Who has seen the end would be told of it again and again. */
    const struct session_end *end = session->end;
    struct pollfd fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = (struct pollfd){.fd = end[i].saw_end || end[i].saw_reset ? -1 : end[i].fd, .events = POLLIN};
    }
    (void)poll(fds, 2, 1);
}

bool session_is_over(const struct session *session)
{
    const struct session_end *end = session->end;
    if (proxy_service_open(rig.used->service) != 0) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        /* Who was never reached has nothing to see. */
        bool done = end[i].reset || end[i].saw_end || end[i].saw_reset || (i == 1 && end[i].fd < 0);
        if (!done) {
            return false;
        }
    }
    return accepted() > session->accepted_before;
}

void session_print(const struct session *session)
{
    for (int i = 0; i < 2; i++) {
        const struct session_end *end = &session->end[i];
        fprintf(stderr, "%s: sent %llu received %llu shut %d saw_end %d reset %d saw_reset %d fd %d\n",
                i == 0 ? "client" : "backend", (unsigned long long)end->sent,
                (unsigned long long)end->received, end->shut, end->saw_end, end->reset, end->saw_reset,
                end->fd);
    }
    list_each (node, &rig.used->service->per_worker[0]->connections) {
        const struct conn *conn = list_entry(node, struct conn, node);
        fprintf(stderr, "connection: %s\n", conn_state_name((enum conn_state)conn->state));
    }
}

void session_end(struct session *session)
{
    struct stats_service_reading reading;
    uint64_t closed = 0;
    close_hard(&session->end[0]);
    close_hard(&session->end[1]);
    for (unsigned n = 0; n < 2; n++) {
        (void)session_turn(
            session); /* a connection that was reset before it was accepted, and what is freed late */
    }
    close_hard(&session->end[1]);
    proxy_service_read(rig.used->service, &reading);
    for (int i = 0; i < STATS_CLOSE_COUNT; i++) {
        closed += reading.closed[i];
    }
    FUZZ_CHECK(reading.accepted == closed + proxy_service_open(rig.used->service));
    FUZZ_CHECK(reading.closed[STATS_CLOSE_INTERNAL] == 0 && reading.closed[STATS_CLOSE_IDLE] == 0);
    FUZZ_CHECK(proxy_service_open(rig.used->service) == 0);
    FUZZ_CHECK(routing_open(rig.used->routing, 0) == 0);
    FUZZ_CHECK(rig.proxy->worker[0].pipes.lent == 0);
}
