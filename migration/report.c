/*
 * The story of a migration, read from the journal: every change with who asked, why and when, the share, and
 * what each group took and failed since the change before. Control thread; decides and writes nothing. How it
 * looks to people is admin/cmd_report.c.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"

#include <stdio.h>
#include <string.h>

/* What is looked for while the journal is gone through. */
struct search {
    const char *id; /* NULL: the last one */
    json_t *records;
    char found[96]; /* the id of records */
};

static const char *text_at(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));

    return text == NULL ? "" : text;
}

static bool is_story(const json_t *record)
{
    const char *kind = text_at(record, "kind");

    return strcmp(kind, "state") == 0 || strcmp(kind, "note") == 0;
}

static void take(void *context, const json_t *record)
{
    struct search *search = context;
    const char *id = text_at(record, "id");

    if (!is_story(record) || *id == '\0' || (search->id != NULL && strcmp(id, search->id) != 0)) {
        return;
    }
    if (strcmp(id, search->found) != 0) { /* a later one */
        (void)json_array_clear(search->records);
        snprintf(search->found, sizeof(search->found), "%s", id);
    }
    (void)json_array_append(search->records, (json_t *)(uintptr_t)record);
}

/* ---- figures since the record before ---------------------------------------------------------------------
 */

static json_int_t since(const json_t *now, const json_t *before, const char *key)
{
    json_int_t a = json_integer_value(json_object_get(now, key));
    json_int_t b = json_integer_value(json_object_get(before, key));

    return a >= b ? a - b : a; /* counters begin anew at a restart */
}

/* { group: { connections, errors: { reason: n } } } of a record, less those of the one before. */
static json_t *figures_since(const json_t *now, const json_t *before)
{
    json_t *groups = json_object();
    const char *name;
    json_t *group;

    json_object_foreach((json_t *)(uintptr_t)now, name, group)
    {
        const json_t *old = json_object_get(before, name);
        const json_t *old_errors = json_object_get(old, "errors");
        json_t *errors = json_object();
        const char *reason;
        json_t *n;

        json_object_foreach(json_object_get(group, "errors"), reason, n)
        {
            json_int_t more = since(json_object_get(group, "errors"), old_errors, reason);

            if (more > 0) {
                (void)json_object_set_new(errors, reason, json_integer(more));
            }
        }
        (void)json_object_set_new(
            groups, name,
            json_pack("{s:I, s:o}", "connections", since(group, old, "connections"), "errors", errors));
    }
    return groups;
}

static json_t *entry_of(const json_t *record, const json_t *before)
{
    char when[32];
    json_t *entry;

    clock_format_wall((uint64_t)json_integer_value(json_object_get(record, "t")), when, sizeof(when));
    entry = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s}", "time", when, "event",
                      text_at(record, "event"), "phase", text_at(record, "phase"), "share_bp",
                      json_integer_value(json_object_get(record, "share_bp")), "step",
                      json_integer_value(json_object_get(record, "step")), "actor", text_at(record, "actor"),
                      "reason", text_at(record, "reason"), "text", text_at(record, "text"));
    if (entry != NULL && before != NULL && json_object_get(record, "counts") != NULL) {
        (void)json_object_set_new(
            entry, "since_last",
            figures_since(json_object_get(record, "counts"), json_object_get(before, "counts")));
    }
    if (entry != NULL && json_object_get(record, "gate") != NULL) {
        (void)json_object_set(entry, "gate", json_object_get(record, "gate"));
    }
    return entry;
}

static bool is_over(const json_t *record)
{
    const char *phase = text_at(record, "phase");
    return strcmp(phase, migration_phase_name(MIGRATION_COMPLETED)) == 0 ||
           strcmp(phase, migration_phase_name(MIGRATION_ROLLED_BACK)) == 0;
}

/* Of one under way: so far. */
static double seconds_of(const struct migration *m, const json_t *first, const json_t *last)
{
    uint64_t begin_us = (uint64_t)json_integer_value(json_object_get(first, "t"));
    uint64_t end_us = is_over(last) ? (uint64_t)json_integer_value(json_object_get(last, "t"))
                                    : m->wall_us(m->clock_context);
    return (double)(end_us > begin_us ? end_us - begin_us : 0) / (double)CLOCK_US_PER_S;
}

int migration_report(const struct migration *m, const char *id, json_t **out, struct err_text *err)
{
    struct search search = {.id = id, .records = json_array()};
    const char *service = m->options.config->name;
    json_t *entries = json_array();
    const json_t *last = NULL;
    size_t n;

    journal_each(m->options.journal, service, take, &search);
    n = json_array_size(search.records);
    for (size_t i = 0; i < n; i++) {
        const json_t *record = json_array_get(search.records, i);

        (void)json_array_append_new(entries, entry_of(record, last));
        last = record;
    }
    if (n == 0) {
        json_decref(search.records);
        json_decref(entries);
        return id == NULL ? err_set(err, ERR_NOT_FOUND, "%s has had no migration: `start %s` begins one",
                                    service, service)
                          : err_set(err, ERR_NOT_FOUND,
                                    "the journal has no migration \"%.90s\" of %s: it keeps the last %u", id,
                                    service, JOURNAL_KEEP_MIGRATIONS);
    }
    const json_t *first = json_array_get(search.records, 0);
    *out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:f, s:o}", "service", service, "migration",
                     search.found, "from", text_at(first, "active"), "to", text_at(first, "target"), "phase",
                     text_at(last, "phase"), "over", is_over(last), "duration_s", seconds_of(m, first, last),
                     "records", entries);
    json_decref(search.records);
    return *out == NULL ? err_set(err, ERR_NOMEM, "no memory for a report") : 0;
}

/* ---- events of before a restart --------------------------------------------------------------------------
 */

static void recall(void *context, const json_t *record)
{
    const char *phase = text_at(record, "phase");
    const char *kind = text_at(record, "kind");
    bool bad =
        strcmp(kind, "note") == 0 || strcmp(phase, "rolling-back") == 0 || strcmp(phase, "rolled-back") == 0;

    if (strcmp(kind, "progress") == 0 || text_at(record, "text")[0] == '\0') {
        return;
    }
    events_recall(context, (uint64_t)json_integer_value(json_object_get(record, "t")),
                  bad ? EVENTS_WARN : EVENTS_INFO, text_at(record, "service"),
                  is_story(record) ? "phase" : kind, text_at(record, "actor"), text_at(record, "reason"),
                  text_at(record, "text"));
}

void migration_recall(const struct journal *journal, struct events_ring *events)
{
    journal_each(journal, NULL, recall, events);
}
