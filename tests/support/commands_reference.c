/*
 * Prints what is made from the command table, or with --check FILE fails when that file is stale:
 * docs/commands.md; with --metrics docs/metrics.md; with --man the list in shuntctl(1); with --bash, --zsh or
 * --fish the completion in admin/ctl/completion/.
 */
#include "admin/admin.h"
#include "admin/commands.h"
#include "admin/metrics.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check(const char *path, const char *wanted)
{
    size_t length = strlen(wanted);
    char *found = calloc(1, length + 2);
    if (found == NULL) {
        return 1;
    }
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        perror(path);
        free(found);
        return 1;
    }
    size_t got = fread(found, 1, length + 1, in);
    (void)fclose(in);
    int same = got == length && memcmp(found, wanted, length) == 0;
    free(found);
    if (!same) {
        fprintf(stderr, "%s is stale: run commands_reference > %s\n", path, path);
    }
    return same ? 0 : 1;
}

/* What argument asks for: NULL when memory ran out, or it is not known. */
static char *write_what(const char *what)
{
    char *text = NULL;
    size_t size = 0;
    bool known = true;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    if (strcmp(what, "--metrics") == 0) {
        metrics_write_reference(out);
    } else if (strcmp(what, "--man") == 0) {
        commands_write_man(out);
    } else {
        known = commands_write_completion(out, what + strspn(what, "-"));
    }
    if (fclose(out) != 0 || !known) {
        free(text);
        return NULL;
    }
    return text;
}

int main(int argc, char **argv)
{
    bool other = argc > 1 && strcmp(argv[1], "--check") != 0;
    int at = other ? 2 : 1;
    char *text = other ? write_what(argv[1]) : admin_reference();
    if (text == NULL) {
        return 1;
    }
    int code = 0;
    if (argc == at + 2 && strcmp(argv[at], "--check") == 0) {
        code = check(argv[at + 1], text);
    } else {
        code = fputs(text, stdout) == EOF || fflush(stdout) != 0;
    }
    free(text);
    return code;
}
