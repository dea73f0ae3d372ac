/*
 * Answers for which of many host names and wildcards one name falls under. Wildcards are kept as the text
 * behind their star, which begins with a dot and so can be mistaken for no name; all are sorted. Pure; any
 * thread.
 */
#include "core/server_names.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char *key; /* owned */
    size_t place;
};

struct server_names {
    size_t len;
    struct entry list[]; /* by key */
};

static bool is_label_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

int server_name_check(const char *text, struct err_text *err)
{
    const char *name = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    size_t len = strlen(name);
    len -= len > 1 && name[len - 1] == '.';
    if (len == 0 || strlen(text) > SERVER_NAMES_TEXT_MAX) {
        return err_set(err, ERR_PARSE, "\"%.40s\" is no host name", text);
    }
    for (size_t i = 0; i < len; i++) {
        bool edge = i == 0 || i + 1 == len || name[i - 1] == '.';
        if (name[i] == '*') {
            return err_set(err, ERR_PARSE,
                           "\"%.40s\": a star stands for whole labels at the beginning: \"*.example.com\"",
                           text);
        }
        if (!is_label_byte(name[i]) && (name[i] != '.' || edge)) {
            return err_set(err, ERR_PARSE, "\"%.40s\" is no host name", text);
        }
    }
    return 0;
}

/* NULL without memory. */
static char *make_key(const char *text)
{
    char *key = strdup(text[0] == '*' ? text + 1 : text);
    size_t len = key != NULL ? strlen(key) : 0;
    for (size_t i = 0; i < len; i++) {
        key[i] = (char)(key[i] >= 'A' && key[i] <= 'Z' ? key[i] - 'A' + 'a' : key[i]);
    }
    if (len > 0 && key[len - 1] == '.') {
        key[len - 1] = '\0';
    }
    return key;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static int fill(struct server_names *names, const char *const *texts, size_t n, struct err_text *err)
{
    for (size_t i = 0; i < n; i++) {
        int rc = server_name_check(texts[i], err);
        if (rc != 0) {
            return rc;
        }
        names->list[i] = (struct entry){.key = make_key(texts[i]), .place = i};
        if (names->list[i].key == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory for %zu names", n);
        }
        names->len++;
    }
    qsort(names->list, n, sizeof(names->list[0]), by_key);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(names->list[i - 1].key, names->list[i].key) == 0) {
            return err_set(err, ERR_EXISTS, "\"%s\" is there twice", texts[names->list[i].place]);
        }
    }
    return 0;
}

int server_names_create(const char *const *texts, size_t n, struct server_names **out, struct err_text *err)
{
    struct server_names *names = calloc(1, sizeof(*names) + n * sizeof(names->list[0]));
    if (names == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for %zu names", n);
    }
    int rc = fill(names, texts, n, err);
    if (rc != 0) {
        server_names_destroy(names);
        return rc;
    }
    *out = names;
    return 0;
}

void server_names_destroy(struct server_names *names)
{
    for (size_t i = 0; names != NULL && i < names->len; i++) {
        free(names->list[i].key);
    }
    free(names);
}

static int by_name(const void *key, const void *entry)
{
    return strcmp(key, ((const struct entry *)entry)->key);
}

size_t server_names_find(const struct server_names *names, const char *name)
{
    if (names == NULL || name[0] == '\0') {
        return SERVER_NAMES_NONE;
    }
    for (const char *key = name; key != NULL; key = strchr(key + 1, '.')) {
        const struct entry *entry = bsearch(key, names->list, names->len, sizeof(names->list[0]), by_name);
        if (entry != NULL) {
            return entry->place;
        }
    }
    return SERVER_NAMES_NONE;
}
