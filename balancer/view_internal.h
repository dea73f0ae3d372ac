/*
 * The immutable view that workers read, and the model it is built from.
 *
 *     routing ──owns──▶ model group ──counted──▶ view group (the last one built; NULL: out of date)
 *        └──publishes──▶ view ──counted──▶ view groups, split
 *
 * View groups and splits are counted by the control thread alone (views are destroyed there), so a change of
 * the share costs one small allocation, however many backends there are.
 */
#ifndef BALANCER_VIEW_INTERNAL_H
#define BALANCER_VIEW_INTERNAL_H

#include "balancer/queue_internal.h"
#include "balancer/strategy_internal.h"

/* The regular backends and the backups. */
enum view_kind { VIEW_REGULAR, VIEW_BACKUP, VIEW_KINDS };

struct view_group {
    uint32_t count;          /* owners; control thread */
    struct queue *queue;     /* borrowed: the model group's */
    bool panics;             /* too few are usable: then as action says */
    enum config_panic panic; /* the action */
    struct strategy_pool pools[VIEW_KINDS];
};

/* The counting of connections at one share. Replaced when the share, the target or the active group changes.
 */
struct view_split {
    _Atomic uint64_t tickets __attribute__((aligned(64)));
    _Atomic uint64_t followers; /* earlier decisions that were brought in line with this share */
    uint32_t share_bp __attribute__((aligned(64)));
    uint32_t phase_bp;
    uint32_t active, target;
    uint32_t count; /* owners; control thread */
};

struct routing_view {
    struct view_split *split;
    enum config_assign assign;
    bool fallback, fallback_when_full;
    struct siphash_key share_key;
    unsigned prefix_ipv4, prefix_ipv6;
    uint32_t groups_len;
    struct view_group *groups[];
};

struct model_group {
    char name[ROUTING_NAME_MAX];
    bool removed; /* not meant any more */
    enum config_balance balance;
    struct routing_panic panic;
    struct backend **backends; /* the model's claim on each */
    uint32_t backends_len;
    struct board *board;
    uint64_t weight_created;         /* sum of weights at the beginning */
    struct strategy_cursor *cursors; /* VIEW_KINDS of them */
    struct view_group *built;
    struct queue *queue; /* owned */
};

struct routing {
    char *service;
    enum config_assign assign;
    unsigned prefix_ipv4, prefix_ipv6;
    struct siphash_key share_key, ring_key;
    bool fallback, fallback_when_full;
    unsigned workers;
    void (*retire)(void *context, void *ptr, void (*destroy)(void *ptr));
    void *retire_context;
    void (*alarm)(void *context);
    void *alarm_context;
    void (*listener)(void *context); /* NULL: none */
    void *listener_context;
    void (*starting)(void *context);
    void *starting_context;
    uint32_t active, target, share_bp;
    bool changed; /* the model differs from the view in force */
    struct view_split *split;
    _Atomic uint64_t arrivals; /* connections that had to wait */
    _Atomic(struct routing_view *) view;
    uint32_t groups_len, groups_room;
    struct model_group groups[];
};

/* How many of a group's backends count for panic. */
struct panic_count {
    size_t usable, eligible, backups; /* not backups; not backups; usable backups */
};
struct panic_count panic_count(const struct model_group *group);
bool panic_is(const struct model_group *group);

/* Backends that are not in the model any more. */
struct routing_leaving {
    struct backend **list;
    size_t len;
};

/* routing.c: a group from its specification; what was made of it is cleared by model_group_clear. ERR_NOMEM.
 */
MUST_CHECK int model_group_fill(struct model_group *group, uint32_t index,
                                const struct routing_group_spec *spec, unsigned workers);
void model_group_clear(struct model_group *group);
/* Whom its backends' failures in a row are told to. */
void model_group_connect(struct model_group *group, const struct routing *routing);
MUST_CHECK int routing_check_group(const struct routing_group_spec *group, struct err_text *err);
/* The group must be built anew. */
void routing_touch_group(struct routing *routing, uint32_t group);

/* slow_start.c: a backend is back, cold; or it is gone, or has its whole weight at once. */
void slow_start_begin(struct routing *routing, struct backend *backend);
void slow_start_end(struct routing *routing, struct backend *backend);

/* Any worker: the group that may help out, or ROUTING_NONE. */
uint32_t view_other_group(const struct routing_view *view, uint32_t group);

/* Control thread. */
void view_group_put(struct view_group *group);
void view_split_put(struct view_split *split);
/* view_ptr: a struct routing_view; the signature is that of retire's destroy. */
void view_destroy(void *view_ptr);

#endif
