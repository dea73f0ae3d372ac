/*
 * bench_load: the load generator of the benchmark and of the larger end-to-end tests. This file reads the
 * command line and hands over to a mode: a server (echo, sink, source, stream) or a client (rt, idle,
 * connect, upload, download, stream, and some with TLS). It dies with its parent and at a deadline, so that
 * nothing is left behind.
 */
#include "bench/load.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: bench_load server echo|sink|source|stream [--listen ADDRESS] [--size N] [--tag C]\n"
    "       bench_load client "
    "rt|idle|connect|upload|download|stream|tls-rt|tls-idle|tls-connect|tls-download\n"
    "                  --connect ADDRESS [--size N] [--resume] [--connections N] [--operations N] [--seconds "
    "S] [--bytes N] [--seed N] [--uneven] "
    "[--now]\n"
    "both:  [--deadline S] ends the program after S seconds (default 600)\n"
    "A client connects, prints \"ready\", waits for a line (\"go\") on standard input, works until its end "
    "or a second\n"
    "line, and prints one line of JSON. A server runs until standard input ends. ADDRESS: IPv4:PORT, "
    "[IPv6]:PORT,\n"
    "unix:PATH; a server takes port 0 and prints the one it got.\n";

struct client_mode {
    const char *name;
    int (*run)(const struct load_options *options);
};

static const struct client_mode CLIENT_MODES[] = {
    {"rt", load_client_round_trips},   {"idle", load_client_idle},     {"connect", load_client_connect},
    {"upload", load_client_bulk},      {"download", load_client_bulk}, {"stream", load_client_stream},
    {"tls-rt", load_client_tls},       {"tls-idle", load_client_tls},  {"tls-connect", load_client_tls},
    {"tls-download", load_client_tls},
};

static const char *const SERVER_MODES[] = {"echo", "sink", "source", "stream"};

static _Noreturn void usage(void)
{
    fputs(USAGE, stderr);
    exit(64);
}

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end) {
        usage();
    }
    return value;
}

static void options_read(int argc, char **argv, struct load_options *options, unsigned *deadline_s)
{
    static const struct option LONG[] = {
        {"listen", required_argument, NULL, 'a'},
        {"connect", required_argument, NULL, 'a'},
        {"size", required_argument, NULL, 's'},
        {"connections", required_argument, NULL, 'c'},
        {"operations", required_argument, NULL, 'o'},
        {"seconds", required_argument, NULL, 'd'},
        {"bytes", required_argument, NULL, 'b'},
        {"seed", required_argument, NULL, 'r'},
        {"tag", required_argument, NULL, 't'},
        {"now", no_argument, NULL, 'n'},
        {"uneven", no_argument, NULL, 'u'},
        {"resume", no_argument, NULL, 'R'},
        {"deadline", required_argument, NULL, 'D'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", LONG, NULL)) != -1) {
        switch (c) {
        case 'a':
            load_addr_parse(optarg, &options->address);
            break;
        case 's':
            options->size = (uint32_t)number(optarg);
            break;
        case 'c':
            options->connections = (uint32_t)number(optarg);
            break;
        case 'o':
            options->operations = number(optarg);
            break;
        case 'd':
            options->duration_ns = (uint64_t)(strtod(optarg, NULL) * 1e9);
            break;
        case 'b':
            options->bytes = number(optarg);
            break;
        case 'r':
            options->seed = number(optarg);
            break;
        case 't':
            options->tag = optarg[0];
            break;
        case 'n':
            options->start_at_once = true;
            break;
        case 'u':
            options->uneven = true;
            break;
        case 'R':
            options->resume = true;
            break;
        case 'D':
            *deadline_s = (unsigned)number(optarg);
            break;
        default:
            usage();
        }
    }
    if (optind != argc || options->size == 0 || options->size > LOAD_SCRATCH_BYTES ||
        options->connections == 0) {
        usage();
    }
}

static void process_prepare(unsigned deadline_s)
{
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        load_die("prctl");
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
            load_die("setrlimit");
        }
    }
    alarm(deadline_s);
}

int main(int argc, char **argv)
{
    struct load_options options = {.size = 128, .connections = 1, .seed = 1, .tag = 'x'};
    unsigned deadline_s = 600;
    if (argc < 3) {
        usage();
    }
    bool server = strcmp(argv[1], "server") == 0;
    options.mode = argv[2];
    if (server) {
        load_addr_parse("127.0.0.1:0", &options.address);
    }
    options_read(argc - 2, argv + 2, &options, &deadline_s);
    process_prepare(deadline_s);
    if (server) {
        for (size_t i = 0; i < sizeof(SERVER_MODES) / sizeof(SERVER_MODES[0]); i++) {
            if (strcmp(options.mode, SERVER_MODES[i]) == 0) {
                return load_server(&options);
            }
        }
    } else if (strcmp(argv[1], "client") == 0 && options.address.len) {
        for (size_t i = 0; i < sizeof(CLIENT_MODES) / sizeof(CLIENT_MODES[0]); i++) {
            if (strcmp(options.mode, CLIENT_MODES[i].name) == 0) {
                return CLIENT_MODES[i].run(&options);
            }
        }
    }
    usage();
}
