/*
 * What active checks cost: N backends of one service, each checked every second by TCP (or HTTP) for some
 * seconds on one thread, against a listener in a process of its own. Prints the CPU time of the checking
 * thread and the most checks begun in one tenth of a second, which tells whether they bunch.
 */
#include "core/clock.h"
#include "health/health.h"

#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define TENTH_US (CLOCK_US_PER_S / 10)
#define BACKENDS_MOST 10000

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    char bytes[1024];
    (void)what;
    (void)arg;
    if (recv((int)fd, bytes, sizeof(bytes), 0) > 0) {
        (void)send((int)fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
    }
    (void)close((int)fd);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len,
                      void *arg)
{
    (void)address;
    (void)len;
    (void)arg;
    (void)event_base_once(evconnlistener_get_base(listener), fd, EV_READ, on_answer, NULL, NULL);
}

/* The backends: one listener for all of them, in a child that ends with us. */
static void serve(int fd)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct event_base *base = event_base_new();
    if (base != NULL && evconnlistener_new(base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE, -1, fd) != NULL) {
        (void)event_base_dispatch(base);
    }
    _exit(1);
}

static int listen_anywhere(struct addr *address)
{
    memset(address, 0, sizeof(*address));
    address->in.sin_family = AF_INET;
    address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->len = sizeof(address->in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, &address->sa, address->len) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, &address->sa, &address->len) != 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static uint64_t thread_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * CLOCK_US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t count_checks(const struct routing *routing, const struct health *health)
{
    uint64_t checks = 0;
    for (size_t i = 0; i < routing_backends(routing, 0); i++) {
        struct health_result last;
        if (health_last(health, routing_backend_at(routing, 0, i), &last) == 0) {
            checks += last.checks;
        }
    }
    return checks;
}

static void turn(struct event_base *base, uint64_t duration_us)
{
    struct timeval wait = {.tv_sec = (time_t)(duration_us / CLOCK_US_PER_S),
                           .tv_usec = (suseconds_t)(duration_us % CLOCK_US_PER_S)};
    (void)event_base_loopexit(base, &wait);
    (void)event_base_dispatch(base);
}

static void measure(struct event_base *base, const struct routing *routing, const struct health *health,
                    unsigned seconds)
{
    turn(base, 3 * CLOCK_US_PER_S); /* until each has found its place */
    uint64_t begin_us = clock_mono_us();
    uint64_t before = count_checks(routing, health);
    uint64_t last = before;
    uint64_t most = 0;
    uint64_t cpu_us = 0;
    for (unsigned i = 0; i < seconds * 10; i++) {
        uint64_t cpu_begin_us = thread_us();
        turn(base, TENTH_US);
        cpu_us += thread_us() - cpu_begin_us; /* without our own counting */
        uint64_t now = count_checks(routing, health);
        most = now - last > most ? now - last : most;
        last = now;
    }
    double took_s = (double)(clock_mono_us() - begin_us) / 1e6;
    double checks_s = (double)(last - before) / took_s;
    printf("checks/s %.0f, CPU %.2f %% of a core, %.1f us a check, most in 0.1 s: %llu\n", checks_s,
           (double)cpu_us / took_s / 1e4, (double)cpu_us / (double)(last - before), (unsigned long long)most);
}

static struct routing *make_routing(const struct addr *address, size_t len)
{
    static struct routing_backend_spec backends[BACKENDS_MOST];
    static char names[BACKENDS_MOST][16];
    for (size_t i = 0; i < len; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "b%zu", i);
        backends[i] = (struct routing_backend_spec){.name = names[i], .address = *address, .weight = 1};
    }
    struct routing_group_spec group = {.name = "old", .backends = backends, .backends_len = len};
    struct routing_spec spec = {
        .service = "bench", .salt = "", .workers = 1, .groups = &group, .groups_len = 1};
    struct routing *routing = NULL;
    return routing_create(&spec, &routing, NULL) == 0 ? routing : NULL;
}

int main(int argc, char **argv)
{
    static char name[] = "old";
    static char get[] = "GET";
    static char path[] = "/";
    static char status[] = "200";
    unsigned long len = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    unsigned long seconds = argc > 2 ? strtoul(argv[2], NULL, 10) : 10;
    bool http = argc > 3 && strcmp(argv[3], "http") == 0;
    if (len == 0 || len > BACKENDS_MOST || seconds == 0 || seconds > 3600) {
        fprintf(stderr, "usage: bench_probes [BACKENDS [SECONDS [tcp|http]]]\n");
        return 64;
    }
    struct addr address;
    int fd = listen_anywhere(&address);
    pid_t child = fork();
    if (child == 0) {
        serve(fd);
    }
    (void)close(fd);
    struct config_group group = {.name = name,
                                 .health = {.type = http ? CONFIG_HEALTH_HTTP : CONFIG_HEALTH_TCP,
                                            .interval_us = CLOCK_US_PER_S,
                                            .timeout_us = CLOCK_US_PER_S,
                                            .rise = 2,
                                            .fall = 3,
                                            .http = {.method = get, .path = path, .status = status}}};
    struct config_service config = {.name = name, .groups = &group, .groups_len = 1};
    struct event_base *base = event_base_new();
    struct routing *routing = make_routing(&address, len);
    struct events_ring *events = NULL;
    struct health *health = NULL;
    if (child < 0 || base == NULL || routing == NULL || events_create(100, &events) != 0 ||
        health_create(base, routing, &config, events, &health, NULL) != 0) {
        fprintf(stderr, "cannot begin\n");
        return 1;
    }
    measure(base, routing, health, (unsigned)seconds);
    health_destroy(health);
    routing_destroy(routing);
    events_destroy(events);
    event_base_free(base);
    (void)kill(child, SIGKILL);
    return 0;
}
