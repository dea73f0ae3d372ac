/*
 * What the watch view knows: the last status, the last events, and for each group three minutes of counters,
 * from which rates are made. The daemon's uptime is the clock, so a reply that comes late is no dent. Pure.
 */
#include "admin/ctl/watch.h"

#include <string.h>

#define RATE_OVER_S 5.0
#define ERRORS_OVER_S 60.0

static const struct watch_group *find_group(const struct watch_model *model, const char *key)
{
    for (size_t i = 0; i < model->groups_len; i++) {
        if (strcmp(model->group[i].key, key) == 0) {
            return &model->group[i];
        }
    }
    return NULL;
}

/* NULL: there is no room for more. */
static struct watch_group *make_group(struct watch_model *model, const char *key)
{
    for (size_t i = 0; i < model->groups_len; i++) {
        if (strcmp(model->group[i].key, key) == 0) {
            return &model->group[i];
        }
    }
    if (model->groups_len == WATCH_GROUPS_MAX) {
        return NULL;
    }
    struct watch_group *group = &model->group[model->groups_len++];
    memset(group, 0, sizeof(*group));
    (void)snprintf(group->key, sizeof(group->key), "%s", key);
    return group;
}

/* back samples before the newest; NULL: there are not so many. */
static const struct watch_sample *sample_at(const struct watch_group *group, size_t back)
{
    if (back >= group->len) {
        return NULL;
    }
    return &group->sample[(group->next + WATCH_SAMPLES - 1 - back) % WATCH_SAMPLES];
}

/* The oldest sample that is not older than so long before the newest. */
static const struct watch_sample *sample_since(const struct watch_group *group, double ago_s)
{
    const struct watch_sample *newest = sample_at(group, 0);
    const struct watch_sample *found = newest;
    for (size_t back = 1; back < group->len; back++) {
        const struct watch_sample *sample = sample_at(group, back);
        if (newest->at_s - sample->at_s > ago_s) {
            break;
        }
        found = sample;
    }
    return found;
}

static void add_sample(struct watch_group *group, const struct watch_sample *sample)
{
    const struct watch_sample *newest = sample_at(group, 0);
    if (newest != NULL && (sample->at_s <= newest->at_s || sample->connections < newest->connections)) {
        group->len = 0; /* another daemon, whose counters began anew */
    }
    group->sample[group->next] = *sample;
    group->next = (group->next + 1) % WATCH_SAMPLES;
    group->len += group->len < WATCH_SAMPLES;
}

static void take_group(struct watch_model *model, const char *service, const json_t *json, double at_s)
{
    struct watch_sample sample = {.at_s = at_s};
    char key[200];
    size_t index;
    json_t *backend;
    (void)snprintf(key, sizeof(key), "%s/%s", service, json_string_value(json_object_get(json, "name")));
    json_array_foreach(json_object_get(json, "backends"), index, backend)
    {
        const char *name;
        json_t *count;
        sample.connections += (double)json_integer_value(json_object_get(backend, "connections"));
        json_object_foreach(json_object_get(backend, "errors"), name, count)
        {
            sample.errors += (double)json_integer_value(count);
        }
    }
    struct watch_group *group = make_group(model, key);
    if (group != NULL) {
        add_sample(group, &sample);
    }
}

static void take_status(struct watch_model *model)
{
    double at_s = json_number_value(json_object_get(model->status, "uptime_s"));
    size_t s;
    size_t g;
    json_t *service;
    json_t *group;
    json_array_foreach(json_object_get(model->status, "services"), s, service)
    {
        const char *name = json_string_value(json_object_get(service, "name"));
        json_array_foreach(json_object_get(service, "groups"), g, group)
        {
            if (name != NULL && json_is_string(json_object_get(group, "name"))) {
                take_group(model, name, group, at_s);
            }
        }
    }
}

bool watch_model_take(struct watch_model *model, json_t *reply)
{
    if (json_is_array(json_object_get(reply, "services"))) {
        json_decref(model->status);
        model->status = reply;
        take_status(model);
        return true;
    }
    json_t *events = json_object_get(reply, "events");
    if (json_is_array(events)) {
        json_decref(model->events);
        model->events = json_incref(events);
        json_decref(reply);
        return true;
    }
    json_decref(reply);
    return false;
}

void watch_model_clear(struct watch_model *model)
{
    json_decref(model->status);
    json_decref(model->events);
    memset(model, 0, sizeof(*model));
}

static double rate_between(const struct watch_sample *from, const struct watch_sample *to)
{
    return to->at_s > from->at_s ? (to->connections - from->connections) / (to->at_s - from->at_s) : -1;
}

double watch_model_rate(const struct watch_model *model, const char *key)
{
    const struct watch_group *group = find_group(model, key);
    if (group == NULL || group->len < 2) {
        return -1;
    }
    return rate_between(sample_since(group, RATE_OVER_S), sample_at(group, 0));
}

double watch_model_errors(const struct watch_model *model, const char *key)
{
    const struct watch_group *group = find_group(model, key);
    if (group == NULL || group->len < 2) {
        return -1;
    }
    const struct watch_sample *from = sample_since(group, ERRORS_OVER_S);
    const struct watch_sample *to = sample_at(group, 0);
    double errors = to->errors - from->errors;
    double all = to->connections - from->connections;
    all = all > errors ? all : errors; /* a failed attempt is no connection */
    return all > 0 ? errors / all : -1;
}

void watch_model_line(const struct watch_model *model, const char *key, double *out, size_t n)
{
    const struct watch_group *group = find_group(model, key);
    size_t part = (WATCH_SAMPLES - 1) / n;
    for (size_t i = 0; i < n; i++) {
        size_t back = (n - 1 - i) * part;
        const struct watch_sample *to = group != NULL ? sample_at(group, back) : NULL;
        const struct watch_sample *from = group != NULL ? sample_at(group, back + part) : NULL;
        if (to != NULL && from == NULL && group->len - 1 > back) {
            from = sample_at(group, group->len - 1); /* the part that has only begun */
        }
        out[i] = to != NULL && from != NULL ? rate_between(from, to) : -1;
    }
}
