/*
 * Answers for what TLS needs while the program runs: whether files have changed, when certificates end, and
 * new keys for session tickets. Control thread. When to look is the daemon's business.
 */
#include "core/clock.h"
#include "core/log.h"
#include "proxy/proxy_internal.h"
#include "proxy/tls_front.h"
#include "proxy/tls_stamp.h"
#include "proxy/tls_tickets.h"

uint64_t proxy_tls_stamp(const struct config_service *config)
{
    return tls_stamp(config);
}

static const struct service_terms *terms_of(const struct proxy_service *service)
{
    return atomic_load_explicit(&service->terms, memory_order_relaxed);
}

uint64_t proxy_service_tls_stamp(const struct proxy_service *service)
{
    return terms_of(service)->tls_stamp;
}

size_t proxy_service_certificates(const struct proxy_service *service)
{
    const struct tls_front *front = terms_of(service)->front;
    return front != NULL ? tls_front_certificates(front) : 0;
}

void proxy_service_certificate(const struct proxy_service *service, size_t index,
                               struct proxy_certificate *out)
{
    tls_front_describe(terms_of(service)->front, index, &out->file, &out->name, &out->end_s);
}

/* ---- tickets */

static void retire(void *context, void *ptr, void (*destroy)(void *ptr))
{
    worker_pool_retire(context, ptr, destroy);
}

int tickets_begin(struct proxy *proxy, struct err_text *err)
{
    if (proxy->tickets != NULL) {
        return 0;
    }
    proxy->tickets_us = clock_mono_us();
    return tls_tickets_create(retire, proxy->pool, &proxy->tickets, err);
}

/* Once in the longest lifetime: a session outlives one change of keys, and the ring keeps those of two. */
void proxy_tickets_tend(struct proxy *proxy, uint64_t now_us)
{
    if (proxy->tickets == NULL || now_us - proxy->tickets_us < proxy->session_lifetime_us) {
        return;
    }
    proxy->tickets_us = now_us;
    int rc = tls_tickets_rotate(proxy->tickets);
    if (rc != 0) {
        log_line(LOG_LEVEL_ERROR, "the key of TLS session tickets could not be changed",
                 LOG_TEXT("error", err_describe(rc)));
    }
}
