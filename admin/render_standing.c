/*
 * Where backends and groups stand, beyond up and down: ejected and how they come back, forced by an operator,
 * panic, backups that serve; as text and as JSON. Control thread.
 */
#include "admin/render_standing.h"

#include "admin/admin_internal.h"
#include "core/clock.h"
#include "core/units.h"
#include "health/outlier.h"

#include <inttypes.h>

static const char *const actions[] = {[CONFIG_PANIC_OTHER_GROUP] = "other-group",
                                      [CONFIG_PANIC_USE_ALL] = "use-all",
                                      [CONFIG_PANIC_REFUSE] = "refuse"};

static uint64_t left_of(const struct backend_ejection *ejection)
{
    uint64_t now_us = clock_mono_us();
    return ejection->until_us > now_us ? ejection->until_us - now_us : 0;
}

/* " (operator:alice, 5m ago: disk)" */
static void write_word(FILE *out, const struct migration *migration, const struct backend *backend,
                       enum migration_word_kind kind)
{
    struct migration_word word;
    char ago[32];
    if (migration == NULL || !migration_word(migration, backend, kind, &word)) {
        return;
    }
    uint64_t now_us = clock_wall_us();
    clock_format_duration(now_us > word.wall_us ? now_us - word.wall_us : 0, ago, sizeof(ago));
    fprintf(out, " (%s, %s ago%s", word.actor, ago, word.reason[0] != '\0' ? ": " : "");
    for (const char *c = word.reason; *c != '\0'; c++) {
        fputc((unsigned char)*c < 0x20 || *c == 0x7f ? ' ' : *c, out);
    }
    fputc(')', out);
}

void render_standing(FILE *out, const struct migration *migration, const struct backend *backend)
{
    const struct backend_ejection *ejection = backend_ejection(backend);
    char why[96];
    char left[32];
    if (backend_forced(backend) != BACKEND_AUTO) {
        fprintf(out, " forced, checks say %s", backend_state_name(backend_state(backend)));
        write_word(out, migration, backend, MIGRATION_WORD_FORCED);
    }
    if (backend_admin(backend) != BACKEND_READY) {
        fprintf(out, " %s", backend_admin_name(backend_admin(backend)));
        write_word(out, migration, backend, MIGRATION_WORD_ADMIN);
    }
    if (ejection->out) {
        outlier_describe(ejection, why, sizeof(why));
        clock_format_duration(left_of(ejection), left, sizeof(left));
        fprintf(out, " ejected: %s, %s%s", why, ejection->proving ? "checks must pass" : "for another ",
                ejection->proving ? "" : left);
    } else if (ejection->trial) {
        fputs(" on trial", out);
    }
}

void render_group_standing(FILE *out, const struct routing *routing, size_t group)
{
    const struct routing_panic panic = routing_panic(routing, group);
    char limit[16];
    if (routing_in_panic(routing, group, NULL, NULL)) {
        units_format_share(panic.threshold_bp, limit, sizeof(limit));
        fprintf(out, "   ✖ panic (below %s: %s)", limit, actions[panic.action]);
    }
    if (routing_on_backups(routing, group)) {
        fputs("   ⚠ on backups", out);
    }
}

static json_t *json_of_ejection(const struct backend_ejection *ejection)
{
    char why[96];
    if (!ejection->out) {
        return json_null();
    }
    outlier_describe(ejection, why, sizeof(why));
    uint64_t now_us = clock_mono_us();
    return json_pack("{s:s,s:s,s:I,s:I,s:f,s:f,s:b}", "reason", why, "kind", stats_error_name(ejection->kind),
                     "failures", (json_int_t)ejection->failures, "times", (json_int_t)ejection->times,
                     "since_s", (double)(now_us - ejection->ejected_us) / (double)CLOCK_US_PER_S, "left_s",
                     (double)left_of(ejection) / (double)CLOCK_US_PER_S, "proving", (int)ejection->proving);
}

/* The later word on its state: who is to be asked about it. */
static bool last_word(const struct migration *migration, const struct backend *backend,
                      struct migration_word *out)
{
    struct migration_word forced;
    bool any = migration_word(migration, backend, MIGRATION_WORD_ADMIN, out);
    if (migration_word(migration, backend, MIGRATION_WORD_FORCED, &forced) &&
        (!any || forced.wall_us > out->wall_us)) {
        *out = forced;
        any = true;
    }
    return any;
}

static json_t *json_of_word(const struct migration *migration, const struct backend *backend)
{
    struct migration_word word;
    char when[32];
    if (!last_word(migration, backend, &word)) {
        return json_pack("{s:n,s:n,s:n}", "set_by", "set_at", "reason");
    }
    clock_format_wall(word.wall_us, when, sizeof(when));
    return json_pack("{s:o,s:s,s:o}", "set_by", render_json_text(word.actor), "set_at", when, "reason",
                     render_json_text(word.reason));
}

json_t *render_json_standing(const struct migration *migration, const struct backend *backend)
{
    const struct backend_ejection *ejection = backend_ejection(backend);
    json_t *word = json_of_word(migration, backend);
    json_t *object = json_pack(
        "{s:s,s:s,s:b,s:o,s:b,s:I}", "forced", backend_forced_name(backend_forced(backend)), "health",
        backend_state_name(backend_state(backend)), "usable", (int)backend_is_usable(backend), "ejected",
        json_of_ejection(ejection), "trial", (int)ejection->trial, "ejections", (json_int_t)ejection->total);
    if (object != NULL && word != NULL) {
        (void)json_object_update(object, word);
    }
    json_decref(word);
    return object;
}

json_t *render_json_group_standing(const struct routing *routing, size_t group)
{
    const struct routing_panic panic = routing_panic(routing, group);
    size_t usable = 0;
    size_t eligible = 0;
    bool panics = routing_in_panic(routing, group, &usable, &eligible);
    json_t *what = panics ? json_pack("{s:s,s:I,s:I,s:I}", "action", actions[panic.action], "threshold_bp",
                                      (json_int_t)panic.threshold_bp, "usable", (json_int_t)usable,
                                      "eligible", (json_int_t)eligible)
                          : json_null();
    return json_pack("{s:o,s:b}", "panic", what, "on_backups", (int)routing_on_backups(routing, group));
}
