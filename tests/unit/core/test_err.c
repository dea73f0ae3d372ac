/* Error codes and messages. */
#include "core/err.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_code_has_a_text_of_its_own(void **state)
{
    static const int codes[] = {
#define CODE(name, code, text) (code),
        ERR_LIST(CODE)
#undef CODE
    };
    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_true(codes[i] <= 0);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(codes[i], codes[j]);
            assert_string_not_equal(err_describe(codes[i]), err_describe(codes[j]));
        }
    }
    assert_string_equal(err_describe(ERR_OK), "success");
    assert_string_equal(err_describe(ERR_TIMEOUT), "timed out");
    assert_string_equal(err_describe(-1000), "unknown error");
    assert_string_equal(err_describe(7), "unknown error");
}

static void a_message_is_formatted_and_the_code_passed_through(void **state)
{
    struct err_text err;
    (void)state;
    assert_int_equal(err_set(&err, ERR_RANGE, "port %d of %s", 70000, "web"), ERR_RANGE);
    assert_string_equal(err.text, "port 70000 of web");
    assert_int_equal(err_set(NULL, ERR_STATE, "nobody reads this"), ERR_STATE);
}

static void a_message_too_long_is_cut(void **state)
{
    struct err_text err;
    char word[2 * sizeof(err.text)];
    (void)state;
    memset(word, 'x', sizeof(word));
    word[sizeof(word) - 1] = '\0';
    assert_int_equal(err_set(&err, ERR_PARSE, "%s", word), ERR_PARSE);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    errno = ENOENT;
    assert_int_equal(err_set_errno(&err, "%s", word), ERR_SYSTEM);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void errno_is_described_and_kept(void **state)
{
    struct err_text err;
    (void)state;
    errno = ENOENT;
    assert_int_equal(err_set_errno(&err, "cannot open %s", "/x"), ERR_SYSTEM);
    assert_string_equal(err.text, "cannot open /x: No such file or directory");
    assert_int_equal(errno, ENOENT);
    assert_int_equal(err_set_errno(NULL, "nobody reads this"), ERR_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_text_of_its_own),
        cmocka_unit_test(a_message_is_formatted_and_the_code_passed_through),
        cmocka_unit_test(a_message_too_long_is_cut),
        cmocka_unit_test(errno_is_described_and_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
