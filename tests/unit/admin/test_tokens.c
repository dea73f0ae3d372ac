/*
 * The words of a command line: every case of quoting, and what must never get through.
 */
#include "admin/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char line[TOKENS_LINE_MAX + 1];

static int split_bytes(const char *bytes, size_t length, struct tokens *out, struct err_text *err)
{
    memcpy(line, bytes, length);
    line[length] = 'X'; /* the byte behind the line may be anything */
    return tokens_split(line, length, out, err);
}

static int split(const char *text, struct tokens *out, struct err_text *err)
{
    return split_bytes(text, strlen(text), out, err);
}

static void test_good_lines(void **state)
{
    static const struct {
        const char *line;
        size_t len;
        const char *word[4];
    } cases[] = {
        {"", 0, {NULL}},
        {"  \t ", 0, {NULL}},
        {"status", 1, {"status"}},
        {"  status\tapi  ", 2, {"status", "api"}},
        {"pause api reason \"two words\"", 4, {"pause", "api", "reason", "two words"}},
        {"a \"\" b", 3, {"a", "", "b"}},
        {"\"\"", 1, {""}},
        {"\"a\" \"b\"", 2, {"a", "b"}},
        {"\"say \\\"hi\\\"\"", 1, {"say \"hi\""}},
        {"\"back\\\\slash\"", 1, {"back\\slash"}},
        {"plain\\back", 1, {"plain\\back"}},
        {"\"tab\there\"", 1, {"tab here"}},
        {"gr\xc3\xbc\xc3\x9f \xe2\x9c\x94 \xf0\x9f\x9a\x82",
         3,
         {"gr\xc3\xbc\xc3\x9f", "\xe2\x9c\x94", "\xf0\x9f\x9a\x82"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tokens tokens;
        struct err_text err = {""};
        assert_int_equal(split(cases[i].line, &tokens, &err), ERR_OK);
        assert_int_equal(tokens.len, cases[i].len);
        for (size_t w = 0; w < tokens.len; w++) {
            assert_string_equal(tokens.word[w], cases[i].word[w]);
        }
    }
}

static void test_bad_lines(void **state)
{
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"a \"b", "not closed"},
        {"\"", "not closed"},
        {"\"a\\\"", "not closed"},
        {"\"a\\", "backslash"},
        {"\"a\\n\"", "backslash"},
        {"\"a\"b", "blank must follow"},
        {"\"a\"\"b\"", "blank must follow"},
        {"a\"b\"", "inside a word"},
        {"a \x01", "control byte"},
        {"a\rb", "control byte"},
        {"a\x7f", "control byte"},
        {"a\x1b[2J", "control byte"},
        {"\xc2\x9b", "control byte"},
        {"\xff", "not UTF-8"},
        {"\xc0\xaf", "not UTF-8"},
        {"\xe2\x9c", "not UTF-8"},
        {"\xed\xa0\x80", "not UTF-8"},
        {"\xe0\x80\x80", "not UTF-8"},
        {"\xf0\x80\x80\x80", "not UTF-8"},
        {"\xf4\x90\x80\x80", "not UTF-8"},
        {"\x80", "not UTF-8"},
        {"\xf5\x80\x80\x80", "not UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tokens tokens;
        struct err_text err = {""};
        assert_int_equal(split(cases[i].line, &tokens, &err), ERR_PARSE);
        if (strstr(err.text, cases[i].message) == NULL) {
            fail_msg("%s: got \"%s\", wanted \"%s\"", cases[i].line, err.text, cases[i].message);
        }
    }
}

static void test_nul_is_refused(void **state)
{
    struct tokens tokens;
    struct err_text err = {""};
    (void)state;
    assert_int_equal(split_bytes("abort\0 api", 10, &tokens, &err), ERR_PARSE);
    assert_string_equal(err.text, "byte 6 of the line is a control byte (0x00)");
}

static void test_too_many_words(void **state)
{
    struct tokens tokens;
    struct err_text err = {""};
    char many[2 * (TOKENS_MAX + 1) + 1] = "";
    (void)state;
    for (size_t i = 0; i < TOKENS_MAX; i++) {
        many[2 * i] = 'a';
        many[2 * i + 1] = ' ';
    }
    assert_int_equal(split(many, &tokens, &err), ERR_OK);
    assert_int_equal(tokens.len, TOKENS_MAX);
    many[2 * (size_t)TOKENS_MAX] = 'a';
    assert_int_equal(split(many, &tokens, &err), ERR_LIMIT);
}

/* What tokens_quote writes, tokens_split reads back. */
static void test_quote_round_trip(void **state)
{
    static const char *const words[] = {"plain", "",           "two words", "\"",    "\\",
                                        "a\\b",  "a \\ \"b\"", "\"\\\"",    "blank "};
    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        char *text = NULL;
        size_t size = 0;
        struct tokens tokens;
        struct err_text err = {""};
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        tokens_quote(out, words[i]);
        fclose(out);
        assert_int_equal(split(text, &tokens, &err), ERR_OK);
        assert_int_equal(tokens.len, 1);
        assert_string_equal(tokens.word[0], words[i]);
        free(text);
    }
}

/* Any bytes whatever: no crash, and words that came through are clean text inside the line. */
static void test_random_bytes(void **state)
{
    uint64_t seed = 42;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char bytes[64];
        size_t length = (size_t)(round % 64);
        for (size_t i = 0; i < length; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            unsigned pick = (unsigned)(seed >> 40);
            bytes[i] = (char)(pick >> 4);
            if ((pick & 3) != 0) {
                bytes[i] = "ab \"\\\t\xc3\xa9"[(pick >> 2) % 8];
            }
        }
        struct tokens tokens;
        struct err_text err = {""};
        if (split_bytes(bytes, length, &tokens, &err) != ERR_OK) {
            assert_true(err.text[0] != '\0');
            continue;
        }
        for (size_t w = 0; w < tokens.len; w++) {
            assert_true(tokens.word[w] >= line && tokens.word[w] + strlen(tokens.word[w]) <= line + length);
        }
    }
}

static void test_clean_text(void **state)
{
    static const struct {
        const char *bytes, *shown;
    } cases[] = {
        {"web ✔ 25% é 😀\tx\n", "web ✔ 25% é 😀\tx\n"},
        {"\x1b[2J\r\x01\x7f", "\\u001b[2J\\u000d\\u0001\\u007f"},
        {"\xc2\x9b"
         "2J\xc2\xa0",
         "\\u009b2J\xc2\xa0"},
        {"a\u202eb\u2066c\u200fd", "a\\u202eb\\u2066c\\u200fd"},
        {"\xff\xc3(\xe2\x82", "\\xff\\xc3(\\xe2\\x82"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = NULL;
        size_t length = 0;
        FILE *out = open_memstream(&text, &length);
        assert_non_null(out);
        tokens_write_clean(out, cases[i].bytes, strlen(cases[i].bytes));
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, cases[i].shown);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_lines),       cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_nul_is_refused),   cmocka_unit_test(test_too_many_words),
        cmocka_unit_test(test_quote_round_trip), cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_clean_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
