/*
 * Keeps the last hour in rings of seconds, one ring a group, all turned by the same tick. Pure. Who fills it
 * in and who shows it: admin/top.c.
 */
#include "admin/history.h"

#include "core/clock.h"

#include <stdlib.h>
#include <string.h>

/* One second of one group. */
struct second {
    uint32_t connections, errors, samples, open, p50_us, p99_us;
    uint16_t share_bp;
    bool known;
};

struct series {
    char *service, *group; /* owned */
    struct stats_backend_reading last;
    uint64_t tick; /* of last */
    struct second seconds[HISTORY_SECONDS];
};

struct history {
    uint64_t tick; /* seconds so far; 0: none has begun */
    uint64_t wall_us[HISTORY_SECONDS];
    struct series **series; /* owned */
    size_t series_len, series_room;
    size_t left_out;      /* groups, in this tick */
    size_t left_out_last; /* in the one before: a whole count */
};

int history_create(struct history **out)
{
    *out = calloc(1, sizeof(**out));
    return *out != NULL ? ERR_OK : ERR_NOMEM;
}

static void series_destroy(struct series *series)
{
    if (series != NULL) {
        free(series->service);
        free(series->group);
    }
    free(series);
}

void history_destroy(struct history *history)
{
    if (history == NULL) {
        return;
    }
    for (size_t i = 0; i < history->series_len; i++) {
        series_destroy(history->series[i]);
    }
    free(history->series);
    free(history);
}

static struct second *slot(struct series *series, uint64_t tick)
{
    return &series->seconds[tick % HISTORY_SECONDS];
}

/* A group of which nothing was heard for an hour is forgotten. */
static void forget_old(struct history *history)
{
    for (size_t i = history->series_len; i-- > 0;) {
        if (history->series[i]->tick + HISTORY_SECONDS < history->tick) {
            series_destroy(history->series[i]);
            history->series[i] = history->series[--history->series_len];
        }
    }
}

void history_tick(struct history *history, uint64_t wall_us)
{
    history->tick++;
    history->wall_us[history->tick % HISTORY_SECONDS] = wall_us;
    for (size_t i = 0; i < history->series_len; i++) {
        slot(history->series[i], history->tick)->known = false;
    }
    history->left_out_last = history->left_out;
    history->left_out = 0;
    forget_old(history);
}

static struct series *find(const struct history *history, const char *service, const char *group)
{
    for (size_t i = 0; i < history->series_len; i++) {
        if (strcmp(history->series[i]->group, group) == 0 &&
            strcmp(history->series[i]->service, service) == 0) {
            return history->series[i];
        }
    }
    return NULL;
}

static bool grow(struct history *history)
{
    if (history->series_len < history->series_room) {
        return true;
    }
    size_t room = history->series_room * 2 + 8;
    struct series **more = realloc((void *)history->series, room * sizeof(struct series *));
    if (more == NULL) {
        return false;
    }
    history->series = more;
    history->series_room = room;
    return true;
}

/* NULL without memory, or beyond the bound. */
static struct series *make(struct history *history, const char *service, const char *group)
{
    if ((history->series_len + 1) * sizeof(struct series) > HISTORY_BYTES_MAX || !grow(history)) {
        return NULL;
    }
    struct series *series = calloc(1, sizeof(*series));
    if (series == NULL) {
        return NULL;
    }
    series->service = strdup(service);
    series->group = strdup(group);
    if (series->service == NULL || series->group == NULL) {
        series_destroy(series);
        return NULL;
    }
    history->series[history->series_len++] = series;
    return series;
}

static uint64_t errors_of(const struct stats_backend_reading *reading)
{
    uint64_t sum = 0;
    for (int i = 0; i < STATS_ERROR_COUNT; i++) {
        sum += reading->errors[i];
    }
    return sum;
}

/* Backends that leave a group take their counters along: then nothing can be said of that second. */
static uint32_t grown(uint64_t now, uint64_t before)
{
    uint64_t by = now > before ? now - before : 0;
    return by < UINT32_MAX ? (uint32_t)by : UINT32_MAX;
}

static uint32_t narrow(uint64_t value)
{
    return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

void history_add(struct history *history, const char *service, const char *group,
                 const struct stats_backend_reading *sum, uint64_t open, uint32_t share_bp)
{
    struct series *series = find(history, service, group);
    bool first = series == NULL;
    if (first) {
        series = make(history, service, group);
    }
    if (series == NULL) {
        history->left_out++;
        return;
    }
    if (!first && sum->response_us.count >= series->last.response_us.count) {
        struct histogram_reading second;
        histogram_reading_subtract(&sum->response_us, &series->last.response_us, &second);
        *slot(series, history->tick) =
            (struct second){.connections = grown(sum->connections, series->last.connections),
                            .errors = grown(errors_of(sum), errors_of(&series->last)),
                            .samples = narrow(second.count),
                            .open = narrow(open),
                            .p50_us = narrow(histogram_quantile(&second, 0.5)),
                            .p99_us = narrow(histogram_quantile(&second, 0.99)),
                            .share_bp = (uint16_t)share_bp,
                            .known = true};
    }
    series->last = *sum;
    series->tick = history->tick;
}

size_t history_left_out(const struct history *history)
{
    return history->left_out > history->left_out_last ? history->left_out : history->left_out_last;
}

size_t history_bytes(const struct history *history)
{
    return sizeof(*history) + history->series_room * sizeof(struct series *) +
           history->series_len * sizeof(struct series);
}

/* ---- showing */

static void fold(struct history_row *row, const struct second *second)
{
    uint64_t samples = row->samples + second->samples;
    if (samples > 0) {
        row->p50_us =
            (uint32_t)(((uint64_t)row->p50_us * row->samples + (uint64_t)second->p50_us * second->samples) /
                       samples);
    }
    row->samples = samples;
    row->p99_us = second->p99_us > row->p99_us ? second->p99_us : row->p99_us;
    row->connections += second->connections;
    row->errors += second->errors;
    row->open = second->open;
    row->share_bp = second->share_bp;
    row->seconds++;
}

/* The ticks that are kept: from first to history->tick. */
static uint64_t first_tick(const struct history *history)
{
    return history->tick > HISTORY_SECONDS - 1 ? history->tick - (HISTORY_SECONDS - 1) : 1;
}

/* One group within one step: *next becomes the first tick behind it. */
static void show_step(struct series *series, const struct history *history, uint64_t until_wall_us,
                      uint64_t *next, void (*fn)(void *context, const struct history_row *row), void *context)
{
    struct history_row row = {.service = series->service, .group = series->group};
    for (; *next <= history->tick && history->wall_us[*next % HISTORY_SECONDS] < until_wall_us; (*next)++) {
        const struct second *second = slot(series, *next);
        if (!second->known || series->tick + HISTORY_SECONDS <= *next) {
            continue;
        }
        if (row.seconds == 0) {
            row.from_wall_us = history->wall_us[*next % HISTORY_SECONDS];
        }
        fold(&row, second);
    }
    if (row.seconds > 0) {
        fn(context, &row);
    }
}

void history_each(const struct history *history, const char *service, uint64_t from_wall_us,
                  uint64_t to_wall_us, uint32_t step_s,
                  void (*fn)(void *context, const struct history_row *row), void *context)
{
    uint64_t step_us = (uint64_t)step_s * CLOCK_US_PER_S;
    uint64_t begin = first_tick(history);
    while (begin <= history->tick && history->wall_us[begin % HISTORY_SECONDS] < from_wall_us) {
        begin++;
    }
    if (history->tick == 0 || begin > history->tick) {
        return;
    }
    /* Empty time before the first figures is not walked through. */
    uint64_t first_us = history->wall_us[begin % HISTORY_SECONDS];
    uint64_t at_us = from_wall_us + (first_us - from_wall_us) / step_us * step_us;
    while (at_us < to_wall_us && begin <= history->tick) {
        uint64_t until_us = at_us + step_us < to_wall_us ? at_us + step_us : to_wall_us;
        uint64_t next = begin;
        for (size_t i = 0; i < history->series_len; i++) {
            next = begin;
            if (service == NULL || strcmp(history->series[i]->service, service) == 0) {
                show_step(history->series[i], history, until_us, &next, fn, context);
            }
        }
        while (begin <= history->tick && history->wall_us[begin % HISTORY_SECONDS] < until_us) {
            begin++;
        }
        at_us = until_us;
    }
}
