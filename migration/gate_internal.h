/*
 * Inside the gate: its state, shared by gate.c (counters in, evidence up) and gate_judge.c (verdicts and
 * words). One thread at a time.
 */
#ifndef MIGRATION_GATE_INTERNAL_H
#define MIGRATION_GATE_INTERNAL_H

#include "migration/gate.h"
#include "migration/gate_evidence.h"
#include "migration/gate_window.h"

/* What one side of a check counts in a block of time. */
struct gate_count {
    struct gate_trials old, new_trials;
    double guess;                    /* of old's part of hits; fixed when the block begins, as are: */
    unsigned old_bucket, new_bucket; /* latencies from here on are hits */
};

/* One check at work. A block of time counts once both groups have trials in it. */
struct gate_tests {
    struct gate_evidence side[2]; /* by enum gate_side */
    struct gate_count count[2];
    bool begun;                /* a block is under way */
    struct gate_clumps clumps; /* of old's hits */
    double effect;             /* by what the last block of new was divided for them */
    double step_samples; /* of new since the step began; those before it count in proportion to the share */
};

struct gate {
    struct gate_rules rules;
    double log_fail;  /* evidence at which a check fails: log of 1/(alpha / checks) */
    double log_pass;  /* and passes */
    uint64_t look_us; /* of the last look */
    bool based;       /* base holds the counters of the last look */
    struct stats_backend_reading base_old, base_new;
    uint64_t step_us;  /* when the present step began */
    uint32_t share_bp; /* of the present step */
    uint32_t epoch;    /* large rises of the share so far, and that share */
    uint32_t epoch_bp;
    uint32_t points; /* times that evidence was staked in this epoch */
    unsigned slices; /* closed since the last of them */
    struct gate_window window;
    struct gate_tests tests[GATE_CHECK_COUNT]; /* by place in result.checks */
    struct gate_result result;
};

/* Whether a check compares with old. */
bool gate_compares(enum gate_check_kind kind);
/* The histogram that a check about latencies reads. */
const struct histogram_reading *gate_latencies(enum gate_check_kind kind, const struct gate_counts *counts);
/* gate_judge.c: fills result from evidence and window. */
void gate_judge(struct gate *gate);

#endif
