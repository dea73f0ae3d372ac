/* The settings that stand between a service and its clients: what is accepted, and what is said of the rest.
 */
#include "core/config.h"
#include "core/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a case adds stands in line 2, or within the group in line 3. */
#define SERVICE(part, group)                                                                                 \
    "services = ( { name = \"web\"; listen = [ \"127.0.0.1:8080\" ];\n" part                                 \
    "\n groups = ( { name = \"old\"; " group " backends = ( { address = \"10.0.0.1:80\"; } ); } ); } );\n"

static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct config_errors errors;
    if (config_load_text(text, "/etc/shunt", &config, &errors) != 0) {
        fail_msg("%s", errors.len > 0 ? errors.list[0].text : "no memory");
    }
    config_errors_clear(&errors);
    return config;
}

static void expect_error(const char *text, unsigned line, const char *words)
{
    struct config *config = NULL;
    struct config_errors errors;
    assert_int_equal(config_load_text(text, "/etc/shunt", &config, &errors), ERR_INVALID);
    if (errors.list[0].line != line || strstr(errors.list[0].text, words) == NULL) {
        fail_msg("line %u: %s", errors.list[0].line, errors.list[0].text);
    }
    assert_int_equal(errors.len, 1);
    config_errors_clear(&errors);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = load(SERVICE("", ""));
    const struct config_service *service = &config->services[0];
    assert_int_equal(service->proxy_protocol.accept, CONFIG_PROXY_OFF);
    assert_int_equal(service->allow_len + service->deny_len, 0);
    assert_int_equal(service->limits.connections, 0);
    assert_int_equal(service->limits.rate, UINT64_MAX);
    assert_int_equal(service->limits.rate_per_client, UINT64_MAX);
    assert_int_equal(service->limits.first_byte_timeout_us, 0);
    assert_int_equal(service->bandwidth.service_out, UINT64_MAX);
    assert_int_equal(service->groups[0].send_proxy, CONFIG_SEND_PROXY_OFF);
    assert_null(service->groups[0].source);
    assert_int_equal(config->limits.rate, UINT64_MAX);
    config_free(config);
}

static void test_values(void **state)
{
    (void)state;
    struct config *config = load(SERVICE(
        "proxy_protocol = { from = [ \"10.0.0.0/8\", \"::1\" ]; timeout = \"500ms\"; };"
        "allow = [ \"10.0.0.0/8\" ]; deny = [ \"10.1.0.0/16\" ];"
        "limits = { connections = 100; connections_per_client = 5; rate = \"100/s\"; rate_per_client = "
        "\"60/m\";"
        "prefix_ipv4 = 24; prefix_ipv6 = 56; table_size = 1000; first_byte_timeout = \"5s\"; };"
        "bandwidth = { per_connection_in = \"1MiB/s\"; service_out = \"1GiB/s\"; };",
        "send_proxy = \"v2\"; send_proxy_tlvs = [ \"unique-id\", \"crc32c\" ]; source = \"10.0.0.5\";"));
    const struct config_service *service = &config->services[0];
    assert_int_equal(service->proxy_protocol.accept, CONFIG_PROXY_REQUIRED);
    assert_int_equal(service->proxy_protocol.from_len, 2);
    assert_int_equal(service->limits.rate, UNITS_RATE(100, 1));
    assert_int_equal(service->limits.rate_per_client, UNITS_RATE(60, 60));
    assert_int_equal(service->limits.prefix_ipv6, 56);
    assert_int_equal(service->bandwidth.per_connection_in, 1048576);
    assert_int_equal(service->bandwidth.per_connection_out, UINT64_MAX);
    assert_int_equal(service->groups[0].send_proxy, CONFIG_SEND_PROXY_V2);
    assert_int_equal(service->groups[0].send_proxy_tlvs_len, 2);
    char *shown = config_show(config);
    assert_non_null(strstr(shown, "services.web.limits.rate_per_client = \"60/m\"  # default: \"off\"\n"));
    assert_non_null(strstr(shown, "services.web.bandwidth.service_out = \"1GiB/s\"  # default: \"off\"\n"));
    assert_non_null(strstr(shown, "services.web.bandwidth.service_in = \"off\"  # default: \"off\"\n"));
    free(shown);
    config_free(config);
}

static void test_wrong_values(void **state)
{
    (void)state;
    expect_error(SERVICE("proxy_protocol = { accept = \"required\"; };", ""), 2,
                 "services.web.proxy_protocol: needs \"from\"");
    expect_error(SERVICE("proxy_protocol = { };", ""), 2, "needs \"from\"");
    expect_error(SERVICE("proxy_protocol = { accept = \"always\"; from = [ \"10.0.0.0/8\" ]; };", ""), 2,
                 "it must be \"off\", \"optional\" or \"required\"");
    expect_error(SERVICE("proxy_protocol = { from = [ \"10.0.0.0/33\" ]; };", ""), 2, "the bits are 0 to 32");
    expect_error(SERVICE("allow = [ \"10.0.0.1/8\" ];", ""), 2, "\"10.0.0.0/8\" or \"10.0.0.1\"?");
    expect_error(SERVICE("deny = [ \"example.org\" ];", ""), 2, "the address is not one");
    expect_error(SERVICE("deny = \"10.0.0.0/8\";", ""), 2, "write a list in brackets");
    expect_error(SERVICE("limits = { rate = \"100\"; };", ""), 2, "is not a number in a time such as");
    expect_error(SERVICE("limits = { rate = 100; };", ""), 2, "write a number in a time such as \"100/s\"");
    expect_error(SERVICE("limits = { rate = \"0/s\"; };", ""), 2, "out of range: 1/s to 1000000000/h");
    expect_error(SERVICE("limits = { prefix_ipv4 = 33; };", ""), 2, "out of range: 1 to 32");
    expect_error(SERVICE("bandwidth = { service_in = \"1MiB\"; };", ""), 2, "is not bytes a second such as");
    expect_error(SERVICE("bandwidth = { service_in = \"1/s\"; };", ""), 2, "out of range: 1KiB/s");
    expect_error(SERVICE("", "source = \"10.0.0.0/8\";"), 3, "neither an IP address nor \"client\"");
    expect_error(SERVICE("", "source = \"eth0\";"), 3, "neither an IP address nor \"client\"");
    expect_error(SERVICE("", "send_proxy_tlvs = [ \"crc32c\" ];"), 3, "only headers of version 2");
    expect_error(SERVICE("", "send_proxy = \"v2\"; send_proxy_tlvs = [ \"crc\" ];"), 3,
                 "it must be \"alpn\"");
}

/* Files of prefixes are read when the configuration is checked, and relative names count from its folder. */
static void test_files(void **state)
{
    (void)state;
    char path[] = "/tmp/shunt-edge-XXXXXX";
    char text[512];
    struct config *config = NULL;
    struct config_errors errors;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char lines[] = "10.0.0.0/8\n10.0.0.1/8\n";
    assert_int_equal(write(fd, lines, sizeof(lines) - 1), (ssize_t)sizeof(lines) - 1);
    close(fd);
    (void)snprintf(text, sizeof(text), SERVICE("deny = [ \"@%s\" ];", ""), strrchr(path, '/') + 1);
    assert_int_equal(config_load_text(text, "/tmp", &config, &errors), ERR_INVALID);
    assert_int_equal(errors.len, 1);
    assert_int_equal(errors.list[0].line, 2);
    assert_non_null(strstr(errors.list[0].text, "services.web.deny[0]: /tmp/"));
    assert_non_null(strstr(errors.list[0].text, ":2: \"10.0.0.1/8\" has bits set behind its prefix"));
    config_errors_clear(&errors);
    unlink(path);
    assert_int_equal(config_load_text(text, "/tmp", &config, &errors), ERR_INVALID);
    assert_non_null(strstr(errors.list[0].text, "cannot be read: No such file"));
    config_errors_clear(&errors);
}

#define ROUTES(part) SERVICE("sni = { routes = ( " part " ); };", "")

static void test_routes(void **state)
{
    (void)state;
    struct config *config =
        load(SERVICE("assign = \"sni\"; sni = { default = \"refuse\"; timeout = \"1s\"; routes = ( "
                     "{ name = \"a.b\"; group = \"old\"; }, { name = \"*.b\"; } ); };",
                     ""));
    const struct config_service *service = &config->services[0];
    assert_int_equal(service->assign, CONFIG_ASSIGN_SNI);
    assert_true(service->sni.present);
    assert_int_equal(service->sni.otherwise, CONFIG_SNI_REFUSE);
    assert_int_equal(service->sni.timeout_us, 1000000);
    assert_int_equal(service->sni.routes_len, 2);
    assert_string_equal(service->sni.routes[0].group, "old");
    assert_null(service->sni.routes[1].group);
    assert_null(service->sni.routes[1].service);
    config_free(config);
    config = load(SERVICE("", ""));
    assert_false(config->services[0].sni.present);
    assert_int_equal(config->services[0].sni.timeout_us, 3000000);
    config_free(config);
}

static void test_wrong_routes(void **state)
{
    (void)state;
    expect_error(ROUTES("{ name = \"a..b\"; }"), 2, "sni.routes.a..b: name: \"a..b\" is no host name");
    expect_error(ROUTES("{ name = \"a.*.b\"; }"), 2, "a star stands for whole labels");
    expect_error(ROUTES("{ group = \"old\"; }"), 2, "required setting \"name\" is missing");
    expect_error(ROUTES("{ name = \"a\"; group = \"odl\"; }"), 2, "there is no group \"odl\"");
    expect_error(ROUTES("{ name = \"a\"; service = \"db\"; }"), 2, "there is no service \"db\"");
    expect_error(ROUTES("{ name = \"a\"; service = \"web\"; }"), 2, "leads to the service itself");
    expect_error(ROUTES("{ name = \"a\"; group = \"old\"; service = \"db\"; }"), 2, "keep one");
    expect_error(ROUTES("{ name = \"a.b\"; }, { name = \"A.b.\"; }"), 2, "twice");
}

#define WITHOUT_LISTEN(name, part)                                                                           \
    "{ name = \"" name "\"; " part                                                                           \
    " groups = ( { name = \"old\"; backends = ( { address = \"10.0.0.1:80\"; } ); } ); }"
#define WEB(route) WITHOUT_LISTEN("web", "listen = [ \"127.0.0.1:0\" ]; sni = { routes = ( " route " ); };")

static void test_routes_to_services(void **state)
{
    (void)state;
    struct config *config =
        load("services = ( " WEB("{ name = \"a\"; service = \"db\"; }") ",\n" WITHOUT_LISTEN("db", "") " );");
    assert_string_equal(config->services[0].sni.routes[0].service, "db");
    assert_int_equal(config->services[1].listen_len, 0);
    config_free(config);
    expect_error("services = ( " WEB("{ name = \"a\"; }") ",\n" WITHOUT_LISTEN("db", "") " );", 2,
                 "services.db: required setting \"listen\" is missing");
    expect_error(
        "services = ( " WEB("{ name = \"a\"; service = \"db\"; }") ",\n" WITHOUT_LISTEN(
            "db",
            "sni = { routes = ( { name = \"b\"; service = \"more\"; } ); };") ",\n" WITHOUT_LISTEN("more",
                                                                                                   "") " );",
        1, "connections are handed on once");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_wrong_routes),
        cmocka_unit_test(test_routes_to_services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
