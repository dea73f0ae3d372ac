/*
 * One log line as logfmt or JSON, with every value escaped: control bytes, quotes and bytes that are not
 * UTF-8 cannot end a line or forge a field. Pure; any thread. Where the line goes is log.c's business.
 */
#include "core/log_internal.h"

#include "core/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Kept free for what closes a value and the line: quote, brace, newline. */
#define CLOSING_ROOM 4
/* The longest key that is written. */
#define KEY_MAX 64

static size_t room_left(const struct log_buffer *line)
{
    size_t limit = sizeof(line->text) - CLOSING_ROOM;
    return line->len < limit ? limit - line->len : 0;
}

/* Appends all of it or nothing. */
static bool append(struct log_buffer *line, const char *text, size_t len)
{
    if (len > room_left(line)) {
        return false;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
    return true;
}

/* For the characters that CLOSING_ROOM is kept for. */
static void append_closing(struct log_buffer *line, char c)
{
    if (line->len < sizeof(line->text)) {
        line->text[line->len++] = c;
    }
}

/*
 * Length of the well-formed UTF-8 sequence of more than one byte at p, or 0 (Unicode 15, table 3-7: no
 * overlong forms, no surrogates, nothing above U+10FFFF). Stops at the NUL.
 */
static size_t utf8_length(const unsigned char *p)
{
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t len = 0;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        len = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        len = 3;
        low = p[0] == 0xe0 ? 0xa0 : low;
        high = p[0] == 0xed ? 0x9f : high;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        len = 4;
        low = p[0] == 0xf0 ? 0x90 : low;
        high = p[0] == 0xf4 ? 0x8f : high;
    }
    for (size_t i = 1; i < len; i++) {
        if (p[i] < low || p[i] > high) {
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return len;
}

/* C1 controls (U+0080 to U+009F) steer some terminals; they are well-formed UTF-8 all the same. */
static bool is_c1_control(const unsigned char *p, size_t len)
{
    return len == 2 && p[0] == 0xc2 && p[1] < 0xa0;
}

/* Writes what stands for the bytes at p in quotes; returns how many bytes that took, 0 without room. */
static size_t append_escaped(struct log_buffer *line, enum log_format format, const unsigned char *p)
{
    char escape[8];
    size_t used = 1;
    int n = 0;
    if (*p == '"' || *p == '\\') {
        n = snprintf(escape, sizeof(escape), "\\%c", *p);
    } else if (*p == '\n' || *p == '\r' || *p == '\t') {
        n = snprintf(escape, sizeof(escape), "\\%c", *p == '\n' ? 'n' : *p == '\r' ? 'r' : 't');
    } else if (*p >= 0x20 && *p < 0x7f) {
        n = snprintf(escape, sizeof(escape), "%c", *p);
    } else {
        size_t len = utf8_length(p);
        if (len && !is_c1_control(p, len)) {
            return append(line, (const char *)p, len) ? len : 0;
        }
        unsigned code = len ? p[1] : *p;
        used = len ? len : 1;
        if (format == LOG_FORMAT_JSON) {
            /* JSON has no bytes, only characters: a stray byte becomes the replacement character. */
            n = snprintf(escape, sizeof(escape), "\\u%04x", len || *p < 0x80 ? code : 0xfffdu);
        } else {
            n = snprintf(escape, sizeof(escape), "\\x%02x", code);
        }
    }
    return append(line, escape, (size_t)n) ? used : 0;
}

static void append_quoted(struct log_buffer *line, enum log_format format, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    append_closing(line, '"');
    while (*p) {
        size_t used = append_escaped(line, format, p);
        if (!used) {
            break;
        }
        p += used;
    }
    append_closing(line, '"');
}

/* In logfmt a plain word stands without quotes. */
static bool is_plain_word(const char *text)
{
    if (*text == '\0') {
        return false;
    }
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p <= ' ' || *p >= 0x7f || *p == '"' || *p == '=' || *p == '\\') {
            return false;
        }
    }
    return true;
}

static void append_text(struct log_buffer *line, enum log_format format, const char *text)
{
    if (format == LOG_FORMAT_LOGFMT && is_plain_word(text)) {
        size_t len = strlen(text);
        (void)append(line, text, len < room_left(line) ? len : room_left(line));
    } else {
        append_quoted(line, format, text);
    }
}

static void append_number(struct log_buffer *line, enum log_format format, const struct log_field *field)
{
    char number[32];
    int n = 0;
    if (field->kind == LOG_KIND_UINT) {
        n = snprintf(number, sizeof(number), "%" PRIu64, field->uint);
    } else if (field->kind == LOG_KIND_INT) {
        n = snprintf(number, sizeof(number), "%" PRId64, field->sint);
    } else if (isfinite(field->real)) {
        n = snprintf(number, sizeof(number), "%.9g", field->real);
    } else {
        /* JSON knows no infinity. */
        n = snprintf(number, sizeof(number), "%s", format == LOG_FORMAT_JSON ? "null" : "nan");
    }
    (void)append(line, number, (size_t)n);
}

/* Returns whether there was room for the key and some of a value. */
static bool append_key(struct log_buffer *line, enum log_format format, const char *key)
{
    char start[KEY_MAX + 8];
    int n = snprintf(start, sizeof(start), format == LOG_FORMAT_JSON ? ",\"%.*s\":" : " %.*s=", KEY_MAX, key);
    /* 32: the longest number, so that none is ever cut. */
    return (size_t)n + 32 <= room_left(line) && append(line, start, (size_t)n);
}

void log_format_line(struct log_buffer *line, enum log_format format, uint64_t wall_us, enum log_level level,
                     const char *message, const struct log_field *fields)
{
    char time[32];
    clock_format_wall(wall_us, time, sizeof(time));
    line->len = 0;
    char head[96];
    int n = format == LOG_FORMAT_JSON
                ? snprintf(head, sizeof(head), "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":", time,
                           log_level_name(level))
                : snprintf(head, sizeof(head), "time=%s level=%s msg=", time, log_level_name(level));
    (void)append(line, head, (size_t)n);
    append_text(line, format, message);
    for (const struct log_field *f = fields; f && f->kind != LOG_KIND_END; f++) {
        if (!append_key(line, format, f->key)) {
            break;
        }
        if (f->kind == LOG_KIND_TEXT) {
            append_text(line, format, f->text ? f->text : "");
        } else {
            append_number(line, format, f);
        }
    }
    if (format == LOG_FORMAT_JSON) {
        append_closing(line, '}');
    }
    append_closing(line, '\n');
}
