/*
 * Time zones: how far local time is from UTC at a given moment. Reads the system's database itself (TZif, RFC
 * 8536), so that a zone is a value and not the environment of the whole process. Immutable once loaded; any
 * thread.
 */
#ifndef CORE_ZONE_H
#define CORE_ZONE_H

#include "core/err.h"

#include <stdint.h>

struct zone;

/*
 * Loads a zone by its name in the database ("Europe/Berlin"), "UTC", or "local": what /etc/localtime says
 * (UTC when there is none). *out is the caller's. Errors: ERR_INVALID (not a name of a zone), ERR_NOT_FOUND,
 * ERR_CORRUPT, ERR_SYSTEM, ERR_NOMEM, each with words.
 */
MUST_CHECK int zone_load(const char *name, struct zone **out, struct err_text *err);
/* As zone_load, from the bytes of a file. */
MUST_CHECK int zone_parse(const unsigned char *bytes, uint64_t len, struct zone **out, struct err_text *err);
/* NULL is allowed. */
void zone_destroy(struct zone *zone);
/* Seconds to add to UTC at that moment (seconds since 1970). */
int32_t zone_offset_s(const struct zone *zone, int64_t utc_s);

#endif
