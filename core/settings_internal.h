/*
 * The schema table and what the files that use it share: reading (settings_read.c), one value
 * (settings_value.c), the file's text (settings_source.c), the findings (settings_findings.c), the rules
 * between settings (settings_check.c). To add a setting: one field in core/config.h, one line in
 * settings_table.c, then build the target settings_reference.
 */
#ifndef CORE_SETTINGS_INTERNAL_H
#define CORE_SETTINGS_INTERNAL_H

#include "core/config.h"

#include <libconfig.h>
#include <stdio.h>

enum settings_type {
    SETTINGS_BOOL,     /* bool */
    SETTINGS_COUNT,    /* uint32_t or uint64_t */
    SETTINGS_DECIMAL,  /* uint32_t, in parts of CONFIG_DECIMAL_ONE; a number without quotes */
    SETTINGS_DURATION, /* uint64_t, us */
    SETTINGS_SHARE,    /* uint32_t, basis points */
    SETTINGS_SIZE,     /* uint64_t, bytes */
    SETTINGS_SPEED,    /* uint64_t, bytes a second */
    SETTINGS_RATE,     /* uint64_t, UNITS_RATE */
    SETTINGS_MODE,     /* uint32_t, file permission bits, written in octal */
    SETTINGS_WORD,     /* an enum whose values count from 0 in the order of words */
    SETTINGS_STRING,   /* char *, owned, as are the next five; one of words when there are words */
    SETTINGS_NAME,     /* what commands address: no slash, no blank */
    SETTINGS_ENDPOINT, /* a name that may hold slashes, as the text of an address does */
    SETTINGS_ADDRESS,  /* a socket address; a relative unix path is made absolute */
    SETTINGS_PREFIX,   /* "10.0.0.0/8", an address, or "@PATH" of a file of them; the path is made absolute */
    SETTINGS_PATH,     /* a file or folder; made absolute */
    SETTINGS_SECTION,  /* { ... } inside the same struct as what surrounds it */
    SETTINGS_LIST      /* ( { ... }, ... ): an array of structs, pointer and length in the surrounding one */
};

enum settings_flag {
    SETTINGS_REQUIRED = 1, /* must be there when its section is */
    SETTINGS_MANY = 2,     /* a list of such values: char ** and length */
    SETTINGS_UNIQUE = 4,   /* differs between the elements of its list */
    SETTINGS_BYTES = 16,   /* a text that may hold control bytes and the escapes of core/bytes.h */
    SETTINGS_RELOAD = 8    /* nothing is built from it at the start, so a reload may change it in place */
};

/*
 * One setting. Offsets count from the struct of the nearest list element around it (struct config at the
 * top); 0 stands for "none" in len, present and line, none of which is ever the first field.
 */
struct setting {
    const char *path; /* "services.groups.backends.weight" */
    enum settings_type type;
    unsigned flags;
    size_t offset, width;     /* of the field, in bytes; width is not used for lists */
    size_t len;               /* LIST, MANY: where the number of elements goes (size_t) */
    size_t size;              /* LIST: bytes of one element */
    size_t line;              /* LIST: where an element keeps its line (unsigned) */
    size_t present;           /* SECTION: a bool that tells whether it was written */
    uint64_t min, max;        /* of the number; of the bytes of a text; of the elements of a list */
    const char *fallback;     /* the default as it would be written, without quotes; NULL: none */
    const char *absent;       /* the default when the whole section is left out; NULL: fallback */
    const char *from;         /* default: the value of this sibling text, which stands above in the table */
    const char *note;         /* how the documents describe a default that is not a plain text */
    const char *const *words; /* ends in NULL. Of a number: one word that stands for UINT64_MAX */
    const char *text;         /* one line for the documents */
    uint64_t (*derive)(const void *element); /* default: computed from what stands above in the table */
};

struct settings_table {
    const struct setting *list;
    size_t len;
};

extern const struct settings_table settings_table;

/* The next setting directly inside parent (NULL: the top) after `after` (NULL: the first), or NULL. */
const struct setting *settings_next(const struct settings_table *table, const struct setting *parent,
                                    const struct setting *after);
/* The last word of the path. */
const char *settings_leaf(const struct setting *setting);

/* ---- one value (settings_value.c) */

#define SETTINGS_VALUE_MAX 4200 /* enough for any value as text, with NUL */

/* A message of what is wrong with a value; never prefixed by its path. */
struct settings_why {
    char text[1024];
};

/* Parses text by the setting's type, checks range and words, and stores the result at element's field (texts
 * are owned there). ERR_NOMEM, or ERR_INVALID with why. */
MUST_CHECK int settings_value_store(const struct setting *setting, const char *text, const char *base_dir,
                                    void *element, struct settings_why *why);
/* As settings_value_store for a text, checked and made absolute, to a new string. */
MUST_CHECK int settings_text_make(const struct setting *setting, const char *text, const char *base_dir,
                                  char **out, struct settings_why *why);
/* The value in force as it would be written in the file, with quotes where the file has them. */
void settings_value_format(const struct setting *setting, const void *element, char *out, size_t out_size);
/* A number in the unit of its type: "5s", "25%", "64KiB", "0660". */
void settings_number_format(enum settings_type type, uint64_t value, char *out, size_t out_size);
/* What may be written, for messages: "a duration such as "500ms", "5s", "10m" or "1h"". Static storage. */
const char *settings_type_describe(const struct setting *setting);
bool settings_is_text(const struct setting *setting);
/* Whether the file has the value in quotes. */
bool settings_is_quoted(const struct setting *setting);
/* Frees all that the table says struct config owns under element, not element itself. */
void settings_release(const struct settings_table *table, const struct setting *section, void *element);

/* ---- the text of a file with its includes (settings_source.c) */

struct settings_line {
    size_t offset;   /* into text */
    uint32_t file;   /* index into files */
    uint32_t number; /* in that file, from 1 */
};

/* Bytes that grow; data ends in NUL once there is any. */
struct settings_buffer {
    char *data;
    size_t len, room;
};

struct settings_source {
    struct settings_buffer text;  /* all lines, included ones in place of their @include */
    struct settings_buffer parse; /* the same lines made ready for libconfig */
    struct settings_line *lines;  /* of both */
    size_t lines_len, lines_room;
    char **files; /* [0]: the file itself, NULL when it came from memory */
    size_t files_len;
    bool unclosed; /* a quote or comment has no end, and a finding says so: there is nothing to parse */
};

struct settings_findings;

/* Reads path (or takes text when path is NULL) and its includes. Findings (a file that cannot be included, a
 * number that is too large) go to findings and are no failure. Returns 0, ERR_SYSTEM after a finding when
 * path cannot be read, ERR_NOMEM. */
MUST_CHECK int settings_source_read(struct settings_source *source, const char *path, const char *text,
                                    const char *base_dir, struct settings_findings *findings);
void settings_source_clear(struct settings_source *source);

/* ---- findings (settings_findings.c) */

struct settings_findings {
    const struct settings_source *source; /* borrowed */
    struct config_errors *errors;         /* borrowed */
    uint64_t *order;                      /* of each error: file and line, for sorting */
    bool nomem;                           /* one could not be kept */
};

/* Adds one finding at a line of the source's text (0: none). */
void settings_finding_add(struct settings_findings *findings, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Into the order of the lines; those of one line stay in the order found. Then frees the order. */
void settings_findings_finish(struct settings_findings *findings);

/* ---- reading (settings_read.c) */

/* Where the reader stands, as messages name it: "services.web.groups[0]". */
struct settings_path {
    char text[512];
    size_t len;
};

size_t settings_path_push(struct settings_path *path, const char *name);
size_t settings_path_push_index(struct settings_path *path, size_t index);
void settings_path_cut(struct settings_path *path, size_t len);

struct settings_reader {
    const struct settings_table *table;
    const char *base_dir;
    struct settings_findings *findings;
    struct settings_path path;
};

/* Reads node into element by the table, defaults included. Settings with findings are marked bad. */
void settings_read(struct settings_reader *reader, const config_setting_t *node, void *element);
/* The line of a setting in the source's text. */
unsigned settings_node_line(const struct settings_reader *reader, const config_setting_t *node);
/* Adds a finding that begins with the reader's path and marks the node, which may be NULL (line 0). */
void settings_complain(struct settings_reader *reader, const config_setting_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The member of a section, or NULL when it is not there or had a finding of its own. */
const config_setting_t *settings_good(const config_setting_t *section, const char *name);
/* The element at an index that is below the list's length. */
const config_setting_t *settings_element(const config_setting_t *list, size_t index)
    __attribute__((returns_nonnull));
/* Pushes the element's name, or its index when it has none. */
size_t settings_path_push_element(struct settings_path *path, const config_setting_t *element, size_t index);

/* ---- rules between settings (settings_check.c, settings_check_migration.c) */

/* Complains about whatever each value alone cannot show: duplicates, order of steps, and the like. */
void settings_check(struct settings_reader *reader, const config_setting_t *root,
                    const struct config *config);
/* The part for a service's migration section, which was written. The reader stands at it. */
void settings_check_migration(struct settings_reader *reader, const config_setting_t *node,
                              const struct config_migration *migration);
/* The part for who may connect and speak for others (settings_check_edge.c). The reader stands at the
 * service. */
void settings_check_edge(struct settings_reader *reader, const config_setting_t *service_node,
                         const struct config_service *service);
/* The part for routes by name (settings_check_sni.c). The reader stands at the service. */
void settings_check_sni(struct settings_reader *reader, const config_setting_t *service_node,
                        const struct config *config, const struct config_service *service);
/* The part for one group's health section (settings_check_health.c). The reader stands at the group. */
void settings_check_health(struct settings_reader *reader, const config_setting_t *group_node,
                           const struct config_group *group);
/* The part for its outlier and panic sections (settings_check_outlier.c). The reader stands at the group. */
void settings_check_outlier(struct settings_reader *reader, const config_setting_t *group_node,
                            const struct config_service *service, const struct config_group *group);

#endif
