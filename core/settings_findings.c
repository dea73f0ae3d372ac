/*
 * The findings about a configuration: collects them with file, line and source line, sorts them into the
 * order of the file, writes them as operators see them. Pure; any thread. What is wrong is said by whoever
 * finds it.
 */
#include "core/settings_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Longer lines are cut: the finding names what matters. */
#define SOURCE_LINE_MAX 160

static char *copy_line(const struct settings_source *source, const struct settings_line *line)
{
    const char *text = source->text.data + line->offset;
    size_t len = strcspn(text, "\n");
    return strndup(text, len < SOURCE_LINE_MAX ? len : SOURCE_LINE_MAX);
}

/* Makes room for one more. */
static bool grow(struct settings_findings *findings)
{
    struct config_errors *errors = findings->errors;
    if (errors->len & (errors->len - 1)) {
        return true; /* the room is the next power of two */
    }
    size_t room = errors->len ? errors->len * 2 : 1;
    struct config_error *list = realloc(errors->list, room * sizeof *list);
    if (!list) {
        return false;
    }
    errors->list = list;
    uint64_t *order = realloc(findings->order, room * sizeof *order);
    if (!order) {
        return false;
    }
    findings->order = order;
    return true;
}

static bool place(const struct settings_findings *findings, unsigned line, struct config_error *error,
                  uint64_t *order)
{
    const struct settings_source *source = findings->source;
    if (line == 0 || line > source->lines_len) {
        *order = 0;
        return true;
    }
    const struct settings_line *at = &source->lines[line - 1];
    *order = line;
    error->line = at->number;
    error->source = copy_line(source, at);
    if (at->file > 0) {
        error->path = strdup(source->files[at->file]);
    }
    return error->source && (at->file == 0 || error->path);
}

static void clear_error(struct config_error *error)
{
    free(error->path);
    free(error->text);
    free(error->source);
}

void settings_finding_add(struct settings_findings *findings, unsigned line, const char *format, ...)
{
    struct config_error error = {0};
    uint64_t order = 0;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&error.text, format, args);
    va_end(args);
    if (n < 0) {
        error.text = NULL;
    }
    if (n < 0 || !grow(findings) || !place(findings, line, &error, &order)) {
        findings->nomem = true;
        clear_error(&error);
        return;
    }
    findings->order[findings->errors->len] = order;
    findings->errors->list[findings->errors->len++] = error;
}

/* Nearly sorted already, as settings are read in the order of the table; insertion keeps equals in order. */
void settings_findings_finish(struct settings_findings *findings)
{
    struct config_error *list = findings->errors->list;
    uint64_t *order = findings->order;
    for (size_t i = 1; i < findings->errors->len; i++) {
        struct config_error error = list[i];
        uint64_t key = order[i];
        size_t to = i;
        for (; to > 0 && order[to - 1] > key; to--) {
            list[to] = list[to - 1];
            order[to] = order[to - 1];
        }
        list[to] = error;
        order[to] = key;
    }
    free(findings->order);
    findings->order = NULL;
}

void config_errors_clear(struct config_errors *errors)
{
    if (!errors) {
        return;
    }
    for (size_t i = 0; i < errors->len; i++) {
        clear_error(&errors->list[i]);
    }
    free(errors->list);
    free(errors->path);
    *errors = (struct config_errors){0};
}

/* What the file says is repeated to a terminal: control bytes are written as text. */
static void put_visible(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f) {
            fprintf(out, "\\x%02x", (unsigned char)*text);
        } else {
            fputc(*text, out);
        }
    }
}

char *config_errors_format(const struct config_errors *errors)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        return NULL;
    }
    for (size_t i = 0; i < errors->len; i++) {
        const struct config_error *error = &errors->list[i];
        const char *path = error->path ? error->path : errors->path;
        fputs(path ? path : "configuration", out);
        if (error->line) {
            fprintf(out, ":%u", error->line);
        }
        fputs(": ", out);
        put_visible(out, error->text);
        fputc('\n', out);
        if (error->source) {
            fprintf(out, "%7u | ", error->line);
            put_visible(out, error->source);
            fputc('\n', out);
        }
    }
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
