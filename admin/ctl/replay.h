/* What a stream of events missed while the daemon was away. One thread. */
#ifndef ADMIN_CTL_REPLAY_H
#define ADMIN_CTL_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The last event that was shown, as text or as JSON. */
struct replay {
    char stamp[32]; /* its time, as the daemon writes it; these sort as text */
    char text[256]; /* what it says; empty: none was shown */
};

/* wall_us: before this nothing is missed. */
void replay_begin(struct replay *replay, uint64_t wall_us);
/* Remembers line (with its newline) when it is an event. */
void replay_note(struct replay *replay, const char *line);
/* Writes of a reply of `events` (text, or one line of JSON) the lines that came after the last that was
 * shown. After an upgrade the daemon tells them as they were; after a restart from the journal, whose times
 * differ by an instant. */
void replay_write_missed(const struct replay *replay, const char *reply, FILE *out);

#endif
