/*
 * Passive detection of outliers: which backend is taken out because live connections to it fail, for how
 * long, and how it comes back. After Envoy's "consecutive" detectors (its documentation, "Outlier detection")
 * with the growing time and the cap of these. Pure: time and all that is seen are arguments; the state is a
 * struct backend_ejection. One thread at a time.
 *
 *     serving ──failures in a row──▶ out ──its time is over──▶ proving ──`rise` checks pass──▶ trial
 *        ▲                            ▲ └────────────────── without checks ───────────────────▶ │ │
 *        │                            └───────────────────── one failure ──────────────────────┘ │
 *        └────────────────────────────────────── a success ──────────────────────────────────────┘
 */
#ifndef HEALTH_OUTLIER_H
#define HEALTH_OUTLIER_H

#include "balancer/routing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* While a backend is on trial it is looked at this often, whether or not something failed. */
#define OUTLIER_TRIAL_LOOK_US UINT64_C(1000000)

/* Of one group. */
struct outlier_rules {
    struct backend_runs limits; /* failures in a row, by kind; 0: not looked at */
    uint64_t base_us, max_us;   /* out for base times the ejections that count, at most max */
    uint32_t max_ejected_bp;    /* of the group's backends; one may always be out, while another is usable */
    bool checked;               /* checks have to pass on the way back */
    uint32_t rise;              /* so many in a row */
};

/* What is seen of one backend at a moment. */
struct outlier_sight {
    uint64_t now_us;
    struct backend_runs runs;
    uint64_t connected, answered; /* counters that only grow */
    bool usable;                  /* it may get new connections now */
    bool forced;                  /* an operator forced it up: detection has no say */
    size_t backends;              /* of the group, with this one */
    size_t ejected;               /* others that are out */
    size_t usable_others;
};

enum outlier_event {
    OUTLIER_NOTHING,
    OUTLIER_EJECTED,   /* takes no new connections from now on */
    OUTLIER_KEPT,      /* it should be ejected, but too many of the group are, or no other is usable */
    OUTLIER_PROVING,   /* the time is over; checks decide */
    OUTLIER_LET_IN,    /* the time is over and there are no checks: on trial */
    OUTLIER_ABSOLVED,  /* the trial ended well */
    OUTLIER_OVERRULED, /* an operator forced it up: what was held against it is forgotten */
};

/* Takes one look into account and says what happened; the caller asks again until NOTHING or KEPT. After
 * EJECTED and LET_IN the runs must be cleared. */
enum outlier_event outlier_step(struct backend_ejection *ejection, const struct outlier_rules *rules,
                                const struct outlier_sight *sight);

/* A check of the backend ended. True when it is let in again by that: on trial, and the runs must be cleared.
 */
bool outlier_check(struct backend_ejection *ejection, const struct outlier_rules *rules, bool passed,
                   const struct outlier_sight *sight);

/* When it must be looked at, whether or not something fails; UINT64_MAX: no need. */
uint64_t outlier_due(const struct backend_ejection *ejection, uint64_t now_us);

/* At how many failures in a row somebody must look. */
struct backend_runs outlier_alarm(const struct backend_ejection *ejection, const struct outlier_rules *rules);

/* The ejections that count now: one is forgotten for each stretch of service as long as the last took. */
uint32_t outlier_times(const struct backend_ejection *ejection, uint64_t now_us);

/* Why it was ejected, for people: "5 connect failures in a row". */
void outlier_describe(const struct backend_ejection *ejection, char *out, size_t out_size);
/* "connect failures", "timeouts", "resets before the first byte", "failed handshakes". */
const char *outlier_kind_text(enum stats_error kind);

#endif
