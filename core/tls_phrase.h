/* The pass phrase of a key, from a command of the operator's. Control thread; waits for the command. */
#ifndef CORE_TLS_PHRASE_H
#define CORE_TLS_PHRASE_H

#include "core/err.h"

#include <stddef.h>

#define TLS_PHRASE_MAX 1024u /* bytes with NUL */

/* Runs the command, for at most 10 seconds, and puts the first line that it prints into out. ERR_INVALID: it
 * failed, printed nothing, or a line that is too long; ERR_NOMEM. The caller cleanses out. */
MUST_CHECK int tls_phrase_ask(char *const *command, size_t command_len, char out[TLS_PHRASE_MAX],
                              struct err_text *err);

#endif
