/*
 * What a migration goes by: plan, hours, gate, hooks, all made from one configuration and changed together. A
 * reload makes a second one beside it, which waits for the next start; what runs keeps to what it began with,
 * for nobody wants a plan to change under a migration at night. Control thread.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A configuration on its way in, and what is to be found again in it. */
struct migration_draft {
    struct setup *setup; /* owned */
    const struct config_service *config;
    char active[ROUTING_NAME_MAX], target[ROUTING_NAME_MAX]; /* target empty: none */
};

static void read_rules(struct setup *setup)
{
    const struct config_migration *config = &setup->config->migration;
    bool gradual = config->rollback.shape == CONFIG_BACK_LINEAR;

    setup->rules = (struct machine_rules){.plan = setup->plan,
                                          .drain_us = config->drain.timeout_us,
                                          .back_us = gradual ? config->rollback.over_us : 0,
                                          .back_drain_us = config->rollback.timeout_us,
                                          .step_asks = hooks_has(setup->hooks, CONFIG_HOOK_BEFORE_STEP),
                                          .commit_asks = hooks_has(setup->hooks, CONFIG_HOOK_BEFORE_COMMIT),
                                          .commit_manual = config->commit == CONFIG_COMMIT_MANUAL};
}

void setup_clear(struct setup *setup)
{
    hooks_destroy(setup->hooks);
    webhooks_destroy(setup->webhooks);
    plan_destroy(setup->plan);
    zone_destroy(setup->zone);
    for (size_t i = 0; i < setup->gates_len; i++) {
        gate_destroy(setup->gates[i]);
    }
    config_free(setup->whole);
    *setup = (struct setup){0};
}

void setup_destroy(struct setup *setup)
{
    if (setup != NULL) {
        setup_clear(setup);
        free(setup);
    }
}

int setup_create(struct migration *m, const struct config_service *config, struct config *whole,
                 struct setup *out, struct err_text *err)
{
    int rc;

    *out = (struct setup){.config = config, .whole = whole == NULL ? NULL : config_share(whole)};
    rc = plan_compile(&config->migration, &out->plan, err);
    if (rc == 0) {
        rc = waits_create(out, err);
    }
    if (rc == 0 && hooked_create(m, out) != 0) {
        rc = err_set(err, ERR_NOMEM, "no memory for the hooks of %s", config->name);
    }
    if (rc == 0) {
        read_rules(out);
        rc = judge_create(out, err);
    }
    if (rc != 0) {
        setup_clear(out);
    }
    return rc;
}

void setup_renew(struct migration *m, bool begin)
{
    struct setup *next = m->next;

    if (next == NULL || machine_is_open(&m->machine) || (!begin && !hooked_idle(&m->setup))) {
        return;
    }
    setup_clear(&m->setup);
    m->setup = *next;
    m->next = NULL;
    free(next);
    m->judging = false;
    steer_begin(&m->steer);
    m->shut = false;
    m->counted_step = 0;
    m->hook_held = false;
    m->hook_retry_us = 0;
    m->hook_words[0] = '\0';
}

const struct config_group *migration_group_config(const struct migration *m, uint32_t group)
{
    const struct config_service *config = m->options.config;

    for (size_t i = 0; i < config->groups_len; i++) {
        if (strcmp(config->groups[i].name, migration_group_name(m, group)) == 0) {
            return &config->groups[i];
        }
    }
    return NULL;
}

static bool has_group(const struct config_service *config, const char *name)
{
    for (size_t i = 0; i < config->groups_len; i++) {
        if (strcmp(config->groups[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* What takes traffic, or is about to, cannot be taken out of the configuration. */
static int check_groups(const struct migration *m, const struct config_service *config, struct err_text *err)
{
    const struct machine *s = &m->machine;
    const char *active = migration_group_name(m, s->active);
    char id[96];

    if (!has_group(config, active)) {
        return err_set(
            err, ERR_STATE,
            "services.%s: group \"%s\" takes all traffic that is not on its way elsewhere and cannot "
            "be removed: migrate to another group first (`start %s to GROUP`), then reload",
            config->name, active, config->name);
    }
    if (machine_is_open(s) && !has_group(config, migration_group_name(m, s->target))) {
        narrate_id(m, s, id, sizeof(id));
        return err_set(err, ERR_STATE,
                       "services.%s: group \"%s\" is the target of %s, which is %s, and cannot be removed: "
                       "`abort %s` or let it end (`wait %s`), then reload",
                       config->name, migration_group_name(m, s->target), id, migration_phase_name(s->phase),
                       config->name, config->name);
    }
    return 0;
}

int migration_reconfigure_begin(struct migration *m, const struct config_service *config,
                                struct config *whole, struct migration_draft **out, struct err_text *err)
{
    struct migration_draft *draft;
    int rc = check_groups(m, config, err);

    if (rc != 0) {
        return rc;
    }
    draft = calloc(1, sizeof(*draft));
    if (draft == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the migration of %s", config->name);
    }
    draft->setup = calloc(1, sizeof(*draft->setup));
    rc = draft->setup == NULL ? err_set(err, ERR_NOMEM, "no memory for the migration of %s", config->name)
                              : setup_create(m, config, whole, draft->setup, err);
    if (rc != 0) {
        free(draft->setup);
        free(draft);
        return rc;
    }
    draft->config = config;
    snprintf(draft->active, sizeof(draft->active), "%s", migration_group_name(m, m->machine.active));
    if (m->machine.target != ROUTING_NONE) {
        snprintf(draft->target, sizeof(draft->target), "%s", migration_group_name(m, m->machine.target));
    }
    *out = draft;
    return 0;
}

void migration_reconfigure_drop(struct migration_draft *draft)
{
    if (draft != NULL) {
        setup_destroy(draft->setup);
        free(draft);
    }
}

/* The groups may have other places in the routing now. */
static void find_groups(struct migration *m, const struct migration_draft *draft)
{
    struct machine *s = &m->machine;

    s->active = routing_find_group(m->options.routing, draft->active);
    s->target =
        draft->target[0] == '\0' ? ROUTING_NONE : routing_find_group(m->options.routing, draft->target);
    if (s->target == ROUTING_NONE && s->phase != MIGRATION_IDLE) { /* an ended one, whose target is gone */
        s->phase = MIGRATION_IDLE;
        s->share_bp = 0;
    }
}

void migration_reconfigure_finish(struct migration *m, struct migration_draft *draft,
                                  const struct migration_asker *who)
{
    char id[96];

    m->options.config = draft->config;
    find_groups(m, draft);
    setup_destroy(m->next);
    m->next = draft->setup;
    free(draft);
    if (machine_is_open(&m->machine)) {
        narrate_id(m, &m->machine, id, sizeof(id));
        events_add(
            m->options.events, clock_wall_us(), EVENTS_INFO, m->options.config->name, "phase", who->actor,
            who->reason,
            "reloaded: %s goes on by the plan that it began with, the one read now is for the next start",
            id);
    }
    setup_renew(m, false);
    migration_route(m);
    migration_arm(m);
}
