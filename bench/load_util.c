/*
 * Sockets, clocks, samples and the report of bench_load. Failures of the tool itself end the program: it is a
 * measurement, and half a measurement is worth nothing. Failed operations are counted by their callers.
 */
#include "bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define LISTEN_BACKLOG 4096

static uint64_t clock_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t load_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t load_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void load_die(const char *what)
{
    fprintf(stderr, "bench_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

void *load_calloc(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (!memory) {
        load_die("memory");
    }
    return memory;
}

static void addr_die(const char *text)
{
    fprintf(stderr, "bench_load: \"%s\" is no address\n", text);
    exit(64);
}

void load_addr_parse(const char *text, struct load_addr *out)
{
    memset(out, 0, sizeof(*out));
    if (strncmp(text, "unix:", 5) == 0) {
        if (strlen(text + 5) >= sizeof(out->un.sun_path)) {
            addr_die(text);
        }
        out->un.sun_family = AF_UNIX;
        memcpy(out->un.sun_path, text + 5, strlen(text + 5) + 1);
        out->len = sizeof(out->un);
        return;
    }
    const char *colon = strrchr(text, ':');
    char host[64];
    bool bracket = text[0] == '[';
    if (!colon || colon == text || (bracket && colon[-1] != ']')) {
        addr_die(text);
    }
    size_t len = (size_t)(colon - text) - (bracket ? 2 : 0);
    if (len >= sizeof(host)) {
        addr_die(text);
    }
    memcpy(host, text + (bracket ? 1 : 0), len);
    host[len] = '\0';
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    int family = bracket ? AF_INET6 : AF_INET;
    void *ip = bracket ? (void *)&out->in6.sin6_addr : (void *)&out->in.sin_addr;
    if (*end || port > 65535 || inet_pton(family, host, ip) != 1) {
        addr_die(text);
    }
    out->sa.sa_family = (sa_family_t)family;
    out->in.sin_port = htons((uint16_t)port); /* at the same place in both families */
    out->len = bracket ? sizeof(out->in6) : sizeof(out->in);
}

void load_set_nodelay(int fd, const struct load_addr *address)
{
    int on = 1;
    if (address->sa.sa_family != AF_UNIX && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        load_die("TCP_NODELAY");
    }
}

int load_listen(const struct load_addr *address)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        load_die("socket");
    }
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0) {
        load_die("SO_REUSEADDR");
    }
    load_set_nodelay(fd, address); /* accepted sockets inherit it */
    if (bind(fd, &address->sa, address->len) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        load_die("listen");
    }
    struct load_addr bound = {.len = sizeof(bound.un)};
    if (getsockname(fd, &bound.sa, &bound.len) < 0) {
        load_die("getsockname");
    }
    printf("port %u\n", bound.sa.sa_family == AF_UNIX ? 0u : ntohs(bound.in.sin_port));
    fflush(stdout);
    return fd;
}

int load_connect(const struct load_addr *address)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    load_set_nodelay(fd, address);
    if (connect(fd, &address->sa, address->len) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int load_connect_begin(const struct load_addr *address)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    load_set_nodelay(fd, address);
    if (connect(fd, &address->sa, address->len) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

void load_watch(int epoll, int fd, uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = index};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        load_die("epoll_ctl");
    }
}

void load_watch_input(int epoll)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = LOAD_INPUT_INDEX};
    /* A file or /dev/null cannot be watched: then only the other ends count. */
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0 && errno != EPERM) {
        load_die("epoll_ctl of standard input");
    }
}

bool load_read_line(char *line, size_t size)
{
    size_t len = 0;
    char byte;
    ssize_t n;
    while ((n = read(STDIN_FILENO, &byte, 1)) == 1 && byte != '\n') {
        if (len + 1 < size) {
            line[len++] = byte;
        }
    }
    line[len] = '\0';
    return n == 1;
}

void load_wait_go(const struct load_options *options)
{
    char line[64];
    if (options->start_at_once) {
        return;
    }
    printf("ready\n");
    fflush(stdout);
    if (!load_read_line(line, sizeof(line))) {
        exit(1);
    }
}

void load_samples_create(struct load_samples *samples, size_t capacity)
{
    *samples = (struct load_samples){.ns = load_calloc(capacity, sizeof(*samples->ns)), .capacity = capacity};
}

void load_samples_add(struct load_samples *samples, uint64_t ns)
{
    size_t slot =
        samples->len < samples->capacity ? samples->len++ : (size_t)(samples->seen % samples->capacity);
    samples->ns[slot] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
    samples->seen++;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile_us(const struct load_samples *samples, double q)
{
    if (!samples->len) {
        return 0;
    }
    size_t at = (size_t)(q * (double)samples->len);
    return samples->ns[at < samples->len ? at : samples->len - 1] / 1000.0;
}

void load_result_start(struct load_result *result)
{
    result->started_ns = load_now_ns();
    result->cpu_started_ns = load_cpu_ns();
}

void load_result_stop(struct load_result *result)
{
    result->ended_ns = load_now_ns();
    result->cpu_ns = load_cpu_ns() - result->cpu_started_ns;
}

uint64_t load_errors_sum(const struct load_errors *errors)
{
    return errors->connect + errors->reset + errors->early_end + errors->timeout + errors->mismatch;
}

void load_result_print(const struct load_options *options, struct load_result *result)
{
    struct load_samples *samples = &result->samples;
    double seconds = (double)(result->ended_ns - result->started_ns) / (double)NS_PER_S;
    if (samples->len) {
        qsort(samples->ns, samples->len, sizeof(*samples->ns), compare_u32);
    }
    printf("{\"mode\":\"%s\",\"operations\":%ju,\"seconds\":%.6f,\"rate\":%.1f,\"bytes\":%ju,\"cpu_ns\":%ju,",
           options->mode, (uintmax_t)result->operations, seconds,
           seconds > 0 ? (double)result->operations / seconds : 0.0, (uintmax_t)result->bytes,
           (uintmax_t)result->cpu_ns);
    printf("\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,\"max_us\":%.3f,", quantile_us(samples, 0.5),
           quantile_us(samples, 0.99), quantile_us(samples, 0.999), quantile_us(samples, 1.0));
    const struct load_errors *errors = &result->errors;
    printf(
        "\"errors\":%ju,\"errors_by_kind\":{\"connect\":%ju,\"reset\":%ju,\"early_end\":%ju,\"timeout\":%ju,"
        "\"mismatch\":%ju},\"tags\":{",
        (uintmax_t)load_errors_sum(errors), (uintmax_t)errors->connect, (uintmax_t)errors->reset,
        (uintmax_t)errors->early_end, (uintmax_t)errors->timeout, (uintmax_t)errors->mismatch);
    const char *comma = "";
    for (int tag = '!'; tag < '~'; tag++) {
        if (result->tags[tag] && tag != '"' && tag != '\\') {
            printf("%s\"%c\":%ju", comma, tag, (uintmax_t)result->tags[tag]);
            comma = ",";
        }
    }
    printf("}}\n");
    fflush(stdout);
}
