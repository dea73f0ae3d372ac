/*
 * Waiting for a backend with room on many threads at once: everybody is served, and no limit is exceeded.
 */
#include "tests/unit/balancer/waiting.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#define THREADS 4u
#define EACH 16u /* clients a thread plays */
#define SERVED 4000u
#define ROOM 6u

struct many_client {
    struct routing_waiter waiter;
    struct routing_attempts attempts;
    struct lease lease;
    bool waits;
    _Atomic unsigned words;
};

struct player {
    struct routing *routing;
    _Atomic uint32_t *holding;
    _Atomic bool *broken;
    _Atomic uint64_t *served;
    unsigned worker;
    pthread_t id;
};

static void on_word(struct routing_waiter *waiter)
{
    atomic_fetch_add(&list_entry(waiter, struct many_client, waiter)->words, 1);
}

static void hold(struct player *player)
{
    if (atomic_fetch_add(player->holding, 1) >= ROOM) {
        atomic_store(player->broken, true);
    }
    atomic_fetch_add(player->served, 1);
}

static void play_one(struct player *player, struct support_picker *picker, struct many_client *client)
{
    struct routing *r = player->routing;
    if (client->waits) {
        if (atomic_load(&client->words) == 0) {
            if (random_below(&picker->random, 5000) == 0) { /* it has no patience */
                routing_wait_leave(r, &client->waiter);
                client->waits = false;
            }
            return;
        }
        atomic_fetch_sub(&client->words, 1);
        int rc = routing_wait_turn(r, &client->waiter, &picker->input, &client->attempts, &client->lease);
        client->waits = rc == ERR_LIMIT;
        if (rc == 0) {
            hold(player);
        }
    } else if (client->lease.backend != NULL) {
        uint32_t group = client->lease.group;
        atomic_fetch_sub(player->holding, 1);
        lease_release(&client->lease, -1, 0);
        routing_wake(r, group);
    } else if (client->waiter.woken) { /* the last word is still to be taken away */
        if (atomic_load(&client->words) > 0) {
            atomic_fetch_sub(&client->words, 1);
            client->waiter.woken = false;
        }
    } else {
        memset(&client->attempts, 0, sizeof(client->attempts));
        client->waiter.arrival = 0;
        int rc = routing_pick(routing_view(r), &picker->input, &client->attempts, &client->lease);
        if (rc == 0) {
            hold(player);
        } else {
            assert_int_equal(rc, ERR_LIMIT);
            client->waits = routing_wait(r, &client->waiter, &client->attempts, picker->input.now_us) == 0;
        }
    }
}

static void *play(void *arg)
{
    struct player *player = arg;
    struct support_picker picker;
    static _Thread_local struct many_client clients[EACH];
    support_picker_init(&picker, player->routing, player->worker);
    memset(clients, 0, sizeof(clients));
    for (unsigned i = 0; i < EACH; i++) {
        clients[i].waiter.wake = on_word;
    }
    while (atomic_load(player->served) < SERVED) {
        uint64_t before = atomic_load(player->served);
        for (unsigned i = 0; i < EACH; i++) {
            picker.input.now_us++;
            play_one(player, &picker, &clients[i]);
        }
        if (atomic_load(player->served) == before) {
            (void)sched_yield();
        }
    }
    for (unsigned i = 0; i < EACH; i++) {
        if (clients[i].waits) {
            routing_wait_leave(player->routing, &clients[i].waiter);
        }
        if (clients[i].lease.backend != NULL) {
            uint32_t group = clients[i].lease.group;
            atomic_fetch_sub(player->holding, 1);
            lease_release(&clients[i].lease, -1, 0);
            routing_wake(player->routing, group);
        }
    }
    return NULL;
}

/* Comes to its end only if nobody is forgotten. */
static void four_workers_serve_everybody_and_exceed_nothing(void **state)
{
    (void)state;
    struct routing *r =
        waiting_routing(&(struct support_options){.backends = {3}, .workers = THREADS}, ROOM / 3, 1000);
    _Atomic uint32_t holding = 0;
    _Atomic bool broken = false;
    _Atomic uint64_t served = 0;
    struct player players[THREADS];
    for (unsigned t = 0; t < THREADS; t++) {
        players[t] = (struct player){
            .routing = r, .holding = &holding, .broken = &broken, .served = &served, .worker = t};
        assert_int_equal(pthread_create(&players[t].id, NULL, play, &players[t]), 0);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_join(players[t].id, NULL), 0);
    }
    assert_false(atomic_load(&broken));
    assert_int_equal(waiting_count(r, 0), 0);
    assert_int_equal(routing_open(r, 0), 0);
    routing_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(four_workers_serve_everybody_and_exceed_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
