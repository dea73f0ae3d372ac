/* Loading configurations: values, defaults, what depends on what, and the samples. */
#include "core/config.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static const char everything[] =
    "workers = 4; spin = \"0\"; state_dir = \"state\"; shutdown_timeout = \"90s\";\n"
    "admin = { socket = \"admin.sock\"; mode = \"0600\"; };\n"
    "log = { level = \"debug\"; format = \"json\"; };\n"
    "services = ( {\n"
    "  name = \"web\"; listen = [ \"unix:web.sock\", \"[::1]:8080\" ]; assign = \"client\";\n"
    "  client_prefix = { ipv4 = 24; ipv6 = 48; }; salt = \"pepper \\\"x\\\"\"; retries = 0; fallback = "
    "false;\n"
    "  timeouts = { connect = \"250ms\"; idle = \"1h30m\"; half_close = \"2d\"; };\n"
    "  groups = (\n"
    "    { name = \"old\"; balance = \"least-connections\";\n"
    "      health = { interval = \"1.5s\"; timeout = \"100ms\"; rise = 1; fall = 7; };\n"
    "      backends = ( { address = \"unix:/run/a b\"; name = \"a/b\"; weight = 0; },\n"
    "                   { address = \"db.example:5432\"; backup = true; } ); },\n"
    "    { name = \"new\"; balance = \"hash\"; health = { type = \"none\"; };\n"
    "      backends = ( { address = \"unix:run/b\"; } ); } );\n"
    "  migration = { ramp = { from = \"0.25%\"; over = \"1h\"; shape = \"exponential\"; };\n"
    "    drain = { timeout = 0; }; commit = \"manual\";\n"
    "    gate = { min_samples = 50; max_error_rate = \"1%\"; max_latency_ratio = 1.25; quantile = 0.999;\n"
    "      on_fail = \"pause\"; max_connect_ratio = 2; too_few_timeout = 0; }; };\n"
    "} );\n";

static void test_every_setting(void **state)
{
    (void)state;
    struct config *config = load(everything, "/etc/shunt");
    const struct config_service *web = &config->services[0];
    const struct config_group *old = &web->groups[0];
    assert_int_equal(config->workers, 4);
    assert_int_equal(config->spin_us, 0);
    assert_string_equal(config->state_dir, "/etc/shunt/state");
    assert_int_equal(config->shutdown_timeout_us, 90000000);
    assert_string_equal(config->admin.socket, "/etc/shunt/admin.sock");
    assert_int_equal(config->admin.mode, 0600);
    assert_string_equal(config->log.level, "debug");
    assert_string_equal(config->log.format, "json");
    assert_int_equal(web->listen_len, 2);
    assert_string_equal(web->listen[0], "unix:/etc/shunt/web.sock");
    assert_string_equal(web->listen[1], "[::1]:8080");
    assert_int_equal(web->assign, CONFIG_ASSIGN_CLIENT);
    assert_int_equal(web->client_prefix.ipv4, 24);
    assert_int_equal(web->client_prefix.ipv6, 48);
    assert_string_equal(web->salt, "pepper \"x\"");
    assert_int_equal(web->retries, 0);
    assert_false(web->fallback);
    assert_int_equal(web->timeouts.connect_us, 250000);
    assert_int_equal(web->timeouts.idle_us, UINT64_C(5400000000));
    assert_int_equal(web->timeouts.half_close_us, UINT64_C(172800000000));
    assert_int_equal(web->groups_len, 2);
    assert_int_equal(old->balance, CONFIG_BALANCE_LEAST_CONNECTIONS);
    assert_int_equal(old->health.type, CONFIG_HEALTH_TCP);
    assert_int_equal(old->health.interval_us, 1500000);
    assert_int_equal(old->health.timeout_us, 100000);
    assert_int_equal(old->health.rise, 1);
    assert_int_equal(old->health.fall, 7);
    assert_int_equal(old->line, 9);
    assert_int_equal(old->backends_len, 2);
    assert_string_equal(old->backends[0].name, "a/b");
    assert_string_equal(old->backends[0].address, "unix:/run/a b");
    assert_int_equal(old->backends[0].weight, 0);
    assert_true(old->backends[1].backup);
    assert_int_equal(old->backends[1].line, 12);
    assert_int_equal(web->groups[1].balance, CONFIG_BALANCE_HASH);
    assert_int_equal(web->groups[1].health.type, CONFIG_HEALTH_NONE);
    assert_string_equal(web->groups[1].backends[0].name, "unix:/etc/shunt/run/b");
    assert_true(web->migration.present);
    assert_int_equal(web->migration.steps_len, 0);
    assert_true(web->migration.ramp.present);
    assert_int_equal(web->migration.ramp.from_bp, 25);
    assert_int_equal(web->migration.ramp.to_bp, 10000);
    assert_int_equal(web->migration.ramp.over_us, UINT64_C(3600000000));
    assert_int_equal(web->migration.ramp.tick_us, 36000000);
    assert_int_equal(web->migration.ramp.shape, CONFIG_RAMP_EXPONENTIAL);
    assert_int_equal(web->migration.drain.timeout_us, 0);
    assert_int_equal(web->migration.commit, CONFIG_COMMIT_MANUAL);
    assert_true(web->migration.gate.present);
    assert_int_equal(web->migration.gate.window_us, 60000000);
    assert_int_equal(web->migration.gate.min_samples, 50);
    assert_int_equal(web->migration.gate.max_error_rate_bp, 100);
    assert_int_equal(web->migration.gate.max_error_increase_bp, 50);
    assert_int_equal(web->migration.gate.max_latency_us, 0);
    assert_int_equal(web->migration.gate.max_latency_ratio, 12500);
    assert_int_equal(web->migration.gate.max_connect_ratio, 20000);
    assert_int_equal(web->migration.gate.quantile, 9990);
    assert_int_equal(web->migration.gate.failures, 2);
    assert_int_equal(web->migration.gate.on_fail, CONFIG_FAIL_PAUSE);
    assert_int_equal(web->migration.gate.alpha_bp, 100);
    assert_int_equal(web->migration.gate.confidence_bp, 8000);
    assert_int_equal(web->migration.gate.too_few_us, 0);
    config_free(config);
}

static void test_show(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "workers = 4  # default: 0\n",
        "\nspin = \"0\"  # default: \"100us\"\n",
        "\nshutdown_timeout = \"90s\"  # default: \"1m\"\n",
        "\nadmin.mode = \"0600\"  # default: \"0660\"\n",
        "\nservices.web.name = \"web\"\n",
        "\nservices.web.listen = [ \"unix:/etc/shunt/web.sock\", \"[::1]:8080\" ]\n",
        "\nservices.web.assign = \"client\"  # default: \"connection\"\n",
        "\nservices.web.salt = \"pepper \\\"x\\\"\"  # default: the service's name\n",
        "\nservices.web.fallback = false  # default: true\n",
        "\nservices.web.timeouts.idle = \"90m\"  # default: \"1h\"\n",
        "\nservices.web.groups.old.health.interval = \"1500ms\"  # default: \"2s\"\n",
        "\nservices.web.groups.old.backends.a/b.weight = 0  # default: 1\n",
        "\nservices.web.migration.ramp.from = \"0.25%\"  # default: \"1%\"\n",
        "\nservices.web.migration.gate.max_latency_ratio = 1.25  # default: 0\n",
        "\nservices.web.migration.gate.quantile = 0.999  # default: 0.99\n",
        "\nservices.web.migration.ramp.tick = \"36s\"  # default: a hundredth of `over`, at least 100ms\n",
    };
    struct config *config = load(everything, "/etc/shunt");
    char *text = config_show(config);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (!strstr(text, lines[i])) {
            fail_msg("not shown: %s", lines[i]);
        }
    }
    assert_null(strstr(text, "steps"));
    free(text);
    config_free(config);

    config = load(minimal, NULL);
    text = config_show(config);
    assert_null(strstr(text, "migration"));
    free(text);
    config_free(config);
}

static void test_ramp_tick(void **state)
{
    (void)state;
    static const struct {
        const char *over;
        uint64_t tick_us;
    } cases[] = {{"1h", 36000000}, {"1s", 100000}, {"50ms", 50000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[600];
        snprintf(text, sizeof text,
                 "services = ( { name = \"s\"; listen = [ \"*:0\" ]; groups = (\n"
                 "{ name = \"a\"; backends = ( { address = \"10.0.0.1:1\"; } ); },\n"
                 "{ name = \"b\"; backends = ( { address = \"10.0.0.2:1\"; } ); } );\n"
                 "migration = { ramp = { over = \"%s\"; }; }; } );\n",
                 cases[i].over);
        struct config *config = load(text, NULL);
        assert_int_equal(config->services[0].migration.ramp.tick_us, cases[i].tick_us);
        config_free(config);
    }
}

/* ---- files */

static void write_file(const char *folder, const char *name, const char *text, size_t len)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state)
{
    char folder[] = "/tmp/shunt-config-XXXXXX";
    if (!mkdtemp(folder)) {
        return -1;
    }
    *state = strdup(folder);
    return *state ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"main.conf", "services.conf", "loop.conf"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", (char *)*state, names[i]);
        unlink(path);
    }
    int rc = rmdir(*state);
    free(*state);
    return rc;
}

static int load_main(const char *folder, struct config **config, struct config_errors *errors)
{
    char path[256];
    snprintf(path, sizeof path, "%s/main.conf", folder);
    return config_load(path, config, errors);
}

static void test_include(void **state)
{
    const char *folder = *state;
    static const char main_text[] = "# @include \"nowhere.conf\"\n/*\n@include \"nowhere.conf\"\n*/\n"
                                    "  @include \"services.conf\"\r\nworkers = 5000;\n";
    struct config *config = NULL;
    struct config_errors errors;
    write_file(folder, "main.conf", main_text, sizeof main_text - 1);
    write_file(folder, "services.conf", minimal, sizeof minimal - 1);
    assert_int_equal(load_main(folder, &config, &errors), ERR_INVALID);
    assert_int_equal(errors.len, 1);
    assert_int_equal(errors.list[0].line, 6);
    assert_null(errors.list[0].path);
    assert_string_equal(errors.list[0].source, "workers = 5000;");
    config_errors_clear(&errors);

    write_file(folder, "services.conf", "\nworkers = 2000;\n", 17);
    assert_int_equal(load_main(folder, &config, &errors), ERR_INVALID);
    assert_int_equal(errors.len, 1);
    assert_string_equal(errors.list[0].text, "\"workers\" is set twice in the same section");
    config_errors_clear(&errors);

    write_file(folder, "services.conf", "\nspin = \"2s\";\n", 14);
    assert_int_equal(load_main(folder, &config, &errors), ERR_INVALID);
    assert_int_equal(errors.len, 3);
    assert_string_equal(errors.list[1].text, "spin: 2s is out of range: 0 to 10ms");
    assert_int_equal(errors.list[1].line, 2);
    assert_ptr_equal(strstr(errors.list[1].path, folder), errors.list[1].path);
    char *text = config_errors_format(&errors);
    assert_non_null(
        strstr(text, "/services.conf:2: spin: 2s is out of range: 0 to 10ms\n      2 | spin = \"2s\";\n"));
    free(text);
    config_errors_clear(&errors);
}

static void test_good_include(void **state)
{
    const char *folder = *state;
    struct config *config = NULL;
    struct config_errors errors;
    write_file(folder, "main.conf", "\xef\xbb\xbfworkers = 2;\n@include \"services.conf\"", 40);
    write_file(folder, "services.conf", minimal, sizeof minimal - 1);
    assert_int_equal(load_main(folder, &config, &errors), ERR_OK);
    assert_int_equal(errors.len, 0);
    assert_int_equal(config->workers, 2);
    assert_int_equal(config->services_len, 1);
    assert_int_equal(config->path[0], '/');
    config_errors_clear(&errors);
    config_free(config);
}

static void test_bad_includes(void **state)
{
    const char *folder = *state;
    static const char main_text[] =
        "@include \"nowhere.conf\"\n@include \"/\"\n@include \"loop.conf\"\nspin = 5;\n";
    struct config *config = NULL;
    struct config_errors errors;
    write_file(folder, "main.conf", main_text, sizeof main_text - 1);
    write_file(folder, "loop.conf", "@include \"loop.conf\"\n", 21);
    assert_int_equal(load_main(folder, &config, &errors), ERR_INVALID);
    assert_int_equal(errors.len, 5);
    assert_string_equal(errors.list[0].text, "required setting \"services\" is missing");
    assert_non_null(strstr(errors.list[1].text, "/nowhere.conf: No such file or directory"));
    assert_int_equal(errors.list[1].line, 1);
    assert_string_equal(errors.list[2].text, "cannot include /: Is a directory");
    assert_string_equal(errors.list[3].text, "@include: too many files; does one include itself?");
    assert_int_equal(errors.list[4].line, 4);
    config_errors_clear(&errors);
}

static void test_not_a_text_file(void **state)
{
    const char *folder = *state;
    struct config *config = NULL;
    struct config_errors errors;
    write_file(folder, "main.conf", "workers = 1;\nspin\0 = 5;\n", 23);
    assert_int_equal(load_main(folder, &config, &errors), ERR_INVALID);
    assert_string_equal(errors.list[0].text, "this line holds a NUL byte: not a text file");
    assert_int_equal(errors.list[0].line, 2);
    config_errors_clear(&errors);
}

static void test_samples(void **state)
{
    (void)state;
    size_t n = 0;
    DIR *folder = opendir(SOURCE_DIR "/conf");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (len < 5 || strcmp(entry->d_name + len - 5, ".conf") != 0) {
            continue;
        }
        char path[512];
        struct config *config = NULL;
        struct config_errors errors;
        snprintf(path, sizeof path, SOURCE_DIR "/conf/%s", entry->d_name);
        int rc = config_load(path, &config, &errors);
        char *found = config_errors_format(&errors);
        assert_string_equal(found, "");
        assert_int_equal(rc, ERR_OK);
        assert_string_equal(config->path, path);
        free(found);
        config_errors_clear(&errors);
        config_free(config);
        n++;
    }
    closedir(folder);
    assert_true(n >= 6);
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
        cmocka_unit_test(test_every_setting),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_ramp_tick),
        cmocka_unit_test_setup_teardown(test_include, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_good_include, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_bad_includes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_not_a_text_file, make_folder, remove_folder),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_free_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
