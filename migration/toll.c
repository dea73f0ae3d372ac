/*
 * What a migration has cost: the connections that the target failed since it began, by reason, for the line
 * that says how it ended. Control thread; only reads the counters of the routing. What follows from failures
 * is the gate's business (migration/judge.c).
 */
#include "migration/migration_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void add_up(const struct migration *m, uint64_t sums[STATS_ERROR_COUNT])
{
    memset(sums, 0, STATS_ERROR_COUNT * sizeof(sums[0]));
    if (m->machine.target == ROUTING_NONE) {
        return;
    }
    for (size_t i = 0; i < routing_backends(m->options.routing, m->machine.target); i++) {
        struct stats_backend_reading reading;

        backend_read(routing_backend_at(m->options.routing, m->machine.target, i), &reading);
        for (size_t e = 0; e < STATS_ERROR_COUNT; e++) {
            sums[e] += reading.errors[e];
        }
    }
}

void toll_begin(struct migration *m)
{
    add_up(m, m->toll_from);
}

void toll_narrate(const struct migration *m, char *out, size_t out_size)
{
    uint64_t sums[STATS_ERROR_COUNT];
    uint64_t all = 0;
    size_t len;

    add_up(m, sums);
    for (size_t e = 0; e < STATS_ERROR_COUNT; e++) {
        sums[e] -= m->toll_from[e] < sums[e] ? m->toll_from[e] : sums[e]; /* a backend may be gone */
        all += sums[e];
    }
    out[0] = '\0';
    if (all == 0) {
        return;
    }
    snprintf(out, out_size, "; %s failed %" PRIu64 " (", migration_group_name(m, m->machine.target), all);
    for (size_t e = 0; e < STATS_ERROR_COUNT; e++) {
        len = strlen(out);
        if (sums[e] > 0) {
            snprintf(out + len, out_size - len, "%s%s %" PRIu64, out[len - 1] == '(' ? "" : ", ",
                     stats_error_name((enum stats_error)e), sums[e]);
        }
    }
    len = strlen(out);
    snprintf(out + len, out_size - len, ")");
}
