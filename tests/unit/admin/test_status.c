/*
 * What status shows: the dense line, the tree, and the JSON against the committed schema.
 */
#include "tests/unit/admin/fake_below.h"
#include "tests/unit/admin/support.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct support daemon_;
static struct proxy_service proxy_;
static struct health health_;

static int setup(void **state)
{
    struct err_text err;
    *state = &daemon_;
    support_create(&daemon_);
    proxy_ = (struct proxy_service){.listeners = 2, .open = 15};
    proxy_.reading.accepted = 1000;
    proxy_.reading.retries = 4;
    proxy_.reading.closed[STATS_CLOSE_CLIENT_CLOSED] = 984;
    proxy_.reading.closed[STATS_CLOSE_BACKEND_RESET] = 1;
    assert_int_equal(addr_parse("127.0.0.1:8080", NULL, &proxy_.listen[0], &err), ERR_OK);
    assert_int_equal(addr_parse("unix:/run/web.sock", NULL, &proxy_.listen[1], &err), ERR_OK);
    health_ = (struct health){.backend = "b",
                              .result = {.checks = 7,
                                         .wall_us = clock_wall_us() - 2 * CLOCK_US_PER_S,
                                         .duration_us = 1500,
                                         .reason = "connection refused"}};
    daemon_.service[0].proxy = &proxy_;
    daemon_.service[0].health = &health_;
    return 0;
}

static int teardown(void **state)
{
    support_destroy(*state);
    return 0;
}

/* Connections, an error and response times on backend a of api, as a worker would report them. */
static void use_backend(struct support *s)
{
    struct random_state random;
    struct lease lease;
    random_seed(&random, 1);
    for (int i = 0; i < 4; i++) {
        struct routing_attempts attempts = {.count = 0};
        struct routing_pick_input input = {.worker = 0, .now_us = 1, .random = &random};
        assert_int_equal(routing_pick(routing_view(s->routing[0]), &input, &attempts, &lease), ERR_OK);
        lease_connected(&lease, 10, 1);
        lease_turn_begin(&lease);
        lease_turn_end(&lease, 3000, 1);
        lease_release(&lease, i == 0 ? (int)STATS_ERROR_RESET : -1, 2);
    }
}

static char *line_at(char *text, int number)
{
    char *rest = NULL;
    char *line = strtok_r(text, "\n", &rest);
    while (number-- > 0) {
        line = strtok_r(NULL, "\n", &rest);
    }
    assert_non_null(line);
    return line;
}

static void test_dense_line(void **state)
{
    struct support *s = *state;
    free(support_run(s, "start api"));
    free(support_run(s, "pause api reason \"say \\\"hi\\\"\""));
    support_expect(s, "status api",
                   "api api-1 paused share=1% live=1% step=1/3 reason=\"paused by operator:test: say "
                   "\\\"hi\\\"\" old=2/2 new=1/1 open=15\n");
}

static void assert_line(struct support *s, int number, const char *begin)
{
    char *reply = support_run(s, "status api");
    char *line = line_at(reply, number);
    if (strncmp(line, begin, strlen(begin)) != 0) {
        fail_msg("wanted: %s\ngot: %s", begin, line);
    }
    free(reply);
}

static void test_lines(void **state)
{
    struct support *s = *state;
    struct err_text err;
    use_backend(s);
    routing_set_state(s->routing[0], routing_find_backend(s->routing[0], 0, "b"), BACKEND_DOWN);
    routing_set_state(s->routing[0], routing_find_backend(s->routing[0], 1, "c"), BACKEND_UP);
    assert_int_equal(routing_publish(s->routing[0], &err), ERR_OK);
    assert_line(s, 0, "api - idle share=0% live=0% step=0/3 reason=\"\" old=1/2 new=1/1 open=15");
    assert_line(
        s, 1,
        "  listen 127.0.0.1:8080 unix:/run/web.sock   accepted 1000   refused 0   retries 4   spilled 0"
        "   closed: client-closed 984, backend-reset 1");
    assert_line(s, 2, "  certificates ✔ web.example 61d");
    assert_line(s, 3, "├─ old  ⚠ 1/2   active   0 open   4 total   err 1 (reset 1)   p50 ");
    assert_line(s, 4, "│  ├─ a   ◌ unknown   weight 3   0 open   ");
    assert_line(s, 5, "│  └─ b   ✖ down   weight 1   0 open   ");
    assert_line(s, 6, "└─ new  ✔ 1/1   0 open   0 total   err 0");
    assert_line(s, 7, "   └─ c   ✔ up   weight 1   0 open   0 total   err 0");
    char *reply = support_run(s, "status api");
    assert_non_null(strstr(reply, "   check ✖ connection refused in 1.5ms, 2"));
    free(reply);
    free(support_run(s, "backend api/old/a drain"));
    assert_line(s, 4, "│  ├─ a   ⚠ unknown drain (operator:test, ");
    free(support_run(s, "share api 25%"));
    assert_line(s, 1, "  paused, share 25%, live ");
}

/* ---- the schema: the few words of JSON Schema that docs/status.schema.json uses */

static bool is_type(const json_t *value, const char *type)
{
    return (strcmp(type, "object") == 0 && json_is_object(value)) ||
           (strcmp(type, "array") == 0 && json_is_array(value)) ||
           (strcmp(type, "string") == 0 && json_is_string(value)) ||
           (strcmp(type, "integer") == 0 && json_is_integer(value)) ||
           (strcmp(type, "number") == 0 && json_is_number(value)) ||
           (strcmp(type, "boolean") == 0 && json_is_boolean(value)) ||
           (strcmp(type, "null") == 0 && json_is_null(value));
}

static bool matches_type(const json_t *value, const json_t *type)
{
    bool matches = json_is_string(type) && is_type(value, json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++) {
        matches = matches || is_type(value, json_string_value(json_array_get(type, i)));
    }
    return matches;
}

static void assert_range(const json_t *value, const json_t *schema, const char *name)
{
    const json_t *minimum = json_object_get(schema, "minimum");
    const json_t *maximum = json_object_get(schema, "maximum");
    const json_t *choices = json_object_get(schema, "enum");
    bool listed = choices == NULL;
    for (size_t i = 0; i < json_array_size(choices); i++) {
        listed = listed || json_equal(json_array_get(choices, i), value);
    }
    if (!listed ||
        (minimum != NULL && json_is_number(value) && json_number_value(value) < json_number_value(minimum)) ||
        (maximum != NULL && json_number_value(value) > json_number_value(maximum))) {
        fail_msg("%s: out of what the schema allows", name);
    }
}

static void assert_valid(const json_t *value, json_t *schema, const char *name)
{
    json_t *properties = json_object_get(schema, "properties");
    json_t *required = json_object_get(schema, "required");
    const char *key;
    json_t *item;
    if (!matches_type(value, json_object_get(schema, "type"))) {
        fail_msg("%s: not of the type that the schema names", name);
    }
    assert_range(value, schema, name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        assert_valid(json_array_get(value, i), json_object_get(schema, "items"), name);
    }
    if (!json_is_object(value)) {
        return;
    }
    for (size_t i = 0; i < json_array_size(required); i++) {
        if (json_object_get(value, json_string_value(json_array_get(required, i))) == NULL) {
            fail_msg("%s: %s is missing", name, json_string_value(json_array_get(required, i)));
        }
    }
    const char *parent = name;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        if (json_object_get(properties, key) == NULL) {
            fail_msg("%s: %s is not in the schema", parent, key);
        }
        assert_valid(item, json_object_get(properties, key), key);
    }
}

static json_t *status_json(struct support *s, const char *line)
{
    char *reply = support_run(s, line);
    assert_ptr_equal(strchr(reply, '\n') + 1, reply + strlen(reply) - 1); /* one line */
    json_t *json = json_loads(reply, 0, NULL);
    assert_non_null(json);
    free(reply);
    return json;
}

static void test_json_is_as_the_schema_says(void **state)
{
    static const char *const between[] = {"help",           "start api",         "pause api",
                                          "share api 100%", "commit api",        "start web to new",
                                          "abort web",      "weight api/old/a 0"};
    struct support *s = *state;
    json_error_t error;
    json_t *schema = json_load_file(SHUNT_SOURCE_DIR "/docs/status.schema.json", 0, &error);
    assert_non_null(schema);
    use_backend(s);
    for (size_t i = 0; i < sizeof(between) / sizeof(between[0]); i++) {
        free(support_run(s, between[i]));
        json_t *json = status_json(s, i % 2 == 0 ? "status --json" : "status \"--json\"");
        assert_valid(json, schema, "status");
        assert_int_equal(json_array_size(json_object_get(json, "services")), SUPPORT_SERVICES);
        json_decref(json);
    }
    json_decref(schema);
}

static json_int_t number_at(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void test_json_values(void **state)
{
    struct support *s = *state;
    use_backend(s);
    free(support_run(s, "weight api/old/a 9"));
    free(support_run(s, "start api reason \"why\""));
    json_t *json = status_json(s, "status api --json");
    assert_string_equal(json_string_value(json_object_get(json, "version")), SHUNT_VERSION);
    json_t *services = json_object_get(json, "services");
    assert_int_equal(json_array_size(services), 1);
    json_t *api = json_array_get(services, 0);
    assert_string_equal(json_string_value(json_object_get(api, "phase")), "ramping");
    assert_string_equal(json_string_value(json_object_get(api, "migration")), "api-1");
    assert_string_equal(json_string_value(json_object_get(api, "active")), "old");
    assert_string_equal(json_string_value(json_object_get(api, "target")), "new");
    assert_int_equal(number_at(api, "share_bp"), 100);
    assert_int_equal(number_at(json_object_get(api, "connections"), "open"), 15);
    json_t *closed = json_object_get(json_object_get(api, "connections"), "closed");
    assert_int_equal(number_at(closed, "client-closed"), 984);
    json_t *old = json_array_get(json_object_get(api, "groups"), 0);
    assert_string_equal(json_string_value(json_object_get(old, "role")), "old");
    json_t *a = json_array_get(json_object_get(old, "backends"), 0);
    json_t *b = json_array_get(json_object_get(old, "backends"), 1);
    assert_int_equal(number_at(a, "weight"), 9);
    assert_int_equal(number_at(a, "weight_configured"), 3);
    json_int_t turns =
        number_at(json_object_get(a, "latency_us"), "n") + number_at(json_object_get(b, "latency_us"), "n");
    assert_int_equal(turns, 4);
    assert_in_range(number_at(json_object_get(a, "latency_us"), "p50"), 2800, 3200);
    assert_true(json_is_null(json_object_get(a, "check")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(b, "check"), "reason")),
                        "connection refused");
    json_decref(json);
}

/* Text that was cut inside a character must not cost the whole reply. */
static void test_json_of_broken_text(void **state)
{
    (void)state;
    json_t *text = render_json_text("caf\xc3");
    assert_string_equal(json_string_value(text), "caf?");
    json_decref(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_dense_line),
        TEST(test_lines),
        TEST(test_json_is_as_the_schema_says),
        TEST(test_json_values),
        cmocka_unit_test(test_json_of_broken_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
