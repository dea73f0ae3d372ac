/*
 * Bytes under stress: long seeded streams both ways at once in random pieces, and random sequences of what
 * two peers can do, against a model that knows which byte must come next.
 */
#include "core/random.h"
#include "tests/unit/proxy/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE_MAX 262144u

/* One end and what is known of it. */
struct end {
    int fd;
    uint64_t seed;           /* of what it sends */
    uint64_t sent, received; /* bytes */
    bool shut, saw_end;      /* it has sent its end, it has read the other's */
    bool reset, saw_reset;   /* it has reset, it has met a reset */
};

static unsigned char piece[PIECE_MAX], expected[PIECE_MAX];

static void fail_on(struct end *end, int code)
{
    if (code == EAGAIN) {
        return;
    }
    assert_true(code == ECONNRESET || code == EPIPE);
    end->saw_reset = true;
}

static void end_send(struct end *end, size_t size)
{
    if (end->shut || end->saw_reset || size == 0) {
        return;
    }
    rig_fill(piece, size, end->seed, end->sent);
    ssize_t n = send(end->fd, piece, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        fail_on(end, errno);
        return;
    }
    end->sent += (uint64_t)n;
}

static void end_receive(struct end *end, const struct end *other, size_t size)
{
    if (end->saw_end || end->saw_reset || size == 0) {
        return;
    }
    ssize_t n = recv(end->fd, piece, size, MSG_DONTWAIT);
    if (n < 0) {
        fail_on(end, errno);
        return;
    }
    if (n == 0) {
        assert_true(other->shut);
        assert_int_equal(end->received, other->sent); /* an end never overtakes data */
        end->saw_end = true;
        return;
    }
    assert_true(end->received + (uint64_t)n <= other->sent);
    rig_fill(expected, (size_t)n, other->seed, end->received);
    assert_memory_equal(piece, expected, (size_t)n);
    end->received += (uint64_t)n;
}

/* Mostly small, sometimes large: the relay must change between copying and splicing. */
static size_t random_size(struct random_state *random)
{
    static const uint32_t most[] = {16, 1000, 20000, PIECE_MAX};
    return 1 + random_below(random, most[random_below(random, 4)]);
}

static void wait_any(const struct end *a, const struct end *b, int ms)
{
    struct pollfd fds[2] = {{.fd = a->fd, .events = POLLIN | POLLOUT},
                            {.fd = b->fd, .events = POLLIN | POLLOUT}};
    (void)poll(fds, 2, ms);
}

/* size bytes each way at once, ended by both. */
static void duplex(struct rig *rig, uint64_t seed, uint64_t size)
{
    struct random_state random;
    struct end end[2] = {{.seed = UINT64_C(2) * seed}, {.seed = UINT64_C(2) * seed + 1}};
    random_seed(&random, seed);
    rig_pair(rig, &end[0].fd, &end[1].fd);
    uint64_t until = rig_now_ms() + UINT64_C(3) * RIG_WAIT_MS;
    while ((!end[0].saw_end || !end[1].saw_end) && rig_now_ms() < until) {
        wait_any(&end[0], &end[1], 100);
        for (int i = 0; i < 2; i++) {
            uint64_t left = size - end[i].sent;
            size_t most = random_size(&random);
            end_send(&end[i], left < most ? (size_t)left : most);
            if (end[i].sent == size && !end[i].shut) {
                assert_int_equal(shutdown(end[i].fd, SHUT_WR), 0);
                end[i].shut = true;
            }
            end_receive(&end[i], &end[1 - i], random_size(&random));
        }
    }
    for (int i = 0; i < 2; i++) {
        assert_true(end[i].saw_end);
        assert_false(end[i].saw_reset);
        assert_int_equal(end[i].received, size);
        close(end[i].fd);
    }
}

static void test_duplex(void **state)
{
    const struct rig_options *options = *state;
    struct rig rig;
    rig_start(&rig, options);
    for (uint64_t seed = 1; seed <= 4; seed++) {
        duplex(&rig, seed, UINT64_C(8) * 1024 * 1024);
    }
    rig_wait_open(&rig, 0);
    struct stats_service_reading reading;
    proxy_service_read(rig.service, &reading);
    assert_true(reading.spliced_bytes > 0);
    assert_int_equal(rig_backend_stats(&rig, 0).bytes_in, UINT64_C(32) * 1024 * 1024);
    assert_int_equal(rig_backend_stats(&rig, 0).bytes_out, UINT64_C(32) * 1024 * 1024);
    rig_stop(&rig);
}

static void random_step(struct end *end, const struct end *other, struct random_state *random)
{
    uint32_t die = random_below(random, 200);
    if (die < 90) {
        end_send(end, random_size(random));
    } else if (die < 196) {
        end_receive(end, other, random_size(random));
    } else if (die < 199) {
        if (!end->shut && !end->saw_reset && shutdown(end->fd, SHUT_WR) == 0) {
            end->shut = true;
        }
    } else if (random_below(random, 8) == 0) {
        rig_reset(end->fd);
        end->reset = true;
    }
}

/* The rest is read: all of it and an end, or a reset after a part of it. */
static void expect_outcome(struct end *end, const struct end *other)
{
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    while (!end->saw_end && !end->saw_reset && rig_now_ms() < until) {
        struct pollfd fd = {.fd = end->fd, .events = POLLIN};
        (void)poll(&fd, 1, 100);
        end_receive(end, other, PIECE_MAX);
    }
    assert_true(end->saw_end || end->saw_reset);
    assert_true(!end->saw_reset || other->reset);
}

/* Both go on reading until both have seen the end. */
static void expect_both_end(struct end *end)
{
    for (int i = 0; i < 2; i++) {
        if (!end[i].shut) {
            assert_int_equal(shutdown(end[i].fd, SHUT_WR), 0);
            end[i].shut = true;
        }
    }
    uint64_t until = rig_now_ms() + RIG_WAIT_MS;
    while ((!end[0].saw_end || !end[1].saw_end) && rig_now_ms() < until) {
        struct pollfd fds[2] = {{.fd = end[0].saw_end ? -1 : end[0].fd, .events = POLLIN},
                                {.fd = end[1].saw_end ? -1 : end[1].fd, .events = POLLIN}};
        (void)poll(fds, 2, 100);
        end_receive(&end[0], &end[1], PIECE_MAX);
        end_receive(&end[1], &end[0], PIECE_MAX);
    }
    assert_true(end[0].saw_end);
    assert_true(end[1].saw_end);
}

static void random_life(struct rig *rig, uint64_t seed)
{
    struct random_state random;
    struct end end[2] = {{.seed = UINT64_C(2) * seed}, {.seed = UINT64_C(2) * seed + 1}};
    random_seed(&random, seed);
    rig_pair(rig, &end[0].fd, &end[1].fd);
    uint32_t steps = 20 + random_below(&random, 300);
    uint32_t bias = random_below(&random, 3); /* one side may be busier: then the other's bytes pile up */
    for (uint32_t i = 0; i < steps && !end[0].reset && !end[1].reset; i++) {
        uint32_t who = bias == 2 ? random_below(&random, 2) : random_below(&random, 4) == 0 ? 1 - bias : bias;
        random_step(&end[who], &end[1 - who], &random);
        assert_false(end[0].saw_reset || end[1].saw_reset); /* nobody has reset so far */
    }
    if (end[0].reset || end[1].reset) {
        int rest = end[0].reset ? 1 : 0;
        expect_outcome(&end[rest], &end[1 - rest]);
        close(end[rest].fd);
        return;
    }
    expect_both_end(end);
    close(end[0].fd);
    close(end[1].fd);
}

static void test_random_lives(void **state)
{
    const struct rig_options *options = *state;
    struct rig rig;
    rig_start(&rig, options);
    for (uint64_t seed = 1; seed <= 150; seed++) {
        random_life(&rig, seed);
    }
    rig_stop(&rig);
}

int main(void)
{
    static struct rig_options tcp = {0}, unix_paths = {.unix_paths = true};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_duplex, &tcp),
        cmocka_unit_test_prestate(test_duplex, &unix_paths),
        cmocka_unit_test_prestate(test_random_lives, &tcp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
