/* The log: how lines look, what cannot be forged, and that nobody ever waits for a stuck reader. */
#include "core/clock.h"
#include "core/log.h"
#include "core/log_internal.h"
#include "core/log_sink.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TIME "2026-01-31T12:00:00.123Z"
#define WALL_US UINT64_C(1769860800123000)
#define END ((struct log_field){.kind = LOG_KIND_END})

static void expect_line(enum log_format format, const char *message, const struct log_field *fields,
                        const char *expected)
{
    struct log_buffer line;
    log_format_line(&line, format, WALL_US, LOG_LEVEL_WARN, message, fields);
    assert_int_equal(line.text[line.len - 1], '\n');
    line.text[line.len - 1] = '\0';
    assert_string_equal(line.text, expected);
}

static void lines_have_fields(void **state)
{
    const struct log_field fields[] = {LOG_TEXT("service", "web"),  LOG_TEXT("why", "was slow"),
                                       LOG_TEXT("none", NULL),      LOG_UINT("n", UINT64_MAX),
                                       LOG_INT("delta", INT64_MIN), LOG_DOUBLE("ratio", 1.5),
                                       LOG_DOUBLE("odd", NAN),      END};
    (void)state;
    expect_line(LOG_FORMAT_LOGFMT, "backend is down", fields,
                "time=" TIME " level=warn msg=\"backend is down\" service=web why=\"was slow\" none=\"\" "
                "n=18446744073709551615 delta=-9223372036854775808 ratio=1.5 odd=nan");
    expect_line(LOG_FORMAT_JSON, "backend is down", fields,
                "{\"time\":\"" TIME "\",\"level\":\"warn\",\"msg\":\"backend is down\",\"service\":\"web\","
                "\"why\":\"was slow\",\"none\":\"\",\"n\":18446744073709551615,"
                "\"delta\":-9223372036854775808,\"ratio\":1.5,\"odd\":null}");
    expect_line(LOG_FORMAT_LOGFMT, "ready", NULL, "time=" TIME " level=warn msg=ready");
}

static void values_cannot_forge_a_line(void **state)
{
    static const struct {
        const char *value, *logfmt, *json;
    } cases[] = {
        {"a\nlevel=error", "\"a\\nlevel=error\"", "\"a\\nlevel=error\""},
        {"a\"b", "\"a\\\"b\"", "\"a\\\"b\""},
        {"a\\b", "\"a\\\\b\"", "\"a\\\\b\""},
        {"a=b", "\"a=b\"", "\"a=b\""},
        {"\r\t", "\"\\r\\t\"", "\"\\r\\t\""},
        {"\x1b[31m", "\"\\x1b[31m\"", "\"\\u001b[31m\""},
        {"\x7f\x01", "\"\\x7f\\x01\"", "\"\\u007f\\u0001\""},
        {"\xc2\x9b"
         "31m",
         "\"\\x9b31m\"", "\"\\u009b31m\""}, /* a C1 control */
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"", "\"gr\xc3\xbc\xc3\x9f\""},
        {"\xe2\x9c\x94 \xf0\x9f\x98\x80", "\"\xe2\x9c\x94 \xf0\x9f\x98\x80\"",
         "\"\xe2\x9c\x94 \xf0\x9f\x98\x80\""},
        {"\xff", "\"\\xff\"", "\"\\ufffd\""},
        {"\xc3", "\"\\xc3\"", "\"\\ufffd\""},                                 /* cut short */
        {"\xc0\xaf", "\"\\xc0\\xaf\"", "\"\\ufffd\\ufffd\""},                 /* overlong */
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\"", "\"\\ufffd\\ufffd\\ufffd\""}, /* surrogate */
        {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\"", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct log_field fields[] = {LOG_TEXT("v", cases[i].value), END};
        char expected[200];
        (void)snprintf(expected, sizeof(expected), "time=" TIME " level=warn msg=m v=%s", cases[i].logfmt);
        expect_line(LOG_FORMAT_LOGFMT, "m", fields, expected);
        (void)snprintf(expected, sizeof(expected),
                       "{\"time\":\"" TIME "\",\"level\":\"warn\",\"msg\":\"m\",\"v\":%s}", cases[i].json);
        expect_line(LOG_FORMAT_JSON, "m", fields, expected);
    }
}

/* Whatever the length, a line ends as it should and stays within its bound. */
static void long_values_lose_their_end_only(void **state)
{
    static char value[2 * LOG_LINE_MAX];
    (void)state;
    for (size_t len = LOG_LINE_MAX - 200; len < LOG_LINE_MAX + 200; len++) {
        memset(value, len % 2 ? '\n' : 'x', len);
        value[len] = '\0';
        const struct log_field fields[] = {LOG_TEXT("v", value), LOG_UINT("n", UINT64_MAX), END};
        for (int format = LOG_FORMAT_LOGFMT; format <= LOG_FORMAT_JSON; format++) {
            struct log_buffer line;
            log_format_line(&line, (enum log_format)format, WALL_US, LOG_LEVEL_INFO, "m", fields);
            assert_true(line.len <= sizeof(line.text));
            assert_int_equal(line.text[line.len - 1], '\n');
            if (format == LOG_FORMAT_JSON) {
                assert_int_equal(line.text[line.len - 2], '}');
                assert_true(line.text[line.len - 3] == '"' || line.text[line.len - 3] == '5');
            }
            assert_null(memchr(line.text, '\n', line.len - 1));
        }
    }
}

/* Reads what the log wrote until `wanted` has been seen, or the other end is closed. */
static char *read_until(int fd, const char *wanted)
{
    size_t size = 1 << 20;
    char *text = calloc(1, size + 1);
    size_t len = 0;
    assert_non_null(text);
    while (len < size && !(wanted && strstr(text, wanted))) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        if (poll(&poller, 1, 20000) <= 0) {
            fail_msg("nothing more after %zu bytes", len);
        }
        ssize_t n = read(fd, text + len, size - len);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    return text;
}

static void lines_arrive_through_the_writer(void **state)
{
    int fds[2];
    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(log_start(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_JSON, NULL), 0);
    assert_int_equal(log_start(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_JSON, NULL), ERR_STATE);
    log_line(LOG_LEVEL_DEBUG, "not shown");
    log_line(LOG_LEVEL_INFO, "first", LOG_UINT("n", 1));
    log_set_level(LOG_LEVEL_ERROR);
    log_line(LOG_LEVEL_WARN, "not shown");
    log_set_level(LOG_LEVEL_INFO);
    log_line(LOG_LEVEL_WARN, "last");
    log_stop();
    log_stop(); /* harmless */
    assert_int_equal(close(fds[1]), 0);
    char *text = read_until(fds[0], NULL);
    assert_non_null(strstr(text, "\"level\":\"info\",\"msg\":\"first\",\"n\":1}\n"));
    assert_non_null(strstr(text, "\"level\":\"warn\",\"msg\":\"last\"}\n"));
    assert_null(strstr(text, "not shown"));
    free(text);
    assert_int_equal(close(fds[0]), 0);
}

static void *log_much(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 500; i++) {
        log_line(LOG_LEVEL_INFO, "from a thread", LOG_UINT("i", i));
    }
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    enum { THREADS = 4 };
    char path[] = "/tmp/shunt-test-log-XXXXXX";
    pthread_t threads[THREADS];
    uint64_t dropped = log_dropped();
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(log_start(fd, LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    log_stop();
    FILE *file = fdopen(fd, "r");
    assert_non_null(file);
    rewind(file);
    char line[LOG_LINE_MAX];
    unsigned lines = 0;
    while (fgets(line, sizeof(line), file)) {
        if (strstr(line, "were dropped")) {
            continue;
        }
        assert_int_equal(strncmp(line, "time=", 5), 0);
        assert_non_null(strstr(line, " level=info msg=\"from a thread\" i="));
        lines++;
    }
    assert_int_equal(lines + (log_dropped() - dropped), THREADS * 500);
    (void)fclose(file);
}

/* A pipe that is full and that nobody reads: callers go on, lines are counted, and told of afterwards. */
static void a_stuck_reader_blocks_nobody(void **state)
{
    enum { LINES = 20000 };
    int fds[2];
    char fill[4096];
    uint64_t before = log_dropped();
    (void)state;
    memset(fill, '.', sizeof(fill));
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    while (write(fds[1], fill, sizeof(fill)) > 0) {
    }
    assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0); /* a write would block from here */
    assert_int_equal(log_start(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL), 0);
    for (unsigned i = 0; i < LINES; i++) {
        log_line(LOG_LEVEL_INFO, "into a full pipe", LOG_UINT("i", i));
    }
    assert_true(log_dropped() - before > LINES / 2); /* here at all: nothing blocked */

    /* The reader comes back: the lines that were kept, then the count of those that were not. */
    char *text = read_until(fds[0], "lines=");
    assert_non_null(strstr(text, "i=0\n"));
    assert_non_null(strstr(text, "level=warn msg=\"log lines were lost"));
    free(text);
    log_stop();
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
}

static struct log_sink *sink_on(int fd)
{
    struct log_sink *sink = NULL;
    const struct log_target target = {.kind = LOG_SINK_FD, .fd = fd};
    assert_int_equal(log_sink_create(&target, &sink, NULL), 0);
    return sink;
}

/* Each line is written once, to where the log went when it came. */
static void the_log_moves(void **state)
{
    int one[2];
    int two[2];
    (void)state;
    assert_int_equal(pipe2(one, O_CLOEXEC), 0);
    assert_int_equal(pipe2(two, O_CLOEXEC), 0);
    assert_int_equal(log_start(one[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL), 0);
    for (unsigned round = 0; round < 100; round++) {
        int *from = round % 2 == 0 ? one : two;
        int *to = round % 2 == 0 ? two : one;
        for (unsigned i = 0; i < 100; i++) {
            log_line(LOG_LEVEL_INFO, "before", LOG_UINT("round", round), LOG_UINT("i", i));
        }
        log_move(sink_on(to[1]));
        log_line(LOG_LEVEL_INFO, "after", LOG_UINT("round", round));
        char *text = read_until(from[0], "i=99\n");
        assert_null(strstr(text, "msg=after round="));
        assert_non_null(strstr(text, "i=98\n"));
        free(text);
        text = read_until(to[0], "msg=after");
        assert_null(strstr(text, "msg=before"));
        free(text);
    }
    log_stop();
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(close(one[i]), 0);
        assert_int_equal(close(two[i]), 0);
    }
}

/* Who moves the log away from a reader that is stuck gets it moved; what the reader did not take is counted.
 */
static void a_stuck_reader_does_not_keep_the_log(void **state)
{
    int full[2];
    int good[2];
    char fill[4096];
    uint64_t before = log_dropped();
    (void)state;
    memset(fill, '.', sizeof(fill));
    assert_int_equal(pipe2(full, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(pipe2(good, O_CLOEXEC), 0);
    while (write(full[1], fill, sizeof(fill)) > 0) {
    }
    assert_int_equal(log_start(full[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL), 0);
    log_line(LOG_LEVEL_INFO, "into a full pipe");
    log_move(sink_on(good[1]));
    log_line(LOG_LEVEL_INFO, "into the other");
    char *text = read_until(good[0], "into the other");
    assert_null(strstr(text, "into a full pipe"));
    free(text);
    log_line(LOG_LEVEL_INFO, "what comes next tells of it");
    free(read_until(good[0], "lines=1\n"));
    log_stop();
    assert_int_equal(log_dropped() - before, 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(close(full[i]), 0);
        assert_int_equal(close(good[i]), 0);
    }
}

static void stopping_does_not_wait_for_a_stuck_reader(void **state)
{
    int fds[2];
    char fill[4096];
    uint64_t before = log_dropped();
    (void)state;
    memset(fill, '.', sizeof(fill));
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    while (write(fds[1], fill, sizeof(fill)) > 0) {
    }
    assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0);
    assert_int_equal(log_start(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL), 0);
    log_line(LOG_LEVEL_INFO, "never read");
    uint64_t start_us = clock_mono_us();
    log_stop();
    assert_true(clock_mono_us() - start_us < 5 * CLOCK_US_PER_S);
    assert_int_equal(log_dropped() - before, 1);
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
}

static void one_message_cannot_drown_the_rest(void **state)
{
    int fds[2];
    uint64_t left_out = log_left_out();
    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    log_set_rate(5);
    assert_int_equal(log_start(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL), 0);
    for (unsigned i = 0; i < 1000; i++) {
        log_line(LOG_LEVEL_WARN, "again and again", LOG_UINT("i", i));
    }
    log_line(LOG_LEVEL_WARN, "another message");
    uint64_t now_left_out = log_left_out() - left_out;
    assert_in_range(now_left_out, 1000 - 3 * 5, 1000 - 5); /* within at most three seconds of the clock */
    char *text = read_until(fds[0], "another message");
    free(text);
    /* The second is over: the count is told with the next line, whatever it is. */
    uint64_t until_us = clock_mono_us() + 2 * CLOCK_US_PER_S;
    while (clock_mono_us() < until_us &&
           clock_mono_us() / CLOCK_US_PER_S == (until_us - 2 * CLOCK_US_PER_S) / CLOCK_US_PER_S) {
        (void)poll(NULL, 0, 5);
    }
    log_line(LOG_LEVEL_WARN, "later");
    text = read_until(fds[0], "later");
    assert_non_null(strstr(text, "some were left out"));
    assert_non_null(strstr(text, "of=\"again and again\""));
    free(text);
    log_set_rate(0);
    log_stop();
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
}

static void a_broken_descriptor_costs_lines_only(void **state)
{
    int fds[2];
    uint64_t before = log_dropped();
    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(log_start(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL), 0);
    log_line(LOG_LEVEL_INFO, "nobody listens"); /* SIGPIPE would end the test */
    log_stop();
    assert_int_equal(log_dropped() - before, 1);
    assert_int_equal(close(fds[1]), 0);
}

static void without_a_writer_lines_go_to_standard_error(void **state)
{
    int fds[2];
    int saved = dup(STDERR_FILENO);
    (void)state;
    assert_true(saved >= 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    log_line(LOG_LEVEL_ERROR, "too early");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    assert_int_equal(close(fds[1]), 0);
    assert_int_equal(close(saved), 0);
    char *text = read_until(fds[0], NULL);
    assert_non_null(strstr(text, "level=error msg=\"too early\"\n"));
    free(text);
    assert_int_equal(close(fds[0]), 0);
}

/* ThreadSanitizer ends a child that starts a thread after the fork of a program with threads. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_MAY_START_THREADS 0
#endif
#endif
#ifndef CHILD_MAY_START_THREADS
#define CHILD_MAY_START_THREADS 1
#endif

/* A forked child has no writer: its lines go to standard error, and it can start a log of its own. */
static void a_forked_child_can_log(void **state)
{
    int parent[2];
    int child[2];
    (void)state;
    assert_int_equal(pipe2(parent, O_CLOEXEC), 0);
    assert_int_equal(pipe2(child, O_CLOEXEC), 0);
    assert_int_equal(log_start(parent[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (dup2(child[1], STDERR_FILENO) < 0) {
            _exit(1);
        }
        log_line(LOG_LEVEL_INFO, "directly");
        if (CHILD_MAY_START_THREADS && log_start(child[1], LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT, NULL)) {
            _exit(1);
        }
        log_line(LOG_LEVEL_INFO, "queued");
        log_stop();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    log_line(LOG_LEVEL_INFO, "parent");
    log_stop();
    assert_int_equal(close(parent[1]), 0);
    assert_int_equal(close(child[1]), 0);
    char *text = read_until(child[0], NULL);
    assert_non_null(strstr(text, "msg=directly\n"));
    assert_non_null(strstr(text, "msg=queued\n"));
    free(text);
    text = read_until(parent[0], NULL);
    assert_non_null(strstr(text, "msg=parent\n"));
    assert_null(strstr(text, "msg=queued"));
    free(text);
    assert_int_equal(close(parent[0]), 0);
    assert_int_equal(close(child[0]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_fields),
        cmocka_unit_test(values_cannot_forge_a_line),
        cmocka_unit_test(long_values_lose_their_end_only),
        cmocka_unit_test(lines_arrive_through_the_writer),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
        cmocka_unit_test(a_stuck_reader_blocks_nobody),
        cmocka_unit_test(the_log_moves),
        cmocka_unit_test(a_stuck_reader_does_not_keep_the_log),
        cmocka_unit_test(stopping_does_not_wait_for_a_stuck_reader),
        cmocka_unit_test(one_message_cannot_drown_the_rest),
        cmocka_unit_test(a_broken_descriptor_costs_lines_only),
        cmocka_unit_test(without_a_writer_lines_go_to_standard_error),
        cmocka_unit_test(a_forked_child_can_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
