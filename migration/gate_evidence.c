/*
 * The wealth of bets against a hypothesis about parts of hits, in logarithms. Runs wherever it is called;
 * knows nothing of connections, windows or verdicts (migration/gate.c does).
 *
 * Why a block of two streams is an e-value. Let (a*, b*) be the bet and (a°, b°) the point of the hypothesis
 * H nearest to it, in the sense of least na·KL(a*|a°) + nb·KL(b*|b°). The value of a block is its likelihood
 * under the bet over that under (a°, b°). Its expectation under (a, b) is g(a)^na·h(b)^nb with g and h linear
 * and g(a°) = h(b°) = 1. The logarithm of it is concave in (a, b), and its gradient at (a°, b°) is the
 * negative gradient of the divergence, which by choice of (a°, b°) points nowhere into the convex set H. So
 * the expectation is at most 1 on all of H. Dividing the counts of a stream by c raises its part of the value
 * to 1/c, which lowers the expectation (Jensen), so the argument holds with na/c for na.
 */
#include "migration/gate_evidence.h"

#include <math.h>
#include <stddef.h>

/* How far the odds of a bet lie from those of the limit: which differences are found fastest. */
static const double odds_for_fail[GATE_BETS] = {1.5, 2.2, 3.5, 6, 12, 30, 100, 1000, 30000};
static const double odds_for_pass[] = {1 / 1.8, 1 / 4.0, 1 / 20.0};
#define PASS_BETS (sizeof(odds_for_pass) / sizeof(odds_for_pass[0]))
/* Parts are kept off 0 and 1, where logarithms have no value. */
#define PART_MIN 1e-9
/* Clumping: blocks that the assumption weighs as much as, and blocks remembered. */
#define CLUMPS_ASSUMED 30.0
#define CLUMPS_MEMORY 1000.0
/* Halvings when the nearest point of the hypothesis is sought: to 2^-40 of the interval. */
#define HALVINGS 40

static size_t bets(const struct gate_evidence *evidence)
{
    return evidence->side == GATE_AGAINST_GOOD ? GATE_BETS : PASS_BETS;
}

/* The part with the odds of part times ratio. */
static double bet_at(const struct gate_evidence *evidence, size_t bet, double part)
{
    double ratio = evidence->side == GATE_AGAINST_GOOD ? odds_for_fail[bet] : odds_for_pass[bet];

    return ratio * part / (1 - part + ratio * part);
}

static double clamp_part(double part)
{
    return fmin(fmax(part, PART_MIN), 1 - PART_MIN);
}

/* log of likelihood under p over likelihood under q. */
static double log_ratio(const struct gate_trials *trials, double p, double q)
{
    return trials->hits * log(p / q) + (trials->n - trials->hits) * (log1p(-p) - log1p(-q));
}

static double log_sum(const double *values, size_t n)
{
    double most = -INFINITY;
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        most = fmax(most, values[i]);
    }
    if (most == -INFINITY) {
        return most;
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp(values[i] - most);
    }
    return most + log(sum);
}

void gate_evidence_clear(struct gate_evidence *evidence, enum gate_side side)
{
    evidence->side = side;
    for (size_t i = 0; i < GATE_BETS; i++) {
        evidence->log_wealth[i] = -INFINITY;
    }
}

void gate_evidence_stake(struct gate_evidence *evidence, double log_stake)
{
    double each = log_stake - log((double)bets(evidence));

    for (size_t i = 0; i < bets(evidence); i++) {
        evidence->log_wealth[i] = log_sum((const double[]){evidence->log_wealth[i], each}, 2);
    }
}

void gate_evidence_fade(struct gate_evidence *evidence, double log_factor)
{
    for (size_t i = 0; i < bets(evidence); i++) {
        evidence->log_wealth[i] += fmin(log_factor, 0);
    }
}

double gate_evidence_log(const struct gate_evidence *evidence)
{
    return log_sum(evidence->log_wealth, bets(evidence));
}

void gate_evidence_add_one(struct gate_evidence *evidence, double limit, const struct gate_trials *trials,
                           double log_most)
{
    limit = clamp_part(limit);
    for (size_t i = 0; i < bets(evidence); i++) {
        double bet = clamp_part(bet_at(evidence, i, limit));

        evidence->log_wealth[i] += fmin(log_ratio(trials, bet, limit), log_most);
    }
}

/* The point (x, x + margin) of the hypothesis' edge that is nearest to the bet (a, b), by halving where the
 * divergence, convex in x, stops to fall. */
static double nearest(double margin, double a, double b, double na, double nb)
{
    double low = fmax(fmin(a, b - margin), PART_MIN);
    double high = fmin(fmax(a, b - margin), 1 - margin - PART_MIN);

    for (int i = 0; i < HALVINGS; i++) {
        double x = 0.5 * (low + high);
        double y = x + margin;
        /* the slope, times x(1-x)y(1-y), which is positive */
        double slope = na * (x - a) * y * (1 - y) + nb * (y - b) * x * (1 - x);

        if (slope < 0) {
            low = x;
        } else {
            high = x;
        }
    }
    return 0.5 * (low + high);
}

void gate_evidence_add_two(struct gate_evidence *evidence, double margin, double guess,
                           const struct gate_trials *old, const struct gate_trials *new_trials,
                           double log_most)
{
    double a = clamp_part(guess);

    if (old->n <= 0 || new_trials->n <= 0 || a + margin >= 1 - 2 * PART_MIN) {
        return;
    }
    for (size_t i = 0; i < bets(evidence); i++) {
        double b = clamp_part(bet_at(evidence, i, a + margin));
        double x = nearest(margin, a, b, old->n, new_trials->n);
        double value = log_ratio(old, a, x) + log_ratio(new_trials, b, x + margin);

        evidence->log_wealth[i] += fmin(value, log_most);
    }
}

void gate_clumps_add(struct gate_clumps *clumps, const struct gate_trials *block, double part, double assumed)
{
    double p = clamp_part(part);
    double variance = p * (1 - p);
    double off = block->hits - block->n * p;
    double pairs = block->n * (block->n - 1) * variance;

    if (block->n < 2) {
        return;
    }
    if (clumps->pairs <= 0) {
        clumps->pairs = CLUMPS_ASSUMED * pairs;
        clumps->excess = assumed * clumps->pairs;
    }
    clumps->excess += off * off - block->n * variance - clumps->excess / CLUMPS_MEMORY;
    clumps->pairs += pairs - clumps->pairs / CLUMPS_MEMORY;
}

double gate_clumps_effect(const struct gate_clumps *clumps, double n, double assumed)
{
    double correlation = clumps->pairs > 0 ? clumps->excess / clumps->pairs : assumed;

    return 1 + fmax(n - 1, 0) * fmin(fmax(correlation, 0), 1);
}

double gate_evidence_rate(double part, double limit)
{
    double p = clamp_part(part);
    double q = clamp_part(limit);

    return p * log(p / q) + (1 - p) * (log1p(-p) - log1p(-q));
}
