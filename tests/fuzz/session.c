/*
 * A whole session: what two peers can do to a proxied connection, in any order, against a model that knows
 * which byte must come out. The real data path runs in this process on one worker that is turned by hand,
 * over loopback or Unix sockets; its clock is ours, so that deadlines come when the input says so. Calls of
 * the system can be made to fall short. See session.h for the pieces; here is the input's language.
 *
 * The first byte chooses the kind of session, then each operation is three bytes: what (and by which side),
 * and how much.
 */
#include "tests/fuzz/session.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Turns without any byte before real time is waited for, and how often that is done before it is a stall. */
#define QUIET_TURNS 4u
#define STALLED_LOOKS 3000u

static size_t size_of(const uint8_t *operation)
{
    size_t number = (size_t)operation[1] | ((size_t)(operation[2] & 0x1f) << 8);
    return number << (operation[2] >> 5); /* up to 1 MiB, bounded by the pieces below */
}

static void operate(struct session *session, const uint8_t *operation)
{
    struct session_end *end = &session->end[operation[0] & 1];
    struct session_end *other = &session->end[1 - (operation[0] & 1)];
    size_t size = size_of(operation);
    switch (operation[0] >> 1 & 0x0f) {
    case 8:
        session_shut(end);
        break;
    case 9:
        session_reset(session, operation[0] & 1);
        break;
    case 10:
        session_pass_time(size);
        break;
    case 11:
    case 12:
        session_fault(operation[1], operation[2]);
        break;
    default:
        if ((operation[0] >> 1 & 1) != 0) {
            session_send(end, size);
        } else {
            session_receive(end, other, size);
        }
    }
    for (unsigned n = 0; (operation[0] & 0x80) == 0 && n < 1 + (operation[0] >> 5 & 3U); n++) {
        (void)session_turn(session);
    }
}

/* Both read until all that can come has come: ends, or a reset behind a part of it. */
static void finish(struct session *session)
{
    struct session_end *end = session->end;
    unsigned quiet = 0;
    session_fault(0, 0);
    bool aborted = end[0].reset || end[1].reset;
    while (!session_is_over(session)) {
        uint64_t before = end[0].received + end[1].received;
        bool moved = session_turn(session);
        for (int i = 0; i < 2 && !aborted; i++) {
            session_shut(&end[i]);
        }
        session_receive(&end[0], &end[1], SESSION_PIECE_MAX);
        session_receive(&end[1], &end[0], SESSION_PIECE_MAX);
        quiet = moved || end[0].received + end[1].received != before ? 0 : quiet + 1;
        if (quiet > QUIET_TURNS) {
            session_pass_time(10);
            session_wait(session);
        }
        if (quiet == STALLED_LOOKS) {
            session_print(session);
        }
        FUZZ_CHECK(quiet < STALLED_LOOKS); /* somebody waits for what never comes */
    }
    for (int i = 0; i < 2; i++) {
        /* Nobody is reset who was not reset by the other one, and no end is seen that was not sent. */
        FUZZ_CHECK(!end[i].saw_reset || end[1 - i].reset);
        FUZZ_CHECK(!end[i].saw_end || end[1 - i].shut);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session session;
    if (size < 1) {
        return 0;
    }
    session_begin(&session, data[0]);
    for (size_t at = 1; at + 3 <= size && !(session.end[0].reset && session.end[1].reset); at += 3) {
        operate(&session, data + at);
    }
    finish(&session);
    session_end(&session);
    return 0;
}
