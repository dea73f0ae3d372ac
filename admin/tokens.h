/*
 * Command lines to words and back. Pure; any thread. Used by the daemon and by shuntctl.
 */
#ifndef ADMIN_TOKENS_H
#define ADMIN_TOKENS_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TOKENS_MAX 32u /* words in a line; more is an error */
#define TOKENS_LINE_MAX                                                                                      \
    (16u << 10) /* bytes of a line without its end; more costs the client its connection */

/* The words of a line; they point into it. */
struct tokens {
    size_t len;
    const char *word[TOKENS_MAX];
};

/*
 * Splits line (length bytes, and one more that may be written: a NUL ends each word) at blanks and tabs. A
 * word in double quotes may hold blanks (a tab becomes one); in it \" and \\ stand for themselves without the
 * backslash. An empty line gives no words. Returns 0, ERR_PARSE (control byte, not UTF-8, unbalanced or
 * misplaced quote, unknown escape) or ERR_LIMIT (too many words), with a message that says where.
 */
MUST_CHECK int tokens_split(char *line, size_t length, struct tokens *out, struct err_text *err);

/* Writes a word so that tokens_split gives it back; quotes only where needed. */
void tokens_quote(FILE *out, const char *word);

/*
 * Writes text for a terminal: control bytes and characters (those of C1, and those that turn the direction of
 * writing, too) as \u001b, bytes that are no UTF-8 as \xff; line ends and tabs stay. What is JSON stays JSON
 * with the same meaning.
 */
void tokens_write_clean(FILE *out, const char *bytes, size_t length);

/* True if the bytes are UTF-8 (RFC 3629: no surrogates, no overlong forms) without control bytes. */
bool tokens_is_text(const char *bytes, size_t length);

#endif
