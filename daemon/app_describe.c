/*
 * The program in one line, for the service manager's status: open connections, and each service whose traffic
 * is on the move or was taken back. Control thread.
 */
#include "daemon/app_internal.h"

#include "core/units.h"

#include <stdio.h>

static int describe_service(const struct app_service *service, char *out, size_t size)
{
    struct migration_status status;
    char share[16];
    migration_read(service->migration, &status);
    if (status.phase == MIGRATION_IDLE || status.phase == MIGRATION_COMPLETED) {
        return snprintf(out, size, "; %s on %s", service->config->name,
                        routing_group_name(service->routing, status.active));
    }
    units_format_share(status.share_bp, share, sizeof(share));
    return snprintf(out, size, "; %s %s %s%s%s", service->config->name, migration_phase_name(status.phase),
                    share, status.reason[0] != '\0' ? ": " : "", status.reason);
}

void app_describe(void *context, char *out, size_t size)
{
    const struct app *app = context;
    int n = snprintf(out, size, "%llu open", (unsigned long long)app_open(app));
    size_t len = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < app->services_len && len < size; i++) {
        n = app->services[i].migration != NULL ? describe_service(&app->services[i], out + len, size - len)
                                               : 0;
        len += n > 0 ? (size_t)n : 0;
    }
    for (char *c = out; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20) {
            *c = ' '; /* a line is one line */
        }
    }
}
