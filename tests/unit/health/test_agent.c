/* An agent's line: every word, together and cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "health/agent.h"

#include <stdlib.h>
#include <string.h>

/* In memory of exactly its size, so that reading past its end is seen. */
static bool parse_bytes(const char *text, size_t len, struct agent_report *out)
{
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    bool good = agent_parse(exact, len, out);
    free(exact);
    return good;
}

static struct agent_report parse(const char *text)
{
    struct agent_report report;
    assert_true(parse_bytes(text, strlen(text), &report));
    assert_true(report.heard);
    return report;
}

static void each_word(void **state)
{
    (void)state;
    struct agent_report report = parse("up");
    assert_int_equal(report.state, AGENT_STATE_UP);
    assert_int_equal(report.admin, AGENT_ADMIN_SAME);
    assert_false(report.weight_given);
    assert_false(report.limit_given);
    report = parse("75% up");
    assert_int_equal(report.state, AGENT_STATE_UP);
    assert_true(report.weight_given);
    assert_int_equal(report.weight_percent, 75);
    assert_int_equal(parse("down").state, AGENT_STATE_DOWN);
    assert_int_equal(parse("fail").state, AGENT_STATE_DOWN);
    assert_int_equal(parse("stopped").state, AGENT_STATE_DOWN);
    assert_int_equal(parse("drain").admin, AGENT_ADMIN_DRAIN);
    assert_int_equal(parse("maint").admin, AGENT_ADMIN_MAINT);
    assert_int_equal(parse("ready").admin, AGENT_ADMIN_READY);
    assert_int_equal(parse("UP").state, AGENT_STATE_UP);
    assert_int_equal(parse("Maint").admin, AGENT_ADMIN_MAINT);
    assert_int_equal(parse("MaxConn:7").limit, 7);
    report = parse("maxconn:30");
    assert_true(report.limit_given);
    assert_int_equal(report.limit, 30);
    assert_int_equal(report.state, AGENT_STATE_SAME);
    report = parse("ready,up\t0% , maxconn:0");
    assert_int_equal(report.state, AGENT_STATE_UP);
    assert_int_equal(report.admin, AGENT_ADMIN_READY);
    assert_int_equal(report.weight_percent, 0);
    assert_true(report.limit_given);
    report = parse("50% down#disk is full, 3% left\x01");
    assert_int_equal(report.state, AGENT_STATE_DOWN);
    assert_int_equal(report.weight_percent, 50);
    assert_string_equal(report.reason, "disk is full, 3% left\\x01");
}

static void what_is_not_known_counts_for_nothing(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",      " ",        "hello",     "up hello",       "75 up",      "%",   "1001%", "9999999%",
        "-5%",   "maxconn:", "maxconn:x", "maxconn:-1",     "up#because", "UPS", "7 5%",  "drain#x",
        "75%#x", "#",        "ready#",    "maxconn:1234567"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct agent_report report;
        const struct agent_report nothing = {0};
        assert_false(parse_bytes(lines[i], strlen(lines[i]), &report));
        assert_memory_equal(&report, &nothing, sizeof(report));
    }
}

static void cut_anywhere(void **state)
{
    (void)state;
    static const char line[] = "ready 75% up maxconn:30 down#reason 'x'";
    for (size_t len = 0; len < sizeof(line); len++) {
        struct agent_report report;
        if (parse_bytes(line, len, &report) && report.weight_given) {
            assert_int_equal(report.weight_percent, 75);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_word),
        cmocka_unit_test(what_is_not_known_counts_for_nothing),
        cmocka_unit_test(cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
