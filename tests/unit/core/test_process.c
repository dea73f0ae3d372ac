/*
 * Running commands: what they are given and not given, what becomes of those that fail, hang, flood, are
 * missing, or leave children behind. Under a real event loop; nothing sleeps but the commands.
 */
#include "core/clock.h"
#include "core/process.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct event_base *base;
static bool ended;
static struct process_result last;
static char output[PROCESS_OUTPUT_MAX + 1];

static void on_done(void *context, const struct process_result *result)
{
    (void)context;
    ended = true;
    last = *result;
    snprintf(output, sizeof(output), "%s", result->output);
}

static struct process *begin(const char *script, const char *input, uint64_t timeout_us)
{
    char *arguments[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL};
    char *environment[] = {(char *)(uintptr_t) "WORD=here", (char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};
    struct process_spec spec = {.base = base,
                                .arguments = arguments,
                                .environment = environment,
                                .input = input,
                                .input_len = input == NULL ? 0 : strlen(input),
                                .timeout_us = timeout_us,
                                .done = on_done};
    struct process *process = NULL;

    ended = false;
    assert_int_equal(process_start(&spec, &process), 0);
    assert_false(ended);
    return process;
}

/* Turns the loop until the command was told of; its remains are gone when nobody waits for anything any more.
 */
static void run(const char *script, const char *input, uint64_t timeout_us)
{
    uint64_t until_us = clock_mono_us() + 20 * CLOCK_US_PER_S;

    (void)begin(script, input, timeout_us);
    while (!ended && clock_mono_us() < until_us) {
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    assert_true(ended);
    while (event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED) > 0 && clock_mono_us() < until_us) {
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie */
    assert_int_equal(errno, ECHILD);
}

static void what_a_command_gets_and_says(void **state)
{
    (void)state;
    run("read line; echo \"$WORD $line\"; echo \"${HOME-none}\"; exit 0", "a line\n", CLOCK_US_PER_S * 10);
    assert_true(last.passed);
    assert_string_equal(output, "here a line\nnone\n");
    run("echo not today >&2; exit 3", NULL, CLOCK_US_PER_S * 10);
    assert_false(last.passed);
    assert_string_equal(last.words, "exit status 3: not today");
    run("kill -TERM $$", NULL, CLOCK_US_PER_S * 10);
    assert_string_equal(last.words, "killed by SIGTERM");
}

static void no_descriptor_is_inherited(void **state)
{
    int kept = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */

    (void)state;
    assert_true(kept > 2);
    run("ls /proc/self/fd | tr '\\n' ' '", NULL, CLOCK_US_PER_S * 10);
    assert_true(last.passed);
    assert_string_equal(output, "0 1 2 3 "); /* 3 is the folder that ls reads */
    close(kept);
}

static void one_that_hangs_is_killed_with_its_children(void **state)
{
    uint64_t begin_us = clock_mono_us();

    (void)state;
    run("echo begun; sleep 100 & sleep 100", NULL, 200 * CLOCK_US_PER_MS);
    assert_false(last.passed);
    assert_string_equal(last.words, "killed after 200ms: begun");
    assert_true(clock_mono_us() - begin_us < 10 * CLOCK_US_PER_S);
}

static void children_left_behind_are_killed(void **state)
{
    char file[] = "/tmp/shunt-process-XXXXXX";
    char script[200];
    char text[32] = "";
    int fd = mkstemp(file);

    (void)state;
    assert_true(fd >= 0);
    snprintf(script, sizeof(script), "sleep 100 & echo $! > %s; exit 0", file);
    run(script, NULL, CLOCK_US_PER_S * 10);
    assert_true(last.passed);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    unlink(file);
    for (int i = 0; i < 1000 && kill((pid_t)strtol(text, NULL, 10), 0) == 0; i++) {
        char path[64];
        char line[256] = "";
        FILE *in;

        snprintf(path, sizeof(path), "/proc/%ld/stat", strtol(text, NULL, 10));
        in = fopen(path, "re");
        if (in == NULL) {
            return;
        }
        (void)(fgets(line, sizeof(line), in) == NULL);
        fclose(in);
        if (strstr(line, ") Z") != NULL) {
            return; /* dead, and its new parent's to reap */
        }
        usleep(1000);
    }
    assert_int_not_equal(kill((pid_t)strtol(text, NULL, 10), 0), 0);
}

static void a_flood_is_cut(void **state)
{
    (void)state;
    run("yes flooding | head -c 3000000; exit 7", NULL, CLOCK_US_PER_S * 20);
    assert_string_equal(last.words, "exit status 7: flooding");
    assert_true(strlen(output) <= PROCESS_OUTPUT_MAX);
    run("yes", NULL, 200 * CLOCK_US_PER_MS); /* one that never stops */
    assert_string_equal(last.words, "killed after 200ms: y");
}

static void input_that_nobody_reads_does_no_harm(void **state)
{
    char *much = malloc(1000001);

    (void)state;
    assert_non_null(much);
    memset(much, 'x', 1000000);
    much[1000000] = '\0';
    run("exit 0", much, CLOCK_US_PER_S * 10);
    assert_true(last.passed);
    run("wc -c", much, CLOCK_US_PER_S * 10);
    assert_string_equal(output, "1000000\n");
    free(much);
}

static void one_that_is_missing_is_told_later(void **state)
{
    char *arguments[] = {(char *)(uintptr_t) "/nowhere/hook", NULL};
    char *environment[] = {NULL};
    struct process_spec spec = {.base = base,
                                .arguments = arguments,
                                .environment = environment,
                                .timeout_us = 1000,
                                .done = on_done};
    struct process *process = NULL;

    (void)state;
    ended = false;
    assert_int_equal(process_start(&spec, &process), 0);
    assert_false(ended);
    assert_int_equal(event_base_dispatch(base), 1);
    assert_true(ended);
    assert_false(last.passed);
    assert_string_equal(last.words, "cannot run \"/nowhere/hook\": No such file or directory");
}

static void a_cancelled_one_is_gone(void **state)
{
    (void)state;
    process_cancel(begin("sleep 100", "x", CLOCK_US_PER_S * 100));
    assert_false(ended);
    assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void what_can_be_run_is_told(void **state)
{
    char path[] = "/tmp/shunt-process-XXXXXX";
    char why[64];
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_true(process_can_run("/bin/sh", why, sizeof(why)));
    assert_true(process_can_run("sh", why, sizeof(why)));
    assert_false(process_can_run(path, why, sizeof(why)));
    assert_string_equal(why, "not executable");
    assert_int_equal(chmod(path, 0700), 0);
    assert_true(process_can_run(path, why, sizeof(why)));
    assert_int_equal(unlink(path), 0);
    assert_false(process_can_run(path, why, sizeof(why)));
    assert_string_equal(why, "no such program");
    assert_false(process_can_run("/tmp", why, sizeof(why)));
    assert_string_equal(why, "not executable");
    assert_false(process_can_run("shunt-no-such-program", why, sizeof(why)));
    assert_string_equal(why, "no such program");
    assert_false(process_can_run("/bin/sh/x", why, sizeof(why)));
    assert_string_equal(why, "Not a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_command_gets_and_says),
        cmocka_unit_test(no_descriptor_is_inherited),
        cmocka_unit_test(one_that_hangs_is_killed_with_its_children),
        cmocka_unit_test(children_left_behind_are_killed),
        cmocka_unit_test(a_flood_is_cut),
        cmocka_unit_test(input_that_nobody_reads_does_no_harm),
        cmocka_unit_test(one_that_is_missing_is_told_later),
        cmocka_unit_test(a_cancelled_one_is_gone),
        cmocka_unit_test(what_can_be_run_is_told),
    };
    int failed;

    (void)signal(SIGPIPE, SIG_IGN);
    base = event_base_new();
    if (base == NULL) {
        return 1;
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    event_base_free(base);
    return failed;
}
