/*
 * What a pick costs: nanoseconds by strategy, number of backends and number of threads, each pick with its
 * lease given back, a turn in every tenth connection, and a client address that changes. And what a publish
 * costs. Prints tables; no pass or fail.
 */
#include "balancer/routing.h"
#include "core/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PICKS 300000u
#define OPEN 2048u /* leases each thread holds: enough to keep a thousand backends busy */
#define ROUNDS 5u
#define THREADS_MAX 2u

struct bench_thread {
    const struct routing *routing;
    unsigned worker;
    double ns;
    pthread_t id;
};

/* The thread's own processor time: holds on a machine that others use, too. */
static double cpu_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void *run_picks(void *arg)
{
    struct bench_thread *thread = arg;
    static _Thread_local struct lease leases[OPEN];
    struct random_state random;
    struct routing_pick_input input = {.worker = thread->worker, .random = &random, .client = {.family = 4}};
    memset(leases, 0, sizeof(leases));
    random_seed(&random, thread->worker + 1);
    input.now_us = clock_mono_us();
    double start_ns = cpu_ns();
    for (uint32_t n = 0; n < PICKS; n++) {
        struct lease *lease = &leases[n % OPEN];
        if (lease->backend != NULL) {
            lease_release(lease, -1, input.now_us);
        }
        input.now_us++;
        memcpy(input.client.bytes, &n, sizeof(n));
        struct routing_attempts attempts;
        memset(&attempts, 0, sizeof(attempts));
        if (routing_pick(routing_view(thread->routing), &input, &attempts, lease) != 0) {
            (void)fprintf(stderr, "bench_pick: no backend\n");
            exit(1);
        }
        lease_connected(lease, 100, input.now_us);
        if (n % 10 == 0) {
            lease_turn_begin(lease);
            lease_turn_end(lease, 100 + n % 64, input.now_us);
        }
    }
    thread->ns = (cpu_ns() - start_ns) / PICKS;
    for (unsigned i = 0; i < OPEN; i++) {
        lease_release(&leases[i], -1, input.now_us);
    }
    return NULL;
}

static struct routing *create_routing(enum config_balance balance, size_t backends_len)
{
    struct routing_backend_spec *backends = calloc(backends_len, sizeof(*backends));
    char(*names)[32] = calloc(backends_len, sizeof(*names));
    struct routing *routing = NULL;
    struct err_text err = {.text = "out of memory"};
    if (backends != NULL && names != NULL) {
        for (size_t i = 0; i < backends_len; i++) {
            (void)snprintf(names[i], sizeof(names[i]), "b%zu", i);
            backends[i].name = names[i];
            backends[i].weight = 1 + i % 3;
        }
        struct routing_group_spec group = {
            .name = "old", .balance = balance, .backends = backends, .backends_len = backends_len};
        struct routing_spec spec = {.service = "bench",
                                    .prefix_ipv4 = 32,
                                    .prefix_ipv6 = 64,
                                    .salt = "bench",
                                    .workers = THREADS_MAX,
                                    .groups = &group,
                                    .groups_len = 1};
        if (routing_create(&spec, &routing, &err) != 0) {
            routing = NULL;
        }
    }
    free(backends);
    free(names);
    if (routing == NULL) {
        (void)fprintf(stderr, "bench_pick: %s\n", err.text);
        exit(1);
    }
    return routing;
}

/* The best of some rounds: what it costs when nobody else disturbs. */
static double measure(enum config_balance balance, size_t backends, unsigned threads_len)
{
    double best = 1e9;
    struct routing *routing = create_routing(balance, backends);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct bench_thread threads[THREADS_MAX];
        double sum = 0;
        for (unsigned t = 0; t < threads_len; t++) {
            threads[t] = (struct bench_thread){.routing = routing, .worker = t};
            if (pthread_create(&threads[t].id, NULL, run_picks, &threads[t]) != 0) {
                (void)fprintf(stderr, "bench_pick: cannot start a thread\n");
                exit(1);
            }
        }
        for (unsigned t = 0; t < threads_len; t++) {
            pthread_join(threads[t].id, NULL);
            sum += threads[t].ns;
        }
        best = sum / threads_len < best ? sum / threads_len : best;
    }
    routing_destroy(routing);
    return best;
}

/* What the control thread spends on a publish, in us: after a change of the share, and of one backend's
 * state. */
static void measure_publish(const char *name, enum config_balance balance, size_t backends)
{
    struct routing *routing = create_routing(balance, backends);
    double best_us[2] = {1e9, 1e9};
    for (unsigned round = 0; round < 10 * ROUNDS; round++) {
        for (unsigned kind = 0; kind < 2; kind++) {
            if (kind == 0) {
                routing_set_share(routing, round + 1);
            } else {
                routing_set_state(routing, routing_backend_at(routing, 0, 0),
                                  round % 2 == 0 ? BACKEND_DOWN : BACKEND_UP);
            }
            double start_ns = cpu_ns();
            if (routing_publish(routing, NULL) != 0) {
                (void)fprintf(stderr, "bench_pick: cannot publish\n");
                exit(1);
            }
            double took_us = (cpu_ns() - start_ns) / 1000.0;
            best_us[kind] = took_us < best_us[kind] ? took_us : best_us[kind];
        }
    }
    printf("%-18s %7zu %9.1f %9.1f\n", name, backends, best_us[0], best_us[1]);
    routing_destroy(routing);
}

int main(void)
{
    static const char *const names[] = {"round-robin", "weighted", "least-latency", "least-connections",
                                        "hash"};
    static const size_t sizes[] = {1, 10, 100, 1000};
    printf("CPU ns a connection: pick, connected, release, a tenth of a turn; best of %u rounds of %u\n\n",
           ROUNDS, PICKS);
    printf("%-18s %7s %9s %9s\n", "strategy", "size", "1 thread", "2 threads");
    for (enum config_balance balance = CONFIG_BALANCE_ROUND_ROBIN; balance <= CONFIG_BALANCE_HASH;
         balance++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            printf("%-18s %7zu %9.0f %9.0f\n", names[balance], sizes[s], measure(balance, sizes[s], 1),
                   measure(balance, sizes[s], 2));
        }
    }
    printf("\nCPU us a publish, on the control thread; best of %u\n\n", 10 * ROUNDS);
    printf("%-18s %7s %9s %9s\n", "strategy", "size", "share", "state");
    for (enum config_balance balance = CONFIG_BALANCE_ROUND_ROBIN; balance <= CONFIG_BALANCE_HASH;
         balance++) {
        measure_publish(names[balance], balance, 1000);
    }
    return 0;
}
