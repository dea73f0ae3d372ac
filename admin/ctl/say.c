/*
 * The way to the user: what a daemon says is cleaned before a terminal sees it, and written in ASCII where
 * the locale has no UTF-8. One thread.
 */
#include "admin/ctl/ctl.h"
#include "admin/ctl/plain.h"
#include "admin/tokens.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

bool ctl_is_ascii(void)
{
    static bool asked, ascii;
    if (!asked) {
        (void)setlocale(LC_CTYPE, "");
        ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
        asked = true;
    }
    return ascii;
}

void ctl_say(FILE *out, const char *text, size_t length)
{
    char *clean = NULL;
    size_t clean_len = 0;
    /* JSON is UTF-8 by its definition, wherever it is read. */
    if (!ctl_is_ascii() || (length > 0 && text[0] == '{')) {
        tokens_write_clean(out, text, length);
        return;
    }
    FILE *copy = open_memstream(&clean, &clean_len);
    if (copy != NULL) {
        tokens_write_clean(copy, text, length);
    }
    if (copy == NULL || fclose(copy) != 0) {
        fputs("shuntctl: out of memory\n", stderr);
    } else {
        plain_write(out, clean, clean_len);
    }
    free(clean);
}

/* Output that did not arrive is a failure, also when it is only seen at the end. A reader that had enough, as
 * head(1) has, is told nothing. */
int ctl_finish(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (errno != EPIPE) {
            fprintf(stderr, "shuntctl: cannot write the output: %s\n", strerror(errno));
        }
        return EXIT_REFUSED;
    }
    return code;
}
