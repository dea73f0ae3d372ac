/*
 * The pieces of the session target: a data path without threads, the two ends of one connection through it,
 * a clock that only moves when told, and calls of the system that fall short. One thread.
 */
#ifndef TESTS_FUZZ_SESSION_H
#define TESTS_FUZZ_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_PIECE_MAX ((size_t)256 * 1024)

/* One end and what is known of it. */
struct session_end {
    int fd;                  /* -1: the backend's end has not been accepted yet, or the end was closed */
    uint64_t seed;           /* of what it sends */
    uint64_t sent, received; /* bytes */
    bool shut, saw_end;      /* it has sent its end, it has read the other's */
    bool reset, saw_reset;   /* it has reset, it has met a reset */
};

struct session {
    struct session_end end[2]; /* the client's and the backend's */
    bool is_unix;
    uint64_t accepted_before; /* connections, since the program began */
};

/* Connects a client; kind chooses family, buffers and whether the first backend refuses. */
void session_begin(struct session *session, uint8_t kind);
/* Closes what is open and checks that the data path holds nothing of it any more. */
void session_end(struct session *session);

/* Each does what goes without waiting, and checks what it sees against the other end. */
void session_send(struct session_end *end, size_t size);
void session_receive(struct session_end *end, const struct session_end *other, size_t size);
void session_shut(struct session_end *end);
/* With RST. Not over a Unix path, where there is none. */
void session_reset(struct session *session, int which);

/* One turn of the worker, and the backend's end accepted when it has come. Whether there was anything to do.
 */
bool session_turn(struct session *session);
void session_pass_time(uint64_t ms);
/* Waits a moment of real time, which the kernel's own timers need. */
void session_wait(const struct session *session);
/* The next calls of a kind move only a few bytes, are interrupted, or find no descriptors. 0: none does. */
void session_fault(unsigned kind, unsigned most);
/* Each end that is left has seen the other's end or a reset, and the data path has closed the connection. */
bool session_is_over(const struct session *session);

/* What is known of it, on standard error. */
void session_print(const struct session *session);

#endif
