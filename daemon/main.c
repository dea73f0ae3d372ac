/*
 * Answers for the command line of shuntd, its exit codes, and the order of the first steps: read the
 * configuration, resolve its addresses, block signals, and only then start threads. Runs on the control
 * thread. Building and running the program is daemon/app's work, the demo is daemon/demo's.
 */
#include "core/config.h"
#include "core/log.h"
#include "daemon/activation.h"
#include "daemon/app.h"
#include "daemon/demo/demo.h"
#include "daemon/handover.h"
#include "daemon/privileges.h"
#include "daemon/sandbox.h"
#include "daemon/signals.h"
#include "daemon/starter.h"
#include "daemon/targets.h"
#include "proxy/proxy.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: shuntd -c FILE [-t]\n"
    "       shuntd demo [--break new] [--seconds N] [--connections N]\n"
    "\n"
    "A layer-4 load balancer that moves the traffic of a service from old backends to new ones, step by "
    "step.\n"
    "\n"
    "  -c, --config FILE   the configuration; runs in the foreground\n"
    "  -t, --test          checks the configuration and exits\n"
    "  -V, --version       prints the version\n"
    "  -h, --help          prints this\n"
    "\n"
    "  shuntd demo         runs a whole migration on embedded backends: no file, no root, about 20 seconds\n"
    "\n"
    "Signals: TERM and INT stop accepting, wait for open connections and end; a second one ends at once;\n"
    "HUP reads the configuration again, USR1 opens the log file again, USR2 upgrades to the program in the\n"
    "file now.\n"
    "Exit codes: 0 done, 64 usage, 73 cannot create, 77 not permitted, 78 bad configuration.\n"
    "The operator's tool is shuntctl: `shuntctl help`.\n";

struct main_options {
    const char *config;
    bool test;
};

static int exit_code(int rc)
{
    switch (rc) {
    case 0:
        return EX_OK;
    case ERR_DENIED:
        return EX_NOPERM;
    case ERR_INVALID:
    case ERR_PARSE:
    case ERR_RANGE:
        return EX_CONFIG;
    default:
        return EX_CANTCREAT;
    }
}

/* The first of them is why, too. */
static void print_errors(const struct config_errors *errors, struct err_text *why)
{
    char *text = config_errors_format(errors);
    if (errors->len > 0) {
        const struct config_error *first = &errors->list[0];
        char line[16] = "";
        if (first->line > 0) { /* else of the file as a whole */
            (void)snprintf(line, sizeof(line), ":%u", first->line);
        }
        (void)err_set(why, ERR_INVALID, "its configuration has errors (shuntd -t shows all): %s%s: %s",
                      first->path != NULL ? first->path : errors->path, line, first->text);
    }
    fputs(text != NULL ? text : "out of memory while reading the configuration\n", stderr);
    free(text);
}

static int check_privileges(const struct config *config)
{
    struct err_text err = {""};
    int rc = privileges_check(config, &err);
    if (rc != 0) {
        fprintf(stderr, "%s: %s\n", config->path, err.text);
    }
    return rc;
}

/* Reads the file and resolves its addresses; prints every fault. why: the first of them. */
static int load(const char *path, enum targets_purpose purpose, struct config **config,
                struct targets **targets, struct err_text *why)
{
    struct config_errors errors;
    (void)err_set(why, ERR_INVALID, "its configuration has errors: shuntd -t shows them");
    int rc = config_load(path, config, &errors);
    if (rc == 0) {
        config_errors_clear(&errors);
        rc = targets_resolve(*config, purpose, targets, &errors);
        if (rc != 0) {
            config_free(*config);
            *config = NULL;
        }
    }
    if (rc != 0 || errors.len > 0) {
        print_errors(&errors, why); /* remarks, where all went well */
    }
    config_errors_clear(&errors);
    if (rc == 0 && check_privileges(*config) != 0) {
        targets_destroy(*targets);
        config_free(*config);
        rc = ERR_INVALID;
    }
    return rc;
}

static int check(const char *path)
{
    struct config *config = NULL;
    struct targets *targets = NULL;
    struct err_text why;
    if (load(path, TARGETS_CHECK, &config, &targets, &why) != 0) {
        return EX_CONFIG;
    }
    struct err_text err = {""};
    for (size_t i = 0; i < config->services_len; i++) {
        if (proxy_examine(&config->services[i], &err) != 0) {
            fprintf(stderr, "%s: %s\n", path, err.text);
            targets_destroy(targets);
            config_free(config);
            return EX_CONFIG;
        }
    }
    printf("%s: ok (%zu service%s, %zu backend%s)\n", path, config->services_len,
           config->services_len == 1 ? "" : "s", targets->backends, targets->backends == 1 ? "" : "s");
    targets_destroy(targets);
    config_free(config);
    return EX_OK;
}

/* What comes from outside the configuration. */
struct surroundings {
    struct starter *starter;     /* NULL: the program cannot be upgraded */
    struct successor *successor; /* NULL: it does not take over from another */
    struct given given;          /* of a service manager */
};

static int serve_with(const struct config *config, struct targets *targets, struct surroundings *around)
{
    struct err_text err = {""};
    struct app *app = NULL;
    struct signals *signals = NULL;
    const struct app_options options = {.config = config,
                                        .targets = targets,
                                        .log_fd = STDERR_FILENO,
                                        .starter = around->starter,
                                        .successor = around->successor,
                                        .given = &around->given};
    int rc = signals_block(NULL, &err);
    if (rc == 0) {
        rc = activation_take(config, &around->given, &err);
    }
    if (rc == 0) {
        rc = app_create(&options, &app, &err);
    }
    if (rc == 0) {
        rc = activation_check(&around->given, &err);
    }
    if (rc == 0) {
        rc = signals_create(app, &signals, &err);
    }
    if (rc == 0) {
        rc = privileges_drop(config, targets, &err);
    }
    if (rc == 0) {
        rc = sandbox_enter(config, targets, &err);
    }
    if (rc == 0) {
        rc = app_run(app, &err);
    }
    if (rc != 0) {
        successor_refuse(around->successor, err.text);
    }
    signals_destroy(signals);
    app_destroy(app);
    if (rc != 0) {
        fprintf(stderr, "shuntd: %s\n", err.text);
    }
    return exit_code(rc);
}

static int serve_file(const char *path, struct surroundings *around)
{
    struct config *config = NULL;
    struct targets *targets = NULL;
    struct err_text why;
    /* A name without an answer is a fault where another program runs well. */
    enum targets_purpose purpose = successor_is_awaited(around->successor) ? TARGETS_RELOAD : TARGETS_START;
    if (load(path, purpose, &config, &targets, &why) != 0) {
        successor_refuse(around->successor, why.text);
        return EX_CONFIG;
    }
    successor_hello(around->successor);
    int code = serve_with(config, targets, around);
    targets_destroy(targets);
    config_free(config);
    return code;
}

/* The starter comes before threads, and before anything is given away. */
static int serve(const char *path, char *const *argv)
{
    struct surroundings around = {.starter = NULL};
    struct err_text err = {""};
    int rc = successor_create(&around.successor, &err);
    if (rc != 0) {
        fprintf(stderr, "shuntd: %s\n", err.text);
        return exit_code(rc);
    }
    if (starter_create(argv, &around.starter, &err) != 0) {
        fprintf(stderr, "shuntd: %s: goes on, but cannot be upgraded\n", err.text);
    }
    int code = serve_file(path, &around);
    successor_destroy(around.successor);
    given_clear(&around.given);
    starter_destroy(around.starter);
    return code;
}

static int refuse_usage(const char *what)
{
    fprintf(stderr, "shuntd: %s\ntry: shuntd --help\n", what);
    return EX_USAGE;
}

/* Returns -1 to go on, or the exit code. */
static int parse(int argc, char **argv, struct main_options *options)
{
    static const struct option names[] = {{"config", required_argument, NULL, 'c'},
                                          {"test", no_argument, NULL, 't'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c = 0;
    while ((c = getopt_long(argc, argv, "+c:tVh", names, NULL)) != -1) {
        switch (c) {
        case 'c':
            options->config = optarg;
            break;
        case 't':
            options->test = true;
            break;
        case 'V':
            printf("shuntd %s\n", SHUNT_VERSION);
            return EX_OK;
        case 'h':
            fputs(usage_text, stdout);
            return EX_OK;
        default:
            fputs("try: shuntd --help\n", stderr);
            return EX_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "shuntd: unknown argument \"%s\"\ntry: shuntd --help\n", argv[optind]);
        return EX_USAGE;
    }
    if (options->config == NULL) {
        return refuse_usage("no configuration: shuntd -c FILE, or shuntd demo to see it work");
    }
    return -1;
}

/* Where a standard descriptor is closed, the next one opened would take its number, and lines for standard
 * error would end in a socket or in the journal. */
static int hold_standard_descriptors(void)
{
    int fd = 0;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    return fd < 0 ? -1 : close(fd);
}

int main(int argc, char **argv)
{
    if (hold_standard_descriptors() != 0) {
        return EX_OSERR;
    }
    if (argc > 1 && strcmp(argv[1], "demo") == 0) {
        return demo_main(argc - 1, argv + 1);
    }
    struct main_options options = {0};
    int code = parse(argc, argv, &options);
    if (code >= 0) {
        return code;
    }
    return options.test ? check(options.config) : serve(options.config, argv);
}
