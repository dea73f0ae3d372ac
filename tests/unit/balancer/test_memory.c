/*
 * Memory that runs out at every allocation in turn: a routing is created whole or not at all, and a publish
 * that fails leaves the view in force and succeeds when it is called again. Under AddressSanitizer also: no
 * leak.
 */
#include "core/clock.h"
#include "tests/unit/balancer/support.h"

#include <stdlib.h>
#include <string.h>

/* Allocations until one fails; 0: none does. */
static unsigned fail_at;

/* The linker sends the balancer's allocations here (see tests.cmake). */
void *__real_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);

static bool fails_now(void)
{
    return fail_at > 0 && --fail_at == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails_now() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

static const enum config_balance balances[] = {CONFIG_BALANCE_ROUND_ROBIN, CONFIG_BALANCE_WEIGHTED,
                                               CONFIG_BALANCE_LEAST_LATENCY, CONFIG_BALANCE_LEAST_CONNECTIONS,
                                               CONFIG_BALANCE_HASH};
#define BALANCES (sizeof(balances) / sizeof(balances[0]))

static void a_routing_is_created_whole_or_not_at_all(void **state)
{
    (void)state;
    for (size_t b = 0; b < BALANCES; b++) {
        struct routing_backend_spec backends[2] = {{.name = "a", .weight = 1}, {.name = "b", .weight = 3}};
        struct routing_group_spec group = {
            .name = "old", .balance = balances[b], .backends = backends, .backends_len = 2};
        struct routing_spec spec = {.service = "web", .workers = 2, .groups = &group, .groups_len = 1};
        unsigned n = 0;
        int rc = ERR_NOMEM;
        while (rc == ERR_NOMEM) {
            struct routing *routing = NULL;
            struct err_text err = {.text = ""};
            fail_at = ++n;
            rc = routing_create(&spec, &routing, &err);
            fail_at = 0;
            assert_true((rc == 0) == (routing != NULL));
            assert_true(rc == 0 || strstr(err.text, "memory") != NULL);
            routing_destroy(routing);
        }
        assert_int_equal(rc, 0);
        assert_true(n > 8); /* it was tried at each of several */
    }
}

static void a_publish_that_fails_leaves_the_old_view(void **state)
{
    (void)state;
    for (size_t b = 0; b < BALANCES; b++) {
        struct routing *routing = support_routing(
            &(struct support_options){.balance = balances[b], .groups = 2, .backends = {3, 3}});
        struct support_picker picker;
        support_picker_init(&picker, routing, 0);
        support_client(&picker, 9);
        for (size_t i = 1; i < 3; i++) {
            routing_set_state(routing, support_backend(routing, 0, i), BACKEND_DOWN);
            routing_set_state(routing, support_backend(routing, 1, i), BACKEND_DOWN);
        }
        routing_set_target(routing, 1);
        routing_set_share(routing, 10000);
        const struct routing_view *before = routing_view(routing);
        unsigned n = 0;
        int rc = ERR_NOMEM;
        while (rc == ERR_NOMEM) {
            struct err_text err = {.text = ""};
            assert_ptr_equal(routing_view(routing), before);
            assert_int_equal(backend_group(support_pick(&picker)), 0);
            fail_at = ++n;
            rc = routing_publish(routing, &err);
            fail_at = 0;
        }
        assert_int_equal(rc, 0);
        assert_true(n > 2);
        for (unsigned i = 0; i < 10; i++) {
            assert_ptr_equal(support_pick(&picker), support_backend(routing, 1, 0));
        }
        routing_destroy(routing);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_routing_is_created_whole_or_not_at_all),
        cmocka_unit_test(a_publish_that_fails_leaves_the_old_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
