/* Names and what they stand for: see proxy/tls_names.h. A sorted list; two searches a look. Pure. */
#include "proxy/tls_names.h"

#include <stdlib.h>
#include <string.h>

static bool is_of_name(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '*';
}

bool tls_names_normalize(const char *name, size_t len, char out[TLS_NAMES_MAX + 1])
{
    if (len > 0 && name[len - 1] == '.') {
        len--;
    }
    if (len == 0 || len > TLS_NAMES_MAX || name[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        c = c >= 'A' && c <= 'Z' ? (unsigned char)(c - 'A' + 'a') : c;
        if (!is_of_name(c)) {
            return false;
        }
        out[i] = (char)c;
    }
    out[len] = '\0';
    return true;
}

int tls_names_add(struct tls_names *names, const char *name, uint32_t value)
{
    if (names->len == names->room) {
        size_t room = names->room > 0 ? 2 * names->room : 16;
        struct tls_names_entry *list = realloc(names->list, room * sizeof(*list));
        if (list == NULL) {
            return ERR_NOMEM;
        }
        names->list = list;
        names->room = room;
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    names->list[names->len++] = (struct tls_names_entry){.name = copy, .value = value};
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct tls_names_entry *left = a;
    const struct tls_names_entry *right = b;
    int order = strcmp(left->name, right->name);
    if (order != 0) {
        return order;
    }
    return left->value < right->value ? -1 : left->value > right->value;
}

void tls_names_sort(struct tls_names *names)
{
    if (names->len > 0) {
        qsort(names->list, names->len, sizeof(*names->list), compare);
    }
}

static size_t find(const struct tls_names *names, const char *name, size_t *first)
{
    size_t low = 0;
    size_t high = names->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(names->list[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *first = low;
    while (high < names->len && strcmp(names->list[high].name, name) == 0) {
        high++;
    }
    return high - low;
}

size_t tls_names_find(const struct tls_names *names, const char *host, size_t *first)
{
    char wildcard[TLS_NAMES_MAX + 2];
    if (strchr(host, '*') != NULL) {
        return 0; /* a name in a certificate may have one, a host may not */
    }
    size_t n = find(names, host, first);
    const char *rest = strchr(host, '.');
    if (n > 0 || rest == NULL || strlen(rest) >= sizeof(wildcard) - 1) {
        return n;
    }
    wildcard[0] = '*';
    memcpy(wildcard + 1, rest, strlen(rest) + 1);
    return find(names, wildcard, first);
}

void tls_names_clear(struct tls_names *names)
{
    for (size_t i = 0; i < names->len; i++) {
        free(names->list[i].name);
    }
    free(names->list);
    *names = (struct tls_names){.len = 0};
}
