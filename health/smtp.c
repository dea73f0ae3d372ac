/*
 * The SMTP probe (RFC 5321, STARTTLS: RFC 3207): the greeting, EHLO (HELO where that is not known), TLS where
 * asked for, QUIT. Pure; control thread.
 */
#include "health/script_internal.h"

#include <string.h>

#define LINE_MAX_BYTES 2048u

enum phase { PHASE_GREETING, PHASE_EHLO, PHASE_HELO, PHASE_STARTTLS, PHASE_QUIT };

struct state {
    enum phase phase;
};

static void hello(struct script_run *run, const char *verb, enum phase phase)
{
    struct state *state = run->state;
    state->phase = phase;
    script_send_text(run, verb);
    script_send_text(run, run->params.config->smtp.hello);
    script_send_text(run, "\r\n");
}

static enum script_verdict command(struct script_run *run, const char *line, enum phase phase)
{
    struct state *state = run->state;
    state->phase = phase;
    script_send_text(run, line);
    return SCRIPT_MORE;
}

/* code: of a whole reply. text: its last line. */
static enum script_verdict judge(struct script_run *run, unsigned code, const uint8_t *text, size_t len)
{
    struct state *state = run->state;
    bool wants_tls = run->params.config->smtp.starttls && !run->secured;
    switch (state->phase) {
    case PHASE_GREETING:
        if (code == 220) {
            hello(run, "EHLO ", PHASE_EHLO);
            return SCRIPT_MORE;
        }
        break;
    case PHASE_EHLO:
        if ((code == 500 || code == 502) && !wants_tls) {
            hello(run, "HELO ", PHASE_HELO);
            return SCRIPT_MORE;
        }
        if (code == 250 && wants_tls) {
            return command(run, "STARTTLS\r\n", PHASE_STARTTLS);
        }
        /* fallthrough */
    case PHASE_HELO:
        if (code == 250) {
            return command(run, "QUIT\r\n", PHASE_QUIT);
        }
        break;
    case PHASE_STARTTLS:
        if (code == 220) {
            return SCRIPT_SECURE;
        }
        break;
    case PHASE_QUIT:
        return script_pass(run, "greets and answers");
    }
    return script_fail_quoting(run, "refused", text, len);
}

static enum script_verdict secured(struct script_run *run)
{
    hello(run, "EHLO ", PHASE_EHLO);
    return SCRIPT_MORE;
}

/* "250-SIZE", "250 HELP", "250": three digits and how it goes on; len of a whole line or of its beginning. */
static bool may_be_reply(const uint8_t *line, size_t len)
{
    for (size_t i = 0; i < len && i < 3; i++) {
        if (line[i] < '0' || line[i] > '9') {
            return false;
        }
    }
    return len < 4 || line[3] == ' ' || line[3] == '-' || line[3] == '\r' || line[3] == '\n';
}

static enum script_verdict step(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used)
{
    const struct state *state = run->state;
    size_t line = 0;
    if (eof && state->phase == PHASE_QUIT) {
        return script_pass(run, "greets and answers"); /* it did not wait to say goodbye */
    }
    if (len == 0) {
        return SCRIPT_MORE;
    }
    if (!may_be_reply(data, len)) {
        return script_fail_quoting(run, "not SMTP", data, len < 32 ? len : 32);
    }
    enum script_line found = script_line(data, len, LINE_MAX_BYTES, &line, used);
    if (found != SCRIPT_LINE_WHOLE) {
        return found == SCRIPT_LINE_ENDLESS ? script_fail(run, "a line without an end") : SCRIPT_MORE;
    }
    if (line < 3) {
        return script_fail_quoting(run, "not SMTP", data, line);
    }
    if (line > 3 && data[3] == '-') {
        return SCRIPT_MORE; /* more lines of this reply follow */
    }
    unsigned code =
        (unsigned)(data[0] - '0') * 100 + (unsigned)(data[1] - '0') * 10 + (unsigned)(data[2] - '0');
    return judge(run, code, data, line);
}

const struct script script_smtp = {
    .type = CONFIG_HEALTH_SMTP, .state_size = sizeof(struct state), .step = step, .secured = secured};
