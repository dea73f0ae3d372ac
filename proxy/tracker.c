/*
 * Answers for the table of clients behind the limits on each of them. The rate is a generic cell rate
 * algorithm (ITU-T I.371, annex A): one time a client, that of the earliest moment at which it has caught up
 * with its allowance. Who is limited and how is proxy/admission.c's business. Any thread.
 */
#include "proxy/tracker.h"

#include "core/random.h"
#include "core/siphash.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 64u
#define SHARD_ENTRIES_MIN 1024u /* smaller tables have fewer shards, so that none fills up by chance */
#define NONE UINT32_MAX
#define KEY_BYTES 16u
#define NS_PER_US 1000u
#define CACHE_LINE 64

struct entry {
    uint8_t key[KEY_BYTES];
    uint64_t caught_up_ns; /* later than now: ahead of its allowance */
    uint32_t next;         /* of the same hash */
    uint32_t older, newer; /* among those with nothing open */
    uint32_t open;
    uint8_t family;
};

struct shard {
    pthread_mutex_t lock;
    struct entry *entries; /* owned */
    uint32_t *heads;       /* owned; of the chains, by hash */
    uint32_t len, room;
    uint32_t heads_mask;
    uint32_t oldest, newest; /* of those with nothing open */
} __attribute__((aligned(CACHE_LINE)));

struct tracker {
    _Atomic size_t count; /* owners and claims */
    struct siphash_key key;
    uint32_t shards;     /* a power of two */
    uint32_t shard_room; /* entries of one */
    struct shard *shard; /* owned */
};

static uint32_t power_of_two_at_least(uint64_t n)
{
    uint32_t power = 1;
    while (power < n && power < (UINT32_C(1) << 31)) {
        power *= 2;
    }
    return power;
}

static bool shard_init(struct shard *shard, uint32_t room)
{
    uint32_t heads = power_of_two_at_least(room);
    shard->entries = calloc(room, sizeof(*shard->entries));
    shard->heads = malloc((size_t)heads * sizeof(*shard->heads));
    shard->room = room;
    shard->heads_mask = heads - 1;
    shard->oldest = shard->newest = NONE;
    if (shard->heads != NULL) {
        memset(shard->heads, 0xff, (size_t)heads * sizeof(*shard->heads));
    }
    return pthread_mutex_init(&shard->lock, NULL) == 0 && shard->entries != NULL && shard->heads != NULL;
}

int tracker_create(size_t entries, struct tracker **out, struct err_text *err)
{
    struct random_state random;
    struct tracker *tracker = calloc(1, sizeof(*tracker));
    if (tracker == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a table of %zu clients", entries);
    }
    atomic_init(&tracker->count, 1);
    random_seed_system(&random);
    tracker->key = (struct siphash_key){random_next(&random), random_next(&random)};
    tracker->shards = 1;
    while (tracker->shards < SHARDS_MAX && entries / tracker->shards / 2 >= SHARD_ENTRIES_MIN) {
        tracker->shards *= 2;
    }
    tracker->shard_room = (uint32_t)((entries + tracker->shards - 1) / tracker->shards);
    tracker->shard = aligned_alloc(CACHE_LINE, tracker->shards * sizeof(*tracker->shard));
    bool good = tracker->shard != NULL;
    if (good) {
        memset(tracker->shard, 0, tracker->shards * sizeof(*tracker->shard));
    }
    for (uint32_t i = 0; good && i < tracker->shards; i++) {
        good = shard_init(&tracker->shard[i], tracker->shard_room);
    }
    if (!good) {
        tracker_drop(tracker);
        return err_set(err, ERR_NOMEM, "out of memory for a table of %zu clients", entries);
    }
    *out = tracker;
    return 0;
}

struct tracker *tracker_share(struct tracker *tracker)
{
    atomic_fetch_add_explicit(&tracker->count, 1, memory_order_relaxed);
    return tracker;
}

void tracker_drop(struct tracker *tracker)
{
    if (tracker == NULL || atomic_fetch_sub_explicit(&tracker->count, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; tracker->shard != NULL && i < tracker->shards; i++) {
        struct shard *shard = &tracker->shard[i];
        if (shard->room > 0) {
            (void)pthread_mutex_destroy(&shard->lock);
        }
        free(shard->entries);
        free(shard->heads);
    }
    free(tracker->shard);
    free(tracker);
}

/* ---- those with nothing open, in the order they were last seen */

static void idle_append(struct shard *shard, uint32_t index)
{
    struct entry *entry = &shard->entries[index];
    entry->newer = NONE;
    entry->older = shard->newest;
    if (shard->newest != NONE) {
        shard->entries[shard->newest].newer = index;
    } else {
        shard->oldest = index;
    }
    shard->newest = index;
}

static void idle_remove(struct shard *shard, uint32_t index)
{
    const struct entry *entry = &shard->entries[index];
    *(entry->older != NONE ? &shard->entries[entry->older].newer : &shard->oldest) = entry->newer;
    *(entry->newer != NONE ? &shard->entries[entry->newer].older : &shard->newest) = entry->older;
}

/* ---- chains */

static uint64_t hash_of(const struct tracker *tracker, const struct addr_ip *client)
{
    uint8_t input[KEY_BYTES + 1];
    memcpy(input, client->bytes, KEY_BYTES);
    input[KEY_BYTES] = client->family;
    return siphash(&tracker->key, input, sizeof(input));
}

static uint32_t *head_of(struct shard *shard, uint64_t hash)
{
    return &shard->heads[(hash >> 32) & shard->heads_mask];
}

static uint32_t find(struct shard *shard, uint64_t hash, const struct addr_ip *client)
{
    uint32_t index = *head_of(shard, hash);
    while (index != NONE && (shard->entries[index].family != client->family ||
                             memcmp(shard->entries[index].key, client->bytes, KEY_BYTES) != 0)) {
        index = shard->entries[index].next;
    }
    return index;
}

static void unchain(const struct tracker *tracker, struct shard *shard, uint32_t index)
{
    const struct entry *entry = &shard->entries[index];
    struct addr_ip client = {.family = entry->family};
    memcpy(client.bytes, entry->key, KEY_BYTES);
    uint32_t *link = head_of(shard, hash_of(tracker, &client));
    while (*link != index) {
        link = &shard->entries[*link].next;
    }
    *link = entry->next;
}

/* A place for a new client, idle as yet; NONE when every one is in use. */
static uint32_t insert(const struct tracker *tracker, struct shard *shard, uint64_t hash,
                       const struct addr_ip *client)
{
    uint32_t index = shard->len;
    if (shard->len < shard->room) {
        shard->len++;
    } else if (shard->oldest != NONE) {
        index = shard->oldest;
        idle_remove(shard, index);
        unchain(tracker, shard, index);
    } else {
        return NONE;
    }
    uint32_t *head = head_of(shard, hash);
    struct entry *entry = &shard->entries[index];
    *entry = (struct entry){.next = *head, .family = client->family};
    memcpy(entry->key, client->bytes, KEY_BYTES);
    *head = index;
    idle_append(shard, index);
    return index;
}

/* ---- the limits */

static enum tracker_answer judge(struct entry *entry, const struct tracker_limits *limits, uint64_t now_ns)
{
    if (limits->open > 0 && entry->open >= limits->open) {
        return TRACKER_TOO_MANY;
    }
    if (limits->interval_ns > 0) {
        uint64_t from_ns =
            tracker_rate_from(entry->caught_up_ns, limits->interval_ns, limits->burst_ns, now_ns);
        if (from_ns - now_ns > limits->burst_ns) {
            return TRACKER_TOO_OFTEN;
        }
        entry->caught_up_ns = from_ns + limits->interval_ns;
    }
    return TRACKER_TAKEN;
}

enum tracker_answer tracker_take(struct tracker *tracker, const struct tracker_limits *limits,
                                 const struct addr_ip *client, uint64_t now_us, uint32_t *claim)
{
    uint64_t hash = hash_of(tracker, client);
    uint32_t number = (uint32_t)hash & (tracker->shards - 1);
    struct shard *shard = &tracker->shard[number];
    enum tracker_answer answer = TRACKER_NO_ROOM;
    (void)pthread_mutex_lock(&shard->lock);
    uint32_t index = find(shard, hash, client);
    if (index == NONE) {
        index = insert(tracker, shard, hash, client);
    }
    if (index != NONE) {
        struct entry *entry = &shard->entries[index];
        answer = judge(entry, limits, now_us * NS_PER_US);
        if (entry->open == 0) {
            idle_remove(shard, index); /* taken, or seen again and so the last to be forgotten */
        }
        if (answer == TRACKER_TAKEN) {
            entry->open++;
            *claim = number * tracker->shard_room + index;
        } else if (entry->open == 0) {
            idle_append(shard, index);
        }
    }
    (void)pthread_mutex_unlock(&shard->lock);
    if (answer == TRACKER_TAKEN) {
        (void)tracker_share(tracker);
    }
    return answer;
}

void tracker_give(struct tracker *tracker, uint32_t claim)
{
    struct shard *shard = &tracker->shard[claim / tracker->shard_room];
    uint32_t index = claim % tracker->shard_room;
    (void)pthread_mutex_lock(&shard->lock);
    assert(index < shard->len && shard->entries[index].open > 0);
    if (--shard->entries[index].open == 0) {
        idle_append(shard, index);
    }
    (void)pthread_mutex_unlock(&shard->lock);
    tracker_drop(tracker);
}

size_t tracker_clients(struct tracker *tracker)
{
    size_t clients = 0;
    for (uint32_t i = 0; i < tracker->shards; i++) {
        struct shard *shard = &tracker->shard[i];
        (void)pthread_mutex_lock(&shard->lock);
        clients += shard->len;
        (void)pthread_mutex_unlock(&shard->lock);
    }
    return clients;
}
