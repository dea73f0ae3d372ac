/*
 * Hours of the week: a window such as 09:00 to 17:00 from Monday to Friday in a time zone. Pure: the wall
 * time is an argument. Any thread.
 */
#ifndef CORE_CALENDAR_H
#define CORE_CALENDAR_H

#include "core/err.h"
#include "core/zone.h"

#include <stdbool.h>
#include <stdint.h>

struct calendar_window {
    uint32_t from_min, to_min; /* of the day; to below from: it ends on the next day */
    uint32_t weekdays;         /* bit 0: Sunday … bit 6: Saturday; the day on which it begins */
};

/* between: "09:00-17:00", to may be 24:00; NULL: the whole day. weekdays: "mon-fri", "mon,wed,sat-sun"; NULL:
 * all. ERR_PARSE with words. */
MUST_CHECK int calendar_parse(const char *between, const char *weekdays, struct calendar_window *out,
                              struct err_text *err);
bool calendar_is_open(const struct calendar_window *window, const struct zone *zone, uint64_t wall_us);
/* When it opens next, to the minute: wall_us itself while it is open. CLOCK_NEVER: not within eight days. */
uint64_t calendar_next_open_us(const struct calendar_window *window, const struct zone *zone,
                               uint64_t wall_us);

#endif
