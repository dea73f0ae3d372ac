/*
 * Standing still while another program takes over, and going on: in that one, or here when nothing came of
 * it. Control thread. What is handed over is the journal; the rest is looked at anew.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"

#include <event2/event.h>

static const struct migration_asker upgrade_asker = {.actor = "upgrade", .reason = NULL};

int handover_allows(const struct migration *m, struct err_text *err)
{
    return m->frozen ? err_set(err, ERR_UNAVAILABLE,
                               "an upgrade is taking over: nothing was changed, ask again in a moment")
                     : 0;
}

void migration_freeze(struct migration *m)
{
    if (m->frozen) {
        return;
    }
    migration_write_served(m, &upgrade_asker);
    m->frozen = true;
    if (m->timer != NULL) {
        (void)event_del(m->timer);
    }
}

void migration_take(struct migration *m, bool again)
{
    if (!m->frozen) {
        return;
    }
    m->frozen = false;
    if (m->options.handed_over) {
        hooked_find_strays(m);
    }
    if (again) {
        migration_restore(m);
    }
    if (again || m->options.handed_over) {
        m->machine.mark_us = m->clock_us(m->clock_context);
        m->judging = false;
        m->options.handed_over = false;
        migration_begin(m, &upgrade_asker);
    }
    migration_turn(m);
}
