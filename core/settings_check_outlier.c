/*
 * The rules between the settings of a group's outlier detection and panic: what each value alone cannot show.
 * Pure; any thread.
 */
#include "core/settings_internal.h"

static void check_outlier(struct settings_reader *reader, const config_setting_t *node,
                          const struct config_group *group)
{
    const config_setting_t *longest = settings_good(node, "max_time");
    bool any = group->outlier.connect_failures > 0 || group->outlier.timeouts > 0 ||
               group->outlier.early_resets > 0 || group->outlier.handshake_failures > 0;
    if (group->outlier.base_us > group->outlier.max_us &&
        (longest != NULL || settings_good(node, "base_time") != NULL)) {
        settings_complain(reader, longest != NULL ? longest : settings_good(node, "base_time"),
                          "\"max_time\" is below \"base_time\"");
    }
    if (!any) {
        settings_complain(reader, node,
                          "looks at nothing: every number of failures is 0; leave the section out to switch "
                          "it off");
    }
}

static void check_panic(struct settings_reader *reader, const config_setting_t *node,
                        const struct config_service *service, const struct config_group *group)
{
    const config_setting_t *action = settings_good(node, "action");
    if (group->health.type == CONFIG_HEALTH_NONE && !group->outlier.present) {
        settings_complain(
            reader, node,
            "nothing tells which backends are usable: the group needs \"health\" or \"outlier\"");
    }
    if (action != NULL && group->panic.action == CONFIG_PANIC_OTHER_GROUP && !service->fallback) {
        settings_complain(reader, action,
                          "\"other-group\" contradicts fallback = false of the service: use \"use-all\" or "
                          "\"refuse\", or leave \"action\" out");
    }
}

void settings_check_outlier(struct settings_reader *reader, const config_setting_t *group_node,
                            const struct config_service *service, const struct config_group *group)
{
    const config_setting_t *outlier = settings_good(group_node, "outlier");
    const config_setting_t *panic = settings_good(group_node, "panic");
    if (outlier != NULL && config_setting_is_group(outlier)) {
        size_t mark = settings_path_push(&reader->path, "outlier");
        check_outlier(reader, outlier, group);
        settings_path_cut(&reader->path, mark);
    }
    if (panic != NULL && config_setting_is_group(panic)) {
        size_t mark = settings_path_push(&reader->path, "panic");
        check_panic(reader, panic, service, group);
        settings_path_cut(&reader->path, mark);
    }
}
