/* Asks a command for a pass phrase, in a loop of its own: see core/tls_phrase.h. Control thread. */
#include "core/tls_phrase.h"

#include "core/clock.h"
#include "core/process.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PHRASE_TIMEOUT_US (10 * CLOCK_US_PER_S)

struct asking {
    struct event_base *base;
    char *out;
    struct err_text *err;
    int rc;
};

static void on_done(void *context, const struct process_result *result)
{
    struct asking *asking = context;
    size_t len = strcspn(result->output, "\r\n");
    (void)event_base_loopbreak(asking->base);
    if (!result->passed) {
        asking->rc =
            err_set(asking->err, ERR_INVALID, "the command for its pass phrase failed: %s", result->words);
    } else if (len == 0 || len >= TLS_PHRASE_MAX) {
        asking->rc = err_set(asking->err, ERR_INVALID, "the command for its pass phrase printed %s",
                             len == 0 ? "nothing" : "too much");
    } else {
        memcpy(asking->out, result->output, len);
        asking->out[len] = '\0';
        asking->rc = 0;
    }
}

static int run(struct asking *asking, char *const *arguments)
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *const environment[] = {path, NULL};
    struct process *process = NULL;
    const struct process_spec spec = {.base = asking->base,
                                      .arguments = arguments,
                                      .environment = environment,
                                      .timeout_us = PHRASE_TIMEOUT_US,
                                      .done = on_done,
                                      .context = asking};
    int rc = process_start(&spec, &process);
    if (rc != 0) {
        return err_set(asking->err, rc, "the command for its pass phrase cannot be run: %s",
                       err_describe(rc));
    }
    asking->rc = err_set(asking->err, ERR_SYSTEM, "the command for its pass phrase cannot be waited for");
    (void)event_base_dispatch(asking->base); /* ends with on_done */
    return asking->rc;
}

int tls_phrase_ask(char *const *command, size_t command_len, char out[TLS_PHRASE_MAX], struct err_text *err)
{
    struct asking asking = {.base = event_base_new(), .out = out, .err = err};
    char **arguments = calloc(command_len + 1, sizeof(char *));
    int rc = ERR_NOMEM;
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
