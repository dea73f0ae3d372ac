/*
 * What a pick costs: nanoseconds by strategy, number of backends and number of threads, each pick with its
 * lease given back, a turn in every tenth connection, and a client address that changes. Prints a table; no
 * pass or fail.
 */
#include "balancer/routing.h"
#include "core/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void *run_picks(void *arg)
{
    struct bench_thread *thread = arg;
    static _Thread_local struct lease leases[OPEN];
    struct random_state random;
    struct routing_pick_input input = {.worker = thread->worker, .random = &random, .client = {.family = 4}};
    memset(leases, 0, sizeof(leases));
    random_seed(&random, thread->worker + 1);
    uint64_t start_us = clock_mono_us();
    input.now_us = start_us;
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
    thread->ns = (double)(clock_mono_us() - start_us) * 1000.0 / PICKS;
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

int main(void)
{
    static const char *const names[] = {"round-robin", "weighted", "least-latency", "least-connections",
                                        "hash"};
    static const size_t sizes[] = {1, 10, 100, 1000};
    printf("ns a connection: pick, connected, release, a tenth of a turn; best of %u rounds of %u\n\n",
           ROUNDS, PICKS);
    printf("%-18s %7s %9s %9s\n", "strategy", "size", "1 thread", "2 threads");
    for (enum config_balance balance = CONFIG_BALANCE_ROUND_ROBIN; balance <= CONFIG_BALANCE_HASH;
         balance++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            printf("%-18s %7zu %9.0f %9.0f\n", names[balance], sizes[s], measure(balance, sizes[s], 1),
                   measure(balance, sizes[s], 2));
        }
    }
    return 0;
}
