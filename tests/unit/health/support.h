/* Real sockets on the loopback for the tests of health: every port is bound by 0 and asked for. */
#ifndef TESTS_HEALTH_SUPPORT_H
#define TESTS_HEALTH_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/addr.h"
#include "core/clock.h"

#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SUPPORT_PATIENCE_US (10 * CLOCK_US_PER_S)

/* A bound socket that does not listen yet: connecting to it is refused, and nobody else gets the port. */
static inline int support_bind(struct addr *address)
{
    memset(address, 0, sizeof(*address));
    address->in.sin_family = AF_INET;
    address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->len = sizeof(address->in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &address->sa, address->len), 0);
    assert_int_equal(getsockname(fd, &address->sa, &address->len), 0);
    return fd;
}

static inline int support_listen(struct addr *address, int backlog)
{
    int fd = support_bind(address);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

/* Turns the loop until the condition holds; false when patience ends. */
static inline bool support_until(struct event_base *base, bool (*condition)(void *context), void *context)
{
    uint64_t deadline_us = clock_mono_us() + SUPPORT_PATIENCE_US;
    struct timeval most = {.tv_usec = 100000};
    while (!condition(context)) {
        if (clock_mono_us() > deadline_us) {
            return false;
        }
        (void)event_base_loopexit(base, &most); /* so that a loop without events ends, too */
        (void)event_base_loop(base, EVLOOP_ONCE);
    }
    return true;
}

#endif
