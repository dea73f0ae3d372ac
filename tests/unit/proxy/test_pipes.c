/* The pool of pipes: lending and taking back, the budget, and that a pipe with somebody's data is never lent
 * again. */
#include "proxy/pipes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static void test_reuse(void **state)
{
    (void)state;
    _Atomic long budget = 4;
    struct pipes_pool pool;
    pipes_init(&pool, &budget);
    struct pipes_pipe *first = pipes_get(&pool);
    assert_non_null(first);
    assert_true(first->capacity >= PIPES_SIZE_MIN);
    assert_int_equal(pool.lent, 1);
    pipes_put(&pool, first);
    assert_int_equal(pool.lent, 0);
    assert_ptr_equal(pipes_get(&pool), first);
    pipes_put(&pool, first);
    assert_int_equal(budget, 3);
    pipes_clear(&pool);
    assert_int_equal(budget, 4);
}

static void test_budget(void **state)
{
    (void)state;
    _Atomic long budget = 2;
    struct pipes_pool pool;
    pipes_init(&pool, &budget);
    struct pipes_pipe *a = pipes_get(&pool), *b = pipes_get(&pool);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(pipes_get(&pool));
    assert_null(pipes_get(&pool));
    pipes_put(&pool, a);
    assert_ptr_equal(pipes_get(&pool), a);
    pipes_put(&pool, a);
    pipes_put(&pool, b);
    pipes_clear(&pool);
    assert_int_equal(budget, 2);
}

static void test_data_is_not_lent_on(void **state)
{
    (void)state;
    _Atomic long budget = 2;
    struct pipes_pool pool;
    pipes_init(&pool, &budget);
    struct pipes_pipe *pipe = pipes_get(&pool);
    assert_non_null(pipe);
    int fd = pipe->read_fd;
    assert_int_equal(write(pipe->write_fd, "secret", 6), 6);
    pipe->bytes = 6;
    pipes_put(&pool, pipe);
    assert_int_equal(pool.idle_len, 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(budget, 2);
    pipes_clear(&pool);
}

static void test_no_descriptors(void **state)
{
    (void)state;
    struct rlimit before, low = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 3;
    _Atomic long budget = 2;
    struct pipes_pool pool;
    pipes_init(&pool, &budget);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct pipes_pipe *pipe = pipes_get(&pool);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(pipe);
    assert_int_equal(budget, 2);
    assert_int_equal(pool.lent, 0);
    pipe = pipes_get(&pool);
    assert_non_null(pipe);
    pipes_put(&pool, pipe);
    pipes_clear(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_data_is_not_lent_on),
        cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
