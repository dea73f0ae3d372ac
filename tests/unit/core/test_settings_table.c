/* The schema table itself: whoever adds a line that does not fit together hears of it here. */
#include "core/settings_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Any of the structs that a setting may live in fits. */
union any_element {
    struct config config;
    struct config_service service;
    struct config_group group;
    struct config_backend backend;
    struct config_step step;
    struct config_health_step health_step;
};

static const struct setting *find(const char *path, size_t len)
{
    for (size_t i = 0; i < settings_table.len; i++) {
        const struct setting *setting = &settings_table.list[i];
        if (strlen(setting->path) == len && strncmp(setting->path, path, len) == 0) {
            return setting;
        }
    }
    return NULL;
}

static void test_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < settings_table.len; i++) {
        const struct setting *setting = &settings_table.list[i];
        const char *dot = strrchr(setting->path, '.');
        assert_ptr_equal(find(setting->path, strlen(setting->path)), setting); /* and no second one */
        if (dot) {
            const struct setting *parent = find(setting->path, (size_t)(dot - setting->path));
            assert_non_null(parent);
            assert_true(parent < setting);
            assert_true(parent->type == SETTINGS_SECTION || parent->type == SETTINGS_LIST);
        }
        assert_string_equal(settings_leaf(setting), dot ? dot + 1 : setting->path);
        assert_int_equal(setting->text[strlen(setting->text) - 1], '.');
    }
}

static void test_walk_reaches_all(void **state)
{
    (void)state;
    size_t reached = 0;
    for (size_t i = 0; i <= settings_table.len; i++) {
        const struct setting *parent = i == 0 ? NULL : &settings_table.list[i - 1];
        const struct setting *child = NULL;
        while ((child = settings_next(&settings_table, parent, child)) != NULL) {
            reached++;
        }
    }
    assert_int_equal(reached, settings_table.len);
}

static void test_widths(void **state)
{
    (void)state;
    static const size_t widths[] = {
        [SETTINGS_BOOL] = sizeof(bool),        [SETTINGS_COUNT] = sizeof(uint32_t),
        [SETTINGS_DECIMAL] = sizeof(uint32_t), [SETTINGS_DURATION] = sizeof(uint64_t),
        [SETTINGS_SHARE] = sizeof(uint32_t),   [SETTINGS_SIZE] = sizeof(uint64_t),
        [SETTINGS_MODE] = sizeof(uint32_t),    [SETTINGS_WORD] = sizeof(unsigned),
        [SETTINGS_STRING] = sizeof(char *),    [SETTINGS_NAME] = sizeof(char *),
        [SETTINGS_ENDPOINT] = sizeof(char *),  [SETTINGS_ADDRESS] = sizeof(char *),
        [SETTINGS_PATH] = sizeof(char *),      [SETTINGS_PREFIX] = sizeof(char *),
        [SETTINGS_SPEED] = sizeof(uint64_t),   [SETTINGS_RATE] = sizeof(uint64_t)};
    for (size_t i = 0; i < settings_table.len; i++) {
        const struct setting *setting = &settings_table.list[i];
        if (setting->type == SETTINGS_LIST) {
            assert_true(setting->size > 0 && setting->len > 0);
        } else if (setting->flags & SETTINGS_MANY) {
            assert_true(settings_is_text(setting) && setting->len > 0);
        } else if (setting->type != SETTINGS_SECTION &&
                   !(setting->type == SETTINGS_COUNT && setting->width == sizeof(uint64_t))) {
            assert_int_equal(setting->width, widths[setting->type]);
        }
    }
}

/* Each default is a value that the file could have, and is shown as it is documented. */
static void test_defaults_fit(void **state)
{
    (void)state;
    for (size_t i = 0; i < settings_table.len; i++) {
        const struct setting *setting = &settings_table.list[i];
        union any_element element = {{0}};
        struct settings_why why = {""};
        char shown[SETTINGS_VALUE_MAX];
        char expected[SETTINGS_VALUE_MAX];
        bool value = setting->type != SETTINGS_SECTION && setting->type != SETTINGS_LIST &&
                     !(setting->flags & SETTINGS_MANY);
        bool has_default = setting->fallback || setting->from || setting->derive ||
                           (settings_is_text(setting) && setting->note); /* the note says what without */
        assert_true(!value || has_default != ((setting->flags & SETTINGS_REQUIRED) != 0));
        if (!setting->fallback) {
            continue;
        }
        assert_int_equal(settings_value_store(setting, setting->fallback, NULL, &element, &why), ERR_OK);
        settings_value_format(setting, &element, shown, sizeof shown);
        const char *quote = settings_is_quoted(setting) ? "\"" : "";
        snprintf(expected, sizeof expected, "%s%s%s", quote, setting->fallback, quote);
        assert_string_equal(shown, expected);
        if (settings_is_text(setting)) {
            char *text = NULL;
            memcpy(&text, (const char *)&element + setting->offset, sizeof(char *));
            free(text);
        }
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct setting size = {
        .path = "buffer", .type = SETTINGS_SIZE, .width = sizeof(uint64_t), .min = 4096, .max = 1u << 30};
    static const struct {
        const char *text;
        uint64_t bytes;
        const char *shown;
    } cases[] = {{"4096", 4096, "\"4KiB\""},
                 {"5000", 5000, "\"5000\""},
                 {"64KiB", 65536, "\"64KiB\""},
                 {"3MiB", 3145728, "\"3MiB\""},
                 {"1GiB", 1073741824, "\"1GiB\""}};
    uint64_t bytes = 0;
    struct settings_why why;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char shown[64];
        assert_int_equal(settings_value_store(&size, cases[i].text, NULL, &bytes, &why), ERR_OK);
        assert_int_equal(bytes, cases[i].bytes);
        settings_value_format(&size, &bytes, shown, sizeof shown);
        assert_string_equal(shown, cases[i].shown);
    }
    assert_int_equal(settings_value_store(&size, "1KiB", NULL, &bytes, &why), ERR_INVALID);
    assert_string_equal(why.text, "1KiB is out of range: 4KiB to 1GiB");
    assert_int_equal(settings_value_store(&size, "64KB", NULL, &bytes, &why), ERR_INVALID);
    assert_string_equal(why.text, "\"64KB\" is not a size such as \"4096\", \"64KiB\" or \"1MiB\"");
    assert_int_equal(bytes, 1073741824);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),  cmocka_unit_test(test_walk_reaches_all),
        cmocka_unit_test(test_widths), cmocka_unit_test(test_defaults_fit),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
