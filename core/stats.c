/*
 * Names of the counters, and their sums over workers. Reads while the workers write: each figure is right,
 * figures read together may be a moment apart. Any thread.
 */
#include "core/stats.h"

#include <stddef.h>

const char *stats_close_name(enum stats_close reason)
{
    static const char *const names[STATS_CLOSE_COUNT] = {
#define STATS_NAME(name, text, help) [STATS_CLOSE_##name] = (text),
        STATS_CLOSE_REASONS(STATS_NAME)
#undef STATS_NAME
    };
    return (unsigned)reason < STATS_CLOSE_COUNT ? names[reason] : "unknown";
}

const char *stats_error_name(enum stats_error error)
{
    static const char *const names[STATS_ERROR_COUNT] = {
#define STATS_NAME(name, text, help) [STATS_ERROR_##name] = (text),
        STATS_ERRORS(STATS_NAME)
#undef STATS_NAME
    };
    return (unsigned)error < STATS_ERROR_COUNT ? names[error] : "unknown";
}

const char *stats_tls_name(enum stats_tls_failure failure)
{
    static const char *const names[STATS_TLS_COUNT] = {
#define STATS_NAME(name, text, help) [STATS_TLS_##name] = (text),
        STATS_TLS_FAILURES(STATS_NAME)
#undef STATS_NAME
    };
    return (unsigned)failure < STATS_TLS_COUNT ? names[failure] : "unknown";
}

const char *stats_side_name(enum stats_side side)
{
    return side == STATS_SIDE_CLIENT ? "client" : "backend";
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void stats_service_read_add(const struct stats_service *from, struct stats_service_reading *to)
{
    /* What ends is read before what begins: a connection that does both meanwhile is never counted as closed
     * without having been accepted. */
    for (size_t i = 0; i < STATS_CLOSE_COUNT; i++) {
        to->closed[i] += read_counter(&from->closed[i]);
    }
    for (size_t side = 0; side < STATS_SIDES; side++) {
        for (size_t i = 0; i < STATS_TLS_COUNT; i++) {
            to->tls_failed[side][i] += read_counter(&from->tls_failed[side][i]);
        }
    }
#define STATS_READ(name, help) to->name += read_counter(&from->name);
    STATS_SERVICE_COUNTERS(STATS_READ)
}

void stats_backend_read_add(const struct stats_backend *from, struct stats_backend_reading *to)
{
    STATS_BACKEND_COUNTERS(STATS_READ)
#undef STATS_READ
    for (size_t i = 0; i < STATS_ERROR_COUNT; i++) {
        to->errors[i] += read_counter(&from->errors[i]);
    }
    histogram_read_add(&from->connect_us, &to->connect_us);
    histogram_read_add(&from->response_us, &to->response_us);
}

static void add_histogram(const struct histogram_reading *from, struct histogram_reading *to)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        to->bucket[i] += from->bucket[i];
    }
    to->count += from->count;
    to->sum_us += from->sum_us;
}

void stats_service_reading_add(const struct stats_service_reading *from, struct stats_service_reading *to)
{
#define STATS_ADD(name, help) to->name += from->name;
    STATS_SERVICE_COUNTERS(STATS_ADD)
    for (size_t i = 0; i < STATS_CLOSE_COUNT; i++) {
        to->closed[i] += from->closed[i];
    }
    for (size_t side = 0; side < STATS_SIDES; side++) {
        for (size_t i = 0; i < STATS_TLS_COUNT; i++) {
            to->tls_failed[side][i] += from->tls_failed[side][i];
        }
    }
}

void stats_backend_reading_add(const struct stats_backend_reading *from, struct stats_backend_reading *to)
{
    STATS_BACKEND_COUNTERS(STATS_ADD)
#undef STATS_ADD
    for (size_t i = 0; i < STATS_ERROR_COUNT; i++) {
        to->errors[i] += from->errors[i];
    }
    add_histogram(&from->connect_us, &to->connect_us);
    add_histogram(&from->response_us, &to->response_us);
}
