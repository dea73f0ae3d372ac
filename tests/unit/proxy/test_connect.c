/*
 * The way to a backend: retries, and what the client and the counters see when there is none to be had.
 */
#include "core/clock.h"
#include "tests/unit/proxy/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct stats_service_reading read_service(struct rig *rig)
{
    struct stats_service_reading reading;
    proxy_service_read(rig->service, &reading);
    return reading;
}

static void test_retry_on_refused(void **state)
{
    const struct rig_options *base = *state;
    struct rig_options options = *base;
    struct rig rig;
    options.backends = 2;
    options.dead = 1;
    options.retries = 3;
    rig_start(&rig, &options);
    for (int i = 0; i < 10; i++) {
        int client = rig_client(&rig);
        int backend = rig_accept(&rig, 1);
        rig_send(client, "x", 1);
        rig_expect(backend, "x", 1);
        close(client);
        rig_expect_end(backend);
        close(backend);
    }
    rig_wait_closed(&rig, STATS_CLOSE_CLIENT_CLOSED, 10);
    uint64_t refused = rig_backend_stats(&rig, 0).errors[STATS_ERROR_CONNECT];
    assert_true(refused > 0);
    assert_int_equal(read_service(&rig).retries, refused);
    assert_int_equal(rig_backend_stats(&rig, 1).connections, 10);
    rig_stop(&rig);
}

/* Row 10: the client has said all it has to say, and ended, before the first backend refuses. */
static void test_early_fin_does_not_prevent_the_retry(void **state)
{
    (void)state;
    const struct rig_options options = {.backends = 2, .dead = 1, .retries = 1};
    struct rig rig;
    rig_start(&rig, &options);
    for (int i = 0; i < 10; i++) {
        int client = rig_client(&rig);
        rig_send(client, "request", 7);
        assert_int_equal(shutdown(client, SHUT_WR), 0);
        int backend = rig_accept(&rig, 1);
        rig_expect(backend, "request", 7);
        rig_expect_end(backend);
        rig_send(backend, "answer", 6);
        close(backend);
        rig_expect(client, "answer", 6);
        rig_expect_end(client);
        close(client);
    }
    rig_stop(&rig);
}

static void test_all_refuse(void **state)
{
    const struct rig_options *base = *state;
    struct rig_options options = *base;
    struct rig rig;
    options.backends = 2;
    options.dead = 3;
    options.retries = 3;
    rig_start(&rig, &options);
    int client = rig_client(&rig);
    char byte;
    assert_true(recv(client, &byte, 1, 0) <= 0);
    close(client);
    rig_wait_closed(&rig, STATS_CLOSE_CONNECT_REFUSED, 1);
    assert_int_equal(rig_backend_stats(&rig, 0).errors[STATS_ERROR_CONNECT], 1);
    assert_int_equal(rig_backend_stats(&rig, 1).errors[STATS_ERROR_CONNECT], 1);
    assert_int_equal(read_service(&rig).retries, 1);
    rig_stop(&rig);
}

static void test_no_retries_wanted(void **state)
{
    (void)state;
    const struct rig_options options = {.backends = 2, .dead = 3};
    struct rig rig;
    rig_start(&rig, &options);
    int client = rig_client(&rig);
    assert_int_equal(rig_expect_reset(client), 0);
    close(client);
    rig_wait_closed(&rig, STATS_CLOSE_CONNECT_REFUSED, 1);
    assert_int_equal(read_service(&rig).retries, 0);
    rig_stop(&rig);
}

static void test_timeout(void **state)
{
    (void)state;
    const struct rig_options options = {.full = 1, .connect_us = 200 * CLOCK_US_PER_MS};
    struct rig rig;
    rig_start(&rig, &options);
    uint64_t began = rig_now_ms();
    int client = rig_client(&rig);
    assert_int_equal(rig_expect_reset(client), 0);
    uint64_t took = rig_now_ms() - began;
    assert_true(took >= 190 && took < 1000);
    close(client);
    rig_wait_closed(&rig, STATS_CLOSE_CONNECT_TIMEOUT, 1);
    assert_int_equal(rig_backend_stats(&rig, 0).errors[STATS_ERROR_TIMEOUT], 1);
    rig_stop(&rig);
}

/* A backend that swallows connects costs the timeout, then another one serves. */
static void test_timeout_then_another(void **state)
{
    (void)state;
    const struct rig_options options = {
        .backends = 2, .full = 1, .retries = 1, .connect_us = 200 * CLOCK_US_PER_MS};
    struct rig rig;
    rig_start(&rig, &options);
    for (int i = 0; i < 4; i++) {
        int client = rig_client(&rig);
        int backend = rig_accept(&rig, 1);
        close(client);
        rig_expect_end(backend);
        close(backend);
    }
    assert_true(rig_backend_stats(&rig, 0).errors[STATS_ERROR_TIMEOUT] > 0);
    rig_stop(&rig);
}

static void test_no_backend(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    struct err_text err;
    rig_start(&rig, &options);
    routing_set_admin(rig.routing, routing_backend_at(rig.routing, 0, 0), BACKEND_MAINT);
    assert_int_equal(routing_publish(rig.routing, &err), 0);
    int client = rig_client(&rig);
    assert_int_equal(rig_expect_reset(client), 0);
    close(client);
    rig_wait_closed(&rig, STATS_CLOSE_NO_BACKEND, 1);
    rig_stop(&rig);
}

/* A server that speaks first is connected to at once, and its greeting is a turn. */
static void test_server_speaks_first(void **state)
{
    (void)state;
    const struct rig_options options = {0};
    struct rig rig;
    int client, backend;
    rig_start(&rig, &options);
    rig_pair(&rig, &client, &backend);
    rig_send(backend, "220 hello", 9);
    rig_expect(client, "220 hello", 9);
    assert_int_equal(rig_backend_stats(&rig, 0).turns, 1);
    rig_send(client, "EHLO", 4);
    rig_expect(backend, "EHLO", 4);
    rig_send(backend, "250 ok", 6);
    rig_expect(client, "250 ok", 6);
    assert_int_equal(rig_backend_stats(&rig, 0).turns, 2);
    close(client);
    rig_expect_end(backend);
    close(backend);
    rig_stop(&rig);
}

/* As in the moment of a reload in which the routing has a group already: how its backends want to be spoken
 * to is not known, and plainly would be wrong where that is TLS. */
static void test_a_group_that_the_terms_do_not_know(void **state)
{
    static const char text[] =
        "state_dir = \"/tmp\"; services = ( { name = \"test\"; listen = [ \"127.0.0.1:0\" ]; "
        "groups = ( { name = \"other\"; backends = ( { address = \"127.0.0.1:1\"; } ); } ); } );";
    struct config *config = NULL;
    struct config_errors errors;
    (void)state;
    assert_int_equal(config_load_text(text, "/tmp", &config, &errors), 0);
    const struct rig_options options = {.config = &config->services[0]};
    struct rig rig;
    rig_start(&rig, &options);
    int client = rig_client(&rig);
    (void)rig_expect_reset(client);
    close(client);
    struct pollfd backend = {.fd = rig.backend_fd[0], .events = POLLIN};
    assert_int_equal(poll(&backend, 1, 0), 0); /* nobody came */
    rig_stop(&rig);
    config_free(config);
}

int main(void)
{
    static struct rig_options tcp = {0}, unix_paths = {.unix_paths = true};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_retry_on_refused, &tcp),
        cmocka_unit_test_prestate(test_retry_on_refused, &unix_paths),
        cmocka_unit_test(test_early_fin_does_not_prevent_the_retry),
        cmocka_unit_test_prestate(test_all_refuse, &tcp),
        cmocka_unit_test_prestate(test_all_refuse, &unix_paths),
        cmocka_unit_test(test_no_retries_wanted),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_timeout_then_another),
        cmocka_unit_test(test_no_backend),
        cmocka_unit_test(test_a_group_that_the_terms_do_not_know),
        cmocka_unit_test(test_server_speaks_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
