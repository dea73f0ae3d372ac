/* How checks speak TLS: every kind of check, with and without TLS of the group, a port and a section of its
 * own. */
#include "health/check_tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(text) ((char *)(uintptr_t)(text))

static const enum config_health_type kinds[] = {
    CONFIG_HEALTH_NONE, CONFIG_HEALTH_TCP,   CONFIG_HEALTH_SEND_EXPECT, CONFIG_HEALTH_HTTP,
    CONFIG_HEALTH_TLS,  CONFIG_HEALTH_REDIS, CONFIG_HEALTH_POSTGRESQL,  CONFIG_HEALTH_MYSQL,
    CONFIG_HEALTH_SMTP, CONFIG_HEALTH_LDAP,  CONFIG_HEALTH_EXEC,        CONFIG_HEALTH_AGENT,
};

/* One letter a kind: . none, f from the first byte, a asked for. */
static void expect(bool group, uint32_t port, bool own, bool starttls, const char *ways)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct config_group config = {.tls = {.present = group, .verify = true}};
        config.health.type = kinds[i];
        config.health.port = port;
        config.health.tls.present = own;
        config.health.tls.enabled = true;
        config.health.smtp.starttls = starttls && kinds[i] == CONFIG_HEALTH_SMTP;
        config.health.ldap.starttls = starttls && kinds[i] == CONFIG_HEALTH_LDAP;
        char seen = ".fa"[check_tls_of(&config).way];
        if (seen != ways[i]) {
            fail_msg("kind %d: %c, not %c", (int)kinds[i], seen, ways[i]);
        }
        config.health.tls.present = true;
        config.health.tls.enabled = false;
        assert_int_equal(check_tls_of(&config).way, CHECK_TLS_NONE);
    }
}

static void every_kind(void **state)
{
    (void)state;
    expect(false, 0, false, false, "....f.......");
    expect(false, 0, true, false, "..ffffaaff.f");
    expect(false, 0, false, true, "....f...aa..");
    expect(true, 0, false, false, "..ffffffff..");
    expect(true, 0, true, false, "..ffffffff.f");
    expect(true, 0, false, true, "..ffffffaa..");
    expect(true, 8080, false, false, "....f.......");
    expect(true, 8080, true, false, "..ffffaaff.f");
}

static struct config_group full_group(void)
{
    static char *protocols[] = {TEXT("h2"), TEXT("http/1.1")};
    return (struct config_group){
        .tls = {.present = true,
                .verify = true,
                .ca = TEXT("ca"),
                .crl = TEXT("crl"),
                .server_name = TEXT("name"),
                .own = {.certificate = TEXT("own")},
                .alpn = protocols,
                .alpn_len = 2,
                .min_version = CONFIG_TLS_1_3},
        .health = {.type = CONFIG_HEALTH_REDIS, .tls = {.verify = true, .enabled = true}}};
}

static void what_is_taken_over(void **state)
{
    (void)state;
    struct config_group group = full_group();
    struct check_tls tls = check_tls_of(&group);
    assert_true(tls.of_group && tls.verify);
    assert_string_equal(tls.ca, "ca");
    assert_string_equal(tls.crl, "crl");
    assert_string_equal(tls.server_name, "name");
    assert_string_equal(tls.own->certificate, "own");
    assert_int_equal(tls.alpn_len, 2);
    assert_int_equal(tls.min_version, CONFIG_TLS_1_3);
    group.tls.verify = false;
    assert_false(check_tls_of(&group).verify);
    group.health.tls.present = true; /* it has a word of its own on that */
    group.health.tls.ca_file = TEXT("other");
    tls = check_tls_of(&group);
    assert_true(tls.verify);
    assert_string_equal(tls.ca, "other");
    assert_null(tls.crl);
    assert_string_equal(tls.server_name, "name");
    group.health.port = 1;
    tls = check_tls_of(&group);
    assert_true(!tls.of_group && tls.server_name == NULL && tls.own == NULL && tls.alpn_len == 0);
}

static void what_is_offered(void **state)
{
    (void)state;
    static char *client[] = {TEXT("client")};
    struct config_group group = full_group();
    group.health.type = CONFIG_HEALTH_HTTP;
    struct check_tls tls = check_tls_of(&group);
    assert_int_equal(tls.alpn_len, 1);
    assert_string_equal(tls.alpn[0], "http/1.1");
    group.tls.alpn_len = 1; /* only h2, which the check does not speak */
    assert_int_equal(check_tls_of(&group).alpn_len, 0);
    group.tls.alpn = client;
    group.health.type = CONFIG_HEALTH_TLS;
    assert_int_equal(check_tls_of(&group).alpn_len, 0);
}

static void which_name(void **state)
{
    (void)state;
    struct config_backend backends[] = {{.name = TEXT("a"), .address = TEXT("10.0.0.1:80")},
                                        {.name = TEXT("b@home"), .address = TEXT("b.example:80")},
                                        {.name = TEXT("c"), .address = TEXT("unix:/x:80")},
                                        {.name = TEXT("d"), .address = TEXT("[::1]:80")}};
    struct config_group group = full_group();
    char out[CHECK_TLS_NAME_MAX];
    group.backends = backends;
    group.backends_len = 4;
    struct check_tls tls = check_tls_of(&group);
    assert_string_equal(check_tls_name(&tls, &group, "b@home", out), "name");
    group.tls.server_name = NULL;
    tls = check_tls_of(&group);
    assert_null(check_tls_name(&tls, &group, "a", out));
    assert_string_equal(check_tls_name(&tls, &group, "b@home", out), "b.example");
    assert_string_equal(check_tls_name(&tls, &group, "b@home@10.0.0.2:80", out), "b.example");
    assert_null(check_tls_name(&tls, &group, "b", out));
    assert_null(check_tls_name(&tls, &group, "c", out));
    assert_null(check_tls_name(&tls, &group, "d", out));
    group.health.port = 1;
    tls = check_tls_of(&group);
    assert_null(check_tls_name(&tls, &group, "b@home", out));
}

static void what_is_doubted(void **state)
{
    (void)state;
    struct config_group group = full_group();
    assert_null(check_tls_doubt(&group));
    group.health.tls.present = true;
    assert_null(check_tls_doubt(&group));
    group.health.tls.enabled = false;
    assert_non_null(check_tls_doubt(&group));
    group.health.port = 1;
    assert_null(check_tls_doubt(&group));
    group.health.port = 0;
    group.health.type = CONFIG_HEALTH_TCP;
    assert_null(check_tls_doubt(&group));
    group.health = (struct config_health){.type = CONFIG_HEALTH_LDAP, .ldap = {.starttls = true}};
    assert_non_null(check_tls_doubt(&group));
    group.tls.present = false;
    assert_null(check_tls_doubt(&group));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind), cmocka_unit_test(what_is_taken_over), cmocka_unit_test(what_is_offered),
        cmocka_unit_test(which_name), cmocka_unit_test(what_is_doubted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
