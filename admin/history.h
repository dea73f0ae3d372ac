/*
 * The last hour, second by second and group by group: new connections, errors, what was open, response times,
 * share. Kept in memory whose size is bounded beforehand. Pure: figures and times are arguments. Control
 * thread.
 */
#ifndef ADMIN_HISTORY_H
#define ADMIN_HISTORY_H

#include "core/err.h"
#include "core/stats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_SECONDS 3600u
#define HISTORY_BYTES_MAX ((size_t)32 << 20) /* for all groups together: some 330 of them */

struct history;

/* What one group did within some time. */
struct history_row {
    const char *service, *group;  /* borrowed until the next change of the history */
    uint64_t from_wall_us;        /* of the first second in it */
    uint32_t seconds;             /* of which there are figures */
    uint64_t connections, errors; /* in that time */
    uint64_t samples;             /* of the response time */
    uint32_t open;                /* at its end */
    uint32_t p50_us,
        p99_us;        /* of several seconds: the median of each weighed by its samples, the highest p99 */
    uint32_t share_bp; /* of the new connections, at its end */
};

/* ERR_NOMEM. */
MUST_CHECK int history_create(struct history **out);
/* NULL is allowed. */
void history_destroy(struct history *history);

/* A second begins; what is added until the next call belongs to it. */
void history_tick(struct history *history, uint64_t wall_us);
/* sum: all counters of the group since it exists. The first reading of a group only sets where to count from.
 * Where memory or the bound does not allow for one more group it is left out. */
void history_add(struct history *history, const char *service, const char *group,
                 const struct stats_backend_reading *sum, uint64_t open, uint32_t share_bp);
/* Groups that are left out for the bound. */
size_t history_left_out(const struct history *history);

/* Shows each group in steps of step_s seconds, from from_wall_us to before to_wall_us, oldest first; steps
 * without figures are left out. service: only this one; NULL: all. step_s above 0. */
void history_each(const struct history *history, const char *service, uint64_t from_wall_us,
                  uint64_t to_wall_us, uint32_t step_s,
                  void (*fn)(void *context, const struct history_row *row), void *context);
/* Bytes that it holds now. */
size_t history_bytes(const struct history *history);

#endif
