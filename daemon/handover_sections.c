/*
 * What the program that takes over is told, as sections with a name each, from one table: a newer program may
 * send more than an older one knows, as long as it can do without. Control thread.
 */
#include "daemon/handover_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTIONS_MAX 64u
#define EVENTS_KEPT 1000u /* as many as can be shown */

struct head {
    char name[32]; /* with NUL */
    uint32_t optional;
    uint32_t length; /* of what follows */
};

struct section {
    const char *name;
    bool optional; /* who does not know it can do without */
    /* Owned by the caller, NULL with *length 0 when there is nothing to hand over. */
    unsigned char *(*write)(struct app *app, size_t *length);
    /* body is borrowed. What does not fit this program any more is left out; ERR_CORRUPT, ERR_NOMEM. */
    int (*read)(struct app *app, const unsigned char *body, size_t length);
};

/* ---- what each holds */

static unsigned char *dump(json_t *value, size_t *length)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    *length = text != NULL ? strlen(text) : 0;
    return (unsigned char *)text;
}

static json_t *load(const unsigned char *body, size_t length)
{
    return json_loadb((const char *)body, length, JSON_DECODE_ANY, NULL);
}

static unsigned char *write_counters(struct app *app, size_t *length)
{
    return dump(report_make(app), length);
}

/* They are those of the program before us, which go on; where it is gone, they are of one that has ended. */
static int read_counters(struct app *app, const unsigned char *body, size_t length)
{
    json_t *report = load(body, length);
    if (report == NULL) {
        return ERR_CORRUPT;
    }
    struct former *former = former_last(app);
    if (former == NULL) {
        json_decref(report);
        return 0;
    }
    json_decref(former->report);
    former->report = report;
    return 0;
}

/* { service: { group: { backend: what } } }, where tell writes what is told of each. */
static unsigned char *write_backends(struct app *app, json_t *(*tell)(const struct backend *backend),
                                     size_t *length)
{
    json_t *all = json_object();
    for (size_t i = 0; i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        json_t *groups = json_object();
        for (size_t g = 0; service->config != NULL && g < routing_groups(service->routing); g++) {
            json_t *group = json_object();
            for (size_t b = 0; b < routing_backends(service->routing, g); b++) {
                const struct backend *backend = routing_backend_at(service->routing, g, b);
                (void)json_object_set_new(group, backend_name(backend), tell(backend));
            }
            (void)json_object_set_new(groups, routing_group_name(service->routing, g), group);
        }
        (void)json_object_set_new(all, service->config != NULL ? service->config->name : "", groups);
    }
    return dump(all, length);
}

/* Shows take what was told of each backend that there is here; told NULL: nothing was. ERR_CORRUPT. */
static int read_backends(struct app *app, const unsigned char *body, size_t length,
                         void (*take)(const struct app_service *service, struct backend *backend,
                                      const char *told))
{
    json_t *all = load(body, length);
    for (size_t i = 0; all != NULL && i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        const json_t *groups = json_object_get(all, service->config->name);
        for (size_t g = 0; g < routing_groups(service->routing); g++) {
            const json_t *group = json_object_get(groups, routing_group_name(service->routing, g));
            for (size_t b = 0; b < routing_backends(service->routing, g); b++) {
                struct backend *backend = routing_backend_at(service->routing, g, b);
                take(service, backend, json_string_value(json_object_get(group, backend_name(backend))));
            }
        }
    }
    int rc = all != NULL ? 0 : ERR_CORRUPT;
    json_decref(all);
    return rc;
}

static json_t *tell_state(const struct backend *backend)
{
    return json_string(backend_state_name(backend_state(backend)));
}

static unsigned char *write_states(struct app *app, size_t *length)
{
    return write_backends(app, tell_state, length);
}

static void take_state(const struct app_service *service, struct backend *backend, const char *name)
{
    for (int state = BACKEND_UNKNOWN; name != NULL && state <= BACKEND_DOWN; state++) {
        /* One that was on its way up is up for who looks at it anew. */
        if (strcmp(name, backend_state_name((enum backend_state)state)) == 0) {
            routing_set_state(service->routing, backend,
                              state == BACKEND_STARTING ? BACKEND_UP : (enum backend_state)state);
        }
    }
}

static int read_states(struct app *app, const unsigned char *body, size_t length)
{
    return read_backends(app, body, length, take_state);
}

static json_t *tell_address(const struct backend *backend)
{
    char text[ADDR_TEXT_MAX];
    addr_format(backend_address(backend), text, sizeof(text));
    return json_string(text);
}

static unsigned char *write_addresses(struct app *app, size_t *length)
{
    return write_backends(app, tell_address, length);
}

/* Of one that the former did not have, or had at another address, nothing is known, whatever the migration
 * did up to now: where a new backend must prove itself, this one must. */
static void judge_address(const struct app_service *service, struct backend *backend, const char *told)
{
    const char *group = routing_group_name(service->routing, backend_group(backend));
    char text[ADDR_TEXT_MAX];
    addr_format(backend_address(backend), text, sizeof(text));
    if (told != NULL && strcmp(told, text) == 0) {
        return;
    }
    bool prove = health_must_prove(service->config, service->routing, group);
    routing_assume_state(service->routing, backend, prove ? BACKEND_DOWN : BACKEND_UNKNOWN);
}

/* After the states. */
static int read_addresses(struct app *app, const unsigned char *body, size_t length)
{
    return read_backends(app, body, length, judge_address);
}

/* { service: phase } */
static unsigned char *write_counting(struct app *app, size_t *length)
{
    json_t *all = json_object();
    for (size_t i = 0; i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        if (service->config != NULL) {
            (void)json_object_set_new(all, service->config->name,
                                      json_integer((json_int_t)routing_count_phase(service->routing)));
        }
    }
    return dump(all, length);
}

static int read_counting(struct app *app, const unsigned char *body, size_t length)
{
    json_t *all = load(body, length);
    for (size_t i = 0; all != NULL && i < app->services_len; i++) {
        const json_t *phase = json_object_get(all, app->services[i].config->name);
        if (json_is_integer(phase)) {
            routing_set_count_phase(app->services[i].routing, (uint32_t)json_integer_value(phase));
        }
    }
    int rc = all != NULL ? 0 : ERR_CORRUPT;
    json_decref(all);
    return rc;
}

/* { pid: report }, of the programs before this one: the next they send may be a moment away. */
static unsigned char *write_formers(struct app *app, size_t *length)
{
    json_t *all = json_object();
    char key[24];
    list_each (node, &app->formers) {
        const struct former *former = list_entry(node, struct former, node);
        (void)snprintf(key, sizeof(key), "%d", (int)former->pid);
        (void)json_object_set(all, key, former->report);
    }
    return dump(all, length);
}

static int read_formers(struct app *app, const unsigned char *body, size_t length)
{
    json_t *all = load(body, length);
    char key[24];
    list_each (node, &app->formers) {
        struct former *former = list_entry(node, struct former, node);
        (void)snprintf(key, sizeof(key), "%d", (int)former->pid);
        json_t *report = json_object_get(all, key);
        if (report != NULL) {
            json_decref(former->report);
            former->report = json_incref(report);
        }
    }
    int rc = all != NULL ? 0 : ERR_CORRUPT;
    json_decref(all);
    return rc;
}

/* Who asked for it, and what an operator may have set beside the configuration. */
static unsigned char *write_program(struct app *app, size_t *length)
{
    const char *actor = NULL;
    const char *reason = NULL;
    handover_asked_by(app->handover, &actor, &reason);
    return dump(json_pack("{s:s, s:s, s:s, s:s, s:i}", "log_level", log_level_name(log_threshold()), "actor",
                          actor, "reason", reason, "version", SHUNT_VERSION, "pid", (int)getpid()),
                length);
}

static int read_program(struct app *app, const unsigned char *body, size_t length)
{
    json_t *program = load(body, length);
    const char *level = json_string_value(json_object_get(program, "log_level"));
    const char *version = json_string_value(json_object_get(program, "version"));
    for (int l = LOG_LEVEL_DEBUG; level != NULL && l <= LOG_LEVEL_ERROR; l++) {
        if (strcmp(level, log_level_name((enum log_level)l)) == 0) {
            log_set_level((enum log_level)l);
        }
    }
    const char *reason = json_string_value(json_object_get(program, "reason"));
    events_add(app->events, clock_wall_us(), EVENTS_INFO, NULL, "upgrade",
               json_string_value(json_object_get(program, "actor")),
               reason != NULL && reason[0] != '\0' ? reason : NULL,
               "shuntd %s took over from shuntd %s pid %d", SHUNT_VERSION, version != NULL ? version : "?",
               (int)json_integer_value(json_object_get(program, "pid")));
    json_decref(program);
    return 0;
}

/* Oldest first. */
static unsigned char *write_events(struct app *app, size_t *length)
{
    json_t *all = json_array();
    struct events_entry *list = calloc(EVENTS_KEPT, sizeof(*list));
    size_t n = list != NULL ? events_latest(app->events, NULL, list, EVENTS_KEPT) : 0;
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(all,
                                    json_pack("{s:I, s:i, s:s, s:s, s:s, s:s, s:s}", "wall_us",
                                              (json_int_t)list[i].wall_us, "severity", (int)list[i].severity,
                                              "service", list[i].service, "kind", list[i].kind, "actor",
                                              list[i].actor, "text", list[i].text, "reason", list[i].reason));
    }
    free(list);
    return dump(all, length);
}

static int read_events(struct app *app, const unsigned char *body, size_t length)
{
    json_t *all = load(body, length);
    size_t i;
    json_t *one;
    json_array_foreach(all, i, one)
    {
        int severity = EVENTS_INFO;
        json_int_t wall_us = 0;
        const char *service = "", *kind = "", *actor = "", *text = "", *reason = "";
        if (json_unpack(one, "{s:I, s:i, s:s, s:s, s:s, s:s, s:s}", "wall_us", &wall_us, "severity",
                        &severity, "service", &service, "kind", &kind, "actor", &actor, "text", &text,
                        "reason", &reason) == 0) {
            events_recall(app->events, (uint64_t)wall_us, (enum events_severity)severity, service, kind,
                          actor, reason, text);
        }
    }
    json_decref(all);
    return 0;
}

/* Secret, and bytes, not JSON. */
static unsigned char *write_tickets(struct app *app, size_t *length)
{
    unsigned char *keys = malloc(PROXY_TICKETS_BYTES_MAX);
    *length = keys != NULL ? proxy_tickets_export(app->proxy, keys) : 0;
    return keys;
}

/* Keys that cannot be used cost a full handshake, no more. */
static int read_tickets(struct app *app, const unsigned char *body, size_t length)
{
    if (length > 0 && proxy_tickets_import(app->proxy, body, length) != 0) {
        log_line(LOG_LEVEL_WARN,
                 "keys of session tickets cannot be taken over: clients make full handshakes");
    }
    return 0;
}

/* In the order in which they are read. */
static const struct section table[] = {
    {.name = "counters", .write = write_counters, .read = read_counters},
    {.name = "states", .optional = true, .write = write_states, .read = read_states},
    {.name = "addresses", .optional = true, .write = write_addresses, .read = read_addresses},
    {.name = "counting", .optional = true, .write = write_counting, .read = read_counting},
    {.name = "tls-tickets", .optional = true, .write = write_tickets, .read = read_tickets},
    {.name = "formers", .write = write_formers, .read = read_formers},
    {.name = "events", .optional = true, .write = write_events, .read = read_events},
    {.name = "program", .optional = true, .write = write_program, .read = read_program},
};

/* ---- all of them */

static bool append(unsigned char **all, size_t *length, const void *bytes, size_t n)
{
    unsigned char *more = realloc(*all, *length + n + 1);
    if (more == NULL) {
        free(*all);
        *all = NULL;
        return false;
    }
    memcpy(more + *length, bytes, n);
    *all = more;
    *length += n;
    return true;
}

unsigned char *handover_sections_write(struct app *app, size_t *length)
{
    unsigned char *all = NULL;
    *length = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        size_t n = 0;
        unsigned char *body = table[i].write(app, &n);
        struct head head = {.optional = table[i].optional, .length = (uint32_t)n};
        (void)snprintf(head.name, sizeof(head.name), "%s", table[i].name);
        bool written = body != NULL && n < CHANNEL_BODY_MAX && append(&all, length, &head, sizeof(head)) &&
                       append(&all, length, body, n);
        if (body != NULL) {
            explicit_bzero(body, n);
        }
        free(body);
        if (!written && (!table[i].optional || all == NULL)) {
            free(all);
            return NULL;
        }
    }
    return all;
}

static int read_one(struct app *app, const struct head *head, const unsigned char *body, struct err_text *err)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, head->name) == 0) {
            int rc = table[i].read(app, body, head->length);
            return rc == 0 ? 0 : err_set(err, rc, "section \"%s\": %s", head->name, err_describe(rc));
        }
    }
    return head->optional != 0
               ? 0
               : err_set(err, ERR_UNAVAILABLE, "section \"%s\" is needed and not known to version %s",
                         head->name, SHUNT_VERSION);
}

int handover_sections_read(struct app *app, const unsigned char *body, size_t length, struct err_text *err)
{
    unsigned n = 0;
    for (size_t at = 0; at < length; n++) {
        struct head head;
        if (n == SECTIONS_MAX || length - at < sizeof(head)) {
            return err_set(err, ERR_CORRUPT, "what was handed over is cut short");
        }
        memcpy(&head, body + at, sizeof(head));
        at += sizeof(head);
        if (head.length > length - at || memchr(head.name, '\0', sizeof(head.name)) == NULL) {
            return err_set(err, ERR_CORRUPT, "what was handed over is cut short");
        }
        int rc = read_one(app, &head, body + at, err);
        if (rc != 0) {
            return rc;
        }
        at += head.length;
    }
    return 0;
}
