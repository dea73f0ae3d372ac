/* The ring of events: numbers, wrapping, filtering, cutting, and the log line each one makes. */
#include "core/events.h"

#include "core/log.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct events_ring *create(size_t capacity)
{
    struct events_ring *ring = NULL;
    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1)); /* what is logged is not under test here */
    assert_int_equal(events_create(capacity, &ring), 0);
    return ring;
}

static void add(struct events_ring *ring, const char *service, unsigned number)
{
    events_add(ring, (uint64_t)number * 10, EVENTS_INFO, service, "share", "plan", NULL, "event %u", number);
}

static void events_are_numbered_and_kept(void **state)
{
    struct events_ring *ring = create(8);
    struct events_entry out[8];
    (void)state;
    assert_int_equal(events_last_number(ring), 0);
    assert_int_equal(events_latest(ring, NULL, out, 8), 0);
    events_add(ring, 123, EVENTS_WARN, "web", "share", "operator:alice", "CHG-1", "share %s", "25%");
    assert_int_equal(events_last_number(ring), 1);
    assert_int_equal(events_latest(ring, NULL, out, 8), 1);
    assert_int_equal(out[0].number, 1);
    assert_int_equal(out[0].wall_us, 123);
    assert_int_equal(out[0].severity, EVENTS_WARN);
    assert_string_equal(out[0].service, "web");
    assert_string_equal(out[0].kind, "share");
    assert_string_equal(out[0].actor, "operator:alice");
    assert_string_equal(out[0].reason, "CHG-1");
    assert_string_equal(out[0].text, "share 25%");
    events_destroy(ring);
}

static void the_ring_wraps(void **state)
{
    struct events_ring *ring = create(4);
    struct events_entry out[8];
    (void)state;
    for (unsigned i = 1; i <= 11; i++) {
        add(ring, NULL, i);
        size_t kept = i < 4 ? i : 4;
        assert_int_equal(events_latest(ring, NULL, out, 8), kept);
        for (size_t j = 0; j < kept; j++) {
            assert_int_equal(out[j].number, i - kept + 1 + j);
            assert_int_equal(out[j].wall_us, out[j].number * 10);
        }
    }
    assert_int_equal(events_latest(ring, NULL, out, 2), 2);
    assert_int_equal(out[0].number, 10);
    assert_int_equal(out[1].number, 11);
    assert_int_equal(events_latest(ring, NULL, out, 0), 0);
    events_destroy(ring);
}

static void a_service_sees_its_own(void **state)
{
    struct events_ring *ring = create(16);
    struct events_entry out[16];
    (void)state;
    for (unsigned i = 1; i <= 9; i++) {
        add(ring, i % 3 == 0 ? "api" : "web", i);
    }
    assert_int_equal(events_latest(ring, "api", out, 16), 3);
    assert_int_equal(out[0].number, 3);
    assert_int_equal(out[2].number, 9);
    assert_int_equal(events_latest(ring, "api", out, 2), 2);
    assert_int_equal(out[0].number, 6);
    assert_int_equal(events_latest(ring, "we", out, 16), 0);
    events_destroy(ring);
}

static void texts_are_cut_between_characters(void **state)
{
    struct events_ring *ring = create(1);
    struct events_entry out;
    char text[600];
    (void)state;
    memset(text, 'a', sizeof(text));
    /* A character of three bytes across the place where the reason is cut. */
    memcpy(text + sizeof(out.reason) - 3, "\xe2\x9c\x94", 3);
    text[sizeof(text) - 1] = '\0';
    events_add(ring, 1, EVENTS_INFO, text, text, text, text, "%s", text);
    assert_int_equal(events_latest(ring, NULL, &out, 1), 1);
    assert_int_equal(strlen(out.service), sizeof(out.service) - 1);
    assert_int_equal(strlen(out.kind), sizeof(out.kind) - 1);
    assert_int_equal(strlen(out.reason), sizeof(out.reason) - 3);
    assert_int_equal(strlen(out.text), sizeof(out.text) - 3);
    events_destroy(ring);
}

static void on_event(void *context, const struct events_entry *entry)
{
    *(uint64_t *)context = entry->number;
}

static void a_listener_is_told(void **state)
{
    struct events_ring *ring = create(2);
    uint64_t seen = 0;
    (void)state;
    events_set_listener(ring, on_event, &seen);
    add(ring, NULL, 1);
    add(ring, NULL, 2);
    assert_int_equal(seen, 2);
    events_set_listener(ring, NULL, NULL);
    add(ring, NULL, 3);
    assert_int_equal(seen, 2);
    events_destroy(ring);
}

static void capacities_are_checked(void **state)
{
    struct events_ring *ring = NULL;
    (void)state;
    assert_int_equal(events_create(0, &ring), ERR_INVALID);
    assert_int_equal(events_create(SIZE_MAX / 2, &ring), ERR_NOMEM);
    assert_null(ring);
    events_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_numbered_and_kept), cmocka_unit_test(the_ring_wraps),
        cmocka_unit_test(a_service_sees_its_own),       cmocka_unit_test(texts_are_cut_between_characters),
        cmocka_unit_test(a_listener_is_told),           cmocka_unit_test(capacities_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
