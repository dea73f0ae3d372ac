/*
 * Answers for closing many connections of a service at once, by filter. Asked for on the control thread, done
 * on the workers in slices, so that the traffic of others goes on in between: each round goes over a part of
 * every worker's list, and the control thread asks for rounds until all lists were seen.
 */
#include "core/clock.h"
#include "core/log.h"
#include "proxy/proxy_internal.h"

#include <stdlib.h>

#define KILL_SLICE 128u

/* A worker's part; only that worker touches it while a round runs, the control thread between rounds. */
struct kill_part {
    bool begun, ended;
    uint64_t last_id; /* the newest connection when it began; later ones are not meant */
    uint64_t closed;
};

struct kill_job {
    struct proxy_service *service;
    struct proxy_close_filter filter;
    enum stats_close reason;
    void (*done)(void *context, uint64_t closed);
    void *context;
    _Atomic int64_t left;    /* how many may still be closed, over all workers; below 0 means 0 */
    bool second;             /* the idle ones were seen, now the others */
    struct kill_part part[]; /* by worker */
};

static bool is_meant(const struct kill_job *job, const struct conn *conn, uint64_t now_us)
{
    struct proxy_close_filter filter = job->filter;
    filter.idle_us = job->second ? 0 : filter.idle_us;
    return visit_is_meant(&filter, conn, now_us);
}

/* Closes a bounded number of those that match; what stays is in order of id, so the newest end the search. */
static void kill_slice(struct kill_job *job, struct kill_part *part, struct service_worker *home)
{
    uint64_t now_us = clock_mono_us();
    unsigned closed = 0;
    list_each (node, &home->connections) {
        struct conn *conn = list_entry(node, struct conn, node);
        if (conn->id > part->last_id) {
            break;
        }
        if (!is_meant(job, conn, now_us)) {
            continue;
        }
        if (closed == KILL_SLICE) {
            part->closed += closed;
            return;
        }
        if (atomic_fetch_sub_explicit(&job->left, 1, memory_order_relaxed) <= 0) {
            break;
        }
        close_now(conn, job->reason, now_us);
        closed++;
    }
    part->closed += closed;
    part->ended = true;
}

static void kill_on_worker(struct worker *worker, void *arg)
{
    struct kill_job *job = arg;
    struct kill_part *part = &job->part[worker_index(worker)];
    struct service_worker *home = job->service->per_worker[worker_index(worker)];
    if (part->ended) {
        return;
    }
    if (!part->begun) {
        part->begun = true;
        part->last_id = home->shared->next_id | ((uint64_t)worker_index(worker) << CONN_ID_WORKER_SHIFT);
    }
    kill_slice(job, part, home);
}

/* The idle ones were not enough: all lists once more, for the others. */
static bool begin_second(struct kill_job *job)
{
    if (job->second || !job->filter.idle_first || atomic_load(&job->left) <= 0) {
        return false;
    }
    job->second = true;
    for (unsigned w = 0; w < job->service->proxy->workers; w++) {
        job->part[w].ended = false;
    }
    return true;
}

static void kill_on_control(void *arg)
{
    struct kill_job *job = arg;
    bool ended = true;
    uint64_t closed = 0;
    for (unsigned w = 0; w < job->service->proxy->workers; w++) {
        ended = ended && job->part[w].ended;
        closed += job->part[w].closed;
    }
    if (ended && begin_second(job)) {
        ended = false;
    }
    if (!ended && atomic_load(&job->service->alive) != 0) {
        if (worker_pool_call(job->service->proxy->pool, kill_on_worker, kill_on_control, job) == 0) {
            return;
        }
        log_line(LOG_LEVEL_ERROR, "out of memory: not all connections were closed",
                 LOG_TEXT("service", job->service->name));
    }
    if (job->done != NULL) {
        job->done(job->context, closed);
    }
    free(job);
}

int proxy_service_close(struct proxy_service *service, const struct proxy_close_filter *filter,
                        enum stats_close reason, void (*done)(void *context, uint64_t closed), void *context)
{
    unsigned workers = service->proxy->workers;
    struct kill_job *job = calloc(1, sizeof(*job) + workers * sizeof(job->part[0]));
    if (job == NULL) {
        return ERR_NOMEM;
    }
    job->service = service;
    job->filter = *filter;
    job->reason = reason;
    job->done = done;
    atomic_init(&job->left, filter->max == 0 || filter->max > INT64_MAX ? INT64_MAX : (int64_t)filter->max);
    job->context = context;
    int code = worker_pool_call(service->proxy->pool, kill_on_worker, kill_on_control, job);
    if (code != 0) {
        free(job);
    }
    return code;
}
