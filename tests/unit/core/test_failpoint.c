/* Failpoints: off, at one pass, at a range, from a pass on, and settings that cannot be read. */
#include "core/failpoint.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void off_by_default(void **state)
{
    (void)state;
    assert_int_equal(failpoint_set(NULL, NULL), 0);
    assert_false(failpoint_any());
    assert_int_equal(failpoint("journal-append"), 0);
}

static void strikes_at_its_passes_only(void **state)
{
    static const int want[] = {0, 0, ENOSPC, 0, EIO, EIO};

    (void)state;
    assert_int_equal(failpoint_set("a:3:enospc,b:5+:eio", NULL), 0);
    assert_true(failpoint_any());
    for (int pass = 0; pass < 6; pass++) {
        int a = failpoint("a");
        int b = failpoint("b");

        assert_int_equal(a != 0 ? a : b, want[pass]);
        assert_int_equal(failpoint("other"), 0);
    }
    assert_int_equal(failpoint_set("a:2-3:enomem", NULL), 0);
    assert_int_equal(failpoint("a"), 0);
    assert_int_equal(failpoint("a"), ENOMEM);
    assert_int_equal(failpoint("a"), ENOMEM);
    assert_int_equal(failpoint("a"), 0);
    assert_int_equal(failpoint_set("", NULL), 0);
}

static void kills_the_process(void **state)
{
    int status = 0;
    pid_t child;

    (void)state;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (failpoint_set("here:2:kill", NULL) != 0 || failpoint("here") != 0) {
            _exit(3);
        }
        (void)failpoint("here");
        _exit(4);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void refuses_what_it_cannot_read(void **state)
{
    static const char *const bad[] = {"a",      "a:1",       "a:0:eio",  "a:x:eio",   ":1:eio",
                                      "a:1:no", "a:3-2:eio", "a:1x:eio", "a:1:eio,b", "a::eio"};
    struct err_text err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(failpoint_set(bad[i], &err), ERR_PARSE);
        assert_false(failpoint_any());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(off_by_default),
        cmocka_unit_test(strikes_at_its_passes_only),
        cmocka_unit_test(kills_the_process),
        cmocka_unit_test(refuses_what_it_cannot_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
