/*
 * Answers for what a service goes by towards its clients and that a reload may change: made as a whole on the
 * control thread, where all that can fail fails, then put in force with one store. Each worker then brings
 * its queues of timeouts in line. What the parts mean is their files' business.
 */
#include "core/clock.h"
#include "core/log.h"
#include "proxy/proxy_internal.h"

#include <stdlib.h>

struct proxy_change {
    const struct config_service *config; /* borrowed until applied */
    struct service_terms *terms;         /* owned until applied */
    struct admission_limits *limits;     /* likewise */
};

/* ---- making */

static void terms_destroy(void *terms)
{
    struct service_terms *gone = terms;
    if (gone != NULL) {
        prefixes_destroy(gone->proxy_header.from);
        prefixes_destroy(gone->allow);
        prefixes_destroy(gone->deny);
        passthrough_destroy(gone->passthrough);
        outward_release(gone);
        handshake_release(gone);
        free(gone);
    }
}

/* NULL where nothing was written, which is not the same as an empty file. */
static int load_list(char *const *texts, size_t len, struct prefixes **out, struct err_text *err)
{
    return len > 0 ? prefixes_load((const char *const *)texts, len, out, err) : 0;
}

static void set_timeouts(struct service_terms *terms, const struct proxy_timeouts *timeouts)
{
    for (int i = 0; i < CONN_DEADLINE_COUNT; i++) {
        terms->length_us[i] = CLOCK_NEVER;
    }
    terms->length_us[CONN_DEADLINE_QUEUE] = CONN_QUEUE_LOOK_US;
    terms->length_us[CONN_DEADLINE_CONNECT] = timeouts->connect_us;
    terms->length_us[CONN_DEADLINE_IDLE] = timeouts->idle_us;
    /* Half closed is bounded by the idle timeout too. */
    terms->length_us[CONN_DEADLINE_HALF_CLOSE] =
        timeouts->half_close_us < timeouts->idle_us ? timeouts->half_close_us : timeouts->idle_us;
}

/* Into terms whose timeouts are set; what was made is terms_destroy's, also after a failure. */
static int fill(const struct proxy_service *service, struct service_terms *terms,
                const struct config_service *config, size_t groups_max, struct err_text *err)
{
    bandwidth_configure(&terms->pace, config);
    terms->length_us[CONN_DEADLINE_HANDSHAKE] = config->tls.handshake_timeout_us;
    if (config->limits.first_byte_timeout_us > 0) {
        terms->length_us[CONN_DEADLINE_FIRST_BYTE] = config->limits.first_byte_timeout_us;
    }
    int code = load_list(config->allow, config->allow_len, &terms->allow, err);
    if (code == 0) {
        code = load_list(config->deny, config->deny_len, &terms->deny, err);
    }
    if (code == 0) {
        code = passthrough_create(config, &terms->passthrough, err);
    }
    if (terms->passthrough != NULL) {
        terms->length_us[CONN_DEADLINE_CLIENT_HELLO] = config->sni.timeout_us;
    }
    if (code == 0 && config->proxy_protocol.accept != CONFIG_PROXY_OFF) {
        terms->proxy_header.accept = config->proxy_protocol.accept;
        terms->length_us[CONN_DEADLINE_PROXY_HEADER] = config->proxy_protocol.timeout_us;
        code = load_list(config->proxy_protocol.from, config->proxy_protocol.from_len,
                         &terms->proxy_header.from, err);
    }
    if (code == 0) {
        code = handshake_configure(service, terms, config, err);
    }
    return code == 0 ? outward_configure(service, terms, config, groups_max, err) : code;
}

static int make(const struct proxy_service *service, const struct proxy_timeouts *timeouts,
                const struct config_service *config, size_t groups_max, struct service_terms **out,
                struct err_text *err)
{
    struct service_terms *terms = calloc(1, sizeof(*terms));
    if (terms == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    set_timeouts(terms, timeouts);
    int code = config != NULL ? fill(service, terms, config, groups_max, err) : 0;
    if (code != 0) {
        terms_destroy(terms);
        return code;
    }
    *out = terms;
    return 0;
}

/* Groups have their numbers now. */
static void resolve(struct service_terms *terms, const struct config_service *config,
                    const struct routing *routing)
{
    if (config != NULL) {
        passthrough_resolve(terms->passthrough, routing);
        outward_resolve(terms, config, routing);
    }
}

int terms_begin(struct proxy_service *service, const struct proxy_timeouts *timeouts,
                const struct config_service *config, struct err_text *err)
{
    struct service_terms *terms = NULL;
    int code = make(service, timeouts, config, routing_groups(service->routing), &terms, err);
    if (code != 0 || terms == NULL) {
        return code;
    }
    resolve(terms, config, service->routing);
    atomic_init(&service->terms, terms);
    return 0;
}

void terms_release(struct proxy_service *service)
{
    terms_destroy(atomic_load_explicit(&service->terms, memory_order_relaxed));
}

/* ---- on the worker */

/* Of this length and for this connection, or NULL. */
static struct deadline *deadline_of(struct conn *conn, enum conn_deadline kind)
{
    if (kind == CONN_DEADLINE_FIRST_BYTE) {
        return conn->first_byte != NULL ? &conn->first_byte->deadline : NULL;
    }
    return conn_state_deadline((enum conn_state)conn->state) == kind ? &conn->deadline : NULL;
}

/* Those that wait in a queue wait in the new one, for its whole length from now on. */
static void renew_queue(struct service_worker *home, enum conn_deadline kind, uint64_t length_us,
                        uint64_t now_us)
{
    struct deadline_queue *made = NULL;
    struct err_text err;
    deadline_fn *fn = kind == CONN_DEADLINE_FIRST_BYTE ? conn_on_first_byte : conn_on_deadline;
    if (length_us != CLOCK_NEVER &&
        deadline_queue_create(worker_base(home->shared->worker), length_us, fn, home, &made, &err) != 0) {
        log_line(LOG_LEVEL_ERROR, "a timeout of a service is not as the configuration has it",
                 LOG_TEXT("service", home->service->name), LOG_TEXT("error", err.text));
        return;
    }
    list_each (node, &home->connections) {
        struct deadline *deadline = deadline_of(list_entry(node, struct conn, node), kind);
        if (deadline != NULL && !list_empty(&deadline->node)) {
            deadline_cancel(deadline);
            if (made != NULL) {
                deadline_arm(made, deadline, now_us);
            }
        }
    }
    deadline_queue_destroy(home->queue[kind]);
    home->queue[kind] = made;
    home->queue_us[kind] = length_us;
}

void terms_adopt(struct service_worker *home)
{
    const struct service_terms *terms = atomic_load_explicit(&home->service->terms, memory_order_acquire);
    uint64_t now_us = clock_mono_us();
    for (int i = 0; i < CONN_DEADLINE_COUNT; i++) {
        if (home->queue_us[i] != terms->length_us[i]) {
            renew_queue(home, (enum conn_deadline)i, terms->length_us[i], now_us);
        }
    }
    list_each (node, &home->connections) {
        struct conn *conn = list_entry(node, struct conn, node);
        if (terms->pace.any && conn->pace == NULL) {
            conn->pace = bandwidth_begin(); /* without memory it goes on as it was */
        }
    }
}

static void adopt_on_worker(struct worker *worker, void *arg)
{
    struct proxy_service *service = arg;
    struct service_worker *home = service->per_worker[worker_index(worker)];
    if (!home->ended) {
        terms_adopt(home);
    }
}

/* ---- a change */

int proxy_service_change_prepare(struct proxy_service *service, const struct config_service *config,
                                 struct proxy_change **out, struct err_text *err)
{
    const struct proxy_timeouts timeouts = {.connect_us = config->timeouts.connect_us,
                                            .idle_us = config->timeouts.idle_us,
                                            .half_close_us = config->timeouts.half_close_us};
    struct proxy_change *change = calloc(1, sizeof(*change));
    if (change == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    change->config = config;
    /* Groups that come with the same change get the next numbers. */
    size_t groups_max = routing_groups(service->routing) + config->groups_len;
    int code = make(service, &timeouts, config, groups_max, &change->terms, err);
    if (code == 0) {
        code = admission_limits_create(service->admission, &config->limits, &change->limits, err);
    }
    if (code != 0) {
        proxy_service_change_drop(change);
        return code;
    }
    *out = change;
    return 0;
}

void proxy_service_change_apply(struct proxy_service *service, struct proxy_change *change)
{
    struct worker_pool *pool = service->proxy->pool;
    resolve(change->terms, change->config, service->routing);
    worker_pool_retire(pool, atomic_exchange_explicit(&service->terms, change->terms, memory_order_acq_rel),
                       terms_destroy);
    worker_pool_retire(pool, admission_limits_replace(service->admission, change->limits),
                       admission_limits_destroy);
    free(change);
    if (worker_pool_call(pool, adopt_on_worker, NULL, service) != ERR_OK) {
        log_line(LOG_LEVEL_ERROR, "out of memory: timeouts stay as they were before the reload",
                 LOG_TEXT("service", service->name));
    }
}

void proxy_service_change_drop(struct proxy_change *change)
{
    if (change != NULL) {
        terms_destroy(change->terms);
        admission_limits_destroy(change->limits);
        free(change);
    }
}

int proxy_limits_prepare(struct proxy *proxy, const struct config_limits *limits,
                         struct admission_limits **out, struct err_text *err)
{
    return admission_limits_create(proxy->admission, limits, out, err);
}

void proxy_limits_apply(struct proxy *proxy, struct admission_limits *limits)
{
    worker_pool_retire(proxy->pool, admission_limits_replace(proxy->admission, limits),
                       admission_limits_destroy);
}

void proxy_limits_drop(struct admission_limits *limits)
{
    admission_limits_destroy(limits);
}
