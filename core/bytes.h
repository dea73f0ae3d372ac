/*
 * Bytes as operators write and read them: texts with escapes, and lists of number ranges. Used by the checks
 * of the configuration and by the health checks, so that both agree. Pure; any thread.
 */
#ifndef CORE_BYTES_H
#define CORE_BYTES_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Expands \r \n \t \0 \\ \" and \xNN (two hexadecimal digits) in text into out; every other byte stands for
 * itself. Sets *len. out may be NULL to learn the length. ERR_PARSE for any other escape, ERR_LIMIT when
 * out_size is too small.
 */
MUST_CHECK int bytes_unescape(const char *text, uint8_t *out, size_t out_size, size_t *len);

/* The inverse for people: bytes outside printable ASCII become escapes; what does not fit is cut and ends in
 * "...". Always ends in NUL. out_size: at least 8. */
void bytes_escape(const void *data, size_t len, char *out, size_t out_size);

#define BYTES_RANGES_MAX 16u

/* "200-399", "200,204,300-302": numbers and ranges, both ends included. */
struct bytes_ranges {
    struct {
        uint32_t first, last;
    } list[BYTES_RANGES_MAX];
    size_t len;
};

/* ERR_PARSE, ERR_RANGE (outside lowest to highest, or a range that ends before it begins), ERR_LIMIT (more
 * than BYTES_RANGES_MAX). *out is defined only on success. */
MUST_CHECK int bytes_ranges_parse(const char *text, uint32_t lowest, uint32_t highest,
                                  struct bytes_ranges *out);
bool bytes_ranges_have(const struct bytes_ranges *ranges, uint32_t number);

#endif
