/* Checks by commands: exit status, what the child sees, hanging, forking and flooding ones, no zombies. */
#include "tests/unit/health/support.h"

#include "health/probe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

struct rig {
    struct event_base *base;
    struct config_health config;
    struct probe_means means;
    struct probe *probe;
    unsigned count;
    bool done;
    enum probe_outcome outcome;
    char reason[PROBE_REASON_MAX];
    size_t heard;
};

static void on_done(void *context, const struct probe_result *result)
{
    struct rig *rig = context;
    rig->count++;
    rig->done = true;
    rig->outcome = result->outcome;
    (void)snprintf(rig->reason, sizeof(rig->reason), "%s", result->reason);
}

static void on_trace(void *context, enum probe_traced kind, const void *data, size_t len)
{
    struct rig *rig = context;
    (void)kind;
    (void)data;
    rig->heard += len;
}

static bool is_done(void *context)
{
    return ((const struct rig *)context)->done;
}

static void rig_open(struct rig *rig, char **command, size_t len, uint64_t timeout_us)
{
    *rig = (struct rig){.base = event_base_new()};
    assert_non_null(rig->base);
    rig->config = (struct config_health){.type = CONFIG_HEALTH_EXEC};
    rig->config.exec.command = command;
    rig->config.exec.command_len = len;
    rig->means.config = &rig->config;
    struct probe_spec spec = {.base = rig->base,
                              .means = &rig->means,
                              .service = "web",
                              .group = "old",
                              .backend = "b0",
                              .timeout_us = timeout_us,
                              .done = on_done,
                              .trace = on_trace,
                              .context = rig};
    assert_int_equal(addr_parse("[::1]:8080", NULL, &spec.address, NULL), 0);
    assert_int_equal(probe_exec.create(&spec, &rig->probe), 0);
}

static void rig_run(struct rig *rig)
{
    rig->done = false;
    unsigned count = rig->count;
    probe_exec.start(rig->probe);
    assert_int_equal(rig->count, count); /* never from within start */
    assert_true(support_until(rig->base, is_done, rig));
    assert_int_equal(rig->count, count + 1);
}

static void rig_close(struct rig *rig)
{
    probe_exec.destroy(rig->probe);
    event_base_free(rig->base);
    /* No child is left, dead or alive. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static unsigned open_fds(void)
{
    unsigned open = 0;
    for (int fd = 0; fd < 256; fd++) {
        open += fcntl(fd, F_GETFD) >= 0;
    }
    return open;
}

static void expect_script(const char *script, uint64_t timeout_us, enum probe_outcome outcome,
                          const char *reason)
{
    struct rig rig;
    char shell[] = "/bin/sh";
    char flag[] = "-c";
    char text[1024];
    (void)snprintf(text, sizeof(text), "%s", script);
    char *command[] = {shell, flag, text};
    unsigned open = open_fds();
    rig_open(&rig, command, 3, timeout_us);
    rig_run(&rig);
    assert_string_equal(rig.reason, reason);
    assert_int_equal(rig.outcome, outcome);
    rig_close(&rig);
    assert_int_equal(open_fds(), open);
}

static void the_exit_status_decides(void **state)
{
    (void)state;
    expect_script("exit 0", 10 * CLOCK_US_PER_S, PROBE_PASSED, "exit status 0");
    expect_script("echo all well; echo more", 10 * CLOCK_US_PER_S, PROBE_PASSED, "exit status 0: all well");
    expect_script("echo 'lag 17s' >&2; exit 3", 10 * CLOCK_US_PER_S, PROBE_FAILED, "exit status 3: lag 17s");
    expect_script("kill -9 $$", 10 * CLOCK_US_PER_S, PROBE_FAILED, "killed by SIGKILL");
}

static void the_child_has_three_descriptors_and_few_words(void **state)
{
    (void)state;
    int inherited[3];
    for (unsigned i = 0; i < 3; i++) {
        inherited[i] = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a library might */
        assert_true(inherited[i] >= 0);
    }
    /* ls has the folder itself open besides. */
    expect_script("echo $(ls /proc/self/fd | wc -l) $(readlink /proc/self/fd/0)", 10 * CLOCK_US_PER_S,
                  PROBE_PASSED, "exit status 0: 4 /dev/null");
    assert_int_equal(setenv("SHUNT_TEST_SECRET", "x", 1), 0);
    expect_script("echo $SHUNT_SERVICE $SHUNT_GROUP $SHUNT_BACKEND $SHUNT_ADDRESS $SHUNT_PORT "
                  "${SHUNT_TEST_SECRET-none}",
                  10 * CLOCK_US_PER_S, PROBE_PASSED, "exit status 0: web old b0 ::1 8080 none");
    for (unsigned i = 0; i < 3; i++) {
        (void)close(inherited[i]);
    }
}

static void a_command_that_hangs_is_killed(void **state)
{
    (void)state;
    uint64_t start_us = clock_mono_us();
    expect_script("trap '' TERM INT; echo here; while :; do sleep 100; done", 200 * CLOCK_US_PER_MS,
                  PROBE_FAILED, "killed after 200ms: here");
    assert_true(clock_mono_us() - start_us < 5 * CLOCK_US_PER_S);
}

/* The grandchild holds the output open; it neither delays the result nor outlives it. */
static void what_it_leaves_behind_is_killed(void **state)
{
    (void)state;
    char path[] = "/tmp/shunt-exec-XXXXXX";
    char script[200];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)snprintf(script, sizeof(script), "sleep 1000 & echo $! > %s; exit 0", path);
    uint64_t start_us = clock_mono_us();
    expect_script(script, 20 * CLOCK_US_PER_S, PROBE_PASSED, "exit status 0");
    assert_true(clock_mono_us() - start_us < 10 * CLOCK_US_PER_S);
    char text[32] = "";
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    long pid = strtol(text, NULL, 10);
    assert_true(pid > 1);
    /* Dead; its new parent may take a moment to notice. */
    char status[64];
    (void)snprintf(status, sizeof(status), "/proc/%ld/stat", pid);
    uint64_t until_us = clock_mono_us() + 5 * CLOCK_US_PER_S;
    for (;;) {
        char line[256] = "";
        FILE *file = fopen(status, "re");
        bool gone = file == NULL || fgets(line, sizeof(line), file) == NULL || strstr(line, ") Z") != NULL ||
                    strstr(line, "(sleep)") == NULL;
        if (file != NULL) {
            (void)fclose(file);
        }
        if (gone) {
            break;
        }
        assert_true(clock_mono_us() < until_us);
    }
    (void)close(fd);
    (void)unlink(path);
}

static void a_flood_of_output_is_read_and_dropped(void **state)
{
    (void)state;
    struct rig rig;
    char shell[] = "/bin/sh";
    char flag[] = "-c";
    char text[] = "head -c 8000000 /dev/zero; exit 4";
    char *command[] = {shell, flag, text};
    rig_open(&rig, command, 3, 20 * CLOCK_US_PER_S);
    rig_run(&rig);
    assert_int_equal(rig.outcome, PROBE_FAILED);
    assert_memory_equal(rig.reason, "exit status 4: \\x00", 19);
    assert_true(rig.heard <= 8192);
    rig_close(&rig);
}

static void one_that_cannot_run_says_why(void **state)
{
    (void)state;
    struct rig rig;
    char name[] = "/nonexistent/check";
    char *command[] = {name};
    rig_open(&rig, command, 1, CLOCK_US_PER_S);
    rig_run(&rig);
    assert_int_equal(rig.outcome, PROBE_FAILED);
    assert_string_equal(rig.reason, "cannot run \"/nonexistent/check\": No such file or directory");
    rig_close(&rig);
}

static void again_and_again(void **state)
{
    (void)state;
    struct rig rig;
    char name[] = "true";
    char *command[] = {name};
    rig_open(&rig, command, 1, 10 * CLOCK_US_PER_S);
    rig_run(&rig);
    unsigned open = open_fds();
    for (unsigned i = 0; i < 20; i++) {
        rig_run(&rig);
        assert_int_equal(rig.outcome, PROBE_PASSED);
    }
    assert_int_equal(open_fds(), open);
    rig_close(&rig);
}

static void destroyed_while_it_runs(void **state)
{
    (void)state;
    struct rig rig;
    char name[] = "sleep";
    char time[] = "1000";
    char *command[] = {name, time};
    rig_open(&rig, command, 2, 10 * CLOCK_US_PER_S);
    probe_exec.start(rig.probe);
    rig_close(&rig);
    assert_int_equal(rig.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exit_status_decides),
        cmocka_unit_test(the_child_has_three_descriptors_and_few_words),
        cmocka_unit_test(a_command_that_hangs_is_killed),
        cmocka_unit_test(what_it_leaves_behind_is_killed),
        cmocka_unit_test(a_flood_of_output_is_read_and_dropped),
        cmocka_unit_test(one_that_cannot_run_says_why),
        cmocka_unit_test(again_and_again),
        cmocka_unit_test(destroyed_while_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
