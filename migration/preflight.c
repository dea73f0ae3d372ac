/*
 * What is looked at before a migration starts, one row of a table each: are both groups there, are their
 * addresses different ones, are certificates valid, has the target room for all, does a route hold clients on
 * the old group, can the hooks be run, is there room for more connections, can the journal be written. Reads
 * only; control thread. What a finding stops, and what overrides it, is in migration/commands.c.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"
#include "core/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* With less than this part of all connections free, a drain that meets clients coming back may run out. */
#define ROOM_PARTS 10u

/* More than so many times the connections open now is not told apart. */
#define ROOM_TIMES_MAX 99u

#define DAY_US (UINT64_C(86400) * CLOCK_US_PER_S)

struct findings {
    struct migration_finding *list;
    size_t len, max;
};

/* What is looked at: the migration and the groups it would be between; target may be ROUTING_NONE. */
struct look {
    const struct migration *m;
    uint32_t active, target;
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

        unproven += !backend_is_leaving(backend) && backend_admin(backend) == BACKEND_READY &&
                    backend_weight(backend) > 0 && backend_standing(backend) == BACKEND_UNKNOWN;
    }
    return unproven;
}

static size_t count_down(const struct migration *m, uint32_t group)
{
    size_t down = 0;

    for (size_t i = 0; i < routing_backends(m->options.routing, group); i++) {
        const struct backend *backend = routing_backend_at(m->options.routing, group, i);

        down += !backend_is_leaving(backend) && backend_admin(backend) == BACKEND_READY &&
                backend_weight(backend) > 0 && backend_standing(backend) == BACKEND_DOWN;
    }
    return down;
}

/* "new 1/2 proven": of those that checks look at, how many they have seen up; else how many are usable. */
static void name_group(const struct migration *m, uint32_t group, bool is_target,
                       struct migration_finding *finding)
{
    size_t usable = routing_usable(m->options.routing, group);
    size_t unproven = count_unproven(m, group);
    const char *what = !has_checks(m, group) ? "usable" : is_target ? "proven" : "up";

    if (is_target && has_checks(m, group)) {
        usable -= unproven < usable ? unproven : usable;
    }
    snprintf(finding->text, sizeof(finding->text), "%s %zu/%zu %s", migration_group_name(m, group), usable,
             routing_backends(m->options.routing, group), what);
}

static void check_old(const struct look *look, struct findings *findings)
{
    struct migration_finding *finding = add(findings, "old");

    name_group(look->m, look->active, false, finding);
    if (routing_usable(look->m->options.routing, look->active) == 0) {
        fail(finding, "there would be nothing to go back to: see `status` for its backends");
    }
}

static void check_target(const struct look *look, struct findings *findings)
{
    const struct migration *m = look->m;
    struct migration_finding *finding = add(findings, "target");

    name_group(m, look->target, true, finding);
    if (routing_usable(m->options.routing, look->target) == 0) {
        fail(finding, "see `status` for its backends");
    } else if (count_down(m, look->target) > 0) {
        fail(finding, "some of its backends are down: see `status`, or take them out with `backend … drain`");
    } else if (count_unproven(m, look->target) > 0) {
        fail(finding, "not all of them were checked yet: try again when `status` shows a check of each");
    }
}

/* One backend in both groups: a migration that moves nothing, or shuts down what it has just moved to. */
static void check_addresses(const struct look *look, struct findings *findings)
{
    const struct migration *m = look->m;
    const struct routing *routing = m->options.routing;
    uint32_t active = look->active;
    uint32_t target = look->target;
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

/* The certificate that ends first: of a backend of the target (*which), or one that clients are shown (*which
 * NULL). 0: none is known. */
static uint64_t first_end_us(const struct look *look, const struct backend **which)
{
    const struct migration *m = look->m;
    uint64_t first_us = m->options.certificate_end_us(m->options.context, NULL);

    for (size_t i = 0; i < routing_backends(m->options.routing, look->target); i++) {
        const struct backend *backend = routing_backend_at(m->options.routing, look->target, i);
        uint64_t end_us = m->options.certificate_end_us(m->options.context, backend);

        if (end_us != 0 && (first_us == 0 || end_us < first_us)) {
            first_us = end_us;
            *which = backend;
        }
    }
    return first_us;
}

/* Backends' as the checks over TLS saw them. Whom nobody trusts is down; here it is about the time that is
 * left. */
static void check_certificates(const struct look *look, struct findings *findings)
{
    const struct config_group *config = migration_group_config(look->m, look->target);
    uint64_t now_us = look->m->wall_us(look->m->clock_context);
    const struct backend *backend = NULL;
    struct migration_finding *finding;
    char whose[200] = "that clients are shown";
    uint64_t end_us;

    if (look->m->options.certificate_end_us == NULL || config == NULL) {
        return;
    }
    end_us = first_end_us(look, &backend);
    if (end_us == 0) {
        return;
    }
    finding = add(findings, "certificate");
    if (backend != NULL) {
        (void)snprintf(whose, sizeof(whose), "of %s/%s", config->name, backend_name(backend));
    }
    if (end_us <= now_us) {
        snprintf(finding->text, sizeof(finding->text), "certificate %s expired %" PRIu64 "d ago", whose,
                 (now_us - end_us) / DAY_US);
        fail(finding, backend != NULL ? "put a new one on the server; the next check sees it"
                                      : "put a new one in its place; it is read within seconds");
    } else if (end_us - now_us < config->health.tls.expiry_warning_us) {
        snprintf(finding->text, sizeof(finding->text), "certificate %s expires in %" PRIu64 "d", whose,
                 (end_us - now_us) / DAY_US);
        fail(finding, "renew it, or lower health.tls.expiry_warning");
    } else {
        snprintf(finding->text, sizeof(finding->text), "certificate valid %" PRIu64 "d",
                 (end_us - now_us) / DAY_US);
    }
}

static void check_room(const struct look *look, struct findings *findings)
{
    const struct migration *m = look->m;
    struct migration_finding *finding;
    uint64_t open = 0;
    uint64_t most = 0;

    if (m->options.room == NULL) {
        return;
    }
    m->options.room(m->options.context, &open, &most);
    finding = add(findings, "descriptors");
    if (open + most / ROOM_PARTS >= most) {
        snprintf(finding->text, sizeof(finding->text), "fds: %" PRIu64 " of %" PRIu64 " connections free",
                 most > open ? most - open : 0, most);
        fail(finding, "raise the limit of open files (LimitNOFILE, `ulimit -n`) and restart");
    } else if (open == 0 || most / open > ROOM_TIMES_MAX) {
        snprintf(finding->text, sizeof(finding->text), "fds >%ux", ROOM_TIMES_MAX);
    } else {
        snprintf(finding->text, sizeof(finding->text), "fds %" PRIu64 "x", most / open);
    }
}

static void check_journal(const struct look *look, struct findings *findings)
{
    const struct migration *m = look->m;
    struct migration_finding *finding = add(findings, "journal");
    struct err_text err;

    snprintf(finding->text, sizeof(finding->text), "journal writable");
    if (m->machine.detached) {
        snprintf(finding->text, sizeof(finding->text), "journal: %.150s", m->journal_error);
        fail(finding, "make room on its disk: it is tried again each second");
    } else if (journal_check(m->options.journal, &err) != 0) {
        snprintf(finding->text, sizeof(finding->text), "journal: %.150s", err.text);
        fail(finding, "make room on the disk of state_dir");
    }
}

/* What a group's backends that would serve can have open at a time. UINT64_MAX: one of them has no limit. */
static uint64_t capacity(const struct routing *routing, uint32_t group)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < routing_backends(routing, group); i++) {
        const struct backend *backend = routing_backend_at(routing, group, i);
        uint32_t limit = backend_limit_effective(backend);

        if (backend_is_backup(backend) || backend_admin(backend) != BACKEND_READY ||
            backend_weight(backend) == 0 || backend_state(backend) == BACKEND_DOWN) {
            continue;
        }
        if (limit == 0) {
            return UINT64_MAX;
        }
        sum += limit;
    }
    return sum;
}

/* At the end the target has all that both groups have now, and those that wait. */
static void check_capacity(const struct look *look, struct findings *findings)
{
    const struct migration *m = look->m;
    const struct routing *routing = m->options.routing;
    uint32_t active = look->active;
    uint32_t target = look->target;
    uint64_t most = capacity(routing, target);
    struct routing_queue_reading queue[2];
    struct migration_finding *finding;

    if (most == UINT64_MAX || routing_usable(routing, target) == 0) {
        return; /* no limit; or no backend, which is a finding of its own */
    }
    routing_queue_read(routing, active, &queue[0]);
    routing_queue_read(routing, target, &queue[1]);
    uint64_t load =
        routing_open(routing, active) + routing_open(routing, target) + queue[0].waiting + queue[1].waiting;
    finding = add(findings, "capacity");
    snprintf(finding->text, sizeof(finding->text),
             "%s takes %" PRIu64 " connections (max_connections), there are %" PRIu64 " now",
             migration_group_name(m, target), most, load);
    if (load > most) {
        fail(finding, "raise max_connections or add backends and `reload`; `force` starts all the same");
    }
}

/* A route by name to the group that is to be drained holds whatever the share is: it would never be empty. */
static void check_routes(const struct look *look, struct findings *findings)
{
    const struct migration *m = look->m;
    const struct config_service *config = m->options.config;
    const char *old = migration_group_name(m, look->active);

    for (size_t i = 0; i < config->sni.routes_len; i++) {
        const struct config_sni_route *route = &config->sni.routes[i];

        if (route->group != NULL && strcmp(route->group, old) == 0) {
            struct migration_finding *finding = add(findings, "routes");

            snprintf(finding->text, sizeof(finding->text), "route %.120s leads to %s whatever the share is",
                     route->name, old);
            fail(finding,
                 "take it out of `sni`, or lead it elsewhere, and `reload`; `force` starts all the same");
            return;
        }
    }
}

/* One that is asked and cannot be run refuses for ever; of one that only tells, nothing but its word is lost.
 */
static void check_hooks(const struct look *look, struct findings *findings)
{
    const struct config_migration *config = &look->m->options.config->migration;
    struct migration_finding *finding;

    if (config->hooks_len == 0) {
        return;
    }
    finding = add(findings, "hooks");
    snprintf(finding->text, sizeof(finding->text), "hooks can be run");
    for (size_t i = 0; i < config->hooks_len && finding->passed; i++) {
        const struct config_hook *hook = &config->hooks[i];
        bool asked = hook->on == CONFIG_HOOK_BEFORE_STEP || hook->on == CONFIG_HOOK_BEFORE_COMMIT;
        char why[64];

        if (process_can_run(hook->command[0], why, sizeof(why)) || (finding->warning && !asked)) {
            continue;
        }
        snprintf(finding->text, sizeof(finding->text), "hook %s cannot be run: %.120s: %s",
                 hooks_event_name(hook->on), hook->command[0], why);
        fail(finding, asked ? "put it in place, or it holds the migration; `force` starts all the same"
                            : "put it in place, or it tells nobody");
        finding->passed = !asked;
        finding->warning = !asked;
    }
}

/* In the order in which they are shown. A row adds one finding, or none when it has nothing to go by. */
static const struct {
    void (*check)(const struct look *look, struct findings *findings);
    bool needs_target;
} rows[] = {
    {check_old, false},         {check_target, true},   {check_addresses, true},
    {check_certificates, true}, {check_capacity, true}, {check_routes, true},
    {check_hooks, false},       {check_room, false},    {check_journal, false},
};

_Static_assert(sizeof(rows) / sizeof(rows[0]) <= MIGRATION_FINDINGS_MAX, "each row may add a finding");

size_t migration_preflight(const struct migration *m, uint32_t target, struct migration_finding *out,
                           size_t max)
{
    struct findings findings = {.list = out, .max = max};
    struct look look = {.m = m, .active = m->machine.active, .target = target};
    bool has_target = target != ROUTING_NONE && target != look.active;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (has_target || !rows[i].needs_target) {
            rows[i].check(&look, &findings);
        }
    }
    return findings.len;
}
