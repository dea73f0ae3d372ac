/*
 * The lines of the schema table for how much the backends of a group take. Part of settings_table.c's list,
 * which is the only file to include this one; in a file of its own for its length.
 */
/* clang-format off: not a whole declaration */
{.path = "services.groups.max_connections",
 .type = SETTINGS_COUNT,
 AT(struct config_group, max_connections),
 RANGE(0, UINT32_MAX),
 .fallback = "0",
 .text =
     "Connections that each of its backends may have at a time, exact over all workers. A backend that is "
     "full is passed over. 0: no limit."},
    {.path = "services.groups.queue",
     .type = SETTINGS_SECTION,
     .text = "Connections that find every backend of the group full wait, in order of arrival over all "
             "workers, until "
             "one has room. Has an effect only with `max_connections`, or an agent's `maxconn`."},
    {.path = "services.groups.queue.size",
     .type = SETTINGS_COUNT,
     AT(struct config_group, queue.size),
     RANGE(0, 10000000),
     .fallback = "1000",
     .text = "So many may wait; the next one is refused, with the reason `queue-full`. 0: nobody waits."},
    {.path = "services.groups.queue.timeout",
     .type = SETTINGS_DURATION,
     AT(struct config_group, queue.timeout_us),
     RANGE(50 * MILLISECOND, DAY),
     .fallback = "5s",
     .text = "And so long; then one is refused, with the reason `queue-timeout`."},
    {.path = "services.groups.slow_start",
     .type = SETTINGS_DURATION,
     AT(struct config_group, slow_start_us),
     RANGE(0, DAY),
     .fallback = "0",
     .text =
         "A backend that comes back (up after down, or from maintenance, or new in a group that serves) has "
         "its whole "
         "weight only after this time; until then it rises evenly, whatever `balance` is. 0: it has it at "
         "once."},
