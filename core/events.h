/*
 * What happened, who asked, why: a bounded ring of events that operators read (`events`) and the log repeats.
 * Control thread only.
 */
#ifndef CORE_EVENTS_H
#define CORE_EVENTS_H

#include "core/err.h"

#include <stddef.h>
#include <stdint.h>

enum events_severity { EVENTS_INFO, EVENTS_WARN, EVENTS_ERROR };

struct events_entry {
    uint64_t number; /* 1, 2, 3 … without gaps */
    uint64_t wall_us;
    enum events_severity severity;
    char service[64]; /* empty: the whole program */
    char kind[24];    /* "share", "health", "phase", "weight", "admin", … */
    char actor[64];   /* "operator:alice", "plan", "health", "restart" */
    char text[256];   /* one line for people */
    char reason[256]; /* as given by who asked; may be empty */
};

struct events_ring;

MUST_CHECK int events_create(size_t capacity, struct events_ring **out);
void events_destroy(struct events_ring *ring);
/* Adds, and writes a log line of the same level. All strings borrowed for the call, cut to fit; service,
 * actor and reason may be NULL. */
void events_add(struct events_ring *ring, uint64_t wall_us, enum events_severity severity,
                const char *service, const char *kind, const char *actor, const char *reason,
                const char *format, ...) __attribute__((format(printf, 8, 9)));
/* As events_add for what happened before the program began: goes into the ring and nowhere else. */
void events_recall(struct events_ring *ring, uint64_t wall_us, enum events_severity severity,
                   const char *service, const char *kind, const char *actor, const char *reason,
                   const char *text);
/* The newest `max` entries of a service (NULL: all), oldest first, into out. Returns how many. */
size_t events_latest(const struct events_ring *ring, const char *service, struct events_entry *out,
                     size_t max);
/* Number of the newest entry, 0 when there is none. */
uint64_t events_last_number(const struct events_ring *ring);
/* Called (if set) after every add; for those that wait. */
void events_set_listener(struct events_ring *ring,
                         void (*fn)(void *context, const struct events_entry *entry), void *context);

#endif
