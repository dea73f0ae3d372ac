/*
 * The lines of the schema table for what live connections tell of backends, and for groups of which too few
 * are usable. Part of settings_table.c's list, which is the only file to include this one; in a file of its
 * own for its length.
 */
/* clang-format off: not a whole declaration */
{.path = "services.groups.outlier",
 .type = SETTINGS_SECTION,
 .present = offsetof(struct config_group, outlier.present),
 .text =
     "Backends that fail live connections are taken out for a while, within milliseconds and without waiting "
     "for a check. Without this section none is."},
    {.path = "services.groups.outlier.connect_failures",
     .type = SETTINGS_COUNT,
     AT(struct config_group, outlier.connect_failures),
     RANGE(0, 1000000),
     .fallback = "5",
     .text = "So many connections refused or unreachable in a row, over all workers, take a backend out. One "
             "that "
             "is established ends the row. 0: not looked at."},
    {.path = "services.groups.outlier.timeouts",
     .type = SETTINGS_COUNT,
     AT(struct config_group, outlier.timeouts),
     RANGE(0, 1000000),
     .fallback = "5",
     .text = "The same for connections that were not established within `timeouts.connect`."},
    {.path = "services.groups.outlier.early_resets",
     .type = SETTINGS_COUNT,
     AT(struct config_group, outlier.early_resets),
     RANGE(0, 1000000),
     .fallback = "5",
     .text = "The same for connections that the backend resets before its first byte. A first byte ends the "
             "row."},
    {.path = "services.groups.outlier.handshake_failures",
     .type = SETTINGS_COUNT,
     AT(struct config_group, outlier.handshake_failures),
     RANGE(0, 1000000),
     .fallback = "5",
     .text = "The same for TLS handshakes with the backend that fail. A first byte ends the row."},
    {.path = "services.groups.outlier.base_time",
     .type = SETTINGS_DURATION,
     AT(struct config_group, outlier.base_us),
     RANGE(10 * MILLISECOND, DAY),
     .fallback = "30s",
     .text = "How long the first time; the second time in a row twice as long, and so on. Then checks have "
             "to pass "
             "(`health.rise` of them), where there are checks, and the first failure takes it out again. A "
             "stretch "
             "of good service as long as the last time makes one time forgotten."},
    {.path = "services.groups.outlier.max_time",
     .type = SETTINGS_DURATION,
     AT(struct config_group, outlier.max_us),
     RANGE(10 * MILLISECOND, 7 * DAY),
     .fallback = "5m",
     .text = "And no longer than this."},
    {.path = "services.groups.outlier.max_ejected",
     .type = SETTINGS_SHARE,
     AT(struct config_group, outlier.max_ejected_bp),
     RANGE(1, UNITS_BP_FULL),
     .fallback = "50%",
     .text = "The most of the group's backends that may be out in this way at a time. One may always be, and "
             "the last "
             "one that is usable never is."},
    {.path = "services.groups.panic",
     .type = SETTINGS_SECTION,
     .present = offsetof(struct config_group, panic.present),
     .text = "What happens when too few backends are usable. Without this section: those that are serve; "
             "when none "
             "is, `fallback` during a migration, and else clients are refused."},
    {.path = "services.groups.panic.threshold",
     .type = SETTINGS_SHARE,
     AT(struct config_group, panic.threshold_bp),
     RANGE(1, UNITS_BP_FULL),
     .fallback = "50%",
     .text = "Panic is when less than this part is usable of the backends that operators (drain, maint, "
             "weight 0, "
             "forced down) and agents let serve. Backups are not counted; while they serve alone there is no "
             "panic."},
    {.path = "services.groups.panic.action",
     .type = SETTINGS_WORD,
     AT(struct config_group, panic.action),
     .words = panic_words,
     .fallback = "other-group",
     .text = "`other-group`: during a migration the other group gets the connections of this one, unless it "
             "is in "
             "panic too; without one, the backends that are usable serve. `use-all`: all of them get "
             "connections, "
             "whatever their checks say. `refuse`: clients are turned away."},
