/*
 * Answers for what all services share: the limit on connections and pipes that follows from the descriptor
 * limit, and each worker's pools. Created and destroyed on the control thread; a proxy_worker is used on its
 * worker's thread and ends there.
 */
#include "core/clock.h"
#include "proxy/proxy_internal.h"
#include "proxy/tls_tickets.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#define PROXY_PIPES_PER_WORKER 128u

/* Raises the soft limit to the hard one. Returns what is in force. */
static uint64_t raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 1024;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        const rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            limit.rlim_cur = before;
        }
    }
    return limit.rlim_cur == RLIM_INFINITY ? UINT32_MAX : (uint64_t)limit.rlim_cur;
}

/* Splits the descriptors: pipes get up to a twentieth, listeners, admin, health and the rest of the program
 * up to an eighth and what they need in any case, connections two each of what is left. */
static void split_limit(struct proxy *proxy, uint64_t limit, uint64_t wanted)
{
    uint64_t pipes = limit / 40;
    if (pipes > (uint64_t)PROXY_PIPES_PER_WORKER * proxy->workers) {
        pipes = (uint64_t)PROXY_PIPES_PER_WORKER * proxy->workers;
    }
    uint64_t least = 48 + UINT64_C(8) * proxy->workers; /* what it has open by itself, and some */
    uint64_t reserve = limit / 8 < 256 ? limit / 8 : 256;
    reserve = reserve > least ? reserve : least;
    reserve += 2 * pipes;
    uint64_t most = limit > reserve + 2 ? (limit - reserve) / 2 : 1;
    proxy->max_connections = wanted != 0 && wanted < most ? wanted : most;
    proxy->descriptors = limit;
    proxy->pipes = pipes;
    atomic_init(&proxy->pipes_budget, (long)pipes);
}

static void worker_end(struct proxy_worker *shared)
{
    list_each (node, &shared->homes) {
        service_worker_end(list_entry(node, struct service_worker, node));
    }
    struct deadline_queue **queues[] = {&shared->look, &shared->flush, &shared->pace, &shared->accept};
    for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
        if (*queues[i] != NULL) {
            deadline_queue_destroy(*queues[i]);
            *queues[i] = NULL;
        }
    }
    pipes_clear(&shared->pipes);
    (void)listener_use_spare(shared);
}

static void on_worker_end(struct worker_task *task, struct worker *worker)
{
    (void)worker;
    worker_end(list_entry(task, struct proxy_worker, at_end));
}

static int worker_begin(struct proxy *proxy, unsigned index, struct err_text *err)
{
    struct proxy_worker *shared = &proxy->worker[index];
    shared->proxy = proxy;
    shared->worker = worker_pool_get(proxy->pool, index);
    list_init(&shared->homes);
    list_init(&shared->paused);
    pipes_init(&shared->pipes, &proxy->pipes_budget);
    shared->spare_fd = -1;
    (void)listener_hold_spare(shared); /* else at the first accept */
    struct event_base *base = worker_base(shared->worker);
    int code = deadline_queue_create(base, CONN_LOOK_US, conn_on_look, shared, &shared->look, err);
    if (code == 0) {
        code = deadline_queue_create(base, CONN_FLUSH_POLL_US, close_on_poll, shared, &shared->flush, err);
    }
    if (code == 0) {
        code = deadline_queue_create(base, BANDWIDTH_AGAIN_US, bandwidth_on_deadline, shared, &shared->pace,
                                     err);
    }
    if (code == 0) {
        code =
            deadline_queue_create(base, LISTENER_RETRY_US, listener_on_retry, shared, &shared->accept, err);
    }
    return code;
}

int proxy_create(const struct proxy_options *options, struct proxy **out, struct err_text *err)
{
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    unsigned workers = worker_pool_count(options->pool);
    if (proxy == NULL || (proxy->worker = calloc(workers, sizeof(*proxy->worker))) == NULL) {
        free(proxy);
        return err_set(err, ERR_NOMEM, "proxy: out of memory");
    }
    /* splice(2) into a connection that the peer has reset raises SIGPIPE and has no flag against it. */
    (void)signal(SIGPIPE, SIG_IGN);
    proxy->pool = options->pool;
    proxy->workers = workers;
    list_init(&proxy->resting);
    proxy->paces = stream_system_paces();
    (void)worker_scratch(worker_pool_get(proxy->pool, 0), &proxy->scratch_bytes);
    split_limit(proxy, raise_limit(), options->max_connections);
    int code = options->limits != NULL ? admission_create(options->limits, &proxy->admission, err) : 0;
    for (unsigned i = 0; code == 0 && i < workers; i++) {
        code = worker_begin(proxy, i, err);
    }
    if (code != 0) {
        for (unsigned i = 0; i < workers && proxy->worker[i].worker != NULL; i++) {
            worker_end(&proxy->worker[i]);
        }
        admission_destroy(proxy->admission);
        free(proxy->worker);
        free(proxy);
        return code;
    }
    for (unsigned i = 0; i < workers; i++) {
        proxy->worker[i].at_end.run = on_worker_end;
        worker_at_end(proxy->worker[i].worker, &proxy->worker[i].at_end);
    }
    *out = proxy;
    return 0;
}

void proxy_destroy(struct proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    for (unsigned i = 0; i < proxy->workers; i++) {
        conn_pool_clear(&proxy->worker[i]);
    }
    places_sweep(proxy); /* the workers have ended: all are closed */
    admission_destroy(proxy->admission);
    tls_tickets_destroy(proxy->tickets);
    free(proxy->worker);
    free(proxy);
}

uint64_t proxy_max_connections(const struct proxy *proxy)
{
    return proxy->max_connections;
}

/* ---- accepting stops for a while */

struct hold {
    struct proxy *proxy;
    void (*done)(void *context);
    void *context;
};

static void hold_worker(struct worker *worker, void *arg)
{
    const struct hold *hold = arg;
    listener_hold(&hold->proxy->worker[worker_index(worker)]);
}

static void unhold_worker(struct worker *worker, void *arg)
{
    const struct hold *hold = arg;
    listener_unhold(&hold->proxy->worker[worker_index(worker)]);
}

static void on_held(void *arg)
{
    struct hold *hold = arg;
    if (hold->done != NULL) {
        hold->done(hold->context);
    }
    free(hold);
}

static int ask_workers(struct proxy *proxy, void (*fn)(struct worker *worker, void *arg),
                       void (*done)(void *context), void *context)
{
    struct hold *hold = malloc(sizeof(*hold));
    if (hold == NULL) {
        return ERR_NOMEM;
    }
    *hold = (struct hold){.proxy = proxy, .done = done, .context = context};
    int rc = worker_pool_call(proxy->pool, fn, on_held, hold);
    if (rc != 0) {
        free(hold);
    }
    return rc;
}

int proxy_hold(struct proxy *proxy, void (*done)(void *context), void *context)
{
    return ask_workers(proxy, hold_worker, done, context);
}

int proxy_resume(struct proxy *proxy)
{
    return ask_workers(proxy, unhold_worker, NULL, NULL);
}

/* ---- another process goes on */

_Static_assert(PROXY_TICKETS_BYTES_MAX >= TLS_TICKETS_BYTES_MAX, "an export must fit");

size_t proxy_tickets_export(const struct proxy *proxy, uint8_t *out)
{
    return proxy->tickets != NULL ? tls_tickets_export(proxy->tickets, out) : 0;
}

int proxy_tickets_import(struct proxy *proxy, const uint8_t *bytes, size_t length)
{
    return proxy->tickets != NULL ? tls_tickets_import(proxy->tickets, bytes, length) : 0;
}
