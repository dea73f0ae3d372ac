/*
 * From libconfig's tree to the structs of core/config.h by the schema table: unknown settings, types, ranges,
 * what is missing, defaults. Goes on after each finding, so that all of a file are found at once, and marks
 * what had one, so that the rules between settings do not complain about it again. Any thread.
 */
#include "core/settings_internal.h"
#include "core/units.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECTION_SETTINGS_MAX                                                                                 \
    64 /* more in one section and the nearest name is not looked for among the rest */

static void read_section(struct settings_reader *reader, const struct setting *section,
                         const config_setting_t *node, void *element);

/* ---- where the reader stands */

static size_t push(struct settings_path *path, const char *before, const char *name, const char *after)
{
    size_t mark = path->len;
    size_t room = sizeof path->text - path->len;
    int n = snprintf(path->text + path->len, room, "%s%s%s", before, name, after);
    path->len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    return mark;
}

size_t settings_path_push(struct settings_path *path, const char *name)
{
    return push(path, path->len ? "." : "", name, "");
}

size_t settings_path_push_index(struct settings_path *path, size_t index)
{
    char number[32];
    snprintf(number, sizeof number, "%zu", index);
    return push(path, "[", number, "]");
}

void settings_path_cut(struct settings_path *path, size_t len)
{
    path->len = len;
    path->text[len] = '\0';
}

const config_setting_t *settings_element(const config_setting_t *list, size_t index)
{
    const config_setting_t *element = config_setting_get_elem(list, (unsigned)index);
    assert(element != NULL);
    return element;
}

size_t settings_path_push_element(struct settings_path *path, const config_setting_t *element, size_t index)
{
    const char *name = NULL;
    bool named = config_setting_is_group(element) &&
                 config_setting_lookup_string(element, "name", &name) == CONFIG_TRUE && name[0] != '\0';
    return named ? settings_path_push(path, name) : settings_path_push_index(path, index);
}

/* ---- findings */

static char bad_mark;

static void mark_bad(const config_setting_t *node)
{
    /* The tree is ours alone; only libconfig's interface has it const on the way here. */
    config_setting_set_hook((config_setting_t *)(uintptr_t)node, &bad_mark);
}

const config_setting_t *settings_good(const config_setting_t *section, const char *name)
{
    const config_setting_t *node =
        section && config_setting_is_group(section) ? config_setting_get_member(section, name) : NULL;
    return node && config_setting_get_hook(node) != &bad_mark ? node : NULL;
}

/*
 * libconfig looks one word ahead behind a string (strings in a row are one), so a string that ends its line
 * gets the line of what follows. Looks back for the line that has it.
 */
unsigned settings_node_line(const struct settings_reader *reader, const config_setting_t *node)
{
    const struct settings_source *source = reader->findings->source;
    unsigned line = config_setting_source_line(node);
    const config_setting_t *parent = config_setting_parent(node);
    if (config_setting_type(node) != CONFIG_TYPE_STRING || !parent || config_setting_is_group(parent)) {
        return line;
    }
    const char *value = config_setting_get_string(node);
    for (unsigned at = line; value && at > 0 && at >= config_setting_source_line(parent); at--) {
        const char *text = source->text.data + source->lines[at - 1].offset;
        const char *found = strstr(text, value);
        if (found && found < text + strcspn(text, "\n")) {
            return at;
        }
    }
    return line;
}

void settings_complain(struct settings_reader *reader, const config_setting_t *node, const char *format, ...)
{
    char message[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    unsigned line = node ? settings_node_line(reader, node) : 0;
    if (reader->path.len) {
        settings_finding_add(reader->findings, line, "%s: %s", reader->path.text, message);
    } else {
        settings_finding_add(reader->findings, line, "%s", message);
    }
    if (node && config_setting_parent(node)) {
        mark_bad(node);
    }
}

static const char *describe_node(const config_setting_t *node)
{
    switch (config_setting_type(node)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "a whole number";
    case CONFIG_TYPE_FLOAT:
        return "a number with a fraction";
    case CONFIG_TYPE_STRING:
        return "a text";
    case CONFIG_TYPE_BOOL:
        return "true or false";
    case CONFIG_TYPE_GROUP:
        return "a section";
    default:
        return "a list";
    }
}

static void complain_type(struct settings_reader *reader, const struct setting *setting,
                          const config_setting_t *node)
{
    const char *wanted = settings_type_describe(setting);
    bool has_unit = setting->type == SETTINGS_DURATION || setting->type == SETTINGS_SHARE ||
                    setting->type == SETTINGS_SIZE;
    int type = config_setting_type(node);
    if (has_unit && type == CONFIG_TYPE_FLOAT) {
        settings_complain(reader, node, "%g has no unit: write %s", config_setting_get_float(node), wanted);
    } else if (has_unit && config_setting_is_number(node)) {
        settings_complain(reader, node, "%lld has no unit: write %s", config_setting_get_int64(node), wanted);
    } else {
        bool unquote = type == CONFIG_TYPE_STRING && !settings_is_quoted(setting);
        settings_complain(reader, node, "is %s: write %s%s", describe_node(node), wanted,
                          unquote ? ", without quotes" : "");
    }
}

/* ---- names */

static const struct setting *find_child(const struct settings_reader *reader, const struct setting *section,
                                        const char *name)
{
    const struct setting *child = NULL;
    while ((child = settings_next(reader->table, section, child)) != NULL) {
        if (strcmp(settings_leaf(child), name) == 0) {
            return child;
        }
    }
    return NULL;
}

static void complain_unknown(struct settings_reader *reader, const struct setting *section,
                             const config_setting_t *node)
{
    const char *known[SECTION_SETTINGS_MAX];
    size_t n = 0;
    const struct setting *child = NULL;
    while (n < SECTION_SETTINGS_MAX && (child = settings_next(reader->table, section, child)) != NULL) {
        known[n++] = settings_leaf(child);
    }
    const char *name = config_setting_name(node);
    const char *nearest = units_nearest(name, known, n);
    if (nearest) {
        settings_complain(reader, node, "unknown setting \"%s\" (did you mean \"%s\"?)", name, nearest);
    } else {
        settings_complain(reader, node, "unknown setting \"%s\"", name);
    }
}

static void check_names(struct settings_reader *reader, const struct setting *section,
                        const config_setting_t *node)
{
    size_t len = (size_t)config_setting_length(node);
    for (size_t i = 0; i < len; i++) {
        const config_setting_t *member = settings_element(node, i);
        if (!find_child(reader, section, config_setting_name(member))) {
            complain_unknown(reader, section, member);
        }
    }
}

/* ---- single values */

/* The value of the node as the text that settings_value_store takes, or NULL when the type does not fit. */
static const char *node_text(const struct setting *setting, const config_setting_t *node, char *number,
                             size_t number_size)
{
    int type = config_setting_type(node);
    bool whole = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
    if (settings_is_quoted(setting) && type == CONFIG_TYPE_STRING) {
        return config_setting_get_string(node);
    }
    if (setting->type == SETTINGS_BOOL && type == CONFIG_TYPE_BOOL) {
        return config_setting_get_bool(node) ? "true" : "false";
    }
    if (whole && setting->type == SETTINGS_COUNT) {
        snprintf(number, number_size, "%lld", config_setting_get_int64(node));
        return number;
    }
    if (setting->type == SETTINGS_DECIMAL && (whole || type == CONFIG_TYPE_FLOAT)) {
        snprintf(number, number_size, whole ? "%.0f" : "%.10g",
                 whole ? (double)config_setting_get_int64(node) : config_setting_get_float(node));
        return number;
    }
    if (whole && setting->type == SETTINGS_DURATION && config_setting_get_int64(node) == 0) {
        return "0"; /* the one duration that needs no unit */
    }
    return NULL;
}

static void store(struct settings_reader *reader, const struct setting *setting, const config_setting_t *node,
                  const char *text, void *element)
{
    struct settings_why why;
    int rc = settings_value_store(setting, text, reader->base_dir, element, &why);
    if (rc == ERR_NOMEM) {
        reader->findings->nomem = true;
    } else if (rc != ERR_OK) {
        settings_complain(reader, node, "%s", why.text);
    }
}

static void store_default(struct settings_reader *reader, const struct setting *section,
                          const struct setting *setting, const config_setting_t *node, void *element)
{
    if (setting->derive) {
        uint64_t value = setting->derive(element);
        assert(setting->width == sizeof value);
        memcpy((char *)element + setting->offset, &value, sizeof value);
        return;
    }
    const char *text = !node && setting->absent ? setting->absent : setting->fallback;
    if (setting->from) {
        const struct setting *sibling = find_child(reader, section, setting->from);
        assert(sibling && sibling < setting && settings_is_text(sibling));
        memcpy(&text, (const char *)element + sibling->offset, sizeof(char *));
    }
    if (text) {
        store(reader, setting, node, text, element);
    }
}

/* ---- lists */

static bool is_list(const config_setting_t *node)
{
    return config_setting_is_list(node) || config_setting_is_array(node);
}

/* The number of elements, 0 after a finding. */
static size_t list_length(struct settings_reader *reader, const struct setting *setting,
                          const config_setting_t *node, size_t least, size_t most)
{
    if (!is_list(node)) {
        settings_complain(reader, node, "is %s: write %s", describe_node(node),
                          setting->type == SETTINGS_LIST ? settings_type_describe(setting)
                                                         : "a list in brackets: [ \"...\", \"...\" ]");
        return 0;
    }
    size_t len = (size_t)config_setting_length(node);
    if (len < least || len > most) {
        settings_complain(reader, node, len < least ? "needs at least one" : "has too many: at most %zu",
                          most);
        return 0;
    }
    return len;
}

static void set_list(const struct setting *setting, void *element, void *list, size_t len)
{
    memcpy((char *)element + setting->offset, &list, sizeof list);
    memcpy((char *)element + setting->len, &len, sizeof len);
}

static void read_element(struct settings_reader *reader, const struct setting *setting,
                         const config_setting_t *node, size_t index, char *element)
{
    size_t mark = settings_path_push_element(&reader->path, node, index);
    if (!config_setting_is_group(node)) {
        settings_complain(reader, node, "is %s: write a section: { ... }", describe_node(node));
    } else {
        if (setting->line) {
            unsigned line = config_setting_source_line(node);
            const struct settings_source *source = reader->findings->source;
            unsigned number = line > 0 && line <= source->lines_len ? source->lines[line - 1].number : 0;
            memcpy(element + setting->line, &number, sizeof number);
        }
        read_section(reader, setting, node, element);
    }
    settings_path_cut(&reader->path, mark);
}

static void read_list(struct settings_reader *reader, const struct setting *setting,
                      const config_setting_t *node, void *element)
{
    size_t len = list_length(reader, setting, node, (size_t)setting->min, (size_t)setting->max);
    if (len == 0) {
        return;
    }
    char *list = calloc(len, setting->size);
    if (!list) {
        reader->findings->nomem = true;
        return;
    }
    set_list(setting, element, list, len);
    for (size_t i = 0; i < len; i++) {
        read_element(reader, setting, settings_element(node, i), i, list + i * setting->size);
    }
}

static void read_one_of_many(struct settings_reader *reader, const struct setting *setting,
                             const config_setting_t *node, char **field)
{
    struct settings_why why;
    if (config_setting_type(node) != CONFIG_TYPE_STRING) {
        complain_type(reader, setting, node);
        return;
    }
    int rc = settings_text_make(setting, config_setting_get_string(node), reader->base_dir, field, &why);
    if (rc == ERR_NOMEM) {
        reader->findings->nomem = true;
    } else if (rc != ERR_OK) {
        settings_complain(reader, node, "%s", why.text);
    }
}

static void read_many(struct settings_reader *reader, const struct setting *setting,
                      const config_setting_t *node, void *element)
{
    size_t len = list_length(reader, setting, node, 1, 1000);
    if (len == 0) {
        return;
    }
    char **list = calloc(len, sizeof *list);
    if (!list) {
        reader->findings->nomem = true;
        return;
    }
    set_list(setting, element, (void *)list, len);
    for (size_t i = 0; i < len; i++) {
        size_t mark = settings_path_push_index(&reader->path, i);
        read_one_of_many(reader, setting, settings_element(node, i), &list[i]);
        settings_path_cut(&reader->path, mark);
    }
}

/* ---- sections */

static void read_subsection(struct settings_reader *reader, const struct setting *setting,
                            const config_setting_t *node, void *element)
{
    if (node && !config_setting_is_group(node)) {
        complain_type(reader, setting, node);
        node = NULL;
    }
    if (setting->present) {
        bool present = node != NULL;
        memcpy((char *)element + setting->present, &present, sizeof present);
    }
    read_section(reader, setting, node, element);
}

static void read_value(struct settings_reader *reader, const struct setting *setting,
                       const config_setting_t *node, void *element)
{
    if (setting->flags & SETTINGS_MANY) {
        read_many(reader, setting, node, element);
        return;
    }
    if (setting->type == SETTINGS_LIST) {
        read_list(reader, setting, node, element);
        return;
    }
    char number[32];
    const char *text = node_text(setting, node, number, sizeof number);
    if (text) {
        store(reader, setting, node, text, element);
    } else {
        complain_type(reader, setting, node);
    }
}

/* node: the section, which lacks the child; NULL when it was not written itself. */
static void read_missing(struct settings_reader *reader, const struct setting *section,
                         const struct setting *child, const config_setting_t *node, void *element)
{
    if (node && child->flags & SETTINGS_REQUIRED) {
        settings_complain(reader, node, "required setting \"%s\" is missing", settings_leaf(child));
    }
    if (child->type != SETTINGS_LIST && !(child->flags & SETTINGS_MANY)) {
        store_default(reader, section, child, node, element);
    }
}

/* node NULL: the section was not written, so everything in it gets its default. */
static void read_section(struct settings_reader *reader, const struct setting *section,
                         const config_setting_t *node, void *element)
{
    const struct setting *child = NULL;
    if (node) {
        check_names(reader, section, node);
    }
    while ((child = settings_next(reader->table, section, child)) != NULL) {
        const config_setting_t *member = node ? config_setting_get_member(node, settings_leaf(child)) : NULL;
        if (!member && child->type != SETTINGS_SECTION) {
            read_missing(reader, section, child, node, element);
            continue;
        }
        size_t mark = settings_path_push(&reader->path, settings_leaf(child));
        if (child->type == SETTINGS_SECTION) {
            read_subsection(reader, child, member, element);
        } else if (member) {
            read_value(reader, child, member, element);
        }
        settings_path_cut(&reader->path, mark);
    }
}

void settings_read(struct settings_reader *reader, const config_setting_t *node, void *element)
{
    read_section(reader, NULL, node, element);
}
