/*
 * Windows of the week: reads how people write them and says whether one is open. Pure; any thread. How local
 * time follows from UTC is in core/zone.c.
 */
#include "core/calendar.h"

#include "core/clock.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define DAY_MIN 1440u
#define LOOK_AHEAD_MIN (8u * DAY_MIN)

static const char *const days[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

/* "hh:mm" at the start of text; returns what follows, NULL when it is none. */
static const char *read_clock(const char *text, uint32_t *out)
{
    uint32_t hour;
    uint32_t minute;

    for (int i = 0; i < 5; i++) {
        if (i == 2 ? text[i] != ':' : !isdigit((unsigned char)text[i])) {
            return NULL;
        }
    }
    hour = (uint32_t)(text[0] - '0') * 10 + (uint32_t)(text[1] - '0');
    minute = (uint32_t)(text[3] - '0') * 10 + (uint32_t)(text[4] - '0');
    *out = hour * 60 + minute;
    return minute < 60 && *out <= DAY_MIN ? text + 5 : NULL;
}

static int read_between(const char *text, struct calendar_window *out, struct err_text *err)
{
    const char *rest = read_clock(text, &out->from_min);

    if (rest != NULL && *rest == '-') {
        rest = read_clock(rest + 1, &out->to_min);
    } else {
        rest = NULL;
    }
    if (rest == NULL || *rest != '\0' || out->from_min == DAY_MIN || out->from_min == out->to_min) {
        return err_set(err, ERR_PARSE, "\"%.60s\" is no span of a day: as \"09:00-17:00\" or \"22:00-06:00\"",
                       text);
    }
    return 0;
}

static const char *read_weekday(const char *text, unsigned *out)
{
    for (*out = 0; *out < 7; (*out)++) {
        if (strncasecmp(text, days[*out], 3) == 0) {
            return text + 3;
        }
    }
    return NULL;
}

static int read_weekdays(const char *text, struct calendar_window *out, struct err_text *err)
{
    const char *rest = text;
    unsigned first;
    unsigned last;

    out->weekdays = 0;
    for (;;) {
        rest = read_weekday(rest, &first);
        last = first;
        if (rest != NULL && *rest == '-') {
            rest = read_weekday(rest + 1, &last);
        }
        if (rest == NULL || (*rest != ',' && *rest != '\0')) {
            return err_set(err, ERR_PARSE, "\"%.60s\" are no weekdays: as \"mon-fri\" or \"mon,wed,sat-sun\"",
                           text);
        }
        for (unsigned day = first;; day = (day + 1) % 7) {
            out->weekdays |= 1u << day;
            if (day == last) {
                break;
            }
        }
        if (*rest++ == '\0') {
            return 0;
        }
        rest += strspn(rest, " ");
    }
}

int calendar_parse(const char *between, const char *weekdays, struct calendar_window *out,
                   struct err_text *err)
{
    int rc = 0;

    *out = (struct calendar_window){.to_min = DAY_MIN, .weekdays = 0x7f};
    if (between != NULL) {
        rc = read_between(between, out, err);
    }
    return rc == 0 && weekdays != NULL ? read_weekdays(weekdays, out, err) : rc;
}

bool calendar_is_open(const struct calendar_window *window, const struct zone *zone, uint64_t wall_us)
{
    int64_t utc_s = (int64_t)(wall_us / CLOCK_US_PER_S);
    int64_t local_s = utc_s + zone_offset_s(zone, utc_s);
    int64_t day = (local_s >= 0 ? local_s : local_s - 86399) / 86400;
    uint32_t minute = (uint32_t)((local_s - day * 86400) / 60);
    unsigned weekday = (unsigned)(((day + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
    bool today = window->weekdays >> weekday & 1u;
    bool yesterday = window->weekdays >> ((weekday + 6) % 7) & 1u;

    if (window->from_min < window->to_min) {
        return today && minute >= window->from_min && minute < window->to_min;
    }
    return (today && minute >= window->from_min) || (yesterday && minute < window->to_min);
}

uint64_t calendar_next_open_us(const struct calendar_window *window, const struct zone *zone,
                               uint64_t wall_us)
{
    uint64_t at = wall_us;

    for (unsigned i = 0; i < LOOK_AHEAD_MIN; i++) {
        if (calendar_is_open(window, zone, at)) {
            return at;
        }
        at = at - at % (60 * CLOCK_US_PER_S) + 60 * CLOCK_US_PER_S;
    }
    return CLOCK_NEVER;
}
