/* Builds routings by the dozen and picks from them, for the balancer's tests. */
#include "tests/unit/balancer/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct routing *support_routing(const struct support_options *options)
{
    static const char *const names[SUPPORT_GROUPS_MAX] = {"old", "new", "spare"};
    struct routing_group_spec groups[SUPPORT_GROUPS_MAX];
    struct routing_backend_spec *backends[SUPPORT_GROUPS_MAX] = {NULL};
    size_t groups_len = options->groups > 0 ? options->groups : 1;
    for (size_t g = 0; g < groups_len; g++) {
        size_t len = options->backends[g];
        backends[g] = calloc(len + 1, sizeof(*backends[g]));
        assert_non_null(backends[g]);
        for (size_t i = 0; i < len; i++) {
            char name[32];
            (void)snprintf(name, sizeof(name), "b%zu", i);
            backends[g][i].name = strdup(name);
            backends[g][i].weight = options->weights != NULL ? options->weights[i] : 1;
            backends[g][i].slow_start_us = options->slow_start_us;
            backends[g][i].backup = i + options->backups >= len;
        }
        groups[g] = (struct routing_group_spec){.name = names[g],
                                                .balance = options->balance,
                                                .panic = options->panic,
                                                .backends = backends[g],
                                                .backends_len = len};
    }
    struct routing_spec spec = {.service = "web",
                                .assign = options->assign,
                                .prefix_ipv4 = 32,
                                .prefix_ipv6 = 64,
                                .salt = options->salt != NULL ? options->salt : "salt",
                                .fallback = options->fallback,
                                .fallback_when_full = options->fallback_when_full,
                                .workers = options->workers > 0 ? options->workers : 1,
                                .groups = groups,
                                .groups_len = groups_len,
                                .retire = options->retire,
                                .retire_context = options->retire_context,
                                .starting = options->starting,
                                .starting_context = options->starting_context};
    struct routing *routing = NULL;
    struct err_text err;
    assert_int_equal(routing_create(&spec, &routing, &err), 0);
    for (size_t g = 0; g < groups_len; g++) {
        for (size_t i = 0; i < options->backends[g]; i++) {
            free((void *)(uintptr_t)backends[g][i].name);
        }
        free(backends[g]);
    }
    return routing;
}

void support_picker_init(struct support_picker *picker, const struct routing *routing, unsigned worker)
{
    memset(picker, 0, sizeof(*picker));
    picker->routing = routing;
    picker->input.worker = worker;
    picker->input.now_us = CLOCK_US_PER_S;
    picker->input.random = &picker->random;
    random_seed(&picker->random, 42 + worker);
}

void support_client(struct support_picker *picker, uint32_t number)
{
    struct addr_ip *client = &picker->input.client;
    memset(client, 0, sizeof(*client));
    client->family = 4;
    for (unsigned i = 0; i < 4; i++) {
        client->bytes[i] = (uint8_t)(number >> (24 - 8 * i));
    }
}

struct backend *support_pick_hold(struct support_picker *picker, struct lease *lease)
{
    struct routing_attempts attempts;
    memset(&attempts, 0, sizeof(attempts));
    int rc = routing_pick(routing_view(picker->routing), &picker->input, &attempts, lease);
    if (rc != 0) {
        assert_int_equal(rc, ERR_UNAVAILABLE);
        return NULL;
    }
    return lease->backend;
}

struct backend *support_pick(struct support_picker *picker)
{
    struct lease lease;
    struct backend *backend = support_pick_hold(picker, &lease);
    if (backend != NULL) {
        lease_release(&lease, -1, picker->input.now_us);
    }
    return backend;
}

struct backend *support_backend(const struct routing *routing, size_t group, size_t index)
{
    return routing_backend_at(routing, group, index);
}

size_t support_index(const struct routing *routing, const struct backend *backend)
{
    for (size_t i = 0; i < routing_backends(routing, backend_group(backend)); i++) {
        if (routing_backend_at(routing, backend_group(backend), i) == backend) {
            return i;
        }
    }
    fail_msg("a backend that its group does not know");
    return SIZE_MAX;
}

void support_publish(struct routing *routing)
{
    struct err_text err;
    assert_int_equal(routing_publish(routing, &err), 0);
}

void support_all_states(struct routing *routing, size_t group, enum backend_state state)
{
    for (size_t i = 0; i < routing_backends(routing, group); i++) {
        routing_set_state(routing, routing_backend_at(routing, group, i), state);
    }
    support_publish(routing);
}
