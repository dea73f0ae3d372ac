/* What is wrong with a configuration: every kind of finding with its exact words and line. */
#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A whole configuration around one part. What a case adds stands in line 2. */
#define GROUPS                                                                                               \
    "groups = ( { name = \"old\"; backends = ( { address = \"10.0.0.1:80\"; } ); },\n" OTHER_GROUP " );\n"
#define OTHER_GROUP "{ name = \"new\"; backends = ( { address = \"10.0.0.2:80\"; } ); }"
#define NAMES "name = \"web\"; listen = [ \"127.0.0.1:8080\" ];"
#define GLOBAL(part) "\n" part "\nservices = ( { " NAMES GROUPS "} );\n"
#define SERVICE(part) "services = ( { " NAMES "\n" part "\n" GROUPS "} );\n"
#define GROUP(part)                                                                                          \
    "services = ( { " NAMES " groups = ( { name = \"old\";\n" part                                           \
    "\nbackends = ( { address = \"10.0.0.1:80\"; } ); } ); } );\n"
#define BACKEND(part)                                                                                        \
    "services = ( { " NAMES " groups = ( { name = \"old\"; backends = ( {\n" part "\n} ); } ); } );\n"
#define MIGRATION(part) SERVICE("migration = { " part " };")

struct error_case {
    const char *text;
    const char *findings; /* "LINE: TEXT", one a line */
};

/* "LINE: TEXT\n" of all findings; owned by the caller. */
static char *findings_of(const char *text, int *rc)
{
    struct config *config = NULL;
    struct config_errors errors;
    char *out = NULL;
    size_t len = 0;
    *rc = config_load_text(text, "/etc/shunt", &config, &errors);
    FILE *stream = open_memstream(&out, &len);
    assert_non_null(stream);
    for (size_t i = 0; i < errors.len; i++) {
        fprintf(stream, "%u: %s\n", errors.list[i].line, errors.list[i].text);
    }
    assert_int_equal(fclose(stream), 0);
    if (*rc != ERR_OK) {
        assert_null(config);
    }
    config_errors_clear(&errors);
    config_free(config);
    return out;
}

static void expect(const struct error_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int rc = ERR_OK;
        char *found = findings_of(cases[i].text, &rc);
        assert_string_equal(found, cases[i].findings);
        assert_int_equal(rc, cases[i].findings[0] ? ERR_INVALID : ERR_OK);
        free(found);
    }
}

#define EXPECT(cases) expect((cases), sizeof(cases) / sizeof((cases)[0]))

static void test_unknown_settings(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {GLOBAL("worker = 2;"), "2: unknown setting \"worker\" (did you mean \"workers\"?)\n"},
        {GLOBAL("plugins = { listen = \"127.0.0.1:9101\"; };"), "2: unknown setting \"plugins\"\n"},
        {SERVICE("retrys = 2;"), "2: services.web: unknown setting \"retrys\" (did you mean \"retries\"?)\n"},
        {GROUP("health = { intreval = \"2s\"; };"),
         "2: services.web.groups.old.health: unknown setting \"intreval\" (did you mean \"interval\"?)\n"},
        {BACKEND("address = \"10.0.0.1:80\"; wieght = 3;"),
         "2: services.web.groups.old.backends[0]: unknown setting \"wieght\" (did you mean \"weight\"?)\n"},
        {BACKEND("address = \"10.0.0.1:80\"; name = \"b1\"; wieght = 3;"),
         "2: services.web.groups.old.backends.b1: unknown setting \"wieght\" (did you mean \"weight\"?)\n"},
        {MIGRATION("steps = ( { share = \"100%\"; hold = \"1s\"; } ); gates = { };"),
         "2: services.web.migration: unknown setting \"gates\" (did you mean \"gate\"?)\n"},
    };
    EXPECT(cases);
}

static void test_wrong_types(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {GLOBAL("workers = \"2\";"), "2: workers: is a text: write a whole number, without quotes\n"},
        {GLOBAL("workers = 1.5;"), "2: workers: is a number with a fraction: write a whole number\n"},
        {GLOBAL("workers = true;"), "2: workers: is true or false: write a whole number\n"},
        {GLOBAL("workers = { };"), "2: workers: is a section: write a whole number\n"},
        {GLOBAL("workers = [ 1 ];"), "2: workers: is a list: write a whole number\n"},
        {GLOBAL("admin = \"x\";"), "2: admin: is a text: write a section: { ... }\n"},
        {GLOBAL("admin = { mode = 660; };"),
         "2: admin.mode: is a whole number: write permission bits in octal such as \"0660\"\n"},
        {GLOBAL("state_dir = 5;"), "2: state_dir: is a whole number: write a text in quotes\n"},
        {SERVICE("fallback = 1;"), "2: services.web.fallback: is a whole number: write true or false\n"},
        {SERVICE("fallback = \"true\";"),
         "2: services.web.fallback: is a text: write true or false, without quotes\n"},
        {SERVICE("assign = 1;"), "2: services.web.assign: is a whole number: write a text in quotes\n"},
        {"services = {\n};\n", "1: services: is a section: write a list of sections: ( { ... }, { ... } )\n"},
        {"services = (\n5 );\n", "2: services[0]: is a whole number: write a section: { ... }\n"},
        {"services = ( { name = \"a\";\nlisten = \"*:80\";\n" GROUPS "} );",
         "2: services.a.listen: is a text: write a list in brackets: [ \"...\", \"...\" ]\n"},
        {"services = ( { name = \"a\";\nlisten = ( 80 );\n" GROUPS "} );",
         "2: services.a.listen[0]: is a whole number: write an address such as \"10.0.0.11:8080\", "
         "\"[2001:db8::1]:8080\", \"db.example:5432\" or \"unix:/run/app.sock\"\n"},
    };
    EXPECT(cases);
}

static void test_units(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {GLOBAL("spin = 0;"), ""},
        {GLOBAL("spin = \"0\";"), ""},
        {GLOBAL("spin = 5;"),
         "2: spin: 5 has no unit: write a duration such as \"500ms\", \"5s\", \"10m\" or "
         "\"1h\"\n"},
        {GLOBAL("spin = 1.5;"),
         "2: spin: 1.5 has no unit: write a duration such as \"500ms\", \"5s\", \"10m\" "
         "or \"1h\"\n"},
        {GLOBAL("spin = \"5 s\";"),
         "2: spin: \"5 s\" is not a duration such as \"500ms\", \"5s\", \"10m\" or "
         "\"1h\"\n"},
        {GLOBAL("spin = \"11ms\";"), "2: spin: 11ms is out of range: 0 to 10ms\n"},
        {GLOBAL("spin = 5us;"), "2: syntax error: durations, sizes and shares are written in quotes: \"5s\", "
                                "\"64KiB\", \"25%\"\n"},
        {MIGRATION("steps = ( { share = 100; hold = \"1s\"; } );"),
         "2: services.web.migration.steps[0].share: 100 has no unit: write a share in percent such as "
         "\"25%\" or "
         "\"0.5%\"\n"},
        {MIGRATION("steps = ( { share = \"101%\"; hold = \"1s\"; } );"),
         "2: services.web.migration.steps[0].share: 101% is out of range: 0.01% to 100%\n"},
        {GLOBAL("admin = { mode = \"0999\"; };"),
         "2: admin.mode: \"0999\" is not permission bits in octal such as \"0660\"\n"},
        {GLOBAL("admin = { mode = \"1777\"; };"), "2: admin.mode: 1777 is out of range: 0000 to 0777\n"},
    };
    EXPECT(cases);
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {GLOBAL("workers = 1024;"), ""},
        {GLOBAL("workers = 1025;"), "2: workers: 1025 is out of range: 0 to 1024\n"},
        {GLOBAL("workers = -1;"), "2: workers: -1 is out of range: 0 to 1024\n"},
        {GLOBAL("workers = 4294967298;"), "2: workers: 4294967298 is out of range: 0 to 1024\n"},
        {GLOBAL("workers = 4294967298L;"), "2: workers: 4294967298 is out of range: 0 to 1024\n"},
        {GLOBAL("workers = 99999999999999999999;"), "2: this number is too large\n"},
        {GLOBAL("workers = 0x100000000;"), "2: this number is too large\n"},
        {BACKEND("address = \"10.0.0.1:80\"; weight = 65535;"), ""},
        {BACKEND("address = \"10.0.0.1:80\"; weight = 65536;"),
         "2: services.web.groups.old.backends[0].weight: 65536 is out of range: 0 to 65535\n"},
        {GROUP("health = { rise = 0; fall = 0; };"),
         "2: services.web.groups.old.health.rise: 0 is out of range: 1 to 1000\n"
         "2: services.web.groups.old.health.fall: 0 is out of range: 1 to 1000\n"},
        {SERVICE("client_prefix = { ipv4 = 33; ipv6 = 129; };"),
         "2: services.web.client_prefix.ipv4: 33 is out of range: 1 to 32\n"
         "2: services.web.client_prefix.ipv6: 129 is out of range: 1 to 128\n"},
    };
    EXPECT(cases);
}

static void test_words(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {GLOBAL("log = { level = \"inof\"; };"), "2: log.level: \"inof\" is not known (did you mean "
                                                 "\"info\"?); it must be \"debug\", \"info\", \"warn\" "
                                                 "or \"error\"\n"},
        {SERVICE("assign = \"clients\";"),
         "2: services.web.assign: \"clients\" is not known (did you mean "
         "\"client\"?); it must be \"connection\", \"client\" or \"sni\"\n"},
        {GROUP("health = { type = \"quantum\"; };"),
         "2: services.web.groups.old.health.type: \"quantum\" is "
         "not known; it must be \"none\", \"tcp\", \"send-expect\", \"http\", \"tls\", \"redis\", "
         "\"postgresql\", \"mysql\", \"smtp\", \"ldap\", \"exec\" or \"agent\"\n"},
    };
    EXPECT(cases);
}

/* Health sections: what belongs to another type, what a type needs, texts with a form of their own. */
static void test_health(void **state)
{
    (void)state;
#define AT_HEALTH "2: services.web.groups.old.health"
    static const struct error_case cases[] = {
        {GROUP("health = { type = \"tcp\"; http = { path = \"/\"; }; };"),
         AT_HEALTH ": \"http\" is for checks of another type than the one set here\n"},
        {GROUP("health = { type = \"tcp\"; tls = { verify = false; }; };"),
         AT_HEALTH ": a check of type \"tcp\" only connects: type \"tls\" makes the handshake\n"},
        {GROUP("health = { type = \"exec\"; exec = { command = [ \"true\" ]; }; tls = {}; };"),
         AT_HEALTH ": a check of this type has no connection of its own\n"},
        {GROUP("health = { type = \"exec\"; };"),
         AT_HEALTH ": type \"exec\" needs \"exec\" with a \"command\"\n"},
        {GROUP("health = { type = \"exec\"; exec = {}; };"),
         AT_HEALTH ".exec: required setting \"command\" is missing\n"},
        {GROUP("health = { type = \"send-expect\"; };"),
         AT_HEALTH ": type \"send-expect\" needs \"send_expect\" with \"steps\"\n"},
        {GROUP("health = { type = \"send-expect\"; send_expect = { steps = ( {} ); }; };"),
         AT_HEALTH ".steps[0]: needs \"send\" or \"expect\"\n"},
        {GROUP(
             "health = { type = \"send-expect\"; send_expect = { steps = ( { send = \"a\\\\q\"; } ); }; };"),
         AT_HEALTH ".steps[0]: \"send\" has a backslash that stands for nothing: known are \\r \\n \\t \\0 "
                   "\\xNN and \\\\\n"},
        {GROUP("health = { type = \"http\"; http = { status = \"2xx\"; }; };"),
         AT_HEALTH ": \"2xx\" is not a list of statuses such as \"200-399\" or \"200,204,301-303\"\n"},
        {GROUP("health = { type = \"http\"; http = { path = \"x\"; host = \"a b\"; }; };"),
         AT_HEALTH ": path must begin with \"/\"\n" AT_HEALTH ": \"host\" must not contain blanks\n"},
        {GROUP("health = { type = \"redis\"; redis = { user = \"u\"; }; };"),
         AT_HEALTH ": \"user\" needs \"password_file\"\n"},
        {GROUP("health = { type = \"postgresql\"; postgresql = { role = \"standby\"; }; };"),
         AT_HEALTH ": \"role\" needs \"user\"\n"},
        {GROUP("health = { type = \"mysql\"; mysql = { password_file = \"/x\"; }; };"),
         AT_HEALTH ": \"password_file\" needs \"user\"\n"},
        {GROUP("health = { type = \"ldap\"; ldap = { bind_dn = \"cn=a\"; }; };"),
         AT_HEALTH ": \"bind_dn\" needs \"password_file\"\n"},
    };
    EXPECT(cases);
}

static void test_missing(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {"", "0: required setting \"services\" is missing\n"},
        {"services = ( );\n", "1: services: needs at least one\n"},
        {"services = (\n{ } );\n", "2: services[0]: required setting \"name\" is missing\n"
                                   "2: services[0]: required setting \"groups\" is missing\n"
                                   "2: services[0]: required setting \"listen\" is missing\n"},
        {"services = ( { name = \"a\";\nlisten = [ ];\ngroups = ( );\n} );\n",
         "2: services.a.listen: needs at least one\n3: services.a.groups: needs at least one\n"},
        {"services = ( { " NAMES " groups = (\n{ name = \"g\"; } ); } );\n",
         "2: services.web.groups.g: required setting \"backends\" is missing\n"},
        {BACKEND("weight = 1;"),
         "1: services.web.groups.old.backends[0]: required setting \"address\" is missing\n"},
        {MIGRATION("ramp = { };"), "2: services.web.migration.ramp: required setting \"over\" is missing\n"},
        {MIGRATION("steps = ( { } );"),
         "2: services.web.migration.steps[0]: required setting \"share\" is missing\n"
         "2: services.web.migration.steps[0]: required setting \"hold\" is missing\n"},
    };
    EXPECT(cases);
}

static void test_names(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {BACKEND("address = \"10.0.0.1:80\"; name = \"rack 1\";"),
         "2: services.web.groups.old.backends.rack 1.name: \"rack 1\" cannot be a name: no blanks, no "
         "quotes, only "
         "ASCII\n"},
        {BACKEND("address = \"10.0.0.1:80\"; name = \"rack/1\";"), ""},
        {BACKEND("address = \"unix:/run/my app.sock\";"),
         "1: services.web.groups.old.backends[0]: \"unix:/run/my app.sock\" cannot be a name: no blanks, no "
         "quotes, "
         "only ASCII\n"},
        {BACKEND("address = \"unix:/run/my app.sock\"; name = \"app\";"), ""},
        {"services = ( { name = \"a/b\"; listen = [ \"*:1\" ];\n" GROUPS "} );",
         "1: services.a/b.name: \"a/b\" cannot be a name: only letters, digits and . - _ : [ ]\n"},
        {"services = ( { name = \"\"; listen = [ \"*:1\" ];\n" GROUPS "} );",
         "1: services[0].name: must not be empty\n"},
        {"services = ( { name = \"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg\"; "
         "listen = [ \"*:1\" ];\n" GROUPS "} );",
         "1: services.aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg.name: is too long: 64 "
         "bytes, "
         "at most 63 fit\n"},
        {GLOBAL("state_dir = \"/tmp/\\x01\";"), "2: state_dir: must not contain control characters\n"},
        {GLOBAL("state_dir = \"\";"), "2: state_dir: must not be empty\n"},
    };
    EXPECT(cases);
}

static void test_duplicates(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {"workers = 1;\nspin = 0;\nworkers = 2;\n", "3: \"workers\" is set twice in the same section\n"},
        {"services = ( { name = \"a\"; listen = [ \"*:1\" ];\n" GROUPS "},\n"
         "{ name = \"a\"; listen = [ \"0.0.0.0:1\" ];\n" GROUPS "} );",
         "5: services[1].name: \"a\" is taken already by services[0].name in line 1\n"
         "5: services.a.listen[0]: \"0.0.0.0:1\" is taken already by services.a.listen[0] in line 1\n"},
        {"services = ( { name = \"a\"; listen = [ \"*:0\", \"*:0\" ];\n" GROUPS "} );", ""},
        {"services = ( { name = \"a\"; listen = [\n\"unix:a\",\n\"unix:/etc/shunt/a\"\n];\n" GROUPS "} );",
         "3: services.a.listen[1]: \"unix:/etc/shunt/a\" is taken already by services.a.listen[0] in line "
         "2\n"},
        {"services = ( { " NAMES " groups = ( " OTHER_GROUP ",\n" OTHER_GROUP " ); } );",
         "2: services.web.groups[1].name: \"new\" is taken already by services.web.groups[0].name in line "
         "1\n"},
        {BACKEND("address = \"[::1]:80\"; }, {\naddress = \"[0:0::1]:80\";"),
         "3: services.web.groups.old.backends[1].address: \"[::1]:80\" is taken already by "
         "services.web.groups.old.backends[0].address in line 2\n"},
        {BACKEND("address = \"10.0.0.1:80\"; }, {\naddress = \"10.0.0.1:80\";"),
         "3: services.web.groups.old.backends[1].address: \"10.0.0.1:80\" is taken already by "
         "services.web.groups.old.backends[0].address in line 2\n"},
        {BACKEND("address = \"10.0.0.1:80\"; name = \"b\"; }, {\naddress = \"10.0.0.2:80\"; name = \"b\";"),
         "3: services.web.groups.old.backends[1].name: \"b\" is taken already by "
         "services.web.groups.old.backends[0].name in line 2\n"},
        {BACKEND("address = \"10.0.0.1:80\"; }, {\naddress = \"10.0.0.2:80\"; name = \"10.0.0.1:80\";"),
         "3: services.web.groups.old.backends[1].name: \"10.0.0.1:80\" is taken already by "
         "services.web.groups.old.backends[0].name in line 1\n"},
    };
    EXPECT(cases);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {BACKEND("address = \"127.0.0.1:8080\";"), "2: services.web.groups.old.backends[0]: the service "
                                                   "itself listens on 127.0.0.1:8080: connections would go "
                                                   "in circles\n"},
        {BACKEND("address = \"10.0.0.1:0\";"),
         "2: services.web.groups.old.backends[0]: \"10.0.0.1:0\" has no port to connect to\n"},
        {BACKEND("address = \"db.example:5432\";"), ""},
    };
    EXPECT(cases);

    int rc = ERR_OK;
    char *found = findings_of(BACKEND("address = \"10.0.0.1\";"), &rc);
    assert_int_equal(rc, ERR_INVALID);
    assert_ptr_equal(strstr(found, "2: services.web.groups.old.backends[0].address: "), found);
    free(found);
}

static void test_migration(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {MIGRATION(""), "2: services.web.migration: needs \"steps\" or \"ramp\"\n"},
        {MIGRATION("steps = ( { share = \"100%\"; hold = 0; } ); ramp = { over = \"1m\"; };"),
         "2: services.web.migration: has both \"steps\" and \"ramp\": keep one\n"},
        {MIGRATION("steps = ( { share = \"50%\"; hold = \"1s\"; },\n{ share = \"50%\"; hold = \"1s\"; },\n"
                   "{ share = \"90%\"; hold = \"1s\"; } );"),
         "3: services.web.migration.steps[1]: share must rise from step to step: it was 50% before\n"
         "4: services.web.migration.steps[2]: the last step must have share \"100%\"\n"},
        {MIGRATION("steps = ( { share = \"50%\"; hold = \"manaul\"; },\n{ share = \"100%\"; hold = "
                   "\"manual\"; } );"),
         "2: services.web.migration.steps[0].hold: \"manaul\" is not a duration such as \"500ms\", \"5s\", "
         "\"10m\" or "
         "\"1h\"\n"},
        {MIGRATION("steps = ( { share = \"100%\"; hold = 0; } ); between = \"9-17\";\nweekdays = \"mo-fr\";\n"
                   "time_zone = \"Europe/Nowhere\";"),
         "2: services.web.migration: \"9-17\" is no span of a day: as \"09:00-17:00\" or \"22:00-06:00\"\n"
         "3: services.web.migration: \"mo-fr\" are no weekdays: as \"mon-fri\" or \"mon,wed,sat-sun\"\n"
         "4: services.web.migration: there is no time zone \"Europe/Nowhere\" in /usr/share/zoneinfo "
         "(Debian: package "
         "tzdata)\n"},
        {MIGRATION("steps = ( { share = \"50%\"; hold = 0; },\n{ share = \"100%\"; hold = 0; } );"),
         "2: services.web.migration.steps[0]: hold must be longer than 0: only the last step may end at "
         "once\n"},
        {MIGRATION("ramp = { from = \"5%\"; to = \"50%\"; over = \"1m\"; };"),
         "2: services.web.migration.ramp: to must be \"100%\": a migration ends with all on the new side\n"},
        {MIGRATION("ramp = { from = \"100%\"; over = \"1m\"; };"),
         "2: services.web.migration.ramp: from must be below to\n"},
        {MIGRATION("ramp = { over = 0; };"),
         "2: services.web.migration.ramp.over: 0 is out of range: 10ms to 365d\n"},
        {MIGRATION("ramp = { over = \"1m\"; tick = \"2m\"; };"),
         "2: services.web.migration.ramp: tick must not be longer than over\n"},
        {MIGRATION(
             "ramp = { over = \"1m\"; }; gate = { max_latency_ratio = 1;\nmax_connect_ratio = 0.99999;\n"
             "quantile = 99; failures = 0; };"),
         "2: services.web.migration.gate: max_latency_ratio must be above 1: a group as fast as the old one "
         "could "
         "not pass; 0 is off\n"
         "3: services.web.migration.gate.max_connect_ratio: \"0.99999\" is not a number such as 1.5, with at "
         "most "
         "four decimals\n"
         "4: services.web.migration.gate.quantile: 99 is out of range: 0.5 to 0.9999\n"
         "4: services.web.migration.gate.failures: 0 is out of range: 1 to 1000\n"},
        {MIGRATION(
             "ramp = { over = \"1m\"; }; webhooks = ( { url = \"http://127.0.0.1:1/x?y\"; },\n"
             "{ url = \"ftp://[::1]/x\"; },\n{ url = \"HTTPS://[::1]:1\"; },\n{ url = \"https:///x\"; },\n"
             "{ url = \"http://a b/\"; } );"),
         "3: services.web.migration.webhooks[1]: url \"ftp://[::1]/x\" is no address of a web server: as "
         "\"https://chat.example/hook\"\n"
         "5: services.web.migration.webhooks[3]: url \"https:///x\" is no address of a web server: as "
         "\"https://chat.example/hook\"\n"
         "6: services.web.migration.webhooks[4]: url \"http://a b/\" is no address of a web server: as "
         "\"https://chat.example/hook\"\n"},
        {MIGRATION("ramp = { over = \"1m\"; }; gate = { max_error_increase = \"100%\"; };"),
         "2: services.web.migration.gate: has no limit to check: set one, or leave the gate out\n"},
        {MIGRATION("ramp = { over = \"1m\"; }; gate = { max_latency_ratio = \"1.5\"; };"),
         "2: services.web.migration.gate.max_latency_ratio: is a text: write a number such as 1.5, with at "
         "most "
         "four decimals, without quotes\n"},
        {"services = ( { " NAMES "\nmigration = { ramp = { over = \"1m\"; }; };\n"
         "groups = ( " OTHER_GROUP " ); } );",
         "2: services.web.migration: a migration needs two groups to go from one to the other\n"},
    };
    EXPECT(cases);
}

static void test_syntax(void **state)
{
    (void)state;
    static const struct error_case cases[] = {
        {"workers = 1;\nspin = ;\n",
         "2: syntax error: look here and just before for a missing \";\", quote, \"}\", \")\" or \"]\"\n"},
        {"services = ( { name = \"a\"; listen = [ \"x\",\n5 ]; } );\n",
         "2: the values of a list in [ ] must all be of one type\n"},
        {"workers = 1;\nspin = \"5us;\nstate_dir = \"/tmp\";\n",
         "2: a text on this line has no closing quote\n"},
        {"workers = 1;\n/* spin = 5;\nstate_dir = \"/tmp\";\n",
         "2: the comment that begins here has no end\n"},
        /* What is tied to no line comes first. */
        {"@include\n", "0: required setting \"services\" is missing\n"
                       "1: @include needs the name of a file in quotes: @include \"services.conf\"\n"},
    };
    EXPECT(cases);
}

static const char fifteen[] = "worker = 2;\n"
                              "spin = 5;\n"
                              "state_dir = 5;\n"
                              "log = { level = \"inof\";\n"
                              "  format = \"xml\"; };\n"
                              "admin = { mode = \"rw\"; };\n"
                              "services = ( {\n"
                              "  name = \"web\"; listen = [ \"127.0.0.1:8080\",\n"
                              "    \"127.0.0.1:8080\" ];\n"
                              "  retries = 99;\n"
                              "  assign = \"clients\";\n"
                              "  groups = (\n"
                              "    { name = \"old\"; health = { intreval = \"2s\"; };\n"
                              "      backends = ( { address = \"10.0.0.1:80\"; },\n"
                              "        { address = \"10.0.0.1:80\"; } ); },\n"
                              "    { name = \"old\";\n"
                              "      backends = ( { address = \"10.0.0.2:80\"; weight = 70000; } ); } );\n"
                              "  migration = { steps = (\n"
                              "    { share = \"25%\"; hold = 0; },\n"
                              "    { share = \"5%\"; hold = \"5m\"; },\n"
                              "    { share = \"100%\"; hold = \"1m\"; } ); };\n"
                              "} );\n";

static void test_fifteen_at_once(void **state)
{
    (void)state;
    static const unsigned lines[] = {1, 2, 3, 4, 5, 6, 9, 10, 11, 13, 15, 16, 17, 19, 20};
    struct config *config = NULL;
    struct config_errors errors;
    assert_int_equal(config_load_text(fifteen, NULL, &config, &errors), ERR_INVALID);
    assert_int_equal(errors.len, 15);
    for (size_t i = 0; i < errors.len; i++) {
        assert_int_equal(errors.list[i].line, lines[i]);
    }
    assert_string_equal(errors.list[0].source, "worker = 2;");
    assert_string_equal(errors.list[14].source, "    { share = \"5%\"; hold = \"5m\"; },");
    config_errors_clear(&errors);
}

static void test_format(void **state)
{
    (void)state;
    struct config *config = NULL;
    struct config_errors errors;
    assert_int_equal(config_load_text(GROUP("  health = { intreval = \"2s\"; };"), NULL, &config, &errors),
                     ERR_INVALID);
    char *text = config_errors_format(&errors);
    assert_string_equal(
        text, "configuration:2: services.web.groups.old.health: unknown setting \"intreval\" (did you "
              "mean \"interval\"?)\n      2 |   health = { intreval = \"2s\"; };\n");
    free(text);
    config_errors_clear(&errors);
    assert_int_equal(config_load("/nowhere/shunt.conf", &config, &errors), ERR_SYSTEM);
    text = config_errors_format(&errors);
    assert_string_equal(text, "/nowhere/shunt.conf: cannot be read: No such file or directory\n");
    free(text);
    config_errors_clear(&errors);
    assert_int_equal(config_load("/", &config, &errors), ERR_SYSTEM);
    assert_string_equal(errors.list[0].text, "cannot be read: Is a directory");
    config_errors_clear(&errors);
}

/* What a file repeats on a terminal cannot steer it. */
static void test_control_bytes_are_shown(void **state)
{
    (void)state;
    struct config *config = NULL;
    struct config_errors errors;
    assert_int_equal(config_load_text(GROUP("  wor\x1b[31mkers = 1;"), NULL, &config, &errors), ERR_INVALID);
    char *text = config_errors_format(&errors);
    assert_non_null(strstr(text, "wor\\x1b[31mkers"));
    assert_null(strchr(text, '\x1b'));
    free(text);
    config_errors_clear(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_settings),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_migration),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_fifteen_at_once),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_control_bytes_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
