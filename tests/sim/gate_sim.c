/*
 * Simulated migrations under the gate, by the thousand: how often a good new group is rolled back, how many
 * connections a bad one costs until it is, and the same for a plain threshold on a window, which is what the
 * statistics are measured against. Prints the tables of docs/gate.md.
 *
 *   gate_sim [RUNS [SEED]]      the figures
 *   gate_sim --check RUNS       fewer runs, and an exit code: the promises hold
 *
 * One thread, no sockets, no clock: a second of traffic is drawn, then looked at.
 */
#include "core/clock.h"
#include "core/random.h"
#include "core/units.h"
#include "migration/gate.h"
#include "migration/gate_window.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 5u
#define HOLD_S 120u
#define WAIT_MAX_S 3600u /* beyond the hold of a step: then it is given up (paused) */
#define PER_SECOND 200u  /* connections of the service, each with one response */
#define TABLE 65536u

static const uint32_t shares_bp[STEPS] = {100, 500, 2500, 5000, 10000};

/* How a group behaves. */
struct behaviour {
    double error_rate;
    double slowness; /* factor on response times */
    double stall_us; /* added to them */
};

struct scenario {
    const char *name;
    struct behaviour old, good, bad; /* new is good, then bad */
    unsigned bad_step, bad_after_s;  /* from when; step from 0 */
    bool swell;    /* from 4 to 6 minutes both groups fail 5 times as often and are twice as slow */
    bool endless;  /* never goes on from the step of the change: waits for the detection */
    double stalls; /* chance of a second in which all responses of a group take 100 ms more */
    double max_error_rate, max_error_increase;
};

enum judge { JUDGE_GATE, JUDGE_THRESHOLD, JUDGES };

enum outcome { COMPLETED, ROLLED_BACK, GIVEN_UP };

struct run {
    enum outcome outcome;
    uint32_t seconds;
    uint64_t exposed; /* connections of new since it became bad, until the end */
};

static uint64_t response_us[TABLE]; /* lognormal: median 5 ms, p99 20 ms, p99.9 32 ms */

/* The quantile function of the normal distribution (Acklam's rational approximation would do; halving the
 * error function is exact enough and needs no constants). */
static double normal_quantile(double p)
{
    double low = -9;
    double high = 9;

    for (int i = 0; i < 60; i++) {
        double x = 0.5 * (low + high);

        if (0.5 * erfc(-x * M_SQRT1_2) < p) {
            low = x;
        } else {
            high = x;
        }
    }
    return low;
}

static void fill_table(void)
{
    for (unsigned i = 0; i < TABLE; i++) {
        response_us[i] = (uint64_t)(5000 * exp(0.6 * normal_quantile((i + 0.5) / TABLE)));
    }
}

static double uniform(struct random_state *random)
{
    return (double)(random_next(random) >> 11) * 0x1p-53;
}

static unsigned poisson(struct random_state *random, double mean)
{
    double x = mean + sqrt(mean) * normal_quantile(0.5 * 0x1p-53 + uniform(random));

    return x < 0.5 ? 0 : (unsigned)(x + 0.5);
}

static void connect_one(struct random_state *random, const struct behaviour *how,
                        struct stats_backend_reading *reading)
{
    if (uniform(random) < how->error_rate) {
        reading->errors[STATS_ERROR_CONNECT]++;
        return;
    }
    uint64_t us =
        (uint64_t)((double)response_us[random_next(random) % TABLE] * how->slowness + how->stall_us);

    reading->connections++;
    reading->response_us.count++;
    reading->response_us.bucket[histogram_index(us)]++;
}

/* ---- the plain threshold: figures of the last minute against the limits, twice in a row */

struct threshold {
    struct gate_window window;
    struct stats_backend_reading old, new_reading;
    unsigned failed;
    bool pass;
};

static void count(const struct stats_backend_reading *now, struct stats_backend_reading *before,
                  struct gate_counts *out)
{
    memset(out, 0, sizeof(*out));
    out->errors = now->errors[STATS_ERROR_CONNECT] - before->errors[STATS_ERROR_CONNECT];
    out->attempts = now->connections - before->connections + out->errors;
    histogram_reading_subtract(&now->response_us, &before->response_us, &out->response_us);
    *before = *now;
}

static void threshold_look(struct threshold *t, const struct gate_rules *rules,
                           const struct stats_backend_reading *old,
                           const struct stats_backend_reading *new_reading, uint64_t now_us)
{
    struct gate_slice more;
    const struct gate_counts *a = &t->window.sum.old;
    const struct gate_counts *b = &t->window.sum.new_counts;
    bool fail = false;

    count(old, &t->old, &more.old);
    count(new_reading, &t->new_reading, &more.new_counts);
    gate_window_add(&t->window, &more, now_us);
    t->pass = false;
    if (b->attempts < rules->min_samples) {
        t->failed = 0;
        return;
    }
    double rate = (double)b->errors / (double)b->attempts;

    fail = rate > rules->max_error_rate;
    if (a->attempts > 0) {
        fail = fail || rate - (double)a->errors / (double)a->attempts > rules->max_error_increase ||
               (double)histogram_quantile(&b->response_us, rules->quantile) >
                   rules->max_latency_ratio * (double)histogram_quantile(&a->response_us, rules->quantile);
    }
    t->failed = fail ? t->failed + 1 : 0;
    t->pass = !fail;
}

/* ---- one migration */

struct state {
    struct random_state random;
    struct stats_backend_reading old, new_reading;
    struct gate *gate;
    struct threshold threshold;
    double split; /* what is left over of the share */
};

static void traffic(struct state *s, const struct scenario *scenario, uint32_t share_bp, bool bad,
                    uint32_t second, uint64_t *exposed)
{
    struct behaviour old = scenario->old;
    struct behaviour now = bad ? scenario->bad : scenario->good;
    unsigned n = poisson(&s->random, PER_SECOND);

    if (scenario->swell && second >= 240 && second < 360) {
        old = (struct behaviour){5 * old.error_rate, 2 * old.slowness, 0};
        now = (struct behaviour){5 * now.error_rate, 2 * now.slowness, 0};
    }
    old.stall_us = uniform(&s->random) < scenario->stalls ? 1e5 : 0;
    now.stall_us = uniform(&s->random) < scenario->stalls ? 1e5 : 0;
    for (unsigned i = 0; i < n; i++) {
        s->split += (double)share_bp / UNITS_BP_FULL;
        if (s->split >= 1) {
            s->split -= 1;
            connect_one(&s->random, &now, &s->new_reading);
            *exposed += bad;
        } else {
            connect_one(&s->random, &old, &s->old);
        }
    }
}

static struct run migrate(struct state *s, const struct scenario *scenario, const struct gate_rules *rules,
                          enum judge judge, uint64_t seed)
{
    struct run run = {.outcome = COMPLETED};
    uint64_t now_us = CLOCK_US_PER_S;

    memset(&s->old, 0, sizeof(s->old));
    memset(&s->new_reading, 0, sizeof(s->new_reading));
    memset(&s->threshold, 0, sizeof(s->threshold));
    s->split = 0;
    random_seed(&s->random, seed);
    gate_window_clear(&s->threshold.window, rules->window_us, rules->min_samples, now_us);
    gate_begin(s->gate, now_us);
    (void)gate_look(s->gate, &s->old, &s->new_reading, now_us);
    for (unsigned step = 0; step < STEPS; step++) {
        bool endless = scenario->endless && step == scenario->bad_step;
        bool pass = false;

        gate_step(s->gate, shares_bp[step], now_us);
        for (unsigned t = 0; t < HOLD_S || !pass || endless; t++) {
            bool bad =
                step > scenario->bad_step || (step == scenario->bad_step && t >= scenario->bad_after_s);
            bool act;

            if (t >= HOLD_S + WAIT_MAX_S && !endless) {
                run.outcome = GIVEN_UP;
                return run;
            }
            traffic(s, scenario, shares_bp[step], bad, run.seconds++, &run.exposed);
            now_us += CLOCK_US_PER_S;
            if (judge == JUDGE_GATE) {
                (void)gate_look(s->gate, &s->old, &s->new_reading, now_us);
                act = gate_result(s->gate)->act;
                pass = gate_result(s->gate)->verdict == GATE_PASS;
            } else {
                threshold_look(&s->threshold, rules, &s->old, &s->new_reading, now_us);
                act = s->threshold.failed >= rules->failures;
                pass = s->threshold.pass;
            }
            if (act || run.seconds > 86400) {
                run.outcome = act ? ROLLED_BACK : GIVEN_UP;
                return run;
            }
        }
    }
    return run;
}

/* ---- many */

struct summary {
    unsigned runs, completed, rolled_back, given_up;
    unsigned early;                     /* rolled back before new was bad */
    double seconds, exposed, exposed95; /* medians, and the 95th percentile */
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double percentile(double *values, unsigned n, double q)
{
    if (n == 0) {
        return 0;
    }
    qsort(values, n, sizeof(*values), compare);
    return values[(unsigned)(q * (n - 1))];
}

static struct summary simulate(const struct scenario *scenario, enum judge judge, unsigned runs,
                               uint64_t seed)
{
    struct gate_rules rules = {.window_us = 60 * CLOCK_US_PER_S,
                               .min_samples = 200,
                               .max_error_rate = scenario->max_error_rate,
                               .max_error_increase = scenario->max_error_increase,
                               .max_latency_ratio = 1.2,
                               .quantile = 0.99,
                               .failures = 2,
                               .alpha = 0.01,
                               .confidence = 0.8};
    struct summary sum = {.runs = runs};
    unsigned found = 0;
    struct state *s = calloc(1, sizeof(*s));
    double *seconds = calloc(runs, sizeof(*seconds));
    double *exposed = calloc(runs, sizeof(*exposed));
    struct err_text err;

    if (s == NULL || seconds == NULL || exposed == NULL || gate_create(&rules, &s->gate, &err) != 0) {
        abort();
    }
    for (unsigned i = 0; i < runs; i++) {
        struct run run = migrate(s, scenario, &rules, judge, seed + i);

        if (run.outcome == COMPLETED) {
            seconds[sum.completed++] = run.seconds;
        } else if (run.outcome == ROLLED_BACK) {
            sum.rolled_back++;
            if (run.exposed > 0) {
                exposed[found++] = (double)run.exposed;
            } else {
                sum.early++;
            }
        } else {
            sum.given_up++;
        }
    }
    sum.seconds = percentile(seconds, sum.completed, 0.5);
    sum.exposed = percentile(exposed, found, 0.5);
    sum.exposed95 = percentile(exposed, found, 0.95);
    gate_destroy(s->gate);
    free(exposed);
    free(seconds);
    free(s);
    return sum;
}

#define GOOD                                                                                                 \
    {                                                                                                        \
        0.001, 1.0, 0                                                                                        \
    }
static const struct scenario equal_groups[] = {
    {.name = "both fail 0.1 %",
     .old = GOOD,
     .good = GOOD,
     .bad_step = STEPS,
     .max_error_rate = 0.01,
     .max_error_increase = 0.005},
    {.name = "both fail 1 %",
     .old = {0.01, 1, 0},
     .good = {0.01, 1, 0},
     .bad_step = STEPS,
     .max_error_rate = 0.03,
     .max_error_increase = 0.01},
    {.name = "both swell for 2 minutes",
     .old = GOOD,
     .good = GOOD,
     .bad_step = STEPS,
     .swell = true,
     .max_error_rate = 0.03,
     .max_error_increase = 0.005},
    {.name = "each stalls 100 ms now and then",
     .old = GOOD,
     .good = GOOD,
     .bad_step = STEPS,
     .stalls = 1 / 60.0,
     .max_error_rate = 0.01,
     .max_error_increase = 0.005},
    {.name = "new exactly at its limits",
     .old = GOOD,
     .good = {0.006, 1.2, 0},
     .bad_step = STEPS,
     .max_error_rate = 0.03,
     .max_error_increase = 0.005},
};
static const struct scenario bad_groups[] = {
    {.name = "all refused, from the start (1 %)",
     .old = GOOD,
     .good = GOOD,
     .bad = {1, 1, 0},
     .endless = true,
     .max_error_rate = 0.01,
     .max_error_increase = 0.005},
    {.name = "fails 2 % more, from the start (1 %)",
     .old = GOOD,
     .good = GOOD,
     .bad = {0.021, 1, 0},
     .endless = true,
     .max_error_rate = 0.01,
     .max_error_increase = 0.005},
    {.name = "slower by 50 %, from the start (1 %)",
     .old = GOOD,
     .good = GOOD,
     .bad = {0.001, 1.5, 0},
     .endless = true,
     .max_error_rate = 0.01,
     .max_error_increase = 0.005},
    {.name = "all refused, after 1 min at 25 %",
     .old = GOOD,
     .good = GOOD,
     .bad = {1, 1, 0},
     .bad_step = 2,
     .bad_after_s = 60,
     .endless = true,
     .max_error_rate = 0.01,
     .max_error_increase = 0.005},
    {.name = "fails 2 % more, after 1 min at 25 %",
     .old = GOOD,
     .good = GOOD,
     .bad = {0.021, 1, 0},
     .bad_step = 2,
     .bad_after_s = 60,
     .endless = true,
     .max_error_rate = 0.01,
     .max_error_increase = 0.005},
    {.name = "slower by 50 %, after 1 min at 25 %",
     .old = GOOD,
     .good = GOOD,
     .bad = {0.001, 1.5, 0},
     .bad_step = 2,
     .bad_after_s = 60,
     .endless = true,
     .max_error_rate = 0.01,
     .max_error_increase = 0.005},
};
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static const char *const judge_names[JUDGES] = {"gate", "threshold"};

static void print_good(const struct scenario *scenario, enum judge judge, const struct summary *sum)
{
    printf("| %s | %s | %.2f %% | %.2f %% | %.2f %% | %.0f s |\n", scenario->name, judge_names[judge],
           100.0 * sum->rolled_back / sum->runs, 100.0 * sum->completed / sum->runs,
           100.0 * sum->given_up / sum->runs, sum->seconds);
    (void)fflush(stdout);
}

static void print_bad(const struct scenario *scenario, enum judge judge, const struct summary *sum)
{
    printf("| %s | %s | %.1f %% | %.1f %% | %.0f | %.0f |\n", scenario->name, judge_names[judge],
           100.0 * (sum->rolled_back - sum->early) / sum->runs, 100.0 * sum->early / sum->runs, sum->exposed,
           sum->exposed95);
    (void)fflush(stdout);
}

static void print_figures(unsigned runs, uint64_t seed)
{
    printf("%u migrations in each of the first two rows, %u in the others, seed %llu\n\n", runs,
           runs / 10 + 1, (unsigned long long)seed);
    printf("| new is good | judge | rolled back | completed | given up | median time "
           "|\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < COUNT(equal_groups); i++) {
        for (enum judge judge = JUDGE_GATE; judge < JUDGES; judge++) {
            struct summary sum = simulate(&equal_groups[i], judge, i < 2 ? runs : runs / 10 + 1, seed);

            print_good(&equal_groups[i], judge, &sum);
        }
    }
    printf("\n| new turns bad | judge | found | rolled back before | connections exposed: median | 95 %% |\n"
           "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < COUNT(bad_groups); i++) {
        for (enum judge judge = JUDGE_GATE; judge < JUDGES; judge++) {
            struct summary sum = simulate(&bad_groups[i], judge, runs / 10 + 1, seed);

            print_bad(&bad_groups[i], judge, &sum);
        }
    }
}

/* Most rollbacks that runs of probability 1 % give, but for one case in ten thousand or so. */
static unsigned most_at_alpha(unsigned runs)
{
    return (unsigned)(0.01 * runs + 4 * sqrt(0.01 * runs) + 1);
}

static int check(unsigned runs)
{
    /* Connections that a bad group may cost at most, at the 95th percentile: about twice what was measured.
     */
    static const double most[COUNT(bad_groups)] = {12, 2500, 5000, 250, 4500, 10000};
    int broken = 0;

    for (size_t i = 0; i < COUNT(equal_groups); i++) {
        struct summary sum = simulate(&equal_groups[i], JUDGE_GATE, runs, 1);
        bool passes = i + 2 < COUNT(equal_groups); /* the last two cannot be decided soon */

        print_good(&equal_groups[i], JUDGE_GATE, &sum);
        broken += sum.rolled_back > most_at_alpha(runs) || (passes && sum.completed < runs - runs / 10);
    }
    for (size_t i = 0; i < COUNT(bad_groups); i++) {
        struct summary sum = simulate(&bad_groups[i], JUDGE_GATE, runs, 1);

        print_bad(&bad_groups[i], JUDGE_GATE, &sum);
        broken += sum.rolled_back < runs || sum.exposed95 > most[i];
    }
    if (broken > 0) {
        printf("%d rows break their promise\n", broken);
    }
    return broken > 0;
}

int main(int argc, char **argv)
{
    bool checking = argc > 1 && strcmp(argv[1], "--check") == 0;
    int next = checking ? 2 : 1;
    unsigned long runs = argc > next ? strtoul(argv[next], NULL, 10) : 10000;
    unsigned long long seed = argc > next + 1 ? strtoull(argv[next + 1], NULL, 10) : 1;

    if (runs == 0 || runs > 1000000) {
        (void)fprintf(stderr, "usage: gate_sim [RUNS [SEED]] | gate_sim --check RUNS\n");
        return 64;
    }
    fill_table();
    if (checking) {
        return check((unsigned)runs);
    }
    print_figures((unsigned)runs, seed);
    return 0;
}
