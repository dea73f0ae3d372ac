/*
 * Backends and boards: their memory, counts and what the control thread reads of them. Created on the control
 * thread; the last claim may be given back on any thread. Who chooses a backend: the strategies.
 */
#include "balancer/backend_internal.h"

#include <stdlib.h>
#include <string.h>

static void *alloc_lines(size_t bytes)
{
    size_t rounded = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    void *memory = aligned_alloc(CACHE_LINE, rounded);
    if (memory != NULL) {
        memset(memory, 0, rounded);
    }
    return memory;
}

struct board *board_create(uint32_t slots, unsigned workers)
{
    struct board *board = calloc(1, sizeof(*board));
    if (board == NULL) {
        return NULL;
    }
    uint32_t wanted = slots > 0 ? slots : 1;
    board->slots = slots;
    board->workers = workers;
    /* An even number of lanes keeps the rows of two workers off one cache line. */
    board->stride = (wanted + 1) & ~UINT32_C(1);
    board->claims = alloc_lines(wanted * sizeof(*board->claims));
    board->lanes = alloc_lines((size_t)workers * board->stride * sizeof(*board->lanes));
    atomic_init(&board->count, 1);
    if (board->claims == NULL || board->lanes == NULL) {
        board_put(board);
        return NULL;
    }
    return board;
}

void board_put(struct board *board)
{
    if (board == NULL || atomic_fetch_sub_explicit(&board->count, 1, memory_order_acq_rel) != 1) {
        return;
    }
    free(board->lanes);
    free(board->claims);
    free(board);
}

uint32_t board_free_slot(struct board *board)
{
    for (uint32_t slot = 0; slot < board->slots; slot++) {
        if (atomic_load_explicit(&board->claims[slot].count, memory_order_acquire) > 0) {
            continue;
        }
        for (unsigned worker = 0; worker < board->workers; worker++) {
            struct latency_lane *lane = board_lane(board, worker, slot);
            atomic_store_explicit(&lane->sampled_us, 0, memory_order_relaxed);
            atomic_store_explicit(&lane->picked_us, 0, memory_order_relaxed);
            atomic_store_explicit(&lane->estimate_us, 0, memory_order_relaxed);
            atomic_store_explicit(&lane->flying, 0, memory_order_relaxed);
        }
        return slot;
    }
    return UINT32_MAX;
}

struct backend *backend_create(const struct routing_backend_spec *spec, uint32_t group, struct board *board,
                               uint32_t slot)
{
    struct backend *backend = alloc_lines(sizeof(*backend) + board->workers * sizeof(backend->stats[0]));
    if (backend == NULL) {
        return NULL;
    }
    memcpy(backend->name, spec->name, strlen(spec->name) + 1); /* the caller checked the length */
    backend->address = spec->address;
    backend->group = group;
    backend->weight = spec->weight;
    backend->limit = spec->limit;
    backend->slow_start_us = spec->slow_start_us;
    backend->ramp.part = BACKEND_PART_FULL;
    backend->backup = spec->backup;
    backend->state = spec->unproven ? BACKEND_DOWN : BACKEND_UNKNOWN;
    backend->assumed = spec->unproven;
    backend->admin = BACKEND_READY;
    backend->agent_admin = BACKEND_READY;
    backend->agent_percent = 100;
    backend->workers = board->workers;
    backend->board = board;
    backend->slot = slot;
    atomic_fetch_add_explicit(&board->count, 1, memory_order_relaxed);
    atomic_store_explicit(&board->claims[slot].count, 1, memory_order_relaxed);
    return backend;
}

void backend_put(struct backend *backend)
{
    struct board *board = backend->board;
    /* Sequentially consistent: who then looks whether somebody waits for room, see queue.c. */
    if (atomic_fetch_sub(&board->claims[backend->slot].count, 1) == 1) {
        free(backend->inherited);
        free(backend);
        board_put(board);
    }
}

uint32_t backend_weight_effective(const struct backend *backend)
{
    uint32_t percent = backend->forced == BACKEND_FORCED_UP ? 100 : backend->agent_percent;
    uint64_t weight = ((uint64_t)backend->weight * percent + 99) / 100;
    return weight < ROUTING_WEIGHT_MAX ? (uint32_t)weight : ROUTING_WEIGHT_MAX;
}

const char *backend_name(const struct backend *backend)
{
    return backend->name;
}

const struct addr *backend_address(const struct backend *backend)
{
    return &backend->address;
}

uint32_t backend_group(const struct backend *backend)
{
    return backend->group;
}

enum backend_state backend_state(const struct backend *backend)
{
    return backend->state == BACKEND_UP && backend->ramp.rising ? BACKEND_STARTING : backend->state;
}

enum backend_admin backend_admin(const struct backend *backend)
{
    return backend->admin;
}

uint32_t backend_weight(const struct backend *backend)
{
    return backend->weight;
}

enum backend_admin backend_agent_admin(const struct backend *backend)
{
    return backend->agent_admin;
}

bool backend_is_assumed(const struct backend *backend)
{
    return backend->assumed;
}

uint32_t backend_agent_percent(const struct backend *backend)
{
    return backend->agent_percent;
}

uint32_t backend_limit(const struct backend *backend)
{
    return backend->limit;
}

uint32_t backend_agent_limit(const struct backend *backend)
{
    return backend->agent_limit;
}

uint32_t backend_limit_effective(const struct backend *backend)
{
    if (backend->limit == 0 || backend->agent_limit == 0) {
        return backend->limit + backend->agent_limit;
    }
    return backend->limit < backend->agent_limit ? backend->limit : backend->agent_limit;
}

bool backend_is_leaving(const struct backend *backend)
{
    return backend->leaving;
}

bool backend_is_removed(const struct backend *backend)
{
    return backend->removed;
}

bool backend_is_backup(const struct backend *backend)
{
    return backend->backup;
}

uint64_t backend_open(const struct backend *backend)
{
    /* One of the claims is the model's. */
    return atomic_load_explicit(&backend->board->claims[backend->slot].count, memory_order_relaxed) - 1 +
           backend->inherited_open;
}

void backend_read(const struct backend *backend, struct stats_backend_reading *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned worker = 0; worker < backend->workers; worker++) {
        stats_backend_read_add(&backend->stats[worker], out);
    }
    if (backend->inherited != NULL) {
        stats_backend_reading_add(backend->inherited, out);
    }
}

uint64_t backend_open_elsewhere(const struct backend *backend)
{
    return backend->inherited_open;
}

int backend_inherit(struct backend *backend, uint64_t open, const struct stats_backend_reading *counted)
{
    if (counted != NULL && backend->inherited == NULL) {
        backend->inherited = malloc(sizeof(*backend->inherited));
        if (backend->inherited == NULL) {
            return ERR_NOMEM;
        }
    }
    if (counted != NULL) {
        *backend->inherited = *counted;
    } else {
        free(backend->inherited);
        backend->inherited = NULL;
    }
    backend->inherited_open = open;
    return 0;
}

const char *backend_state_name(enum backend_state state)
{
    switch (state) {
    case BACKEND_UP:
        return "up";
    case BACKEND_STARTING:
        return "starting";
    case BACKEND_DOWN:
        return "down";
    case BACKEND_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *backend_admin_name(enum backend_admin admin)
{
    switch (admin) {
    case BACKEND_DRAIN:
        return "drain";
    case BACKEND_MAINT:
        return "maint";
    case BACKEND_READY:
        break;
    }
    return "ready";
}
