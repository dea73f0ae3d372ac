/*
 * Weights and operator states given at run time: put in force at once, written down, and taken up again after
 * a restart, as long as the configuration still says what it said when they were given: an edited file wins.
 * Control thread.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The weight that the configuration gives a backend; 1 when it does not name it. */
static uint32_t configured_weight(const struct migration *m, const struct backend *backend)
{
    const char *group = migration_group_name(m, backend_group(backend));

    for (size_t g = 0; g < m->options.config->groups_len; g++) {
        const struct config_group *config = &m->options.config->groups[g];

        for (size_t b = 0; strcmp(config->name, group) == 0 && b < config->backends_len; b++) {
            size_t length = strlen(config->backends[b].name);

            if (strncmp(config->backends[b].name, backend_name(backend), length) == 0 &&
                (backend_name(backend)[length] == '\0' || backend_name(backend)[length] == '@')) {
                return config->backends[b].weight;
            }
        }
    }
    return 1;
}

static json_t *record_of(const struct migration *m, const struct backend *backend, const char *kind,
                         uint64_t wall_us, const struct migration_asker *who, const char *text)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o}", "service", m->options.config->name,
                     "kind", kind, "group", migration_group_name(m, backend_group(backend)), "backend",
                     backend_name(backend), "event", kind, "said_at", (json_int_t)wall_us, "configured",
                     (json_int_t)configured_weight(m, backend), "actor", record_text(who->actor), "reason",
                     record_text(who->reason), "text", record_text(text));
}

/* In force already; a journal that cannot be written costs only the memory of it. */
static int put_in_force(struct migration *m, struct backend *backend, const char *kind, json_t *value,
                        const struct migration_asker *who, const char *text)
{
    struct err_text err = {.text = "no memory for a record of the journal"};
    uint64_t wall_us = clock_wall_us();
    json_t *record = record_of(m, backend, kind, wall_us, who, text);
    enum migration_word_kind word;
    char *key = NULL;
    int rc = ERR_NOMEM;

    if (words_kind(kind, &word)) {
        words_keep(m, backend, word, wall_us, who);
    }
    if (asprintf(&key, "%s/%s", migration_group_name(m, backend_group(backend)), backend_name(backend)) < 0) {
        key = NULL;
    }
    if (record == NULL || key == NULL || json_object_set(record, "value", value) != 0 ||
        json_object_set_new(record, "key", json_string(key)) != 0) {
        rc = ERR_NOMEM;
    } else {
        rc = journal_append(m->options.journal, record, true, &err);
    }
    events_add(m->options.events, wall_us, EVENTS_INFO, m->options.config->name, kind, who->actor,
               who->reason, "%s", text);
    if (rc != 0) {
        events_add(m->options.events, clock_wall_us(), EVENTS_WARN, m->options.config->name, kind, who->actor,
                   NULL, "in force, but a restart will not know of it: %s", err.text);
    }
    json_decref(record);
    json_decref(value);
    free(key);
    return 0;
}

int migration_set_weight(struct migration *m, struct backend *backend, uint32_t weight,
                         const struct migration_asker *who, struct err_text *err)
{
    uint32_t before = backend_weight(backend);
    char text[256];
    int rc = handover_allows(m, err);

    if (rc != 0) {
        return rc;
    }
    if (weight > ROUTING_WEIGHT_MAX) {
        return err_set(err, ERR_RANGE, "a weight is 0 to %u", ROUTING_WEIGHT_MAX);
    }
    routing_set_weight(m->options.routing, backend, weight);
    rc = routing_publish(m->options.routing, err);
    if (rc != 0) {
        routing_set_weight(m->options.routing, backend, before);
        return rc;
    }
    snprintf(text, sizeof(text), "%s/%s: weight %" PRIu32 " → %" PRIu32,
             migration_group_name(m, backend_group(backend)), backend_name(backend), before, weight);
    return put_in_force(m, backend, "weight", json_integer(weight), who, text);
}

int migration_set_admin(struct migration *m, struct backend *backend, enum backend_admin admin,
                        const struct migration_asker *who, struct err_text *err)
{
    enum backend_admin before = backend_admin(backend);
    char text[256];
    int rc = handover_allows(m, err);

    if (rc != 0) {
        return rc;
    }
    routing_set_admin(m->options.routing, backend, admin);
    rc = routing_publish(m->options.routing, err);
    if (rc != 0) {
        routing_set_admin(m->options.routing, backend, before);
        return rc;
    }
    snprintf(text, sizeof(text), "%s/%s: %s → %s", migration_group_name(m, backend_group(backend)),
             backend_name(backend), backend_admin_name(before), backend_admin_name(admin));
    return put_in_force(m, backend, "admin", json_string(backend_admin_name(admin)), who, text);
}

int migration_set_forced(struct migration *m, struct backend *backend, enum backend_forced forced,
                         const struct migration_asker *who, struct err_text *err)
{
    enum backend_forced before = backend_forced(backend);
    char text[256];
    int rc = handover_allows(m, err);

    if (rc != 0) {
        return rc;
    }
    routing_set_forced(m->options.routing, backend, forced);
    rc = routing_publish(m->options.routing, err);
    if (rc != 0) {
        routing_set_forced(m->options.routing, backend, before);
        return rc;
    }
    snprintf(text, sizeof(text), "%s/%s: forced %s → %s", migration_group_name(m, backend_group(backend)),
             backend_name(backend), backend_forced_name(before), backend_forced_name(forced));
    return put_in_force(m, backend, "forced", json_string(backend_forced_name(forced)), who, text);
}

static void apply_admin(const struct migration *m, struct backend *backend, const char *value)
{
    for (int admin = BACKEND_READY; admin <= BACKEND_MAINT; admin++) {
        if (strcmp(value, backend_admin_name((enum backend_admin)admin)) == 0) {
            routing_set_admin(m->options.routing, backend, (enum backend_admin)admin);
        }
    }
}

static void apply_forced(const struct migration *m, struct backend *backend, const char *value)
{
    for (int forced = BACKEND_AUTO; forced <= BACKEND_FORCED_DOWN; forced++) {
        if (strcmp(value, backend_forced_name((enum backend_forced)forced)) == 0) {
            routing_set_forced(m->options.routing, backend, (enum backend_forced)forced);
        }
    }
}

/* Who it was is part of the record, and when: a moment before the record was written. */
static void recall_word(struct migration *m, const struct backend *backend, const char *kind,
                        const json_t *record)
{
    const struct migration_asker who = {.actor = json_string_value(json_object_get(record, "actor")),
                                        .reason = json_string_value(json_object_get(record, "reason"))};
    const json_t *said_at = json_object_get(record, "said_at");
    const json_t *at = said_at != NULL ? said_at : json_object_get(record, "t");
    enum migration_word_kind word;

    if (words_kind(kind, &word)) {
        words_keep(m, backend, word, (uint64_t)json_integer_value(at), &who);
    }
}

static void apply(void *context, const json_t *record)
{
    struct migration *m = context;
    const char *kind = json_string_value(json_object_get(record, "kind"));
    const char *group_name = json_string_value(json_object_get(record, "group"));
    const char *name = json_string_value(json_object_get(record, "backend"));
    const json_t *value = json_object_get(record, "value");
    struct backend *backend;
    uint32_t group;

    if (kind == NULL || group_name == NULL || name == NULL) {
        return;
    }
    group = routing_find_group(m->options.routing, group_name);
    backend = group == ROUTING_NONE ? NULL : routing_find_backend(m->options.routing, group, name);
    if (backend == NULL) {
        return;
    }
    recall_word(m, backend, kind, record);
    if (strcmp(kind, "weight") == 0) {
        uint32_t configured = configured_weight(m, backend);
        json_int_t weight = json_integer_value(value);
        bool valid = json_integer_value(json_object_get(record, "configured")) == (json_int_t)configured &&
                     weight >= 0 && weight <= (json_int_t)ROUTING_WEIGHT_MAX;

        routing_set_weight(m->options.routing, backend, valid ? (uint32_t)weight : configured);
    } else if (strcmp(kind, "admin") == 0 && json_is_string(value)) {
        apply_admin(m, backend, json_string_value(value));
    } else if (strcmp(kind, "forced") == 0 && json_is_string(value)) {
        apply_forced(m, backend, json_string_value(value));
    }
}

void overrides_restore(struct migration *m)
{
    journal_each(m->options.journal, m->options.config->name, apply, m);
}

/* Looks for the records of one backend. */
struct adoption {
    struct migration *m;
    const struct backend *backend;
};

static void apply_to_one(void *context, const json_t *record)
{
    const struct adoption *adoption = context;
    const char *group = json_string_value(json_object_get(record, "group"));
    const char *name = json_string_value(json_object_get(record, "backend"));

    if (group != NULL && name != NULL && strcmp(name, backend_name(adoption->backend)) == 0 &&
        strcmp(group, migration_group_name(adoption->m, backend_group(adoption->backend))) == 0) {
        apply(adoption->m, record);
    }
}

void migration_adopt(struct migration *m, struct backend *backend)
{
    struct adoption adoption = {.m = m, .backend = backend};

    journal_each(m->options.journal, m->options.config->name, apply_to_one, &adoption);
}
