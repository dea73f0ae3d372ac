/*
 * The host names of a service's backends in `status`, as text and as JSON. Control thread.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"

#include <inttypes.h>

static size_t count_serving(const struct name_set *set)
{
    return name_set_count(set, NAME_PRESENT) + name_set_count(set, NAME_HELD);
}

static void write_age(FILE *out, const char *before, uint64_t since_us, const char *behind)
{
    char text[32];
    uint64_t now_us = clock_mono_us();
    clock_format_duration(now_us > since_us ? now_us - since_us : 0, text, sizeof(text));
    fprintf(out, "%s%s%s", before, text, behind);
}

void render_names(FILE *out, const struct admin_service *service)
{
    for (size_t i = 0; service->names != NULL && i < names_count(service->names); i++) {
        const struct name_set *set = &names_at(service->names, i)->set;
        size_t serving = count_serving(set);
        size_t leaving = name_set_count(set, NAME_LEAVING);
        fprintf(out, "  name %s %s/%s   %zu address%s",
                set->outcome == NAME_GOOD ? "✔"
                : serving > 0             ? "⚠"
                                          : "✖",
                names_group(service->names, i), names_backend(service->names, i), serving,
                serving == 1 ? "" : "es");
        if (leaving > 0) {
            fprintf(out, ", %zu draining", leaving);
        }
        if (set->left_out > 0) {
            fprintf(out, ", %zu left out", set->left_out);
        }
        if (set->outcome == NAME_UNKNOWN) {
            fputs("   not asked yet\n", out);
            continue;
        }
        if (set->outcome != NAME_GOOD) {
            fprintf(out, "%s: %s", serving > 0 ? " kept" : "", set->reason);
        }
        if (set->failures > 0) {
            fprintf(out, " (%" PRIu64 " in a row)", set->failures);
        }
        write_age(out, "   asked ", set->asked_us, " ago");
        if (set->outcome != NAME_GOOD && set->good_us > 0) {
            write_age(out, ", good ", set->good_us, " ago");
        }
        fputc('\n', out);
    }
}

/* Takes value over. */
static json_t *add(json_t *object, const char *key, json_t *value)
{
    if (object == NULL) {
        json_decref(value);
        return NULL;
    }
    if (json_object_set_new(object, key, value) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *json_of_age(uint64_t since_us)
{
    uint64_t now_us = clock_mono_us();
    return since_us == 0
               ? json_null()
               : json_real((double)(now_us > since_us ? now_us - since_us : 0) / (double)CLOCK_US_PER_S);
}

json_t *render_json_add_names(json_t *object, const struct admin_service *service)
{
    json_t *list = json_array();
    uint64_t now_us = clock_mono_us();
    for (size_t i = 0; service->names != NULL && i < names_count(service->names); i++) {
        const struct names_host *host = names_at(service->names, i);
        const struct name_set *set = &host->set;
        (void)json_array_append_new(
            list,
            json_pack("{s:s,s:o,s:o,s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:f}", "host", host->host,
                      "group", render_json_text(names_group(service->names, i)), "backend",
                      render_json_text(names_backend(service->names, i)), "outcome",
                      name_outcome_name(set->outcome), "reason", render_json_text(set->reason), "addresses",
                      (json_int_t)count_serving(set), "held", (json_int_t)name_set_count(set, NAME_HELD),
                      "leaving", (json_int_t)name_set_count(set, NAME_LEAVING), "left_out",
                      (json_int_t)set->left_out, "failures_in_a_row", (json_int_t)set->failures, "failures",
                      (json_int_t)names_failures(service->names, i), "age_s", json_of_age(set->asked_us),
                      "good_age_s", json_of_age(set->good_us), "next_s",
                      set->due_us > now_us ? (double)(set->due_us - now_us) / (double)CLOCK_US_PER_S : 0.0));
    }
    return add(object, "names", list);
}

json_t *render_json_add_host(json_t *object, const struct admin_service *service,
                             const struct backend *backend)
{
    const struct names_host *host = service->names != NULL ? names_of(service->names, backend) : NULL;
    object = add(object, "host", host != NULL ? json_string(host->host) : json_null());
    object = add(object, "open_elsewhere", json_integer((json_int_t)backend_open_elsewhere(backend)));
    return add(object, "leaving", json_boolean(backend_is_leaving(backend)));
}
