/*
 * Prints what is made from the command table, or with --check FILE fails when that file is stale:
 * docs/commands.md; with --metrics docs/metrics.md; with --man the list in shuntctl(1); with --bash, --zsh or
 * --fish the completion in admin/ctl/completion/. With --tls-reasons the table of why TLS handshakes fail, of
 * which
 * --check sees whether FILE has it among other text.
 */
#include "admin/admin.h"
#include "admin/commands.h"
#include "admin/metrics.h"
#include "core/stats.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1u << 20)
#define TLS_REASONS "--tls-reasons"

/* part: it is enough that the file has the text in it. */
static int check(const char *path, const char *wanted, bool part)
{
    char *found = calloc(1, FILE_MAX);
    if (found == NULL) {
        return 1;
    }
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        perror(path);
        free(found);
        return 1;
    }
    (void)fread(found, 1, FILE_MAX - 1, in);
    (void)fclose(in);
    bool same = part ? strstr(found, wanted) != NULL : strcmp(found, wanted) == 0;
    free(found);
    if (!same && part) {
        fprintf(stderr, "%s is stale: its table must be what commands_reference " TLS_REASONS " prints\n",
                path);
    } else if (!same) {
        fprintf(stderr, "%s is stale: run commands_reference > %s\n", path, path);
    }
    return same ? 0 : 1;
}

/* As it stands in docs/tls.md, up to the empty line behind it. */
static void write_tls_reasons(FILE *out)
{
    fputs("| reason | |\n|---|---|\n", out);
#define ROW(id, name, help) fputs("| `" name "` | " help " |\n", out);
    STATS_TLS_FAILURES(ROW)
#undef ROW
    fputc('\n', out);
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
    } else if (strcmp(what, TLS_REASONS) == 0) {
        write_tls_reasons(out);
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
        code = check(argv[at + 1], text, other && strcmp(argv[1], TLS_REASONS) == 0);
    } else {
        code = fputs(text, stdout) == EOF || fflush(stdout) != 0;
    }
    free(text);
    return code;
}
