/*
 * `report`: the whole story of a migration from the journal, for people and as JSON. Control thread. What
 * belongs to it is decided in migration/report.c.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"
#include "core/units.h"
#include "migration/gate.h"

#include <inttypes.h>
#include <string.h>

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* "new 120 connections, 3 errors (connect 2, reset 1)" */
static void write_group(FILE *out, const char *name, json_t *figures)
{
    json_t *errors = json_object_get(figures, "errors");
    json_int_t sum = 0;
    const char *reason;
    json_t *n;
    json_object_foreach(errors, reason, n)
    {
        sum += json_integer_value(n);
    }
    fprintf(out, "%s %" JSON_INTEGER_FORMAT " connections, %" JSON_INTEGER_FORMAT " errors", name,
            json_integer_value(json_object_get(figures, "connections")), sum);
    const char *before = " (";
    json_object_foreach(errors, reason, n)
    {
        fprintf(out, "%s%s %" JSON_INTEGER_FORMAT, before, reason, json_integer_value(n));
        before = ", ";
    }
    fputs(sum > 0 ? ")" : "", out);
}

/* "    gate: ✔ error-rate 0.02% ≤ 1% (n=4812)   ✖ p99 80ms > 3 × 592us (n=91)" */
static void write_gate(FILE *out, const json_t *record)
{
    const char *before = "    gate: ";
    json_t *check;
    size_t i;
    json_array_foreach(json_object_get(json_object_get(record, "gate"), "checks"), i, check)
    {
        const char *verdict = text_at(check, "verdict");
        const char *words = text_at(check, "message");
        fprintf(out, "%s%s %s", before,
                strcmp(verdict, gate_verdict_name(GATE_PASS)) == 0   ? "✔"
                : strcmp(verdict, gate_verdict_name(GATE_FAIL)) == 0 ? "✖"
                                                                     : "◌",
                words[0] != '\0' ? words : text_at(check, "name"));
        before = "   ";
    }
    fputs(i > 0 ? "\n" : "", out);
}

static void write_record(FILE *out, json_t *record)
{
    char share[16];
    const char *before = "    until then: ";
    const char *name;
    json_t *figures;
    units_format_share((uint32_t)json_integer_value(json_object_get(record, "share_bp")), share,
                       sizeof(share));
    json_t *since = json_object_get(record, "since_last");
    json_object_foreach(since, name, figures)
    {
        fputs(before, out);
        write_group(out, name, figures);
        before = "; ";
    }
    fputs(json_object_size(since) > 0 ? "\n" : "", out);
    write_gate(out, record);
    fprintf(out, "  %s  %s at %s  %s: %s", text_at(record, "time"), text_at(record, "phase"), share,
            text_at(record, "actor"), text_at(record, "text"));
    if (text_at(record, "reason")[0] != '\0') {
        fprintf(out, " (%s)", text_at(record, "reason"));
    }
    fputc('\n', out);
}

int cmd_report(struct command_call *call, struct err_text *err)
{
    json_t *report = NULL;
    json_t *record;
    size_t i;
    int code = migration_report(call->values.service->migration, call->values.migration, &report, err);
    if (code != ERR_OK) {
        return code;
    }
    if (call->values.json) {
        return render_json_write(call->reply, json_pack("{s:o}", "report", report));
    }
    char took[32];
    double seconds = json_real_value(json_object_get(report, "duration_s"));
    clock_format_duration((uint64_t)(seconds * (double)CLOCK_US_PER_S), took, sizeof(took));
    fprintf(call->reply, "%s  %s → %s  %s  %s%s\n", text_at(report, "migration"), text_at(report, "from"),
            text_at(report, "to"), text_at(report, "phase"), took,
            json_is_true(json_object_get(report, "over")) ? "" : " so far");
    json_array_foreach(json_object_get(report, "records"), i, record)
    {
        write_record(call->reply, record);
    }
    json_decref(report);
    return ERR_OK;
}
