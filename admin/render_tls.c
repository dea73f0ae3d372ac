/*
 * The certificates that a service shows to clients, and the TLS handshakes that came to nothing, in `status`
 * as text and as JSON. Control thread.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"

#include <inttypes.h>

#define SECONDS_A_DAY 86400
#define WARN_DAYS 14 /* less than this is worth a second look */

int64_t render_certificate_left_s(const struct proxy_certificate *certificate)
{
    return certificate->end_s - (int64_t)(clock_wall_us() / CLOCK_US_PER_S);
}

/* Whole days; one that has ended today is one day over. */
static int64_t days_of(int64_t left_s)
{
    return left_s >= 0 ? left_s / SECONDS_A_DAY : -((-left_s + SECONDS_A_DAY - 1) / SECONDS_A_DAY);
}

static size_t count(const struct admin_service *service)
{
    return service->proxy != NULL ? proxy_service_certificates(service->proxy) : 0;
}

void render_certificates(FILE *out, const struct admin_service *service)
{
    for (size_t i = 0; i < count(service); i++) {
        struct proxy_certificate one;
        proxy_service_certificate(service->proxy, i, &one);
        int64_t days = days_of(render_certificate_left_s(&one));
        fprintf(out, "%s%s %s ", i == 0 ? "  certificates " : "   ",
                days < 0           ? SIGN_BAD
                : days < WARN_DAYS ? SIGN_WARN
                                   : SIGN_GOOD,
                one.name[0] != '\0' ? one.name : one.file);
        if (days < 0) {
            fprintf(out, "expired %" PRId64 "d ago", -days);
        } else {
            fprintf(out, "%" PRId64 "d", days);
        }
    }
    fputs(count(service) > 0 ? "\n" : "", out);
}

void render_tls_failures(FILE *out, const struct stats_service_reading *reading)
{
    for (int side = 0; side < STATS_SIDES; side++) {
        bool any = false;
        for (int i = 0; i < STATS_TLS_COUNT; i++) {
            if (reading->tls_failed[side][i] == 0) {
                continue;
            }
            if (!any) {
                fprintf(out, "  TLS failed with %ss: ", stats_side_name((enum stats_side)side));
            }
            fprintf(out, "%s%s %" PRIu64, any ? ", " : "", stats_tls_name((enum stats_tls_failure)i),
                    reading->tls_failed[side][i]);
            any = true;
        }
        fputs(any ? "\n" : "", out);
    }
}

json_t *render_json_tls_failures(const struct stats_service_reading *reading)
{
    json_t *sides = json_object();
    for (int side = 0; side < STATS_SIDES; side++) {
        json_t *failed = json_object();
        for (int i = 0; i < STATS_TLS_COUNT; i++) {
            (void)json_object_set_new(failed, stats_tls_name((enum stats_tls_failure)i),
                                      json_integer((json_int_t)reading->tls_failed[side][i]));
        }
        (void)json_object_set_new(sides, stats_side_name((enum stats_side)side), failed);
    }
    return sides;
}

json_t *render_json_add_certificates(json_t *object, const struct admin_service *service)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count(service); i++) {
        struct proxy_certificate one;
        proxy_service_certificate(service->proxy, i, &one);
        (void)json_array_append_new(list, json_pack("{s:o,s:o,s:I,s:I}", "file", render_json_text(one.file),
                                                    "name", render_json_text(one.name), "expires",
                                                    (json_int_t)one.end_s, "days_left",
                                                    (json_int_t)days_of(render_certificate_left_s(&one))));
    }
    if (object == NULL || json_object_set_new(object, "certificates", list) != 0) {
        if (object == NULL) {
            json_decref(list);
        }
        json_decref(object);
        return NULL;
    }
    return object;
}
