/* What stands for the characters of a reply where the locale has no UTF-8. */
#ifndef ADMIN_CTL_PLAIN_H
#define ADMIN_CTL_PLAIN_H

#include <stddef.h>
#include <stdio.h>

/* One column for one column: for the UTF-8 character at character, '?' where nothing resembles it. */
char plain_sign(const char *character);
/* Writes UTF-8 text as ASCII, each character as one that resembles it or as words: "->", "<=", "...". */
void plain_write(FILE *out, const char *text, size_t length);

#endif
