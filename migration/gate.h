/*
 * The gate: judges the new group of a migration against fixed limits and against the old group. Pure: time
 * and cumulative counters are arguments, the answer is a verdict with figures and words. It keeps its own
 * window and its own evidence. One thread at a time.
 *
 *   fixed limits        error-rate, latency           is new within the limit?
 *   against old         error-increase, latency-ratio, connect-ratio
 *                                                     is new within old plus the limit, in the same seconds?
 *
 * Every check is a pair of sequential tests whose evidence may be looked at after every connection
 * (migration/gate_evidence.h names the papers): one against "new is within the limit", one against "new is
 * beyond it". The first fails the check, the second passes it, and while neither has enough it needs more.
 * So a handful of connections is enough when all of them fail, and is never enough to pass.
 *
 *   - A good group is failed with probability at most alpha, over the whole migration, all its checks and all
 * looks.
 *   - A check passes when "beyond the limit" was refuted with the confidence asked for since the step began.
 *     Passing is not the last word: the test for failing goes on and forgets nothing.
 *
 * Latency becomes trials: a response slower than the limit is a hit, and at quantile 0.99 up to 1 % may be.
 * Against old, a response of new slower than ratio × t is a hit, one of old slower than t, where t is old's
 * quantile in the window before. That is the question of Howard and Ramdas, "Sequential estimation of
 * quantiles with applications to A/B testing and best-arm identification", Bernoulli 28 (2022), asked within
 * each block of time, so that both groups may slow down together without harm.
 */
#ifndef MIGRATION_GATE_H
#define MIGRATION_GATE_H

#include "core/err.h"
#include "core/stats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(NAME, "name") */
#define GATE_CHECKS(X)                                                                                       \
    X(ERROR_RATE, "error-rate")         /* errors of new, as a part of its attempts */                       \
    X(LATENCY, "latency")               /* response time of new at the quantile */                           \
    X(ERROR_INCREASE, "error-increase") /* errors of new less those of old */                                \
    X(LATENCY_RATIO, "latency-ratio")   /* response time of new by that of old, at the quantile */           \
    X(CONNECT_RATIO, "connect-ratio")   /* the same of the time to connect */

enum gate_check_kind {
#define GATE_CHECK_ENUM(name, text) GATE_##name,
    GATE_CHECKS(GATE_CHECK_ENUM)
#undef GATE_CHECK_ENUM
        GATE_CHECK_COUNT
};

enum gate_verdict { GATE_MORE, GATE_PASS, GATE_FAIL };

/* Limits of 0 (latencies, ratios) and of 1 and above (parts) switch a check off. */
struct gate_rules {
    uint64_t window_us;        /* what the figures shown are made of; above 0 */
    uint64_t min_samples;      /* of new, in a step, before a check can pass */
    double max_error_rate;     /* part of attempts, 0 to 1 */
    double max_error_increase; /* over old, 0 to 1 */
    uint64_t max_latency_us;
    double max_latency_ratio; /* over old */
    double max_connect_ratio;
    double quantile;   /* between 0 and 1: where latencies are judged */
    uint32_t failures; /* looks in a row that must fail before it acts; at least 1 */
    double alpha;      /* chance that a good group is ever failed; between 0 and 1 */
    double confidence; /* that new is within a limit, before a step passes; between 0 and 1 */
    uint64_t grace_us; /* after a step: response and connect times do not count yet; errors always do */
};

/* One check as of the last look. */
struct gate_check {
    enum gate_check_kind kind;
    enum gate_verdict verdict;
    bool idle;         /* against old, and old gets no traffic any more: not judged, holds nothing up */
    double observed;   /* part, microseconds, or ratio; 0 without samples */
    double limit;      /* in the same unit */
    uint64_t samples;  /* of new that observed is made of */
    uint64_t needs;    /* MORE: about this many more of new will decide; 0 when that cannot be said */
    char message[128]; /* "error-rate 3.10% > 1% (n=641)" */
};

struct gate_result {
    enum gate_verdict verdict;          /* fail when one fails, pass when all that are judged pass */
    bool act;                           /* it failed as often in a row as the rules ask for */
    uint32_t failed;                    /* looks in a row that failed */
    uint64_t looks;                     /* since gate_begin */
    uint64_t errors[STATS_ERROR_COUNT]; /* of new in the window, by kind */
    const struct gate_check *worst;     /* the one that decides: failing, else needing most; NULL: none */
    size_t checks_len;                  /* checks switched on */
    struct gate_check checks[GATE_CHECK_COUNT];
};

struct gate;

/* rules is copied. Errors: ERR_INVALID (no check is on, or a value out of its range), ERR_NOMEM. */
MUST_CHECK int gate_create(const struct gate_rules *rules, struct gate **out, struct err_text *err);
void gate_destroy(struct gate *gate);

/* A migration begins, or is taken up after a restart: all evidence and figures are forgotten. The first look
 * after it only takes the counters as they are. */
void gate_begin(struct gate *gate, uint64_t now_us);
/*
 * The share is share_bp from now on. Evidence that new fails is kept. Evidence that it passes was gathered at
 * a lower share and is kept in proportion, except that of the checks against old when the share is full,
 * since old will give no more. A share that is not higher changes nothing.
 */
void gate_step(struct gate *gate, uint32_t share_bp, uint64_t now_us);
/*
 * Looks at the counters, which are sums over all backends of a group since they were created (errors: all
 * kinds). Counters that went back are taken as a new beginning. Returns false, having done nothing, when the
 * last look was less than gate_interval_us ago.
 */
bool gate_look(struct gate *gate, const struct stats_backend_reading *old,
               const struct stats_backend_reading *new_reading, uint64_t now_us);
/* Valid until the next call with gate. Before the first look all checks need more. */
const struct gate_result *gate_result(const struct gate *gate);

/* How often to look: a sixtieth of the window, within 100 ms and 1 s. */
uint64_t gate_interval_us(const struct gate *gate);
const struct gate_rules *gate_rules(const struct gate *gate);
const char *gate_check_name(enum gate_check_kind kind);
const char *gate_verdict_name(enum gate_verdict verdict);

#endif
