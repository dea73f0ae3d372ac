/*
 * The settings as text for operators: those in force (`show settings`) and the reference (docs/settings.md).
 * Both walk the schema table. Pure; any thread.
 */
#include "core/settings_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void show_section(FILE *out, struct settings_path *path, const struct setting *section,
                         const void *element);

/* Closes the stream and hands over its text; NULL when memory ran out on the way. */
static char *finish(FILE *out, char **text)
{
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(*text);
        return NULL;
    }
    return *text;
}

/* ---- show settings */

static void show_default(FILE *out, const struct setting *setting)
{
    const char *quote = settings_is_quoted(setting) ? "\"" : "";
    if (setting->note) {
        fprintf(out, "  # default: %s\n", setting->note);
    } else if (setting->fallback) {
        fprintf(out, "  # default: %s%s%s\n", quote, setting->fallback, quote);
    } else {
        fputc('\n', out);
    }
}

static void show_value(FILE *out, const struct settings_path *path, const struct setting *setting,
                       const void *element)
{
    char value[SETTINGS_VALUE_MAX];
    settings_value_format(setting, element, value, sizeof value);
    fprintf(out, "%s = %s", path->text, value);
    show_default(out, setting);
}

static void show_many(FILE *out, const struct settings_path *path, const struct setting *setting,
                      const void *element)
{
    struct setting one = *setting;
    char **list = NULL;
    size_t len = 0;
    memcpy((void *)&list, (const char *)element + setting->offset, sizeof list);
    memcpy(&len, (const char *)element + setting->len, sizeof len);
    one.offset = 0;
    fprintf(out, "%s = [", path->text);
    for (size_t i = 0; i < len; i++) {
        char value[SETTINGS_VALUE_MAX];
        settings_value_format(&one, &list[i], value, sizeof value);
        fprintf(out, "%s %s", i > 0 ? "," : "", value);
    }
    fputs(" ]\n", out);
}

/* The element's name when it has one. */
static const char *element_name(const struct setting *list, const void *element)
{
    const struct setting *child = NULL;
    while ((child = settings_next(&settings_table, list, child)) != NULL) {
        if (settings_is_text(child) && strcmp(settings_leaf(child), "name") == 0) {
            const char *name = NULL;
            memcpy(&name, (const char *)element + child->offset, sizeof(char *));
            return name;
        }
    }
    return NULL;
}

static void show_list(FILE *out, struct settings_path *path, const struct setting *setting,
                      const void *element)
{
    const char *list = NULL;
    size_t len = 0;
    memcpy(&list, (const char *)element + setting->offset, sizeof list);
    memcpy(&len, (const char *)element + setting->len, sizeof len);
    for (size_t i = 0; i < len; i++) {
        const char *one = list + i * setting->size;
        const char *name = element_name(setting, one);
        size_t mark = name ? settings_path_push(path, name) : settings_path_push_index(path, i);
        show_section(out, path, setting, one);
        settings_path_cut(path, mark);
    }
}

static bool is_shown(const struct setting *setting, const void *element)
{
    bool present = true;
    if (setting->present) {
        memcpy(&present, (const char *)element + setting->present, sizeof present);
    }
    return present;
}

static void show_section(FILE *out, struct settings_path *path, const struct setting *section,
                         const void *element)
{
    const struct setting *child = NULL;
    while ((child = settings_next(&settings_table, section, child)) != NULL) {
        size_t mark = settings_path_push(path, settings_leaf(child));
        if (child->flags & SETTINGS_MANY) {
            show_many(out, path, child, element);
        } else if (child->type == SETTINGS_LIST) {
            show_list(out, path, child, element);
        } else if (child->type != SETTINGS_SECTION) {
            show_value(out, path, child, element);
        } else if (is_shown(child, element)) {
            show_section(out, path, child, element);
        }
        settings_path_cut(path, mark);
    }
}

char *config_show(const struct config *config)
{
    struct settings_path path = {.len = 0};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        return NULL;
    }
    show_section(out, &path, NULL, config);
    return finish(out, &text);
}

/* ---- the reference */

static const char reference_intro[] =
    "# Settings\n"
    "\n"
    "Made from the table in core/settings_table.c by the build target `settings_reference`; do not edit.\n"
    "\n"
    "The file is read by libconfig: `name = value;`, sections in `{ }`, lists of sections in `( )`, lists "
    "of\n"
    "values in `[ ]`, comments with `#`, `//` or `/* */`. A line `@include \"FILE\"` is replaced by that "
    "file.\n"
    "Check a file with `shuntd -t -c FILE`: it shows all errors at once.\n"
    "\n"
    "- Durations are texts with a unit: `\"500us\"`, `\"500ms\"`, `\"2s\"`, `\"1.5s\"`, `\"5m\"`, `\"1h\"`, "
    "`\"2d\"`, "
    "`\"1h30m\"`.\n"
    "  A bare `0` needs none.\n"
    "- Shares are texts in percent with up to two decimals: `\"1%\"`, `\"0.25%\"`.\n"
    "- Addresses: `\"10.0.0.11:8080\"`, `\"[2001:db8::1]:8080\"`, `\"db.example:5432\"`, "
    "`\"unix:/run/app.sock\"`.\n"
    "- Relative paths count from the folder of the configuration file.\n"
    "- Everything is optional unless it says *required*; a required setting inside an optional section is\n"
    "  required once the section is there.\n"
    "- A change takes effect at the next start.\n"
    "- A name is 1 to 63 letters, digits and `. - _ : [ ]`; a backend's name may be longer and hold "
    "slashes.\n";

static bool is_number(const struct setting *setting)
{
    return setting->type >= SETTINGS_COUNT && setting->type <= SETTINGS_MODE;
}

static const char *type_word(const struct setting *setting)
{
    static const char *const words[] = {
        [SETTINGS_BOOL] = "bool",         [SETTINGS_COUNT] = "number",    [SETTINGS_DECIMAL] = "decimal",
        [SETTINGS_DURATION] = "duration", [SETTINGS_SHARE] = "share",     [SETTINGS_SIZE] = "size",
        [SETTINGS_SPEED] = "speed",       [SETTINGS_RATE] = "rate",       [SETTINGS_MODE] = "octal mode",
        [SETTINGS_WORD] = "word",         [SETTINGS_STRING] = "text",     [SETTINGS_NAME] = "name",
        [SETTINGS_ENDPOINT] = "name",     [SETTINGS_ADDRESS] = "address", [SETTINGS_PREFIX] = "prefix",
        [SETTINGS_PATH] = "path",         [SETTINGS_SECTION] = "section", [SETTINGS_LIST] = "list"};
    return setting->words && !is_number(setting) ? "word" : words[setting->type];
}

static void write_range(FILE *out, const struct setting *setting)
{
    char lowest[32];
    char highest[32];
    for (size_t i = 0; setting->words && setting->words[i]; i++) {
        fprintf(out, "%s`%s`", i > 0 ? ", " : "", setting->words[i]);
    }
    if (setting->words && !is_number(setting)) {
        return;
    }
    fputs(setting->words ? ", " : "", out);
    if (is_number(setting)) {
        settings_number_format(setting->type, setting->min, lowest, sizeof lowest);
        settings_number_format(setting->type, setting->max, highest, sizeof highest);
        fprintf(out, "%s to %s", lowest, highest);
    } else if (setting->type == SETTINGS_BOOL) {
        fputs("`true`, `false`", out);
    }
}

static void write_row(FILE *out, const struct setting *setting)
{
    const char *quote = settings_is_quoted(setting) ? "\"" : "";
    const char *form = setting->flags & SETTINGS_MANY ? "list of " : "";
    const char *plural = !(setting->flags & SETTINGS_MANY)                                       ? ""
                         : setting->type == SETTINGS_ADDRESS || setting->type == SETTINGS_PREFIX ? "es"
                                                                                                 : "s";
    fprintf(out, "| `%s` | %s%s%s | ", settings_leaf(setting), form, type_word(setting), plural);
    if (setting->flags & SETTINGS_REQUIRED) {
        fputs("*required*", out);
    } else if (setting->note) {
        fputs(setting->note, out);
    } else if (setting->fallback) {
        fprintf(out, "`%s%s%s`", quote, setting->fallback, quote);
    }
    fputs(" | ", out);
    write_range(out, setting);
    fprintf(out, " | %s |\n", setting->text);
}

/* The table of the settings directly inside, then what is nested. */
static void write_section(FILE *out, const struct setting *section)
{
    const struct setting *child = NULL;
    bool head = false;
    if (section) {
        const char *form = section->type == SETTINGS_LIST ? "A list. " : "";
        const char *need = section->flags & SETTINGS_REQUIRED ? "Required. " : "";
        fprintf(out, "\n## `%s`\n\n%s%s%s\n", section->path, form, need, section->text);
    }
    while ((child = settings_next(&settings_table, section, child)) != NULL) {
        if (child->type == SETTINGS_SECTION || child->type == SETTINGS_LIST) {
            continue;
        }
        if (!head) {
            fputs("\n| setting | type | default | allowed | what it does |\n"
                  "|---|---|---|---|---|\n",
                  out);
            head = true;
        }
        write_row(out, child);
    }
    while ((child = settings_next(&settings_table, section, child)) != NULL) {
        if (child->type == SETTINGS_SECTION || child->type == SETTINGS_LIST) {
            write_section(out, child);
        }
    }
}

char *config_reference(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        return NULL;
    }
    fputs(reference_intro, out);
    write_section(out, NULL);
    return finish(out, &text);
}
