/*
 * Waiting for a backend with room: in order of arrival, nobody forgotten, nobody woken in vain by the dozen,
 * and what a share, a state or a limit that changes meanwhile does to those who wait.
 */
#include "tests/unit/balancer/support.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* A connection of the test: waits, is woken, holds a lease. */
struct client {
    struct routing_waiter waiter;
    struct routing_attempts attempts;
    struct lease lease;
    bool waits;
    unsigned wakes; /* words on their way */
};

static void on_wake(struct routing_waiter *waiter)
{
    list_entry(waiter, struct client, waiter)->wakes++;
}

static struct routing *routing_of(struct support_options *options, uint32_t limit, uint32_t size)
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

/* Served at once (0), waiting (1), or refused (-1). */
static int arrive(struct routing *r, struct support_picker *picker, struct client *client)
{
    memset(client, 0, sizeof(*client));
    client->waiter.wake = on_wake;
    if (routing_pick(routing_view(r), &picker->input, &client->attempts, &client->lease) == 0) {
        return 0;
    }
    client->waits = routing_wait(r, &client->waiter, &client->attempts, picker->input.now_us) == 0;
    return client->waits ? 1 : -1;
}

/* The word arrives. Whether it was served. */
static int hear(struct routing *r, struct support_picker *picker, struct client *client)
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

static void go(struct routing *r, struct client *client)
{
    uint32_t group = client->lease.group;
    lease_release(&client->lease, -1, 0);
    routing_wake(r, group);
}

static uint32_t waiting(const struct routing *r, size_t group)
{
    static struct routing_queue_reading reading;
    routing_queue_read(r, group, &reading);
    return reading.waiting;
}

static void they_are_served_in_order_of_arrival_over_all_workers(void **state)
{
    (void)state;
    for (enum config_balance balance = 0; balance <= CONFIG_BALANCE_HASH; balance++) {
        struct routing *r =
            routing_of(&(struct support_options){.balance = balance, .backends = {2}}, 2, 100);
        struct support_picker pickers[2];
        static struct client clients[24];
        support_picker_init(&pickers[0], r, 0);
        support_picker_init(&pickers[1], r, 1);
        for (unsigned n = 0; n < 24; n++) {
            assert_int_equal(arrive(r, &pickers[n % 2], &clients[n]), n < 4 ? 0 : 1);
        }
        assert_int_equal(waiting(r, 0), 20);
        for (unsigned n = 0; n < 20; n++) {
            pickers[n % 2].input.now_us += CLOCK_US_PER_S;
            go(r, &clients[n]);
            for (unsigned m = 4; m < 24; m++) {
                assert_int_equal(clients[m].wakes, m == n + 4);
            }
            /* Somebody new cannot overtake, though there is room. */
            struct client late;
            assert_int_equal(arrive(r, &pickers[0], &late), 1);
            assert_int_equal(late.wakes, 0);
            routing_wait_leave(r, &late.waiter);
            assert_int_equal(hear(r, &pickers[n % 2], &clients[n + 4]), 0);
        }
        assert_int_equal(waiting(r, 0), 0);
        static struct routing_queue_reading reading;
        routing_queue_read(r, 0, &reading);
        assert_int_equal(reading.waited_us.count, 20);
        assert_true(reading.waited_us.sum_us > CLOCK_US_PER_S);
        for (unsigned n = 20; n < 24; n++) {
            go(r, &clients[n]);
        }
        assert_int_equal(arrive(r, &pickers[0], &clients[0]), 0);
        go(r, &clients[0]);
        routing_destroy(r);
    }
}

static void the_queue_is_bounded_and_the_bound_may_change(void **state)
{
    (void)state;
    struct routing *r = routing_of(&(struct support_options){.backends = {1}}, 1, 2);
    struct support_picker picker;
    struct client clients[6];
    support_picker_init(&picker, r, 0);
    assert_int_equal(arrive(r, &picker, &clients[0]), 0);
    assert_int_equal(arrive(r, &picker, &clients[1]), 1);
    assert_int_equal(arrive(r, &picker, &clients[2]), 1);
    assert_int_equal(arrive(r, &picker, &clients[3]), -1);
    routing_set_queue(r, 0, 3, 7 * CLOCK_US_PER_S);
    assert_int_equal(arrive(r, &picker, &clients[4]), 1);
    assert_int_equal(routing_wait_due_us(r, &clients[1].waiter), picker.input.now_us + 7 * CLOCK_US_PER_S);
    routing_set_queue(r, 0, 0, CLOCK_US_PER_S); /* those that are in it stay */
    assert_int_equal(arrive(r, &picker, &clients[5]), -1);
    assert_int_equal(waiting(r, 0), 3);
    go(r, &clients[0]);
    assert_int_equal(hear(r, &picker, &clients[1]), 0);
    routing_wait_leave(r, &clients[2].waiter);
    routing_wait_leave(r, &clients[4].waiter);
    assert_int_equal(waiting(r, 0), 0);
    go(r, &clients[1]);
    routing_destroy(r);
}

static void who_leaves_hands_the_word_on(void **state)
{
    (void)state;
    struct routing *r = routing_of(&(struct support_options){.backends = {1}}, 1, 100);
    struct support_picker picker;
    struct client clients[4];
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 4; n++) {
        (void)arrive(r, &picker, &clients[n]);
    }
    go(r, &clients[0]);
    assert_int_equal(clients[1].wakes, 1);
    routing_wait_leave(r, &clients[1].waiter); /* the word is on its way to nobody */
    clients[1].waits = false;
    assert_true(clients[1].waiter.woken);
    assert_int_equal(clients[2].wakes, 1);
    assert_int_equal(clients[3].wakes, 0);
    assert_int_equal(hear(r, &picker, &clients[1]), ERR_STATE);
    assert_int_equal(hear(r, &picker, &clients[2]), 0);
    assert_int_equal(clients[3].wakes, 0);
    go(r, &clients[2]);
    assert_int_equal(hear(r, &picker, &clients[3]), 0);
    go(r, &clients[3]);
    routing_destroy(r);
}

static void a_raised_limit_wakes_as_many_as_it_makes_room_for(void **state)
{
    (void)state;
    struct routing *r = routing_of(&(struct support_options){.backends = {2}}, 1, 100);
    struct support_picker picker;
    struct client clients[12];
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 12; n++) {
        assert_int_equal(arrive(r, &picker, &clients[n]), n < 2 ? 0 : 1);
    }
    routing_set_limit(r, support_backend(r, 0, 0), 4);
    support_publish(r);
    for (unsigned n = 2; n < 12; n++) {
        assert_int_equal(clients[n].wakes, n < 5);
    }
    for (unsigned n = 2; n < 5; n++) {
        assert_int_equal(hear(r, &picker, &clients[n]), 0);
        assert_int_equal(clients[5].wakes, 0);
    }
    /* An agent's word counts like the file's. */
    routing_set_agent_limit(r, support_backend(r, 0, 0), 2);
    routing_set_limit(r, support_backend(r, 0, 1), 0);
    support_publish(r);
    for (unsigned n = 5; n < 12; n++) {
        assert_int_equal(hear(r, &picker, &clients[n]), 0);
    }
    for (unsigned n = 0; n < 12; n++) {
        go(r, &clients[n]);
    }
    routing_destroy(r);
}

static void a_group_that_goes_down_tells_those_who_wait(void **state)
{
    (void)state;
    struct routing *r = routing_of(&(struct support_options){.backends = {2}}, 1, 100);
    struct support_picker picker;
    struct client clients[6];
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 6; n++) {
        (void)arrive(r, &picker, &clients[n]);
    }
    support_all_states(r, 0, BACKEND_DOWN);
    for (unsigned n = 2; n < 6; n++) {
        assert_int_equal(hear(r, &picker, &clients[n]), ERR_UNAVAILABLE);
    }
    assert_int_equal(waiting(r, 0), 0);
    go(r, &clients[0]);
    go(r, &clients[1]);
    routing_destroy(r);
}

static void one_that_tried_a_backend_waits_for_another(void **state)
{
    (void)state;
    struct routing *r = routing_of(&(struct support_options){.backends = {2}}, 1, 100);
    struct support_picker picker;
    struct client first;
    struct client second;
    struct client choosy;
    support_picker_init(&picker, r, 0);
    assert_int_equal(arrive(r, &picker, &first), 0);
    assert_int_equal(arrive(r, &picker, &choosy), 0);
    /* Connecting fails: what is left is full, and what has room it has tried. */
    struct backend *tried = choosy.lease.backend;
    lease_release(&choosy.lease, STATS_ERROR_CONNECT, 0);
    assert_int_equal(routing_pick(routing_view(r), &picker.input, &choosy.attempts, &choosy.lease),
                     ERR_LIMIT);
    assert_int_equal(routing_wait(r, &choosy.waiter, &choosy.attempts, picker.input.now_us), 0);
    choosy.waits = true;
    assert_int_equal(choosy.wakes, 0);
    /* It does not stand in the way of others. */
    assert_int_equal(arrive(r, &picker, &second), 1);
    assert_int_equal(choosy.wakes, 0);
    assert_int_equal(hear(r, &picker, &second), 0);
    assert_ptr_equal(second.lease.backend, tried);
    go(r, &second);
    assert_int_equal(choosy.wakes, 0);
    go(r, &first);
    assert_int_equal(hear(r, &picker, &choosy), 0);
    assert_ptr_not_equal(choosy.lease.backend, tried);
    go(r, &choosy);
    routing_destroy(r);
}

/* ---- during a migration */

#define CROWD 400u

/* A crowd before two full groups at a share; how many wait for the target. */
static unsigned crowd(struct routing *r, struct support_picker *picker, struct client *clients)
{
    for (unsigned n = 0; n < CROWD; n++) {
        support_client(picker, n);
        (void)arrive(r, picker, &clients[n]);
    }
    return waiting(r, 1);
}

static void everybody_hears(struct routing *r, struct support_picker *picker, struct client *clients)
{
    bool any = true;
    for (unsigned rounds = 0; any; rounds++) {
        any = false;
        for (unsigned n = 0; n < CROWD; n++) {
            support_client(picker, n);
            if (clients[n].wakes > 0) {
                (void)hear(r, picker, &clients[n]);
                any = true;
            }
        }
        assert_true(rounds < 10); /* it comes to rest */
    }
}

static void all_leave(struct routing *r, struct client *clients)
{
    for (unsigned n = 0; n < CROWD; n++) {
        if (clients[n].waits) {
            routing_wait_leave(r, &clients[n].waiter);
        } else if (clients[n].lease.backend != NULL) {
            go(r, &clients[n]);
        }
    }
    assert_int_equal(waiting(r, 0) + waiting(r, 1), 0);
    assert_int_equal(routing_open(r, 0) + routing_open(r, 1), 0);
}

static struct routing *migrating(enum config_assign assign, uint32_t share_bp)
{
    struct routing *r = routing_of(
        &(struct support_options){.assign = assign, .fallback = true, .groups = 2, .backends = {1, 1}}, 1,
        CROWD);
    routing_set_target(r, 1);
    routing_set_share(r, share_bp);
    support_publish(r);
    return r;
}

static void a_changed_share_moves_those_who_wait_one_way(void **state)
{
    (void)state;
    static struct client clients[CROWD];
    static const uint32_t shares[] = {2500, 5000, 4000, 10000, 1000, 0, 7500};
    for (int assign = CONFIG_ASSIGN_CONNECTION; assign <= CONFIG_ASSIGN_CLIENT; assign++) {
        struct routing *r = migrating((enum config_assign)assign, shares[0]);
        struct support_picker picker;
        support_picker_init(&picker, r, 0);
        unsigned target = crowd(r, &picker, clients);
        double due = CROWD * 0.25;
        assert_true(target > due * 0.75 && target < due * 1.3);
        for (size_t s = 1; s < sizeof(shares) / sizeof(shares[0]); s++) {
            bool was[CROWD];
            for (unsigned n = 0; n < CROWD; n++) {
                was[n] = clients[n].waits && clients[n].waiter.group == 1;
            }
            routing_set_share(r, shares[s]);
            support_publish(r);
            everybody_hears(r, &picker, clients);
            unsigned moved_against = 0;
            for (unsigned n = 0; n < CROWD; n++) {
                bool is = clients[n].waits && clients[n].waiter.group == 1;
                moved_against += clients[n].waits && is != was[n] && is != (shares[s] > shares[s - 1]);
            }
            assert_int_equal(moved_against, 0);
            due = (CROWD - 2) * (shares[s] / 10000.0);
            unsigned now = waiting(r, 1);
            assert_int_equal(waiting(r, 0) + now, CROWD - 2);
            assert_true(now >= due * 0.8 - 2 && now <= due * 1.2 + 2);
            /* In each queue they stand by arrival. */
            assert_true(shares[s] != 0 || now == 0);
            assert_true(shares[s] != 10000 || waiting(r, 0) == 0);
        }
        all_leave(r, clients);
        routing_destroy(r);
    }
}

static void an_abort_lets_those_who_wait_for_new_go_to_old(void **state)
{
    (void)state;
    static struct client clients[CROWD];
    struct routing *r = migrating(CONFIG_ASSIGN_CONNECTION, 5000);
    struct support_picker picker;
    support_picker_init(&picker, r, 0);
    (void)crowd(r, &picker, clients);
    assert_int_equal(waiting(r, 1), CROWD / 2 - 1);
    routing_set_share(r, 0);
    routing_set_target(r, ROUTING_NONE);
    routing_set_limit(r, support_backend(r, 0, 0), 0);
    support_publish(r);
    everybody_hears(r, &picker, clients);
    assert_int_equal(waiting(r, 0) + waiting(r, 1), 0);
    assert_int_equal(routing_open(r, 0), CROWD - 1);
    all_leave(r, clients);
    routing_destroy(r);
}

/* Waiting draws no second ticket: of all connections together the target has its exact part, wherever those
 * that wait stand and however often they are woken. */
static void the_exact_share_counts_each_connection_once(void **state)
{
    (void)state;
    static struct client clients[CROWD];
    struct routing *r = migrating(CONFIG_ASSIGN_CONNECTION, 3000);
    struct support_picker picker;
    unsigned counts[2] = {0, 0};
    support_picker_init(&picker, r, 0);
    (void)crowd(r, &picker, clients);
    for (unsigned round = 0; waiting(r, 0) + waiting(r, 1) > 0; round++) {
        for (unsigned n = 0; n < CROWD; n++) {
            if (clients[n].lease.backend != NULL) {
                counts[clients[n].lease.group]++;
                go(r, &clients[n]);
            }
        }
        /* Publishing something else in between wakes nobody for nothing and moves nobody. */
        routing_set_weight(r, support_backend(r, 0, 0), 1 + round % 2);
        support_publish(r);
        everybody_hears(r, &picker, clients);
    }
    for (unsigned n = 0; n < CROWD; n++) {
        if (clients[n].lease.backend != NULL) {
            counts[clients[n].lease.group]++;
            go(r, &clients[n]);
        }
    }
    assert_int_equal(counts[0] + counts[1], CROWD);
    assert_int_equal(counts[1], CROWD * 3 / 10);
    routing_destroy(r);
}

static void with_fallback_when_full_room_in_the_other_group_counts(void **state)
{
    (void)state;
    struct routing *r = routing_of(
        &(struct support_options){
            .fallback = true, .fallback_when_full = true, .groups = 2, .backends = {1, 1}},
        1, 100);
    struct support_picker picker;
    struct client clients[4];
    routing_set_target(r, 1);
    routing_set_share(r, 10000);
    support_publish(r);
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 4; n++) {
        assert_int_equal(arrive(r, &picker, &clients[n]), n < 2 ? 0 : 1);
    }
    assert_int_equal(waiting(r, 1), 2); /* in the queue of its own */
    assert_true(clients[1].lease.spilled);
    go(r, &clients[1]);
    assert_int_equal(hear(r, &picker, &clients[2]), 0);
    assert_true(clients[2].lease.spilled);
    go(r, &clients[0]);
    assert_int_equal(hear(r, &picker, &clients[3]), 0);
    assert_false(clients[3].lease.spilled);
    go(r, &clients[2]);
    go(r, &clients[3]);
    routing_destroy(r);
}

/* The group that would help has nobody: no reason to wake anyone, again and again. */
static void a_helper_without_backends_wakes_nobody(void **state)
{
    (void)state;
    struct routing *r = routing_of(
        &(struct support_options){
            .fallback = true, .fallback_when_full = true, .groups = 2, .backends = {1, 1}},
        1, 100);
    struct support_picker picker;
    struct client clients[3];
    routing_set_target(r, 1);
    routing_set_share(r, 10000);
    support_all_states(r, 0, BACKEND_DOWN);
    support_picker_init(&picker, r, 0);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(arrive(r, &picker, &clients[n]), n < 1 ? 0 : 1);
        assert_int_equal(clients[n].wakes, 0);
    }
    go(r, &clients[0]);
    assert_int_equal(clients[1].wakes, 1);
    assert_int_equal(clients[2].wakes, 0);
    assert_int_equal(hear(r, &picker, &clients[1]), 0);
    assert_int_equal(clients[2].wakes, 0);
    support_all_states(r, 0, BACKEND_UP);
    assert_int_equal(hear(r, &picker, &clients[2]), 0);
    assert_true(clients[2].lease.spilled);
    go(r, &clients[1]);
    go(r, &clients[2]);
    routing_destroy(r);
}

/* A group that comes into a panic hands over, or refuses, those who wait for it too. */
static void a_panic_counts_for_those_who_wait(void **state)
{
    (void)state;
    static const enum config_panic actions[] = {CONFIG_PANIC_OTHER_GROUP, CONFIG_PANIC_REFUSE};
    for (unsigned a = 0; a < 2; a++) {
        struct routing *r =
            routing_of(&(struct support_options){.fallback = true,
                                                 .panic = {.threshold_bp = 10000, .action = actions[a]},
                                                 .groups = 2,
                                                 .backends = {2, 2}},
                       1, 100);
        struct support_picker picker;
        struct client clients[4];
        routing_set_target(r, 1);
        routing_set_share(r, 10000);
        support_publish(r);
        support_picker_init(&picker, r, 0);
        for (unsigned n = 0; n < 4; n++) {
            assert_int_equal(arrive(r, &picker, &clients[n]), n < 2 ? 0 : 1);
        }
        routing_set_state(r, support_backend(r, 1, 0), BACKEND_DOWN);
        support_publish(r);
        bool refuses = actions[a] == CONFIG_PANIC_REFUSE;
        for (unsigned n = 2; n < 4; n++) {
            assert_int_equal(hear(r, &picker, &clients[n]), refuses ? ERR_UNAVAILABLE : 0);
        }
        assert_int_equal(waiting(r, 1), 0);
        assert_int_equal(routing_open(r, 0), refuses ? 0 : 2);
        for (unsigned n = 0; n < (refuses ? 2 : 4); n++) {
            go(r, &clients[n]);
        }
        routing_destroy(r);
    }
}

/* ---- many threads */

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
        routing_of(&(struct support_options){.backends = {3}, .workers = THREADS}, ROOM / 3, 1000);
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
    assert_int_equal(waiting(r, 0), 0);
    assert_int_equal(routing_open(r, 0), 0);
    routing_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_served_in_order_of_arrival_over_all_workers),
        cmocka_unit_test(the_queue_is_bounded_and_the_bound_may_change),
        cmocka_unit_test(who_leaves_hands_the_word_on),
        cmocka_unit_test(a_raised_limit_wakes_as_many_as_it_makes_room_for),
        cmocka_unit_test(a_group_that_goes_down_tells_those_who_wait),
        cmocka_unit_test(one_that_tried_a_backend_waits_for_another),
        cmocka_unit_test(a_changed_share_moves_those_who_wait_one_way),
        cmocka_unit_test(an_abort_lets_those_who_wait_for_new_go_to_old),
        cmocka_unit_test(the_exact_share_counts_each_connection_once),
        cmocka_unit_test(with_fallback_when_full_room_in_the_other_group_counts),
        cmocka_unit_test(a_helper_without_backends_wakes_nobody),
        cmocka_unit_test(a_panic_counts_for_those_who_wait),
        cmocka_unit_test(four_workers_serve_everybody_and_exceed_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
