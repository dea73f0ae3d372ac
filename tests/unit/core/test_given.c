/*
 * Sockets that were opened by others: found by purpose and wanted address first, else by where they are
 * bound; what does not listen is refused, what nobody takes is closed.
 */
#include "core/given.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int make(bool listens, struct addr *bound)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct err_text err;
    assert_true(fd >= 0);
    assert_int_equal(addr_parse("127.0.0.1:0", NULL, bound, &err), 0);
    assert_int_equal(bind(fd, &bound->sa, bound->len), 0);
    assert_int_equal(listens ? listen(fd, 1) : 0, 0);
    assert_int_equal(getsockname(fd, &bound->sa, &bound->len), 0);
    return fd;
}

static void by_purpose_and_wanted_address_first(void **state)
{
    (void)state;
    struct given given = {0};
    struct err_text err;
    struct addr free_port, bound[2];
    bool foreign = true;
    int a = make(true, &bound[0]);
    int b = make(true, &bound[1]);
    assert_int_equal(addr_parse("127.0.0.1:0", NULL, &free_port, &err), 0);
    assert_int_equal(given_add(&given, a, "listen:a", &free_port, false, &err), 0);
    assert_int_equal(given_add(&given, b, "listen:b", &free_port, false, &err), 0);
    assert_int_equal(given_count(&given, "listen:b", &free_port), 1);
    assert_int_equal(given_count(&given, "metrics", &bound[0]), 0);
    assert_int_equal(given_take(&given, "metrics", &bound[0], NULL), -1);
    assert_int_equal(given_take(&given, "listen:b", &free_port, &foreign), b);
    assert_false(foreign);
    assert_int_equal(given_take(&given, "listen:b", &free_port, NULL), -1);
    /* Another service has the address now. */
    assert_int_equal(given_take(&given, "listen:c", &bound[0], NULL), a);
    assert_true((fcntl(a, F_GETFL) & O_NONBLOCK) != 0 && (fcntl(a, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(close(a) + close(b), 0);
    given_clear(&given);
}

static void of_a_service_manager_by_address_alone(void **state)
{
    (void)state;
    struct given given = {0};
    struct err_text err;
    struct addr bound;
    bool foreign = false;
    int fd = make(true, &bound);
    assert_int_equal(given_add(&given, fd, "", NULL, true, &err), 0);
    assert_int_equal(given_take(&given, "metrics", &bound, &foreign), fd);
    assert_true(foreign);
    assert_int_equal(close(fd), 0);
    given_clear(&given);
}

static void what_is_no_listener_is_refused(void **state)
{
    (void)state;
    struct given given = {0};
    struct err_text err;
    struct addr bound;
    int fd = make(false, &bound);
    assert_int_equal(given_add(&given, fd, "", NULL, true, &err), ERR_SYSTEM);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was taken over, and closed */
    assert_int_equal(given_add(&given, open("/dev/null", O_RDONLY), "", NULL, true, &err), ERR_SYSTEM);
    assert_int_equal(given.len, 0);
}

static void what_nobody_takes_is_closed(void **state)
{
    (void)state;
    struct given given = {0};
    struct err_text err;
    struct addr bound;
    int fd = make(true, &bound);
    assert_int_equal(given_add(&given, fd, "listen:a", NULL, false, &err), 0);
    given_clear(&given);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(given_take(NULL, "listen:a", &bound, NULL), -1);
    assert_int_equal(given_count(NULL, "listen:a", &bound), 0);
}

static void what_was_taken_is_told(void **state)
{
    (void)state;
    struct given given = {0};
    struct err_text err;
    struct addr free_port, bound;
    int fd = make(true, &bound);
    assert_int_equal(addr_parse("127.0.0.1:0", NULL, &free_port, &err), 0);
    assert_int_equal(given_add(&given, fd, "listen:a", &free_port, false, &err), 0);
    assert_false(given_is_taken(&given, "listen:a", &free_port));
    assert_int_equal(given_take(&given, "listen:b", &bound, NULL), fd);
    assert_true(given_is_taken(&given, "listen:a", &free_port));
    assert_false(given_is_taken(&given, "listen:b", &free_port)); /* whose it was, not whose it is */
    assert_false(given_is_taken(&given, "listen:a", &bound));
    assert_false(given_is_taken(NULL, "listen:a", &free_port));
    assert_int_equal(close(fd), 0);
    given_clear(&given);
}

/* Whether a socket that is bound to one address is in the way of the other, at the same port. */
static bool in_the_way(const char *bound, const char *address, unsigned port)
{
    struct given_socket one = {.fd = 0};
    const struct given given = {.list = &one, .len = 1};
    struct addr wanted;
    struct err_text err;
    char text[2][64];
    (void)snprintf(text[0], sizeof(text[0]), "%s:80", bound);
    (void)snprintf(text[1], sizeof(text[1]), "%s:%u", address, port);
    assert_int_equal(addr_parse(text[0], NULL, &one.bound, &err), 0);
    assert_int_equal(addr_parse(text[1], NULL, &wanted, &err), 0);
    bool there = given_overlaps(&given, &wanted);
    one.fd = -1; /* taken: it is nobody's any more who leaves */
    assert_false(given_overlaps(&given, &wanted));
    return there;
}

static void all_addresses_are_in_the_way_of_one(void **state)
{
    (void)state;
    struct addr path;
    struct err_text err;
    assert_true(in_the_way("0.0.0.0", "127.0.0.1", 80) && in_the_way("127.0.0.1", "0.0.0.0", 80));
    assert_true(in_the_way("[::]", "[::1]", 80) && in_the_way("[::1]", "[::]", 80));
    assert_false(in_the_way("0.0.0.0", "127.0.0.1", 81));
    assert_false(in_the_way("127.0.0.1", "127.0.0.2", 80));
    assert_false(in_the_way("[::]", "127.0.0.1", 80) || in_the_way("0.0.0.0", "[::1]", 80));
    assert_int_equal(addr_parse("unix:/tmp/x.sock", NULL, &path, &err), 0);
    assert_false(given_overlaps(NULL, &path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_purpose_and_wanted_address_first),
        cmocka_unit_test(of_a_service_manager_by_address_alone),
        cmocka_unit_test(what_is_no_listener_is_refused),
        cmocka_unit_test(what_nobody_takes_is_closed),
        cmocka_unit_test(what_was_taken_is_told),
        cmocka_unit_test(all_addresses_are_in_the_way_of_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
