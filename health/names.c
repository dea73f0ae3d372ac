/*
 * Answers for when names are asked for again, for putting the sets that follow from answers into the routing,
 * and for what operators hear of it. Control thread. Which addresses those are is health/name_set.c's, the
 * asking health/lookup.c's; how backends come and go without harm to connections is the routing's.
 */
#include "health/names.h"

#include "core/clock.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How often it is looked whether those that drain have nothing open any more. */
#define SWEEP_US (500 * CLOCK_US_PER_MS)

struct entry {
    struct names *names; /* the owner */
    struct names_host host;
    struct event *timer;   /* owned; the next question */
    struct lookup *lookup; /* owned while it is asked */
    uint64_t failures;
    bool bad; /* operators were told that answers are not good */
};

struct names {
    struct names_options options;
    struct health *health; /* borrowed; NULL: no checks */
    struct event *sweep;   /* owned; while some drain */
    bool stale;            /* the routing could not take the sets over yet */
    bool stale_told;
    size_t len;
    struct entry entries[];
};

static const struct config_backend *config_of(const struct config_service *config,
                                              const struct names_host *host)
{
    return &config->groups[host->group].backends[host->backend];
}

/* ---- sets as backends */

static void title(const char *name, const struct addr *address, char *out, size_t size)
{
    char text[ADDR_TEXT_MAX];
    addr_format(address, text, sizeof(text));
    (void)snprintf(out, size, "%s@%s", name, text);
}

/* What the file says of a backend, where it says nothing what it says of its group; name is taken over. */
static struct routing_backend_spec spec_of(const struct config_group *group,
                                           const struct config_backend *config, char *name,
                                           const struct addr *address)
{
    return (struct routing_backend_spec){
        .name = name,
        .address = *address,
        .weight = config->weight,
        .limit = config->max_connections > 0 ? config->max_connections : group->max_connections,
        .slow_start_us =
            config->slow_start_us != CONFIG_OF_GROUP ? config->slow_start_us : group->slow_start_us,
        .backup = config->backup};
}

static int add_spec(struct routing_backend_spec *list, size_t *len, const struct config_group *group,
                    const struct config_backend *config, const struct addr *address, bool named)
{
    char text[ROUTING_NAME_MAX + ADDR_TEXT_MAX];
    title(config->name, address, text, sizeof(text));
    char *name = strdup(named ? text : config->name);
    if (name == NULL) {
        return ERR_NOMEM;
    }
    list[(*len)++] = spec_of(group, config, name, address);
    return 0;
}

/* The host name of a backend of the configuration; NULL: it has an address. */
static const struct names_host *find_host(const struct names_host *hosts, size_t hosts_len, uint32_t group,
                                          uint32_t backend)
{
    for (size_t i = 0; i < hosts_len; i++) {
        if (hosts[i].group == group && hosts[i].backend == backend) {
            return &hosts[i];
        }
    }
    return NULL;
}

int names_specs(const struct config_service *config, uint32_t group, const struct names_host *hosts,
                size_t hosts_len, struct routing_backend_spec **out, size_t *len)
{
    const struct config_group *group_config = &config->groups[group];
    size_t room = group_config->backends_len;
    for (size_t i = 0; i < hosts_len; i++) {
        room += hosts[i].group == group ? hosts[i].set.len : 0;
    }
    struct routing_backend_spec *list = calloc(room + 1, sizeof(*list));
    int rc = list == NULL ? ERR_NOMEM : 0;
    *len = 0;
    for (uint32_t b = 0; rc == 0 && b < group_config->backends_len; b++) {
        const struct config_backend *backend = &group_config->backends[b];
        const struct names_host *host = find_host(hosts, hosts_len, group, b);
        struct addr address;
        for (size_t i = 0; rc == 0 && host != NULL && i < host->set.len; i++) {
            rc = add_spec(list, len, group_config, backend, &host->set.members[i].address, true);
        }
        if (rc == 0 && host == NULL && addr_parse(backend->address, NULL, &address, NULL) == 0) {
            rc = add_spec(list, len, group_config, backend, &address, false);
        }
    }
    if (rc != 0) {
        names_specs_free(list, *len);
        return rc;
    }
    *out = list;
    return 0;
}

void names_specs_free(struct routing_backend_spec *specs, size_t len)
{
    for (size_t i = 0; specs != NULL && i < len; i++) {
        free((void *)(uintptr_t)specs[i].name);
    }
    free(specs);
}

size_t names_room(const struct names_host *hosts, size_t hosts_len, uint32_t group, uint32_t max)
{
    size_t room = 0;
    for (size_t i = 0; i < hosts_len; i++) {
        room += hosts[i].group == group ? (size_t)max * NAME_SET_PLACES : 0;
    }
    return room;
}

static struct backend *find_backend(const struct names *names, const struct names_host *host,
                                    const struct name_member *member)
{
    const struct config_service *config = names->options.config;
    char text[ROUTING_NAME_MAX + ADDR_TEXT_MAX];
    uint32_t group = routing_find_group(names->options.routing, config->groups[host->group].name);
    title(config_of(config, host)->name, &member->address, text, sizeof(text));
    return group == ROUTING_NONE ? NULL : routing_find_backend(names->options.routing, group, text);
}

/* ---- into the routing */

/* Whether what comes to a group gets nothing before its first check. */
static bool must_prove(const struct names *names, uint32_t group)
{
    const struct config_service *config = names->options.config;
    return names->health != NULL &&
           health_must_prove(config, names->options.routing, config->groups[group].name);
}

/* One that comes back was not checked while it was on its way out. */
static void mark_leaving(const struct names *names)
{
    for (size_t e = 0; e < names->len; e++) {
        const struct names_host *host = &names->entries[e].host;
        for (size_t i = 0; i < host->set.len; i++) {
            struct backend *backend = find_backend(names, host, &host->set.members[i]);
            bool leaving = host->set.members[i].place == NAME_LEAVING;
            if (backend == NULL || backend_is_leaving(backend) == leaving) {
                continue;
            }
            if (!leaving && must_prove(names, host->group)) {
                routing_assume_state(names->options.routing, backend, BACKEND_DOWN);
            }
            routing_set_leaving(names->options.routing, backend, leaving);
        }
    }
}

/* Groups as the routing should have them. The hosts lie in the entries, so they are gathered first. */
static int change(struct names *names, struct err_text *err)
{
    const struct config_service *config = names->options.config;
    struct routing_group_spec *groups = calloc(config->groups_len, sizeof(*groups));
    struct names_host *hosts = calloc(names->len + 1, sizeof(*hosts));
    struct routing_change *prepared = NULL;
    int rc = 0;
    if (groups == NULL || hosts == NULL) {
        free(groups);
        free(hosts);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    for (size_t e = 0; rc == 0 && e < names->len; e++) {
        hosts[e] = names->entries[e].host; /* borrowed */
    }
    for (uint32_t g = 0; rc == 0 && g < config->groups_len; g++) {
        struct routing_backend_spec *specs = NULL;
        groups[g].name = config->groups[g].name;
        groups[g].balance = config->groups[g].balance;
        groups[g].queue_size = config->groups[g].queue.size;
        groups[g].queue_timeout_us = config->groups[g].queue.timeout_us;
        groups[g].panic = routing_panic_of(config, &config->groups[g]);
        rc = names_specs(config, g, hosts, names->len, &specs, &groups[g].backends_len);
        groups[g].backends = specs;
        bool unproven = must_prove(names, g);
        for (size_t b = 0; rc == 0 && b < groups[g].backends_len; b++) {
            specs[b].unproven = unproven;
        }
        rc = rc == 0 ? 0 : err_set(err, rc, "out of memory");
    }
    if (rc == 0) {
        rc = routing_change_prepare(names->options.routing, groups, config->groups_len, &prepared, err);
    }
    if (rc == 0) {
        rc = routing_change_apply(names->options.routing, prepared, err);
    }
    for (size_t g = 0; g < config->groups_len; g++) {
        names_specs_free((struct routing_backend_spec *)(uintptr_t)groups[g].backends,
                         groups[g].backends_len);
    }
    free(hosts);
    free(groups);
    return rc;
}

static void tell_stale(struct names *names, const char *why)
{
    if (!names->stale_told) {
        names->stale_told = true;
        events_add(names->options.events, clock_wall_us(), EVENTS_ERROR,
                   routing_service(names->options.routing), "names", "names", NULL,
                   "what names stand for is not wholly in force: %s", why);
    }
}

/* Which members the routing does not know yet. */
static void note_missing(const struct names *names, bool *missing)
{
    for (size_t e = 0; e < names->len; e++) {
        const struct names_host *host = &names->entries[e].host;
        for (size_t i = 0; i < host->set.len; i++) {
            *missing++ = find_backend(names, host, &host->set.members[i]) == NULL;
        }
    }
}

static void tell_arrived(const struct names *names, const bool *missing)
{
    for (size_t e = 0; names->options.arrived != NULL && e < names->len; e++) {
        const struct names_host *host = &names->entries[e].host;
        for (size_t i = 0; i < host->set.len; i++, missing++) {
            struct backend *backend = *missing ? find_backend(names, host, &host->set.members[i]) : NULL;
            if (backend != NULL) {
                names->options.arrived(names->options.context, backend);
            }
        }
    }
}

static void apply(struct names *names)
{
    struct err_text err = {"out of memory"};
    size_t members = 0;
    for (size_t e = 0; e < names->len; e++) {
        members += names->entries[e].host.set.len;
    }
    bool *missing = calloc(members + 1, sizeof(*missing));
    int rc = missing == NULL ? ERR_NOMEM : 0;
    mark_leaving(names);
    if (rc == 0) {
        note_missing(names, missing);
        rc = change(names, &err);
    }
    if (rc == 0) {
        tell_arrived(names, missing);
    }
    free(missing);
    if (names->health != NULL && health_follow(names->health) != 0) {
        rc = err_set(&err, ERR_NOMEM, "out of memory for the checks of new addresses");
    }
    int published = routing_publish(names->options.routing, rc == 0 ? &err : NULL);
    names->stale = rc != 0 || published != 0;
    if (names->stale) {
        tell_stale(names, err.text);
    } else {
        names->stale_told = false;
    }
}

/* ---- what operators hear */

static void tell(const struct entry *entry, enum events_severity severity, const char *text)
{
    const struct names_options *options = &entry->names->options;
    events_add(options->events, clock_wall_us(), severity, routing_service(options->routing), "names",
               "names", NULL, "%s/%s: %s", options->config->groups[entry->host.group].name,
               config_of(options->config, &entry->host)->name, text);
}

/* One line when answers turn bad, one when they are good again, however they fail in between. */
static void tell_outcome(struct entry *entry)
{
    const struct name_set *set = &entry->host.set;
    bool bad = set->outcome != NAME_GOOD;
    char text[200];
    if (bad == entry->bad) {
        return;
    }
    entry->bad = bad;
    size_t there = name_set_count(set, NAME_PRESENT) + name_set_count(set, NAME_HELD);
    if (!bad) {
        (void)snprintf(text, sizeof(text), "the name is resolved again: %zu address%s", there,
                       there == 1 ? "" : "es");
    } else if (there == 0) {
        (void)snprintf(text, sizeof(text), "%s; no address is known, it is asked for again", set->reason);
    } else if (set->outcome == NAME_PARTLY) {
        (void)snprintf(text, sizeof(text), "only a part of the addresses was told: %s; others stay",
                       set->reason);
    } else {
        (void)snprintf(text, sizeof(text), "%s; the %zu address%s known so far stay%s", set->reason, there,
                       there == 1 ? "" : "es", there == 1 ? "s" : "");
    }
    tell(entry, !bad ? EVENTS_INFO : there == 0 ? EVENTS_ERROR : EVENTS_WARN, text);
}

static void tell_change(const struct entry *entry, const struct name_change *change)
{
    const struct name_set *set = &entry->host.set;
    char text[200];
    if (change->added + change->returned + change->leaving > 0) {
        (void)snprintf(text, sizeof(text), "%zu address%s: %zu new, %zu back, %zu gone and draining",
                       name_set_count(set, NAME_PRESENT), name_set_count(set, NAME_PRESENT) == 1 ? "" : "es",
                       change->added, change->returned, change->leaving);
        tell(entry, EVENTS_INFO, text);
    }
    if (change->left_out) {
        (void)snprintf(text, sizeof(text), "%zu addresses too many are left out: resolve.max_addresses is %u",
                       set->left_out, entry->names->options.resolve->max_addresses);
        tell(entry, EVENTS_WARN, text);
    }
}

/* ---- time */

static void arm(struct event *timer, uint64_t wait_us)
{
    const struct timeval wait = {.tv_sec = (time_t)(wait_us / CLOCK_US_PER_S),
                                 .tv_usec = (suseconds_t)(wait_us % CLOCK_US_PER_S)};
    if (evtimer_add(timer, &wait) != 0) {
        event_active(timer, EV_TIMEOUT, 0);
    }
}

static void arm_entry(struct entry *entry)
{
    uint64_t now_us = clock_mono_us();
    uint64_t due_us = entry->host.set.due_us;
    arm(entry->timer, due_us > now_us ? due_us - now_us : 0);
}

static size_t count_leaving(const struct names *names)
{
    size_t n = 0;
    for (size_t e = 0; e < names->len; e++) {
        n += name_set_count(&names->entries[e].host.set, NAME_LEAVING);
    }
    return n;
}

static void arm_sweep(const struct names *names)
{
    if ((names->stale || count_leaving(names) > 0) && !event_pending(names->sweep, EV_TIMEOUT, NULL)) {
        arm(names->sweep, SWEEP_US);
    }
}

static void on_sweep(evutil_socket_t fd, short what, void *context)
{
    struct names *names = context;
    bool changed = names->stale;
    (void)fd;
    (void)what;
    for (size_t e = 0; e < names->len; e++) {
        struct names_host *host = &names->entries[e].host;
        for (size_t i = host->set.len; i-- > 0;) {
            const struct name_member *member = &host->set.members[i];
            const struct backend *backend =
                member->place == NAME_LEAVING ? find_backend(names, host, member) : NULL;
            if (member->place == NAME_LEAVING && (backend == NULL || backend_open(backend) == 0)) {
                name_set_remove(&host->set, i);
                changed = true;
            }
        }
    }
    if (changed) {
        apply(names);
    }
    arm_sweep(names);
}

static void on_answer(void *context, const struct name_answer *answer)
{
    struct entry *entry = context;
    struct names *names = entry->names;
    const struct config_resolve *resolve = names->options.resolve;
    const struct name_rules rules = {.min_ttl_us = resolve->min_ttl_us,
                                     .max_ttl_us = resolve->max_ttl_us,
                                     .hold_us = resolve->hold_us,
                                     .max = resolve->max_addresses};
    struct name_change change;
    entry->lookup = NULL;
    if (name_set_take(&entry->host.set, &rules, answer, clock_mono_us(), &change) == 0) {
        enum name_outcome outcome = entry->host.set.outcome;
        entry->failures += outcome == NAME_FAILED || outcome == NAME_EMPTY;
        tell_outcome(entry);
        tell_change(entry, &change);
    }
    if (names->stale || change.added + change.returned + change.leaving > 0) {
        apply(names);
    }
    arm_entry(entry);
    arm_sweep(names);
}

static void on_due(evutil_socket_t fd, short what, void *context)
{
    struct entry *entry = context;
    const struct names_options *options = &entry->names->options;
    (void)fd;
    (void)what;
    if (lookup_start(options->resolver, options->resolve, entry->host.host, entry->host.port, on_answer,
                     entry, &entry->lookup) != 0) {
        entry->lookup = NULL;
        entry->host.set.due_us = clock_mono_us() + options->resolve->min_ttl_us;
        arm_entry(entry);
    }
}

/* ---- the whole */

int names_create(const struct names_options *options, struct names_host *hosts, size_t hosts_len,
                 struct names **out)
{
    struct names *names = calloc(1, sizeof(*names) + hosts_len * sizeof(names->entries[0]));
    if (names == NULL) {
        return ERR_NOMEM;
    }
    names->options = *options;
    names->sweep = evtimer_new(options->base, on_sweep, names);
    bool good = names->sweep != NULL;
    for (size_t i = 0; good && i < hosts_len; i++) {
        struct entry *entry = &names->entries[names->len++];
        entry->names = names;
        entry->host = hosts[i];
        name_set_init(&entry->host.set);
        entry->timer = evtimer_new(options->base, on_due, entry);
        good = entry->timer != NULL;
    }
    if (!good) {
        names_destroy(names);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < hosts_len; i++) {
        struct entry *entry = &names->entries[i];
        entry->host.set = hosts[i].set;
        name_set_init(&hosts[i].set);
        entry->bad = entry->host.set.outcome == NAME_UNKNOWN; /* its first answer is worth a line */
        tell_outcome(entry);
        arm_entry(entry);
    }
    mark_leaving(names);
    arm_sweep(names);
    *out = names;
    return 0;
}

void names_destroy(struct names *names)
{
    if (names == NULL) {
        return;
    }
    for (size_t e = 0; e < names->len; e++) {
        struct entry *entry = &names->entries[e];
        if (entry->lookup != NULL) {
            lookup_cancel(entry->lookup);
        }
        if (entry->timer != NULL) {
            event_free(entry->timer);
        }
        name_set_clear(&entry->host.set);
    }
    if (names->sweep != NULL) {
        event_free(names->sweep);
    }
    free(names);
}

void names_set_health(struct names *names, struct health *health)
{
    names->health = health;
}

void names_tune(struct names *names, const struct config_resolve *resolve)
{
    names->options.resolve = resolve;
}

int names_recall(const struct names *names, const char *group, const char *backend,
                 const struct names_host *host, struct name_set *out)
{
    for (size_t e = 0; e < names->len; e++) {
        const struct names_host *known = &names->entries[e].host;
        if (strcmp(known->host, host->host) == 0 && known->port == host->port &&
            strcmp(names_group(names, e), group) == 0 && strcmp(names_backend(names, e), backend) == 0) {
            return name_set_copy(out, &known->set);
        }
    }
    return ERR_NOT_FOUND;
}

size_t names_count(const struct names *names)
{
    return names->len;
}

const struct names_host *names_at(const struct names *names, size_t index)
{
    assert(index < names->len);
    return &names->entries[index].host;
}

const char *names_group(const struct names *names, size_t index)
{
    return names->options.config->groups[names_at(names, index)->group].name;
}

const char *names_backend(const struct names *names, size_t index)
{
    return config_of(names->options.config, names_at(names, index))->name;
}

const struct names_host *names_of(const struct names *names, const struct backend *backend)
{
    const char *group = routing_group_name(names->options.routing, backend_group(backend));
    for (size_t e = 0; e < names->len; e++) {
        const char *name = names_backend(names, e);
        size_t length = strlen(name);
        if (strcmp(names_group(names, e), group) == 0 && strncmp(backend_name(backend), name, length) == 0 &&
            backend_name(backend)[length] == '@') {
            return names_at(names, e);
        }
    }
    return NULL;
}

uint64_t names_failures(const struct names *names, size_t index)
{
    assert(index < names->len);
    return names->entries[index].failures;
}
