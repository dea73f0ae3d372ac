/*
 * The agent's line: see health/agent.h; and the protocol around it: connect, read one line. Pure; control
 * thread. What follows from a report: health.c.
 */
#include "health/agent.h"

#include "core/bytes.h"
#include "health/script_internal.h"

#include <string.h>
#include <strings.h>

#define LINE_MAX_BYTES 1024u

static const struct {
    const char *word;
    enum agent_state state;
    enum agent_admin admin;
    bool reason; /* may be followed by "#" and a reason */
} words[] = {
    {"up", AGENT_STATE_UP, AGENT_ADMIN_SAME, false},
    {"down", AGENT_STATE_DOWN, AGENT_ADMIN_SAME, true},
    {"fail", AGENT_STATE_DOWN, AGENT_ADMIN_SAME, true},
    {"stopped", AGENT_STATE_DOWN, AGENT_ADMIN_SAME, true},
    {"ready", AGENT_STATE_SAME, AGENT_ADMIN_READY, false},
    {"drain", AGENT_STATE_SAME, AGENT_ADMIN_DRAIN, false},
    {"maint", AGENT_STATE_SAME, AGENT_ADMIN_MAINT, false},
};

/* Decimal digits only, at most six of them. */
static bool parse_digits(const uint8_t *text, size_t len, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        *out = *out * 10 + (uint32_t)(text[i] - '0');
    }
    return len > 0 && len <= 6;
}

static bool parse_number_word(const uint8_t *word, size_t len, struct agent_report *out)
{
    static const char limit[] = "maxconn:";
    const size_t prefix = sizeof(limit) - 1;
    if (len > prefix && strncasecmp((const char *)word, limit, prefix) == 0) {
        out->limit_given = true;
        return parse_digits(word + prefix, len - prefix, &out->limit);
    }
    if (word[len - 1] == '%') {
        out->weight_given = true;
        return parse_digits(word, len - 1, &out->weight_percent) && out->weight_percent <= AGENT_WEIGHT_MAX;
    }
    return false;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == ',';
}

/* Returns the bytes used, 0 when the word is not known. rest: from the word to the end of the line; a reason
 * takes all of it. */
static size_t parse_word(const uint8_t *rest, size_t rest_len, struct agent_report *out)
{
    size_t len = 0;
    while (len < rest_len && !is_blank(rest[len]) && rest[len] != '#') {
        len++;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strlen(words[i].word) != len || strncasecmp((const char *)rest, words[i].word, len) != 0) {
            continue;
        }
        out->state = words[i].state != AGENT_STATE_SAME ? words[i].state : out->state;
        out->admin = words[i].admin != AGENT_ADMIN_SAME ? words[i].admin : out->admin;
        if (len == rest_len || rest[len] != '#') {
            return len;
        }
        bytes_escape(rest + len + 1, rest_len - len - 1, out->reason, sizeof(out->reason));
        return words[i].reason ? rest_len : 0;
    }
    bool number = len > 0 && (len == rest_len || rest[len] != '#') && parse_number_word(rest, len, out);
    return number ? len : 0;
}

bool agent_parse(const void *line, size_t len, struct agent_report *out)
{
    const uint8_t *at = line;
    *out = (struct agent_report){0};
    while (len > 0) {
        if (is_blank(*at)) {
            at++;
            len--;
            continue;
        }
        size_t used = parse_word(at, len, out);
        if (used == 0) {
            *out = (struct agent_report){0};
            return false;
        }
        out->heard = true;
        at += used;
        len -= used;
    }
    return out->heard;
}

static enum script_verdict step(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used)
{
    size_t line = len;
    size_t whole = len;
    enum script_line found = script_line(data, len, LINE_MAX_BYTES, &line, &whole);
    if (found == SCRIPT_LINE_MORE && (!eof || len == 0)) {
        return SCRIPT_MORE;
    }
    *used = whole;
    if (found == SCRIPT_LINE_ENDLESS || !agent_parse(data, line, &run->agent)) {
        return script_fail_quoting(run, "not an agent's line", data, line);
    }
    char text[64];
    bytes_escape(data, line, text, sizeof(text));
    return script_pass(run, "agent: %s", text);
}

const struct script script_agent = {.type = CONFIG_HEALTH_AGENT, .step = step};
