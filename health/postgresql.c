/*
 * The PostgreSQL probe (its frontend/backend protocol, version 3). Without a user the answer to a startup
 * message shows that the server is there; with one it logs in (MD5, SCRAM-SHA-256, clear text only within
 * TLS) and, where a role is asked for, asks whether the server is in recovery. Pure; control thread.
 */
#include "health/scram_internal.h"

#include "core/openssl.h"
#include "health/script_internal.h"

#include <stdio.h>
#include <string.h>

#define PROTOCOL_3 196608u
#define SSL_REQUEST 80877103u
#define HEAD_BYTES 5u /* type and length */

enum phase { PHASE_SSL, PHASE_AUTH, PHASE_READY, PHASE_ROW };

/* Authentication requests, by their number. */
enum {
    AUTH_OK = 0,
    AUTH_CLEAR = 3,
    AUTH_MD5 = 5,
    AUTH_SASL = 10,
    AUTH_SASL_CONTINUE = 11,
    AUTH_SASL_FINAL = 12
};

struct state {
    enum phase phase;
    bool sasl_begun;
    bool sasl_proven; /* the server has shown that it knows the password, too */
    struct scram scram;
};

struct message {
    uint8_t type;
    const uint8_t *body;
    size_t len;
};

static void put32(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 24);
    out[1] = (uint8_t)(value >> 16);
    out[2] = (uint8_t)(value >> 8);
    out[3] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

static void send_message(struct script_run *run, char type, const void *body, size_t len)
{
    uint8_t head[HEAD_BYTES] = {(uint8_t)type};
    put32(head + 1, (uint32_t)(len + 4));
    script_send(run, head, sizeof(head));
    script_send(run, body, len);
}

static void send_startup(struct script_run *run)
{
    const struct config_health *config = run->params.config;
    const char *user = config->postgresql.user != NULL ? config->postgresql.user : "shunt";
    const char *database = config->postgresql.database != NULL ? config->postgresql.database : user;
    const char *const words[] = {"user", user, "database", database, "application_name", "shunt"};
    uint8_t head[8];
    size_t len = sizeof(head) + 1;
    for (size_t i = 0; i < 6; i++) {
        len += strlen(words[i]) + 1;
    }
    put32(head, (uint32_t)len);
    put32(head + 4, PROTOCOL_3);
    script_send(run, head, sizeof(head));
    for (size_t i = 0; i < 6; i++) {
        script_send(run, words[i], strlen(words[i]) + 1);
    }
    script_send(run, "", 1);
}

static void begin(struct script_run *run)
{
    struct state *state = run->state;
    state->phase = PHASE_AUTH;
    if (run->params.ask_tls) {
        uint8_t request[8];
        put32(request, sizeof(request));
        put32(request + 4, SSL_REQUEST);
        script_send(run, request, sizeof(request));
        state->phase = PHASE_SSL;
        return;
    }
    send_startup(run);
}

static enum script_verdict secured(struct script_run *run)
{
    struct state *state = run->state;
    state->phase = PHASE_AUTH;
    send_startup(run);
    return SCRIPT_MORE;
}

/* The field of an ErrorResponse, as text that ends in NUL inside the body; "" when it is not there. */
static const char *error_field(const struct message *message, char field)
{
    const uint8_t *at = message->body;
    size_t len = message->len;
    while (len > 1 && at[0] != '\0') {
        const uint8_t *end = memchr(at, '\0', len);
        if (end == NULL) {
            break;
        }
        if (at[0] == (uint8_t)field) {
            return (const char *)at + 1;
        }
        len -= (size_t)(end + 1 - at);
        at = end + 1;
    }
    return "";
}

/* Without credentials, a server that knows us not is there all the same: classes 28 (invalid authorization)
 * and 3D (unknown database). */
static enum script_verdict judge_error(struct script_run *run, const struct message *message)
{
    const char *code = error_field(message, 'C');
    const char *text = error_field(message, 'M');
    if (run->params.config->postgresql.user == NULL &&
        (strncmp(code, "28", 2) == 0 || strncmp(code, "3D", 2) == 0)) {
        return script_pass(run, "answers");
    }
    return script_fail_quoting(run, "refused", text, strlen(text));
}

static void digest_hex(const void *a, size_t a_len, const void *b, size_t b_len, char out[33])
{
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1 &&
                EVP_DigestUpdate(context, a, a_len) == 1 && EVP_DigestUpdate(context, b, b_len) == 1 &&
                EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    for (size_t i = 0; i < 16; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", good ? digest[i] : 0u);
    }
}

/* "md5" and the hex of MD5(hex of MD5(password, user), salt) */
static void answer_md5(struct script_run *run, const uint8_t *salt)
{
    char inner[33];
    char outer[33];
    char text[40];
    const char *user = run->params.config->postgresql.user;
    digest_hex(run->params.password, strlen(run->params.password), user, strlen(user), inner);
    digest_hex(inner, 32, salt, 4, outer);
    (void)snprintf(text, sizeof(text), "md5%s", outer);
    run->out_mask = "PasswordMessage ***";
    send_message(run, 'p', text, strlen(text) + 1);
}

/* The list of mechanisms: texts, ended by an empty one. */
static bool has_mechanism(const uint8_t *list, size_t len, const char *name)
{
    while (len > 0 && list[0] != '\0') {
        const uint8_t *end = memchr(list, '\0', len);
        if (end == NULL) {
            return false;
        }
        if (strcmp((const char *)list, name) == 0) {
            return true;
        }
        len -= (size_t)(end + 1 - list);
        list = end + 1;
    }
    return false;
}

static enum script_verdict begin_sasl(struct script_run *run, const uint8_t *list, size_t len)
{
    static const char name[] = "SCRAM-SHA-256";
    struct state *state = run->state;
    char first[SCRAM_MESSAGE_MAX];
    uint8_t body[sizeof(name) + 4 + SCRAM_MESSAGE_MAX];
    if (!has_mechanism(list, len, name) || state->sasl_begun) {
        return script_fail(run, "asks for a login that is not known here");
    }
    state->sasl_begun = true;
    scram_first(&state->scram, run->params.nonce, sizeof(run->params.nonce), first);
    memcpy(body, name, sizeof(name));
    size_t first_len = strnlen(first, sizeof(first));
    put32(body + sizeof(name), (uint32_t)first_len);
    memcpy(body + sizeof(name) + 4, first, first_len);
    run->out_mask = "SASLInitialResponse ***";
    send_message(run, 'p', body, sizeof(name) + 4 + first_len);
    return SCRIPT_MORE;
}

static enum script_verdict go_on_sasl(struct script_run *run, const uint8_t *data, size_t len)
{
    struct state *state = run->state;
    char final[SCRAM_MESSAGE_MAX];
    int rc = state->sasl_begun
                 ? scram_final(&state->scram, run->memory, run->params.password, data, len, final)
                 : ERR_PARSE;
    if (rc == ERR_NOMEM) {
        run->nomem = true;
        return SCRIPT_FAILED;
    }
    if (rc != 0) {
        return script_fail(run, rc == ERR_LIMIT ? "asks for too many SCRAM rounds" : "broken SCRAM message");
    }
    run->out_mask = "SASLResponse ***";
    send_message(run, 'p', final, strlen(final));
    return SCRIPT_MORE;
}

static enum script_verdict judge_auth(struct script_run *run, const struct message *message)
{
    struct state *state = run->state;
    if (message->len < 4) {
        return script_fail(run, "not PostgreSQL");
    }
    uint32_t kind = get32(message->body);
    const uint8_t *rest = message->body + 4;
    size_t rest_len = message->len - 4;
    if (run->params.config->postgresql.user == NULL) {
        return script_pass(run, kind == AUTH_OK ? "answers" : "answers, asks for a login");
    }
    if (kind == AUTH_OK) {
        if (state->sasl_begun && !state->sasl_proven) {
            return script_fail(run, "does not prove that it knows the password");
        }
        state->phase = PHASE_READY;
        return SCRIPT_MORE;
    }
    if (run->params.password == NULL) {
        return script_fail(run, "asks for a password");
    }
    switch (kind) {
    case AUTH_CLEAR:
        if (!run->secured) {
            return script_fail(run, "asks for the password in clear text without TLS");
        }
        run->out_mask = "PasswordMessage ***";
        send_message(run, 'p', run->params.password, strlen(run->params.password) + 1);
        return SCRIPT_MORE;
    case AUTH_MD5:
        if (rest_len != 4) {
            return script_fail(run, "not PostgreSQL");
        }
        answer_md5(run, rest);
        return SCRIPT_MORE;
    case AUTH_SASL:
        return begin_sasl(run, rest, rest_len);
    case AUTH_SASL_CONTINUE:
        return go_on_sasl(run, rest, rest_len);
    case AUTH_SASL_FINAL:
        state->sasl_proven = state->sasl_begun && scram_verify(&state->scram, rest, rest_len);
        return state->sasl_proven ? SCRIPT_MORE
                                  : script_fail(run, "does not prove that it knows the password");
    default:
        return script_fail(run, "asks for a login that is not known here");
    }
}

static enum script_verdict pass(struct script_run *run, const char *reason)
{
    run->out_mask = "Terminate";
    send_message(run, 'X', NULL, 0);
    return script_pass(run, "%s", reason);
}

static enum script_verdict judge_ready(struct script_run *run)
{
    static const char query[] = "SELECT pg_catalog.pg_is_in_recovery()";
    struct state *state = run->state;
    if (state->phase == PHASE_ROW) {
        return script_fail(run, "did not say whether it is in recovery");
    }
    if (run->params.config->postgresql.role == CONFIG_POSTGRESQL_ANY) {
        return pass(run, "logged in");
    }
    state->phase = PHASE_ROW;
    send_message(run, 'Q', query, sizeof(query));
    return SCRIPT_MORE;
}

/* One column with "t" or "f". */
static enum script_verdict judge_row(struct script_run *run, const struct message *message)
{
    static const uint8_t shape[] = {0, 1, 0, 0, 0, 1};
    if (message->len != sizeof(shape) + 1 || memcmp(message->body, shape, sizeof(shape)) != 0) {
        return script_fail(run, "did not say whether it is in recovery");
    }
    bool standby = message->body[sizeof(shape)] == 't';
    if (standby != (run->params.config->postgresql.role == CONFIG_POSTGRESQL_STANDBY)) {
        return script_fail(run, standby ? "in recovery: not read-write" : "not in recovery: no standby");
    }
    return pass(run, standby ? "standby" : "read-write");
}

static enum script_verdict judge(struct script_run *run, const struct message *message)
{
    const struct state *state = run->state;
    switch (message->type) {
    case 'E':
        return judge_error(run, message);
    case 'N': /* a notice */
    case 'v': /* a newer protocol is not spoken */
        return SCRIPT_MORE;
    case 'R':
        return state->phase == PHASE_AUTH ? judge_auth(run, message) : script_fail(run, "logs in twice");
    case 'S': /* parameters, the key for cancelling, the form and the end of a result */
    case 'K':
    case 'T':
    case 'C':
        return state->phase == PHASE_AUTH ? script_fail(run, "not PostgreSQL") : SCRIPT_MORE;
    case 'Z':
        return state->phase == PHASE_AUTH ? script_fail(run, "not PostgreSQL") : judge_ready(run);
    case 'D':
        return state->phase == PHASE_ROW ? judge_row(run, message) : script_fail(run, "not PostgreSQL");
    default:
        return script_fail(run, "not PostgreSQL");
    }
}

static enum script_verdict judge_ssl(struct script_run *run, uint8_t answer)
{
    if (answer == 'S') {
        return SCRIPT_SECURE;
    }
    return script_fail(run, answer == 'N' ? "does not speak TLS" : "not PostgreSQL");
}

static enum script_verdict step(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used)
{
    const struct state *state = run->state;
    (void)eof;
    if (len == 0) {
        return SCRIPT_MORE;
    }
    if (state->phase == PHASE_SSL) {
        *used = 1;
        return judge_ssl(run, data[0]);
    }
    if ((data[0] == '\0' || strchr("ENvRSKTCZD", data[0]) == NULL)) {
        return script_fail_quoting(run, "not PostgreSQL", data, len < 16 ? len : 16);
    }
    if (len < HEAD_BYTES) {
        return SCRIPT_MORE;
    }
    size_t whole = (size_t)get32(data + 1) + 1;
    if (whole < HEAD_BYTES || whole > SCRIPT_REPLY_MAX / 2) {
        return script_fail_quoting(run, "not PostgreSQL", data, len < 16 ? len : 16);
    }
    if (len < whole) {
        return SCRIPT_MORE;
    }
    *used = whole;
    const struct message message = {.type = data[0], .body = data + HEAD_BYTES, .len = whole - HEAD_BYTES};
    return judge(run, &message);
}

const struct script script_postgresql = {.type = CONFIG_HEALTH_POSTGRESQL,
                                         .state_size = sizeof(struct state),
                                         .memory_size = sizeof(struct scram_memory),
                                         .begin = begin,
                                         .step = step,
                                         .secured = secured};
