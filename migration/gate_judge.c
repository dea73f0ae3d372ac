/*
 * Verdicts and words: reads what evidence and window hold, decides each check, and says it for people. Pure;
 * changes nothing but the result. Collecting evidence is the business of migration/gate.c.
 */
#include "core/clock.h"
#include "core/units.h"
#include "migration/gate_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const check_names[GATE_CHECK_COUNT] = {
#define GATE_CHECK_TEXT(name, text) [GATE_##name] = (text),
    GATE_CHECKS(GATE_CHECK_TEXT)
#undef GATE_CHECK_TEXT
};

const char *gate_check_name(enum gate_check_kind kind)
{
    return (unsigned)kind < GATE_CHECK_COUNT ? check_names[kind] : "unknown";
}

const char *gate_verdict_name(enum gate_verdict verdict)
{
    switch (verdict) {
    case GATE_PASS:
        return "pass";
    case GATE_FAIL:
        return "fail";
    case GATE_MORE:
        break;
    }
    return "more";
}

/* What a check sees in a while. */
struct view {
    double old, new_value; /* parts of errors, or microseconds at the quantile */
    double observed;       /* what is compared with the limit */
    uint64_t old_samples, samples;
};

static double part(uint64_t hits, uint64_t n)
{
    return n == 0 ? 0 : (double)hits / (double)n;
}

static struct view look_at(const struct gate *gate, const struct gate_check *check,
                           const struct gate_slice *slice)
{
    const struct histogram_reading *old = gate_latencies(check->kind, &slice->old);
    const struct histogram_reading *new_reading = gate_latencies(check->kind, &slice->new_counts);
    struct view view;

    if (old == NULL) {
        view.old = part(slice->old.errors, slice->old.attempts);
        view.new_value = part(slice->new_counts.errors, slice->new_counts.attempts);
        view.old_samples = slice->old.attempts;
        view.samples = slice->new_counts.attempts;
    } else {
        view.old = (double)histogram_quantile(old, gate->rules.quantile);
        view.new_value = (double)histogram_quantile(new_reading, gate->rules.quantile);
        view.old_samples = old->count;
        view.samples = new_reading->count;
    }
    view.observed = view.new_value;
    if (gate_compares(check->kind) && (view.samples == 0 || view.old_samples == 0)) {
        view.observed = 0;
    } else if (check->kind == GATE_ERROR_INCREASE) {
        view.observed = view.new_value - view.old;
    } else if (gate_compares(check->kind)) {
        view.observed = view.old > 0 ? view.new_value / view.old : 1;
    }
    return view;
}

/* The longest part of the window in which the limit was exceeded, so that the figures of a failure show it
 * though most of the window may have been good. */
static bool find_excess(const struct gate *gate, const struct gate_check *check, struct view *view)
{
    struct gate_slice slice;

    if (view->observed > check->limit) {
        return true;
    }
    for (unsigned slices = GATE_SLICES / 2; slices > 0; slices /= 2) {
        struct view shorter;

        gate_window_last(&gate->window, slices, &slice);
        shorter = look_at(gate, check, &slice);
        if (shorter.observed > check->limit) {
            *view = shorter;
            return true;
        }
    }
    return false;
}

/* The part of hits that one side sees in the window, and what it measures that against. */
static double seen_by(const struct gate *gate, size_t i, enum gate_side side, const struct view *view,
                      double *limit)
{
    const struct gate_check *check = &gate->result.checks[i];
    const struct gate_count *count = &gate->tests[i].count[side];
    const struct histogram_reading *latencies = gate_latencies(check->kind, &gate->window.sum.new_counts);
    bool compares = gate_compares(check->kind);

    if (latencies == NULL) {
        *limit = check->limit + (compares ? view->old : 0);
        return view->new_value;
    }
    *limit = compares ? count->guess : 1 - gate->rules.quantile;
    return part(gate_samples_from(latencies, count->new_bucket), latencies->count);
}

/* About how many more samples of new it takes until one side has its evidence; 0: cannot be said. */
static uint64_t estimate_needs(const struct gate *gate, size_t i, const struct view *view)
{
    const struct gate_tests *tests = &gate->tests[i];
    double missing = (double)gate->rules.min_samples - tests->step_samples;
    enum gate_side side = GATE_AGAINST_BAD;
    double limit;
    double seen = seen_by(gate, i, side, view, &limit);
    double evidence = gate->log_pass;
    double rate;

    if (seen > limit) {
        side = GATE_AGAINST_GOOD;
        seen = seen_by(gate, i, side, view, &limit);
        evidence = gate->log_fail;
    }
    evidence -= fmax(gate_evidence_log(&tests->side[side]), -10);
    rate = gate_evidence_rate(seen, fmax(limit, 1e-6)) / fmax(tests->effect, 1);
    /* Both groups are uncertain: the smaller their difference in size, the less one trial of new tells. */
    if (gate_compares(gate->result.checks[i].kind)) {
        rate *= 1 - fmin((double)gate->share_bp / UNITS_BP_FULL, 0.95);
    }
    if (evidence > 0 && rate < 1e-7) {
        return 0;
    }
    if (evidence > 0) {
        missing = fmax(missing, evidence / rate);
    }
    return missing < 1 ? 1 : (uint64_t)fmin(ceil(missing), 1e12);
}

/* ---- words */

static void write_part(double value, char *out, size_t out_size)
{
    snprintf(out, out_size, "%.2f%%", 100 * value);
}

static void write_quantile(const struct gate *gate, char *out, size_t out_size)
{
    snprintf(out, out_size, "p%.4g", 100 * gate->rules.quantile);
}

static void write_figures(const struct gate *gate, struct gate_check *check, const struct view *view)
{
    const char *sign = check->verdict == GATE_FAIL ? ">" : "≤";
    char new_text[32];
    char old_text[32];
    char name[24];

    if (check->kind == GATE_ERROR_RATE || check->kind == GATE_ERROR_INCREASE) {
        char limit[16];

        write_part(view->observed, new_text, sizeof(new_text));
        units_format_share((uint32_t)llround(check->limit * UNITS_BP_FULL), limit, sizeof(limit));
        snprintf(check->message, sizeof(check->message), "%s %s %s %s (n=%" PRIu64 ")",
                 gate_check_name(check->kind), new_text, sign, limit, view->samples);
        return;
    }
    write_quantile(gate, name, sizeof(name));
    clock_format_duration((uint64_t)view->new_value, new_text, sizeof(new_text));
    clock_format_duration(check->kind == GATE_LATENCY ? gate->rules.max_latency_us : (uint64_t)view->old,
                          old_text, sizeof(old_text));
    if (check->kind == GATE_LATENCY) {
        snprintf(check->message, sizeof(check->message), "%s %s %s %s (n=%" PRIu64 ")", name, new_text, sign,
                 old_text, view->samples);
    } else {
        snprintf(check->message, sizeof(check->message), "%s%s %s %s %.4g × %s (n=%" PRIu64 ")",
                 check->kind == GATE_CONNECT_RATIO ? "connect " : "", name, new_text, sign, check->limit,
                 old_text, view->samples);
    }
}

static void write_message(const struct gate *gate, struct gate_check *check, const struct view *view)
{
    bool latency = gate_latencies(check->kind, &gate->window.sum.old) != NULL;
    const char *unit = latency && check->kind != GATE_CONNECT_RATIO ? "responses" : "connections";
    const char *name = gate_check_name(check->kind);

    if (check->verdict != GATE_MORE) {
        write_figures(gate, check, view);
    } else if (check->idle) {
        snprintf(check->message, sizeof(check->message), "%s not judged: old gets no traffic to compare with",
                 name);
    } else if (gate_compares(check->kind) && view->old_samples == 0) {
        snprintf(check->message, sizeof(check->message), "%s waits for %s of old", name, unit);
    } else if (check->needs > 0) {
        snprintf(check->message, sizeof(check->message), "%s needs ~%" PRIu64 " more %s", name, check->needs,
                 unit);
    } else {
        snprintf(check->message, sizeof(check->message), "%s undecided near its limit (n=%" PRIu64 ")", name,
                 view->samples);
    }
}

/* ---- verdicts */

static void judge_check(struct gate *gate, size_t i)
{
    struct gate_check *check = &gate->result.checks[i];
    const struct gate_tests *tests = &gate->tests[i];
    struct view view = look_at(gate, check, &gate->window.sum);
    struct view excess = view;
    bool enough = tests->step_samples >= (double)gate->rules.min_samples;

    check->verdict = GATE_MORE;
    check->needs = 0;
    check->idle = gate_compares(check->kind) && gate->share_bp == UNITS_BP_FULL && view.old_samples == 0;
    if (gate_evidence_log(&tests->side[GATE_AGAINST_GOOD]) >= gate->log_fail &&
        find_excess(gate, check, &excess)) {
        check->verdict = GATE_FAIL;
        view = excess;
    } else if (enough && gate_evidence_log(&tests->side[GATE_AGAINST_BAD]) >= gate->log_pass &&
               !check->idle && view.observed <= check->limit) {
        check->verdict = GATE_PASS;
    } else if (!check->idle) {
        check->needs = estimate_needs(gate, i, &view);
    }
    check->observed = view.observed;
    check->samples = view.samples;
    write_message(gate, check, &view);
}

/* Whether a decides more than b (which may be NULL). */
static bool is_worse(const struct gate_check *a, const struct gate_check *b)
{
    if (a->idle || b == NULL || a->verdict == GATE_PASS) {
        return b == NULL && !a->idle && a->verdict != GATE_PASS;
    }
    if (a->verdict != b->verdict) {
        return a->verdict == GATE_FAIL;
    }
    return b->needs != 0 && (a->needs == 0 || a->needs > b->needs);
}

/* With nothing to compare and no fixed limit, the samples of new are all that can be asked for. */
static bool all_have_enough(const struct gate *gate)
{
    for (size_t i = 0; i < gate->result.checks_len; i++) {
        if (gate->tests[i].step_samples < (double)gate->rules.min_samples) {
            return false;
        }
    }
    return true;
}

void gate_judge(struct gate *gate)
{
    struct gate_result *result = &gate->result;
    size_t judged = 0;
    size_t passed = 0;

    result->worst = NULL;
    for (size_t i = 0; i < result->checks_len; i++) {
        judge_check(gate, i);
        judged += !result->checks[i].idle;
        passed += result->checks[i].verdict == GATE_PASS;
        if (is_worse(&result->checks[i], result->worst)) {
            result->worst = &result->checks[i];
        }
    }
    if (result->worst != NULL && result->worst->verdict == GATE_FAIL) {
        result->verdict = GATE_FAIL;
    } else {
        result->verdict = passed == judged && (judged > 0 || all_have_enough(gate)) ? GATE_PASS : GATE_MORE;
    }
    result->act = result->verdict == GATE_FAIL && result->act;
    memcpy(result->errors, gate->window.sum.new_counts.kinds, sizeof(result->errors));
}
