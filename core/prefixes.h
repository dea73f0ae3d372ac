/*
 * Sets of address prefixes ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7"): lists of those who may connect, who
 * may not, and who may speak for others. A set is immutable: overlapping and adjacent prefixes are merged
 * into ranges, looked up by binary search behind an index of the first sixteen bits. Pure except for
 * prefixes_load, which reads files. Any thread.
 */
#ifndef CORE_PREFIXES_H
#define CORE_PREFIXES_H

#include "core/addr.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

#define PREFIXES_MAX 10000000u /* in one set */

struct prefixes;

struct prefix {
    struct addr_ip ip; /* family 4 or 6; the bits behind the prefix and the port are 0 */
    unsigned bits;
};

/* "10.0.0.0/8"; an address alone is a prefix of all its bits. ERR_PARSE with words that say what is wrong
 * (bits behind the prefix are: they show that something else was meant). */
MUST_CHECK int prefix_parse(const char *text, struct prefix *out, struct err_text *err);

/* Copies what it needs. ERR_NOMEM, ERR_RANGE (more than PREFIXES_MAX). */
MUST_CHECK int prefixes_create(const struct prefix *list, size_t n, struct prefixes **out,
                               struct err_text *err);
/*
 * From texts as operators write them: each a prefix, or "@PATH" for a file with one prefix a line (blank
 * lines and what follows a # are passed over). No texts give the empty set. ERR_PARSE and ERR_SYSTEM name the
 * file and line, ERR_NOMEM, ERR_RANGE.
 */
MUST_CHECK int prefixes_load(const char *const *texts, size_t n, struct prefixes **out, struct err_text *err);
/* NULL is allowed. */
void prefixes_destroy(struct prefixes *set);

/* Whether a prefix of the set covers the address. Never for family 0, nor in an empty set or NULL. */
bool prefixes_contain(const struct prefixes *set, const struct addr_ip *ip);
/* Nothing in it (or NULL). */
bool prefixes_empty(const struct prefixes *set);

#endif
