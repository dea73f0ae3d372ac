/*
 * What the demo shows: sentences that stay, and below them a few lines that are redrawn on a terminal; where
 * there is no terminal, one line a second instead. Main thread.
 */
#ifndef DAEMON_DEMO_SCREEN_H
#define DAEMON_DEMO_SCREEN_H

#include "daemon/demo/clients.h"
#include "daemon/demo/operator.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum screen_tone { SCREEN_PLAIN, SCREEN_GOOD, SCREEN_BAD, SCREEN_FAINT, SCREEN_STRONG };

struct screen {
    FILE *out;      /* borrowed */
    bool live;      /* a terminal: redraw */
    bool color;     /* no NO_COLOR */
    bool unicode;   /* the locale is UTF-8 */
    unsigned drawn; /* lines below the sentences that the next line replaces */
    unsigned width; /* columns */
    uint64_t began_us;
    uint64_t told_us;                   /* when the last line or redraw was */
    uint64_t rated_us;                  /* when the rates were last worked out */
    struct demo_clients_reading before; /* what clients had seen then */
    struct {
        double rate_per_s;
        uint64_t p50_us, p99_us;
    } recent[DEMO_VERSIONS];
};

void screen_init(struct screen *screen, FILE *out, uint64_t now_us);
/* A line that stays. */
void screen_say(struct screen *screen, enum screen_tone tone, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A sentence of the story, with a mark and the time since the start; broken to the width. */
void screen_tell(struct screen *screen, uint64_t now_us, enum screen_tone tone, const char *text);
/* Shows how things are: a redraw on a terminal, else a line if the last one is a second old. */
void screen_show(struct screen *screen, uint64_t now_us, const struct demo_status *status,
                 const struct demo_clients_reading *clients);
/* Takes the redrawn lines away; what comes next is printed in their place. */
void screen_clear(struct screen *screen);
/* "\033[..m" of a tone and its end, or empty without colours. */
const char *screen_on(const struct screen *screen, enum screen_tone tone);
const char *screen_off(const struct screen *screen);

#endif
