/* Messages into a loop: order, waking, and many threads at once. */
#include "core/clock.h"
#include "core/mailbox.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SENDERS 4u
#define MESSAGES 5000u
#define LIMIT_US (20 * CLOCK_US_PER_S)

struct receiver {
    struct mailbox *mailbox;
    unsigned received;
    unsigned next[SENDERS]; /* the number expected from each */
    unsigned out_of_order;
};

struct note {
    struct mailbox_message message;
    unsigned sender, number;
};

static void on_note(struct mailbox_message *message, void *context)
{
    struct note *note = (struct note *)message;
    struct receiver *receiver = context;
    receiver->out_of_order += note->number != receiver->next[note->sender];
    receiver->next[note->sender] = note->number + 1;
    receiver->received++;
    free(note);
}

static void post_note(struct mailbox *mailbox, unsigned sender, unsigned number)
{
    struct note *note = malloc(sizeof(*note));
    if (!note) {
        abort();
    }
    *note = (struct note){.message = {.run = on_note}, .sender = sender, .number = number};
    mailbox_post(mailbox, &note->message);
}

struct sender {
    pthread_t thread;
    struct mailbox *mailbox;
    unsigned index;
};

static void *sender_run(void *context)
{
    struct sender *sender = context;
    for (unsigned i = 0; i < MESSAGES; i++) {
        post_note(sender->mailbox, sender->index, i);
    }
    return NULL;
}

/* Runs the loop until so many messages were received. */
static void receive(struct event_base *base, const struct receiver *receiver, unsigned wanted)
{
    uint64_t limit_us = clock_mono_us() + LIMIT_US;
    while (receiver->received < wanted && clock_mono_us() < limit_us) {
        const struct timeval tick = {.tv_usec = 50000};
        assert_int_equal(event_base_loopexit(base, &tick), 0);
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(receiver->received, wanted);
}

static void messages_of_one_sender_arrive_in_order(void **state)
{
    struct event_base *base = event_base_new();
    struct receiver receiver = {0};
    (void)state;
    assert_int_equal(mailbox_create(base, &receiver, &receiver.mailbox, NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        post_note(receiver.mailbox, 0, i);
    }
    assert_int_equal(receiver.received, 0); /* only the loop runs them */
    receive(base, &receiver, 100);
    assert_int_equal(receiver.out_of_order, 0);
    mailbox_destroy(receiver.mailbox);
    event_base_free(base);
}

static void four_threads_send_at_once(void **state)
{
    struct event_base *base = event_base_new();
    struct receiver receiver = {0};
    struct sender senders[SENDERS];
    (void)state;
    assert_int_equal(mailbox_create(base, &receiver, &receiver.mailbox, NULL), 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.mailbox = receiver.mailbox, .index = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, sender_run, &senders[i]), 0);
    }
    receive(base, &receiver, SENDERS * MESSAGES);
    assert_int_equal(receiver.out_of_order, 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
    }
    mailbox_destroy(receiver.mailbox);
    event_base_free(base);
}

/* Answers a message by posting the next one, while it is being run. */
static void on_answer(struct mailbox_message *message, void *context)
{
    struct note *note = (struct note *)message;
    struct receiver *receiver = context;
    if (note->number > 0) {
        note->number--;
        mailbox_post(receiver->mailbox, message);
    } else {
        free(note);
    }
    receiver->received++;
}

static void destroy_runs_what_is_left(void **state)
{
    struct event_base *base = event_base_new();
    struct receiver receiver = {0};
    struct note *note = malloc(sizeof(*note));
    (void)state;
    assert_non_null(note);
    *note = (struct note){.message = {.run = on_answer}, .number = 9};
    assert_int_equal(mailbox_create(base, &receiver, &receiver.mailbox, NULL), 0);
    mailbox_post(receiver.mailbox, &note->message);
    mailbox_destroy(receiver.mailbox);
    assert_int_equal(receiver.received, 10);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_one_sender_arrive_in_order),
        cmocka_unit_test(four_threads_send_at_once),
        cmocka_unit_test(destroy_runs_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
