/*
 * How the watch view looks: lines from what is known and the size of the screen. When not all fits, backends
 * that are well go first, then old events. Pure; every character is one column wide.
 */
#include "admin/ctl/plain.h"
#include "admin/ctl/watch.h"
#include "core/clock.h"
#include "core/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SPARK_COLUMNS 12u
#define BAR_COLUMNS_MAX 50u
#define EVENTS_LEAST 3u /* lines that events get before backends are left out */
#define LINE_MAX 1024u

struct signs {
    const char *good, *bad, *wait, *warn, *dot;
    const char *branch, *last, *bar, *blank; /* of the tree */
    const char *full, *half, *empty, *more;
    const char *spark[8];
};

static const struct signs pretty = {
    "✔",   "✖",   "◌", "⚠", "·", "├─ ", "└─ ",
    "│  ", "   ", "█", "▌", "░", "…",   {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}};
static const struct signs plain = {
    "+",   "X",   "o", "!", "-", "|- ", "`- ",
    "|  ", "   ", "#", "#", ".", "~",   {"_", ".", ",", "-", "=", "+", "*", "#"}};

/* The screen while it is written. */
struct page {
    const struct watch_model *model;
    const struct watch_look *look;
    const struct signs *signs;
    FILE *out;
    unsigned rows; /* written */
    bool brief;    /* backends that are well are left out */
};

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static int64_t integer_of(const json_t *object, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(object, name));
}

/* Those of C1 and those that turn the direction of writing: length of the character at p, or 0. */
static size_t hidden_length(const unsigned char *p)
{
    if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
        return 2;
    }
    bool turns = p[0] == 0xe2 && ((p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f)) ||
                                  (p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) ||
                                  (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
    return turns ? 3 : 0;
}

/* Writes a line, cut to the width; control bytes and characters become blanks; without UTF-8 others do too.
 */
static void put_line(struct page *page, const char *text)
{
    unsigned column = 0;
    if (page->rows >= page->look->rows) {
        return;
    }
    page->rows++;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool continues = (*p & 0xc0) == 0x80;
        if (!continues && column++ == page->look->columns) {
            break;
        }
        if (hidden_length(p) > 0) {
            p += hidden_length(p) - 1;
            fputc(' ', page->out);
            continue;
        }
        if (page->look->ascii && *p >= 0x80) {
            if (!continues) {
                fputc(plain_sign((const char *)p), page->out);
            }
            continue;
        }
        fputc(*p < 0x20 || *p == 0x7f ? ' ' : *p, page->out);
    }
    fputc('\n', page->out);
}

/* Appends to a line; what does not fit is left out. */
__attribute__((format(printf, 2, 3))) static void add(char *line, const char *format, ...)
{
    size_t used = strlen(line);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line + used, LINE_MAX - used, format, args);
    va_end(args);
}

static void add_seconds(char *line, const char *before, const json_t *seconds)
{
    char text[32];
    if (json_is_number(seconds)) {
        double s = json_number_value(seconds);
        uint64_t us = s > 1 ? (uint64_t)(s + 0.5) * CLOCK_US_PER_S : (uint64_t)(s * 1e6);
        clock_format_duration(us, text, sizeof(text));
        add(line, "   %s%s", before, text);
    }
}

static bool is_phase(const json_t *service, const char *phase)
{
    return strcmp(text_of(service, "phase"), phase) == 0;
}

static bool is_under_way(const json_t *service)
{
    return !is_phase(service, "idle") && !is_phase(service, "completed") && !is_phase(service, "rolled-back");
}

static const char *sign_of_phase(const struct page *page, const json_t *service)
{
    if (is_phase(service, "completed")) {
        return page->signs->good;
    }
    if (is_phase(service, "rolled-back") || is_phase(service, "rolling-back")) {
        return page->signs->bad;
    }
    return is_phase(service, "paused") ? page->signs->warn
           : is_phase(service, "idle") ? page->signs->dot
                                       : page->signs->wait;
}

static void put_head(struct page *page, const json_t *service)
{
    char line[LINE_MAX] = "";
    char share[16];
    char live[16];
    const char *name = text_of(service, "name");
    units_format_share((uint32_t)integer_of(service, "share_bp"), share, sizeof(share));
    units_format_share((uint32_t)integer_of(service, "live_share_bp"), live, sizeof(live));
    bool chosen = page->look->service != NULL && strcmp(page->look->service, name) == 0 &&
                  json_array_size(json_object_get(page->model->status, "services")) > 1;
    add(line, "%s%s   %s %s", chosen ? "> " : "", name, sign_of_phase(page, service),
        text_of(service, "phase"));
    if (text_of(service, "migration")[0] != '\0') {
        add(line, "   %s", text_of(service, "migration"));
    }
    if (is_under_way(service)) {
        add(line, "   step %" PRId64 "/%" PRId64 "   share %s  live %s", integer_of(service, "step"),
            integer_of(service, "steps"), share, live);
        if (strcmp(text_of(service, "aim"), "live") == 0) {
            char routed[16];
            units_format_share((uint32_t)integer_of(service, "routed_bp"), routed, sizeof(routed));
            add(line, " (%s of new ones)", routed);
        }
        add_seconds(line, "next step in ", json_object_get(service, "step_left_s"));
        add_seconds(line, "all done in ", json_object_get(service, "eta_s"));
    } else {
        add(line, "   active %s   open %" PRId64, text_of(service, "active"),
            integer_of(json_object_get(service, "connections"), "open"));
    }
    put_line(page, line);
    if (text_of(service, "reason")[0] != '\0') {
        line[0] = '\0';
        add(line, "      %s", text_of(service, "reason"));
        put_line(page, line);
    }
    if (json_is_true(json_object_get(service, "detached"))) {
        line[0] = '\0';
        add(line, "      %s the journal cannot be written: the plan is frozen", page->signs->warn);
        put_line(page, line);
    }
}

static unsigned columns_of(const char *text)
{
    unsigned n = 0;
    for (; *text != '\0'; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

static const char *sign_of_verdict(const struct page *page, const char *verdict)
{
    return strcmp(verdict, "pass") == 0   ? page->signs->good
           : strcmp(verdict, "fail") == 0 ? page->signs->bad
                                          : page->signs->wait;
}

/* As many checks in a line as fit. */
static void put_gate(struct page *page, const json_t *service)
{
    char line[LINE_MAX] = "gate";
    char one[LINE_MAX];
    size_t i;
    json_t *check;
    json_t *checks = json_object_get(json_object_get(service, "gate"), "checks");
    if (json_array_size(checks) == 0) {
        return;
    }
    json_array_foreach(checks, i, check)
    {
        one[0] = '\0';
        add(one, "%s %s", sign_of_verdict(page, text_of(check, "verdict")), text_of(check, "message"));
        if (columns_of(line) > 4 && columns_of(line) + 3 + columns_of(one) > page->look->columns) {
            put_line(page, line);
            (void)snprintf(line, sizeof(line), "    ");
        }
        add(line, "%s%s", columns_of(line) > 4 ? "   " : "  ", one);
    }
    put_line(page, line);
}

static void add_latency(char *line, const json_t *latency)
{
    char p50[32];
    char p99[32];
    if (integer_of(latency, "n") > 0) {
        clock_format_duration((uint64_t)integer_of(latency, "p50"), p50, sizeof(p50));
        clock_format_duration((uint64_t)integer_of(latency, "p99"), p99, sizeof(p99));
        add(line, "   p50 %s  p99 %s", p50, p99);
    }
}

/* most: the highest rate among the groups that are compared. */
static void add_spark(const struct page *page, char *line, const char *key, double most)
{
    double rate[SPARK_COLUMNS];
    bool known = false;
    watch_model_line(page->model, key, rate, SPARK_COLUMNS);
    for (size_t i = 0; i < SPARK_COLUMNS; i++) {
        known = known || rate[i] >= 0;
    }
    if (!known) {
        return;
    }
    add(line, "   ");
    for (size_t i = 0; i < SPARK_COLUMNS; i++) {
        if (rate[i] >= 0) {
            size_t level = most > 0 ? (size_t)(rate[i] / most * 7.999) : 0;
            add(line, "%s", page->signs->spark[level < 8 ? level : 7]);
        }
    }
}

static double highest_rate(const struct page *page, const json_t *service)
{
    double most = 0;
    double rate[SPARK_COLUMNS];
    char key[200];
    size_t g;
    json_t *group;
    json_array_foreach(json_object_get(service, "groups"), g, group)
    {
        (void)snprintf(key, sizeof(key), "%s/%s", text_of(service, "name"), text_of(group, "name"));
        watch_model_line(page->model, key, rate, SPARK_COLUMNS);
        for (size_t i = 0; i < SPARK_COLUMNS; i++) {
            most = rate[i] > most ? rate[i] : most;
        }
    }
    return most;
}

static void put_group(struct page *page, const json_t *service, const json_t *group, bool last, int width)
{
    char line[LINE_MAX] = "";
    char key[200];
    const char *name = text_of(group, "name");
    int64_t usable = integer_of(group, "usable");
    int64_t backends = (int64_t)json_array_size(json_object_get(group, "backends"));
    (void)snprintf(key, sizeof(key), "%s/%s", text_of(service, "name"), name);
    double rate = watch_model_rate(page->model, key);
    double errors = watch_model_errors(page->model, key);
    add(line, "%s%s%*s  %s %" PRId64 "/%" PRId64 "   open %-6" PRId64,
        last ? page->signs->last : page->signs->branch, name, width - (int)columns_of(name), "",
        usable == backends ? page->signs->good
        : usable == 0      ? page->signs->bad
                           : page->signs->warn,
        usable, backends, integer_of(group, "open"));
    if (json_is_object(json_object_get(group, "panic"))) {
        add(line, " %s panic  ", page->signs->bad);
    } else if (json_is_true(json_object_get(group, "on_backups"))) {
        add(line, " %s on backups  ", page->signs->warn);
    }
    int64_t waiting = integer_of(json_object_get(group, "queue"), "waiting");
    if (waiting > 0) {
        add(line, " %s %" PRId64 " wait  ", page->signs->wait, waiting);
    }
    if (rate >= 0) {
        add(line, rate >= 10 ? " %.0f/s" : " %.1f/s", rate);
    }
    if (errors >= 0) {
        add(line, "   err %.2f%%", errors * 100);
    }
    add_latency(line, json_object_get(group, "latency_us"));
    add_spark(page, line, key, highest_rate(page, service));
    put_line(page, line);
}

static bool is_well(const json_t *backend)
{
    const char *forced = text_of(backend, "forced");
    return strcmp(text_of(backend, "state"), "up") == 0 && strcmp(text_of(backend, "admin"), "ready") == 0 &&
           strcmp(forced, "up") != 0 && strcmp(forced, "down") != 0;
}

static const char *sign_of_backend(const struct page *page, const json_t *backend)
{
    if (strcmp(text_of(backend, "admin"), "ready") != 0) {
        return page->signs->warn;
    }
    const char *state = text_of(backend, "state");
    return strcmp(state, "up") == 0     ? page->signs->good
           : strcmp(state, "down") == 0 ? page->signs->bad
                                        : page->signs->wait;
}

static void put_backend(struct page *page, const json_t *backend, const char *before, int width)
{
    char line[LINE_MAX] = "";
    char text[32];
    const char *name = text_of(backend, "name");
    const json_t *check = json_object_get(backend, "check");
    add(line, "%s%s%*s   %s %s", before, name, width - (int)columns_of(name), "",
        sign_of_backend(page, backend), text_of(backend, "state"));
    if (strcmp(text_of(backend, "admin"), "ready") != 0) {
        add(line, " %s", text_of(backend, "admin"));
    }
    if (strcmp(text_of(backend, "forced"), "up") == 0 || strcmp(text_of(backend, "forced"), "down") == 0) {
        add(line, " forced");
    } else if (json_is_object(json_object_get(backend, "ejected"))) {
        add(line, " ejected");
    }
    if (json_is_true(json_object_get(backend, "backup"))) {
        add(line, " backup");
    }
    add(line, "   %" PRId64 " open", integer_of(backend, "open"));
    if (json_is_true(json_object_get(check, "passed"))) {
        clock_format_duration((uint64_t)integer_of(check, "duration_us"), text, sizeof(text));
        add(line, "   check %s", text);
    } else if (json_is_object(check)) {
        add(line, "   check %s %s", page->signs->bad, text_of(check, "reason"));
    }
    put_line(page, line);
}

static int widest(const json_t *list)
{
    unsigned width = 0;
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        unsigned used = columns_of(text_of(one, "name"));
        width = used > width ? used : width;
    }
    return (int)width;
}

static void put_backends(struct page *page, const json_t *group, bool last_group)
{
    const json_t *list = json_object_get(group, "backends");
    const char *left = last_group ? page->signs->blank : page->signs->bar;
    char before[32];
    char line[LINE_MAX] = "";
    size_t i;
    size_t shown = 0;
    size_t hidden = 0;
    json_t *backend;
    json_array_foreach(list, i, backend)
    {
        hidden += page->brief && is_well(backend);
    }
    size_t total = json_array_size(list) - hidden + (hidden > 0);
    json_array_foreach(list, i, backend)
    {
        if (page->brief && is_well(backend)) {
            continue;
        }
        shown++;
        (void)snprintf(before, sizeof(before), "%s%s", left,
                       shown == total ? page->signs->last : page->signs->branch);
        put_backend(page, backend, before, widest(list));
    }
    if (hidden > 0) {
        add(line, "%s%s%s %zu more, all up", left, page->signs->last, page->signs->more, hidden);
        put_line(page, line);
    }
}

static void put_bar(struct page *page, const json_t *service)
{
    char line[LINE_MAX] = "";
    char share[16];
    uint64_t bp = (uint64_t)integer_of(service, "share_bp");
    unsigned width = page->look->columns > 20 ? page->look->columns - 10 : 10;
    width = width < BAR_COLUMNS_MAX ? width : BAR_COLUMNS_MAX;
    uint64_t halves = bp * width * 2 / UNITS_BP_FULL;
    if (!is_under_way(service)) {
        return;
    }
    units_format_share((uint32_t)bp, share, sizeof(share));
    for (uint64_t i = 0; i < width; i++) {
        add(line, "%s",
            halves >= 2 * i + 2   ? page->signs->full
            : halves == 2 * i + 1 ? page->signs->half
                                  : page->signs->empty);
    }
    add(line, " %s", share);
    put_line(page, line);
}

/* Host names whose last answer was not good; those that are well need no line. */
static void put_names(struct page *page, const json_t *service)
{
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(service, "names"), i, name)
    {
        char line[LINE_MAX] = "";
        const char *outcome = text_of(name, "outcome");
        int64_t addresses = integer_of(name, "addresses");
        if (strcmp(outcome, "ok") != 0 && strcmp(outcome, "unknown") != 0) {
            add(line, "name  %s %s/%s   %" PRId64 " address%s%s: %s",
                addresses > 0 ? page->signs->warn : page->signs->bad, text_of(name, "group"),
                text_of(name, "backend"), addresses, addresses == 1 ? "" : "es", addresses > 0 ? " kept" : "",
                text_of(name, "reason"));
            put_line(page, line);
        }
    }
}

static void put_service(struct page *page, const json_t *service)
{
    const json_t *groups = json_object_get(service, "groups");
    int width = widest(groups);
    size_t g;
    json_t *group;
    put_head(page, service);
    put_gate(page, service);
    put_names(page, service);
    json_array_foreach(groups, g, group)
    {
        bool last = g + 1 == json_array_size(groups);
        put_group(page, service, group, last, width);
        put_backends(page, group, last);
    }
    put_bar(page, service);
}

static void put_services(struct page *page)
{
    size_t s;
    json_t *service;
    if (page->model->status == NULL) {
        put_line(page, "waiting for the daemon's first answer");
        return;
    }
    json_array_foreach(json_object_get(page->model->status, "services"), s, service)
    {
        if (s > 0) {
            put_line(page, "");
        }
        put_service(page, service);
    }
}

static void put_event(struct page *page, const json_t *event)
{
    char line[LINE_MAX] = "";
    const char *severity = text_of(event, "severity");
    const char *time = text_of(event, "time"); /* 2026-01-31T12:00:00.123Z */
    add(line, "%.8s %s %-9s %s", strlen(time) > 19 ? time + 11 : time,
        strcmp(severity, "error") == 0  ? page->signs->bad
        : strcmp(severity, "warn") == 0 ? page->signs->warn
                                        : page->signs->dot,
        text_of(event, "kind"), text_of(event, "text"));
    if (text_of(event, "reason")[0] != '\0') {
        add(line, " (%s)", text_of(event, "reason"));
    }
    put_line(page, line);
}

/* The newest that fit above the last line. */
static void put_events(struct page *page)
{
    size_t n = json_array_size(page->model->events);
    size_t room = page->look->rows > page->rows + 2 ? page->look->rows - page->rows - 2 : 0;
    size_t first = n > room ? n - room : 0;
    if (room == 0 || n == 0) {
        return;
    }
    put_line(page, "");
    for (size_t i = first; i < n; i++) {
        put_event(page, json_array_get(page->model->events, i));
    }
}

static void put_last_line(struct page *page)
{
    while (page->rows + 1 < page->look->rows) {
        put_line(page, "");
    }
    put_line(page, page->look->notice != NULL ? page->look->notice
                   : page->look->service != NULL
                       ? "p pause  r resume  s skip  a abort  q quit (the migration goes on)"
                       : "Tab chooses a service  q quit (the migration goes on)");
}

/* Rows that all services take; counted by writing them to nowhere. */
static unsigned count_rows(const struct page *page, const struct watch_look *endless)
{
    struct page trial = *page;
    char *text = NULL;
    size_t length = 0;
    trial.look = endless;
    trial.out = open_memstream(&text, &length);
    if (trial.out == NULL) {
        return 0;
    }
    put_services(&trial);
    (void)fclose(trial.out);
    free(text);
    return trial.rows;
}

void watch_layout(const struct watch_model *model, const struct watch_look *look, FILE *out)
{
    struct watch_look endless = *look;
    struct watch_look above = *look;
    struct page page = {.model = model, .look = look, .signs = look->ascii ? &plain : &pretty, .out = out};
    endless.rows = UINT32_MAX;
    page.brief = count_rows(&page, &endless) + EVENTS_LEAST + 2 > look->rows;
    above.rows = look->rows > 0 ? look->rows - 1 : 0;
    page.look = &above;
    put_services(&page);
    page.look = look;
    put_events(&page);
    put_last_line(&page);
}
