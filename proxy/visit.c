/*
 * Answers for looking at all connections of a service without holding up any: asked for on the control
 * thread, done on the workers a slice at a time, handed back to the control thread after each slice. Where a
 * worker stopped is remembered in its list of visits, which a closing connection steps out of the way of. Who
 * is to be closed is kill.c's business; how a row looks is the admin room's.
 */
#include "core/clock.h"
#include "proxy/proxy_internal.h"

#include <stdlib.h>
#include <string.h>

/* Of one worker's turn: with every look a cache miss, about 50 us. */
#define VISIT_LOOKS 256u
#define VISIT_ROWS 128u

/* A worker's part; only that worker touches it while a round runs, the control thread between rounds. */
struct visit_part {
    struct list node; /* in home->visits while next is set */
    struct list *next;
    bool begun, ended;
    uint64_t last_id; /* the newest connection when it began; later ones are not meant */
    size_t rows_len;
    struct proxy_connection rows[VISIT_ROWS];
};

struct visit_job {
    struct proxy_service *service;
    struct proxy_close_filter filter;
    struct proxy_visitor visitor;
    struct visit_part part[]; /* by worker */
};

static bool is_client(const struct proxy_close_filter *filter, const struct conn *conn)
{
    struct addr_ip ip = conn->client;
    addr_ip_mask(&ip, filter->client_bits < 32 ? filter->client_bits : 32, filter->client_bits);
    return ip.family == filter->client.family &&
           memcmp(ip.bytes, filter->client.bytes, sizeof(ip.bytes)) == 0;
}

bool visit_is_meant(const struct proxy_close_filter *filter, const struct conn *conn, uint64_t now_us)
{
    if ((filter->id != 0 && filter->id != conn->id) ||
        (filter->before_us != 0 && conn->accepted_us > filter->before_us) ||
        (filter->idle_us != 0 && now_us - conn->moved_us < filter->idle_us) ||
        (filter->backend != NULL && filter->backend != conn->lease.backend)) {
        return false;
    }
    if (filter->group != ROUTING_NONE &&
        (conn->lease.backend == NULL || conn->lease.group != filter->group)) {
        return false;
    }
    return filter->client.family == 0 || is_client(filter, conn);
}

void visit_skip(struct service_worker *home, const struct conn *conn)
{
    list_each (node, &home->visits) {
        struct visit_part *part = list_entry(node, struct visit_part, node);
        if (part->next == &conn->node) {
            part->next = conn->node.next;
        }
    }
}

/* In whose queue it is. */
static uint32_t group_awaited(const struct conn *conn)
{
    return conn->state == CONN_QUEUED ? conn->attempt->attempts.full : ROUTING_NONE;
}

static void take_row(struct visit_part *part, const struct conn *conn, uint64_t now_us)
{
    bool leased = conn->lease.backend != NULL;
    part->rows[part->rows_len++] = (struct proxy_connection){
        .id = conn->id,
        .age_us = now_us - conn->accepted_us,
        .idle_us = now_us > conn->moved_us ? now_us - conn->moved_us : 0,
        .bytes_in = conn->delivered_bytes[CONN_CLIENT],
        .bytes_out = conn->delivered_bytes[CONN_BACKEND],
        .group = leased ? conn->lease.group : group_awaited(conn),
        .backend = conn->lease.backend,
        .client = conn->client,
        .state = conn_state_name((enum conn_state)conn->state),
    };
}

static void visit_on_worker(struct worker *worker, void *arg)
{
    struct visit_job *job = arg;
    struct visit_part *part = &job->part[worker_index(worker)];
    struct service_worker *home = job->service->per_worker[worker_index(worker)];
    uint64_t now_us = clock_mono_us();
    part->rows_len = 0;
    if (part->ended) {
        return;
    }
    if (!part->begun) {
        part->begun = true;
        part->last_id = home->shared->next_id | ((uint64_t)worker_index(worker) << CONN_ID_WORKER_SHIFT);
        part->next = home->connections.next;
        list_append(&home->visits, &part->node);
    }
    for (unsigned looks = 0; looks < VISIT_LOOKS && part->rows_len < VISIT_ROWS; looks++) {
        struct conn *conn = list_entry(part->next, struct conn, node);
        if (part->next == &home->connections || conn->id > part->last_id) {
            part->ended = true;
            list_remove(&part->node);
            return;
        }
        part->next = part->next->next;
        if (visit_is_meant(&job->filter, conn, now_us)) {
            take_row(part, conn, now_us);
        }
    }
}

/* Takes the part off the worker's list when the job ends early. */
static void forget_on_worker(struct worker *worker, void *arg)
{
    struct visit_job *job = arg;
    list_remove(&job->part[worker_index(worker)].node);
}

static void visit_end(void *arg)
{
    struct visit_job *job = arg;
    job->visitor.done(job->visitor.context, false);
    free(job);
}

static void visit_on_control(void *arg)
{
    struct visit_job *job = arg;
    struct worker_pool *pool = job->service->proxy->pool;
    bool ended = true;
    for (unsigned w = 0; w < job->service->proxy->workers; w++) {
        struct visit_part *part = &job->part[w];
        ended = ended && part->ended;
        if (part->rows_len > 0) {
            job->visitor.rows(job->visitor.context, part->rows, part->rows_len);
        }
    }
    bool alive = atomic_load(&job->service->alive) != 0;
    if (!ended && alive) {
        if (worker_pool_call(pool, visit_on_worker, visit_on_control, job) == ERR_OK) {
            return;
        }
        if (worker_pool_call(pool, forget_on_worker, visit_end, job) == ERR_OK) {
            return;
        }
        /* The workers' lists still know the parts, so the job's memory must stay. */
        job->visitor.done(job->visitor.context, false);
        return;
    }
    job->visitor.done(job->visitor.context, ended);
    free(job);
}

int proxy_service_visit(struct proxy_service *service, const struct proxy_close_filter *filter,
                        const struct proxy_visitor *visitor)
{
    unsigned workers = service->proxy->workers;
    struct visit_job *job = calloc(1, sizeof(*job) + workers * sizeof(job->part[0]));
    if (job == NULL) {
        return ERR_NOMEM;
    }
    job->service = service;
    job->filter = *filter;
    job->visitor = *visitor;
    for (unsigned w = 0; w < workers; w++) {
        list_init(&job->part[w].node);
    }
    int code = worker_pool_call(service->proxy->pool, visit_on_worker, visit_on_control, job);
    if (code != ERR_OK) {
        free(job);
    }
    return code;
}
