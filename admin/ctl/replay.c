/*
 * Finds in the newest events of a daemon those that a stream has not shown yet. Pure: what is read and
 * written are texts; asking for them is admin/ctl/ask.c's.
 */
#include "admin/ctl/replay.h"
#include "core/clock.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define STAMP_LENGTH 24u /* "2026-01-31T12:00:00.123Z" */

static bool is_stamp(const char *text)
{
    return strnlen(text, STAMP_LENGTH) == STAMP_LENGTH && text[4] == '-' && text[10] == 'T' &&
           text[STAMP_LENGTH - 1] == 'Z';
}

static void set(struct replay *event, const char *stamp, const char *text)
{
    (void)snprintf(event->stamp, sizeof(event->stamp), "%.*s", (int)STAMP_LENGTH, stamp);
    (void)snprintf(event->text, sizeof(event->text), "%.*s", (int)strcspn(text, "\n"), text);
}

/* Reads "TIME SIGN SERVICE KIND ACTOR: TEXT": what a restart tells of another kind has the same text. */
static bool read_line(const char *line, struct replay *out)
{
    const char *text = is_stamp(line) ? strstr(line, ": ") : NULL;
    if (text != NULL) {
        set(out, line, text + strlen(": "));
    }
    return text != NULL;
}

static bool read_json(const json_t *event, struct replay *out)
{
    const char *stamp = json_string_value(json_object_get(event, "time"));
    const char *text = json_string_value(json_object_get(event, "text"));
    if (stamp == NULL || text == NULL || !is_stamp(stamp)) {
        return false;
    }
    set(out, stamp, text);
    return true;
}

void replay_begin(struct replay *replay, uint64_t wall_us)
{
    clock_format_wall(wall_us, replay->stamp, sizeof(replay->stamp));
    replay->text[0] = '\0';
}

void replay_note(struct replay *replay, const char *line)
{
    json_t *event = line[0] == '{' ? json_loads(line, 0, NULL) : NULL;
    if (event != NULL) {
        (void)read_json(event, replay);
    } else {
        (void)read_line(line, replay);
    }
    json_decref(event);
}

/* Where in the list of len events what was missed begins. */
static size_t find_missed(const struct replay *shown, const struct replay *list, size_t len)
{
    size_t at = len;
    for (size_t i = len; i > 0; i--) {
        if (strcmp(list[i - 1].stamp, shown->stamp) == 0 && strcmp(list[i - 1].text, shown->text) == 0) {
            return i;
        }
    }
    while (at > 0 && strcmp(list[at - 1].stamp, shown->stamp) > 0) {
        at--;
    }
    bool same = at < len && shown->text[0] != '\0' && strcmp(list[at].text, shown->text) == 0;
    return same ? at + 1 : at;
}

static void write_json(const struct replay *shown, const char *reply, FILE *out)
{
    json_t *root = json_loads(reply, 0, NULL);
    const json_t *events = json_object_get(root, "events");
    size_t len = json_array_size(events);
    struct replay *list = calloc(len + 1, sizeof(*list));
    for (size_t i = 0; list != NULL && i < len; i++) {
        (void)read_json(json_array_get(events, i), &list[i]);
    }
    for (size_t i = list != NULL ? find_missed(shown, list, len) : len; i < len; i++) {
        (void)json_dumpf(json_array_get(events, i), out, JSON_COMPACT);
        fputc('\n', out);
    }
    free(list);
    json_decref(root);
}

static void write_lines(const struct replay *shown, const char *reply, FILE *out)
{
    size_t lines = 0;
    size_t len = 0;
    for (const char *c = reply; *c != '\0'; c++) {
        lines += *c == '\n';
    }
    struct replay *list = calloc(lines + 1, sizeof(*list));
    const char **begins = calloc(lines + 1, sizeof(*begins));
    for (const char *line = reply; list != NULL && begins != NULL && *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        begins[len] = line;
        len += read_line(line, &list[len]);
        line = *end == '\n' ? end + 1 : end;
    }
    for (size_t i = len > 0 ? find_missed(shown, list, len) : len; i < len; i++) {
        fprintf(out, "%.*s\n", (int)strcspn(begins[i], "\n"), begins[i]);
    }
    free((void *)begins);
    free(list);
}

void replay_write_missed(const struct replay *replay, const char *reply, FILE *out)
{
    if (reply[0] == '{') {
        write_json(replay, reply, out);
    } else {
        write_lines(replay, reply, out);
    }
}
