/*
 * Answers for `shuntd demo`: its options, and putting the parts together: backends, the real program with a
 * real configuration, an operator at its admin socket, clients, and the story that ties them. Main thread;
 * the parts have threads of their own.
 */
#include "daemon/demo/demo.h"

#include "core/clock.h"
#include "core/units.h"
#include "daemon/demo/story.h"
#include "daemon/demo/world.h"
#include "daemon/signals.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#define DEMO_SECONDS 20u
#define DEMO_SECONDS_MIN 4u
#define DEMO_SECONDS_MAX 3600u
#define DEMO_CLIENTS 80u
#define DEMO_CLIENTS_MAX 5000u
#define DEMO_FDS_PER_CLIENT 4u /* its socket, the two of the proxy, the backend's */
#define DEMO_FDS_BESIDES 200u

static const char usage_text[] =
    "usage: shuntd demo [--break new] [--seconds N] [--connections N]\n"
    "\n"
    "Moves a service from version 1 to version 2 before your eyes: embedded backends and clients on free\n"
    "loopback ports, the real program between them. No file, no root, nothing left behind.\n"
    "\n"
    "  --break new       version 2 stops working halfway: see who notices\n"
    "  --seconds N       about how long it takes, 4 to 3600 (20)\n"
    "  --connections N   clients, each with one connection at a time, 1 to 5000 (80)\n"
    "\n"
    "Exit code: 0 when no client saw an error and the migration ended as it should, 1 otherwise.\n";

struct demo {
    unsigned seconds, clients_count;
    bool break_new;
    sigset_t signals;
    struct screen screen;
    struct demo_backends *backends;
    struct demo_world *world;
    struct demo_operator *admin;
    struct demo_clients *clients;
    struct story story;
};

static int refuse_usage(const char *what)
{
    fprintf(stderr, "shuntd demo: %s\ntry: shuntd demo --help\n", what);
    return EX_USAGE;
}

static int parse_count(const char *text, unsigned least, unsigned most, unsigned *out)
{
    uint64_t value = 0;
    if (units_parse_count(text, most, &value) != 0 || value < least) {
        return -1;
    }
    *out = (unsigned)value;
    return 0;
}

/* Returns -1 to go on, or the exit code. */
static int parse(int argc, char **argv, struct demo *demo)
{
    static const struct option names[] = {{"break", required_argument, NULL, 'b'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c = 0;
    while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        if (c == 'h') {
            fputs(usage_text, stdout);
            return EX_OK;
        }
        if (c == 'b') {
            demo->break_new = strcmp(optarg, "new") == 0;
            if (!demo->break_new) {
                return refuse_usage("--break takes: new");
            }
        } else if (c == 's') {
            if (parse_count(optarg, DEMO_SECONDS_MIN, DEMO_SECONDS_MAX, &demo->seconds) != 0) {
                return refuse_usage("--seconds takes a number from 4 to 3600");
            }
        } else if (c == 'c') {
            if (parse_count(optarg, 1, DEMO_CLIENTS_MAX, &demo->clients_count) != 0) {
                return refuse_usage("--connections takes a number from 1 to 5000");
            }
        } else {
            return EX_USAGE;
        }
    }
    return optind < argc ? refuse_usage("it takes no further arguments") : -1;
}

static int check_descriptors(const struct demo *demo)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)demo->clients_count * DEMO_FDS_PER_CLIENT + DEMO_FDS_BESIDES;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max != RLIM_INFINITY && limit.rlim_max < need) {
        return refuse_usage("so many connections need more open files than `ulimit -Hn` allows");
    }
    if (limit.rlim_cur < need) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    return -1;
}

static void introduce(struct screen *screen, const struct demo *demo)
{
    bool u = screen->unicode;
    screen_say(screen, SCREEN_STRONG, "A service moves from version 1 to version 2 while %u clients use it.",
               demo->clients_count);
    screen_say(screen, SCREEN_PLAIN, "%s", "");
    screen_say(screen, SCREEN_PLAIN, "  %4u clients %s shuntd %s old: version 1, 2 backends",
               demo->clients_count, u ? "──▶" : "-->", u ? "─┬─▶" : "-+->");
    screen_say(screen, SCREEN_PLAIN, "                           %s new: version 2, 2 backends",
               u ? "└─▶" : "+->");
    screen_say(screen, SCREEN_PLAIN, "%s", "");
    if (!screen->live) {
        screen_say(screen, SCREEN_PLAIN,
                   "By group: connections open, requests a second, their median and 99 %% latency.\n");
    }
}

static void plan_fill(struct demo_plan *plan, double pace)
{
    static const double hold_s[] = {2.5, 3.0, 3.0, 3.0};
    for (size_t i = 0; i < sizeof(hold_s) / sizeof(*hold_s); i++) {
        plan->hold_us[i] = (uint64_t)(hold_s[i] * pace * (double)CLOCK_US_PER_S);
    }
    plan->drain_us = (uint64_t)(3.0 * pace * (double)CLOCK_US_PER_S);
}

static int build(struct demo *demo, struct err_text *err)
{
    struct demo_plan plan;
    struct demo_status status;
    struct demo_clients_options clients = {.count = demo->clients_count};
    double pace = (double)demo->seconds / DEMO_SECONDS;
    plan_fill(&plan, pace);
    int rc = demo_backends_create(&demo->backends, err);
    if (rc == 0) {
        rc = demo_world_create(demo->backends, &plan, &demo->world, err);
    }
    if (rc == 0) {
        rc = demo_operator_create(demo_world_socket(demo->world), &demo->admin, err);
    }
    if (rc == 0) {
        rc = demo_operator_status(demo->admin, &status, err);
    }
    if (rc == 0) {
        rc = addr_parse(status.listen, NULL, &clients.address, err);
    }
    if (rc == 0) {
        clients.lifetime_us = (uint64_t)(4.0 * pace * (double)CLOCK_US_PER_S);
        rc = demo_clients_create(&clients, &demo->clients, err);
    }
    demo->story = (struct story){.screen = &demo->screen,
                                 .backends = demo->backends,
                                 .clients = demo->clients,
                                 .admin = demo->admin,
                                 .signals = &demo->signals,
                                 .pace = pace,
                                 .break_new = demo->break_new};
    return rc;
}

static void tear_down(struct demo *demo, bool keep)
{
    demo_clients_destroy(demo->clients);
    demo_operator_destroy(demo->admin);
    demo_world_destroy(demo->world, keep);
    demo_backends_destroy(demo->backends);
}

static void conclude(const struct demo *demo)
{
    const char *text = demo->break_new
                           ? "Version 2 failed, and no client noticed. Without --break, it moves all the way."
                           : "All clients moved to version 2, and none noticed. Try: shuntd demo --break new";
    printf("\n%s%s%s\n", screen_on(&demo->screen, SCREEN_GOOD), text, screen_off(&demo->screen));
    printf("To put it in front of a service of your own: README.md, conf/shunt.conf, shuntd --help.\n");
}

int demo_main(int argc, char **argv)
{
    struct demo demo = {.seconds = DEMO_SECONDS, .clients_count = DEMO_CLIENTS};
    struct err_text err = {""};
    int code = parse(argc, argv, &demo);
    if (code < 0) {
        code = check_descriptors(&demo);
    }
    if (code >= 0) {
        return code;
    }
    screen_init(&demo.screen, stdout, clock_mono_us());
    introduce(&demo.screen, &demo);
    int rc = signals_block(&demo.signals, &err);
    if (rc == 0) {
        rc = build(&demo, &err);
    }
    if (rc == 0) {
        rc = story_run(&demo.story, &err);
    }
    if (rc == 0) {
        rc = story_finish(&demo.story, &err);
    }
    screen_clear(&demo.screen);
    bool good = rc == 0 && demo.story.seen.errors == 0;
    if (rc == 0) {
        story_summary(&demo.story);
    } else {
        fprintf(stderr, "shuntd demo: %s\n", err.text);
    }
    if (good) {
        conclude(&demo);
    } else if (demo.world != NULL && !demo.story.interrupted) {
        fprintf(stderr, "the daemon's log: %s\n", demo_world_log(demo.world));
    }
    tear_down(&demo, !good && !demo.story.interrupted);
    return good ? EX_OK : 1;
}
