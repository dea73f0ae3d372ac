/*
 * The watch view: what it knows (watch_model.c), how that looks on a screen of a given size (watch_layout.c),
 * and the terminal, the keys and the connection around it (watch.c). The first two are pure: JSON, time from
 * the JSON, and a size go in, lines come out. One thread.
 */
#ifndef ADMIN_CTL_WATCH_H
#define ADMIN_CTL_WATCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define WATCH_SAMPLES 181u /* three minutes at one a second */
#define WATCH_GROUPS_MAX 64u

/* Counters of one group as they were. */
struct watch_sample {
    double at_s;
    double connections, errors;
};

struct watch_group {
    char key[200]; /* "service/group" */
    size_t len, next;
    struct watch_sample sample[WATCH_SAMPLES];
};

struct watch_model {
    json_t *status; /* owned; the last one, NULL: none yet */
    json_t *events; /* owned; array, oldest first */
    size_t groups_len;
    struct watch_group group[WATCH_GROUPS_MAX];
};

/* Takes over one reply of `status --json` or `events --json`. False (and let go) when it is neither. */
bool watch_model_take(struct watch_model *model, json_t *reply);
void watch_model_clear(struct watch_model *model);
/* New connections a second over the last seconds; below 0: not known yet. */
double watch_model_rate(const struct watch_model *model, const char *key);
/* Part of the connections of the last minute that met an error; below 0: there were none. */
double watch_model_errors(const struct watch_model *model, const char *key);
/* The rate in each of n equal parts of the last three minutes, oldest first; below 0: not known. */
void watch_model_line(const struct watch_model *model, const char *key, double *out, size_t n);

struct watch_look {
    unsigned rows, columns;
    bool ascii;
    const char *service; /* what the keys act on; NULL: there is nothing */
    const char *notice;  /* the last line in place of the keys; NULL: the keys */
};

/* Writes at most rows lines of at most columns characters, each ended by \n. */
void watch_layout(const struct watch_model *model, const struct watch_look *look, FILE *out);

/* Runs until the user quits or the input ends. Returns the exit code. fd: connected; taken over. service
 * NULL: all. */
int watch_run(int fd, const char *socket_path, const char *service);

#endif
