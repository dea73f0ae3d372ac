/*
 * Splits what an operator typed into words, and quotes words for the way there. What it lets through is
 * clean: UTF-8 without control bytes, so that no reply, journal record or log line built from it can be
 * broken up. Pure; any thread. What the words mean is left to admin/args.c.
 */
#include "admin/tokens.h"

#include <stdint.h>
#include <string.h>

/* Length of the UTF-8 character at p (left bytes remain), or 0 when it is none (RFC 3629, section 4). */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t length = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : 4;
    if ((p[0] >= 0x80 && p[0] < 0xc2) || p[0] > 0xf4 || length > left) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return length;
}

/* The C1 controls (U+0080 to U+009F) steer terminals as well as those below the blank do. */
static bool is_control(const unsigned char *p, size_t length)
{
    return p[0] < 0x20 || p[0] == 0x7f || (length == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

/* The code point of a whole UTF-8 character. */
static unsigned utf8_code(const unsigned char *p, size_t length)
{
    unsigned code = length == 1 ? p[0] : p[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        code = code << 6 | (p[i] & 0x3fu);
    }
    return code;
}

/* What shows another text than the one that is there: UAX #9, explicit directional formatting. */
static bool is_direction(unsigned code)
{
    return code == 0x200e || code == 0x200f || code == 0x061c || (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

void tokens_write_clean(FILE *out, const char *bytes, size_t length)
{
    const unsigned char *p = (const unsigned char *)bytes;
    for (size_t i = 0; i < length;) {
        size_t step = utf8_length(p + i, length - i);
        unsigned code = step > 0 ? utf8_code(p + i, step) : 0;
        bool stays = p[i] == '\n' || p[i] == '\t';
        if (step == 0) {
            fprintf(out, "\\x%02x", p[i]);
        } else if (!stays && (is_control(p + i, step) || is_direction(code))) {
            fprintf(out, "\\u%04x", code);
        } else {
            (void)fwrite(p + i, 1, step, out);
        }
        i += step > 0 ? step : 1;
    }
}

bool tokens_is_text(const char *bytes, size_t length)
{
    const unsigned char *p = (const unsigned char *)bytes;
    for (size_t i = 0; i < length;) {
        size_t step = utf8_length(p + i, length - i);
        if (step == 0 || is_control(p + i, step)) {
            return false;
        }
        i += step;
    }
    return true;
}

/* As tokens_is_text, but a tab is a blank here, and the message says what is wrong where. */
static int check_bytes(const char *line, size_t length, struct err_text *err)
{
    const unsigned char *p = (const unsigned char *)line;
    for (size_t i = 0; i < length;) {
        size_t step = utf8_length(p + i, length - i);
        if (step == 0) {
            return err_set(err, ERR_PARSE, "byte %zu of the line (0x%02x) is not UTF-8", i + 1, p[i]);
        }
        if (p[i] != '\t' && is_control(p + i, step)) {
            return err_set(err, ERR_PARSE, "byte %zu of the line is a control byte (0x%02x)", i + 1, p[i]);
        }
        i += step;
    }
    return ERR_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Reads a quoted word that begins behind *cursor, in place; leaves *cursor behind the closing quote. */
static int read_quoted(char **cursor, const char *end, struct err_text *err)
{
    char *from = *cursor;
    char *to = from;
    while (from < end && *from != '"') {
        if (*from == '\\') {
            if (from + 1 >= end || (from[1] != '"' && from[1] != '\\')) {
                return err_set(err, ERR_PARSE, "in double quotes a backslash stands only before \" or \\");
            }
            from++;
        }
        if (*from == '\t') {
            *from = ' '; /* words have no control bytes */
        }
        *to++ = *from++;
    }
    if (from >= end) {
        return err_set(err, ERR_PARSE, "a double quote is not closed");
    }
    from++;
    if (from < end && !is_blank(*from)) {
        return err_set(err, ERR_PARSE, "a blank must follow the closing double quote");
    }
    *to = '\0';
    *cursor = from;
    return ERR_OK;
}

static int read_plain(char **cursor, const char *end, struct err_text *err)
{
    char *p = *cursor;
    while (p < end && !is_blank(*p)) {
        if (*p == '"') {
            return err_set(err, ERR_PARSE, "a double quote inside a word: put the whole word in quotes");
        }
        p++;
    }
    *cursor = p;
    return ERR_OK;
}

int tokens_split(char *line, size_t length, struct tokens *out, struct err_text *err)
{
    char *end = line + length;
    char *p = line;
    int code = check_bytes(line, length, err);
    out->len = 0;
    while (code == ERR_OK) {
        while (p < end && is_blank(*p)) {
            p++;
        }
        if (p == end) {
            break;
        }
        if (out->len == TOKENS_MAX) {
            return err_set(err, ERR_LIMIT, "more than %u words in a line", TOKENS_MAX);
        }
        if (*p == '"') {
            p++;
            out->word[out->len++] = p;
            code = read_quoted(&p, end, err);
        } else {
            out->word[out->len++] = p;
            code = read_plain(&p, end, err);
            if (code == ERR_OK && p < end) {
                *p++ = '\0';
            } else if (p == end) {
                *p = '\0';
            }
        }
    }
    return code;
}

void tokens_quote(FILE *out, const char *word)
{
    if (*word != '\0' && strpbrk(word, " \t\"") == NULL) {
        fputs(word, out);
        return;
    }
    fputc('"', out);
    for (; *word != '\0'; word++) {
        if (*word == '"' || *word == '\\') {
            fputc('\\', out);
        }
        fputc(*word, out);
    }
    fputc('"', out);
}
