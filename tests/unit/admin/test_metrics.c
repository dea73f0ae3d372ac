/*
 * The exposition as Prometheus reads it: every family whole and in one piece, histograms that add up, labels
 * escaped, no name that is not in the table.
 */
#include "admin/metrics.h"
#include "core/clock.h"
#include "tests/unit/admin/fake_below.h"
#include "tests/unit/admin/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct support daemon_;
static struct proxy_service proxy;
static struct health health = {.backend = "a"};
static struct name_member member;
static struct names names = {
    .host = {.host = "db.test", .set = {.members = &member, .len = 1, .outcome = NAME_FAILED, .left_out = 5}},
    .failures = 4};

static int setup(void **state)
{
    *state = &daemon_;
    support_create(&daemon_);
    memset(&proxy, 0, sizeof(proxy));
    proxy.open = 7;
    proxy.reading.accepted = 12;
    proxy.reading.closed[STATS_CLOSE_IDLE] = 5;
    daemon_.service[0].proxy = &proxy;
    daemon_.service[0].health = &health;
    daemon_.service[0].names = &names;
    return 0;
}

static int teardown(void **state)
{
    support_destroy(*state);
    return 0;
}

static char *format(struct support *s)
{
    size_t length = 0;
    char *text = metrics_format(&s->admin, &length);
    assert_non_null(text);
    assert_int_equal(length, strlen(text));
    assert_true(length > 0 && text[length - 1] == '\n');
    return text;
}

static void expect_line(const char *text, const char *line)
{
    const char *found = strstr(text, line);
    if (found == NULL || (found != text && found[-1] != '\n') || found[strlen(line)] != '\n') {
        fail_msg("no line \"%s\"", line);
    }
}

static void test_values(void **state)
{
    struct support *s = *state;
    struct backend *a = routing_backend_at(s->service[0].routing, 0, 0);
    routing_set_state(s->service[0].routing, a, BACKEND_DOWN);
    support_expect(s, "start api", "api-1 started");
    char *text = format(s);
    expect_line(text, "shunt_build_info{version=\"" SHUNT_VERSION "\"} 1");
    expect_line(text, "shunt_service_connections_open{service=\"api\"} 7");
    expect_line(text, "shunt_service_accepted_total{service=\"api\"} 12");
    expect_line(text, "shunt_connections_closed_total{service=\"api\",reason=\"idle\"} 5");
    expect_line(text, "shunt_share_ratio{service=\"api\"} 0.01");
    expect_line(text, "shunt_migration_phase{service=\"api\",phase=\"ramping\"} 1");
    expect_line(text, "shunt_migration_phase{service=\"api\",phase=\"idle\"} 0");
    expect_line(text, "shunt_migration_phase{service=\"web\",phase=\"idle\"} 1");
    expect_line(text, "shunt_name_resolved{service=\"api\",group=\"old\",backend=\"db.test\"} 0");
    expect_line(text, "shunt_name_addresses{service=\"api\",group=\"old\",backend=\"db.test\"} 1");
    expect_line(text, "shunt_name_addresses_left_out{service=\"api\",group=\"old\",backend=\"db.test\"} 5");
    expect_line(text, "shunt_name_failures_total{service=\"api\",group=\"old\",backend=\"db.test\"} 4");
    expect_line(text, "shunt_health_checks_skipped_total{service=\"api\"} 3");
    expect_line(text, "shunt_backend_up{service=\"api\",group=\"old\",backend=\"a\"} 0");
    expect_line(text, "shunt_backend_up{service=\"api\",group=\"new\",backend=\"c\"} 1");
    expect_line(text, "shunt_backend_weight{service=\"api\",group=\"old\",backend=\"a\"} 3");
    expect_line(text, "shunt_bytes_total{service=\"api\",group=\"old\",backend=\"a\",direction=\"in\"} 0");
    free(text);
}

static void test_certificate_of_a_backend(void **state)
{
    static const char name[] =
        "shunt_backend_certificate_expires_seconds{service=\"api\",group=\"old\",backend=\"a\"} ";
    struct support *s = *state;
    char *text = format(s);
    assert_null(strstr(text, "shunt_backend_certificate")); /* none was seen */
    free(text);
    for (int64_t left_s = 3600; left_s >= -3600; left_s -= 7200) {
        health.result.certificate_us =
            (uint64_t)((int64_t)clock_wall_us() + left_s * (int64_t)CLOCK_US_PER_S);
        text = format(s);
        char *found = strstr(text, name);
        assert_non_null(found);
        assert_true(labs(strtol(found + strlen(name), NULL, 10) - (long)left_s) <= 60);
        free(text);
    }
    health.result.certificate_us = 0;
}

/* Samples of known size land below the bounds that they should. */
static void test_histogram(void **state)
{
    struct support *s = *state;
    struct routing *routing = s->service[0].routing;
    struct routing_attempts attempts = {.count = 0};
    struct random_state random;
    struct lease lease;
    random_seed(&random, 1);
    const struct routing_pick_input input = {.worker = 0, .now_us = 1, .random = &random};
    assert_int_equal(routing_pick(routing_view(routing), &input, &attempts, &lease), ERR_OK);
    lease_connected(&lease, 90, 2); /* 0.1 ms */
    for (int i = 0; i < 10; i++) {
        lease_turn_begin(&lease);
        lease_turn_end(&lease, 3000, 3); /* 3 ms */
    }
    lease_turn_begin(&lease);
    lease_turn_end(&lease, 60000000, 4); /* a minute: above all bounds */
    char place[100];
    char line[200];
    (void)snprintf(place, sizeof(place), "service=\"api\",group=\"%s\",backend=\"%s\"",
                   routing_group_name(routing, lease.group), backend_name(lease.backend));
    char *text = format(s);
    static const char *const wanted[][2] = {{"0.0025", "0"}, {"0.005", "10"}, {"30", "10"}, {"+Inf", "11"}};
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(line, sizeof(line), "shunt_response_seconds_bucket{%s,le=\"%s\"} %s", place,
                       wanted[i][0], wanted[i][1]);
        expect_line(text, line);
    }
    (void)snprintf(line, sizeof(line), "shunt_response_seconds_count{%s} 11", place);
    expect_line(text, line);
    (void)snprintf(line, sizeof(line), "shunt_response_seconds_sum{%s} 60.030000", place);
    expect_line(text, line);
    (void)snprintf(line, sizeof(line), "shunt_connect_seconds_bucket{%s,le=\"0.0001\"} 1", place);
    expect_line(text, line);
    free(text);
    lease_release(&lease, -1, 5);
}

/* The name of the family that a sample's name belongs to. */
static const struct metric *family_of(const char *name)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric *metric = &metrics_table()[i];
        size_t length = strlen(metric->name);
        if (strcmp(name, metric->name) == 0) {
            return metric->type == METRIC_HISTOGRAM ? NULL : metric;
        }
        for (size_t j = 0; j < 3 && metric->type == METRIC_HISTOGRAM; j++) {
            if (strncmp(name, metric->name, length) == 0 && strcmp(name + length, suffixes[j]) == 0) {
                return metric;
            }
        }
    }
    return NULL;
}

static void test_format(void **state)
{
    struct support *s = *state;
    health.result.certificate_us = clock_wall_us();
    char *text = format(s);
    char *rest = NULL;
    const struct metric *present = NULL;
    bool seen[METRIC_COUNT] = {false};
    char name[100];
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            size_t id = 0;
            assert_int_equal(sscanf(line + 7, "%99s", name), 1);
            while (id < METRIC_COUNT && strcmp(metrics_table()[id].name, name) != 0) {
                id++;
            }
            assert_true(id < METRIC_COUNT && !seen[id]); /* once each, so in one piece */
            seen[id] = true;
            present = &metrics_table()[id];
            continue;
        }
        if (strncmp(line, "# TYPE ", 7) == 0) {
            char type[20];
            assert_int_equal(sscanf(line + 7, "%99s %19s", name, type), 2);
            assert_non_null(present);
            assert_string_equal(name, present != NULL ? present->name : "");
            assert_string_equal(type, metrics_type_name(present != NULL ? present->type : 0));
            continue;
        }
        size_t length = strcspn(line, "{ ");
        assert_true(length < sizeof(name));
        (void)snprintf(name, sizeof(name), "%.*s", (int)length, line);
        assert_ptr_equal(family_of(name), present);
        char *end = NULL;
        (void)strtod(strrchr(line, ' ') + 1, &end);
        assert_true(end != NULL && *end == '\0');
    }
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (!seen[i] && strncmp(metrics_table()[i].name, "shunt_gate_", 11) != 0) { /* no gate here */
            fail_msg("%s has no sample", metrics_table()[i].name);
        }
    }
    health.result.certificate_us = 0;
    free(text);
}

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric *metric = &metrics_table()[i];
        size_t length = strlen(metric->name);
        bool total = length > 6 && strcmp(metric->name + length - 6, "_total") == 0;
        assert_int_equal(total, metric->type == METRIC_COUNTER);
        assert_int_equal(strncmp(metric->name, "shunt_", 6), 0);
        assert_int_equal(strspn(metric->name, "abcdefghijklmnopqrstuvwxyz_"), length);
        assert_true(strlen(metric->help) > 0 && strchr(metric->help, '\n') == NULL);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(metric->name, metrics_table()[j].name);
        }
    }
}

static void test_show(void **state)
{
    struct support *s = *state;
    support_expect(s, "show metrics", "# HELP shunt_build_info ");
    support_expect(s, "show metrics --json", "{\"metrics\":\"# HELP shunt_build_info ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_certificate_of_a_backend, setup, teardown),
        cmocka_unit_test_setup_teardown(test_histogram, setup, teardown),
        cmocka_unit_test_setup_teardown(test_format, setup, teardown),
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_show, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
