/* Builds routings by the dozen and picks from them, for the balancer's tests. */
#ifndef TESTS_BALANCER_SUPPORT_H
#define TESTS_BALANCER_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balancer/routing.h"
#include "core/clock.h"

#define SUPPORT_GROUPS_MAX 3u

/* What a test wants of a routing; zero means the simplest. */
struct support_options {
    enum config_balance balance;
    enum config_assign assign;
    bool fallback, fallback_when_full;
    unsigned workers;                    /* 0: 1 */
    size_t backends[SUPPORT_GROUPS_MAX]; /* named b0, b1 … in groups old, new, spare; all 0: no such group */
    size_t groups;                       /* 0: 1 */
    size_t backups;                      /* the last so many of each group */
    const uint32_t *weights;             /* of each group's backends; NULL: 1 */
    const char *salt;
    void (*retire)(void *context, void *ptr, void (*destroy)(void *ptr));
    void *retire_context;
    uint64_t slow_start_us;     /* of each backend */
    struct routing_panic panic; /* of each group */
    void (*starting)(void *context);
    void *starting_context;
};

struct routing *support_routing(const struct support_options *options);

/* One worker's side of picking. */
struct support_picker {
    const struct routing *routing;
    struct routing_pick_input input;
    struct random_state random;
};
void support_picker_init(struct support_picker *picker, const struct routing *routing, unsigned worker);
/* An IPv4 client numbered so. */
void support_client(struct support_picker *picker, uint32_t number);

/* One first pick of a connection; NULL when there is none. The lease stays out. */
struct backend *support_pick_hold(struct support_picker *picker, struct lease *lease);
/* As above, and gives it back at once. */
struct backend *support_pick(struct support_picker *picker);
/* The n-th backend of a group. */
struct backend *support_backend(const struct routing *routing, size_t group, size_t index);
/* Index of a backend in its group. */
size_t support_index(const struct routing *routing, const struct backend *backend);
void support_publish(struct routing *routing);
/* Sets the state of all backends of a group and publishes. */
void support_all_states(struct routing *routing, size_t group, enum backend_state state);

#endif
