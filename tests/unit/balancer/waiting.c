/*
 * Clients that wait, for the tests of the queue: what they do is what the proxy does with a connection, one
 * call at a time, so that a test says in which order. See waiting.h. One thread.
 */
#include "tests/unit/balancer/waiting.h"

#include <string.h>

static void on_wake(struct routing_waiter *waiter)
{
    list_entry(waiter, struct waiting_client, waiter)->wakes++;
}

struct routing *waiting_routing(struct support_options *options, uint32_t limit, uint32_t size)
{
    options->workers = options->workers > 0 ? options->workers : 2;
    struct routing *r = support_routing(options);
    for (uint32_t g = 0; g < routing_groups(r); g++) {
        routing_set_queue(r, g, size, 5 * CLOCK_US_PER_S);
        for (size_t i = 0; i < routing_backends(r, g); i++) {
            routing_set_limit(r, support_backend(r, g, i), limit);
        }
    }
    support_publish(r);
    return r;
}

int waiting_arrive(struct routing *r, struct support_picker *picker, struct waiting_client *client)
{
    memset(client, 0, sizeof(*client));
    client->waiter.wake = on_wake;
    if (routing_pick(routing_view(r), &picker->input, &client->attempts, &client->lease) == 0) {
        return 0;
    }
    client->waits = routing_wait(r, &client->waiter, &client->attempts, picker->input.now_us) == 0;
    return client->waits ? 1 : -1;
}

int waiting_hear(struct routing *r, struct support_picker *picker, struct waiting_client *client)
{
    assert_true(client->wakes > 0);
    client->wakes--;
    if (!client->waits) {
        client->waiter.woken = false;
        return ERR_STATE;
    }
    int rc = routing_wait_turn(r, &client->waiter, &picker->input, &client->attempts, &client->lease);
    client->waits = rc == ERR_LIMIT;
    return rc;
}

void waiting_go(struct routing *r, struct waiting_client *client)
{
    uint32_t group = client->lease.group;
    lease_release(&client->lease, -1, 0);
    routing_wake(r, group);
}

uint32_t waiting_count(const struct routing *r, size_t group)
{
    static struct routing_queue_reading reading;
    routing_queue_read(r, group, &reading);
    return reading.waiting;
}
