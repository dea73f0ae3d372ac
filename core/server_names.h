/*
 * Sets of host names that clients ask for ("db.example.com"), with wildcards ("*.example.com": every name
 * below, at any depth, and not that name itself). Of several that fit the most specific one counts. A set is
 * immutable; looking up is a binary search for each label of the name. Pure; any thread.
 */
#ifndef CORE_SERVER_NAMES_H
#define CORE_SERVER_NAMES_H

#include "core/err.h"

#include <stddef.h>

#define SERVER_NAMES_NONE SIZE_MAX
#define SERVER_NAMES_TEXT_MAX 255u

struct server_names;

/* Whether a text may stand in a set: letters, digits, '-' and '_' between dots, or "*." ahead of such. Case
 * and a dot at the end do not count. ERR_PARSE with words that say what is wrong. */
MUST_CHECK int server_name_check(const char *text, struct err_text *err);

/* Copies what it needs. ERR_NOMEM, ERR_PARSE, ERR_EXISTS (a name twice). */
MUST_CHECK int server_names_create(const char *const *texts, size_t n, struct server_names **out,
                                   struct err_text *err);
/* NULL is allowed. */
void server_names_destroy(struct server_names *names);

/* The place in texts of the one that fits best, or SERVER_NAMES_NONE. name: in small letters, without a dot
 * at its end; "" fits none. names may be NULL. */
size_t server_names_find(const struct server_names *names, const char *name);

#endif
