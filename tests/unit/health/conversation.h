/*
 * Conversations between a probe's script and a server that is a list of texts. Each is run whole, one byte at
 * a time, and cut at every byte; the script reads from memory of exactly the size it is told, so that reading
 * past the end is seen by AddressSanitizer.
 */
#ifndef TESTS_HEALTH_CONVERSATION_H
#define TESTS_HEALTH_CONVERSATION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "health/script_internal.h"

#include <stdlib.h>
#include <string.h>

#define CONVERSATION_TURNS 10u

struct conversation {
    struct config_health config;
    const char *password;
    struct {
        const char *hear; /* must be within what the script has said since the last turn; NULL: nothing */
        const char *say;
        size_t len;  /* 0: as long as its text */
        bool secure; /* after it the script asks for TLS, and gets it */
    } turns[CONVERSATION_TURNS];
    enum script_verdict verdict; /* after the last turn and the end */
    const char *reason;
};

/* As script_feed, from exact memory. */
static inline enum script_verdict conversation_feed(struct script_run *run, struct script_buffer *held,
                                                    const void *data, size_t len, bool eof)
{
    uint8_t *joined = malloc(held->len + len + 1); /* NOLINT(clang-analyzer-optin.portability.UnixAPI) */
    assert_non_null(joined);
    if (held->len > 0) {
        memcpy(joined, held->data, held->len);
    }
    if (len > 0) {
        memcpy(joined + held->len, data, len);
    }
    free(held->data);
    held->data = joined;
    held->len += len;
    run->received += len;
    while (held->len > 0 || eof) {
        size_t used = 0;
        /* Exactly as long as the reply, so that reading past it shows. */
        uint8_t *exact = malloc(held->len); /* NOLINT(clang-analyzer-optin.portability.UnixAPI) */
        assert_true(exact != NULL || held->len == 0);
        if (held->len > 0) {
            memcpy(exact, held->data, held->len);
        }
        enum script_verdict verdict = run->script->step(run, exact, held->len, eof, &used);
        free(exact);
        assert_true(used <= held->len);
        held->len -= used;
        memmove(held->data, held->data + used, held->len);
        if (verdict != SCRIPT_MORE || used == 0) {
            return verdict;
        }
        if (held->len == 0) {
            break;
        }
    }
    return SCRIPT_MORE;
}

static inline void conversation_hear(struct script_run *run, const char *hear)
{
    if (hear != NULL) {
        assert_non_null(run->out.data);
        if (memmem(run->out.data, run->out.len, hear, strlen(hear)) == NULL) {
            fail_msg("said %.*s, not %s", (int)run->out.len, (const char *)run->out.data, hear);
        }
    } else {
        assert_int_equal(run->out.len, 0);
    }
    run->out.len = 0;
}

static inline size_t conversation_length(const struct conversation *c, unsigned turn)
{
    return c->turns[turn].len > 0 ? c->turns[turn].len : strlen(c->turns[turn].say);
}

/* Feeds the server's texts in parts of `part` bytes (0: whole), and ends after `cut` bytes. */
static inline enum script_verdict conversation_run(const struct conversation *c, size_t part, size_t cut,
                                                   char reason[SCRIPT_REASON_MAX])
{
    struct script_run run;
    struct script_buffer held = {0};
    struct script_params params = {.config = &c->config,
                                   .host = "10.0.0.1:80",
                                   .ask_tls = c->config.tls.present,
                                   .password = c->password};
    memset(params.nonce, 7, sizeof(params.nonce));
    assert_int_equal(script_create(script_find(c->config.type), &params, &run), 0);
    enum script_verdict verdict = script_begin(&run);
    size_t said = 0;
    for (unsigned turn = 0; c->turns[turn].say != NULL && verdict == SCRIPT_MORE && said < cut; turn++) {
        conversation_hear(&run, c->turns[turn].hear);
        size_t len = conversation_length(c, turn);
        for (size_t at = 0; at < len && verdict == SCRIPT_MORE && said < cut;) {
            size_t step = part > 0 && part < len - at ? part : len - at;
            step = step < cut - said ? step : cut - said;
            verdict = conversation_feed(&run, &held, c->turns[turn].say + at, step, false);
            at += step;
            said += step;
        }
        if (verdict == SCRIPT_SECURE) {
            assert_true(c->turns[turn].secure);
            assert_int_equal(held.len, 0);
            run.out.len = 0;
            verdict = script_secured(&run);
        }
    }
    if (verdict == SCRIPT_MORE) {
        run.out.len = 0;
        verdict = conversation_feed(&run, &held, "", 0, true);
        if (verdict == SCRIPT_MORE) {
            verdict = script_fail(&run, "closed"); /* as script_feed does */
        }
    }
    assert_false(run.nomem);
    assert_true(strlen(run.reason) > 0);
    memcpy(reason, run.reason, sizeof(run.reason));
    free(held.data);
    script_destroy(&run);
    return verdict;
}

static inline void conversation_check(const struct conversation *c)
{
    char reason[SCRIPT_REASON_MAX];
    size_t whole = 0;
    for (unsigned turn = 0; c->turns[turn].say != NULL; turn++) {
        whole += conversation_length(c, turn);
    }
    for (size_t part = 0; part <= 3; part++) {
        assert_int_equal(conversation_run(c, part, SIZE_MAX, reason), c->verdict);
        assert_string_equal(reason, c->reason);
    }
    /* Once it has passed after some byte, it has with more of them. Never before all that matters came. */
    for (size_t cut = 0; cut < whole; cut++) {
        enum script_verdict verdict = conversation_run(c, 0, cut, reason);
        assert_true(verdict == SCRIPT_FAILED || verdict == c->verdict);
        assert_true(verdict == SCRIPT_FAILED || verdict == SCRIPT_PASSED);
    }
}

static inline void conversation_check_all(const struct conversation *list, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        conversation_check(&list[i]);
    }
}

/* Every byte of the server's texts changed, one at a time: any verdict, no fault. */
static inline void conversation_damage(const struct conversation *c)
{
    for (unsigned turn = 0; c->turns[turn].say != NULL; turn++) {
        size_t len = conversation_length(c, turn);
        for (size_t at = 0; at < len; at++) {
            static const uint8_t masks[] = {0x01, 0x20, 0x80, 0xff};
            for (size_t m = 0; m < sizeof(masks); m++) {
                struct script_run run;
                struct script_buffer held = {0};
                struct script_params params = {.config = &c->config,
                                               .host = "10.0.0.1:80",
                                               .ask_tls = c->config.tls.present,
                                               .password = c->password};
                memset(params.nonce, 7, sizeof(params.nonce));
                assert_int_equal(script_create(script_find(c->config.type), &params, &run), 0);
                enum script_verdict verdict = script_begin(&run);
                for (unsigned t = 0;
                     c->turns[t].say != NULL && verdict != SCRIPT_FAILED && verdict != SCRIPT_PASSED; t++) {
                    size_t n = conversation_length(c, t);
                    char *said = malloc(n);
                    assert_non_null(said);
                    memcpy(said, c->turns[t].say, n);
                    said[at < n ? at : 0] = (char)(said[at < n ? at : 0] ^ (t == turn ? masks[m] : 0));
                    verdict = conversation_feed(&run, &held, said, n, false);
                    free(said);
                    if (verdict == SCRIPT_SECURE) {
                        held.len = 0;
                        verdict = script_secured(&run);
                    }
                }
                free(held.data);
                script_destroy(&run);
            }
        }
    }
}

#endif
