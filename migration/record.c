/*
 * A state of the machine as a record of the journal, and back. Groups are written by name, since their order
 * in the configuration may change; what no longer exists is not taken over. Control thread; decides nothing.
 */
#include "migration/migration_internal.h"

#include "core/units.h"

#include <stdio.h>
#include <string.h>

static json_t *group_json(const struct migration *m, uint32_t group)
{
    return group == ROUTING_NONE ? json_null() : json_string(migration_group_name(m, group));
}

/* Texts come from operators and may hold anything; JSON strings must be UTF-8. */
json_t *record_text(const char *text)
{
    json_t *value = json_string(text == NULL ? "" : text);
    char plain[256];
    size_t i;

    if (value != NULL || text == NULL) {
        return value;
    }
    for (i = 0; text[i] != '\0' && i < sizeof(plain) - 1; i++) {
        plain[i] = '?';
        if ((unsigned char)text[i] < 0x80) {
            plain[i] = text[i];
        }
    }
    plain[i] = '\0';
    return json_string(plain);
}

/* What each group has taken and failed so far, for the report: { group: { connections, errors } }. */
static json_t *counts_json(const struct migration *m)
{
    json_t *groups = json_object();

    for (size_t g = 0; g < routing_groups(m->options.routing); g++) {
        if (routing_group_is_gone(m->options.routing, g)) {
            continue;
        }
        json_t *errors = json_object();
        json_int_t connections = 0;
        uint64_t sums[STATS_ERROR_COUNT] = {0};

        for (size_t b = 0; b < routing_backends(m->options.routing, g); b++) {
            struct stats_backend_reading reading;

            backend_read(routing_backend_at(m->options.routing, g, b), &reading);
            connections += (json_int_t)reading.connections;
            for (size_t e = 0; e < STATS_ERROR_COUNT; e++) {
                sums[e] += reading.errors[e];
            }
        }
        for (size_t e = 0; e < STATS_ERROR_COUNT; e++) {
            (void)json_object_set_new(errors, stats_error_name((enum stats_error)e),
                                      json_integer((json_int_t)sums[e]));
        }
        (void)json_object_set_new(groups, routing_group_name(m->options.routing, g),
                                  json_pack("{s:I, s:o}", "connections", connections, "errors", errors));
    }
    return groups;
}

json_t *record_of_state(const struct migration *m, const struct machine *state, const char *kind,
                        const char *event, const struct migration_asker *who,
                        const struct migration_asker *cause, const char *text)
{
    char id[96];
    json_t *record;

    narrate_id(m, state, id, sizeof(id));
    record = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:s, s:o, s:o, s:I, s:I, s:I, s:b, s:b, s:b, s:I, s:I, s:I, s:o, s:o, "
        "s:o, s:o, s:o}",
        "service", m->options.config->name, "kind", kind, "event", event, "id", id, "number",
        (json_int_t)state->number, "phase", migration_phase_name(state->phase), "active",
        group_json(m, state->active), "target", group_json(m, state->target), "share_bp",
        (json_int_t)state->share_bp, "step", (json_int_t)state->step, "steps",
        (json_int_t)plan_steps(m->setup.plan), "by_hand", (int)state->by_hand, "commit_given",
        (int)state->commit_given, "released", (int)state->released, "served_us", (json_int_t)state->served_us,
        "back_bp", (json_int_t)state->back_bp, "plan", (json_int_t)plan_fingerprint(m->setup.plan), "actor",
        record_text(who->actor), "reason", record_text(who->reason), "text", record_text(text), "by",
        record_text(cause->actor), "why", record_text(cause->reason));
    if (record != NULL && m->judging) {
        (void)json_object_set_new(record, "gate", judge_json(m));
    }
    if (record != NULL && strcmp(kind, "progress") != 0) {
        (void)json_object_set_new(record, "counts", counts_json(m));
    }
    return record;
}

struct last {
    const json_t *state;
};

static void keep_last(void *context, const json_t *record)
{
    struct last *last = context;
    const char *kind = json_string_value(json_object_get(record, "kind"));

    if (kind != NULL && (strcmp(kind, "state") == 0 || strcmp(kind, "progress") == 0)) {
        last->state = record;
    }
}

static const char *text_at(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));

    return text == NULL ? "" : text;
}

static uint64_t number_at(const json_t *record, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(record, key));

    return value < 0 ? 0 : (uint64_t)value;
}

static enum migration_phase phase_at(const json_t *record)
{
    const char *name = text_at(record, "phase");

    for (unsigned phase = 0; phase < MIGRATION_PHASE_COUNT; phase++) {
        if (strcmp(name, migration_phase_name((enum migration_phase)phase)) == 0) {
            return (enum migration_phase)phase;
        }
    }
    return MIGRATION_PHASE_COUNT;
}

/* The groups of a record must still exist; without the target a migration cannot go on, without the active
 * group the first of the configuration serves. */
static void check_groups(struct migration *m, struct machine *state, const json_t *record, char *words,
                         size_t words_size)
{
    const char *active = text_at(record, "active");
    const char *target = text_at(record, "target");

    state->active = routing_find_group(m->options.routing, active);
    state->target = *target == '\0' ? ROUTING_NONE : routing_find_group(m->options.routing, target);
    if (state->active == ROUTING_NONE) {
        state->active = 0;
        state->phase = MIGRATION_IDLE;
        state->share_bp = 0;
        snprintf(words, words_size,
                 "group %s, active until now, is gone from the configuration: %s takes all traffic", active,
                 migration_group_name(m, 0));
    } else if (state->target == ROUTING_NONE && machine_is_open(state)) {
        state->phase = MIGRATION_ROLLED_BACK;
        state->share_bp = 0;
        snprintf(words, words_size,
                 "group %s, target of a migration, is gone from the configuration: all traffic to %s", target,
                 active);
    } else if (state->target == ROUTING_NONE && state->phase != MIGRATION_IDLE) {
        state->phase = MIGRATION_IDLE;
        state->share_bp = 0;
    }
    if (state->target == state->active && machine_is_open(state)) {
        state->phase = MIGRATION_ROLLED_BACK;
        state->share_bp = 0;
    }
}

void record_restore(struct migration *m, bool *found, bool *plan_changed, char *words, size_t words_size)
{
    struct last last = {0};
    struct machine *state = &m->machine;
    enum migration_phase phase;

    *found = false;
    *plan_changed = false;
    words[0] = '\0';
    machine_init(state, 0);
    journal_each(m->options.journal, m->options.config->name, keep_last, &last);
    phase = last.state == NULL ? MIGRATION_PHASE_COUNT : phase_at(last.state);
    if (last.state == NULL) {
        return;
    }
    state->number = (uint32_t)number_at(last.state, "number");
    state->phase = phase;
    state->share_bp = (uint32_t)number_at(last.state, "share_bp");
    state->step = (uint32_t)number_at(last.state, "step");
    state->by_hand = json_is_true(json_object_get(last.state, "by_hand"));
    state->commit_given = json_is_true(json_object_get(last.state, "commit_given"));
    state->released = json_is_true(json_object_get(last.state, "released"));
    state->served_us = number_at(last.state, "served_us");
    state->back_bp = (uint32_t)number_at(last.state, "back_bp");
    if (phase == MIGRATION_PHASE_COUNT || state->share_bp > UNITS_BP_FULL || state->back_bp > UNITS_BP_FULL) {
        machine_init(state, 0);
        snprintf(words, words_size,
                 "the last record of the journal cannot be used: begin with the first group");
        return;
    }
    check_groups(m, state, last.state, words, words_size);
    state->released = state->released && machine_is_open(state);
    *found = true;
    *plan_changed = number_at(last.state, "plan") != plan_fingerprint(m->setup.plan);
    /* What the record gives as its reason no longer explains a state that was changed here. */
    snprintf(m->why, sizeof(m->why), "%s", words[0] != '\0' ? words : text_at(last.state, "why"));
    snprintf(m->actor, sizeof(m->actor), "%s", words[0] != '\0' ? "restart" : text_at(last.state, "by"));
}
