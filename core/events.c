/*
 * The ring of events that operators read, repeated in the log. Control thread only.
 * It records what others decided; it decides nothing.
 */
#include "core/events.h"

#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct events_ring {
    size_t capacity;
    uint64_t last; /* number of the newest entry */
    void (*listener)(void *context, const struct events_entry *entry);
    void *listener_context;
    struct events_entry entries[]; /* entry n stands at (n - 1) % capacity */
};

int events_create(size_t capacity, struct events_ring **out)
{
    if (capacity == 0) {
        return ERR_INVALID;
    }
    if (capacity > (SIZE_MAX - sizeof(struct events_ring)) / sizeof(struct events_entry)) {
        return ERR_NOMEM;
    }
    struct events_ring *ring = calloc(1, sizeof(*ring) + capacity * sizeof(ring->entries[0]));
    if (!ring) {
        return ERR_NOMEM;
    }
    ring->capacity = capacity;
    *out = ring;
    return ERR_OK;
}

void events_destroy(struct events_ring *ring)
{
    free(ring);
}

/* A text that was cut may end in part of a UTF-8 character: takes that part away. */
static void trim_partial_character(char *text)
{
    size_t len = strlen(text);
    size_t back = 0;
    while (back < 3 && back < len && ((unsigned char)text[len - 1 - back] & 0xc0) == 0x80) {
        back++;
    }
    if (back >= len) {
        return;
    }
    unsigned char lead = (unsigned char)text[len - 1 - back];
    size_t needs = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (needs > back + 1) {
        text[len - 1 - back] = '\0';
    }
}

/* Copies text (NULL: empty), cut to fit. */
static void copy_cut(char *out, size_t out_size, const char *text)
{
    int n = snprintf(out, out_size, "%s", text ? text : "");
    if (n >= 0 && (size_t)n >= out_size) {
        trim_partial_character(out);
    }
}

static void log_entry(const struct events_entry *entry)
{
    static const enum log_level levels[] = {
        [EVENTS_INFO] = LOG_LEVEL_INFO, [EVENTS_WARN] = LOG_LEVEL_WARN, [EVENTS_ERROR] = LOG_LEVEL_ERROR};
    struct log_field fields[6];
    size_t n = 0;
    fields[n++] = LOG_UINT("event", entry->number);
    fields[n++] = LOG_TEXT("kind", entry->kind);
    if (entry->service[0]) {
        fields[n++] = LOG_TEXT("service", entry->service);
    }
    if (entry->actor[0]) {
        fields[n++] = LOG_TEXT("actor", entry->actor);
    }
    if (entry->reason[0]) {
        fields[n++] = LOG_TEXT("reason", entry->reason);
    }
    fields[n] = (struct log_field){.kind = LOG_KIND_END};
    if (levels[entry->severity] >= log_threshold()) {
        log_write(levels[entry->severity], entry->text, fields);
    }
}

void events_add(struct events_ring *ring, uint64_t wall_us, enum events_severity severity,
                const char *service, const char *kind, const char *actor, const char *reason,
                const char *format, ...)
{
    struct events_entry *entry = &ring->entries[ring->last % ring->capacity];
    *entry = (struct events_entry){.number = ++ring->last, .wall_us = wall_us, .severity = severity};
    copy_cut(entry->service, sizeof(entry->service), service);
    copy_cut(entry->kind, sizeof(entry->kind), kind);
    copy_cut(entry->actor, sizeof(entry->actor), actor);
    copy_cut(entry->reason, sizeof(entry->reason), reason);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(entry->text, sizeof(entry->text), format, args);
    va_end(args);
    if (n >= 0 && (size_t)n >= sizeof(entry->text)) {
        trim_partial_character(entry->text);
    }
    log_entry(entry);
    if (ring->listener) {
        ring->listener(ring->listener_context, entry);
    }
}

void events_recall(struct events_ring *ring, uint64_t wall_us, enum events_severity severity,
                   const char *service, const char *kind, const char *actor, const char *reason,
                   const char *text)
{
    struct events_entry *entry = &ring->entries[ring->last % ring->capacity];
    *entry = (struct events_entry){.number = ++ring->last, .wall_us = wall_us, .severity = severity};
    copy_cut(entry->service, sizeof(entry->service), service);
    copy_cut(entry->kind, sizeof(entry->kind), kind);
    copy_cut(entry->actor, sizeof(entry->actor), actor);
    copy_cut(entry->reason, sizeof(entry->reason), reason);
    copy_cut(entry->text, sizeof(entry->text), text);
}

size_t events_latest(const struct events_ring *ring, const char *service, struct events_entry *out,
                     size_t max)
{
    uint64_t oldest = ring->last > ring->capacity ? ring->last - ring->capacity + 1 : 1;
    size_t n = 0;
    /* Newest first from the end of out, then moved to its start. */
    for (uint64_t number = ring->last; number >= oldest && n < max; number--) {
        const struct events_entry *entry = &ring->entries[(number - 1) % ring->capacity];
        if (!service || strcmp(entry->service, service) == 0) {
            out[max - ++n] = *entry;
        }
    }
    memmove(out, out + (max - n), n * sizeof(*out));
    return n;
}

uint64_t events_last_number(const struct events_ring *ring)
{
    return ring->last;
}

void events_set_listener(struct events_ring *ring,
                         void (*fn)(void *context, const struct events_entry *entry), void *context)
{
    ring->listener = fn;
    ring->listener_context = context;
}
