/*
 * The Redis probe, in its protocol's second version (RESP2): AUTH where there is a password, PING, and ROLE
 * where one is asked for. Pure; control thread.
 */
#include "health/script_internal.h"

#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 1024u

enum phase { PHASE_AUTH, PHASE_PING, PHASE_ROLE, PHASE_ROLE_LENGTH, PHASE_ROLE_NAME };

struct state {
    enum phase phase;
};

static void send_word(struct script_run *run, const char *word)
{
    char head[32];
    (void)snprintf(head, sizeof(head), "$%zu\r\n", strlen(word));
    script_send_text(run, head);
    script_send_text(run, word);
    script_send_text(run, "\r\n");
}

static void begin(struct script_run *run)
{
    struct state *state = run->state;
    const struct config_health *config = run->params.config;
    if (run->params.password == NULL) {
        state->phase = PHASE_PING;
        script_send_text(run, "*1\r\n$4\r\nPING\r\n");
        return;
    }
    run->out_mask = "AUTH ***";
    script_send_text(run, config->redis.user != NULL ? "*3\r\n" : "*2\r\n");
    send_word(run, "AUTH");
    if (config->redis.user != NULL) {
        send_word(run, config->redis.user);
    }
    send_word(run, run->params.password);
}

static enum script_verdict judge_role(struct script_run *run, const uint8_t *line, size_t len)
{
    static const char *const names[] = {[CONFIG_REDIS_MASTER] = "master", [CONFIG_REDIS_REPLICA] = "slave"};
    enum config_redis_role wanted = run->params.config->redis.role;
    const char *name = names[wanted];
    const char *say = wanted == CONFIG_REDIS_MASTER ? "master" : "replica";
    if (len == strlen(name) && memcmp(line, name, len) == 0) {
        return script_pass(run, "role %s", say);
    }
    char what[32];
    (void)snprintf(what, sizeof(what), "not a %s but", say);
    return script_fail_quoting(run, what, line, len);
}

static enum script_verdict judge_pong(struct script_run *run)
{
    struct state *state = run->state;
    if (run->params.config->redis.role == CONFIG_REDIS_ANY) {
        return script_pass(run, "PONG");
    }
    state->phase = PHASE_ROLE;
    script_send_text(run, "*1\r\n$4\r\nROLE\r\n");
    return SCRIPT_MORE;
}

static bool is(const uint8_t *line, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(line, text, len) == 0;
}

static enum script_verdict judge_line(struct script_run *run, const uint8_t *line, size_t len)
{
    struct state *state = run->state;
    if (len > 0 && line[0] == '-') {
        return script_fail_quoting(run, "refused", line + 1, len - 1);
    }
    switch (state->phase) {
    case PHASE_AUTH:
        if (is(line, len, "+OK")) {
            state->phase = PHASE_PING;
            script_send_text(run, "*1\r\n$4\r\nPING\r\n");
            return SCRIPT_MORE;
        }
        break;
    case PHASE_PING:
        if (is(line, len, "+PONG")) {
            return judge_pong(run);
        }
        break;
    case PHASE_ROLE:
        state->phase = PHASE_ROLE_LENGTH;
        if (len >= 2 && line[0] == '*' && line[1] >= '1' && line[1] <= '9') {
            return SCRIPT_MORE;
        }
        break;
    case PHASE_ROLE_LENGTH:
        state->phase = PHASE_ROLE_NAME;
        if (len >= 2 && line[0] == '$' && line[1] >= '1' && line[1] <= '9') {
            return SCRIPT_MORE;
        }
        break;
    case PHASE_ROLE_NAME:
        return judge_role(run, line, len);
    }
    return script_fail_quoting(run, "not as Redis answers", line, len);
}

/* What a reply begins with. */
static bool is_type(uint8_t byte)
{
    return byte == '+' || byte == '-' || byte == '*' || byte == '$';
}

static enum script_verdict step(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used)
{
    const struct state *state = run->state;
    (void)eof;
    size_t line = 0;
    if (len == 0) {
        return SCRIPT_MORE;
    }
    if (state->phase != PHASE_ROLE_NAME && !is_type(data[0])) {
        return script_fail_quoting(run, "not as Redis answers", data, len < 32 ? len : 32);
    }
    enum script_line found = script_line(data, len, LINE_MAX_BYTES, &line, used);
    if (found != SCRIPT_LINE_WHOLE) {
        return found == SCRIPT_LINE_ENDLESS ? script_fail(run, "a line without an end") : SCRIPT_MORE;
    }
    return judge_line(run, data, line);
}

const struct script script_redis = {
    .type = CONFIG_HEALTH_REDIS, .state_size = sizeof(struct state), .begin = begin, .step = step};
