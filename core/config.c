/*
 * Loads a configuration: source text, libconfig's tree, values, rules; or all that was wrong. Any thread;
 * reads files only through settings_source.c. libconfig stays inside the settings files of this folder.
 */
#include "core/config.h"

#include "core/settings_internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- what libconfig refuses */

/* Whether the line has a number with a unit outside quotes, as in "interval = 5s;". */
static bool has_bare_unit(const char *line, size_t len)
{
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        quoted ^= line[i] == '"';
        bool after_equals = i > 0 && (line[i - 1] == '=' || line[i - 1] == ' ');
        if (quoted || !after_equals || line[i] < '0' || line[i] > '9') {
            continue;
        }
        size_t end = i + strspn(line + i, "0123456789.");
        if (end < len && strchr("unmshdKMG%", line[end])) {
            return true;
        }
    }
    return false;
}

/* The name at the start of the line, when "=" or ":" follows. */
static size_t leading_name(const char *line, const char **name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-*";
    *name = line + strspn(line, " \t");
    size_t len = strspn(*name, letters);
    const char *behind = *name + len + strspn(*name + len, " \t");
    return *behind == '=' || *behind == ':' ? len : 0;
}

static void explain_syntax(struct settings_findings *findings, const config_t *tree)
{
    const struct settings_source *source = findings->source;
    unsigned line = config_error_line(tree) > 0 ? (unsigned)config_error_line(tree) : 0;
    if (line > source->lines_len) {
        line = (unsigned)source->lines_len; /* the end of the file counts as its last line */
    }
    const char *reason = config_error_text(tree);
    const char *text = line > 0 ? source->text.data + source->lines[line - 1].offset : "";
    const char *name = NULL;
    size_t name_len = leading_name(text, &name);
    if (!reason) {
        reason = "cannot be parsed";
    }
    if (strstr(reason, "duplicate") && name_len > 0) {
        settings_finding_add(findings, line, "\"%.*s\" is set twice in the same section", (int)name_len,
                             name);
    } else if (strstr(reason, "duplicate")) {
        settings_finding_add(findings, line, "a setting of this line is set twice in the same section");
    } else if (strstr(reason, "mismatched")) {
        settings_finding_add(findings, line, "the values of a list in [ ] must all be of one type");
    } else if (has_bare_unit(text, strcspn(text, "\n"))) {
        settings_finding_add(
            findings, line,
            "syntax error: durations, sizes and shares are written in quotes: \"5s\", \"64KiB\", \"25%%\"");
    } else {
        settings_finding_add(
            findings, line, "%s: look here and just before for a missing \";\", quote, \"}\", \")\" or \"]\"",
            reason);
    }
}

/* ---- loading */

static int parse(struct settings_reader *reader, const struct settings_source *source, struct config *config)
{
    if (!source->unclosed) {
        config_t tree;
        config_init(&tree);
        if (config_read_string(&tree, source->parse.data) != CONFIG_TRUE) {
            explain_syntax(reader->findings, &tree);
        } else {
            settings_read(reader, config_root_setting(&tree), config);
            settings_check(reader, config_root_setting(&tree), config);
        }
        config_destroy(&tree);
    }
    if (reader->findings->nomem) {
        return ERR_NOMEM;
    }
    return reader->findings->errors->len > 0 ? ERR_INVALID : ERR_OK;
}

static int load(const char *path, const char *text, const char *base_dir, struct config *config,
                struct config_errors *errors)
{
    struct settings_source source = {0};
    struct settings_findings findings = {.source = &source, .errors = errors};
    struct settings_reader reader = {.table = &settings_table, .base_dir = base_dir, .findings = &findings};
    int rc = settings_source_read(&source, path, text, base_dir, &findings);
    if (rc == ERR_OK) {
        rc = parse(&reader, &source, config);
    }
    settings_findings_finish(&findings);
    settings_source_clear(&source);
    return rc;
}

static int load_new(const char *path, const char *text, const char *base_dir, struct config **out,
                    struct config_errors *errors)
{
    struct config *config = calloc(1, sizeof *config);
    if (!config) {
        return ERR_NOMEM;
    }
    int rc = load(path, text, base_dir, config, errors);
    if (rc == ERR_OK && path) {
        config->path = realpath(path, NULL);
        /* Not a plain file (a pipe): the name is all there is. */
        config->path = config->path ? config->path : strdup(path);
        rc = config->path ? ERR_OK : ERR_NOMEM;
    }
    if (rc != ERR_OK) {
        config_free(config);
        return rc;
    }
    *out = config;
    return ERR_OK;
}

/* The folder of the file, absolute; NULL without memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder) {
        return NULL;
    }
    char *absolute = realpath(folder, NULL);
    if (!absolute) {
        return folder; /* reading the file will fail and say why */
    }
    free(folder);
    if (strcmp(absolute, "/") == 0) {
        absolute[0] = '\0'; /* a "/" is put behind it */
    }
    return absolute;
}

int config_load(const char *path, struct config **out, struct config_errors *errors)
{
    *errors = (struct config_errors){0};
    char *folder = folder_of(path);
    errors->path = strdup(path);
    int rc = folder && errors->path ? load_new(path, NULL, folder, out, errors) : ERR_NOMEM;
    free(folder);
    return rc;
}

int config_load_text(const char *text, const char *base_dir, struct config **out,
                     struct config_errors *errors)
{
    *errors = (struct config_errors){0};
    return load_new(NULL, text, base_dir, out, errors);
}

struct config_gate config_gate_of_step(const struct config_gate *all, const struct config_step *step)
{
    const struct config_step_gate *own = &step->gate;
    struct config_gate gate = *all;
    if (!own->present) {
        return gate;
    }
    gate.min_samples = own->min_samples > 0 ? own->min_samples : gate.min_samples;
    gate.max_error_rate_bp = own->max_error_rate_bp > 0 ? own->max_error_rate_bp : gate.max_error_rate_bp;
    gate.max_error_increase_bp =
        own->max_error_increase_bp > 0 ? own->max_error_increase_bp : gate.max_error_increase_bp;
    gate.max_latency_us = own->max_latency_us > 0 ? own->max_latency_us : gate.max_latency_us;
    gate.max_latency_ratio = own->max_latency_ratio > 0 ? own->max_latency_ratio : gate.max_latency_ratio;
    gate.max_connect_ratio = own->max_connect_ratio > 0 ? own->max_connect_ratio : gate.max_connect_ratio;
    return gate;
}

struct config *config_share(struct config *config)
{
    config->sharers++;
    return config;
}

void config_free(struct config *config)
{
    if (config && config->sharers > 0) {
        config->sharers--;
        return;
    }
    if (!config) {
        return;
    }
    settings_release(&settings_table, NULL, config);
    free(config->path);
    free(config);
}
