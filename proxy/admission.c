/*
 * Answers for whether one more connection is let in. The client's own limits are asked first, so that one who
 * is over them does not use up what is there for all. A rate lets its number come at once and then one each
 * interval (generic cell rate algorithm, ITU-T I.371, annex A). What is in force is read with one load, so
 * that it may change while connections come and go. Any thread.
 */
#include "proxy/admission.h"

#include "core/clock.h"
#include "core/units.h"
#include "proxy/tracker.h"

#include <stdatomic.h>
#include <stdlib.h>

#define NS_PER_US 1000u
#define NS_PER_S UINT64_C(1000000000)

struct admission_limits {
    uint64_t connections; /* 0: any number */
    uint64_t interval_ns; /* 0: no rate */
    uint64_t burst_ns;
    unsigned prefix_ipv4, prefix_ipv6;
    struct tracker_limits client;
    struct tracker *tracker; /* counted; NULL: clients have no limits of their own */
    uint64_t table_size;
};

struct admission {
    _Atomic(struct admission_limits *) limits; /* owned; never NULL */
    _Atomic uint64_t open;
    _Atomic uint64_t caught_up_ns;
};

static void set_rate(uint64_t rate, uint64_t *interval_ns, uint64_t *burst_ns)
{
    if (rate != UINT64_MAX && UNITS_RATE_COUNT(rate) > 0) {
        *interval_ns = UNITS_RATE_PERIOD_S(rate) * NS_PER_S / UNITS_RATE_COUNT(rate);
        *burst_ns = *interval_ns * (UNITS_RATE_COUNT(rate) - 1);
    }
}

int admission_limits_create(const struct admission *admission, const struct config_limits *limits,
                            struct admission_limits **out, struct err_text *err)
{
    const struct admission_limits *before =
        admission != NULL ? atomic_load_explicit(&admission->limits, memory_order_relaxed) : NULL;
    struct admission_limits *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for limits");
    }
    made->connections = limits->connections;
    made->prefix_ipv4 = limits->prefix_ipv4;
    made->prefix_ipv6 = limits->prefix_ipv6;
    made->table_size = limits->table_size;
    made->client.open = limits->connections_per_client;
    set_rate(limits->rate, &made->interval_ns, &made->burst_ns);
    set_rate(limits->rate_per_client, &made->client.interval_ns, &made->client.burst_ns);
    int code = 0;
    if (limits->connections_per_client > 0 || limits->rate_per_client != UINT64_MAX) {
        if (before != NULL && before->tracker != NULL && before->table_size == made->table_size) {
            made->tracker = tracker_share(before->tracker);
        } else {
            code = tracker_create(limits->table_size, &made->tracker, err);
        }
    }
    if (code != 0) {
        free(made);
        return code;
    }
    *out = made;
    return 0;
}

struct admission_limits *admission_limits_replace(struct admission *admission,
                                                  struct admission_limits *limits)
{
    return atomic_exchange_explicit(&admission->limits, limits, memory_order_acq_rel);
}

void admission_limits_destroy(void *limits)
{
    struct admission_limits *gone = limits;
    if (gone != NULL) {
        tracker_drop(gone->tracker);
        free(gone);
    }
}

int admission_create(const struct config_limits *limits, struct admission **out, struct err_text *err)
{
    struct admission_limits *made = NULL;
    struct admission *admission = calloc(1, sizeof(*admission));
    if (admission == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for limits");
    }
    int code = admission_limits_create(NULL, limits, &made, err);
    if (code != 0) {
        free(admission);
        return code;
    }
    atomic_init(&admission->limits, made);
    *out = admission;
    return 0;
}

void admission_destroy(struct admission *admission)
{
    if (admission != NULL) {
        admission_limits_destroy(atomic_load_explicit(&admission->limits, memory_order_relaxed));
        free(admission);
    }
}

static enum admission_verdict enter_client(const struct admission_limits *limits,
                                           const struct addr_ip *client, uint64_t now_us,
                                           struct admission_claim *claim)
{
    struct addr_ip key = *client;
    if (limits->tracker == NULL || client->family == 0) {
        return ADMISSION_LET_IN;
    }
    addr_ip_mask(&key, limits->prefix_ipv4, limits->prefix_ipv6);
    switch (tracker_take(limits->tracker, &limits->client, &key, now_us, &claim->client)) {
    case TRACKER_TAKEN:
        claim->tracker = limits->tracker;
        return ADMISSION_LET_IN;
    case TRACKER_TOO_MANY:
        return ADMISSION_TOO_MANY;
    case TRACKER_TOO_OFTEN:
        return ADMISSION_TOO_OFTEN;
    case TRACKER_NO_ROOM:
        break;
    }
    return ADMISSION_UNTRACKED;
}

/* Takes one from the rate of all; false when it has none left. */
static bool take_turn(struct admission *admission, const struct admission_limits *limits, uint64_t now_ns)
{
    uint64_t seen = atomic_load_explicit(&admission->caught_up_ns, memory_order_relaxed);
    uint64_t from_ns;
    do {
        from_ns = tracker_rate_from(seen, limits->interval_ns, limits->burst_ns, now_ns);
        if (from_ns - now_ns > limits->burst_ns) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&admission->caught_up_ns, &seen,
                                                    from_ns + limits->interval_ns, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

enum admission_verdict admission_enter(struct admission *admission, const struct addr_ip *client,
                                       uint64_t now_us, struct admission_claim *claim)
{
    *claim = (struct admission_claim){.counted = false};
    if (admission == NULL) {
        return ADMISSION_LET_IN;
    }
    const struct admission_limits *limits = atomic_load_explicit(&admission->limits, memory_order_acquire);
    enum admission_verdict verdict = enter_client(limits, client, now_us, claim);
    if (verdict != ADMISSION_LET_IN && verdict != ADMISSION_UNTRACKED) {
        return verdict;
    }
    claim->counted = true;
    uint64_t before = atomic_fetch_add_explicit(&admission->open, 1, memory_order_relaxed);
    if (limits->connections > 0 && before >= limits->connections) {
        verdict = ADMISSION_TOO_MANY;
    } else if (limits->interval_ns > 0 && !take_turn(admission, limits, now_us * NS_PER_US)) {
        verdict = ADMISSION_TOO_OFTEN;
    }
    if (verdict == ADMISSION_TOO_MANY || verdict == ADMISSION_TOO_OFTEN) {
        admission_leave(admission, claim);
    }
    return verdict;
}

void admission_leave(struct admission *admission, struct admission_claim *claim)
{
    if (claim->tracker != NULL) {
        tracker_give(claim->tracker, claim->client);
        claim->tracker = NULL;
    }
    if (claim->counted) {
        atomic_fetch_sub_explicit(&admission->open, 1, memory_order_relaxed);
        claim->counted = false;
    }
}
