/*
 * The one table of all settings: path, type, range, default, text. Reading, checking, `show settings` and
 * docs/settings.md are made from it. Constant; any thread. The rules between settings are in
 * settings_check.c and its neighbours. The lines of the health, migration and admin sections and of what
 * stands between a client and a service: settings_table_health.h, settings_table_migration.h,
 * settings_table_edge.h, settings_table_admin.h.
 */
#include "core/settings_internal.h"
#include "core/units.h"

#include <string.h>

#define MILLISECOND UINT64_C(1000)
#define SECOND (1000 * MILLISECOND)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

/* A Unix socket's path with its NUL must fit sockaddr_un. */
#define SOCKET_PATH_MAX 107
#define PATH_TEXT_MAX 4095
#define ADDRESS_TEXT_MAX 300
#define NAME_TEXT_MAX 63
#define ENDPOINT_TEXT_MAX 127

/* Where a value goes. */
#define AT(type, field) .offset = offsetof(type, field), .width = sizeof(((type *)0)->field)
/* Where a list goes: a pointer and its length. */
#define LIST(type, field) .offset = offsetof(type, field), .len = offsetof(type, field##_len)
#define RANGE(lowest, highest) .min = (lowest), .max = (highest)

static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_words[] = {"logfmt", "json", NULL};
static const char *const log_to_words[] = {"stderr", "file", "syslog", NULL};
static const char *const facility_words[] = {"daemon", "user",   "local0", "local1", "local2", "local3",
                                             "local4", "local5", "local6", "local7", NULL};
static const char *const role_words[] = {"none", "viewer", "operator", "admin", NULL};
static const char *const assign_words[] = {"connection", "client", "sni", NULL};
static const char *const sni_default_words[] = {"serve", "refuse", NULL};
static const char *const balance_words[] = {"round-robin",       "weighted", "least-latency",
                                            "least-connections", "hash",     NULL};
static const char *const health_words[] = {"none",  "tcp",        "send-expect", "http", "tls",
                                           "redis", "postgresql", "mysql",       "smtp", "ldap",
                                           "exec",  "agent",      NULL};
static const char *const proxy_accept_words[] = {"off", "optional", "required", NULL};
static const char *const send_proxy_words[] = {"off", "v1", "v2", NULL};
static const char *const tlv_words[] = {"alpn", "authority", "unique-id", "ssl", "crc32c", NULL};
static const char *const check_proxy_words[] = {"group", "off", "v1", "v2", NULL};
static const char *const tls_version_words[] = {"1.2", "1.3", NULL};
static const char *const client_auth_words[] = {"none", "optional", "required", NULL};
static const char *const tls_unknown_words[] = {"default", "refuse", NULL};
static const char *const initial_words[] = {"auto", "up", "down", NULL};
static const char *const panic_words[] = {"other-group", "use-all", "refuse", NULL};
static const char *const redis_words[] = {"any", "master", "replica", NULL};
static const char *const postgresql_words[] = {"any", "read-write", "standby", NULL};
static const char *const shape_words[] = {"linear", "exponential", NULL};
static const char *const on_fail_words[] = {"rollback", "pause", NULL};
static const char *const commit_words[] = {"auto", "manual", NULL};
static const char *const aim_words[] = {"share", "live", NULL};
static const char *const restart_words[] = {"continue", "pause", NULL};
static const char *const hook_words[] = {"start",   "before-step",   "pause",     "rollback",
                                         "drained", "before-commit", "completed", NULL};
static const char *const webhook_words[] = {"cloudevents", "text", NULL};
static const char *const webhook_event_words[] = {"start", "pause", "rollback", "drained", "completed", NULL};
static const char *const of_group_words[] = {"group", NULL};
static const char *const off_words[] = {"off", NULL};
static const char *const family_words[] = {"any", "ipv4", "ipv6", NULL};
static const char *const hold_words[] = {"manual", NULL};
static const char *const drain_end_words[] = {"close", "wait", NULL};
static const char *const back_shape_words[] = {"at-once", "linear", NULL};
static const char *const back_connections_words[] = {"drain", "close", NULL};

/* A hundred steps look smooth; more often than ten times a second only costs journal writes. */
static uint64_t default_tick_us(const void *element)
{
    const struct config_service *service = element;
    uint64_t over_us = service->migration.ramp.over_us;
    uint64_t tick_us = over_us / 100 < 100 * MILLISECOND ? 100 * MILLISECOND : over_us / 100;
    return over_us > 0 && over_us < tick_us ? over_us : tick_us;
}

/* A rollback leaves its connections as long as a drain does. */
static uint64_t default_back_timeout_us(const void *element)
{
    return ((const struct config_service *)element)->migration.drain.timeout_us;
}

/* Without further words a check keeps one pace. */
static uint64_t default_fast_us(const void *element)
{
    return ((const struct config_group *)element)->health.interval_us;
}

static const struct setting list[] = {
    {.path = "workers",
     .type = SETTINGS_COUNT,
     AT(struct config, workers),
     RANGE(0, 1024),
     .fallback = "0",
     .text = "Threads that carry the traffic. 0: one per CPU."},
    {.path = "spin",
     .type = SETTINGS_DURATION,
     AT(struct config, spin_us),
     RANGE(0, 10 * MILLISECOND),
     .fallback = "100us",
     .text = "How long a worker that just had work looks for more before it sleeps. 0: it sleeps at once."},
    {.path = "state_dir",
     .type = SETTINGS_PATH,
     AT(struct config, state_dir),
     RANGE(1, PATH_TEXT_MAX),
     .fallback = "/var/lib/shunt",
     .text = "Folder of the journal, which brings a migration back after a restart. Made if only its last "
             "part is missing."},
    {.path = "shutdown_timeout",
     .type = SETTINGS_DURATION,
     .flags = SETTINGS_RELOAD,
     AT(struct config, shutdown_timeout_us),
     RANGE(0, 30 * DAY),
     .fallback = "1m",
     .text = "How long open connections may go on after a TERM or INT signal. 0: they are closed at once."},
    {.path = "upgrade",
     .type = SETTINGS_SECTION,
     .text = "How a program hands over to the one that takes its place (USR2, or the command `upgrade`)."},
    {.path = "upgrade.ready_timeout",
     .type = SETTINGS_DURATION,
     .flags = SETTINGS_RELOAD,
     AT(struct config, upgrade.ready_timeout_us),
     RANGE(100 * MILLISECOND, 1 * HOUR),
     .fallback = "30s",
     .text =
         "How long the new program may take until it is ready. It is killed then, and the old one goes on."},
    {.path = "upgrade.drain_timeout",
     .type = SETTINGS_DURATION,
     .flags = SETTINGS_RELOAD,
     AT(struct config, upgrade.drain_timeout_us),
     RANGE(0, 365 * DAY),
     .fallback = "1d",
     .text = "How long connections may go on in the old program after that. 0: they are closed at once."},
    {.path = "user",
     .type = SETTINGS_STRING,
     AT(struct config, user),
     RANGE(1, 255),
     .note = "none",
     .text =
         "Who to become once all is bound, by name or number, when started as root. state_dir and the "
         "sockets are "
         "given to this user; no capability stays but that to bind ports below 1024, where a service does."},
    {.path = "group",
     .type = SETTINGS_STRING,
     AT(struct config, group),
     RANGE(1, 255),
     .note = "that of `user`",
     .text = "The group to go with it."},
    {.path = "sandbox",
     .type = SETTINGS_BOOL,
     AT(struct config, sandbox),
     .fallback = "true",
     .text = "Fences by the kernel: no new privileges, no system calls that a proxy does not need, and files "
             "written "
             "only below state_dir and beside the sockets (this last one not when hooks or checks run "
             "commands)."},
#include "core/settings_table_admin.h"

    {.path = "metrics",
     .type = SETTINGS_SECTION,
     .present = offsetof(struct config, metrics.present),
     .text = "Figures for Prometheus, over HTTP. Without this section there are none."},
    {.path = "metrics.listen",
     .type = SETTINGS_ADDRESS,
     AT(struct config, metrics.listen),
     RANGE(1, ADDRESS_TEXT_MAX),
     .fallback = "127.0.0.1:9101",
     .text = "Where `GET /metrics` is answered: an IP address and a port. Whoever reaches it may read."},
    {.path = "log", .type = SETTINGS_SECTION, .text = "Log lines."},
    {.path = "log.to",
     .type = SETTINGS_STRING,
     AT(struct config, log.to),
     RANGE(1, 16),
     .words = log_to_words,
     .fallback = "stderr",
     .text = "Where they go. A file is opened again on USR1, as after a rotation. Whatever it is, nothing "
             "waits for it: lines "
             "that cannot be written are counted and the count is told."},
    {.path = "log.file",
     .type = SETTINGS_PATH,
     AT(struct config, log.file),
     RANGE(1, PATH_TEXT_MAX),
     .fallback = "/var/log/shunt/shunt.log",
     .text = "The file, with `to = \"file\"`. Lines are appended."},
    {.path = "log.syslog_socket",
     .type = SETTINGS_PATH,
     AT(struct config, log.syslog_socket),
     RANGE(1, SOCKET_PATH_MAX),
     .fallback = "/dev/log",
     .text = "The socket of the system's log daemon, with `to = \"syslog\"`."},
    {.path = "log.facility",
     .type = SETTINGS_STRING,
     AT(struct config, log.facility),
     RANGE(1, 16),
     .words = facility_words,
     .fallback = "daemon",
     .text = "Under which heading that daemon files them."},
    {.path = "log.rate",
     .type = SETTINGS_COUNT,
     .flags = SETTINGS_RELOAD,
     AT(struct config, log.rate),
     RANGE(0, 1000000),
     .fallback = "100",
     .text = "Most lines a second of one message above the level debug; how many more there were is told. "
             "Events, the audit log "
             "and the log of connections are never cut. 0: no limit."},
    {.path = "log.level",
     .type = SETTINGS_STRING,
     .flags = SETTINGS_RELOAD,
     AT(struct config, log.level),
     RANGE(1, 16),
     .words = level_words,
     .fallback = "info",
     .text = "The least important lines that are written."},
    {.path = "log.format",
     .type = SETTINGS_STRING,
     AT(struct config, log.format),
     RANGE(1, 16),
     .words = format_words,
     .fallback = "logfmt",
     .text = "Lines of key=value pairs, or of JSON."},
#include "core/settings_table_limits.h"
#include "core/settings_table_resolve.h"

    {.path = "services",
     .type = SETTINGS_LIST,
     .flags = SETTINGS_REQUIRED,
     LIST(struct config, services),
     RANGE(1, 10000),
     .size = sizeof(struct config_service),
     .line = offsetof(struct config_service, line),
     .text = "What is balanced and migrated: each service listens, and has groups of backends."},
    {.path = "services.name",
     .type = SETTINGS_NAME,
     .flags = SETTINGS_REQUIRED | SETTINGS_UNIQUE,
     AT(struct config_service, name),
     RANGE(1, NAME_TEXT_MAX),
     .text = "The service's name in commands, status and metrics."},
    {.path = "services.listen",
     .type = SETTINGS_ADDRESS,
     .flags = SETTINGS_MANY,
     LIST(struct config_service, listen),
     RANGE(1, ADDRESS_TEXT_MAX),
     .note = "required, unless a route of another service (`sni`) leads to this one",
     .text = "Where clients connect. `*:PORT` is any IPv4 address; port 0 takes a free port, which `status` "
             "shows. A reload changes it; addresses that stay keep their sockets."},
    {.path = "services.assign",
     .type = SETTINGS_WORD,
     AT(struct config_service, assign),
     .words = assign_words,
     .fallback = "connection",
     .text = "What a share counts during a migration: connections, exactly; clients, so that a client stays "
             "on its "
             "side; or the names that clients ask for in TLS (`sni`), so that a name stays on its side. "
             "`balance = "
             "\"hash\"` goes by the same; a client without a name by its address."},
    {.path = "services.client_prefix",
     .type = SETTINGS_SECTION,
     .text = "How much of a client's address makes it one client for `assign = \"client\"` and "
             "`balance = \"hash\"`."},
    {.path = "services.client_prefix.ipv4",
     .type = SETTINGS_COUNT,
     AT(struct config_service, client_prefix.ipv4),
     RANGE(1, 32),
     .fallback = "32",
     .text = "Bits of an IPv4 address."},
    {.path = "services.client_prefix.ipv6",
     .type = SETTINGS_COUNT,
     AT(struct config_service, client_prefix.ipv6),
     RANGE(1, 128),
     .fallback = "64",
     .text = "Bits of an IPv6 address. 64 is what one subscriber usually has."},
    {.path = "services.salt",
     .type = SETTINGS_STRING,
     AT(struct config_service, salt),
     RANGE(1, 255),
     .from = "name",
     .note = "the service's name",
     .text = "Goes into the hash of clients. Instances with the same salt send a client to the same side."},
    {.path = "services.retries",
     .type = SETTINGS_COUNT,
     .flags = SETTINGS_RELOAD,
     AT(struct config_service, retries),
     RANGE(0, 15),
     .fallback = "3",
     .text = "Further backends that are tried when connecting to one fails."},
    {.path = "services.connection_log",
     .type = SETTINGS_SHARE,
     AT(struct config_service, connection_log_bp),
     RANGE(0, UNITS_BP_FULL),
     .fallback = "0%",
     .text = "Of the connections that ended, so many have a line in the log, whatever its level: client, "
             "backend, why it ended, "
             "bytes and times. 100%: every one."},
    {.path = "services.fallback",
     .type = SETTINGS_BOOL,
     AT(struct config_service, fallback),
     .fallback = "true",
     .text = "During a migration a group that cannot serve a connection hands it over to the other group."},
    {.path = "services.fallback_when_full",
     .type = SETTINGS_BOOL,
     AT(struct config_service, fallback_when_full),
     .fallback = "false",
     .text = "So does a group whose backends are all full (`max_connections`), instead of letting clients "
             "wait."},
    {.path = "services.timeouts", .type = SETTINGS_SECTION, .text = "Deadlines of a connection."},
    {.path = "services.timeouts.connect",
     .type = SETTINGS_DURATION,
     .flags = SETTINGS_RELOAD,
     AT(struct config_service, timeouts.connect_us),
     RANGE(MILLISECOND, HOUR),
     .fallback = "5s",
     .text = "For a backend to accept; then the next one is tried."},
    {.path = "services.timeouts.idle",
     .type = SETTINGS_DURATION,
     .flags = SETTINGS_RELOAD,
     AT(struct config_service, timeouts.idle_us),
     RANGE(MILLISECOND, 365 * DAY),
     .fallback = "1h",
     .text = "A connection without a byte in either direction for this long is closed."},
    {.path = "services.timeouts.half_close",
     .type = SETTINGS_DURATION,
     .flags = SETTINGS_RELOAD,
     AT(struct config_service, timeouts.half_close_us),
     RANGE(MILLISECOND, 365 * DAY),
     .fallback = "1m",
     .text = "The same once one side has said that it will send no more."},

#include "core/settings_table_edge.h"
#include "core/settings_table_tls.h"
    {.path = "services.groups",
     .type = SETTINGS_LIST,
     .flags = SETTINGS_REQUIRED,
     LIST(struct config_service, groups),
     RANGE(1, 1000),
     .size = sizeof(struct config_group),
     .line = offsetof(struct config_group, line),
     .text =
         "Sets of backends. The first is active until a migration has made another one so; with a single one "
         "the service is a plain load balancer."},
    {.path = "services.groups.name",
     .type = SETTINGS_NAME,
     .flags = SETTINGS_REQUIRED | SETTINGS_UNIQUE,
     AT(struct config_group, name),
     RANGE(1, NAME_TEXT_MAX),
     .text = "The group's name in commands, status and metrics: `old` and `new`, `blue` and `green`."},
    {.path = "services.groups.balance",
     .type = SETTINGS_WORD,
     AT(struct config_group, balance),
     .words = balance_words,
     .fallback = "round-robin",
     .text =
         "How a backend of the group is chosen: in turn, in turn by weight, by response time and load, by "
         "open connections, or by a consistent hash of the client's address."},
    {.path = "services.groups.send_proxy",
     .type = SETTINGS_WORD,
     AT(struct config_group, send_proxy),
     .words = send_proxy_words,
     .fallback = "off",
     .text =
         "A PROXY header ahead of each connection tells the backend whose it is, ahead of TLS too. `v2` can "
         "say more."},
    {.path = "services.groups.send_proxy_tlvs",
     .type = SETTINGS_STRING,
     .flags = SETTINGS_MANY,
     LIST(struct config_group, send_proxy_tlvs),
     RANGE(1, 16),
     .words = tlv_words,
     .note = "none",
     .text =
         "What a header of `v2` tells besides the addresses, where it is known: the protocol and the name "
         "the client asked for, the connection's id as `connections` shows it, its TLS, a checksum."},
    {.path = "services.groups.source",
     .type = SETTINGS_STRING,
     AT(struct config_group, source),
     RANGE(1, 63),
     .note = "the system chooses",
     .text =
         "Where connections to the backends come from: an IP address of this machine, which checks use too, "
         "or `client`, each client's own (transparent; needs CAP_NET_RAW, and the backends' answers must be "
         "routed through this machine)."},
#include "core/settings_table_capacity.h"
#include "core/settings_table_health.h"
#include "core/settings_table_outlier.h"
#include "core/settings_table_tls_group.h"
    {.path = "services.groups.backends",
     .type = SETTINGS_LIST,
     .flags = SETTINGS_REQUIRED,
     LIST(struct config_group, backends),
     RANGE(1, 65535),
     .size = sizeof(struct config_backend),
     .line = offsetof(struct config_backend, line),
     .text = "The servers of the group."},
    {.path = "services.groups.backends.address",
     .type = SETTINGS_ADDRESS,
     .flags = SETTINGS_REQUIRED | SETTINGS_UNIQUE,
     AT(struct config_backend, address),
     RANGE(1, ADDRESS_TEXT_MAX),
     .text = "Where the server listens. A host name stands for all its addresses, now and later: `resolve`."},
    {.path = "services.groups.backends.name",
     .type = SETTINGS_ENDPOINT,
     .flags = SETTINGS_UNIQUE,
     AT(struct config_backend, name),
     RANGE(1, ENDPOINT_TEXT_MAX),
     .from = "address",
     .note = "the address",
     .text = "The backend's name in commands, status and metrics."},
    {.path = "services.groups.backends.weight",
     .type = SETTINGS_COUNT,
     AT(struct config_backend, weight),
     RANGE(0, 65535),
     .fallback = "1",
     .text = "Its part in relation to the other backends of the group. 0: no new connections."},
    {.path = "services.groups.backends.max_connections",
     .type = SETTINGS_COUNT,
     AT(struct config_backend, max_connections),
     RANGE(0, UINT32_MAX),
     .fallback = "0",
     .text = "Connections it may have at a time. 0: as its group says."},
    {.path = "services.groups.backends.slow_start",
     .type = SETTINGS_DURATION,
     AT(struct config_backend, slow_start_us),
     RANGE(0, DAY),
     .words = of_group_words,
     .fallback = "group",
     .text =
         "How long its weight rises when it comes back. `group`: as its group says; 0: it has it at once."},
    {.path = "services.groups.backends.backup",
     .type = SETTINGS_BOOL,
     AT(struct config_backend, backup),
     .fallback = "false",
     .text = "Serves only while no other backend of its group is usable."},

#include "core/settings_table_migration.h"
};

const struct settings_table settings_table = {list, sizeof list / sizeof list[0]};

const struct setting *settings_next(const struct settings_table *table, const struct setting *parent,
                                    const struct setting *after)
{
    size_t prefix = parent ? strlen(parent->path) : 0;
    const struct setting *setting = after ? after + 1 : table->list;
    for (; setting < table->list + table->len; setting++) {
        const char *rest = setting->path;
        if (parent) {
            if (strncmp(rest, parent->path, prefix) != 0 || rest[prefix] != '.') {
                continue;
            }
            rest += prefix + 1;
        }
        if (!strchr(rest, '.')) {
            return setting;
        }
    }
    return NULL;
}

const char *settings_leaf(const struct setting *setting)
{
    const char *dot = strrchr(setting->path, '.');
    return dot ? dot + 1 : setting->path;
}
