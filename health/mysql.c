/*
 * The MySQL and MariaDB probe (client/server protocol, version 10). Without a user the greeting shows that
 * the server is there; with one it logs in: mysql_native_password, caching_sha2_password. Pure; control
 * thread.
 */
#include "health/mysql_auth_internal.h"
#include "health/script_internal.h"

#include <stdio.h>
#include <string.h>

#define HEAD_BYTES 4u
#define PACKET_MAX (SCRIPT_REPLY_MAX / 2)
#define CHARSET_UTF8MB4 45u

/* Capabilities. */
#define CAN_LONG_PASSWORD 0x1u
#define CAN_PROTOCOL_41 0x200u
#define CAN_SSL 0x800u
#define CAN_SECURE_CONNECTION 0x8000u
#define CAN_PLUGIN_AUTH 0x80000u
#define OURS (CAN_LONG_PASSWORD | CAN_PROTOCOL_41 | CAN_SECURE_CONNECTION | CAN_PLUGIN_AUTH)

enum phase { PHASE_GREETING, PHASE_LOGIN, PHASE_KEY };

struct state {
    enum phase phase;
    enum mysql_plugin plugin;
    uint8_t sequence; /* of the next packet we send */
    bool switched;
    uint8_t scramble[MYSQL_SCRAMBLE_BYTES];
};

static void send_packet(struct script_run *run, const void *body, size_t len)
{
    struct state *state = run->state;
    const uint8_t head[HEAD_BYTES] = {(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16),
                                      state->sequence++};
    script_send(run, head, sizeof(head));
    script_send(run, body, len);
}

static enum script_verdict judge_error(struct script_run *run, const uint8_t *body, size_t len)
{
    char what[32];
    if (len < 3) {
        return script_fail(run, "not MySQL");
    }
    unsigned code = body[1] | (unsigned)body[2] << 8;
    size_t text = len >= 9 && body[3] == '#' ? 9 : 3;
    (void)snprintf(what, sizeof(what), "error %u", code);
    return script_fail_quoting(run, what, body + text, len - text);
}

/* What SSLRequest and HandshakeResponse begin with. */
static void fill_fixed(const struct script_run *run, uint8_t fixed[32])
{
    uint32_t can = OURS | (run->params.ask_tls ? CAN_SSL : 0);
    memset(fixed, 0, 32);
    for (unsigned i = 0; i < 4; i++) {
        fixed[i] = (uint8_t)(can >> 8 * i);
    }
    fixed[6] = 1; /* packets of at most 64 KiB */
    fixed[8] = CHARSET_UTF8MB4;
}

static enum script_verdict send_login(struct script_run *run)
{
    struct state *state = run->state;
    uint8_t packet[32 + 256 + 1 + MYSQL_ANSWER_MAX + 64];
    uint8_t answer[MYSQL_ANSWER_MAX];
    size_t answer_len = 0;
    const char *user = run->params.config->mysql.user;
    const char *plugin = mysql_plugin_name(state->plugin);
    size_t user_len = strnlen(user, 255) + 1;
    if (mysql_answer(state->plugin, run->params.password, state->scramble, answer, &answer_len) != 0) {
        run->nomem = true;
        return SCRIPT_FAILED;
    }
    fill_fixed(run, packet);
    size_t len = 32;
    memcpy(packet + len, user, user_len);
    len += user_len;
    packet[len++] = (uint8_t)answer_len;
    memcpy(packet + len, answer, answer_len);
    len += answer_len;
    memcpy(packet + len, plugin, strlen(plugin) + 1);
    len += strlen(plugin) + 1;
    run->out_mask = "HandshakeResponse ***";
    state->phase = PHASE_LOGIN;
    send_packet(run, packet, len);
    return SCRIPT_MORE;
}

static enum script_verdict secured(struct script_run *run)
{
    return send_login(run);
}

/* Protocol 10: version text, thread 4, scramble 8, 0, capabilities 2, charset 1, status 2, capabilities 2,
 * length of the scramble 1, reserved 10, the scramble's rest (12 and a NUL at least), plugin text. */
static enum script_verdict judge_greeting(struct script_run *run, const uint8_t *body, size_t len)
{
    struct state *state = run->state;
    const uint8_t *version_end = memchr(body, '\0', len);
    if (body[0] != 10 || version_end == NULL || (size_t)(body + len - version_end) < 1 + 31 + 13) {
        return script_fail(run, "not MySQL, or not its protocol 10");
    }
    const uint8_t *at = version_end + 1;
    const uint8_t *end = body + len;
    uint32_t can = at[13] | (uint32_t)at[14] << 8 | (uint32_t)at[18] << 16 | (uint32_t)at[19] << 24;
    memcpy(state->scramble, at + 4, 8);
    memcpy(state->scramble + 8, at + 31, MYSQL_SCRAMBLE_BYTES - 8);
    if (run->params.config->mysql.user == NULL && !run->params.ask_tls) {
        return script_pass(run, "greets");
    }
    const uint8_t *plugin = at + 31 + 13;
    size_t plugin_len = (size_t)(end - plugin);
    const uint8_t *plugin_end = plugin_len > 0 ? memchr(plugin, '\0', plugin_len) : NULL;
    plugin_len = plugin_end != NULL ? (size_t)(plugin_end - plugin) : plugin_len;
    state->plugin = mysql_plugin_find((const char *)plugin, plugin_len);
    if (state->plugin == MYSQL_PLUGIN_UNKNOWN) {
        state->plugin = MYSQL_PLUGIN_NATIVE; /* the server asks for another where the account has another */
    }
    if (!run->params.ask_tls) {
        return send_login(run);
    }
    if ((can & CAN_SSL) == 0) {
        return script_fail(run, "does not speak TLS");
    }
    uint8_t request[32];
    fill_fixed(run, request);
    send_packet(run, request, sizeof(request));
    return SCRIPT_SECURE;
}

static enum script_verdict send_password(struct script_run *run)
{
    struct state *state = run->state;
    static const uint8_t want_key[] = {2};
    if (run->params.password == NULL) {
        return script_fail(run, "asks for a password");
    }
    if (run->secured) {
        run->out_mask = "password ***";
        send_packet(run, run->params.password, strlen(run->params.password) + 1);
        return SCRIPT_MORE;
    }
    state->phase = PHASE_KEY;
    send_packet(run, want_key, sizeof(want_key));
    return SCRIPT_MORE;
}

/* AuthMoreData: 3: the fast way was enough, OK follows; 4: the whole password is needed; else a public key.
 */
static enum script_verdict judge_more(struct script_run *run, const uint8_t *body, size_t len)
{
    struct state *state = run->state;
    if (state->phase == PHASE_KEY) {
        uint8_t secret[MYSQL_ANSWER_MAX];
        size_t secret_len = 0;
        if (mysql_encrypt(run->params.password, state->scramble, body + 1, len - 1, secret, &secret_len) !=
            0) {
            return script_fail(run, "its public key cannot be used");
        }
        state->phase = PHASE_LOGIN;
        run->out_mask = "password ***";
        send_packet(run, secret, secret_len);
        return SCRIPT_MORE;
    }
    if (len == 2 && body[1] == 3) {
        return SCRIPT_MORE;
    }
    return len == 2 && body[1] == 4 && state->plugin == MYSQL_PLUGIN_CACHING_SHA2
               ? send_password(run)
               : script_fail(run, "asks for a login that is not known here");
}

/* AuthSwitchRequest: the plugin's text, the scramble (20 bytes and a NUL). */
static enum script_verdict judge_switch(struct script_run *run, const uint8_t *body, size_t len)
{
    struct state *state = run->state;
    uint8_t answer[MYSQL_ANSWER_MAX];
    size_t answer_len = 0;
    const uint8_t *end = memchr(body, '\0', len);
    if (end == NULL || (size_t)(body + len - end) < 1 + MYSQL_SCRAMBLE_BYTES || state->switched) {
        return script_fail(run, "asks for a login that is not known here");
    }
    state->switched = true;
    state->plugin = mysql_plugin_find((const char *)body + 1, (size_t)(end - body) - 1);
    if (state->plugin == MYSQL_PLUGIN_UNKNOWN) {
        return script_fail_quoting(run, "asks for a login not known here", body + 1,
                                   (size_t)(end - body) - 1);
    }
    memcpy(state->scramble, end + 1, MYSQL_SCRAMBLE_BYTES);
    if (mysql_answer(state->plugin, run->params.password, state->scramble, answer, &answer_len) != 0) {
        run->nomem = true;
        return SCRIPT_FAILED;
    }
    run->out_mask = "AuthSwitchResponse ***";
    send_packet(run, answer, answer_len);
    return SCRIPT_MORE;
}

static enum script_verdict judge_login(struct script_run *run, const uint8_t *body, size_t len)
{
    struct state *state = run->state;
    static const uint8_t quit[] = {1};
    switch (body[0]) {
    case 0x00:
        state->sequence = 0;
        send_packet(run, quit, sizeof(quit));
        return script_pass(run, "logged in");
    case 0x01:
        return judge_more(run, body, len);
    case 0xfe:
        return judge_switch(run, body, len);
    default:
        return script_fail(run, "not MySQL");
    }
}

static enum script_verdict step(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used)
{
    struct state *state = run->state;
    (void)eof;
    if (len < HEAD_BYTES) {
        return SCRIPT_MORE;
    }
    size_t body_len = data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16;
    if (body_len == 0 || body_len > PACKET_MAX || data[3] != state->sequence) {
        return script_fail_quoting(run, "not MySQL", data, len < 16 ? len : 16);
    }
    if (len < HEAD_BYTES + body_len) {
        return SCRIPT_MORE;
    }
    *used = HEAD_BYTES + body_len;
    state->sequence++;
    const uint8_t *body = data + HEAD_BYTES;
    if (body[0] == 0xff) {
        return judge_error(run, body, body_len);
    }
    return state->phase == PHASE_GREETING ? judge_greeting(run, body, body_len)
                                          : judge_login(run, body, body_len);
}

const struct script script_mysql = {
    .type = CONFIG_HEALTH_MYSQL, .state_size = sizeof(struct state), .step = step, .secured = secured};
