/*
 * What is looked at before a migration starts: are both groups there, are their addresses different ones, can
 * the journal be written, is there room for more connections. Reads only; control thread. What a finding
 * stops, and what overrides it, is in migration/commands.c.
 */
#include "migration/migration_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* With less than this part of all connections free, a drain that meets clients coming back may run out. */
#define ROOM_PARTS 10u

struct findings {
    struct migration_finding *list;
    size_t len, max;
};

static struct migration_finding *add(struct findings *findings, const char *check)
{
    static struct migration_finding spill; /* more than asked for: written, not shown */
    struct migration_finding *next =
        findings->len < findings->max ? &findings->list[findings->len++] : &spill;

    *next = (struct migration_finding){.check = check, .passed = true};
    return next;
}

static void fail(struct migration_finding *finding, const char *advice)
{
    finding->passed = false;
    snprintf(finding->advice, sizeof(finding->advice), "%s", advice);
}

static bool has_checks(const struct migration *m, uint32_t group)
{
    const struct config_group *config = migration_group_config(m, group);

    return config != NULL && config->health.type != CONFIG_HEALTH_NONE;
}

/* Backends that would take connections and that the checks have not seen up. */
static size_t count_unproven(const struct migration *m, uint32_t group)
{
    size_t unproven = 0;

    for (size_t i = 0; i < routing_backends(m->options.routing, group) && has_checks(m, group); i++) {
        const struct backend *backend = routing_backend_at(m->options.routing, group, i);

        unproven += backend_admin(backend) == BACKEND_READY && backend_weight(backend) > 0 &&
                    backend_state(backend) == BACKEND_UNKNOWN;
    }
    return unproven;
}

static size_t count_down(const struct migration *m, uint32_t group)
{
    size_t down = 0;

    for (size_t i = 0; i < routing_backends(m->options.routing, group); i++) {
        const struct backend *backend = routing_backend_at(m->options.routing, group, i);

        down += backend_admin(backend) == BACKEND_READY && backend_weight(backend) > 0 &&
                backend_state(backend) == BACKEND_DOWN;
    }
    return down;
}

static void check_group(const struct migration *m, uint32_t group, bool is_target, struct findings *findings)
{
    struct migration_finding *finding = add(findings, is_target ? "target" : "old");
    size_t usable = routing_usable(m->options.routing, group);

    snprintf(finding->text, sizeof(finding->text), "%s %zu/%zu usable", migration_group_name(m, group),
             usable, routing_backends(m->options.routing, group));
    if (usable == 0) {
        fail(finding, is_target ? "see `status` for its backends"
                                : "there would be nothing to go back to: see `status` for its backends");
    } else if (is_target && count_down(m, group) > 0) {
        fail(finding, "some of its backends are down: see `status`, or take them out with `backend … drain`");
    } else if (is_target && count_unproven(m, group) > 0) {
        fail(finding, "not all of them were checked yet: try again when `status` shows a check of each");
    }
}

/* One backend in both groups: a migration that moves nothing, or shuts down what it has just moved to. */
static void check_addresses(const struct migration *m, uint32_t active, uint32_t target,
                            struct findings *findings)
{
    const struct routing *routing = m->options.routing;
    struct migration_finding *finding = add(findings, "addresses");

    snprintf(finding->text, sizeof(finding->text), "addresses differ");
    for (size_t a = 0; a < routing_backends(routing, active); a++) {
        const struct backend *old = routing_backend_at(routing, active, a);

        for (size_t b = 0; b < routing_backends(routing, target); b++) {
            const struct backend *new = routing_backend_at(routing, target, b);
            char address[ADDR_TEXT_MAX];

            if (backend_address(old)->len == 0 || !addr_equal(backend_address(old), backend_address(new))) {
                continue;
            }
            addr_format(backend_address(old), address, sizeof(address));
            snprintf(finding->text, sizeof(finding->text), "%s/%s and %s/%s are both %.80s",
                     migration_group_name(m, active), backend_name(old), migration_group_name(m, target),
                     backend_name(new), address);
            fail(finding, "one server in both groups: correct its address in the configuration");
            return;
        }
    }
}

static void check_journal(const struct migration *m, struct findings *findings)
{
    struct migration_finding *finding = add(findings, "journal");
    struct err_text err;

    snprintf(finding->text, sizeof(finding->text), "journal");
    if (m->machine.detached) {
        snprintf(finding->text, sizeof(finding->text), "journal: %.150s", m->journal_error);
        fail(finding, "make room on its disk: it is tried again each second");
    } else if (journal_check(m->options.journal, &err) != 0) {
        snprintf(finding->text, sizeof(finding->text), "journal: %.150s", err.text);
        fail(finding, "make room on the disk of state_dir");
    }
}

static void check_room(const struct migration *m, struct findings *findings)
{
    struct migration_finding *finding;
    uint64_t open = 0;
    uint64_t most = 0;

    if (m->options.room == NULL) {
        return;
    }
    m->options.room(m->options.context, &open, &most);
    finding = add(findings, "descriptors");
    snprintf(finding->text, sizeof(finding->text), "%" PRIu64 " of %" PRIu64 " connections free",
             most > open ? most - open : 0, most);
    if (open + most / ROOM_PARTS >= most) {
        fail(finding, "raise the limit of open files (LimitNOFILE, `ulimit -n`) and restart");
    }
}

size_t migration_preflight(const struct migration *m, uint32_t target, struct migration_finding *out,
                           size_t max)
{
    struct findings findings = {.list = out, .max = max};

    check_group(m, m->machine.active, false, &findings);
    if (target != ROUTING_NONE && target != m->machine.active) {
        check_group(m, target, true, &findings);
        check_addresses(m, m->machine.active, target, &findings);
    }
    check_journal(m, &findings);
    check_room(m, &findings);
    return findings.len;
}
