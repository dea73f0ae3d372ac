/*
 * What the files of the scenario player share. A word that cannot be read ends the process with file and
 * line.
 */
#ifndef TESTS_SIM_SCENARIO_H
#define TESTS_SIM_SCENARIO_H

#include "tests/sim/world.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern const char *scenario_file;
extern unsigned scenario_line;

#define die(...)                                                                                             \
    do {                                                                                                     \
        fprintf(stderr, "%s:%u: ", scenario_file, scenario_line);                                            \
        fprintf(stderr, __VA_ARGS__);                                                                        \
        fputc('\n', stderr);                                                                                 \
        exit(1);                                                                                             \
    } while (0)

/* The next word of *text, cut out of it; "" at the end. */
char *scenario_word(char **text);
uint64_t scenario_duration(const char *text);
uint32_t scenario_share(const char *text);
uint32_t scenario_group(const struct world *w, const char *name);
/* "new/b1" */
struct backend *scenario_backend(const struct world *w, char *name);
/* 2026-01-31T17:00, in UTC: the wall clock now. */
void scenario_set_wall(struct world *w, const char *text);
/* GROUP N [every K] [T]: N connections a second, one in K refused, responses of about T. */
void scenario_set_traffic(struct world *w, char *rest);
/* One setting: its name and the rest of the line. */
void scenario_configure(struct world *w, const char *what, char *rest);

#endif
