/*
 * Addresses of a configuration become socket addresses: numeric ones one to one, names with all they stand
 * for, faults all at once.
 */
#include "daemon/targets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config *load(const char *listen, const char *backend_a, const char *backend_b)
{
    char *text = NULL;
    struct config *config = NULL;
    struct config_errors errors;
    assert_true(asprintf(&text,
                         "services = ( { name = \"s\"; listen = [ \"%s\" ]; groups = ( { name = \"g\";\n"
                         "  backends = ( { name = \"a\"; address = \"%s\"; weight = 7; },\n"
                         "    { name = \"b\"; address = \"%s\"; backup = true; } ); } ); } );\n",
                         listen, backend_a, backend_b) > 0);
    int rc = config_load_text(text, NULL, &config, &errors);
    for (size_t i = 0; i < errors.len; i++) {
        print_message("%s\n", errors.list[i].text);
    }
    config_errors_clear(&errors);
    free(text);
    assert_int_equal(rc, 0);
    return config;
}

static void numeric_addresses_keep_name_weight_and_backup(void **state)
{
    (void)state;
    struct config *config = load("127.0.0.1:0", "127.0.0.1:81", "[::1]:82");
    struct targets *targets = NULL;
    struct config_errors errors;
    assert_int_equal(targets_resolve(config, TARGETS_CHECK, &targets, &errors), 0);
    assert_int_equal(errors.len, 0);
    config_errors_clear(&errors);

    assert_int_equal(targets->services_len, 1);
    assert_int_equal(targets->backends, 2);
    assert_int_equal(targets->services[0].listen_len, 1);
    const struct targets_group *group = &targets->services[0].groups[0];
    assert_int_equal(group->backends_len, 2);
    assert_string_equal(group->backends[0].name, "a");
    assert_int_equal(group->backends[0].weight, 7);
    assert_int_equal(addr_port(&group->backends[0].address), 81);
    assert_false(group->backends[0].backup);
    assert_true(group->backends[1].backup);
    targets_destroy(targets);
    config_free(config);
}

/* "localhost" never leaves the machine (RFC 6761). */
static void a_name_becomes_a_backend_for_each_of_its_addresses(void **state)
{
    (void)state;
    struct config *config = load("127.0.0.1:0", "localhost:81", "127.0.0.1:82");
    struct targets *targets = NULL;
    struct config_errors errors;
    assert_int_equal(targets_resolve(config, TARGETS_CHECK, &targets, &errors), 0);
    config_errors_clear(&errors);
    const struct targets_group *group = &targets->services[0].groups[0];
    const struct names_host *host = &targets->services[0].hosts[0];
    assert_int_equal(targets->services[0].hosts_len, 1);
    assert_int_equal(host->set.outcome, NAME_GOOD);
    assert_true(host->set.len >= 1);
    assert_int_equal(group->backends_len, host->set.len + 1);
    assert_int_equal(group->room, config->resolve.max_addresses * NAME_SET_PLACES);
    for (size_t i = 0; i < host->set.len; i++) {
        char text[ADDR_TEXT_MAX];
        char name[ADDR_TEXT_MAX + 2];
        addr_format(&host->set.members[i].address, text, sizeof(text));
        snprintf(name, sizeof(name), "a@%s", text);
        assert_string_equal(group->backends[i].name, name);
        assert_int_equal(group->backends[i].weight, 7);
        assert_true(addr_equal(&group->backends[i].address, &host->set.members[i].address));
    }
    assert_string_equal(group->backends[host->set.len].name, "b");
    targets_destroy(targets);
    config_free(config);
}

static struct name_answer nothing(bool failed)
{
    return (struct name_answer){
        .failed_ipv4 = failed, .failed_ipv6 = failed, .reason = failed ? "no answer" : "does not exist"};
}

/* Answers as they may come, without asking anybody. */
static int finish(enum targets_purpose purpose, bool a_failed, bool b_failed, struct config_errors *errors)
{
    const struct name_rules rules = {.min_ttl_us = 1, .max_ttl_us = 1, .max = 4};
    struct config *config = load("127.0.0.1:80", "a.test:81", "b.test:82");
    struct targets *targets = NULL;
    struct name_change change;
    assert_int_equal(targets_begin(config, &targets, errors), 0);
    assert_false(targets_are_known(targets));
    struct names_host *hosts = targets->services[0].hosts;
    assert_int_equal(targets->services[0].hosts_len, 2);
    const struct name_answer a = nothing(a_failed);
    const struct name_answer b = nothing(b_failed);
    assert_int_equal(name_set_take(&hosts[0].set, &rules, &a, 1, &change), 0);
    assert_int_equal(name_set_take(&hosts[1].set, &rules, &b, 1, &change), 0);
    assert_true(targets_are_known(targets));
    int rc = targets_finish(targets, purpose, errors);
    assert_int_equal(targets->backends, 0);
    targets_destroy(targets);
    config_free(config);
    return rc;
}

static void every_fault_is_found_at_once(void **state)
{
    (void)state;
    struct config_errors errors;
    assert_int_equal(finish(TARGETS_CHECK, false, false, &errors), ERR_INVALID);
    assert_int_equal(errors.len, 2);
    assert_non_null(strstr(errors.list[0].text, "services.s.groups.g.backends"));
    assert_non_null(strstr(errors.list[0].text, "a.test"));
    assert_non_null(strstr(errors.list[1].text, "b.test"));
    assert_int_equal(errors.list[0].line, 2);
    assert_int_equal(errors.list[1].line, 3);
    config_errors_clear(&errors);
}

static void what_is_a_fault_depends_on_who_asks(void **state)
{
    (void)state;
    struct config_errors errors;
    assert_int_equal(finish(TARGETS_START, false, true, &errors), 0); /* it goes on asking */
    assert_int_equal(errors.len, 0);
    config_errors_clear(&errors);
    assert_int_equal(finish(TARGETS_CHECK, true, true, &errors), 0); /* only remarks */
    assert_int_equal(errors.len, 2);
    assert_non_null(strstr(errors.list[0].text, "would start without it"));
    config_errors_clear(&errors);
    assert_int_equal(finish(TARGETS_RELOAD, true, true, &errors), ERR_INVALID);
    assert_int_equal(errors.len, 2);
    config_errors_clear(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_addresses_keep_name_weight_and_backup),
        cmocka_unit_test(a_name_becomes_a_backend_for_each_of_its_addresses),
        cmocka_unit_test(every_fault_is_found_at_once),
        cmocka_unit_test(what_is_a_fault_depends_on_who_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
