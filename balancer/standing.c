/*
 * Where a backend and its group stand: who may get new connections, failures in a row, panic. The workers add
 * to the runs of failures with relaxed atomics; all else runs on the control thread. What follows from a run
 * is decided in health/outlier.c.
 */
#include "balancer/view_internal.h"

#include <string.h>

#define BP_FULL 10000u

bool backend_eligible(const struct backend *backend)
{
    bool agent = backend->forced == BACKEND_FORCED_UP || backend->agent_admin == BACKEND_READY;
    return !backend->leaving && backend->admin == BACKEND_READY && backend->forced != BACKEND_FORCED_DOWN &&
           agent && backend_weight_effective(backend) > 0;
}

bool backend_usable(const struct backend *backend)
{
    bool healthy = backend->state != BACKEND_DOWN && !backend->ejection.out;
    return backend_eligible(backend) && (healthy || backend->forced == BACKEND_FORCED_UP);
}

bool backend_is_usable(const struct backend *backend)
{
    return backend_usable(backend);
}

enum backend_state backend_standing(const struct backend *backend)
{
    switch (backend->forced) {
    case BACKEND_FORCED_UP:
        return backend->ramp.rising ? BACKEND_STARTING : BACKEND_UP;
    case BACKEND_FORCED_DOWN:
        return BACKEND_DOWN;
    case BACKEND_AUTO:
        break;
    }
    return backend->ejection.out ? BACKEND_DOWN : backend_state(backend);
}

bool backend_is_cold(const struct backend *backend)
{
    return backend->admin == BACKEND_MAINT || backend_standing(backend) == BACKEND_DOWN ||
           (backend->forced != BACKEND_FORCED_UP && backend->agent_admin == BACKEND_MAINT);
}

enum backend_forced backend_forced(const struct backend *backend)
{
    return backend->forced;
}

const char *backend_forced_name(enum backend_forced forced)
{
    switch (forced) {
    case BACKEND_FORCED_UP:
        return "up";
    case BACKEND_FORCED_DOWN:
        return "down";
    case BACKEND_AUTO:
        break;
    }
    return "auto";
}

const struct backend_ejection *backend_ejection(const struct backend *backend)
{
    return &backend->ejection;
}

/* ---- failures in a row */

void backend_note_failure(struct backend *backend, enum stats_error error)
{
    struct backend_failing *failing = &backend->failing;
    uint32_t run = atomic_fetch_add_explicit(&failing->runs[error], 1, memory_order_relaxed) + 1;
    /* Once a run: who is told looks at all that goes on, and a storm of failures is no reason to call again.
     */
    if (run == atomic_load_explicit(&failing->limits[error], memory_order_relaxed) &&
        backend->board->alarm != NULL) {
        backend->board->alarm(backend->board->alarm_context);
    }
}

static void end_run(struct backend *backend, enum stats_error error)
{
    _Atomic uint32_t *run = &backend->failing.runs[error];
    if (atomic_load_explicit(run, memory_order_relaxed) != 0) {
        atomic_store_explicit(run, 0, memory_order_relaxed);
    }
}

void backend_note_connected(struct backend *backend)
{
    end_run(backend, STATS_ERROR_CONNECT);
    end_run(backend, STATS_ERROR_TIMEOUT);
}

void backend_note_answered(struct backend *backend)
{
    for (unsigned error = 0; error < STATS_ERROR_COUNT; error++) {
        end_run(backend, (enum stats_error)error);
    }
}

void routing_set_run_limits(struct backend *backend, const struct backend_runs *limits)
{
    for (unsigned error = 0; error < STATS_ERROR_COUNT; error++) {
        atomic_store_explicit(&backend->failing.limits[error], limits->of[error], memory_order_relaxed);
    }
}

void backend_read_runs(const struct backend *backend, struct backend_runs *out)
{
    for (unsigned error = 0; error < STATS_ERROR_COUNT; error++) {
        out->of[error] = atomic_load_explicit(&backend->failing.runs[error], memory_order_relaxed);
    }
}

void backend_clear_runs(struct backend *backend)
{
    backend_note_answered(backend);
}

void backend_read_successes(const struct backend *backend, uint64_t *connected, uint64_t *answered)
{
    *connected = 0;
    *answered = 0;
    for (unsigned worker = 0; worker < backend->workers; worker++) {
        const struct stats_backend *stats = &backend->stats[worker];
        *connected += atomic_load_explicit(&stats->connections, memory_order_relaxed);
        *answered += atomic_load_explicit(&stats->turns, memory_order_relaxed);
    }
}

/* ---- panic */

struct routing_panic routing_panic_of(const struct config_service *service, const struct config_group *config)
{
    struct routing_panic panic = {.threshold_bp = config->panic.present ? config->panic.threshold_bp : 0,
                                  .action = config->panic.action};
    for (size_t i = 0; i < service->sni.routes_len; i++) {
        const char *group = service->sni.routes[i].group;
        panic.addressed |= group != NULL && strcmp(group, config->name) == 0;
    }
    return panic;
}

struct panic_count panic_count(const struct model_group *group)
{
    struct panic_count count = {0};
    for (uint32_t i = 0; i < group->backends_len; i++) {
        const struct backend *backend = group->backends[i];
        bool usable = backend_usable(backend);
        count.backups += backend->backup && usable;
        count.usable += !backend->backup && usable;
        count.eligible += !backend->backup && backend_eligible(backend);
    }
    return count;
}

bool panic_is(const struct model_group *group)
{
    struct panic_count count = panic_count(group);
    bool backups_serve = count.usable == 0 && count.backups > 0;
    return !backups_serve &&
           (uint64_t)count.usable * BP_FULL < (uint64_t)count.eligible * group->panic.threshold_bp;
}

bool routing_in_panic(const struct routing *routing, size_t group, size_t *usable, size_t *eligible)
{
    const struct model_group *in = &routing->groups[group];
    struct panic_count count = panic_count(in);
    if (usable != NULL) {
        *usable = count.usable;
    }
    if (eligible != NULL) {
        *eligible = count.eligible;
    }
    bool takes_part = group == routing->active || group == routing->target || in->panic.addressed;
    return takes_part && (in->built != NULL ? in->built->panics : panic_is(in));
}

struct routing_panic routing_panic(const struct routing *routing, size_t group)
{
    return routing->groups[group].panic;
}

bool routing_on_backups(const struct routing *routing, size_t group)
{
    const struct model_group *in = &routing->groups[group];
    struct panic_count count = panic_count(in);
    bool any_regular = false;
    for (uint32_t i = 0; i < in->backends_len; i++) {
        any_regular |= !in->backends[i]->backup;
    }
    return any_regular && count.usable == 0 && count.backups > 0;
}

/* Whether the other side of a migration takes what is meant for a group in panic. */
static bool other_takes(const struct routing *routing, size_t group)
{
    if (!routing->fallback || routing->target == ROUTING_NONE || routing->target == routing->active) {
        return false;
    }
    uint32_t other = group == routing->active ? routing->target : routing->active;
    return !panic_is(&routing->groups[other]) && routing_usable(routing, other) > 0;
}

size_t routing_serving(const struct routing *routing, size_t group)
{
    const struct model_group *in = &routing->groups[group];
    if (!panic_is(in)) {
        return routing_usable(routing, group);
    }
    switch (in->panic.action) {
    case CONFIG_PANIC_USE_ALL:
        return panic_count(in).eligible;
    case CONFIG_PANIC_REFUSE:
        return 0;
    case CONFIG_PANIC_OTHER_GROUP:
        break;
    }
    return other_takes(routing, group) ? 0 : routing_usable(routing, group);
}
