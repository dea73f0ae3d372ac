/*
 * Answers for sets of address prefixes: their text, their files, and whether an address is in one. Both
 * families are kept as sorted ranges that do not touch, so that one binary search decides; for IPv4 an index
 * by the first sixteen bits leaves it a step or two. Any thread; a set never changes.
 */
#include "core/prefixes.h"

#include "core/units.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IPV4_BITS 32u
#define IPV6_BITS 128u
#define INDEX_SHIFT 16u
#define INDEX_LEN ((size_t)65536 + 1)
#define LINE_BYTES 256

struct range4 {
    uint32_t low, high;
};

struct number6 {
    uint64_t high, low;
};

struct range6 {
    struct number6 low, high;
};

struct prefixes {
    struct range4 *v4; /* owned, sorted, with gaps between */
    size_t v4_len;
    uint32_t *index; /* owned; [i]: how many ranges end below the first address that begins with i */
    struct range6 *v6;
    size_t v6_len;
};

/* ---- one prefix */

static int wrong(struct err_text *err, const char *text, const char *why)
{
    return err_set(err, ERR_PARSE, "\"%s\" is no prefix such as \"10.0.0.0/8\" or \"2001:db8::/32\": %s",
                   text, why);
}

int prefix_parse(const char *text, struct prefix *out, struct err_text *err)
{
    struct prefix prefix = {.bits = 0};
    char host[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    uint64_t bits = 0;
    *out = prefix;
    if (len >= sizeof(host)) {
        return wrong(err, text, "the address is too long");
    }
    memcpy(host, text, len);
    host[len] = '\0';
    prefix.ip.family = strchr(host, ':') != NULL ? 6 : 4;
    unsigned most = prefix.ip.family == 4 ? IPV4_BITS : IPV6_BITS;
    if (inet_pton(prefix.ip.family == 4 ? AF_INET : AF_INET6, host, prefix.ip.bytes) != 1) {
        return wrong(err, text, "the address is not one");
    }
    bits = most;
    if (text[len] == '/' && units_parse_count(text + len + 1, most, &bits) != 0) {
        return wrong(err, text, prefix.ip.family == 4 ? "the bits are 0 to 32" : "the bits are 0 to 128");
    }
    prefix.bits = (unsigned)bits;
    struct addr_ip masked = prefix.ip;
    addr_ip_mask(&masked, prefix.bits, prefix.bits);
    if (memcmp(masked.bytes, prefix.ip.bytes, sizeof(masked.bytes)) != 0) {
        (void)inet_ntop(prefix.ip.family == 4 ? AF_INET : AF_INET6, masked.bytes, host, sizeof(host));
        return err_set(err, ERR_PARSE, "\"%s\" has bits set behind its prefix: \"%s/%u\" or \"%.*s\"?", text,
                       host, prefix.bits, (int)len, text);
    }
    *out = prefix;
    return 0;
}

/* ---- ranges */

static uint32_t number4(const uint8_t *bytes)
{
    return ((uint32_t)bytes[0] << 24) | ((uint32_t)bytes[1] << 16) | ((uint32_t)bytes[2] << 8) | bytes[3];
}

static struct number6 number6(const uint8_t *bytes)
{
    struct number6 number = {0, 0};
    for (int i = 0; i < 8; i++) {
        number.high = (number.high << 8) | bytes[i];
        number.low = (number.low << 8) | bytes[8 + i];
    }
    return number;
}

static int compare6(struct number6 a, struct number6 b)
{
    if (a.high != b.high) {
        return a.high < b.high ? -1 : 1;
    }
    return a.low < b.low ? -1 : a.low > b.low;
}

static struct range4 range4_of(const struct prefix *prefix)
{
    uint32_t low = number4(prefix->ip.bytes);
    uint32_t hosts = prefix->bits >= 32 ? 0 : UINT32_MAX >> prefix->bits;
    return (struct range4){low, low | hosts};
}

static struct range6 range6_of(const struct prefix *prefix)
{
    struct number6 low = number6(prefix->ip.bytes);
    struct number6 high = low;
    if (prefix->bits < 64) {
        high.high |= prefix->bits == 0 ? UINT64_MAX : (UINT64_C(1) << (64 - prefix->bits)) - 1;
        high.low = UINT64_MAX;
    } else if (prefix->bits < IPV6_BITS) {
        high.low |= prefix->bits == 64 ? UINT64_MAX : (UINT64_C(1) << (IPV6_BITS - prefix->bits)) - 1;
    }
    return (struct range6){low, high};
}

static int compare_range4(const void *a, const void *b)
{
    uint32_t left = ((const struct range4 *)a)->low;
    uint32_t right = ((const struct range4 *)b)->low;
    return left < right ? -1 : left > right;
}

static int compare_range6(const void *a, const void *b)
{
    return compare6(((const struct range6 *)a)->low, ((const struct range6 *)b)->low);
}

static size_t merge4(struct range4 *list, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && (list[kept - 1].high == UINT32_MAX || list[i].low <= list[kept - 1].high + 1)) {
            list[kept - 1].high = list[i].high > list[kept - 1].high ? list[i].high : list[kept - 1].high;
        } else {
            list[kept++] = list[i];
        }
    }
    return kept;
}

static size_t merge6(struct range6 *list, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && compare6(list[i].low, list[kept - 1].high) <= 0) {
            if (compare6(list[i].high, list[kept - 1].high) > 0) {
                list[kept - 1].high = list[i].high;
            }
        } else {
            list[kept++] = list[i];
        }
    }
    return kept;
}

static void fill_index(struct prefixes *set)
{
    size_t at = 0;
    for (size_t i = 0; i < INDEX_LEN - 1; i++) {
        while (at < set->v4_len && set->v4[at].high < (uint32_t)i << INDEX_SHIFT) {
            at++;
        }
        set->index[i] = (uint32_t)at;
    }
    set->index[INDEX_LEN - 1] = (uint32_t)set->v4_len;
}

int prefixes_create(const struct prefix *list, size_t n, struct prefixes **out, struct err_text *err)
{
    struct prefixes *set = calloc(1, sizeof(*set));
    if (n > PREFIXES_MAX) {
        free(set);
        return err_set(err, ERR_RANGE, "more than %u prefixes in one list", PREFIXES_MAX);
    }
    for (size_t i = 0; set != NULL && i < n; i++) {
        *(list[i].ip.family == 4 ? &set->v4_len : &set->v6_len) += 1;
    }
    if (set != NULL) {
        set->v4 = calloc(set->v4_len + 1, sizeof(*set->v4));
        set->v6 = calloc(set->v6_len + 1, sizeof(*set->v6));
        set->index = set->v4_len > 0 ? calloc(INDEX_LEN, sizeof(*set->index)) : NULL;
    }
    if (set == NULL || set->v4 == NULL || set->v6 == NULL || (set->v4_len > 0 && set->index == NULL)) {
        prefixes_destroy(set);
        return err_set(err, ERR_NOMEM, "out of memory for %zu prefixes", n);
    }
    size_t v4 = 0;
    size_t v6 = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i].ip.family == 4) {
            set->v4[v4++] = range4_of(&list[i]);
        } else {
            set->v6[v6++] = range6_of(&list[i]);
        }
    }
    qsort(set->v4, v4, sizeof(*set->v4), compare_range4);
    qsort(set->v6, v6, sizeof(*set->v6), compare_range6);
    set->v4_len = merge4(set->v4, v4);
    set->v6_len = merge6(set->v6, v6);
    if (set->index != NULL) {
        fill_index(set);
    }
    *out = set;
    return 0;
}

void prefixes_destroy(struct prefixes *set)
{
    if (set != NULL) {
        free(set->v4);
        free(set->v6);
        free(set->index);
        free(set);
    }
}

bool prefixes_empty(const struct prefixes *set)
{
    return set == NULL || (set->v4_len == 0 && set->v6_len == 0);
}

static bool contain4(const struct prefixes *set, uint32_t number)
{
    if (set->v4_len == 0) {
        return false;
    }
    /* The first range that does not end below the address stands at or behind the index of its first half,
     * and not behind that of the next one. */
    size_t low = set->index[number >> INDEX_SHIFT];
    size_t high = set->index[(number >> INDEX_SHIFT) + 1];
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (set->v4[middle].high < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < set->v4_len && set->v4[low].low <= number;
}

static bool contain6(const struct prefixes *set, struct number6 number)
{
    size_t low = 0;
    size_t high = set->v6_len;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare6(set->v6[middle].high, number) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < set->v6_len && compare6(set->v6[low].low, number) <= 0;
}

bool prefixes_contain(const struct prefixes *set, const struct addr_ip *ip)
{
    if (set == NULL || ip->family == 0) {
        return false;
    }
    return ip->family == 4 ? contain4(set, number4(ip->bytes)) : contain6(set, number6(ip->bytes));
}

/* ---- lists and files */

struct gathered {
    struct prefix *list; /* owned */
    size_t len, room;
};

static int gather(struct gathered *all, const char *text, struct err_text *err)
{
    if (all->len == all->room) {
        size_t room = all->room > 0 ? all->room * 2 : 16;
        struct prefix *list =
            room <= (size_t)2 * PREFIXES_MAX ? realloc(all->list, room * sizeof(*list)) : NULL;
        if (list == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory for more than %zu prefixes", all->len);
        }
        all->list = list;
        all->room = room;
    }
    int code = prefix_parse(text, &all->list[all->len], err);
    all->len += code == 0;
    return code;
}

/* One line without comment and blanks around; NULL when nothing is left of it. */
static char *strip(char *line)
{
    line[strcspn(line, "#\r\n")] = '\0';
    line += strspn(line, " \t");
    size_t len = strlen(line);
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t')) {
        line[--len] = '\0';
    }
    return len > 0 ? line : NULL;
}

static int gather_lines(struct gathered *all, const char *path, FILE *file, struct err_text *err)
{
    char line[LINE_BYTES];
    for (size_t number = 1; fgets(line, sizeof(line), file) != NULL; number++) {
        struct err_text why;
        bool whole = strchr(line, '\n') != NULL || feof(file);
        char *text = strip(line);
        int code = 0;
        if (!whole) {
            return err_set(err, ERR_PARSE, "%s:%zu: a line of more than %d characters", path, number,
                           LINE_BYTES - 2);
        }
        if (text != NULL) {
            code = gather(all, text, &why);
        }
        if (code != 0) {
            return err_set(err, code, "%s:%zu: %s", path, number, why.text);
        }
    }
    return ferror(file) ? err_set_errno(err, "%s: cannot be read", path) : 0;
}

/* A pipe without a writer would hold the reader for good, at its opening or later. */
static int open_list(const char *path, FILE **out, struct err_text *err)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) != 0) {
        int code = err_set_errno(err, "%s: cannot be read", path);
        if (fd >= 0) {
            (void)close(fd);
        }
        return code;
    }
    if (S_ISFIFO(status.st_mode)) {
        (void)close(fd);
        return err_set(err, ERR_SYSTEM, "%s: is a pipe, a file was expected", path);
    }
    *out = fdopen(fd, "r");
    if (*out == NULL) {
        (void)close(fd);
        return err_set(err, ERR_NOMEM, "%s: out of memory", path);
    }
    return 0;
}

static int gather_file(struct gathered *all, const char *path, struct err_text *err)
{
    FILE *file = NULL;
    int opened = open_list(path, &file, err);
    if (opened != 0) {
        return opened;
    }
    int code = gather_lines(all, path, file, err);
    (void)fclose(file);
    return code;
}

int prefixes_load(const char *const *texts, size_t n, struct prefixes **out, struct err_text *err)
{
    struct gathered all = {.list = NULL};
    int code = 0;
    for (size_t i = 0; code == 0 && i < n; i++) {
        code = texts[i][0] == '@' ? gather_file(&all, texts[i] + 1, err) : gather(&all, texts[i], err);
    }
    if (code == 0) {
        code = prefixes_create(all.list, all.len, out, err);
    }
    free(all.list);
    return code;
}
