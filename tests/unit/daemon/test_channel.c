/*
 * Messages between two programs: whole and in order, long ones in parts, descriptors with the message that
 * carries them, and the end of the other side told as such.
 */
#include "daemon/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct channel *a, *b;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err_text err;
    int pair[2];
    assert_non_null(f);
    assert_int_equal(channel_pair(pair, &err), 0);
    assert_int_equal(channel_create(pair[0], &f->a), 0);
    assert_int_equal(channel_create(pair[1], &f->b), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    channel_destroy(f->a);
    channel_destroy(f->b);
    free(f);
    return 0;
}

static void messages_arrive_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    struct channel_message message;
    assert_int_equal(channel_receive(f->b, &message), 0);
    assert_int_equal(channel_send(f->a, 1, "one", 3, NULL, 0), 0);
    assert_int_equal(channel_send(f->a, 2, NULL, 0, NULL, 0), 0);
    assert_int_equal(channel_receive(f->b, &message), 1);
    assert_int_equal(message.kind, 1);
    assert_string_equal((char *)message.body, "one");
    channel_message_clear(&message);
    assert_int_equal(channel_receive(f->b, &message), 1);
    assert_int_equal(message.kind, 2);
    assert_int_equal(message.length, 0);
    channel_message_clear(&message);
    assert_int_equal(channel_receive(f->b, &message), 0);
}

/* More than the kernel takes at once: the rest waits with the sender. */
static void long_messages_go_in_parts(void **state)
{
    struct fixture *f = *state;
    struct channel_message message;
    size_t length = (size_t)8 << 20;
    unsigned char *bytes = malloc(length);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (unsigned char)(i * 31 >> 8);
    }
    assert_int_equal(channel_send(f->a, 7, bytes, length, NULL, 0), 0);
    assert_int_equal(channel_send(f->a, 8, "last", 4, NULL, 0), 0);
    assert_false(channel_flush(f->a));
    int rc = 0;
    for (int turn = 0; turn < 100000 && rc == 0; turn++) {
        rc = channel_receive(f->b, &message);
        (void)channel_flush(f->a);
    }
    assert_int_equal(rc, 1);
    assert_int_equal(message.kind, 7);
    assert_int_equal(message.length, length);
    assert_memory_equal(message.body, bytes, length);
    channel_message_clear(&message);
    assert_int_equal(channel_receive(f->b, &message), 1);
    assert_string_equal((char *)message.body, "last");
    channel_message_clear(&message);
    free(bytes);
}

/* They are open as long as the message waits, whatever the sender does. */
static void descriptors_outlive_their_sender(void **state)
{
    struct fixture *f = *state;
    struct channel_message message;
    int pipes[2];
    char byte = 'x';
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(channel_send(f->a, 3, "[]", 2, pipes, 2), 0);
    assert_int_equal(close(pipes[0]) + close(pipes[1]), 0);
    channel_destroy(f->a);
    f->a = NULL;
    assert_int_equal(channel_receive(f->b, &message), 1);
    assert_int_equal(message.fds_len, 2);
    assert_int_equal(write(message.fds[1], &byte, 1), 1);
    assert_int_equal(read(message.fds[0], &byte, 1), 1);
    channel_message_clear(&message);
    assert_int_equal(channel_receive(f->b, &message), ERR_SYSTEM);
}

static void what_is_too_much_is_refused(void **state)
{
    struct fixture *f = *state;
    int fds[CHANNEL_FDS_MAX + 1] = {0};
    assert_int_equal(channel_send(f->a, 1, "x", 1, fds, CHANNEL_FDS_MAX + 1), ERR_RANGE);
    assert_int_equal(channel_send(f->a, 1, "x", (size_t)1 << 20, fds, 1), ERR_RANGE);
}

static void a_packet_without_a_head_is_told(void **state)
{
    struct fixture *f = *state;
    struct channel_message message;
    assert_int_equal(send(channel_fd(f->a), "abc", 3, 0), 3);
    assert_int_equal(channel_receive(f->b, &message), ERR_CORRUPT);
}

static void waiting_ends_with_its_time(void **state)
{
    struct fixture *f = *state;
    struct channel_message message;
    assert_int_equal(channel_receive_within(f->b, 10000, &message), 0);
    channel_destroy(f->a);
    f->a = NULL;
    assert_int_equal(channel_receive_within(f->b, 10000000, &message), ERR_SYSTEM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_arrive_whole_and_in_order), TEST(long_messages_go_in_parts),
        TEST(descriptors_outlive_their_sender),   TEST(what_is_too_much_is_refused),
        TEST(a_packet_without_a_head_is_told),    TEST(waiting_ends_with_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
