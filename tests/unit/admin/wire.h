/*
 * The admin socket with clients of it, server and clients on one thread: the loop turns until what is waited
 * for is there, or fails at a deadline.
 */
#ifndef TESTS_UNIT_ADMIN_WIRE_H
#define TESTS_UNIT_ADMIN_WIRE_H

#include "admin/server_internal.h"
#include "tests/unit/admin/support.h"

#define WIRE_DEADLINE_US UINT64_C(10000000)

struct wire {
    struct support support;
    struct admin *admin;
};

/* cmocka's set-up and tear-down: *state is a struct wire. */
int wire_setup(void **state);
int wire_teardown(void **state);
/* More descriptors for this process, and no SIGPIPE: once, in main. */
void wire_prepare(void);
int wire_count_fds(void);
void wire_turn(struct wire *w);
int wire_connect(struct wire *w);
void wire_send_bytes(struct wire *w, int fd, const char *bytes, size_t length);
void wire_send(struct wire *w, int fd, const char *text);
/* Reads until the end of the connection or until `replies` empty lines have come; *ended tells which. The
 * text is the caller's. */
char *wire_receive(struct wire *w, int fd, int replies, bool *ended);
void wire_expect_reply(struct wire *w, int fd, const char *begin);
/* Asserts that nothing more comes, and closes fd. */
void wire_expect_end(struct wire *w, int fd);
/* A new client gets its answer within a second. */
void wire_expect_alive(struct wire *w);
void wire_until_clients(struct wire *w, size_t n);

#endif
