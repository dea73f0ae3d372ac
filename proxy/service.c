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
    terms_release(service);
    admission_destroy(service->admission);
    for (size_t i = 0; i < service->places_len; i++) {
        place_destroy(service->places[i]);
    }
    free(service->places);
    for (unsigned w = 0; service->per_worker != NULL && w < service->proxy->workers; w++) {
        free(service->per_worker[w]);
    }
    free(service->per_worker);
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
    listener_start(home);
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
    listener_end(home);
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
    list_init(&home->listeners);
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
    service->name = strdup(spec->name);
    service->places = calloc(spec->listen_len + 1, sizeof(struct place *));
    service->per_worker = calloc(proxy->workers, sizeof(struct service_worker *));
    if (service->name == NULL || service->places == NULL || service->per_worker == NULL) {
        service_free(service);
        return NULL;
    }
    return service;
}

/* No worker has heard of it yet. */
static int open_places(struct proxy_service *service, const struct proxy_service_spec *spec,
                       struct err_text *err)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < spec->listen_len; i++) {
        struct place *place = NULL;
        code = place_open(service, &spec->listen[i], spec->given, &place, err);
        if (code == 0) {
            service->places[service->places_len++] = place;
        }
        for (size_t n = 0; code == 0 && n < place->listeners_len; n++) {
            list_append(&place->listeners[n].home->listeners, &place->listeners[n].at_home);
        }
    }
    return code;
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
        code = open_places(service, spec, err);
    }
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
    for (size_t i = 0; i < service->places_len; i++) {
        atomic_store(&service->places[i]->leaves_path, false);
    }
}

void proxy_service_leave(struct proxy_service *service)
{
    for (size_t i = 0; i < service->places_len; i++) {
        atomic_store(&service->places[i]->leaves_path, true);
    }
    proxy_service_stop(service);
}

void proxy_service_retire(struct proxy_service *service, const struct given *given)
{
    if (service->stopped || atomic_load(&service->alive) == 0) {
        return;
    }
    listen_change_leave(service->places, service->places_len, given);
    service->places_len = 0;
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
