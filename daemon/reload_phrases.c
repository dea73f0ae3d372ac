/*
 * A reload before it reads the keys of TLS: the commands for their pass phrases run beside the program, which
 * goes on answering operators however long they take. Control thread. Asking is core/phrases.c.
 */
#include "daemon/reload_internal.h"

static void on_phrases(void *context)
{
    struct reload *reload = context;
    if (app_is_stopping(reload->app)) {
        app_reload_drop(reload->app);
    } else {
        reload->next(reload);
    }
}

void reload_ask_phrases(struct reload *reload, void (*next)(struct reload *reload))
{
    reload->next = next;
    if (phrases_ask(reload->app->base, reload->config, NULL, on_phrases, reload, &reload->phrases) != 0) {
        log_line(LOG_LEVEL_WARN, "out of memory: pass phrases are asked for while everything waits");
    }
    if (reload->phrases == NULL) {
        next(reload);
    }
}
