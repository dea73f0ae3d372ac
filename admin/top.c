/*
 * `top`: what each group did second by second within the last hour, and the events of that time. A timer
 * reads the counters once a second. Control thread. What is kept and how it is summed up: admin/history.c.
 */
#include "admin/admin_internal.h"
#include "admin/history.h"
#include "core/clock.h"
#include "core/units.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LAST_DEFAULT_US (60 * CLOCK_US_PER_S)
#define ROWS_ASKED 10u /* without --step: about so many steps */
#define DAY_US (UINT64_C(86400) * CLOCK_US_PER_S)

struct top {
    struct admin *admin; /* borrowed */
    struct history *history;
    struct event *timer; /* owned */
};

/* ---- once a second */

static uint32_t share_of_group(const struct routing *routing, uint32_t group)
{
    uint32_t share_bp = routing_share_bp(routing);
    if (group == routing_target(routing)) {
        return share_bp;
    }
    return group == routing_active(routing) ? UNITS_BP_FULL - share_bp : 0;
}

static void read_group(struct history *history, const struct admin_service *service, uint32_t group)
{
    struct stats_backend_reading sum = {.connections = 0};
    const struct routing *routing = service->routing;
    for (size_t b = 0; b < routing_backends(routing, group); b++) {
        struct stats_backend_reading one;
        backend_read(routing_backend_at(routing, group, b), &one);
        sum.connections += one.connections;
        sum.response_us.count += one.response_us.count;
        sum.response_us.sum_us += one.response_us.sum_us;
        for (int e = 0; e < STATS_ERROR_COUNT; e++) {
            sum.errors[e] += one.errors[e];
        }
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            sum.response_us.bucket[i] += one.response_us.bucket[i];
        }
    }
    history_add(history, service->name, routing_group_name(routing, group), &sum,
                routing_open(routing, group), share_of_group(routing, group));
}

static void on_second(evutil_socket_t fd, short what, void *context)
{
    struct top *top = context;
    (void)fd;
    (void)what;
    history_tick(top->history, clock_wall_us());
    for (size_t s = 0; s < top->admin->options.services_len; s++) {
        const struct admin_service *service = &top->admin->options.services[s];
        for (size_t g = 0; g < routing_groups(service->routing); g++) {
            if (!routing_group_is_gone(service->routing, g)) {
                read_group(top->history, service, (uint32_t)g);
            }
        }
    }
}

int top_create(struct admin *admin, struct top **out, struct err_text *err)
{
    const struct timeval second = {.tv_sec = 1};
    struct top *top = calloc(1, sizeof(*top));
    if (top == NULL || history_create(&top->history) != ERR_OK) {
        free(top);
        return err_set(err, ERR_NOMEM, "out of memory for the last hour's figures");
    }
    top->admin = admin;
    top->timer = event_new(admin->options.base, -1, EV_PERSIST, on_second, top);
    if (top->timer == NULL || event_add(top->timer, &second) != 0) {
        top_destroy(top);
        return err_set(err, ERR_NOMEM, "out of memory for the last hour's figures");
    }
    *out = top;
    return ERR_OK;
}

void top_destroy(struct top *top)
{
    if (top == NULL) {
        return;
    }
    if (top->timer != NULL) {
        event_free(top->timer);
    }
    history_destroy(top->history);
    free(top);
}

/* ---- the command */

struct window {
    uint64_t from_us, to_us; /* wall */
    uint32_t step_s;
};

/* A time of day is the last one that has been. */
static struct window window_of(const struct command_values *values, uint64_t now_us)
{
    uint64_t length_us = values->last_us > 0 ? values->last_us : LAST_DEFAULT_US;
    struct window window = {.from_us = now_us - length_us, .to_us = now_us + 1};
    if (values->at_given) {
        uint64_t at_us = now_us / DAY_US * DAY_US + (uint64_t)values->at_s * CLOCK_US_PER_S;
        window.from_us = at_us > now_us ? at_us - DAY_US : at_us;
        window.to_us = window.from_us + length_us;
    }
    uint64_t step_us = values->step_us > 0 ? values->step_us : length_us / ROWS_ASKED;
    window.step_s = step_us > CLOCK_US_PER_S ? (uint32_t)(step_us / CLOCK_US_PER_S) : 1;
    return window;
}

static double rate(uint64_t n, uint32_t seconds)
{
    return (double)n / (double)seconds;
}

static void write_row(void *context, const struct history_row *row)
{
    FILE *out = context;
    char when[32];
    char name[2 * ROUTING_NAME_MAX];
    char share[16];
    char p50[32] = "-";
    char p99[32] = "-";
    clock_format_wall(row->from_wall_us, when, sizeof(when));
    when[19] = '\0'; /* to the second */
    (void)snprintf(name, sizeof(name), "%s/%s", row->service, row->group);
    units_format_share(row->share_bp, share, sizeof(share));
    if (row->samples > 0) {
        clock_format_duration(row->p50_us, p50, sizeof(p50));
        clock_format_duration(row->p99_us, p99, sizeof(p99));
    }
    fprintf(out, "%s  %-24s %9.1f %8" PRIu64 " %8" PRIu32 " %9s %9s %7s\n", when + 11, name,
            rate(row->connections, row->seconds), row->errors, row->open, p50, p99, share);
}

static void write_json_row(void *context, const struct history_row *row)
{
    char when[32];
    clock_format_wall(row->from_wall_us, when, sizeof(when));
    (void)json_array_append_new(
        context,
        json_pack("{s:s,s:o,s:o,s:i,s:I,s:I,s:i,s:I,s:o,s:o,s:i}", "time", when, "service",
                  render_json_text(row->service), "group", render_json_text(row->group), "seconds",
                  (int)row->seconds, "connections", (json_int_t)row->connections, "errors",
                  (json_int_t)row->errors, "open", (int)row->open, "samples", (json_int_t)row->samples,
                  "p50_us", row->samples > 0 ? json_integer(row->p50_us) : json_null(), "p99_us",
                  row->samples > 0 ? json_integer(row->p99_us) : json_null(), "share_bp",
                  (int)row->share_bp));
}

#define EVENTS_LOOKED_AT 1000u

/* The events within the window, of the service (NULL: all), as text or appended to array. Without memory:
 * none. */
static void show_events(const struct command_call *call, const struct window *window, const char *service,
                        json_t *array)
{
    struct events_entry *entries = calloc(EVENTS_LOOKED_AT, sizeof(*entries));
    size_t n =
        entries != NULL ? events_latest(call->admin->options.events, service, entries, EVENTS_LOOKED_AT) : 0;
    for (size_t i = 0; i < n; i++) {
        bool meant = entries[i].wall_us >= window->from_us && entries[i].wall_us < window->to_us;
        if (meant && array != NULL) {
            (void)json_array_append_new(array, render_json_event(&entries[i]));
        } else if (meant) {
            render_event(call->reply, &entries[i]);
        }
    }
    free(entries);
}

static int reply_json(const struct command_call *call, const struct window *window, const char *service)
{
    const struct top *top = call->admin->top;
    json_t *rows = json_array();
    json_t *events = json_array();
    history_each(top->history, service, window->from_us, window->to_us, window->step_s, write_json_row, rows);
    show_events(call, window, service, events);
    return render_json_write(
        call->reply, json_pack("{s:i,s:I,s:o,s:o}", "step_s", (int)window->step_s, "groups_left_out",
                               (json_int_t)history_left_out(top->history), "rows", rows, "events", events));
}

int cmd_top(struct command_call *call, struct err_text *err)
{
    const struct top *top = call->admin->top;
    const struct window window = window_of(&call->values, clock_wall_us());
    const char *service = call->values.service != NULL ? call->values.service->name : NULL;
    if (top == NULL) {
        return err_set(err, ERR_UNAVAILABLE, "no figures are kept here");
    }
    if (call->values.json) {
        return reply_json(call, &window, service);
    }
    fprintf(call->reply, "%-8s  %-24s %9s %8s %8s %9s %9s %7s\n", "UTC", "service/group", "conn/s", "errors",
            "open", "p50", "p99", "share");
    history_each(top->history, service, window.from_us, window.to_us, window.step_s, write_row, call->reply);
    if (history_left_out(top->history) > 0) {
        fprintf(call->reply, "%zu groups more than the last hour is kept of\n",
                history_left_out(top->history));
    }
    show_events(call, &window, service, NULL);
    return ERR_OK;
}
