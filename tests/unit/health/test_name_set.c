/* What becomes of the addresses behind a name, answer by answer, with a clock of paper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/random.h"
#include "health/name_set.h"

#include <stdlib.h>
#include <string.h>

#define S CLOCK_US_PER_S
#define MANY 1000u

static const struct name_rules usual = {
    .min_ttl_us = 5 * S, .max_ttl_us = 300 * S, .hold_us = 10 * S, .max = 64};

static struct addr address_of(const char *text)
{
    struct addr address;
    assert_int_equal(addr_parse(text, NULL, &address, NULL), 0);
    return address;
}

/* Blanks between addresses. */
static size_t addresses_of(const char *text, struct addr *out)
{
    char copy[512];
    char *rest = NULL;
    size_t n = 0;
    assert_true(strlen(text) < sizeof(copy));
    memcpy(copy, text, strlen(text) + 1);
    for (const char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        out[n++] = address_of(word);
    }
    return n;
}

static struct name_change hear(struct name_set *set, const struct name_rules *rules, const char *text,
                               unsigned ttl_s, uint64_t now_us)
{
    struct addr list[32];
    struct name_change change;
    const struct name_answer answer = {.addresses = list,
                                       .len = addresses_of(text, list),
                                       .ttl_us = ttl_s * S,
                                       .reason = "the name does not exist"};
    assert_int_equal(name_set_take(set, rules, &answer, now_us, &change), 0);
    return change;
}

static struct name_change unheard(struct name_set *set, const struct name_rules *rules, uint64_t now_us)
{
    struct name_change change;
    const struct name_answer answer = {.failed_ipv4 = true, .failed_ipv6 = true, .reason = "no answer"};
    assert_int_equal(name_set_take(set, rules, &answer, now_us, &change), 0);
    return change;
}

static enum name_place place_of(const struct name_set *set, const char *text)
{
    struct addr address = address_of(text);
    for (size_t i = 0; i < set->len; i++) {
        if (addr_equal(&set->members[i].address, &address)) {
            return set->members[i].place;
        }
    }
    fail_msg("%s is not there", text);
    return NAME_PRESENT;
}

static void the_first_answer_fills_the_set(void **state)
{
    (void)state;
    struct name_set set;
    name_set_init(&set);
    struct name_change change = hear(&set, &usual, "10.0.0.2:80 10.0.0.1:80 [::1]:80 10.0.0.2:80", 30, S);
    assert_int_equal(change.added, 3); /* a repeat is one */
    assert_true(change.outcome);
    assert_int_equal(set.outcome, NAME_GOOD);
    assert_true(set.ever);
    assert_int_equal(set.due_us, 31 * S);
    change = hear(&set, &usual, "10.0.0.1:80 10.0.0.2:80 [::1]:80", 30, 31 * S);
    assert_int_equal(change.added + change.returned + change.leaving, 0);
    assert_false(change.outcome);
    name_set_clear(&set);
}

static void questions_keep_to_the_bounds_of_the_time_to_live(void **state)
{
    (void)state;
    struct name_set set;
    name_set_init(&set);
    hear(&set, &usual, "10.0.0.1:80", 0, S); /* as from /etc/hosts */
    assert_int_equal(set.due_us, 6 * S);
    hear(&set, &usual, "10.0.0.1:80", 86400, 6 * S);
    assert_int_equal(set.due_us, 306 * S);
    name_set_clear(&set);
}

static void a_failure_keeps_what_was_good(void **state)
{
    (void)state;
    struct name_set set;
    name_set_init(&set);
    hear(&set, &usual, "10.0.0.1:80 10.0.0.2:80", 60, S);
    for (unsigned i = 1; i <= 100; i++) {
        uint64_t now_us = set.due_us;
        struct name_change change =
            i % 2 == 0 ? unheard(&set, &usual, now_us) : hear(&set, &usual, "", 60, now_us);
        assert_true(change.outcome); /* from failed to empty and back */
        assert_int_equal(name_set_count(&set, NAME_PRESENT), 2);
        assert_int_equal(set.failures, i);
        assert_int_equal(set.due_us, now_us + 5 * S); /* and is asked again soon */
    }
    assert_string_equal(set.reason, "no answer");
    assert_false(unheard(&set, &usual, 9000 * S).outcome); /* said once */
    assert_true(hear(&set, &usual, "10.0.0.1:80 10.0.0.2:80", 60, 9001 * S).outcome);
    assert_int_equal(set.failures, 0);
    assert_string_equal(set.reason, "");
    name_set_clear(&set);
}

static void after_a_failure_the_next_question_never_waits_long(void **state)
{
    (void)state;
    const struct name_rules slow = {.min_ttl_us = 3600 * S, .max_ttl_us = 7200 * S, .max = 4};
    struct name_set set;
    name_set_init(&set);
    unheard(&set, &slow, S);
    assert_int_equal(set.due_us, 31 * S);
    assert_false(set.ever);
    name_set_clear(&set);
}

static void an_address_that_vanishes_is_held_and_then_drains(void **state)
{
    (void)state;
    struct name_set set;
    name_set_init(&set);
    hear(&set, &usual, "10.0.0.1:80 10.0.0.2:80", 60, S);
    assert_int_equal(hear(&set, &usual, "10.0.0.1:80", 60, 100 * S).leaving, 0);
    assert_int_equal(place_of(&set, "10.0.0.2:80"), NAME_HELD);
    assert_int_equal(set.due_us, 110 * S); /* looked at again when its time is over */
    unheard(&set, &usual, 110 * S);        /* a failure does not end the wait */
    assert_int_equal(place_of(&set, "10.0.0.2:80"), NAME_HELD);
    assert_int_equal(hear(&set, &usual, "10.0.0.1:80", 60, 115 * S).leaving, 1);
    assert_int_equal(place_of(&set, "10.0.0.2:80"), NAME_LEAVING);
    assert_int_equal(hear(&set, &usual, "10.0.0.1:80", 60, 175 * S).leaving, 0); /* said once */
    struct name_change change = hear(&set, &usual, "10.0.0.1:80 10.0.0.2:80", 60, 235 * S);
    assert_int_equal(change.returned, 1);
    assert_int_equal(change.added, 0); /* the same one: its connections are still there */
    assert_int_equal(place_of(&set, "10.0.0.2:80"), NAME_PRESENT);
    name_set_clear(&set);
}

static void an_address_that_comes_and_goes_is_held(void **state)
{
    (void)state;
    struct name_set set;
    name_set_init(&set);
    hear(&set, &usual, "10.0.0.1:80 10.0.0.2:80", 5, S);
    for (unsigned i = 1; i < 200; i++) { /* a server that tells one of two at a time */
        struct name_change change =
            hear(&set, &usual, i % 2 == 0 ? "10.0.0.1:80" : "10.0.0.2:80", 5, S + UINT64_C(5) * i * S);
        assert_int_equal(change.added + change.returned + change.leaving, 0);
    }
    assert_int_equal(set.len, 2);
    name_set_clear(&set);
}

static void without_hold_it_drains_at_once(void **state)
{
    (void)state;
    struct name_rules rules = usual;
    struct name_set set;
    rules.hold_us = 0;
    name_set_init(&set);
    hear(&set, &rules, "10.0.0.1:80 10.0.0.2:80", 60, S);
    assert_int_equal(hear(&set, &rules, "10.0.0.2:80", 60, 2 * S).leaving, 1);
    name_set_remove(&set, 0);
    assert_int_equal(set.len, 1);
    assert_int_equal(place_of(&set, "10.0.0.2:80"), NAME_PRESENT);
    name_set_clear(&set);
}

static void a_family_that_fails_keeps_its_addresses(void **state)
{
    (void)state;
    struct name_rules rules = usual;
    struct name_set set;
    struct name_change change;
    struct addr four[] = {address_of("10.0.0.2:80")};
    const struct name_answer half = {
        .addresses = four, .len = 1, .ttl_us = 60 * S, .failed_ipv6 = true, .reason = "no answer"};
    rules.hold_us = 0;
    name_set_init(&set);
    hear(&set, &rules, "10.0.0.1:80 [::1]:80", 60, S);
    assert_int_equal(name_set_take(&set, &rules, &half, 2 * S, &change), 0);
    assert_int_equal(place_of(&set, "10.0.0.1:80"), NAME_LEAVING);
    assert_int_equal(place_of(&set, "[::1]:80"), NAME_PRESENT);
    assert_int_equal(set.outcome, NAME_PARTLY);
    assert_int_equal(set.due_us, 7 * S); /* not after a minute */
    name_set_clear(&set);
}

/* First in one order, then in another: the same ones are taken, and none is thrown out for another. */
static void a_thousand_addresses_are_bounded_and_stable(void **state)
{
    (void)state;
    static struct addr list[MANY];
    struct random_state random;
    struct name_set set;
    struct name_change change;
    struct name_answer answer = {.addresses = list, .len = MANY, .ttl_us = 60 * S, .reason = ""};
    random_seed(&random, 7);
    for (unsigned i = 0; i < MANY; i++) {
        list[i] = address_of("10.0.0.0:80");
        list[i].in.sin_addr.s_addr = htonl(0x0a000000u + i);
    }
    name_set_init(&set);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = MANY - 1; i > 0; i--) {
            unsigned j = (unsigned)random_below(&random, i + 1);
            struct addr other = list[i];
            list[i] = list[j];
            list[j] = other;
        }
        assert_int_equal(name_set_take(&set, &usual, &answer, (UINT64_C(1) + round) * 60 * S, &change), 0);
        assert_int_equal(change.added, round == 0 ? 64 : 0);
        assert_int_equal(change.left_out, round == 0); /* said once */
        assert_int_equal(set.len, 64);
        assert_int_equal(set.left_out, MANY - 64);
        assert_int_equal(place_of(&set, "10.0.0.63:80"), NAME_PRESENT);
    }
    name_set_clear(&set);
}

/* All are replaced again and again, and nobody lets go of those that drain: their number is bounded. */
static void those_that_drain_are_bounded(void **state)
{
    (void)state;
    const struct name_rules rules = {.min_ttl_us = S, .max_ttl_us = S, .max = 8};
    struct name_set set;
    name_set_init(&set);
    for (unsigned round = 0; round < 50; round++) {
        struct addr list[8];
        struct name_change change;
        for (unsigned i = 0; i < 8; i++) {
            list[i] = address_of("10.0.0.0:80");
            list[i].in.sin_addr.s_addr = htonl(0x0a000000u + 8 * round + i);
        }
        const struct name_answer answer = {.addresses = list, .len = 8, .ttl_us = S, .reason = ""};
        assert_int_equal(name_set_take(&set, &rules, &answer, (1 + round) * S, &change), 0);
        assert_true(set.len <= (size_t)8 * NAME_SET_PLACES);
        assert_int_equal(name_set_count(&set, NAME_PRESENT), round < NAME_SET_PLACES ? 8 : 0);
    }
    name_set_clear(&set);
}

static void a_copy_is_a_set_of_its_own(void **state)
{
    (void)state;
    struct name_set set;
    struct name_set copy;
    name_set_init(&set);
    assert_int_equal(name_set_copy(&copy, &set), 0);
    assert_int_equal(copy.len, 0);
    name_set_clear(&copy);
    hear(&set, &usual, "10.0.0.1:80", 60, S);
    assert_int_equal(name_set_copy(&copy, &set), 0);
    name_set_clear(&set);
    assert_int_equal(place_of(&copy, "10.0.0.1:80"), NAME_PRESENT);
    assert_int_equal(copy.due_us, 61 * S);
    name_set_clear(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_answer_fills_the_set),
        cmocka_unit_test(questions_keep_to_the_bounds_of_the_time_to_live),
        cmocka_unit_test(a_failure_keeps_what_was_good),
        cmocka_unit_test(after_a_failure_the_next_question_never_waits_long),
        cmocka_unit_test(an_address_that_vanishes_is_held_and_then_drains),
        cmocka_unit_test(an_address_that_comes_and_goes_is_held),
        cmocka_unit_test(without_hold_it_drains_at_once),
        cmocka_unit_test(a_family_that_fails_keeps_its_addresses),
        cmocka_unit_test(a_thousand_addresses_are_bounded_and_stable),
        cmocka_unit_test(those_that_drain_are_bounded),
        cmocka_unit_test(a_copy_is_a_set_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
