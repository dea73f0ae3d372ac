/*
 * The configuration as typed values, and how a file becomes one. What may stand in a file, its type, unit,
 * range, default and text is one table (core/settings_table.c); reading, checking, `show settings` and
 * docs/settings.md all come from it. Pure except for reading the file. Any thread; a struct config is
 * immutable once loaded.
 */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_assign { CONFIG_ASSIGN_CONNECTION, CONFIG_ASSIGN_CLIENT, CONFIG_ASSIGN_SNI };
/* What becomes of a client that asks for a name without a route, for none, or does not speak TLS. */
enum config_sni_default { CONFIG_SNI_SERVE, CONFIG_SNI_REFUSE };
enum config_balance {
    CONFIG_BALANCE_ROUND_ROBIN,
    CONFIG_BALANCE_WEIGHTED,
    CONFIG_BALANCE_LEAST_LATENCY,
    CONFIG_BALANCE_LEAST_CONNECTIONS,
    CONFIG_BALANCE_HASH
};
enum config_health_type {
    CONFIG_HEALTH_NONE,
    CONFIG_HEALTH_TCP,
    CONFIG_HEALTH_SEND_EXPECT,
    CONFIG_HEALTH_HTTP,
    CONFIG_HEALTH_TLS,
    CONFIG_HEALTH_REDIS,
    CONFIG_HEALTH_POSTGRESQL,
    CONFIG_HEALTH_MYSQL,
    CONFIG_HEALTH_SMTP,
    CONFIG_HEALTH_LDAP,
    CONFIG_HEALTH_EXEC,
    CONFIG_HEALTH_AGENT
};
/* OPTIONAL: from those who may, a PROXY header counts where there is one. */
enum config_proxy_accept { CONFIG_PROXY_OFF, CONFIG_PROXY_OPTIONAL, CONFIG_PROXY_REQUIRED };
enum config_send_proxy { CONFIG_SEND_PROXY_OFF, CONFIG_SEND_PROXY_V1, CONFIG_SEND_PROXY_V2 };
/* Of checks. GROUP: as the group's connections, unless the check has a port of its own. */
enum config_check_proxy {
    CONFIG_CHECK_PROXY_GROUP,
    CONFIG_CHECK_PROXY_OFF,
    CONFIG_CHECK_PROXY_V1,
    CONFIG_CHECK_PROXY_V2
};
/* What is taken for the state before the first check. AUTO: down for a group that a migration would move
 * traffic to, unknown (which is usable) for any other. */
enum config_initial { CONFIG_INITIAL_AUTO, CONFIG_INITIAL_UP, CONFIG_INITIAL_DOWN };
enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };
/* What a client gets that names no host, or one that no certificate is for. */
enum config_tls_unknown { CONFIG_TLS_UNKNOWN_DEFAULT, CONFIG_TLS_UNKNOWN_REFUSE };
enum config_client_auth { CONFIG_CLIENT_AUTH_NONE, CONFIG_CLIENT_AUTH_OPTIONAL, CONFIG_CLIENT_AUTH_REQUIRED };
enum config_redis_role { CONFIG_REDIS_ANY, CONFIG_REDIS_MASTER, CONFIG_REDIS_REPLICA };
enum config_postgresql_role {
    CONFIG_POSTGRESQL_ANY,
    CONFIG_POSTGRESQL_READ_WRITE,
    CONFIG_POSTGRESQL_STANDBY
};
enum config_ramp_shape { CONFIG_RAMP_LINEAR, CONFIG_RAMP_EXPONENTIAL };
enum config_on_fail { CONFIG_FAIL_ROLLBACK, CONFIG_FAIL_PAUSE };
enum config_commit { CONFIG_COMMIT_AUTO, CONFIG_COMMIT_MANUAL };
enum config_aim { CONFIG_AIM_SHARE, CONFIG_AIM_LIVE };
enum config_restart { CONFIG_RESTART_CONTINUE, CONFIG_RESTART_PAUSE };
enum config_drain_end { CONFIG_DRAIN_CLOSE, CONFIG_DRAIN_WAIT };
enum config_back_shape { CONFIG_BACK_AT_ONCE, CONFIG_BACK_LINEAR };
enum config_back_connections { CONFIG_BACK_DRAIN, CONFIG_BACK_CLOSE };

/* What a peer of the admin socket may; each may what those before it may. */
enum config_role { CONFIG_ROLE_NONE, CONFIG_ROLE_VIEWER, CONFIG_ROLE_OPERATOR, CONFIG_ROLE_ADMIN };

struct config_admin_role {
    char *user, *group; /* names or numbers; exactly one of them is set */
    enum config_role role;
    unsigned line;
};

struct config_admin_socket {
    char *socket;
    uint32_t mode;
    enum config_role most; /* nobody who comes this way may more */
    unsigned line;
};

struct config_admin_client {
    char *name; /* of its certificate's subject */
    enum config_role role;
    unsigned line;
};

#define CONFIG_OF_GROUP UINT64_MAX

struct config_backend {
    char *name;    /* default: the address text */
    char *address; /* as written: IPv4, [IPv6], host:port, unix:path (relative paths already made absolute) */
    uint32_t weight;
    uint32_t max_connections; /* 0: as its group has it */
    uint64_t slow_start_us;   /* CONFIG_OF_GROUP: as its group has it */
    bool backup;
    unsigned line; /* where it stands in the file */
};

struct config_health_step {
    char *send, *expect; /* with the escapes of core/bytes.h; NULL: nothing of the kind */
};

/* Texts are NULL where nothing was written and there is no default. */
struct config_health {
    enum config_health_type type;
    uint64_t interval_us;
    uint64_t fast_interval_us; /* while the state is about to change */
    uint64_t down_interval_us; /* while the backend is down */
    uint64_t timeout_us;
    uint32_t rise, fall;
    enum config_initial initial;
    uint32_t port; /* 0: the backend's own */
    enum config_check_proxy send_proxy;
    struct {
        bool present, enabled; /* how they speak TLS is decided in health/check_tls.h */
        char *server_name, *ca_file;
        bool verify;
        uint64_t expiry_warning_us;
    } tls;
    struct {
        bool present;
        struct config_health_step *steps;
        size_t steps_len;
    } send_expect;
    struct {
        bool present;
        char *method, *path, *host, *status, *body;
    } http;
    struct {
        bool present;
        char *user, *password_file;
        enum config_redis_role role;
    } redis;
    struct {
        bool present;
        char *user, *password_file, *database;
        enum config_postgresql_role role;
    } postgresql;
    struct {
        bool present;
        char *user, *password_file;
    } mysql;
    struct {
        bool present;
        char *hello;
        bool starttls;
    } smtp;
    struct {
        bool present;
        char *bind_dn, *password_file;
        bool starttls;
    } ldap;
    struct {
        bool present;
        char **command;
        size_t command_len;
    } exec;
};

struct config_certificate {
    char *certificate, *key; /* PEM files */
    char **phrase_command;   /* program and arguments; its first line decrypts the key. None: it is not
                                encrypted */
    size_t phrase_command_len;
    char *ocsp; /* DER file; NULL: nothing is stapled */
    unsigned line;
};

/* What happens to the connections of a group of whose backends too few are usable. */
enum config_panic { CONFIG_PANIC_OTHER_GROUP, CONFIG_PANIC_USE_ALL, CONFIG_PANIC_REFUSE };

struct config_group {
    char *name;
    enum config_balance balance;
    enum config_send_proxy send_proxy;
    char **send_proxy_tlvs; /* words */
    size_t send_proxy_tlvs_len;
    char *source;             /* "client" or an IP address; NULL: the system chooses */
    uint32_t max_connections; /* of each of its backends; 0: no limit */
    uint64_t slow_start_us;   /* of each that comes back; 0: none */
    struct {
        uint32_t size; /* connections that wait at a time */
        uint64_t timeout_us;
    } queue; /* while all of its backends are full */
    struct {
        bool present;
        bool verify;
        char *ca, *crl;    /* PEM files; NULL: those of the system, none */
        char *server_name; /* NULL: the host name of each backend's address, else the address itself */
        struct config_certificate own; /* what is shown to backends that ask; certificate NULL: nothing */
        char **alpn;
        size_t alpn_len;
        enum config_tls_version min_version;
    } tls;
    struct config_health health;
    struct {
        bool present;
        uint32_t connect_failures, timeouts, early_resets,
            handshake_failures; /* in a row; 0: not looked at */
        uint64_t base_us, max_us;
        uint32_t max_ejected_bp;
    } outlier;
    struct {
        bool present;
        uint32_t threshold_bp;
        enum config_panic action;
    } panic;
    struct config_backend *backends;
    size_t backends_len;
    unsigned line;
};

#define CONFIG_DECIMAL_ONE 10000u /* a decimal number 1.0 */

struct config_gate {
    bool present;
    uint64_t window_us;
    uint64_t min_samples;
    uint32_t max_error_rate_bp, max_error_increase_bp; /* 10000: off */
    uint64_t max_latency_us;                           /* 0: off */
    uint32_t max_latency_ratio, max_connect_ratio;     /* decimals; 0: off */
    uint32_t quantile;                                 /* decimal */
    uint32_t failures;
    enum config_on_fail on_fail;
    uint32_t alpha_bp, confidence_bp;
    uint64_t grace_us;
    uint64_t too_few_us; /* 0: it waits for samples without end */
};

#define CONFIG_HOLD_MANUAL UINT64_MAX /* hold = "manual": until `resume` */

struct config_step {
    uint32_t share_bp;
    uint64_t hold_us;
    uint64_t min_samples; /* connections to the target in this step before the next; 0: no condition */
    struct config_step_gate {
        bool present;
        uint64_t min_samples; /* this and all others: 0 as the migration's gate has it */
        uint32_t max_error_rate_bp, max_error_increase_bp;
        uint64_t max_latency_us;
        uint32_t max_latency_ratio, max_connect_ratio;
    } gate;
};

struct config_ramp {
    bool present;
    uint32_t from_bp, to_bp;
    uint64_t over_us;
    uint64_t tick_us; /* how often the share moves */
    enum config_ramp_shape shape;
};

enum config_hook_event {
    CONFIG_HOOK_START,
    CONFIG_HOOK_BEFORE_STEP,
    CONFIG_HOOK_PAUSE,
    CONFIG_HOOK_ROLLBACK,
    CONFIG_HOOK_DRAINED,
    CONFIG_HOOK_BEFORE_COMMIT,
    CONFIG_HOOK_COMPLETED
};

struct config_hook {
    enum config_hook_event on;
    char **command; /* program and arguments */
    size_t command_len;
    uint64_t timeout_us;
};

enum config_webhook_format { CONFIG_WEBHOOK_CLOUDEVENTS, CONFIG_WEBHOOK_TEXT };

struct config_webhook {
    char *url;
    enum config_webhook_format format;
    char **on; /* names of events; none: all */
    size_t on_len;
    uint64_t timeout_us;
    uint32_t retries;
};

struct config_migration {
    bool present;
    struct config_step *steps;
    size_t steps_len;
    struct config_ramp ramp; /* exactly one of steps and ramp */
    enum config_aim aim;
    uint32_t aim_limit_bp; /* LIVE: of new connections to the target at most */
    char *between;         /* hours in which it may advance, "09:00-17:00"; NULL: all */
    char *weekdays;        /* "mon-fri"; NULL: all */
    char *time_zone;       /* of both */
    struct {
        uint64_t timeout_us;
        enum config_drain_end on_timeout;
        uint32_t close_rate; /* connections a second; 0: all at once */
        uint32_t jitter_bp;  /* of the time between two closings */
        bool idle_first;
        uint64_t idle_after_us;
    } drain;
    struct {
        enum config_back_shape shape;
        uint64_t over_us; /* LINEAR: how long the share takes to 0 */
        enum config_back_connections connections;
        uint64_t timeout_us;
    } rollback;
    enum config_commit commit;
    enum config_restart restart;
    struct config_hook *hooks;
    size_t hooks_len;
    struct config_webhook *webhooks;
    size_t webhooks_len;
    struct config_gate gate;
};

/* None: 0, of rates UINT64_MAX. */
struct config_limits {
    uint64_t connections;
    uint32_t connections_per_client;
    uint64_t rate, rate_per_client; /* new connections, UNITS_RATE */
    uint32_t prefix_ipv4, prefix_ipv6;
    uint64_t table_size;            /* clients that are kept track of */
    uint64_t first_byte_timeout_us; /* of a service */
};

/* Where connections go whose client asks for this name. Neither: as if there were no routes. */
struct config_sni_route {
    char *name;    /* or "*.NAME" */
    char *group;   /* of this service, whatever a migration does; NULL: not said */
    char *service; /* another one; NULL: not said */
    unsigned line;
};

enum config_family { CONFIG_FAMILY_ANY, CONFIG_FAMILY_IPV4, CONFIG_FAMILY_IPV6 };

/* How the host names of backends are asked for. */
struct config_resolve {
    char **servers; /* ADDRESS:PORT; none: the system's */
    size_t servers_len;
    enum config_family family;
    uint64_t min_ttl_us, max_ttl_us;
    uint64_t timeout_us; /* of one question with all its repetitions */
    uint64_t hold_us;    /* an address that answers lack serves so much longer */
    uint32_t max_addresses;
};

struct config_service {
    char *name;
    char **listen; /* as written; relative unix paths made absolute */
    size_t listen_len;
    enum config_assign assign;
    struct {
        uint32_t ipv4, ipv6;
    } client_prefix;  /* bits of the client address that decide with assign = "client" and balance = "hash" */
    char *salt;       /* default: the service name */
    uint32_t retries; /* connect attempts after the first */
    uint32_t connection_log_bp; /* of the connections that ended, so many have a line in the log */
    bool fallback;              /* during a migration: a group that cannot serve hands over to the other */
    bool fallback_when_full;    /* so does one whose backends are all full */
    struct {
        uint64_t connect_us, idle_us, half_close_us;
    } timeouts;
    struct {
        enum config_proxy_accept accept;
        char **from; /* prefixes, or @PATH: who may speak for others */
        size_t from_len;
        uint64_t timeout_us; /* for the whole header */
    } proxy_protocol;
    struct {
        bool present;
        struct config_certificate *certificates; /* the first is shown where none fits better */
        size_t certificates_len;
        enum config_tls_unknown unknown_name;
        enum config_tls_version min_version;
        char *ciphers, *ciphersuites, *curves; /* as OpenSSL writes them; for TLS 1.2, for 1.3, for both */
        char **alpn;                           /* best first; none: the extension is not answered */
        size_t alpn_len;
        enum config_client_auth client_auth;
        char *client_ca, *client_crl; /* PEM files */
        bool sessions;                /* may be taken up again */
        uint64_t session_lifetime_us;
        uint32_t session_cache; /* sessions of TLS 1.2 without tickets that are kept; 0: none */
        uint64_t handshake_timeout_us;
        uint32_t max_handshakes; /* at once; 0: no limit */
    } tls;
    struct {
        bool present;
        enum config_sni_default otherwise;
        uint64_t timeout_us; /* for the whole ClientHello */
        struct config_sni_route *routes;
        size_t routes_len;
    } sni;
    char **allow, **deny; /* prefixes, or @PATH */
    size_t allow_len, deny_len;
    struct config_limits limits;
    struct {
        uint64_t per_connection_in, per_connection_out, service_in, service_out; /* UINT64_MAX: no limit */
    } bandwidth; /* bytes a second; in: from clients */
    struct config_group *groups;
    size_t groups_len;
    struct config_migration migration;
    unsigned line;
};

struct config {
    unsigned sharers; /* who called config_share and not yet config_free */
    char *path;       /* of the file, absolute; NULL when loaded from text */
    uint32_t workers; /* 0: one per CPU */
    uint64_t spin_us; /* 0: never look before sleeping */
    char *state_dir;
    uint64_t shutdown_timeout_us;
    struct {
        uint64_t ready_timeout_us, drain_timeout_us;
    } upgrade;
    char *user, *group; /* who to become once all is bound; NULL: who it is */
    bool sandbox;
    struct {
        char *socket;
        uint32_t mode;
        struct config_admin_role *roles; /* none: whoever may connect is an admin */
        size_t roles_len;
        enum config_role default_role;       /* with roles: of those that none of them names */
        struct config_admin_socket *sockets; /* further ones */
        size_t sockets_len;
        struct {
            bool present;
            char *listen, *certificate, *key, *client_ca, *client_crl; /* client_crl NULL: none */
            struct config_admin_client *clients;
            size_t clients_len;
        } remote; /* over TLS */
    } admin;
    struct {
        bool present;
        char *listen;
    } metrics;
    struct {
        char *level, *format;
        char *to;   /* "stderr", "file" or "syslog" */
        char *file; /* with "file" */
        char *syslog_socket, *facility;
        uint32_t rate; /* lines a second of one message; 0: no limit */
    } log;
    struct config_limits limits; /* of all services together */
    struct config_resolve resolve;
    struct config_service *services;
    size_t services_len;
};

/* One finding. line 0: not tied to a line. */
struct config_error {
    char *path; /* of the included file it stands in; NULL: the file that was loaded (config_errors.path) */
    unsigned line;
    char *text; /* "services.web.groups.old.health: unknown setting "intreval" (did you mean "interval"?)" */
    char *source; /* that line of the file, without its end; NULL when there is none */
};

struct config_errors {
    struct config_error *list; /* in order of line */
    size_t len;
    char *path; /* as given by the caller; NULL for config_load_text */
};

/*
 * Reads and checks a file. Finds every error at once. On success returns 0 and *out owned by the caller
 * (config_free). On failure *out is untouched, the code is ERR_SYSTEM (cannot be read) or ERR_INVALID, and
 * errors holds at least one entry; or it is ERR_NOMEM, and errors holds what was found until then. errors is
 * initialised here and must be freed with config_errors_clear in either case.
 */
MUST_CHECK int config_load(const char *path, struct config **out, struct config_errors *errors);
/* As config_load, from memory; base_dir: what relative paths count from (NULL: as they are). */
MUST_CHECK int config_load_text(const char *text, const char *base_dir, struct config **out,
                                struct config_errors *errors);
/* NULL is allowed. (Not "destroy": libconfig, which is linked in, has a function of that name.) */
/* What the gate goes by in a step: all, with what the step gives of its own. */
struct config_gate config_gate_of_step(const struct config_gate *all, const struct config_step *step);

/* With config_share one configuration has several owners: each calls config_free, the last one frees. Control
 * thread. Returns config. */
struct config *config_share(struct config *config);
void config_free(struct config *config);
void config_errors_clear(struct config_errors *errors);
/* Writes the findings as operators see them: "PATH:LINE: TEXT" and the source line below. Returns the text
 * (owned by the caller) or NULL without memory. */
char *config_errors_format(const struct config_errors *errors);

/* `show settings`: every setting in force, one "path = value  # default: …" a line, from the table. Owned by
 * the caller, NULL without memory. */
char *config_show(const struct config *config);
/* The reference (Markdown) from the table. Owned by the caller. */
char *config_reference(void);

#endif
