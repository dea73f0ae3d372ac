/* Texts with escapes and lists of ranges: see core/bytes.h. Pure; any thread. */
#include "core/bytes.h"

#include <stdio.h>
#include <string.h>

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* The byte that the escape at text (behind the backslash) stands for and its length, or -1. */
static int unescape_one(const char *text, size_t *used)
{
    static const char letters[] = "rnt0\\\"";
    static const char values[] = {'\r', '\n', '\t', '\0', '\\', '"'};
    *used = 1;
    if (text[0] == 'x') {
        int high = hex_digit(text[1]);
        int low = high >= 0 ? hex_digit(text[2]) : -1;
        *used = 3;
        return low >= 0 ? high * 16 + low : -1;
    }
    const char *at = text[0] != '\0' ? strchr(letters, text[0]) : NULL;
    return at != NULL ? values[at - letters] : -1;
}

int bytes_unescape(const char *text, uint8_t *out, size_t out_size, size_t *len)
{
    size_t n = 0;
    while (*text != '\0') {
        int byte = (unsigned char)*text++;
        if (byte == '\\') {
            size_t used = 0;
            byte = unescape_one(text, &used);
            if (byte < 0) {
                return ERR_PARSE;
            }
            text += used;
        }
        if (out != NULL && n >= out_size) {
            return ERR_LIMIT;
        }
        if (out != NULL) {
            out[n] = (uint8_t)byte;
        }
        n++;
    }
    *len = n;
    return 0;
}

static size_t escape_one(uint8_t byte, char *out, size_t room)
{
    static const char from[] = "\r\n\t\\";
    static const char to[] = "rnt\\";
    const char *at = byte != '\0' ? strchr(from, byte) : NULL;
    int n;
    if (at != NULL) {
        n = snprintf(out, room, "\\%c", to[at - from]);
    } else if (byte >= 0x20 && byte < 0x7f) {
        n = snprintf(out, room, "%c", byte);
    } else {
        n = snprintf(out, room, "\\x%02x", byte);
    }
    return (size_t)n;
}

void bytes_escape(const void *data, size_t len, char *out, size_t out_size)
{
    const uint8_t *bytes = data;
    size_t n = 0;
    size_t cut = 0; /* the last place where the dots fit */
    for (size_t i = 0; i < len; i++) {
        char one[8];
        size_t wide = escape_one(bytes[i], one, sizeof(one));
        cut = n + 4 <= out_size ? n : cut;
        if (n + wide + 1 > out_size) {
            memcpy(out + cut, "...", 3);
            n = cut + 3;
            break;
        }
        memcpy(out + n, one, wide);
        n += wide;
    }
    out[n] = '\0';
}

/* Decimal digits at *text, at most eight; moves *text behind them. */
static bool take_number(const char **text, uint32_t *out)
{
    size_t digits = strspn(*text, "0123456789");
    if (digits == 0 || digits > 8) {
        return false;
    }
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        *out = *out * 10 + (uint32_t)((*text)[i] - '0');
    }
    *text += digits;
    return true;
}

int bytes_ranges_parse(const char *text, uint32_t lowest, uint32_t highest, struct bytes_ranges *out)
{
    out->len = 0;
    for (;;) {
        uint32_t first = 0;
        if (!take_number(&text, &first)) {
            return ERR_PARSE;
        }
        uint32_t last = first;
        if (*text == '-') {
            text++;
            if (!take_number(&text, &last)) {
                return ERR_PARSE;
            }
        }
        if (first < lowest || last > highest || last < first) {
            return ERR_RANGE;
        }
        if (out->len == BYTES_RANGES_MAX) {
            return ERR_LIMIT;
        }
        out->list[out->len].first = first;
        out->list[out->len++].last = last;
        if (*text == '\0') {
            return 0;
        }
        if (*text++ != ',') {
            return ERR_PARSE;
        }
        text += strspn(text, " ");
    }
}

bool bytes_ranges_have(const struct bytes_ranges *ranges, uint32_t number)
{
    for (size_t i = 0; i < ranges->len; i++) {
        if (number >= ranges->list[i].first && number <= ranges->list[i].last) {
            return true;
        }
    }
    return false;
}
