/*
 * Reads TZif files: the list of past changes of a zone, and the rule behind it for all that comes after (RFC
 * 8536 section 3; the rule is a POSIX TZ text, IEEE 1003.1 section 8.3). Any thread; the file is read once.
 * What the local time is used for: core/calendar.c.
 */
#include "core/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZONE_DIR "/usr/share/zoneinfo"
#define ZONE_LOCAL "/etc/localtime"
#define ZONE_FILE_MAX ((off_t)1 << 20)
#define HEADER_BYTES 44u
#define DAY_S INT64_C(86400)
#define OFFSET_MAX_S (26 * 3600) /* as RFC 8536 has it */

enum day_kind { DAY_MONTH, DAY_JULIAN, DAY_COUNT };

/* A day of the year and a time of it, as a TZ text has them. */
struct rule_day {
    enum day_kind kind;
    int month, week, day;
    int32_t time_s;
};

struct zone {
    size_t len;
    int64_t *at; /* owned: when a change happened, rising */
    int32_t *to; /* owned: the offset from then on */
    int32_t first;
    bool has_rule, has_dst;
    int32_t standard, daylight;
    struct rule_day begin, end; /* of daylight saving */
};

/* ---- the rule --------------------------------------------------------------------------------------------
 */

static bool read_number(const char **text, int max, int *out)
{
    int value = 0;
    const char *p = *text;

    if (*p < '0' || *p > '9') {
        return false;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        value = value * 10 + (*p - '0');
        if (value > max) {
            return false;
        }
    }
    *text = p;
    *out = value;
    return true;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool read_time(const char **text, int max_hours, int32_t *out)
{
    int sign = **text == '-' ? -1 : 1;
    int part[3] = {0, 0, 0};

    if (**text == '-' || **text == '+') {
        (*text)++;
    }
    if (!read_number(text, max_hours, &part[0])) {
        return false;
    }
    for (int i = 1; i < 3 && **text == ':'; i++) {
        (*text)++;
        if (!read_number(text, 59, &part[i])) {
            return false;
        }
    }
    *out = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
    return true;
}

static bool skip_name(const char **text)
{
    const char *p = *text;
    size_t n;

    if (*p == '<') {
        p = strchr(p, '>');
        *text = p == NULL ? *text : p + 1;
        return p != NULL;
    }
    n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    *text = p + n;
    return n >= 3;
}

/* "M3.5.0/2", "J60", "59" */
static bool read_day(const char **text, struct rule_day *out)
{
    bool good;

    *out = (struct rule_day){.time_s = 2 * 3600};
    if (*(*text)++ != ',') {
        return false;
    }
    if (**text == 'M') {
        (*text)++;
        good = read_number(text, 12, &out->month) && out->month >= 1 && *(*text)++ == '.' &&
               read_number(text, 5, &out->week) && out->week >= 1 && *(*text)++ == '.' &&
               read_number(text, 6, &out->day);
    } else {
        out->kind = **text == 'J' ? DAY_JULIAN : DAY_COUNT;
        *text += **text == 'J' ? 1 : 0;
        good = read_number(text, out->kind == DAY_JULIAN ? 365 : 366 - 1, &out->day) &&
               (out->kind != DAY_JULIAN || out->day >= 1);
    }
    if (good && **text == '/') {
        (*text)++;
        good = read_time(text, 167, &out->time_s);
    }
    return good;
}

/* "CET-1CEST,M3.5.0,M10.5.0/3"; an empty text is a zone without a rule. */
static bool read_rule(const char *text, struct zone *zone)
{
    int32_t west;

    if (*text == '\0') {
        return true;
    }
    if (!skip_name(&text) || !read_time(&text, 24, &west)) {
        return false;
    }
    zone->has_rule = true;
    zone->standard = -west;
    if (*text == '\0') {
        return true;
    }
    if (!skip_name(&text)) {
        return false;
    }
    zone->has_dst = true;
    zone->daylight = zone->standard + 3600;
    if (*text != ',' && *text != '\0') {
        if (!read_time(&text, 24, &west)) {
            return false;
        }
        zone->daylight = -west;
    }
    return read_day(&text, &zone->begin) && read_day(&text, &zone->end) && *text == '\0';
}

/* ---- the calendar ----------------------------------------------------------------------------------------
 */

/* Days since 1970-01-01 of a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t floor_day(int64_t seconds)
{
    return (seconds >= 0 ? seconds : seconds - DAY_S + 1) / DAY_S;
}

static int64_t year_of(int64_t seconds)
{
    int64_t day = floor_day(seconds);
    int64_t year = 1970 + day / 366 - (day < 0 ? 1 : 0);

    while (days_of(year + 1, 1, 1) <= day) {
        year++;
    }
    return year;
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* The local second, since 1970, of a rule's day in a year. */
static int64_t second_of(const struct rule_day *rule, int64_t year)
{
    int64_t day = days_of(year, 1, 1);

    if (rule->kind == DAY_COUNT) {
        day += rule->day;
    } else if (rule->kind == DAY_JULIAN) { /* the 29th of February has no number */
        day += rule->day - 1 + (is_leap(year) && rule->day >= 60 ? 1 : 0);
    } else {
        int64_t next = rule->month == 12 ? days_of(year + 1, 1, 1) : days_of(year, rule->month + 1, 1);
        int64_t first = days_of(year, rule->month, 1);
        int weekday = (int)(((first + 4) % 7 + 7) % 7);

        day = first + (rule->day - weekday + 7) % 7 + INT64_C(7) * (rule->week - 1);
        while (day >= next) {
            day -= 7;
        }
    }
    return day * DAY_S + rule->time_s;
}

static int32_t offset_by_rule(const struct zone *zone, int64_t utc_s)
{
    int64_t year = year_of(utc_s + zone->standard);
    int64_t begin;
    int64_t end;
    bool daylight;

    if (!zone->has_dst) {
        return zone->standard;
    }
    begin = second_of(&zone->begin, year) - zone->standard;
    end = second_of(&zone->end, year) - zone->daylight;
    daylight = begin < end ? utc_s >= begin && utc_s < end : utc_s >= begin || utc_s < end;
    return daylight ? zone->daylight : zone->standard;
}

int32_t zone_offset_s(const struct zone *zone, int64_t utc_s)
{
    size_t low = 0;
    size_t high = zone->len;

    while (low < high) { /* the number of changes that have happened */
        size_t middle = low + (high - low) / 2;

        if (zone->at[middle] <= utc_s) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == zone->len && zone->has_rule) {
        return offset_by_rule(zone, utc_s);
    }
    return low == 0 ? zone->first : zone->to[low - 1];
}

/* ---- the file --------------------------------------------------------------------------------------------
 */

static uint64_t big_endian(const unsigned char *p, size_t n)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++) {
        value = value << 8 | p[i];
    }
    return value;
}

/* The six counts of a header, in the order of the file. */
struct counts {
    uint64_t isut, isstd, leap, time, type, chars;
};

static bool read_header(const unsigned char *bytes, uint64_t len, struct counts *out)
{
    if (len < HEADER_BYTES || memcmp(bytes, "TZif", 4) != 0 || bytes[4] < '2') {
        return false;
    }
    out->isut = big_endian(bytes + 20, 4);
    out->isstd = big_endian(bytes + 24, 4);
    out->leap = big_endian(bytes + 28, 4);
    out->time = big_endian(bytes + 32, 4);
    out->type = big_endian(bytes + 36, 4);
    out->chars = big_endian(bytes + 40, 4);
    return true;
}

/* Bytes of the data behind a header whose times have so many bytes. All counts are below 2^32: no overflow.
 */
static uint64_t data_bytes(const struct counts *n, uint64_t time_bytes)
{
    return n->time * (time_bytes + 1) + n->type * 6 + n->chars + n->leap * (time_bytes + 4) + n->isstd +
           n->isut;
}

static bool read_changes(struct zone *zone, const unsigned char *data, const struct counts *n)
{
    const unsigned char *index = data + n->time * 8;
    const unsigned char *types = index + n->time;

    zone->first = (int32_t)big_endian(types, 4);
    for (uint64_t i = 0; i < n->time; i++) {
        if (index[i] >= n->type) {
            return false;
        }
        zone->at[i] = (int64_t)big_endian(data + i * 8, 8);
        zone->to[i] = (int32_t)big_endian(types + (size_t)index[i] * 6, 4);
        if ((i > 0 && zone->at[i] <= zone->at[i - 1]) || abs(zone->to[i]) > OFFSET_MAX_S) {
            return false;
        }
    }
    zone->len = n->time;
    return abs(zone->first) <= OFFSET_MAX_S;
}

/* The text between the two newlines at the end. */
static bool read_footer(struct zone *zone, const unsigned char *bytes, uint64_t len)
{
    char text[128];
    const unsigned char *end;

    if (len < 2 || bytes[0] != '\n') {
        return false;
    }
    end = memchr(bytes + 1, '\n', len - 1);
    if (end == NULL || (size_t)(end - bytes) > sizeof(text)) {
        return false;
    }
    memcpy(text, bytes + 1, (size_t)(end - bytes) - 1);
    text[end - bytes - 1] = '\0';
    return read_rule(text, zone);
}

int zone_parse(const unsigned char *bytes, uint64_t len, struct zone **out, struct err_text *err)
{
    struct counts n;
    struct zone *zone;
    bool good;

    if (!read_header(bytes, len, &n) || data_bytes(&n, 4) > len - HEADER_BYTES) {
        return err_set(err, ERR_CORRUPT, "is no time zone of the present format (TZif 2 or later)");
    }
    bytes += HEADER_BYTES + data_bytes(&n, 4);
    len -= HEADER_BYTES + data_bytes(&n, 4);
    if (!read_header(bytes, len, &n) || data_bytes(&n, 8) > len - HEADER_BYTES || n.type == 0) {
        return err_set(err, ERR_CORRUPT, "is a damaged time zone");
    }
    bytes += HEADER_BYTES;
    len -= HEADER_BYTES;
    zone = calloc(1, sizeof(*zone));
    if (zone != NULL) {
        zone->at = calloc(n.time + 1, sizeof(*zone->at));
        zone->to = calloc(n.time + 1, sizeof(*zone->to));
    }
    if (zone == NULL || zone->at == NULL || zone->to == NULL) {
        zone_destroy(zone);
        return err_set(err, ERR_NOMEM, "no memory for a time zone");
    }
    good = read_changes(zone, bytes, &n) &&
           read_footer(zone, bytes + data_bytes(&n, 8), len - data_bytes(&n, 8));
    if (!good) {
        zone_destroy(zone);
        return err_set(err, ERR_CORRUPT, "is a damaged time zone");
    }
    *out = zone;
    return 0;
}

void zone_destroy(struct zone *zone)
{
    if (zone != NULL) {
        free(zone->at);
        free(zone->to);
        free(zone);
    }
}

/* UTC needs no file, and is there where the database is not. */
static int make_utc(struct zone **out, struct err_text *err)
{
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? err_set(err, ERR_NOMEM, "no memory for a time zone") : 0;
}

static int read_file(const char *path, struct zone **out, struct err_text *err)
{
    struct err_text what;
    struct stat st;
    unsigned char *bytes = NULL;
    ssize_t n = -1;
    int rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        rc = errno == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM;
        err_set_errno(err, "cannot open the time zone %s", path);
        return rc;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= ZONE_FILE_MAX) {
        bytes = malloc((size_t)st.st_size + 1);
        n = bytes == NULL ? -1 : read(fd, bytes, (size_t)st.st_size);
    }
    close(fd);
    if (n < 0) {
        free(bytes);
        return err_set(err, ERR_SYSTEM, "cannot read the time zone %s", path);
    }
    rc = zone_parse(bytes, (uint64_t)n, out, &what);
    free(bytes);
    return rc == 0 ? 0 : err_set(err, rc, "%s %s", path, what.text);
}

int zone_load(const char *name, struct zone **out, struct err_text *err)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/";
    char path[256];
    int rc;

    if (strcmp(name, "UTC") == 0) {
        return make_utc(out, err);
    }
    if (strcmp(name, "local") == 0) {
        rc = read_file(ZONE_LOCAL, out, err);
        return rc == ERR_NOT_FOUND ? make_utc(out, err) : rc;
    }
    if (*name == '\0' || *name == '/' || strlen(name) > 100 || name[strspn(name, letters)] != '\0') {
        return err_set(err, ERR_INVALID,
                       "\"%.100s\" is no time zone: as \"Europe/Berlin\", \"UTC\" or \"local\"", name);
    }
    snprintf(path, sizeof(path), "%s/%s", ZONE_DIR, name);
    rc = read_file(path, out, err);
    if (rc == ERR_NOT_FOUND) {
        return err_set(err, rc, "there is no time zone \"%s\" in %s (Debian: package tzdata)", name,
                       ZONE_DIR);
    }
    return rc;
}
