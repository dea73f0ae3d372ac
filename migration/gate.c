/*
 * The gate's life and its looks: differences of counters become trials, trials become evidence, and the
 * window slides. Verdicts and words are in migration/gate_judge.c, the mathematics in
 * migration/gate_evidence.c. Pure; runs on the thread of its owner.
 *
 * How alpha is spent. Each check has alpha / checks. Within that, evidence is staked again and again, so that
 * a group that was good for an hour and then breaks is found without first making up for that hour. What is
 * staked adds up to at most 1: the i-th epoch (a rise of the share by half or more) has 1/(i(i+1)); half of
 * it goes in at once, the j-th point after that adds half of it times 1/(j(j+1)).
 */
#include "migration/gate_internal.h"

#include "core/clock.h"
#include "core/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Evidence is staked anew each time that so many slices were closed: a quarter of the window. */
#define POINT_SLICES (GATE_SLICES / 4u)
/* A block of latencies multiplies the wealth by e^2 at most: one stall, which delays many responses at once,
 * does not decide alone. */
#define LATENCY_BLOCK_MOST 2.0
/* How much the latencies of one look are taken to go together, until old has shown how much they do. */
#define LATENCY_CLUMPING 0.02
/* Evidence for passing is not hoarded: a group that turns bad soon stops to pass. */
#define PASS_HOARD 2.0
/* What a step stakes at once on passing; the rest as time goes on. */
#define PASS_FIRST 0.8
/* The guess of old's part of hits begins as this many samples of a typical service. */
#define GUESS_WEIGHT 100.0
#define GUESS_ERRORS 0.001

static const uint64_t interval_max_us = CLOCK_US_PER_S;
static const uint64_t interval_min_us = 100 * CLOCK_US_PER_MS;

bool gate_compares(enum gate_check_kind kind)
{
    return kind == GATE_ERROR_INCREASE || kind == GATE_LATENCY_RATIO || kind == GATE_CONNECT_RATIO;
}

const struct histogram_reading *gate_latencies(enum gate_check_kind kind, const struct gate_counts *counts)
{
    switch (kind) {
    case GATE_LATENCY:
    case GATE_LATENCY_RATIO:
        return &counts->response_us;
    case GATE_CONNECT_RATIO:
        return &counts->connect_us;
    case GATE_ERROR_RATE:
    case GATE_ERROR_INCREASE:
    case GATE_CHECK_COUNT:
        break;
    }
    return NULL;
}

static void switch_on(struct gate *gate, enum gate_check_kind kind, bool on, double limit)
{
    if (on) {
        gate->result.checks[gate->result.checks_len++] = (struct gate_check){.kind = kind, .limit = limit};
    }
}

static bool rules_are_sane(const struct gate_rules *rules)
{
    return rules->window_us > 0 && rules->quantile > 0 && rules->quantile < 1 && rules->alpha > 0 &&
           rules->alpha < 1 && rules->confidence > 0 && rules->confidence < 1 && rules->failures > 0 &&
           rules->max_error_rate >= 0 && rules->max_error_increase >= 0 && rules->max_latency_ratio >= 0 &&
           rules->max_connect_ratio >= 0;
}

int gate_create(const struct gate_rules *rules, struct gate **out, struct err_text *err)
{
    struct gate *gate;

    if (!rules_are_sane(rules)) {
        return err_set(err, ERR_INVALID, "a setting of the gate is out of its range");
    }
    gate = calloc(1, sizeof(*gate));
    if (gate == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a gate");
    }
    gate->rules = *rules;
    switch_on(gate, GATE_ERROR_RATE, rules->max_error_rate < 1, rules->max_error_rate);
    switch_on(gate, GATE_LATENCY, rules->max_latency_us > 0, (double)rules->max_latency_us);
    switch_on(gate, GATE_ERROR_INCREASE, rules->max_error_increase < 1, rules->max_error_increase);
    switch_on(gate, GATE_LATENCY_RATIO, rules->max_latency_ratio > 0, rules->max_latency_ratio);
    switch_on(gate, GATE_CONNECT_RATIO, rules->max_connect_ratio > 0, rules->max_connect_ratio);
    if (gate->result.checks_len == 0) {
        free(gate);
        return err_set(err, ERR_INVALID, "the gate has no limit to check");
    }
    gate->log_fail = log((double)gate->result.checks_len / rules->alpha);
    gate->log_pass = -log(1 - rules->confidence);
    gate_begin(gate, 0);
    *out = gate;
    return 0;
}

void gate_destroy(struct gate *gate)
{
    free(gate);
}

void gate_begin(struct gate *gate, uint64_t now_us)
{
    gate->look_us = 0;
    gate->based = false;
    gate->step_us = now_us;
    gate->share_bp = 0;
    gate->epoch = 0;
    gate->epoch_bp = 0;
    gate->points = 0;
    gate->slices = 0;
    gate_window_clear(&gate->window, gate->rules.window_us, gate->rules.min_samples, now_us);
    for (size_t i = 0; i < GATE_CHECK_COUNT; i++) {
        gate->tests[i] = (struct gate_tests){.step_samples = 0};
        gate_evidence_clear(&gate->tests[i].side[GATE_AGAINST_GOOD], GATE_AGAINST_GOOD);
        gate_evidence_clear(&gate->tests[i].side[GATE_AGAINST_BAD], GATE_AGAINST_BAD);
    }
    gate->result.looks = 0;
    gate->result.failed = 0;
    gate_judge(gate);
}

/* Stakes the next part of what this epoch has. */
static void stake(struct gate *gate)
{
    double point = gate->points == 0 ? 1 : (double)gate->points * (gate->points + 1.0);
    double epoch = (double)gate->epoch * (gate->epoch + 1.0);
    double fail = 0.5 / point / epoch;
    double pass = gate->points == 0 ? PASS_FIRST : (1 - PASS_FIRST) / point;

    for (size_t i = 0; i < gate->result.checks_len; i++) {
        gate_evidence_stake(&gate->tests[i].side[GATE_AGAINST_GOOD], log(fail));
        gate_evidence_stake(&gate->tests[i].side[GATE_AGAINST_BAD], log(pass));
    }
    gate->points++;
    gate->slices = 0;
}

void gate_step(struct gate *gate, uint32_t share_bp, uint64_t now_us)
{
    double keep;

    if (share_bp <= gate->share_bp) {
        gate->share_bp = share_bp;
        return;
    }
    keep = (double)gate->share_bp / share_bp;
    for (size_t i = 0; i < gate->result.checks_len; i++) {
        struct gate_tests *tests = &gate->tests[i];
        double pass = gate_evidence_log(&tests->side[GATE_AGAINST_BAD]);

        tests->step_samples *= keep;
        if (pass > 0 && !(gate_compares(gate->result.checks[i].kind) && share_bp == UNITS_BP_FULL)) {
            gate_evidence_fade(&tests->side[GATE_AGAINST_BAD], pass * (keep - 1));
        }
    }
    gate->share_bp = share_bp;
    gate->step_us = now_us;
    if (2 * (uint64_t)share_bp >= 3 * (uint64_t)gate->epoch_bp) {
        gate->epoch++;
        gate->epoch_bp = share_bp;
        gate->points = 0;
        stake(gate);
    }
    gate_judge(gate);
}

/* ---- a look */

/* A histogram that lost samples was made anew: no difference can be taken. */
static bool went_back(const struct histogram_reading *newer, const struct histogram_reading *older)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (newer->bucket[i] - older->bucket[i] > UINT32_MAX / 2) {
            return true;
        }
    }
    return false;
}

/* What came in between two readings. A connection that ends badly long after it was made is an attempt of
 * its own here, so that errors never exceed attempts. False when the counters went back. */
static bool difference(const struct stats_backend_reading *now, const struct stats_backend_reading *base,
                       struct gate_counts *out)
{
    memset(out, 0, sizeof(*out));
    if (now->connections < base->connections || went_back(&now->connect_us, &base->connect_us) ||
        went_back(&now->response_us, &base->response_us)) {
        return false;
    }
    for (unsigned i = 0; i < STATS_ERROR_COUNT; i++) {
        if (now->errors[i] < base->errors[i]) {
            return false;
        }
        out->kinds[i] = now->errors[i] - base->errors[i];
        out->errors += out->kinds[i];
    }
    out->attempts = now->connections - base->connections + out->kinds[STATS_ERROR_CONNECT] +
                    out->kinds[STATS_ERROR_TIMEOUT];
    if (out->attempts < out->errors) {
        out->attempts = out->errors;
    }
    histogram_reading_subtract(&now->connect_us, &base->connect_us, &out->connect_us);
    histogram_reading_subtract(&now->response_us, &base->response_us, &out->response_us);
    return true;
}

/* Where latencies begin to be hits. Against old it is the edge of a bucket next to old's quantile: the one
 * above it when failure is sought, so that at most the part 1 - quantile of old's are hits, else the one
 * below, so that a service whose responses all take the same time can pass. */
static bool choose_edges(const struct gate *gate, const struct gate_check *check, enum gate_side side,
                         const struct histogram_reading *latencies, struct gate_count *count)
{
    if (check->kind == GATE_LATENCY) {
        count->new_bucket = gate_bucket_from((uint64_t)check->limit);
        count->old_bucket = count->new_bucket;
        return true;
    }
    if (latencies->count == 0) {
        return false;
    }
    count->old_bucket = gate_bucket_beyond(latencies, gate->rules.quantile);
    if (side == GATE_AGAINST_BAD && count->old_bucket > 0) {
        count->old_bucket--;
    }
    count->new_bucket =
        gate_bucket_from((uint64_t)ceil(check->limit * (double)histogram_bucket_low(count->old_bucket)));
    return true;
}

/* Fixes what a block must not learn from itself. False while nothing is known of old that would be needed. */
static bool begin_count(const struct gate *gate, const struct gate_check *check, enum gate_side side,
                        struct gate_count *count)
{
    const struct gate_counts *old = &gate->window.sum.old;
    const struct histogram_reading *latencies = gate_latencies(check->kind, old);
    double n = (double)old->attempts;
    double hits = (double)old->errors;
    double before = GUESS_ERRORS;

    memset(count, 0, sizeof(*count));
    if (latencies != NULL) {
        if (!choose_edges(gate, check, side, latencies, count)) {
            return false;
        }
        before = 1 - gate->rules.quantile;
        n = (double)latencies->count;
        hits = (double)gate_samples_from(latencies, count->old_bucket);
    }
    count->guess = (hits + GUESS_WEIGHT * before) / (n + GUESS_WEIGHT);
    return true;
}

static void add_trials(struct gate_trials *trials, const struct gate_counts *counts,
                       enum gate_check_kind kind, unsigned bucket)
{
    const struct histogram_reading *latencies = gate_latencies(kind, counts);

    trials->n += (double)(latencies == NULL ? counts->attempts : latencies->count);
    trials->hits += (double)(latencies == NULL ? counts->errors : gate_samples_from(latencies, bucket));
}

static struct gate_trials divide(const struct gate_trials *trials, double by)
{
    return (struct gate_trials){.n = trials->n / by, .hits = trials->hits / by};
}

/* A full block becomes evidence on one side. */
static void end_count(const struct gate *gate, const struct gate_check *check, struct gate_tests *tests,
                      enum gate_side side)
{
    const struct gate_count *count = &tests->count[side];
    bool latency = check->kind != GATE_ERROR_RATE && check->kind != GATE_ERROR_INCREASE;
    double most = latency ? LATENCY_BLOCK_MOST : INFINITY;
    double assumed = latency ? LATENCY_CLUMPING : 0;
    double effect = gate_clumps_effect(&tests->clumps, count->new_trials.n, assumed);
    struct gate_trials new_trials = divide(&count->new_trials, effect);

    if (gate_compares(check->kind)) {
        double margin = check->kind == GATE_ERROR_INCREASE ? check->limit : 0;
        struct gate_trials old =
            divide(&count->old, gate_clumps_effect(&tests->clumps, count->old.n, assumed));

        gate_evidence_add_two(&tests->side[side], margin, count->guess, &old, &new_trials, most);
    } else {
        double limit = latency ? 1 - gate->rules.quantile : check->limit;

        gate_evidence_add_one(&tests->side[side], limit, &new_trials, most);
    }
    if (side == GATE_AGAINST_GOOD) { /* the last of the two */
        gate_clumps_add(&tests->clumps, &count->old, count->guess, assumed);
        tests->effect = effect;
    }
}

/* Turns what came in into evidence of one check. */
static void weigh(struct gate *gate, size_t i, const struct gate_slice *more)
{
    const struct gate_check *check = &gate->result.checks[i];
    struct gate_tests *tests = &gate->tests[i];
    struct gate_evidence *pass = &tests->side[GATE_AGAINST_BAD];
    const struct gate_count *count = &tests->count[GATE_AGAINST_GOOD];
    double before;

    if (!tests->begun) {
        tests->begun = begin_count(gate, check, GATE_AGAINST_GOOD, &tests->count[GATE_AGAINST_GOOD]) &&
                       begin_count(gate, check, GATE_AGAINST_BAD, &tests->count[GATE_AGAINST_BAD]);
        if (!tests->begun) {
            return;
        }
    }
    before = count->new_trials.n;
    for (size_t side = 0; side < 2; side++) {
        struct gate_count *one = &tests->count[side];

        add_trials(&one->old, &more->old, check->kind, one->old_bucket);
        add_trials(&one->new_trials, &more->new_counts, check->kind, one->new_bucket);
    }
    tests->step_samples += count->new_trials.n - before;
    if (count->new_trials.n > 0 && (!gate_compares(check->kind) || count->old.n > 0)) {
        end_count(gate, check, tests, GATE_AGAINST_BAD);
        end_count(gate, check, tests, GATE_AGAINST_GOOD);
        gate_evidence_fade(pass, gate->log_pass + PASS_HOARD - gate_evidence_log(pass));
        tests->begun = false;
    }
}

static void take(struct gate *gate, struct gate_slice *more, uint64_t now_us)
{
    if (now_us - gate->step_us < gate->rules.grace_us) {
        memset(&more->old.connect_us, 0, sizeof(more->old.connect_us));
        memset(&more->old.response_us, 0, sizeof(more->old.response_us));
        memset(&more->new_counts.connect_us, 0, sizeof(more->new_counts.connect_us));
        memset(&more->new_counts.response_us, 0, sizeof(more->new_counts.response_us));
    }
    if (gate->slices >= POINT_SLICES && gate->epoch > 0) {
        stake(gate); /* before the outcomes that it will bet on are known */
    }
    for (size_t i = 0; i < gate->result.checks_len; i++) {
        weigh(gate, i, more);
    }
    gate->slices += gate_window_add(&gate->window, more, now_us);
}

bool gate_look(struct gate *gate, const struct stats_backend_reading *old,
               const struct stats_backend_reading *new_reading, uint64_t now_us)
{
    struct gate_slice more;

    if (gate->based && now_us - gate->look_us < gate_interval_us(gate)) {
        return false;
    }
    if (gate->based && difference(old, &gate->base_old, &more.old) &&
        difference(new_reading, &gate->base_new, &more.new_counts)) {
        take(gate, &more, now_us);
    }
    gate->based = true;
    gate->base_old = *old;
    gate->base_new = *new_reading;
    gate->look_us = now_us;
    gate->result.looks++;
    gate_judge(gate);
    gate->result.failed = gate->result.verdict == GATE_FAIL ? gate->result.failed + 1 : 0;
    gate->result.act = gate->result.failed >= gate->rules.failures;
    return true;
}

const struct gate_result *gate_result(const struct gate *gate)
{
    return &gate->result;
}

uint64_t gate_interval_us(const struct gate *gate)
{
    uint64_t interval = gate->rules.window_us / 60;

    if (interval < interval_min_us) {
        return interval_min_us;
    }
    return interval > interval_max_us ? interval_max_us : interval;
}

const struct gate_rules *gate_rules(const struct gate *gate)
{
    return &gate->rules;
}
