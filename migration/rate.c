/*
 * How many connections a minute the service gets, from the counters of its backends, looked at every few
 * seconds: what a plan shows as the clients that a step would expose. Control thread.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"

#include <event2/event.h>

#define EVERY_US (5 * CLOCK_US_PER_S)

uint64_t rate_count(const struct migration *m)
{
    uint64_t sum = 0;

    for (size_t g = 0; g < routing_groups(m->options.routing); g++) {
        for (size_t b = 0; b < routing_backends(m->options.routing, g); b++) {
            struct stats_backend_reading reading;

            backend_read(routing_backend_at(m->options.routing, g, b), &reading);
            sum += reading.connections;
        }
    }
    return sum;
}

void rate_look(struct migration *m, uint64_t now_us)
{
    struct rate *rate = &m->rate;

    rate->looks[rate->next % RATE_LOOKS] = (struct rate_look){.at_us = now_us, .count = rate_count(m)};
    rate->next++;
}

double migration_rate_per_minute(const struct migration *m)
{
    const struct rate *rate = &m->rate;
    uint64_t now_us = m->clock_us(m->clock_context);
    const struct rate_look *oldest = &rate->looks[rate->next < RATE_LOOKS ? 0 : rate->next % RATE_LOOKS];
    uint64_t passed;
    uint64_t count;

    if (rate->next == 0 || now_us - oldest->at_us < CLOCK_US_PER_S) {
        return -1.0;
    }
    passed = now_us - oldest->at_us;
    count = rate_count(m);
    if (count < oldest->count) { /* a backend and its counters are gone */
        return -1.0;
    }
    return (double)(count - oldest->count) * 60.0 * (double)CLOCK_US_PER_S / (double)passed;
}

static void on_look(evutil_socket_t fd, short what, void *context)
{
    struct migration *m = context;

    (void)fd;
    (void)what;
    rate_look(m, m->clock_us(m->clock_context));
}

int rate_begin(struct migration *m)
{
    struct timeval every = {.tv_sec = EVERY_US / CLOCK_US_PER_S};

    m->rate.timer = event_new(m->options.base, -1, EV_PERSIST, on_look, m);
    if (m->rate.timer == NULL || event_add(m->rate.timer, &every) != 0) {
        return ERR_NOMEM;
    }
    rate_look(m, m->clock_us(m->clock_context));
    return 0;
}

void rate_end(struct migration *m)
{
    if (m->rate.timer != NULL) {
        event_free(m->rate.timer);
    }
}
