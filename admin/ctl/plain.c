/*
 * ASCII for terminals and files that take no UTF-8: one table for lines of text, which may become longer, and
 * for the view of `watch`, where each character has its column. Pure.
 */
#include "admin/ctl/plain.h"

#include <string.h>

static const struct {
    const char *from;
    char sign;
    const char *words; /* NULL: the sign */
} table[] = {{"≤", '<', "<="}, {"→", '>', "->"}, {"…", '~', "..."}, {"×", 'x', NULL}, {"✔", '+', NULL},
             {"✖", 'X', NULL}, {"⚠", '!', NULL}, {"◌", 'o', NULL},  {"·", '-', NULL}, {"●", '*', NULL},
             {"├", '|', NULL}, {"│", '|', NULL}, {"└", '`', NULL},  {"─", '-', NULL}};

#define TABLE_LEN (sizeof(table) / sizeof(table[0]))

/* Index of the character at text, of which left bytes are there; TABLE_LEN: not in the table. */
static size_t find(const char *text, size_t left)
{
    size_t i = 0;
    while (i < TABLE_LEN &&
           (strlen(table[i].from) > left || memcmp(text, table[i].from, strlen(table[i].from)) != 0)) {
        i++;
    }
    return i;
}

char plain_sign(const char *character)
{
    size_t i = find(character, strnlen(character, 4));
    if (i == TABLE_LEN) {
        return '?';
    }
    return table[i].sign;
}

void plain_write(FILE *out, const char *text, size_t length)
{
    for (size_t at = 0; at < length; at++) {
        unsigned char byte = (unsigned char)text[at];
        size_t i = byte < 0x80 ? TABLE_LEN : find(text + at, length - at);
        if (byte < 0x80) {
            fputc(byte, out);
        } else if (i < TABLE_LEN && table[i].words != NULL) {
            fputs(table[i].words, out);
        } else if ((byte & 0xc0) != 0x80) { /* once for each character */
            fputc(i < TABLE_LEN ? table[i].sign : '?', out);
        }
    }
}
