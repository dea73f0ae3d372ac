/*
 * The rules between the settings of a migration: the order of steps, the ends of a ramp, texts that have a
 * form of their own. Walks libconfig's tree beside the structs, because only the tree has lines. Any thread.
 */
#include "core/calendar.h"
#include "core/settings_internal.h"
#include "core/units.h"

#include <string.h>
#include <strings.h>

static bool has_limit(const struct config_gate *gate)
{
    return gate->max_error_rate_bp < UNITS_BP_FULL || gate->max_error_increase_bp < UNITS_BP_FULL ||
           gate->max_latency_us > 0 || gate->max_latency_ratio > 0 || gate->max_connect_ratio > 0;
}

static void check_ratio(struct settings_reader *reader, const config_setting_t *gate, const char *name,
                        uint32_t ratio)
{
    const config_setting_t *node = settings_good(gate, name);
    if (node && ratio > 0 && ratio <= CONFIG_DECIMAL_ONE) {
        settings_complain(reader, node,
                          "%s must be above 1: a group as fast as the old one could not pass; 0 is off",
                          name);
    }
}

static void check_step_gate(struct settings_reader *reader, const config_setting_t *element,
                            const struct config_migration *migration, const struct config_step *step)
{
    const struct config_gate gate = config_gate_of_step(&migration->gate, step);
    if (!step->gate.present) {
        return;
    }
    if (!migration->gate.present) {
        settings_complain(
            reader, element,
            "has limits of its own, but the migration has no gate: add gate = { … } beside steps");
    } else if (!has_limit(&gate)) {
        settings_complain(reader, element, "its gate has no limit to check: set one");
    }
}

static void check_steps(struct settings_reader *reader, const config_setting_t *list,
                        const struct config_migration *migration)
{
    uint32_t before_bp = 0;
    size_t mark = settings_path_push(&reader->path, "steps");
    for (size_t i = 0; i < migration->steps_len; i++) {
        const config_setting_t *element = settings_element(list, i);
        const config_setting_t *share = settings_good(element, "share");
        const config_setting_t *hold = settings_good(element, "hold");
        const struct config_step *step = &migration->steps[i];
        bool last = i + 1 == migration->steps_len;
        char before[32];
        size_t inner = settings_path_push_index(&reader->path, i);
        units_format_share(before_bp, before, sizeof before);
        if (share && step->share_bp <= before_bp) {
            settings_complain(reader, share, "share must rise from step to step: it was %s before", before);
        } else if (share && last && step->share_bp != UNITS_BP_FULL) {
            settings_complain(reader, share, "the last step must have share \"100%%\"");
        }
        if (hold && !last && step->hold_us == 0) {
            settings_complain(reader, hold, "hold must be longer than 0: only the last step may end at once");
        }
        check_step_gate(reader, element, migration, step);
        before_bp = share ? step->share_bp : before_bp;
        settings_path_cut(&reader->path, inner);
    }
    settings_path_cut(&reader->path, mark);
}

static void check_ramp(struct settings_reader *reader, const config_setting_t *node,
                       const struct config_ramp *ramp)
{
    const config_setting_t *from = settings_good(node, "from");
    const config_setting_t *to = settings_good(node, "to");
    const config_setting_t *tick = settings_good(node, "tick");
    size_t mark = settings_path_push(&reader->path, "ramp");
    if (to && ramp->to_bp != UNITS_BP_FULL) {
        settings_complain(reader, to, "to must be \"100%%\": a migration ends with all on the new side");
    } else if (from && ramp->from_bp >= ramp->to_bp) {
        settings_complain(reader, from, "from must be below to");
    }
    if (tick && settings_good(node, "over") && ramp->tick_us > ramp->over_us) {
        settings_complain(reader, tick, "tick must not be longer than over");
    }
    settings_path_cut(&reader->path, mark);
}

static void check_window(struct settings_reader *reader, const config_setting_t *node,
                         const struct config_migration *migration)
{
    const config_setting_t *between = settings_good(node, "between");
    const config_setting_t *weekdays = settings_good(node, "weekdays");
    const config_setting_t *time_zone = settings_good(node, "time_zone");
    struct calendar_window window;
    struct zone *zone = NULL;
    struct err_text err;
    if (between && calendar_parse(migration->between, NULL, &window, &err) != ERR_OK) {
        settings_complain(reader, between, "%s", err.text);
    }
    if (weekdays && calendar_parse(NULL, migration->weekdays, &window, &err) != ERR_OK) {
        settings_complain(reader, weekdays, "%s", err.text);
    }
    if (time_zone && zone_load(migration->time_zone, &zone, &err) != ERR_OK) {
        settings_complain(reader, time_zone, "%s", err.text);
    }
    zone_destroy(zone);
}

static void check_gate(struct settings_reader *reader, const config_setting_t *node,
                       const struct config_gate *gate)
{
    size_t mark = settings_path_push(&reader->path, "gate");
    check_ratio(reader, node, "max_latency_ratio", gate->max_latency_ratio);
    check_ratio(reader, node, "max_connect_ratio", gate->max_connect_ratio);
    if (!has_limit(gate)) {
        settings_complain(reader, node, "has no limit to check: set one, or leave the gate out");
    }
    settings_path_cut(&reader->path, mark);
}

/* What libcurl would only find when it is too late: it is told of a rollback, and cannot say so. */
static bool is_web_address(const char *url)
{
    static const char *const schemes[] = {"http://", "https://"};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t length = strlen(schemes[i]);

        if (strncasecmp(url, schemes[i], length) == 0) {
            return strcspn(url + length, "/?#: ") > 0 && url[strcspn(url, " \t\r\n")] == '\0';
        }
    }
    return false;
}

static void check_webhooks(struct settings_reader *reader, const config_setting_t *list,
                           const struct config_migration *migration)
{
    size_t mark = settings_path_push(&reader->path, "webhooks");
    for (size_t i = 0; i < migration->webhooks_len; i++) {
        const config_setting_t *url = settings_good(settings_element(list, i), "url");
        size_t inner = settings_path_push_index(&reader->path, i);
        if (url && !is_web_address(migration->webhooks[i].url)) {
            settings_complain(
                reader, url, "url \"%.200s\" is no address of a web server: as \"https://chat.example/hook\"",
                migration->webhooks[i].url);
        }
        settings_path_cut(&reader->path, inner);
    }
    settings_path_cut(&reader->path, mark);
}

void settings_check_migration(struct settings_reader *reader, const config_setting_t *node,
                              const struct config_migration *migration)
{
    const config_setting_t *steps = settings_good(node, "steps");
    const config_setting_t *webhooks = settings_good(node, "webhooks");
    if (steps && (size_t)config_setting_length(steps) == migration->steps_len) {
        check_steps(reader, steps, migration);
    }
    if (migration->ramp.present) {
        check_ramp(reader, config_setting_get_member(node, "ramp"), &migration->ramp);
    }
    check_window(reader, node, migration);
    if (webhooks && (size_t)config_setting_length(webhooks) == migration->webhooks_len) {
        check_webhooks(reader, webhooks, migration);
    }
    if (migration->gate.present && config_setting_is_group(config_setting_get_member(node, "gate"))) {
        check_gate(reader, config_setting_get_member(node, "gate"), &migration->gate);
    }
}
