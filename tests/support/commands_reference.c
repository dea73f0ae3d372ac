/*
 * Prints docs/commands.md from the command table, or with --check FILE fails when that file is stale.
 */
#include "admin/admin.h"
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

static char *write_metrics(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    metrics_write_reference(out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

int main(int argc, char **argv)
{
    bool metrics = argc > 1 && strcmp(argv[1], "--metrics") == 0;
    int at = metrics ? 2 : 1;
    char *text = metrics ? write_metrics() : admin_reference();
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
