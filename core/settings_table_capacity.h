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
