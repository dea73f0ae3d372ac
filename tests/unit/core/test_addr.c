/* Addresses from text and back, equality, and the client's IP. */
#include "core/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void addresses_survive_text(void **state)
{
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {"1.2.3.4:80", "1.2.3.4:80"},
        {"*:80", "0.0.0.0:80"},
        {"127.0.0.1:0", "127.0.0.1:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"[::1]:80", "[::1]:80"},
        {"[::]:8080", "[::]:8080"},
        {"[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]:443"},
        {"[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]:1"},
        {"[fe80::1%lo]:80", "[fe80::1%lo]:80"},
        {"[fe80::1%1]:80", "[fe80::1%lo]:80"},
        {"[fe80::1%4000000]:80", "[fe80::1%4000000]:80"},
        {"unix:/run/web.sock", "unix:/run/web.sock"},
        {"unix:web.sock", "unix:web.sock"},
        {"unix:/a b:c", "unix:/a b:c"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr addr;
        struct addr again;
        char text[ADDR_TEXT_MAX];
        assert_int_equal(addr_parse(cases[i].text, NULL, &addr, NULL), ERR_OK);
        addr_format(&addr, text, sizeof(text));
        assert_string_equal(text, cases[i].canonical);
        assert_int_equal(addr_parse(text, NULL, &again, NULL), ERR_OK);
        assert_true(addr_equal(&addr, &again));
        assert_int_equal(addr.len, again.len);
    }
}

static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *text;
        int rc;
        const char *message;
    } cases[] = {
        {"", ERR_PARSE, "port is missing"},
        {"1.2.3.4", ERR_PARSE, "port is missing"},
        {"1.2.3.4:", ERR_PARSE, "not a port number"},
        {"1.2.3.4:http", ERR_PARSE, "not a port number"},
        {"1.2.3.4:-1", ERR_PARSE, "not a port number"},
        {"1.2.3.4: 80", ERR_PARSE, "not a port number"},
        {"1.2.3.4:65536", ERR_RANGE, "above 65535"},
        {"1.2.3.4:99999999999999999999", ERR_RANGE, "above 65535"},
        {"1.2.3:80", ERR_PARSE, "not an IPv4 address"},
        {"1.2.3.256:80", ERR_PARSE, "not an IPv4 address"},
        {":80", ERR_PARSE, "address is missing"},
        {"::1:80", ERR_PARSE, "needs brackets"},
        {"[::1:80", ERR_PARSE, "closing bracket"},
        {"[::1]", ERR_PARSE, "port is missing"},
        {"[::1]80", ERR_PARSE, "port is missing"},
        {"[]:80", ERR_PARSE, "address is missing"},
        {"[1.2.3.4]:80", ERR_PARSE, "not an IPv6 address"},
        {"[::1%]:80", ERR_PARSE, "no network interface"},
        {"[::1%nosuchif]:80", ERR_PARSE, "no network interface"},
        {"unix:", ERR_PARSE, "path is missing"},
        {"localhost:80", ERR_UNAVAILABLE, "host name"},
        {"db.example.:80", ERR_UNAVAILABLE, "host name"},
        {"a..b:80", ERR_PARSE, "neither"},
        {".b:80", ERR_PARSE, "neither"},
        {"a-label-of-sixty-four-bytes-which-is-one-more-than-may-be-askedf.b:80", ERR_PARSE, "neither"},
        {"db-1.example.org:5432", ERR_UNAVAILABLE, "host name"},
        {"a b:80", ERR_PARSE, "neither"},
        {"-x:80", ERR_PARSE, "neither"},
        {"a%b:80", ERR_PARSE, "neither"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr addr;
        struct err_text err = {""};
        assert_int_equal(addr_parse(cases[i].text, NULL, &addr, &err), cases[i].rc);
        if (!strstr(err.text, cases[i].message)) {
            fail_msg("%s gives: %s", cases[i].text, err.text);
        }
    }
}

static void unix_paths(void **state)
{
    struct addr addr;
    struct addr other;
    char text[200];
    char formatted[ADDR_TEXT_MAX];
    (void)state;
    assert_int_equal(addr_parse("unix:web.sock", "/etc/shunt", &addr, NULL), ERR_OK);
    assert_string_equal(addr.un.sun_path, "/etc/shunt/web.sock");
    assert_true(addr_is_unix(&addr));
    assert_int_equal(addr_port(&addr), 0);
    assert_int_equal(addr_parse("unix:/abs", "/etc/shunt", &other, NULL), ERR_OK);
    assert_string_equal(other.un.sun_path, "/abs");
    assert_false(addr_equal(&addr, &other));

    /* The longest path fits with its NUL, one more does not. */
    (void)snprintf(text, sizeof(text), "unix:/%0*d", (int)sizeof(addr.un.sun_path) - 2, 0);
    assert_int_equal(addr_parse(text, NULL, &addr, NULL), ERR_OK);
    addr_format(&addr, formatted, sizeof(formatted));
    assert_string_equal(formatted, text);
    (void)snprintf(text, sizeof(text), "unix:/%0*d", (int)sizeof(addr.un.sun_path) - 1, 0);
    assert_int_equal(addr_parse(text, NULL, &addr, NULL), ERR_RANGE);
    assert_int_equal(addr_parse("unix:x", text, &addr, NULL), ERR_RANGE);

    /* An unnamed peer, as accept4 gives it. */
    struct addr unnamed = {.len = sizeof(sa_family_t), .un = {.sun_family = AF_UNIX}};
    addr_format(&unnamed, formatted, sizeof(formatted));
    assert_string_equal(formatted, "unix:");
    assert_true(addr_equal(&unnamed, &unnamed));
}

static void equal_means_the_same_peer(void **state)
{
    struct addr a;
    struct addr b;
    (void)state;
    assert_int_equal(addr_parse("1.2.3.4:80", NULL, &a, NULL), ERR_OK);
    assert_int_equal(addr_parse("1.2.3.4:81", NULL, &b, NULL), ERR_OK);
    assert_false(addr_equal(&a, &b));
    assert_int_equal(addr_parse("1.2.3.5:80", NULL, &b, NULL), ERR_OK);
    assert_false(addr_equal(&a, &b));
    assert_int_equal(addr_parse("[::1]:80", NULL, &b, NULL), ERR_OK);
    assert_false(addr_equal(&a, &b));
    assert_int_equal(addr_parse("[::1%lo]:80", NULL, &a, NULL), ERR_OK);
    assert_false(addr_equal(&a, &b));
    assert_int_equal(addr_port(&b), 80);
    struct addr none = {0};
    assert_false(addr_equal(&none, &none));
    char text[ADDR_TEXT_MAX];
    addr_format(&none, text, sizeof(text));
    assert_string_equal(text, "unknown");
}

static void hosts_are_taken_apart(void **state)
{
    char host[32];
    uint16_t port = 0;
    (void)state;
    assert_int_equal(addr_split_host("db.internal:5432", host, sizeof(host), &port, NULL), ERR_OK);
    assert_string_equal(host, "db.internal");
    assert_int_equal(port, 5432);
    assert_int_equal(addr_split_host("db.internal", host, sizeof(host), &port, NULL), ERR_PARSE);
    assert_int_equal(addr_split_host("a-name-of-32-bytes-with-its-ending:1", host, sizeof(host), &port, NULL),
                     ERR_RANGE);
}

static void client_ip_of(const char *text, struct addr_ip *ip)
{
    struct addr addr;
    assert_int_equal(addr_parse(text, NULL, &addr, NULL), ERR_OK);
    addr_ip_from(&addr, ip);
}

static void client_ips(void **state)
{
    static const struct {
        const char *text, *shown;
        uint8_t family;
    } cases[] = {
        {"1.2.3.4:80", "1.2.3.4:80", 4},
        {"[::ffff:1.2.3.4]:80", "1.2.3.4:80", 4},
        {"[2001:db8::1]:443", "[2001:db8::1]:443", 6},
        {"unix:/x", "unix", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr_ip ip;
        char text[ADDR_TEXT_MAX];
        client_ip_of(cases[i].text, &ip);
        assert_int_equal(ip.family, cases[i].family);
        addr_ip_format(&ip, text, sizeof(text));
        assert_string_equal(text, cases[i].shown);
    }
}

static void masks(void **state)
{
    static const struct {
        const char *text;
        unsigned prefix;
        const char *masked;
    } cases[] = {
        {"1.2.3.255:80", 32, "1.2.3.255:0"},
        {"1.2.3.255:80", 24, "1.2.3.0:0"},
        {"1.2.3.255:80", 25, "1.2.3.128:0"},
        {"255.255.255.255:80", 1, "128.0.0.0:0"},
        {"255.255.255.255:80", 0, "0.0.0.0:0"},
        {"[2001:db8:1:2:3:4:5:6]:80", 128, "[2001:db8:1:2:3:4:5:6]:0"},
        {"[2001:db8:1:2:3:4:5:6]:80", 64, "[2001:db8:1:2::]:0"},
        {"[ffff::]:80", 3, "[e000::]:0"},
        {"[ffff::]:80", 0, "[::]:0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr_ip ip;
        char text[ADDR_TEXT_MAX];
        client_ip_of(cases[i].text, &ip);
        addr_ip_mask(&ip, cases[i].prefix, cases[i].prefix);
        addr_ip_format(&ip, text, sizeof(text));
        assert_string_equal(text, cases[i].masked);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_survive_text),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(unix_paths),
        cmocka_unit_test(equal_means_the_same_peer),
        cmocka_unit_test(hosts_are_taken_apart),
        cmocka_unit_test(client_ips),
        cmocka_unit_test(masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
