/*
 * The HTTP probe (RFC 9110, RFC 9112): one request with "Connection: close", the status of the final answer,
 * and where asked for a text in its body, within what is kept of it. Pure; control thread.
 */
#include "health/script_internal.h"

#include "core/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STATUS_LINE_MAX 1024u
#define BODY_MAX (SCRIPT_REPLY_MAX - STATUS_LINE_MAX)

struct state {
    uint32_t status; /* of the final answer; 0: not seen yet */
    bool in_body;
    bool chunked;
    bool length_known;
    uint64_t length; /* of the body */
};

static void begin(struct script_run *run)
{
    const struct config_health *config = run->params.config;
    const char *host = config->http.host;
    if (host == NULL) {
        host = run->params.server_name != NULL ? run->params.server_name : run->params.host;
    }
    script_send_text(run, config->http.method);
    script_send_text(run, " ");
    script_send_text(run, config->http.path);
    script_send_text(run, " HTTP/1.1\r\nHost: ");
    script_send_text(run, host);
    script_send_text(run, "\r\nUser-Agent: shunt\r\nAccept: */*\r\nConnection: close\r\n\r\n");
}

/* "HTTP/1.1 200 OK" */
static bool parse_status(const uint8_t *line, size_t len, uint32_t *status)
{
    static const char protocol[] = "HTTP/1.";
    const size_t fixed = sizeof(protocol) - 1;
    if (len < fixed + 5 || memcmp(line, protocol, fixed) != 0 || line[fixed] < '0' || line[fixed] > '9' ||
        line[fixed + 1] != ' ' || (len > fixed + 5 && line[fixed + 5] != ' ')) {
        return false;
    }
    *status = 0;
    for (size_t i = fixed + 2; i < fixed + 5; i++) {
        if (line[i] < '0' || line[i] > '9') {
            return false;
        }
        *status = *status * 10 + (uint32_t)(line[i] - '0');
    }
    return *status >= 100;
}

static enum script_verdict judge_status(struct script_run *run, const uint8_t *line, size_t len)
{
    struct state *state = run->state;
    struct bytes_ranges wanted;
    if (!parse_status(line, len, &state->status)) {
        return script_fail_quoting(run, "not HTTP", line, len);
    }
    if (state->status < 200 && state->status != 101) {
        return SCRIPT_MORE; /* an interim answer; the final one follows its header */
    }
    if (bytes_ranges_parse(run->params.config->http.status, 100, 599, &wanted) != 0 ||
        !bytes_ranges_have(&wanted, state->status)) {
        return script_fail_quoting(run, "wrong status", line + 9, len - 9);
    }
    return run->params.config->http.body == NULL ? script_pass(run, "status %u", state->status) : SCRIPT_MORE;
}

static bool is_header(const uint8_t *line, size_t len, const char *name, const uint8_t **value,
                      size_t *value_len)
{
    size_t name_len = strlen(name);
    if (len <= name_len || line[name_len] != ':' || strncasecmp((const char *)line, name, name_len) != 0) {
        return false;
    }
    *value = line + name_len + 1;
    *value_len = len - name_len - 1;
    while (*value_len > 0 && (**value == ' ' || **value == '\t')) {
        (*value)++;
        (*value_len)--;
    }
    return true;
}

static bool ends_with(const uint8_t *value, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    return len >= word_len && strncasecmp((const char *)value + len - word_len, word, word_len) == 0;
}

static enum script_verdict take_header(struct script_run *run, const uint8_t *line, size_t len)
{
    struct state *state = run->state;
    const uint8_t *value = NULL;
    size_t value_len = 0;
    if (len == 0) {
        if (state->status < 200 && state->status != 101) {
            state->status = 0;
        } else {
            state->in_body = true;
        }
    } else if (is_header(line, len, "Transfer-Encoding", &value, &value_len)) {
        state->chunked = ends_with(value, value_len, "chunked");
    } else if (is_header(line, len, "Content-Length", &value, &value_len)) {
        state->length_known = value_len > 0 && value_len < 16;
        state->length = 0;
        for (size_t i = 0; i < value_len && state->length_known; i++) {
            state->length_known = value[i] >= '0' && value[i] <= '9';
            state->length = state->length * 10 + (uint64_t)(value[i] - '0');
        }
    }
    return SCRIPT_MORE;
}

static bool parse_chunk_size(const uint8_t *line, size_t len, size_t *out)
{
    size_t digits = 0;
    *out = 0;
    for (; digits < len && digits < 8; digits++) {
        uint8_t c = line[digits];
        uint8_t lower = (uint8_t)(c | 0x20u);
        if (c >= '0' && c <= '9') {
            *out = *out * 16 + (size_t)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            *out = *out * 16 + (size_t)(lower - 'a' + 10);
        } else {
            break;
        }
    }
    return digits > 0;
}

/* Joins the chunks that are there into out (as large as data). Sets *whole when the last one was seen. False:
 * what follows the joined ones is no chunk. */
static bool join_chunks(const uint8_t *data, size_t len, uint8_t *out, size_t *out_len, bool *whole)
{
    size_t line = 0;
    size_t used = 0;
    *out_len = 0;
    *whole = false;
    while (script_line(data, len, SCRIPT_REPLY_MAX, &line, &used) == SCRIPT_LINE_WHOLE) {
        size_t size = 0;
        if (!parse_chunk_size(data, line, &size)) {
            return false;
        }
        data += used;
        len -= used;
        if (size == 0) {
            *whole = true;
            return true;
        }
        size_t part = size < len ? size : len;
        memcpy(out + *out_len, data, part);
        *out_len += part;
        data += part;
        len -= part;
        if (len < 2) {
            return true;
        }
        if (data[0] == '\r') {
            data++;
            len--;
        }
        if (data[0] != '\n') {
            return false;
        }
        data++;
        len--;
    }
    return true;
}

static enum script_verdict search(struct script_run *run, const uint8_t *body, size_t len, bool whole)
{
    const struct state *state = run->state;
    const char *wanted = run->params.config->http.body;
    if (memmem(body, len, wanted, strlen(wanted)) != NULL) {
        return script_pass(run, "status %u, body as expected", state->status);
    }
    return whole ? script_fail(run, "status %u, but the body lacks the text", state->status) : SCRIPT_MORE;
}

static enum script_verdict judge_body(struct script_run *run, const uint8_t *data, size_t len, bool eof)
{
    const struct state *state = run->state;
    bool whole = eof || len >= BODY_MAX;
    len = len < BODY_MAX ? len : BODY_MAX; /* however many bytes came at once */
    if (!state->chunked) {
        bool enough = state->length_known && len >= state->length;
        return search(run, data, enough ? (size_t)state->length : len, whole || enough);
    }
    uint8_t *joined = malloc(len + 1);
    if (joined == NULL) {
        run->nomem = true;
        return SCRIPT_FAILED;
    }
    size_t joined_len = 0;
    bool last = false;
    /* What was found counts whether the chunks behind it have come yet or not: so it does if they are bad. */
    bool good = join_chunks(data, len, joined, &joined_len, &last);
    enum script_verdict verdict = search(run, joined, joined_len, good && (whole || last));
    if (!good && verdict == SCRIPT_MORE) {
        verdict = script_fail(run, "status %u, but its chunks are broken", state->status);
    }
    free(joined);
    return verdict;
}

/* Whether the bytes can still become "HTTP/". */
static bool may_be_http(const uint8_t *data, size_t len)
{
    static const char protocol[] = "HTTP/1.";
    return memcmp(data, protocol, len < sizeof(protocol) - 1 ? len : sizeof(protocol) - 1) == 0;
}

static enum script_verdict step(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used)
{
    struct state *state = run->state;
    if (state->in_body) {
        return judge_body(run, data, len, eof);
    }
    if (len == 0) {
        return SCRIPT_MORE;
    }
    if (state->status == 0 && !may_be_http(data, len)) {
        return script_fail_quoting(run, "not HTTP", data, len < 32 ? len : 32);
    }
    size_t line = 0;
    size_t max = state->status == 0 ? STATUS_LINE_MAX : SCRIPT_REPLY_MAX;
    enum script_line found = script_line(data, len, max, &line, used);
    if (found != SCRIPT_LINE_WHOLE) {
        return found == SCRIPT_LINE_ENDLESS ? script_fail(run, "status line without an end") : SCRIPT_MORE;
    }
    if (state->status == 0) {
        return judge_status(run, data, line);
    }
    enum script_verdict verdict = take_header(run, data, line);
    if (verdict == SCRIPT_MORE && state->in_body && *used == len) {
        /* Nothing of the body is here; an empty one, or the end, decides at once. */
        return judge_body(run, data + len, 0, eof);
    }
    return verdict;
}

const struct script script_http = {
    .type = CONFIG_HEALTH_HTTP, .state_size = sizeof(struct state), .begin = begin, .step = step};
