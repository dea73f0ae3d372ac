/*
 * The migration of one service, driven: asks the machine what is due, puts every event through machine,
 * journal, routing and event ring in the order that the machine names, and wakes up when it must. Control
 * thread. What may happen when is decided in migration/machine.c; the verbs of operators are in
 * migration/commands.c.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/units.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Changes in one turn: a plan without holds may take many steps at once, a fault must not spin. */
#define TURN_CHANGES_MAX 64

static const struct migration_asker plan_asker = {.actor = "plan", .reason = NULL};
static const struct migration_asker restart_asker = {.actor = "restart", .reason = NULL};
static const struct migration_asker shutdown_asker = {.actor = "shutdown", .reason = NULL};

static uint64_t real_clock_us(void *context)
{
    (void)context;
    return clock_mono_us();
}

static uint64_t real_wall_us(void *context)
{
    (void)context;
    return clock_wall_us();
}

const char *migration_group_name(const struct migration *m, uint32_t group)
{
    return group < routing_groups(m->options.routing) ? routing_group_name(m->options.routing, group) : "?";
}

uint32_t migration_default_target(const struct migration *m)
{
    uint32_t other = routing_other_group(m->options.routing, m->machine.active);

    if (other != ROUTING_NONE) {
        return other;
    }
    return m->machine.target != m->machine.active ? m->machine.target : ROUTING_NONE;
}

void migration_route(struct migration *m)
{
    struct err_text err;
    uint32_t active;
    uint32_t target;
    uint32_t share_bp;

    machine_route(&m->machine, &active, &target, &share_bp);
    routing_set_active(m->options.routing, active);
    routing_set_target(m->options.routing, target);
    routing_set_share(m->options.routing, target == ROUTING_NONE ? share_bp : aim_share_bp(m));
    m->unpublished = routing_publish(m->options.routing, &err) != 0;
    if (m->unpublished) {
        log_line(LOG_LEVEL_ERROR, "routing not published, will try again",
                 LOG_TEXT("service", m->options.config->name), LOG_TEXT("error", err.text));
    }
}

static void narrate(const struct migration *m, const struct machine *before, enum machine_event event,
                    const struct migration_asker *who, const char *text)
{
    events_add(m->options.events, clock_wall_us(), narrate_severity(&m->machine, event),
               m->options.config->name, narrate_kind(before, &m->machine), who->actor, who->reason, "%s",
               text);
}

/* Writes a state down. On failure m->journal_error says why. */
static int write_state(struct migration *m, const struct machine *state, enum machine_event event,
                       const struct migration_asker *who, const struct migration_asker *cause,
                       const char *text)
{
    json_t *record = record_of_state(m, state, "state", machine_event_name(event), who, cause, text);
    struct err_text err = {.text = "no memory for a record of the journal"};
    int rc = ERR_NOMEM;

    if (record != NULL) {
        rc = journal_append(m->options.journal, record, true, &err);
        json_decref(record);
    }
    if (rc != 0) {
        snprintf(m->journal_error, sizeof(m->journal_error), "the journal cannot be written: %.200s",
                 err.text);
    } else {
        m->progress_us = m->clock_us(m->clock_context);
    }
    return rc;
}

void migration_note(struct migration *m, const struct migration_asker *who, const char *text)
{
    json_t *record = record_of_state(m, &m->machine, "note", "note", who, who, text);
    struct err_text err = {.text = "no memory"};

    events_add(m->options.events, clock_wall_us(), EVENTS_WARN, m->options.config->name, "phase", who->actor,
               who->reason, "%s", text);
    if (record == NULL || journal_append(m->options.journal, record, true, &err) != 0) {
        log_line(LOG_LEVEL_WARN, "a note is not in the journal", LOG_TEXT("service", m->options.config->name),
                 LOG_TEXT("error", err.text));
    }
    json_decref(record);
}

static void adopt(struct migration *m, const struct machine *next, const struct migration_asker *cause)
{
    uint32_t before[3];
    uint32_t after[3];
    char why[sizeof(m->why)];
    char actor[sizeof(m->actor)];
    bool begins;

    /* cause may point into m itself */
    snprintf(why, sizeof(why), "%s", cause->reason == NULL ? "" : cause->reason);
    snprintf(actor, sizeof(actor), "%s", cause->actor == NULL ? "" : cause->actor);
    memcpy(m->why, why, sizeof(why));
    memcpy(m->actor, actor, sizeof(actor));
    machine_route(&m->machine, &before[0], &before[1], &before[2]);
    machine_route(next, &after[0], &after[1], &after[2]);
    if (machine_leaving(next) != ROUTING_NONE && machine_leaving(&m->machine) != machine_leaving(next)) {
        m->drained_from += drain_closed(m); /* all that were closed before this drain */
    }
    begins = next->number != m->machine.number;
    m->machine = *next;
    if (begins) {
        toll_begin(m);
    }
    if (memcmp(before, after, sizeof(before)) != 0) {
        migration_route(m);
    }
}

/* A record that should be there is not: nothing moves towards new until it is. */
static void detach(struct migration *m, uint64_t now_us)
{
    struct machine_input input = {.event = MACHINE_JOURNAL_FAILED, .now_us = now_us};
    struct machine before = m->machine;
    struct machine_change change;
    char text[256];

    if (machine_handle(&m->machine, &m->setup.rules, &input, &change) != 0) {
        return;
    }
    m->machine = change.next;
    if (!before.detached) { /* said once, not each second */
        narrate_change(m, &before, &m->machine, input.event, text, sizeof(text));
        narrate(m, &before, input.event, &plan_asker, text);
    }
}

/* The reason that a plan itself gives for standing still. */
static const char *own_reason(const struct machine *before, const struct machine *next,
                              const struct machine_rules *rules, enum machine_event event)
{
    if (before->phase == MIGRATION_RAMPING && next->phase == MIGRATION_PAUSED) {
        if (event == MACHINE_RESTART) {
            return "the plan was changed while it ran: `resume` goes on with the new one from this share";
        }
        if (event == MACHINE_STEP_DUE && machine_is_manual(before, rules)) {
            return "this step is a manual one: `resume` takes the next";
        }
        if (event == MACHINE_STEP_DUE || event == MACHINE_SKIP) {
            return "the plan ends below 100%: `share` moves it by hand, `abort` goes back";
        }
    }
    if (before->phase == MIGRATION_PREFLIGHT && next->phase == MIGRATION_ROLLED_BACK) {
        return "the plan was changed before its first step: `start` begins with the new one";
    }
    return NULL;
}

static void remember_error(struct err_text *err, const struct migration *m)
{
    err_set(err, ERR_SYSTEM, "%s: nothing was changed, traffic goes on as it is", m->journal_error);
}

static bool is_of_gate(enum machine_event event)
{
    return event == MACHINE_GATE_FAIL || event == MACHINE_GATE_TOO_FEW;
}

/* A second abort without words: it takes the rest of a gradual rollback, and leaves the cause what it was. */
static bool hurries(const struct machine *before, enum machine_event event, const struct migration_asker *who)
{
    return event == MACHINE_ABORT && before->phase == MIGRATION_ROLLING_BACK &&
           (who->reason == NULL || who->reason[0] == '\0');
}

int migration_perform(struct migration *m, struct machine_input *input, const struct migration_asker *who,
                      struct err_text *err)
{
    struct machine before = m->machine;
    struct migration_asker cause = {.actor = m->actor, .reason = m->why};
    struct migration_asker told = *who;
    struct machine_change change;
    const char *own;
    char text[256];
    int rc;

    input->now_us = m->clock_us(m->clock_context);
    rc = machine_handle(&m->machine, &m->setup.rules, input, &change);
    if (rc != 0 || change.order == MACHINE_NOTHING) {
        return rc;
    }
    if (change.next.phase == MIGRATION_ROLLED_BACK && (who->reason == NULL || who->reason[0] == '\0')) {
        told.reason = m->why; /* a gradual one is long over by then: what ends it says again why it was */
    }
    own = own_reason(&before, &change.next, &m->setup.rules, input->event);
    if (own != NULL) {
        cause = (struct migration_asker){.actor = who->actor, .reason = own};
    } else if (!hurries(&before, input->event, who) &&
               (machine_event_is_operator(input->event) || is_of_gate(input->event))) {
        cause = *who;
    }
    narrate_change(m, &before, &change.next, input->event, text, sizeof(text));
    if (change.order == MACHINE_JOURNAL_FIRST) {
        rc = write_state(m, &change.next, input->event, &told, &cause, text);
        if (rc != 0) {
            if (!machine_event_is_operator(input->event)) {
                detach(m, input->now_us);
            }
            remember_error(err, m);
            return rc;
        }
    }
    adopt(m, &change.next, &cause);
    narrate(m, &before, input->event, &told, text);
    hooked_tell(m, &before, input->event, who, text);
    if (change.order == MACHINE_ACT_FIRST &&
        write_state(m, &change.next, input->event, &told, &cause, text) != 0) {
        detach(m, input->now_us);
    }
    return 0;
}

/* How long the health checks of the target need to find it down. */
static uint64_t settle_us(const struct migration *m)
{
    const struct config_group *group = migration_group_config(m, m->machine.target);

    return group == NULL || group->health.type == CONFIG_HEALTH_NONE
               ? 0
               : group->health.interval_us * (group->health.fall + 1) + group->health.timeout_us;
}

/* After a restart no connection is open, so a drain would be over before the first check of the target:
 * nothing is completed onto a group of which nothing is known yet. */
static bool is_settled_target(const struct migration *m, uint64_t now_us)
{
    if (now_us >= m->settle_until_us || m->machine.target == ROUTING_NONE) {
        return true;
    }
    for (size_t i = 0; i < routing_backends(m->options.routing, m->machine.target); i++) {
        enum backend_state state =
            backend_standing(routing_backend_at(m->options.routing, m->machine.target, i));

        if (state == BACKEND_UP || state == BACKEND_STARTING) {
            return true;
        }
    }
    return false;
}

static struct machine_sight look(struct migration *m)
{
    uint32_t leaving = machine_leaving(&m->machine);
    struct machine_sight sight = {.now_us = m->clock_us(m->clock_context)};

    waits_look(m);
    judge_look(m);
    judge_see(m, &sight);
    sight.samples = m->samples;
    sight.shut = m->shut;
    if (m->machine.target != ROUTING_NONE) {
        sight.usable = routing_serving(m->options.routing, m->machine.target);
    }
    if (leaving != ROUTING_NONE) {
        sight.leaving = routing_open(m->options.routing, leaving);
    }
    if (m->machine.phase == MIGRATION_DRAINING && sight.leaving == 0 && !is_settled_target(m, sight.now_us)) {
        sight.leaving = 1; /* as if one were left */
    }
    return sight;
}

/* A light record of the time served, so that a kill loses little of it. Not worth a wait for the disk; a
 * failure shows at the next record that is. */
static void write_progress(struct migration *m)
{
    struct migration_asker cause = {.actor = m->actor, .reason = m->why};
    uint64_t now_us = m->clock_us(m->clock_context);
    struct machine state = m->machine;
    uint64_t every_us;
    json_t *record;

    if (state.phase != MIGRATION_RAMPING && state.phase != MIGRATION_DRAINING) {
        return;
    }
    every_us = machine_hold_us(&state, &m->setup.rules) / MIGRATION_PROGRESS_PARTS;
    every_us = every_us < MIGRATION_PROGRESS_MIN_US ? MIGRATION_PROGRESS_MIN_US : every_us;
    if (state.detached || now_us - m->progress_us < every_us) {
        return;
    }
    m->progress_us = now_us;
    state.served_us = machine_served_us(&state, now_us);
    record = record_of_state(m, &state, "progress", "progress", &plan_asker, &cause, "");
    if (record != NULL) {
        (void)(journal_append(m->options.journal, record, false, NULL) == 0);
        json_decref(record);
    }
}

/* Once, when the hold is over and something else holds the step up. */
static void say_what_it_waits_for(struct migration *m)
{
    bool waits = waits_any(m);
    char text[256];

    if (waits && !m->held_up) {
        waits_narrate(m, text, sizeof(text));
        narrate(m, &m->machine, MACHINE_NO_EVENT, &plan_asker, text);
    }
    m->held_up = waits;
}

/* What has come due is asked for by the plan, or by the gate, which says why. */
static int perform_due(struct migration *m, struct machine_input *input)
{
    struct migration_asker gate = {.actor = "gate"};
    struct err_text err;
    char reason[200];

    if (!is_of_gate(input->event)) {
        return migration_perform(m, input, &plan_asker, &err);
    }
    snprintf(reason, sizeof(reason), "%s%s", input->event == MACHINE_GATE_TOO_FEW ? "waited too long: " : "",
             judge_message(m));
    gate.reason = reason;
    return migration_perform(m, input, &gate, &err);
}

void migration_turn(struct migration *m)
{
    if (m->frozen) {
        return;
    }
    if (m->unpublished) {
        migration_route(m);
    }
    for (int changes = 0; changes < TURN_CHANGES_MAX; changes++) {
        struct machine_sight sight = look(m);
        struct machine_input input = {.event = machine_due(&m->machine, &m->setup.rules, &sight),
                                      .usable = sight.usable,
                                      .waited = m->held_up || m->hook_held};

        say_what_it_waits_for(m);
        if (!hooked_allows(m, input.event) || input.event == MACHINE_NO_EVENT ||
            perform_due(m, &input) != 0) {
            break;
        }
    }
    aim_turn(m);
    drain_turn(m);
    write_progress(m);
    setup_renew(m, false);
    migration_arm(m);
}

uint64_t migration_wake_us(const struct migration *m)
{
    uint64_t now_us = m->clock_us(m->clock_context);
    uint64_t wake = machine_wake_us(&m->machine, &m->setup.rules);
    uint64_t closing;

    if ((machine_is_open(&m->machine) || m->unpublished) && wake > now_us + MIGRATION_POLL_US) {
        wake = now_us + MIGRATION_POLL_US;
    }
    closing = drain_wake_us(m, now_us);
    wake = closing < wake ? closing : wake;
    /* What is due and was not done waits for something that has to be looked at. */
    return wake <= now_us ? now_us + MIGRATION_POLL_US : wake;
}

void migration_arm(struct migration *m)
{
    uint64_t wake = migration_wake_us(m);
    uint64_t now_us = m->clock_us(m->clock_context);
    uint64_t wait_us = wake > now_us ? wake - now_us : 0;
    struct timeval tv = {.tv_sec = (time_t)(wait_us / CLOCK_US_PER_S),
                         .tv_usec = (suseconds_t)(wait_us % CLOCK_US_PER_S)};

    if (m->timer == NULL) {
        return;
    }
    if (wake == CLOCK_NEVER) {
        (void)event_del(m->timer);
    } else if (event_add(m->timer, &tv) != 0) {
        log_line(LOG_LEVEL_ERROR, "cannot arm the timer of a migration",
                 LOG_TEXT("service", m->options.config->name));
    }
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    migration_turn(context);
}

/* As set: an operator is to look first. Going back is not held up by that. */
static void pause_after_restart(struct migration *m)
{
    static const struct migration_asker asker = {.actor = "restart",
                                                 .reason = "as set by restart = \"pause\": `resume` goes on"};
    struct machine_input input = {.event = MACHINE_PAUSE};
    struct err_text err;

    if (m->setup.config->migration.restart == CONFIG_RESTART_PAUSE &&
        (m->machine.phase == MIGRATION_PREFLIGHT || m->machine.phase == MIGRATION_RAMPING ||
         m->machine.phase == MIGRATION_DRAINING)) {
        (void)(migration_perform(m, &input, &asker, &err) == 0);
    }
}

void migration_restore(struct migration *m)
{
    record_restore(m, &m->restored.found, &m->restored.plan_changed, m->restored.words,
                   sizeof(m->restored.words));
    m->machine.mark_us = m->clock_us(m->clock_context);
    m->settle_until_us = m->machine.mark_us + settle_us(m);
    overrides_restore(m);
    toll_begin(m);
    migration_route(m);
}

void migration_begin(struct migration *m, const struct migration_asker *who)
{
    struct machine_input input = {.event = MACHINE_RESTART, .plan_changed = m->restored.plan_changed};
    struct err_text err;

    if (m->restored.words[0] != '\0') {
        events_add(m->options.events, clock_wall_us(), EVENTS_WARN, m->options.config->name, "phase",
                   who->actor, NULL, "%s", m->restored.words);
    }
    if (m->restored.found && machine_is_open(&m->machine)) {
        (void)(migration_perform(m, &input, who, &err) == 0);
    }
}

int migration_create_with_clock(const struct migration_options *options, uint64_t (*clock_us)(void *context),
                                void *clock_context, struct migration **out, struct err_text *err)
{
    struct migration *m = calloc(1, sizeof(*m));
    int rc;

    if (m == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the migration of %s", options->config->name);
    }
    m->options = *options;
    m->clock_us = clock_us;
    m->clock_context = clock_context;
    m->progress_us = clock_us(clock_context);
    m->wall_us = real_wall_us;
    rc = setup_create(m, options->config, options->whole, &m->setup, err);
    if (rc == 0 && options->base != NULL) {
        m->timer = event_new(options->base, -1, 0, on_timer, m);
        if (m->timer == NULL || rate_begin(m) != 0) {
            rc = err_set(err, ERR_NOMEM, "no memory for the migration of %s", options->config->name);
        }
    }
    if (rc != 0) {
        migration_abandon(m);
        return rc;
    }
    random_seed(&m->random, clock_us(clock_context));
    migration_restore(m);
    m->frozen = options->handed_over;
    if (!m->frozen) {
        hooked_find_strays(m);
        migration_begin(m, &restart_asker);
        pause_after_restart(m);
        migration_arm(m);
    }
    *out = m;
    return 0;
}

int migration_create(const struct migration_options *options, struct migration **out, struct err_text *err)
{
    return migration_create_with_clock(options, real_clock_us, NULL, out, err);
}

void migration_write_served(struct migration *m, const struct migration_asker *who)
{
    struct migration_asker cause = {.actor = m->actor, .reason = m->why};
    struct machine state = m->machine;
    json_t *record;

    if (!machine_is_open(&state)) {
        return;
    }
    state.served_us = machine_served_us(&state, m->clock_us(m->clock_context));
    record = record_of_state(m, &state, "progress", who->actor, who, &cause, "");
    if (record != NULL) {
        (void)(journal_append(m->options.journal, record, true, NULL) == 0);
        json_decref(record);
    }
}

void migration_abandon(struct migration *m)
{
    if (m->timer != NULL) {
        event_free(m->timer);
    }
    rate_end(m);
    setup_destroy(m->next);
    setup_clear(&m->setup);
    strays_destroy(m->strays);
    words_clear(m);
    free(m);
}

void migration_destroy(struct migration *m)
{
    if (m == NULL) {
        return;
    }
    if (m->machine.number > 0 && !m->frozen) { /* an orderly end is worth a wait for the disk */
        migration_write_served(m, &shutdown_asker);
    }
    migration_abandon(m);
}
