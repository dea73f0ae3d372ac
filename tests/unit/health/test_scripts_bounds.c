/* What holds of every protocol's script: bounds of lines and of replies, nothing ahead of TLS, secrets
 * covered. */
#include "tests/unit/health/checks.h"
#include "tests/unit/health/conversation.h"
#include "tests/unit/health/replies.h"

#include "core/random.h"

static const struct config_health all[] = {
    HTTP("200-399", "ready"),
    HTTP_PLAIN,
    REDIS(CONFIG_REDIS_MASTER),
    PG_USER(CONFIG_POSTGRESQL_STANDBY),
    PG_BARE,
    PG_TLS,
    MY_USER,
    MY_BARE,
    MY_TLS,
    SMTP,
    SMTP_TLS,
    LDAP,
    {.type = CONFIG_HEALTH_AGENT},
};

/* True when a line of len bytes that comes in parts of part bytes is called endless. */
static bool is_endless(const struct config_health *config, const uint8_t *line, size_t len, size_t part)
{
    struct script_run run;
    const struct script_params params = {.config = config, .ask_tls = config->tls.present, .host = "h"};
    assert_int_equal(script_create(script_find(config->type), &params, &run), 0);
    enum script_verdict verdict = script_begin(&run);
    for (size_t at = 0; at < len && verdict == SCRIPT_MORE; at += part) {
        verdict = script_feed(&run, line + at, part, false);
    }
    bool endless =
        strstr(run.reason, "without an end") != NULL || strstr(run.reason, "not an agent's line") != NULL;
    script_destroy(&run);
    return endless;
}

/* As long as may be, and one byte longer: whole or byte by byte, the verdict is the same. */
static void long_lines(void **state)
{
    (void)state;
    static const struct {
        struct config_health config;
        const char *begin;
        size_t most;
    } lines[] = {{HTTP_PLAIN, "HTTP/1.1 200 ", 1025},
                 {{.type = CONFIG_HEALTH_REDIS}, "-", 1025},
                 {{.type = CONFIG_HEALTH_SMTP, .smtp = {.hello = TEXT("me")}}, "220-", 2049},
                 {{.type = CONFIG_HEALTH_AGENT}, "up ", 1025}};
    for (size_t i = 0; i < COUNT(lines); i++) {
        for (size_t len = lines[i].most - 1; len <= lines[i].most + 1; len++) {
            uint8_t line[2050];
            memset(line, ' ', sizeof(line));
            memcpy(line, lines[i].begin, strlen(lines[i].begin));
            line[len - 1] = '\n';
            assert_int_equal(is_endless(&lines[i].config, line, len, len), len > lines[i].most);
            assert_int_equal(is_endless(&lines[i].config, line, len, 1), len > lines[i].most);
        }
    }
}

/* Ends before it has taken in more than the bound, whatever comes. */
static void garbage_is_bounded(void **state)
{
    (void)state;
    static uint8_t garbage[4096];
    for (size_t i = 0; i < COUNT(all); i++) {
        for (unsigned seed = 0; seed < 200; seed++) {
            struct random_state random;
            struct script_run run;
            const struct script_params params = {
                .config = &all[i], .ask_tls = all[i].tls.present, .host = "h", .password = "secret"};
            random_seed(&random, seed);
            assert_int_equal(script_create(script_find(all[i].type), &params, &run), 0);
            enum script_verdict verdict = script_begin(&run);
            size_t fed = 0;
            while (verdict == SCRIPT_MORE && fed < (size_t)8 * 1024 * 1024) {
                for (size_t b = 0; b < sizeof(garbage); b++) {
                    /* Random bytes, one byte repeated, printable lines: by the seed. */
                    garbage[b] = seed % 3 == 0   ? (uint8_t)random_below(&random, 256)
                                 : seed % 3 == 1 ? (uint8_t)(seed * 5)
                                                 : (uint8_t)("ab \n"[random_below(&random, 4)]);
                }
                verdict = script_feed(&run, garbage, sizeof(garbage), false);
                fed += sizeof(garbage);
            }
            assert_true(verdict == SCRIPT_FAILED || verdict == SCRIPT_PASSED);
            assert_true(fed <= SCRIPT_TOTAL_MAX);
            assert_true(run.in.room <= 2 * SCRIPT_REPLY_MAX);
            script_destroy(&run);
        }
    }
}

/* What came before the handshake must not count as what came after it. */
static void bytes_ahead_of_tls_are_refused(void **state)
{
    (void)state;
    struct script_run run;
    static const struct config_health config = PG_TLS;
    const struct script_params params = {.config = &config, .ask_tls = config.tls.present, .host = "h"};
    assert_int_equal(script_create(&script_postgresql, &params, &run), 0);
    assert_int_equal(script_begin(&run), SCRIPT_MORE);
    assert_int_equal(script_feed(&run, (const uint8_t *)"S" PG_READY, 1 + PG_READY_LEN, false),
                     SCRIPT_FAILED);
    assert_string_equal(run.reason, "sent bytes ahead of the TLS handshake");
    script_destroy(&run);
}

/* The salted password is kept, not what belongs to one exchange. */
static void scram_twice(void **state)
{
    (void)state;
    struct script_run run;
    static const struct config_health config = PG_USER(CONFIG_POSTGRESQL_ANY);
    struct script_params params = {
        .config = &config, .ask_tls = config.tls.present, .host = "h", .password = "secret"};
    memset(params.nonce, 7, sizeof(params.nonce));
    assert_int_equal(script_create(&script_postgresql, &params, &run), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(script_begin(&run), SCRIPT_MORE);
        assert_int_equal(script_feed(&run, (const uint8_t *)PG_SASL, PG_SASL_LEN, false), SCRIPT_MORE);
        assert_int_equal(script_feed(&run, (const uint8_t *)PG_SASL_CONTINUE, PG_SASL_CONTINUE_LEN, false),
                         SCRIPT_MORE);
        conversation_hear(&run, SCRAM_CLIENT_FINAL);
        assert_int_equal(script_feed(&run, (const uint8_t *)PG_SASL_FINAL_OK, PG_SASL_FINAL_OK_LEN, false),
                         SCRIPT_PASSED);
    }
    script_destroy(&run);
}

/* A secret in what is said is always covered where the exchange is shown. */
static void secrets_are_masked(void **state)
{
    (void)state;
    static const struct config_health config = REDIS(CONFIG_REDIS_ANY);
    static const struct config_health bind = {.type = CONFIG_HEALTH_LDAP, .ldap = {.bind_dn = TEXT("cn=m")}};
    const struct config_health *const saying[] = {&config, &bind};
    for (size_t i = 0; i < COUNT(saying); i++) {
        struct script_run run;
        const struct script_params params = {
            .config = saying[i], .ask_tls = saying[i]->tls.present, .host = "h", .password = "secret"};
        assert_int_equal(script_create(script_find(saying[i]->type), &params, &run), 0);
        assert_int_equal(script_begin(&run), SCRIPT_MORE);
        assert_non_null(memmem(run.out.data, run.out.len, "secret", 6));
        assert_non_null(run.out_mask);
        assert_null(strstr(run.out_mask, "secret"));
        script_destroy(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_lines),
        cmocka_unit_test(garbage_is_bounded),
        cmocka_unit_test(bytes_ahead_of_tls_are_refused),
        cmocka_unit_test(scram_twice),
        cmocka_unit_test(secrets_are_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
