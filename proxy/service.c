/*
 * Answers for one service as the control thread sees it: creating it with its listeners, starting and
 * stopping it, its counters, closing connections by filter. What it does on a worker is done by messages to
 * that worker; the last worker to let go of a destroyed service frees it.
 */
#include "core/clock.h"
#include "core/log.h"
#include "proxy/proxy_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void service_free(struct proxy_service *service)
{
    for (unsigned w = 0; service->per_worker != NULL && w < service->proxy->workers; w++) {
        free(service->per_worker[w]);
    }
    terms_release(service);
    admission_destroy(service->admission);
    free(service->per_worker);
    free(service->unix_fd);
    free(service->wanted);
    free(service->foreign);
    free(service->listen);
    free(service->name);
    free(service);
}

/* ---- on the workers */

static void queues_destroy(struct service_worker *home)
{
    for (int i = 0; i < CONN_DEADLINE_COUNT; i++) {
        if (home->queue[i] != NULL) {
            deadline_queue_destroy(home->queue[i]);
            home->queue[i] = NULL;
        }
    }
}

static void on_attach(struct mailbox_message *message, void *receiver)
{
    (void)receiver;
    struct service_worker *home = list_entry(message, struct service_worker, attach);
    list_append(&home->shared->homes, &home->node);
    terms_adopt(home);
}

static void on_start(struct mailbox_message *message, void *receiver)
{
    (void)receiver;
    struct service_worker *home = list_entry(message, struct service_worker, start);
    if (home->listeners != NULL) {
        listener_start(home);
    }
}

static void on_stop(struct mailbox_message *message, void *receiver)
{
    (void)receiver;
    struct service_worker *home = list_entry(message, struct service_worker, stop);
    home->stopped = true;
    listener_stop(home);
}

void service_worker_end(struct service_worker *home)
{
    if (home->ended) {
        return;
    }
    home->ended = true;
    uint64_t now_us = clock_mono_us();
    list_each (node, &home->connections) {
        close_now(list_entry(node, struct conn, node), STATS_CLOSE_SHUTDOWN, now_us);
    }
    listener_stop(home);
    queues_destroy(home);
    list_remove(&home->node);
    atomic_fetch_sub(&home->service->alive, 1);
}

static void on_end(struct mailbox_message *message, void *receiver)
{
    (void)receiver;
    struct service_worker *home = list_entry(message, struct service_worker, end);
    struct proxy_service *service = home->service;
    service_worker_end(home);
    if (atomic_fetch_sub(&service->unfreed, 1) == 1) {
        service_free(service);
    }
}

/* ---- on the control thread */

static int home_create(struct proxy_service *service, unsigned index, struct err_text *err)
{
    struct proxy_worker *shared = &service->proxy->worker[index];
    struct service_worker *home = aligned_alloc(64, (sizeof(*home) + 63) / 64 * 64);
    if (home == NULL) {
        return err_set(err, ERR_NOMEM, "service %s: out of memory", service->name);
    }
    memset(home, 0, sizeof(*home));
    service->per_worker[index] = home;
    home->service = service;
    home->shared = shared;
    list_init(&home->connections);
    list_init(&home->visits);
    list_init(&home->node);
    for (int i = 0; i < CONN_DEADLINE_COUNT; i++) {
        home->queue_us[i] = CLOCK_NEVER;
    }
    return 0;
}

/* Undoes a creation that failed; no worker has seen anything of it. */
static void service_undo(struct proxy_service *service)
{
    for (unsigned w = 0; service->per_worker != NULL && w < service->proxy->workers; w++) {
        if (service->per_worker[w] != NULL) {
            listener_stop(service->per_worker[w]);
            queues_destroy(service->per_worker[w]);
        }
    }
    service_free(service);
}

static struct proxy_service *service_alloc(struct proxy *proxy, const struct proxy_service_spec *spec)
{
    struct proxy_service *service = calloc(1, sizeof(*service));
    if (service == NULL) {
        return NULL;
    }
    service->proxy = proxy;
    service->routing = spec->routing;
    proxy_service_tune(service, spec->retries, spec->connection_log_bp);
    service->listen_len = spec->listen_len;
    service->name = strdup(spec->name);
    service->listen = calloc(spec->listen_len + 1, sizeof(*service->listen));
    service->wanted = calloc(spec->listen_len + 1, sizeof(*service->wanted));
    service->foreign = calloc(spec->listen_len + 1, sizeof(*service->foreign));
    service->unix_fd = calloc(spec->listen_len + 1, sizeof(*service->unix_fd));
    service->per_worker = calloc(proxy->workers, sizeof(struct service_worker *));
    if (service->name == NULL || service->listen == NULL || service->wanted == NULL ||
        service->foreign == NULL || service->unix_fd == NULL || service->per_worker == NULL) {
        service_free(service);
        return NULL;
    }
    for (size_t i = 0; i < spec->listen_len; i++) {
        service->listen[i] = service->wanted[i] = spec->listen[i];
        service->unix_fd[i] = -1;
    }
    return service;
}

int proxy_service_create(struct proxy *proxy, const struct proxy_service_spec *spec,
                         struct proxy_service **out, struct err_text *err)
{
    struct proxy_service *service = service_alloc(proxy, spec);
    if (service == NULL) {
        return err_set(err, ERR_NOMEM, "service %s: out of memory", spec->name);
    }
    int code = terms_begin(service, &spec->timeouts, spec->config, err);
    if (code == 0 && spec->config != NULL) {
        code = admission_create(&spec->config->limits, &service->admission, err);
    }
    for (unsigned w = 0; code == 0 && w < proxy->workers; w++) {
        code = home_create(service, w, err);
    }
    if (code == 0) {
        code = listener_bind_all(service, spec->given, err);
    }
    atomic_init(&service->listening, proxy->workers);
    atomic_init(&service->alive, proxy->workers);
    atomic_init(&service->unfreed, proxy->workers);
    if (code != 0) {
        service_undo(service);
        return code;
    }
    for (unsigned w = 0; w < proxy->workers; w++) {
        struct service_worker *home = service->per_worker[w];
        home->attach.run = on_attach;
        worker_post(home->shared->worker, &home->attach);
    }
    *out = service;
    return 0;
}

int proxy_service_start(struct proxy_service *service, struct err_text *err)
{
    if (service->started) {
        return err_set(err, ERR_STATE, "service %s: already started", service->name);
    }
    service->started = true;
    for (unsigned w = 0; w < service->proxy->workers; w++) {
        struct service_worker *home = service->per_worker[w];
        home->start.run = on_start;
        worker_post(home->shared->worker, &home->start);
    }
    return 0;
}

void proxy_service_stop(struct proxy_service *service)
{
    if (service->stopped || atomic_load(&service->alive) == 0) {
        return;
    }
    service->stopped = true;
    for (unsigned w = 0; w < service->proxy->workers; w++) {
        struct service_worker *home = service->per_worker[w];
        home->stop.run = on_stop;
        worker_post(home->shared->worker, &home->stop);
    }
}

void proxy_service_own(struct proxy_service *service)
{
    atomic_store(&service->leaves_paths, false);
}

void proxy_service_leave(struct proxy_service *service)
{
    atomic_store(&service->leaves_paths, true);
    proxy_service_stop(service);
}

void proxy_service_destroy(struct proxy_service *service)
{
    if (service == NULL) {
        return;
    }
    if (atomic_load(&service->alive) == 0) {
        service_free(service); /* the workers have ended and let go of all */
        return;
    }
    unsigned workers = service->proxy->workers; /* with the last message the service may be gone */
    for (unsigned w = 0; w < workers; w++) {
        struct service_worker *home = service->per_worker[w];
        home->end.run = on_end;
        worker_post(home->shared->worker, &home->end);
    }
}

void proxy_service_tune(struct proxy_service *service, uint32_t retries, uint32_t connection_log_bp)
{
    atomic_store_explicit(&service->retries, retries, memory_order_relaxed);
    atomic_store_explicit(&service->log_bp, connection_log_bp, memory_order_relaxed);
}

size_t proxy_service_listeners(const struct proxy_service *service)
{
    return service->listen_len;
}

const struct addr *proxy_service_listen_address(const struct proxy_service *service, size_t index)
{
    return &service->listen[index];
}

void proxy_service_read(const struct proxy_service *service, struct stats_service_reading *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned w = 0; w < service->proxy->workers; w++) {
        stats_service_read_add(&service->per_worker[w]->stats, out);
    }
    stats_service_reading_add(&service->inherited, out);
}

void proxy_service_inherit(struct proxy_service *service, const struct stats_service_reading *counted)
{
    service->inherited = *counted;
}

uint64_t proxy_service_open(const struct proxy_service *service)
{
    /* Ends are read before beginnings, so the difference is never below zero. */
    uint64_t closed = 0, accepted = service->inherited.accepted;
    for (int i = 0; i < STATS_CLOSE_COUNT; i++) {
        closed += service->inherited.closed[i];
    }
    for (unsigned w = 0; w < service->proxy->workers; w++) {
        for (int i = 0; i < STATS_CLOSE_COUNT; i++) {
            closed += atomic_load_explicit(&service->per_worker[w]->stats.closed[i], memory_order_acquire);
        }
    }
    for (unsigned w = 0; w < service->proxy->workers; w++) {
        accepted += atomic_load_explicit(&service->per_worker[w]->stats.accepted, memory_order_relaxed);
    }
    return accepted - closed;
}
