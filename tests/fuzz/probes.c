/*
 * What servers answer to health checks: every protocol's script, from memory of exactly the size it is told.
 * The first byte says which check, the second in parts of how many bytes the rest comes. However it comes in
 * parts, the verdict is the same; a verdict has a reason; what is kept is bounded.
 */
#include "health/script_internal.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define TEXT(text) (char *)(uintptr_t)(text)

/* The kept inputs name them by their place: add at the end. */
static const struct {
    struct config_health config;
    const char *password;
} checks[] = {
    {.config = {.type = CONFIG_HEALTH_HTTP,
                .http = {.method = TEXT("GET"), .path = TEXT("/"), .status = TEXT("200-399")}}},
    {.config = {.type = CONFIG_HEALTH_HTTP,
                .http = {.method = TEXT("GET"),
                         .path = TEXT("/"),
                         .status = TEXT("200,204"),
                         .body = TEXT("all well")}}},
    {.config = {.type = CONFIG_HEALTH_REDIS}},
    {.config = {.type = CONFIG_HEALTH_REDIS, .redis = {.role = CONFIG_REDIS_REPLICA}}, .password = "secret"},
    {.config = {.type = CONFIG_HEALTH_POSTGRESQL}},
    {.config = {.type = CONFIG_HEALTH_POSTGRESQL,
                .postgresql = {.user = TEXT("mon"),
                               .database = TEXT("mon"),
                               .role = CONFIG_POSTGRESQL_READ_WRITE}},
     .password = "secret"},
    {.config = {.type = CONFIG_HEALTH_POSTGRESQL, .tls = {.present = true}}},
    {.config = {.type = CONFIG_HEALTH_MYSQL}},
    {.config = {.type = CONFIG_HEALTH_MYSQL, .mysql = {.user = TEXT("mon")}}, .password = "secret"},
    {.config = {.type = CONFIG_HEALTH_MYSQL, .mysql = {.user = TEXT("mon")}, .tls = {.present = true}},
     .password = "secret"},
    {.config = {.type = CONFIG_HEALTH_SMTP, .smtp = {.hello = TEXT("me")}}},
    {.config = {.type = CONFIG_HEALTH_SMTP, .smtp = {.hello = TEXT("me"), .starttls = true}}},
    {.config = {.type = CONFIG_HEALTH_LDAP}},
    {.config = {.type = CONFIG_HEALTH_LDAP, .ldap = {.bind_dn = TEXT("cn=mon"), .starttls = true}},
     .password = "secret"},
    {.config = {.type = CONFIG_HEALTH_AGENT}},
    {.config = {.type = CONFIG_HEALTH_SEND_EXPECT}},
};

#define CHECKS (sizeof(checks) / sizeof(checks[0]))

static struct config_health_step steps[] = {{.send = TEXT("PING\\r\\n"), .expect = TEXT("PONG\\r\\n")},
                                            {.expect = TEXT("aab\\x00")},
                                            {.send = TEXT("QUIT")}};

static void begin(const struct config_health *config, const char *password, struct script_run *run)
{
    struct script_params params = {
        .config = config, .ask_tls = config->tls.present, .host = "10.0.0.1:80", .password = password};
    memset(params.nonce, 7, sizeof(params.nonce));
    if (script_create(script_find(config->type), &params, run) != 0) {
        exit(1);
    }
}

static bool is_end(enum script_verdict verdict)
{
    return verdict == SCRIPT_PASSED || verdict == SCRIPT_FAILED;
}

/* As a connection feeds it. */
static enum script_verdict feed_in_parts(struct script_run *run, const uint8_t *data, size_t len, size_t part,
                                         bool *secured)
{
    enum script_verdict verdict = script_begin(run);
    for (size_t at = 0; at < len && !is_end(verdict); at += part) {
        verdict = script_feed(run, data + at, part < len - at ? part : len - at, false);
        if (verdict == SCRIPT_SECURE) {
            *secured = true;
            verdict = script_secured(run);
        }
        FUZZ_CHECK(run->in.len <= SCRIPT_REPLY_MAX && run->in.room <= 2 * SCRIPT_REPLY_MAX);
        FUZZ_CHECK(run->received <= SCRIPT_TOTAL_MAX);
        run->out.len = 0;
    }
    return is_end(verdict) ? verdict : script_feed(run, NULL, 0, true);
}

/* Whole, and each step from a piece of memory of its own. */
static void step_from_exact_memory(struct script_run *run, const uint8_t *data, size_t len)
{
    enum script_verdict verdict = script_begin(run);
    size_t used = 1;
    while (!is_end(verdict) && used > 0 && len > 0) {
        uint8_t *exact = malloc(len);
        if (exact == NULL) {
            exit(1);
        }
        memcpy(exact, data, len);
        used = 0;
        verdict = run->script->step(run, exact, len, false, &used);
        FUZZ_CHECK(used <= len);
        data += used;
        len -= used;
        free(exact);
        if (verdict == SCRIPT_SECURE) {
            verdict = script_secured(run);
            used = 1;
        }
    }
}

static void check_reason(const struct script_run *run)
{
    size_t len = strlen(run->reason);
    FUZZ_CHECK(len > 0 && len < SCRIPT_REASON_MAX);
    for (size_t i = 0; i < len; i++) {
        FUZZ_CHECK(run->reason[i] >= 0x20 && run->reason[i] < 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct config_health config = checks[data[0] % CHECKS].config;
    const char *password = checks[data[0] % CHECKS].password;
    size_t part = data[1] % 32 + 1;
    struct script_run whole;
    struct script_run parts;
    bool secured = false;
    if (config.type == CONFIG_HEALTH_SEND_EXPECT) {
        config.send_expect.steps = steps;
        config.send_expect.steps_len = sizeof(steps) / sizeof(steps[0]);
    }
    begin(&config, password, &whole);
    begin(&config, password, &parts);
    enum script_verdict once = feed_in_parts(&whole, data + 2, size - 2, size, &secured);
    enum script_verdict often = feed_in_parts(&parts, data + 2, size - 2, part, &secured);
    FUZZ_CHECK(is_end(once) && is_end(often));
    FUZZ_CHECK(secured || once == often); /* bytes that come with the leave for TLS are refused */
    check_reason(&whole);
    check_reason(&parts);
    step_from_exact_memory(&parts, data + 2, size - 2);
    script_destroy(&parts);
    script_destroy(&whole);
    return 0;
}
