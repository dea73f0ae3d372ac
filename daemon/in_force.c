/*
 * The settings in force, as lines of `show settings`: those of the present configuration, but with the value
 * of before for what no reload changes. Pure; any thread. Which those are, daemon/reload_diff.c knows.
 */
#include "daemon/in_force.h"

#include "daemon/reload_diff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 1024u

static const char of_services[] = "services.";

/* The line with this path in text, or NULL. path ends where its " = " begins. */
static const char *find_line(const char *text, const char *path, size_t path_len)
{
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, path, path_len) == 0 && strncmp(line + path_len, " = ", 3) == 0) {
            return line;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return NULL;
}

static size_t line_length(const char *line)
{
    return strcspn(line, "\n");
}

/* Up to the comment, if there is one. */
static size_t value_length(const char *line)
{
    size_t whole = line_length(line);
    const char *comment = strstr(line, "  #");
    return comment != NULL && (size_t)(comment - line) < whole ? (size_t)(comment - line) : whole;
}

/* The name of the service that a path is of: the longest that fits, since names may have dots. */
static const char *service_of(const struct config *config, const char *path)
{
    const char *best = NULL;
    for (size_t i = 0; i < config->services_len; i++) {
        const char *name = config->services[i].name;
        size_t length = strlen(name);
        const char *rest = path + sizeof(of_services) - 1;
        if (strncmp(rest, name, length) == 0 && rest[length] == '.' &&
            (best == NULL || length > strlen(best))) {
            best = name;
        }
    }
    return best;
}

/* Whether what was before a reload with config is in force after it too. Of a service that was there. */
static bool stays(const struct config *config, const char *before, const char *path)
{
    if (strncmp(path, of_services, sizeof(of_services) - 1) != 0) {
        return !reload_is_live(path, NULL);
    }
    const char *service = service_of(config, path);
    char name[PATH_BYTES];
    if (service == NULL || reload_is_live(path, service)) {
        return false;
    }
    (void)snprintf(name, sizeof(name), "%s%s.name", of_services, service);
    return find_line(before, name, strlen(name)) != NULL;
}

/* A line of the file, or what is in force in its place. */
static void put_line(FILE *out, const struct config *config, const char *before, const char *line,
                     const char *path)
{
    const char *old = find_line(before, path, strlen(path));
    size_t value = value_length(line);
    bool kept = stays(config, before, path);
    if (old == NULL && kept) {
        return; /* comes with a restart */
    }
    if (!kept || (value_length(old) == value && strncmp(old, line, value) == 0)) {
        fprintf(out, "%.*s\n", (int)line_length(line), line);
        return;
    }
    size_t told = strlen(path) + 3;
    fprintf(out, "%.*s  # the file has %.*s, after a restart\n", (int)value_length(old), old,
            (int)(value - told), line + told);
}

static void put_all(FILE *out, const struct config *config, const char *now, const char *before)
{
    const char *texts[] = {now, before};
    for (size_t t = 0; t < 2; t++) {
        for (const char *line = texts[t]; *line != '\0';) {
            const char *end = strstr(line, " = ");
            char path[PATH_BYTES];
            (void)snprintf(path, sizeof(path), "%.*s", end != NULL ? (int)(end - line) : 0, line);
            if (t == 0) {
                put_line(out, config, before, line, path);
            } else if (find_line(now, path, strlen(path)) == NULL && stays(config, before, path)) {
                fprintf(out, "%.*s  # not in the file any more, until a restart\n", (int)value_length(line),
                        line);
            }
            line += line_length(line);
            line += *line == '\n';
        }
    }
}

char *in_force_after(const char *before, const struct config *config)
{
    char *now = config_show(config);
    char *text = NULL;
    size_t len = 0;
    FILE *out = now != NULL ? open_memstream(&text, &len) : NULL;
    if (out == NULL) {
        free(now);
        return NULL;
    }
    put_all(out, config, now, before);
    free(now);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
