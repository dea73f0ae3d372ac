/*
 * A backend and the board of its group. The board holds, side by side, what strategies read of all backends
 * at every pick, so that looking at a thousand of them touches few cache lines:
 *
 *     group ──counted──▶ board ◀──counted── backend
 *     board: claims[slot]            the model's one and one a lease; shared, one atomic add a connection
 *            lanes[worker][slot]     what one worker learned of the backend; only that worker writes
 */
#ifndef BALANCER_BACKEND_INTERNAL_H
#define BALANCER_BACKEND_INTERNAL_H

#include "balancer/routing.h"

#include <stdatomic.h>
#include <stdint.h>

#define CACHE_LINE 64u

/* One worker's knowledge of one backend's speed. Single writer, relaxed. */
struct latency_lane {
    _Atomic uint64_t sampled_us; /* when the last sample came; 0: never */
    _Atomic uint64_t picked_us;  /* when the backend was last chosen; 0: never */
    _Atomic float estimate_us;   /* 0: not measured */
    _Atomic uint32_t flying;     /* connects and turns under way */
};

/* Packed: sixteen backends in a cache line. */
struct board_claim {
    _Atomic uint32_t count;
};

struct board {
    _Atomic uint32_t count; /* owners: backends, and the group while it is built */
    uint32_t slots;
    unsigned workers;
    struct board_claim *claims; /* slots of them */
    struct latency_lane *lanes; /* workers rows of `stride` lanes */
    uint32_t stride;
    void (*alarm)(void *context); /* of the routing; NULL: none */
    void *alarm_context;
};

/* Failures in a row. One for all workers: while nothing fails it is only read, so that its cache line is
 * everybody's. Relaxed. */
struct backend_failing {
    _Atomic uint32_t runs[STATS_ERROR_COUNT];
    _Atomic uint32_t limits[STATS_ERROR_COUNT];
} __attribute__((aligned(64)));

#define BACKEND_PART_FULL 1024u

/* Slow start. */
struct backend_ramp {
    bool rising;
    uint32_t part;     /* of the weight, of BACKEND_PART_FULL */
    uint64_t since_us; /* 0: it is only about to begin */
};

struct backend {
    /* Control thread. */
    char name[ROUTING_NAME_MAX];
    struct addr address;
    uint32_t group;
    uint32_t weight;
    uint32_t limit, agent_limit; /* connections; 0: no limit */
    uint64_t slow_start_us;
    struct backend_ramp ramp;
    bool assumed; /* its state is not known but assumed */
    bool backup;
    bool leaving;
    bool removed; /* not meant any more; in sight until its last connection has ended */
    enum backend_state state;
    enum backend_admin admin;
    enum backend_admin agent_admin;          /* what the backend's agent asks for, beside the operator */
    uint32_t agent_percent;                  /* of the weight */
    struct stats_backend_reading *inherited; /* owned; what another process counted. NULL: nothing */
    uint64_t inherited_open;
    enum backend_forced forced;
    struct backend_ejection ejection;
    unsigned workers;
    /* Fixed. */
    struct board *board; /* counted */
    uint32_t slot;
    struct backend_failing failing;
    struct stats_backend stats[]; /* one a worker */
};

/* ERR_NOMEM as NULL. The caller owns one count. */
struct board *board_create(uint32_t slots, unsigned workers);
void board_put(struct board *board);

/* A slot that nobody claims, with nothing known of its speed; UINT32_MAX: none. It is taken by
 * backend_create. Nobody may be left who could claim it by an old view. */
uint32_t board_free_slot(struct board *board);

static inline struct latency_lane *board_lane(const struct board *board, unsigned worker, uint32_t slot)
{
    return &board->lanes[(size_t)worker * board->stride + slot];
}

/* A backend with the model's claim on it; takes a count of the board. NULL without memory. */
struct backend *backend_create(const struct routing_backend_spec *spec, uint32_t group, struct board *board,
                               uint32_t slot);
/* Gives back one claim (the model's or a lease's); the last one frees. Any thread. */
void backend_put(struct backend *backend);
/* The weight that counts: the configured or the operator's, in the part that the agent says. A weight above 0
 * becomes 0 only by 0 percent. */
uint32_t backend_weight_effective(const struct backend *backend);
/* Not where it serves, and not warm when it comes back: down, out for maintenance or ejected (standing.c). */
bool backend_is_cold(const struct backend *backend);
/* All but its health lets new connections in: operator, agent, weight. */
bool backend_eligible(const struct backend *backend);
/* And so does its health: state and ejection, or what is forced in their place. */
bool backend_usable(const struct backend *backend);

/* Workers: something failed, or did not (standing.c). */
void backend_note_failure(struct backend *backend, enum stats_error error);
void backend_note_connected(struct backend *backend);
void backend_note_answered(struct backend *backend);

#endif
