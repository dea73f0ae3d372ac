/*
 * Evidence that may be looked at as often as one likes: e-values of counted trials, multiplied up as the
 * wealth of a player who bets against a hypothesis. While the hypothesis holds, the wealth is a nonnegative
 * supermartingale, so the chance that it ever reaches 1/a is at most a (Ville 1939), whenever and however
 * often it is looked at. Pure, no allocation; any thread.
 *
 * Where the values come from:
 *   - two streams, hypothesis p_new <= p_old + margin: Turner, Ly and Grünwald, "Generic E-variables for
 *     exact sequential k-sample tests that allow for optional stopping", J. Stat. Plan. Inference 230 (2024);
 *     for a margin: Turner and Grünwald, "Exact anytime-valid confidence intervals for contingency tables and
 *     beyond", Stat. Probab. Lett. 198 (2023);
 *   - one stream, hypothesis p <= limit: the likelihood ratio against the limit, as Waudby-Smith and Ramdas,
 *     "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B 86 (2024);
 *   - late changes: money staked anew as time goes on: Shin, Ramdas and Rinaldo, "E-detectors: a
 *     nonparametric framework for sequential change detection", New Engl. J. Stat. Data Sci. 2 (2024).
 *
 * Everything is kept as logarithms: after a million connections the wealth is e^-10000 or e^+10000.
 */
#ifndef MIGRATION_GATE_EVIDENCE_H
#define MIGRATION_GATE_EVIDENCE_H

/* Hits among n trials; hits <= n. Fractions are fine: what clumps together counts for less. */
struct gate_trials {
    double n, hits;
};

/* Which hypothesis is bet against. */
enum gate_side {
    GATE_AGAINST_GOOD, /* "new is within the limit": wealth here is evidence for failing */
    GATE_AGAINST_BAD   /* "new is at or beyond the limit": wealth here is evidence for passing */
};

#define GATE_BETS 9

/* One player: a wealth for each bet, all against the same hypothesis. */
struct gate_evidence {
    enum gate_side side;
    double log_wealth[GATE_BETS]; /* -INFINITY: nothing staked on it */
};

void gate_evidence_clear(struct gate_evidence *evidence, enum gate_side side);
/* Puts exp(log_stake) more into play, in equal parts on the bets. What was staked over the whole life must
 * not exceed 1 for the guarantee. */
void gate_evidence_stake(struct gate_evidence *evidence, double log_stake);
/* Multiplies all wealth by exp(log_factor), a factor of at most 1: gives evidence away. */
void gate_evidence_fade(struct gate_evidence *evidence, double log_factor);
/* Logarithm of the wealth of all bets together; -INFINITY when nothing was staked. */
double gate_evidence_log(const struct gate_evidence *evidence);

/*
 * A block of trials of one stream against a fixed limit (0 < limit < 1) on the part of hits. log_most caps
 * what one block may multiply the wealth by (INFINITY: no cap); a cap keeps the guarantee.
 */
void gate_evidence_add_one(struct gate_evidence *evidence, double limit, const struct gate_trials *trials,
                           double log_most);

/*
 * A block of trials of two streams, new against old with a margin (0 <= margin < 1). guess is what is thought
 * of old's part of hits, from data before this block: a bad guess costs power, never the guarantee. The sizes
 * of the block must not have been chosen by its outcomes. A block with one side empty tells nothing. The
 * guarantee needs p_new <= p_old + margin only within each block, so both may drift together.
 */
void gate_evidence_add_two(struct gate_evidence *evidence, double margin, double guess,
                           const struct gate_trials *old, const struct gate_trials *new_trials,
                           double log_most);

/*
 * How much trials of one stream clump together, from the blocks they come in: the correlation within a block.
 * Requests that a stall delays are not as many independent witnesses. Moments of the beta-binomial
 * distribution; its use to discount counts is the design effect of Kish, "Survey Sampling" (1965).
 */
struct gate_clumps {
    double excess,
        pairs; /* of variance over that of independent trials; pairs of trials that could have shown it */
};

/* Begins with a correlation that is assumed until blocks say otherwise. */
void gate_clumps_add(struct gate_clumps *clumps, const struct gate_trials *block, double part,
                     double assumed);
/* By what to divide a block of n trials so that it counts as independent ones: at least 1. */
double gate_clumps_effect(const struct gate_clumps *clumps, double n, double assumed);

/*
 * The evidence that one trial of new is expected to add in favour of the better-fitting side when the parts
 * are as given: the Kullback-Leibler divergence of Bernoulli(part) from Bernoulli(limit), in nats. For
 * estimates of how many more trials it takes.
 */
double gate_evidence_rate(double part, double limit);

#endif
