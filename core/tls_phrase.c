/*
 * Asks a command for a pass phrase: how it is run and what its output means, and for a program that starts a
 * loop of its own to wait for it. Asking ahead, beside the program, is core/phrases.c. Control thread.
 */
#include "core/tls_phrase.h"

#include "core/clock.h"
#include "core/process.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define PHRASE_TIMEOUT_US (10 * CLOCK_US_PER_S)

struct asking {
    struct event_base *base;
    char *out;
    struct err_text *err;
    int rc;
};

int tls_phrase_take(const struct process_result *result, char out[TLS_PHRASE_MAX], struct err_text *err)
{
    size_t len = strcspn(result->output, "\r\n");
    if (!result->passed) {
        return err_set(err, ERR_INVALID, "the command for its pass phrase failed: %s", result->words);
    }
    if (len == 0 || len >= TLS_PHRASE_MAX) {
        return err_set(err, ERR_INVALID, "the command for its pass phrase printed %s",
                       len == 0 ? "nothing" : "too much");
    }
    memcpy(out, result->output, len);
    out[len] = '\0';
    return 0;
}

int tls_phrase_start(struct event_base *base, char *const *command,
                     void (*done)(void *context, const struct process_result *result), void *context,
                     struct process **out, struct err_text *err)
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *const environment[] = {path, NULL};
    const struct process_spec spec = {.base = base,
                                      .arguments = command,
                                      .environment = environment,
                                      .timeout_us = PHRASE_TIMEOUT_US,
                                      .done = done,
                                      .context = context};
    int rc = process_start(&spec, out);
    if (rc != 0) {
        return err_set(err, rc, "the command for its pass phrase cannot be run: %s", err_describe(rc));
    }
    return 0;
}

static void on_done(void *context, const struct process_result *result)
{
    struct asking *asking = context;
    (void)event_base_loopbreak(asking->base);
    asking->rc = tls_phrase_take(result, asking->out, asking->err);
}

static int run(struct asking *asking, char *const *arguments)
{
    struct process *process = NULL;
    int rc = tls_phrase_start(asking->base, arguments, on_done, asking, &process, asking->err);
    if (rc != 0) {
        return rc;
    }
    asking->rc = err_set(asking->err, ERR_SYSTEM, "the command for its pass phrase cannot be waited for");
    (void)event_base_dispatch(asking->base); /* ends with on_done */
    return asking->rc;
}

int tls_phrase_ask(char *const *command, size_t command_len, char out[TLS_PHRASE_MAX], struct err_text *err)
{
    int rc = ERR_NOMEM;
    if (phrases_recall(command, command_len, out, &rc, err)) {
        return rc;
    }
    struct asking asking = {.base = event_base_new(), .out = out, .err = err};
    char **arguments = calloc(command_len + 1, sizeof(char *));
    if (asking.base != NULL && arguments != NULL) {
        memcpy((void *)arguments, (const void *)command, command_len * sizeof(char *));
        rc = run(&asking, arguments);
    } else {
        (void)err_set(err, rc, "no memory for the command for its pass phrase");
    }
    free((void *)arguments);
    if (asking.base != NULL) {
        event_base_free(asking.base);
    }
    return rc;
}
