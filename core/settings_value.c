/*
 * One value of a setting: from text to its field in a struct of core/config.h, and back to text. The same
 * function takes what stands in a file and the defaults of the table, so both obey the same rules. Pure; any
 * thread. Which type of libconfig a setting may have in a file is settings_read.c's business.
 */
#include "core/addr.h"
#include "core/prefixes.h"
#include "core/settings_internal.h"
#include "core/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int refuse(struct settings_why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct settings_why *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    return ERR_INVALID;
}

bool settings_is_text(const struct setting *setting)
{
    return setting->type >= SETTINGS_STRING && setting->type <= SETTINGS_PATH;
}

bool settings_is_quoted(const struct setting *setting)
{
    return setting->type != SETTINGS_BOOL && setting->type != SETTINGS_COUNT &&
           setting->type != SETTINGS_DECIMAL;
}

const char *settings_type_describe(const struct setting *setting)
{
    switch (setting->type) {
    case SETTINGS_BOOL:
        return "true or false";
    case SETTINGS_COUNT:
        return "a whole number";
    case SETTINGS_DECIMAL:
        return "a number such as 1.5, with at most four decimals";
    case SETTINGS_DURATION:
        return "a duration such as \"500ms\", \"5s\", \"10m\" or \"1h\"";
    case SETTINGS_SHARE:
        return "a share in percent such as \"25%\" or \"0.5%\"";
    case SETTINGS_SIZE:
        return "a size such as \"4096\", \"64KiB\" or \"1MiB\"";
    case SETTINGS_SPEED:
        return "bytes a second such as \"64KiB/s\" or \"10MiB/s\"";
    case SETTINGS_RATE:
        return "a number in a time such as \"100/s\", \"600/m\" or \"1000/h\"";
    case SETTINGS_MODE:
        return "permission bits in octal such as \"0660\"";
    case SETTINGS_ADDRESS:
        return "an address such as \"10.0.0.11:8080\", \"[2001:db8::1]:8080\", "
               "\"db.example:5432\" "
               "or \"unix:/run/app.sock\"";
    case SETTINGS_PREFIX:
        return "a prefix such as \"10.0.0.0/8\" or \"2001:db8::/32\", or \"@FILE\" for one a line";
    case SETTINGS_SECTION:
        return "a section: { ... }";
    case SETTINGS_LIST:
        return "a list of sections: ( { ... }, { ... } )";
    default:
        return "a text in quotes";
    }
}

/* ---- numbers */

/* The largest unit that leaves no remainder. */
static void format_units(uint64_t value, const char *const *names, const uint64_t *units, char *out,
                         size_t out_size)
{
    size_t i = 0;
    while (units[i] > 1 && (value == 0 || value % units[i] != 0)) {
        i++;
    }
    snprintf(out, out_size, "%" PRIu64 "%s", value / units[i], value == 0 ? "" : names[i]);
}

/* 15000 → "1.5" */
static void format_decimal(uint64_t value, char *out, size_t out_size)
{
    uint64_t fraction = value % CONFIG_DECIMAL_ONE;
    int digits = 4;
    while (digits > 0 && fraction % 10 == 0) {
        fraction /= 10;
        digits--;
    }
    if (digits == 0) {
        snprintf(out, out_size, "%" PRIu64, value / CONFIG_DECIMAL_ONE);
    } else {
        snprintf(out, out_size, "%" PRIu64 ".%0*" PRIu64, value / CONFIG_DECIMAL_ONE, digits, fraction);
    }
}

void settings_number_format(enum settings_type type, uint64_t value, char *out, size_t out_size)
{
    static const char *const duration_names[] = {"d", "h", "m", "s", "ms", "us"};
    static const uint64_t durations[] = {
        UINT64_C(86400000000), UINT64_C(3600000000), 60000000, 1000000, 1000, 1};
    static const char *const size_names[] = {"GiB", "MiB", "KiB", ""};
    static const char *const speed_names[] = {"GiB/s", "MiB/s", "KiB/s", "/s"};
    static const uint64_t sizes[] = {1u << 30, 1u << 20, 1u << 10, 1};
    switch (type) {
    case SETTINGS_DURATION:
        format_units(value, duration_names, durations, out, out_size);
        break;
    case SETTINGS_SIZE:
        format_units(value, size_names, sizes, out, out_size);
        break;
    case SETTINGS_SPEED:
        format_units(value, speed_names, sizes, out, out_size);
        break;
    case SETTINGS_RATE:
        units_format_rate(value, out, out_size);
        break;
    case SETTINGS_SHARE:
        units_format_share((uint32_t)value, out, out_size);
        break;
    case SETTINGS_DECIMAL:
        format_decimal(value, out, out_size);
        break;
    case SETTINGS_MODE:
        snprintf(out, out_size, "0%03" PRIo64, value);
        break;
    default:
        snprintf(out, out_size, "%" PRIu64, value);
        break;
    }
}

static int parse_mode(const char *text, uint64_t *out)
{
    size_t len = strlen(text);
    if (len < 3 || len > 5 || strspn(text, "01234567") != len) {
        return ERR_PARSE;
    }
    *out = strtoul(text, NULL, 8);
    return ERR_OK;
}

/* "1.5" → 15000 */
static int parse_decimal(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    uint64_t unit = CONFIG_DECIMAL_ONE;
    size_t whole;
    if (*text == '-') {
        text++; /* out of range, which the caller says */
    }
    whole = strspn(text, "0123456789");
    if (whole == 0 || whole > 9) {
        return whole == 0 ? ERR_PARSE : ERR_RANGE;
    }
    for (const char *p = text; p < text + whole; p++) {
        value = value * 10 + (uint64_t)(*p - '0');
    }
    value *= CONFIG_DECIMAL_ONE;
    text += whole;
    if (*text == '.') {
        for (text++; *text >= '0' && *text <= '9' && unit > 1; text++) {
            unit /= 10;
            value += (uint64_t)(*text - '0') * unit;
        }
    }
    if (*text != '\0') {
        return ERR_PARSE;
    }
    *out = value;
    return ERR_OK;
}

static int parse_number(enum settings_type type, const char *text, uint64_t *out)
{
    uint32_t share_bp = 0;
    int rc;
    switch (type) {
    case SETTINGS_DURATION:
        return units_parse_duration(text, out);
    case SETTINGS_SIZE:
        return units_parse_size(text, out);
    case SETTINGS_SPEED:
        return units_parse_speed(text, out);
    case SETTINGS_RATE:
        return units_parse_rate(text, out);
    case SETTINGS_DECIMAL:
        return parse_decimal(text, out);
    case SETTINGS_MODE:
        return parse_mode(text, out);
    case SETTINGS_SHARE:
        rc = units_parse_share(text, 0, &share_bp);
        *out = share_bp;
        return rc;
    default:
        return units_parse_count(text[0] == '-' ? text + 1 : text, UINT64_MAX, out);
    }
}

static void store_width(const struct setting *setting, uint64_t value, void *element)
{
    char *field = (char *)element + setting->offset;
    if (setting->width == sizeof(uint64_t)) {
        memcpy(field, &value, sizeof value);
    } else if (setting->width == sizeof(uint32_t)) {
        uint32_t narrow = (uint32_t)value;
        memcpy(field, &narrow, sizeof narrow);
    } else {
        bool flag = value != 0;
        memcpy(field, &flag, sizeof flag);
    }
}

static uint64_t load_width(const struct setting *setting, const void *element)
{
    const char *field = (const char *)element + setting->offset;
    uint64_t wide = 0;
    uint32_t narrow = 0;
    bool flag = false;
    if (setting->width == sizeof wide) {
        memcpy(&wide, field, sizeof wide);
        return wide;
    }
    if (setting->width == sizeof narrow) {
        memcpy(&narrow, field, sizeof narrow);
        return narrow;
    }
    memcpy(&flag, field, sizeof flag);
    return flag;
}

static int store_number(const struct setting *setting, const char *text, void *element,
                        struct settings_why *why)
{
    uint64_t value = 0;
    if (setting->words && strcmp(text, setting->words[0]) == 0) {
        store_width(setting, UINT64_MAX, element);
        return ERR_OK;
    }
    int rc = parse_number(setting->type, text, &value);
    if (rc == ERR_PARSE) {
        return refuse(why, "\"%s\" is not %s", text, settings_type_describe(setting));
    }
    /* "-0" is as far out of range as "-1": a sign has no place in any of these. */
    if (rc != ERR_OK || text[0] == '-' || value < setting->min || value > setting->max) {
        char lowest[32];
        char highest[32];
        settings_number_format(setting->type, setting->min, lowest, sizeof lowest);
        settings_number_format(setting->type, setting->max, highest, sizeof highest);
        return refuse(why, "%s is out of range: %s to %s", text, lowest, highest);
    }
    store_width(setting, value, element);
    return ERR_OK;
}

/* ---- words */

/* "a", "b" or "c" */
static void join_words(const char *const *words, char *out, size_t out_size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; words[i] && len < out_size; i++) {
        const char *before = i == 0 ? "" : words[i + 1] ? ", " : " or ";
        int n = snprintf(out + len, out_size - len, "%s\"%s\"", before, words[i]);
        len += n > 0 ? (size_t)n : 0;
    }
}

static int find_word(const struct setting *setting, const char *text, uint64_t *out, struct settings_why *why)
{
    size_t n = 0;
    for (; setting->words[n]; n++) {
        if (strcmp(setting->words[n], text) == 0) {
            *out = n;
            return ERR_OK;
        }
    }
    char choice[512];
    join_words(setting->words, choice, sizeof choice);
    const char *nearest = units_nearest(text, setting->words, n);
    if (nearest) {
        return refuse(why, "\"%s\" is not known (did you mean \"%s\"?); it must be %s", text, nearest,
                      choice);
    }
    return refuse(why, "\"%s\" is not known; it must be %s", text, choice);
}

/* ---- texts */

static int check_name(const struct setting *setting, const char *text, struct settings_why *why)
{
    bool slashes = setting->type == SETTINGS_ENDPOINT;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                     strchr(".-_:[]", *p) != NULL;
        bool endpoint = slashes && *p > ' ' && *p < 0x7f && *p != '"';
        if (!plain && !endpoint) {
            return refuse(why,
                          slashes ? "\"%s\" cannot be a name: no blanks, no quotes, only ASCII"
                                  : "\"%s\" cannot be a name: only letters, digits and . - _ : [ ]",
                          text);
        }
    }
    return ERR_OK;
}

/* Joins a relative path to the folder; a new string, NULL without memory. */
static char *make_absolute(const char *prefix, const char *base_dir, const char *path)
{
    char *out = NULL;
    bool keep = path[0] == '/' || !base_dir;
    size_t room = strlen(prefix) + (keep ? 0 : strlen(base_dir) + 1) + strlen(path) + 1;
    out = malloc(room);
    if (out) {
        snprintf(out, room, "%s%s%s%s", prefix, keep ? "" : base_dir, keep ? "" : "/", path);
    }
    return out;
}

static int make_address(const char *text, const char *base_dir, char **out, struct settings_why *why)
{
    struct addr addr;
    struct err_text err = {""};
    int rc = addr_parse(text, base_dir, &addr, &err);
    if (rc == ERR_NOMEM) {
        return rc;
    }
    if (rc != ERR_OK && rc != ERR_UNAVAILABLE) {
        return refuse(why, "%s", err.text);
    }
    static const char scheme[] = "unix:";
    bool is_path = strncmp(text, scheme, sizeof scheme - 1) == 0;
    *out = is_path ? make_absolute(scheme, base_dir, text + sizeof scheme - 1) : strdup(text);
    return *out ? ERR_OK : ERR_NOMEM;
}

static int make_prefix(const char *text, const char *base_dir, char **out, struct settings_why *why)
{
    struct prefix prefix;
    struct err_text err = {""};
    if (text[0] != '@' && prefix_parse(text, &prefix, &err) != ERR_OK) {
        return refuse(why, "%s", err.text);
    }
    *out = text[0] == '@' ? make_absolute("@", base_dir, text + 1) : strdup(text);
    return *out ? ERR_OK : ERR_NOMEM;
}

int settings_text_make(const struct setting *setting, const char *text, const char *base_dir, char **out,
                       struct settings_why *why)
{
    size_t len = strlen(text);
    uint64_t word = 0;
    int rc = ERR_OK;
    for (size_t i = 0; i < len && !(setting->flags & SETTINGS_BYTES); i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            return refuse(why, "must not contain control characters");
        }
    }
    if (len == 0 && setting->min > 0) {
        return refuse(why, "must not be empty");
    }
    if (setting->words) {
        rc = find_word(setting, text, &word, why);
    } else if (setting->type == SETTINGS_NAME || setting->type == SETTINGS_ENDPOINT) {
        rc = check_name(setting, text, why);
    }
    if (rc != ERR_OK) {
        return rc;
    }
    char *made = NULL;
    if (setting->type == SETTINGS_ADDRESS) {
        rc = make_address(text, base_dir, &made, why);
    } else if (setting->type == SETTINGS_PREFIX) {
        rc = make_prefix(text, base_dir, &made, why);
    } else {
        made = setting->type == SETTINGS_PATH ? make_absolute("", base_dir, text) : strdup(text);
        rc = made ? ERR_OK : ERR_NOMEM;
    }
    if (rc != ERR_OK || !made) {
        return rc;
    }
    if (strlen(made) > setting->max) {
        rc = refuse(why, "is too long: %zu bytes, at most %" PRIu64 " fit", strlen(made), setting->max);
        free(made);
        return rc;
    }
    *out = made;
    return ERR_OK;
}

/* ---- any value */

static char **text_field(const struct setting *setting, void *element)
{
    return (char **)(void *)((char *)element + setting->offset);
}

int settings_value_store(const struct setting *setting, const char *text, const char *base_dir, void *element,
                         struct settings_why *why)
{
    uint64_t value = 0;
    int rc;
    if (settings_is_text(setting)) {
        char *made = NULL;
        rc = settings_text_make(setting, text, base_dir, &made, why);
        if (rc == ERR_OK) {
            char **field = text_field(setting, element);
            free(*field);
            *field = made;
        }
        return rc;
    }
    if (setting->type == SETTINGS_BOOL) {
        store_width(setting, strcmp(text, "true") == 0, element);
        return ERR_OK;
    }
    if (setting->type == SETTINGS_WORD) {
        rc = find_word(setting, text, &value, why);
        if (rc == ERR_OK) {
            store_width(setting, value, element);
        }
        return rc;
    }
    return store_number(setting, text, element, why);
}

static void format_text(const char *text, char *out, size_t out_size)
{
    size_t len = 0;
    out[len++] = '"';
    for (; *text && len + 7 < out_size; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            len += (size_t)snprintf(out + len, out_size - len, "\\x%02x", (unsigned char)*text);
            continue;
        }
        if (*text == '"' || *text == '\\') {
            out[len++] = '\\';
        }
        out[len++] = *text;
    }
    out[len++] = '"';
    out[len] = '\0';
}

void settings_value_format(const struct setting *setting, const void *element, char *out, size_t out_size)
{
    char number[48];
    if (settings_is_text(setting)) {
        const char *text = NULL;
        memcpy(&text, (const char *)element + setting->offset, sizeof(char *));
        format_text(text ? text : "", out, out_size);
        return;
    }
    uint64_t value = load_width(setting, element);
    if (setting->type == SETTINGS_BOOL) {
        snprintf(out, out_size, "%s", value ? "true" : "false");
    } else if (setting->type == SETTINGS_WORD) {
        snprintf(out, out_size, "\"%s\"", setting->words[value]);
    } else if (setting->words && value == UINT64_MAX) {
        snprintf(out, out_size, "\"%s\"", setting->words[0]);
    } else {
        settings_number_format(setting->type, value, number, sizeof number);
        const char *quote = settings_is_quoted(setting) ? "\"" : "";
        snprintf(out, out_size, "%s%s%s", quote, number, quote);
    }
}

/* ---- freeing */

static void release_many(const struct setting *setting, void *element)
{
    char ***field = (char ***)(void *)((char *)element + setting->offset);
    size_t *len = (size_t *)(void *)((char *)element + setting->len);
    for (size_t i = 0; i < *len; i++) {
        free((*field)[i]);
    }
    free((void *)*field);
    *field = NULL;
    *len = 0;
}

static void release_list(const struct settings_table *table, const struct setting *setting, void *element)
{
    char **field = text_field(setting, element);
    size_t *len = (size_t *)(void *)((char *)element + setting->len);
    for (size_t i = 0; i < *len; i++) {
        settings_release(table, setting, *field + i * setting->size);
    }
    free(*field);
    *field = NULL;
    *len = 0;
}

void settings_release(const struct settings_table *table, const struct setting *section, void *element)
{
    const struct setting *setting = NULL;
    while ((setting = settings_next(table, section, setting)) != NULL) {
        if (setting->flags & SETTINGS_MANY) {
            release_many(setting, element);
        } else if (setting->type == SETTINGS_LIST) {
            release_list(table, setting, element);
        } else if (setting->type == SETTINGS_SECTION) {
            settings_release(table, setting, element);
        } else if (settings_is_text(setting)) {
            char **field = text_field(setting, element);
            free(*field);
            *field = NULL;
        }
    }
}
