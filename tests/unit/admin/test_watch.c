/*
 * The watch view as whole screens: the figures of a status that moves for three minutes, laid out for
 * several sizes and compared with the committed screens in tests/unit/admin/watch/. With UPDATE_SCREENS set
 * the screens are written anew, to be looked at before they are committed.
 */
#include "admin/ctl/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER SHUNT_SOURCE_DIR "/tests/unit/admin/watch/"

static struct watch_model model;

static char *read_file(const char *name)
{
    char path[500];
    (void)snprintf(path, sizeof(path), "%s%s", FOLDER, name);
    FILE *in = fopen(path, "re");
    char *text = calloc(1, 65536);
    assert_non_null(text);
    if (in == NULL) {
        return text;
    }
    assert_true(fread(text, 1, 65535, in) > 0);
    (void)fclose(in);
    return text;
}

/* The status at a second, from the template: two groups whose traffic grows. */
static void take_status(int at_s)
{
    char *template = read_file("status.json");
    size_t size = strlen(template) + 100;
    char *text = malloc(size);
    const int figure[] = {at_s, 1000 + at_s * 78, at_s * at_s / 5, at_s / 10};
    size_t next = 0;
    char *to = text;
    assert_non_null(text);
    for (const char *from = template; *from != '\0'; from++) {
        if (from[0] == '%' && from[1] == 'd') {
            assert_true(next < 4);
            to += snprintf(to, size - (size_t)(to - text), "%d", figure[next++]);
            from++;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    assert_true(watch_model_take(&model, json_loads(text, 0, NULL)));
    free(text);
    free(template);
}

static int setup(void **state)
{
    char *events = read_file("events.json");
    (void)state;
    watch_model_clear(&model);
    for (int at_s = 100; at_s <= 300; at_s++) {
        take_status(at_s);
    }
    assert_true(watch_model_take(&model, json_loads(events, 0, NULL)));
    free(events);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    watch_model_clear(&model);
    return 0;
}

static char *lay_out(const struct watch_look *look)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    watch_layout(&model, look, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* What every screen keeps to. */
static void check_size(const struct watch_look *look, const char *text)
{
    unsigned rows = 0, column = 0;
    for (const char *p = text; *p != '\0'; p++) {
        assert_true(*p == '\n' || (unsigned char)*p >= 0x20);
        assert_true(!look->ascii || (unsigned char)*p < 0x80);
        if (*p == '\n') {
            assert_true(column <= look->columns);
            column = 0;
            rows++;
        } else {
            column += ((unsigned char)*p & 0xc0) != 0x80;
        }
    }
    assert_int_equal(rows, look->rows);
}

static void expect_screen(const struct watch_look *look, const char *name)
{
    char *text = lay_out(look);
    check_size(look, text);
    if (getenv("UPDATE_SCREENS") != NULL) {
        char path[500];
        (void)snprintf(path, sizeof(path), "%s%s", FOLDER, name);
        FILE *out = fopen(path, "we");
        assert_non_null(out);
        fputs(text, out);
        assert_int_equal(fclose(out), 0);
    }
    char *wanted = read_file(name);
    if (strcmp(text, wanted) != 0) {
        fail_msg("%s\n--- wanted\n%s--- got\n%s", name, wanted, text);
    }
    free(wanted);
    free(text);
}

static void test_screens(void **state)
{
    (void)state;
    expect_screen(&(struct watch_look){.rows = 24, .columns = 80, .service = "api"}, "80x24.txt");
    expect_screen(&(struct watch_look){.rows = 50, .columns = 200, .service = "api"}, "200x50.txt");
    expect_screen(&(struct watch_look){.rows = 24, .columns = 80, .ascii = true}, "80x24-ascii.txt");
    expect_screen(&(struct watch_look){.rows = 8, .columns = 40, .notice = "skip api? type yes"}, "40x8.txt");
}

static void test_any_size(void **state)
{
    (void)state;
    for (unsigned rows = 1; rows < 60; rows++) {
        for (unsigned columns = 1; columns < 130; columns += 7) {
            const struct watch_look look = {
                .rows = rows, .columns = columns, .service = "web", .ascii = rows % 2};
            char *text = lay_out(&look);
            check_size(&look, text);
            free(text);
        }
    }
}

static void test_rates(void **state)
{
    double line[4];
    (void)state;
    assert_true(watch_model_rate(&model, "api/old") > 77.9 && watch_model_rate(&model, "api/old") < 78.1);
    assert_true(watch_model_rate(&model, "api/none") < 0);
    assert_true(watch_model_errors(&model, "api/old") >= 0 && watch_model_errors(&model, "api/old") < 1e-9);
    assert_true(watch_model_errors(&model, "api/newer") > 0);
    assert_true(watch_model_errors(&model, "web/blue") < 0); /* nothing came, so there is no rate */
    watch_model_line(&model, "api/newer", line, 4);
    for (int i = 1; i < 4; i++) {
        assert_true(line[i - 1] > 0 && line[i] > line[i - 1]);
    }
    take_status(5); /* another daemon: the clock begins anew */
    assert_true(watch_model_rate(&model, "api/old") < 0);
}

/* Replies that are no status: refused, and nothing is kept of them. */
static void test_other_replies(void **state)
{
    static const char *const others[] = {"{}", "[]", "{\"services\":3}", "{\"events\":{}}",
                                         "{\"error\":\"x\"}"};
    (void)state;
    json_t *before = model.status;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(watch_model_take(&model, json_loads(others[i], 0, NULL)));
    }
    assert_ptr_equal(model.status, before);
    assert_true(watch_model_take(
        &model, json_loads("{\"services\":[{},{\"name\":\"x\",\"groups\":[{},3]}]}", 0, NULL)));
    char *text = lay_out(&(struct watch_look){.rows = 24, .columns = 80});
    assert_non_null(strstr(text, "x"));
    free(text);
    watch_model_clear(&model);
    text = lay_out(&(struct watch_look){.rows = 5, .columns = 80});
    assert_non_null(strstr(text, "waiting for the daemon"));
    free(text);
}

/* What an operator set by hand, who waits and which names are not answered is shown, also where room is
 * scarce. */
static void test_what_is_out_of_order_stays(void **state)
{
    (void)state;
    watch_model_clear(&model);
    assert_true(watch_model_take(
        &model,
        json_loads("{\"uptime_s\":1,\"services\":[{\"name\":\"db\",\"phase\":\"idle\",\"names\":["
                   "{\"group\":\"old\",\"backend\":\"n.test:1\",\"outcome\":\"failed\",\"addresses\":2,"
                   "\"reason\":\"no answer\"},{\"group\":\"old\",\"backend\":\"good:1\",\"outcome\":\"ok\"}],"
                   "\"groups\":[{\"name\":\"old\",\"usable\":3,\"queue\":{\"waiting\":7},\"backends\":["
                   "{\"name\":\"a\",\"state\":\"up\",\"admin\":\"ready\",\"forced\":\"auto\"},"
                   "{\"name\":\"b\",\"state\":\"up\",\"admin\":\"ready\",\"forced\":\"up\"},"
                   "{\"name\":\"c\",\"state\":\"up\",\"admin\":\"ready\",\"forced\":\"auto\"}]}]}]}",
                   0, NULL)));
    char *text = lay_out(&(struct watch_look){.rows = 8, .columns = 80});
    assert_non_null(strstr(text, "name  ⚠ old/n.test:1   2 addresses kept: no answer"));
    assert_null(strstr(text, "good:1"));
    assert_non_null(strstr(text, "◌ 7 wait"));
    assert_non_null(strstr(text, "b   ✔ up forced"));
    assert_non_null(strstr(text, "2 more, all up"));
    free(text);
}

/* Names and reasons come from elsewhere. */
static void test_nothing_steers_the_terminal(void **state)
{
    (void)state;
    watch_model_clear(&model);
    assert_true(watch_model_take(
        &model,
        json_loads(
            "{\"uptime_s\":1,\"services\":[{\"name\":\"a\\u001b[2Jb\\u009b3Jc\\u202ed\\u2066e\\u007ff\","
            "\"phase\":\"idle\",\"groups\":[]}]}",
            0, NULL)));
    char *text = lay_out(&(struct watch_look){.rows = 8, .columns = 80});
    assert_non_null(strstr(text, "a [2Jb 3Jc d e f   · idle"));
    free(text);
    text = lay_out(&(struct watch_look){.rows = 8, .columns = 80, .ascii = true});
    assert_non_null(strstr(text, "a [2Jb 3Jc d e f   - idle"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_screens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_replies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_out_of_order_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_steers_the_terminal, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
