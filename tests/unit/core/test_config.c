/* Loading configurations: values, defaults, what depends on what, and the samples. */
#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char minimal[] =
    "services = ( { name = \"web\"; listen = [ \"127.0.0.1:0\" ];\n"
    "  groups = ( { name = \"old\"; backends = ( { address = \"10.0.0.1:80\"; } ); } );\n"
    "} );\n";

static struct config *load(const char *text, const char *base_dir)
{
    struct config *config = NULL;
    struct config_errors errors;
    int rc = config_load_text(text, base_dir, &config, &errors);
    if (rc != ERR_OK) {
        char *found = config_errors_format(&errors);
        print_error("%s", found);
        free(found);
    }
    config_errors_clear(&errors);
    assert_int_equal(rc, ERR_OK);
    return config;
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = load(minimal, NULL);
    const struct config_service *web = &config->services[0];
    const struct config_group *old = &web->groups[0];
    assert_null(config->path);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->spin_us, 100);
    assert_string_equal(config->state_dir, "/var/lib/shunt");
    assert_int_equal(config->shutdown_timeout_us, 60000000);
    assert_string_equal(config->admin.socket, "/run/shunt/admin.sock");
    assert_int_equal(config->admin.mode, 0660);
    assert_string_equal(config->log.level, "info");
    assert_string_equal(config->log.format, "logfmt");
    assert_int_equal(web->assign, CONFIG_ASSIGN_CONNECTION);
    assert_int_equal(web->client_prefix.ipv4, 32);
    assert_int_equal(web->client_prefix.ipv6, 64);
    assert_string_equal(web->salt, "web");
    assert_int_equal(web->retries, 3);
    assert_true(web->fallback);
    assert_int_equal(web->timeouts.connect_us, 5000000);
    assert_int_equal(web->timeouts.idle_us, UINT64_C(3600000000));
    assert_int_equal(web->timeouts.half_close_us, 60000000);
    assert_false(web->migration.present);
    assert_false(web->migration.ramp.present);
    assert_int_equal(web->migration.drain.timeout_us, 600000000);
    assert_int_equal(web->migration.commit, CONFIG_COMMIT_AUTO);
    assert_int_equal(old->balance, CONFIG_BALANCE_ROUND_ROBIN);
    assert_int_equal(old->health.type, CONFIG_HEALTH_NONE);
    assert_int_equal(old->health.interval_us, 2000000);
    assert_int_equal(old->health.rise, 2);
    assert_int_equal(old->health.fall, 3);
    assert_string_equal(old->backends[0].name, "10.0.0.1:80");
    assert_int_equal(old->backends[0].weight, 1);
    assert_false(old->backends[0].backup);
    assert_int_equal(web->line, 1);
    assert_int_equal(old->line, 2);
    config_free(config);
}

static void test_free_of_nothing(void **state)
{
    (void)state;
    struct config_errors errors = {0};
    config_free(NULL);
    config_errors_clear(NULL);
    config_errors_clear(&errors);
    config_errors_clear(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_free_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
