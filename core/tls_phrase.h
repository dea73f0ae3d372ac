/*
 * The pass phrase of a key, from a command of the operator's: its first line of output, within 10 seconds.
 * Control thread.
 */
#ifndef CORE_TLS_PHRASE_H
#define CORE_TLS_PHRASE_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

#define TLS_PHRASE_MAX 1024u /* bytes with NUL */

struct event_base;
struct process;
struct process_result;

/* Puts the first line that the command prints into out: what was asked for ahead (core/phrases.h), else runs
 * it and waits for it, which only a program that starts may do. ERR_INVALID: it failed, printed nothing, or a
 * line that is too long; ERR_NOMEM. The caller cleanses out. */
MUST_CHECK int tls_phrase_ask(char *const *command, size_t command_len, char out[TLS_PHRASE_MAX],
                              struct err_text *err);

/* Begins to run it (ended by NULL); done comes later, from the loop. ERR_NOMEM, ERR_SYSTEM. */
MUST_CHECK int tls_phrase_start(struct event_base *base, char *const *command,
                                void (*done)(void *context, const struct process_result *result),
                                void *context, struct process **out, struct err_text *err);
/* What it said. Errors as tls_phrase_ask. */
MUST_CHECK int tls_phrase_take(const struct process_result *result, char out[TLS_PHRASE_MAX],
                               struct err_text *err);

/* phrases.c: whether the answer of a command is at hand; *rc and err then are what asking came to. */
bool phrases_recall(char *const *command, size_t command_len, char out[TLS_PHRASE_MAX], int *rc,
                    struct err_text *err);

#endif
