/*
 * Answers for whether one more connection is let in. The client's own limits are asked first, so that one who
 * is over them does not use up what is there for all. A rate lets its number come at once and then one each
 * interval (generic cell rate algorithm, ITU-T I.371, annex A). Any thread.
 */
#include "proxy/admission.h"

#include "core/clock.h"
#include "core/units.h"
#include "proxy/tracker.h"

#include <stdatomic.h>
#include <stdlib.h>

#define NS_PER_US 1000u
#define NS_PER_S UINT64_C(1000000000)

struct admission {
    uint64_t connections; /* 0: any number */
    uint64_t interval_ns; /* 0: no rate */
    uint64_t burst_ns;
    unsigned prefix_ipv4, prefix_ipv6;
    struct tracker_limits client;
    struct tracker *tracker; /* owned; NULL: clients have no limits of their own */
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

int admission_create(const struct config_limits *limits, struct admission **out, struct err_text *err)
{
    bool per_client = limits->connections_per_client > 0 || limits->rate_per_client != UINT64_MAX;
    *out = NULL;
    if (limits->connections == 0 && limits->rate == UINT64_MAX && !per_client) {
        return 0;
    }
    struct admission *admission = calloc(1, sizeof(*admission));
    if (admission == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for limits");
    }
    admission->connections = limits->connections;
    admission->prefix_ipv4 = limits->prefix_ipv4;
    admission->prefix_ipv6 = limits->prefix_ipv6;
    admission->client.open = limits->connections_per_client;
    set_rate(limits->rate, &admission->interval_ns, &admission->burst_ns);
    set_rate(limits->rate_per_client, &admission->client.interval_ns, &admission->client.burst_ns);
    int code = per_client ? tracker_create(limits->table_size, &admission->tracker, err) : 0;
    if (code != 0) {
        free(admission);
        return code;
    }
    *out = admission;
    return 0;
}

void admission_destroy(struct admission *admission)
{
    if (admission != NULL) {
        tracker_destroy(admission->tracker);
        free(admission);
    }
}

static enum admission_verdict enter_client(struct admission *admission, const struct addr_ip *client,
                                           uint64_t now_us, struct admission_claim *claim)
{
    struct addr_ip key = *client;
    if (admission->tracker == NULL || client->family == 0) {
        return ADMISSION_LET_IN;
    }
    addr_ip_mask(&key, admission->prefix_ipv4, admission->prefix_ipv6);
    switch (tracker_take(admission->tracker, &admission->client, &key, now_us, &claim->client)) {
    case TRACKER_TAKEN:
        claim->tracked = true;
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
static bool take_turn(struct admission *admission, uint64_t now_ns)
{
    uint64_t seen = atomic_load_explicit(&admission->caught_up_ns, memory_order_relaxed);
    uint64_t from_ns;
    do {
        from_ns = seen > now_ns ? seen : now_ns;
        if (from_ns - now_ns > admission->burst_ns) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&admission->caught_up_ns, &seen,
                                                    from_ns + admission->interval_ns, memory_order_relaxed,
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
    enum admission_verdict verdict = enter_client(admission, client, now_us, claim);
    if (verdict != ADMISSION_LET_IN && verdict != ADMISSION_UNTRACKED) {
        return verdict;
    }
    claim->counted = true;
    uint64_t before = atomic_fetch_add_explicit(&admission->open, 1, memory_order_relaxed);
    if (admission->connections > 0 && before >= admission->connections) {
        verdict = ADMISSION_TOO_MANY;
    } else if (admission->interval_ns > 0 && !take_turn(admission, now_us * NS_PER_US)) {
        verdict = ADMISSION_TOO_OFTEN;
    }
    if (verdict == ADMISSION_TOO_MANY || verdict == ADMISSION_TOO_OFTEN) {
        admission_leave(admission, claim);
    }
    return verdict;
}

void admission_leave(struct admission *admission, struct admission_claim *claim)
{
    if (claim->tracked) {
        tracker_give(admission->tracker, claim->client);
        claim->tracked = false;
    }
    if (claim->counted) {
        atomic_fetch_sub_explicit(&admission->open, 1, memory_order_relaxed);
        claim->counted = false;
    }
}
