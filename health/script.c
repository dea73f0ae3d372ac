/*
 * What all probe protocols share: the bytes received and not yet used, the bounds on them, reasons, and the
 * table of protocols. Pure; control thread.
 */
#include "health/script_internal.h"

#include "core/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A protocol adds its file and its line here. */
static const struct script *const scripts[] = {
    &script_send_expect, &script_http, &script_redis, &script_postgresql,
    &script_mysql,       &script_smtp, &script_ldap,  &script_agent,
};

const struct script *script_find(enum config_health_type type)
{
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        if (scripts[i]->type == type) {
            return scripts[i];
        }
    }
    return NULL;
}

static bool append(struct script_buffer *buffer, const void *data, size_t len)
{
    if (buffer->room - buffer->len < len) {
        size_t room = buffer->room > 0 ? buffer->room : 512;
        while (room - buffer->len < len) {
            room *= 2;
        }
        uint8_t *grown = realloc(buffer->data, room);
        if (grown == NULL) {
            return false;
        }
        buffer->data = grown;
        buffer->room = room;
    }
    if (len > 0) {
        memcpy(buffer->data + buffer->len, data, len);
        buffer->len += len;
    }
    return true;
}

static void release(struct script_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct script_buffer){0};
}

int script_create(const struct script *script, const struct script_params *params, struct script_run *run)
{
    *run = (struct script_run){.script = script, .params = *params};
    run->state = calloc(1, script->state_size + 1);
    run->memory = calloc(1, script->memory_size + 1);
    if (run->state == NULL || run->memory == NULL) {
        script_destroy(run);
        return ERR_NOMEM;
    }
    return 0;
}

void script_rest(struct script_run *run)
{
    release(&run->in);
    release(&run->out);
}

void script_destroy(struct script_run *run)
{
    script_rest(run);
    free(run->state);
    free(run->memory);
    run->state = NULL;
    run->memory = NULL;
}

static enum script_verdict checked(const struct script_run *run, enum script_verdict verdict)
{
    return run->nomem ? SCRIPT_FAILED : verdict;
}

enum script_verdict script_begin(struct script_run *run)
{
    memset(run->state, 0, run->script->state_size);
    run->in.len = 0;
    run->out.len = 0;
    run->out_mask = NULL;
    run->received = 0;
    run->nomem = false;
    run->agent = (struct agent_report){0};
    run->reason[0] = '\0';
    if (run->script->begin != NULL) {
        run->script->begin(run);
    }
    return checked(run, SCRIPT_MORE);
}

enum script_verdict script_secured(struct script_run *run)
{
    run->secured = true;
    return checked(run, run->script->secured(run));
}

/* The protocol could not decide, and no more will come or be kept. */
static enum script_verdict undecided(struct script_run *run, bool eof)
{
    if (!eof) {
        return script_fail(run, "more than %u bytes without an answer", (unsigned)SCRIPT_REPLY_MAX);
    }
    return script_fail(run,
                       run->received == 0 ? "closed without a reply" : "closed before the reply was whole");
}

static enum script_verdict step_all(struct script_run *run, bool eof)
{
    for (;;) {
        size_t used = 0;
        const uint8_t *data = run->in.data != NULL ? run->in.data : (const uint8_t *)""; /* never NULL */
        enum script_verdict verdict = run->script->step(run, data, run->in.len, eof, &used);
        run->in.len -= used;
        if (used > 0 && run->in.len > 0) {
            memmove(run->in.data, run->in.data + used, run->in.len);
        }
        if (run->nomem || verdict == SCRIPT_PASSED || verdict == SCRIPT_FAILED) {
            return checked(run, verdict);
        }
        if (verdict == SCRIPT_SECURE) {
            /* What came before the handshake is not protected by it and must not be taken for what follows.
             */
            return run->in.len > 0 ? script_fail(run, "sent bytes ahead of the TLS handshake") : verdict;
        }
        if (used == 0 || run->in.len == 0) {
            return eof ? undecided(run, true) : SCRIPT_MORE;
        }
    }
}

enum script_verdict script_feed(struct script_run *run, const uint8_t *data, size_t len, bool eof)
{
    /* In parts, so that a protocol that decides early never makes us keep the rest. */
    do {
        size_t part = SCRIPT_REPLY_MAX - run->in.len;
        part = part < len ? part : len;
        if (!append(&run->in, data, part)) {
            run->nomem = true;
            return SCRIPT_FAILED;
        }
        run->received += part;
        data = part > 0 ? data + part : data;
        len -= part;
        bool last = eof && len == 0;
        enum script_verdict verdict = run->in.len > 0 || last ? step_all(run, last) : SCRIPT_MORE;
        if (verdict != SCRIPT_MORE) {
            return verdict == SCRIPT_SECURE && len > 0
                       ? script_fail(run, "sent bytes ahead of the TLS handshake")
                       : verdict;
        }
        if (run->in.len >= SCRIPT_REPLY_MAX || run->received >= SCRIPT_TOTAL_MAX) {
            return undecided(run, false);
        }
    } while (len > 0);
    return SCRIPT_MORE;
}

void script_send(struct script_run *run, const void *data, size_t len)
{
    if (!append(&run->out, data, len)) {
        run->nomem = true;
    }
}

void script_send_text(struct script_run *run, const char *text)
{
    script_send(run, text, strlen(text));
}

static void set_reason(struct script_run *run, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void set_reason(struct script_run *run, const char *format, va_list args)
{
    (void)vsnprintf(run->reason, sizeof(run->reason), format, args);
}

enum script_verdict script_fail(struct script_run *run, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_reason(run, format, args);
    va_end(args);
    return SCRIPT_FAILED;
}

enum script_verdict script_pass(struct script_run *run, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_reason(run, format, args);
    va_end(args);
    return SCRIPT_PASSED;
}

enum script_verdict script_fail_quoting(struct script_run *run, const char *what, const void *data,
                                        size_t len)
{
    char text[64];
    bytes_escape(data, len, text, sizeof(text));
    return script_fail(run, "%s: %s", what, text);
}

enum script_line script_line(const uint8_t *data, size_t len, size_t max, size_t *line, size_t *whole)
{
    const uint8_t *end = len > 0 ? memchr(data, '\n', len <= max ? len : max + 1) : NULL;
    if (end == NULL) {
        return len <= max ? SCRIPT_LINE_MORE : SCRIPT_LINE_ENDLESS;
    }
    *line = (size_t)(end - data);
    *whole = *line + 1;
    if (*line > 0 && data[*line - 1] == '\r') {
        (*line)--;
    }
    return SCRIPT_LINE_WHOLE;
}
