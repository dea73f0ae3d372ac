/*
 * The hooks at work in a migration: what is told when, what is asked before a step and before the commit, and
 * what becomes of a refusal. Control thread. Running the commands is migration/hooks.c.
 */
#include "migration/migration_internal.h"

#include "core/clock.h"
#include "core/units.h"

#include <stdio.h>
#include <string.h>

static const struct migration_asker hook_asker = {.actor = "hook", .reason = NULL};

static void on_woken(void *context)
{
    migration_turn(context);
}

static void on_failed(void *context, const char *words)
{
    struct migration *m = context;

    events_add(m->options.events, clock_wall_us(), EVENTS_WARN, m->options.config->name, "hook", "hook", NULL,
               "%s", words);
}

static bool on_held(void *context)
{
    const struct migration *m = context;

    return strays_any(m->strays);
}

static void on_began(void *context, pid_t pid, const char *words, uint64_t timeout_us)
{
    const struct migration *m = context;

    strays_note(journal_folder(m->options.journal), m->options.config->name, pid, words, timeout_us);
}

static void on_gone(void *context, pid_t pid)
{
    const struct migration *m = context;

    strays_forget(journal_folder(m->options.journal), pid);
}

static void say_stray(const struct migration *m, const char *words)
{
    events_add(m->options.events, clock_wall_us(), EVENTS_WARN, m->options.config->name, "hook", "restart",
               NULL, "%s", words);
}

static void on_stray_ended(void *context, const char *words)
{
    struct migration *m = context;

    say_stray(m, words);
    if (!strays_any(m->strays) && m->setup.hooks != NULL) {
        hooks_resume(m->setup.hooks);
    }
    migration_turn(m);
}

void hooked_find_strays(struct migration *m)
{
    const struct strays_options options = {.base = m->options.base,
                                           .folder = journal_folder(m->options.journal),
                                           .service = m->options.config->name,
                                           .ended = on_stray_ended,
                                           .context = m};
    char words[STRAYS_WORDS_MAX];

    if (m->options.base == NULL || m->strays != NULL) {
        return;
    }
    if (strays_find(&options, &m->strays) != 0) {
        say_stray(m, "state_dir cannot be searched for hooks of the program before this one that still run");
    } else if (strays_any(m->strays)) {
        char line[STRAYS_WORDS_MAX + 64];

        strays_describe(m->strays, words, sizeof(words));
        snprintf(line, sizeof(line), "%s; other hooks wait for that", words);
        say_stray(m, line);
    }
}

int hooked_create(struct migration *m, struct setup *setup)
{
    const struct config_migration *config = &setup->config->migration;
    struct hooks_options options = {.base = m->options.base,
                                    .config = config,
                                    .woken = on_woken,
                                    .held = on_held,
                                    .began = on_began,
                                    .gone = on_gone,
                                    .failed = on_failed,
                                    .context = m};
    struct webhooks_options web = {
        .base = m->options.base, .config = config, .failed = on_failed, .context = m};
    int rc = 0;

    if (m->options.base != NULL && config->hooks_len > 0) {
        rc = hooks_create(&options, &setup->hooks);
    }
    if (rc == 0 && m->options.base != NULL && config->webhooks_len > 0) {
        rc = webhooks_create(&web, &setup->webhooks);
    }
    return rc;
}

bool hooked_idle(const struct setup *setup)
{
    return hooks_idle(setup->hooks) && webhooks_idle(setup->webhooks);
}

/* What a hook gets on its standard input; owned by the caller. next: the step that is asked about, 0: none.
 */
static json_t *data_of(const struct migration *m, enum config_hook_event event, uint32_t next,
                       const char *actor, const char *reason)
{
    struct migration_status status;
    char when[32];
    json_t *data;

    migration_read(m, &status);
    clock_format_wall(m->wall_us(m->clock_context), when, sizeof(when));
    data = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o}", "event",
                     hooks_event_name(event), "service", m->options.config->name, "migration", status.id,
                     "phase", migration_phase_name(status.phase), "time", when, "active",
                     migration_group_name(m, status.active), "target", migration_group_name(m, status.target),
                     "share_bp", (json_int_t)status.share_bp, "live_share_bp",
                     (json_int_t)status.live_share_bp, "step", (json_int_t)status.step, "steps",
                     (json_int_t)status.steps, "actor", record_text(actor), "reason", record_text(reason));
    if (data != NULL && next != 0) {
        (void)json_object_set_new(data, "next_step", json_integer(next));
        (void)json_object_set_new(data, "next_share_bp", json_integer(plan_share_bp(m->setup.plan, next)));
    }
    return data;
}

static void tell_web(struct migration *m, enum config_hook_event event, const char *id, const char *reason,
                     const char *text, const json_t *data)
{
    char line[700];
    struct webhooks_event what = {.event = hooks_event_name(event),
                                  .service = m->options.config->name,
                                  .migration = id,
                                  .time = json_string_value(json_object_get(data, "time")),
                                  .text = line,
                                  .data = data};

    snprintf(line, sizeof(line), "%s %s: %s%s%s%s", m->options.config->name, id, text,
             reason[0] != '\0' ? " (" : "", reason, reason[0] != '\0' ? ")" : "");
    webhooks_tell(m->setup.webhooks, &what);
}

static void tell(struct migration *m, enum config_hook_event event, const struct migration_asker *who,
                 const char *text)
{
    const char *reason = who->reason != NULL && who->reason[0] != '\0' ? who->reason : m->why;
    json_t *data = data_of(m, event, 0, who->actor, reason);
    char share[16];
    char id[96];
    struct hooks_context context = {.service = m->options.config->name,
                                    .migration = id,
                                    .phase = migration_phase_name(m->machine.phase),
                                    .share = share,
                                    .reason = reason,
                                    .step = m->machine.step,
                                    .data = data};

    if (data == NULL) {
        on_failed(m, "no memory to run the hooks");
        return;
    }
    units_format_share(m->machine.share_bp, share, sizeof(share));
    narrate_id(m, &m->machine, id, sizeof(id));
    if (m->setup.hooks != NULL) {
        hooks_tell(m->setup.hooks, event, &context);
    }
    if (m->setup.webhooks != NULL) {
        tell_web(m, event, id, reason, text, data);
    }
    json_decref(data);
}

void hooked_tell(struct migration *m, const struct machine *before, enum machine_event event,
                 const struct migration_asker *who, const char *text)
{
    const struct machine *after = &m->machine;

    if ((m->setup.hooks == NULL && m->setup.webhooks == NULL) || event == MACHINE_RESTART) {
        return;
    }
    if (after->number != before->number) {
        tell(m, CONFIG_HOOK_START, who, text);
    }
    if (event == MACHINE_DRAINED && before->phase == MIGRATION_DRAINING) {
        tell(m, CONFIG_HOOK_DRAINED, who, text);
    }
    if (after->phase == before->phase) {
        return;
    }
    if (after->phase == MIGRATION_PAUSED && after->number == before->number) {
        tell(m, CONFIG_HOOK_PAUSE, who, text);
    } else if (after->phase == MIGRATION_ROLLING_BACK) {
        tell(m, CONFIG_HOOK_ROLLBACK, who, text);
    } else if (after->phase == MIGRATION_COMPLETED) {
        tell(m, CONFIG_HOOK_COMPLETED, who, text);
    }
}

/* Whether an event has to be asked about, as which, and which step would follow. */
static bool is_asked(const struct migration *m, enum machine_event event, enum config_hook_event *as,
                     uint32_t *next)
{
    const struct machine *s = &m->machine;

    *next = 0;
    if (event == MACHINE_STEP_DUE && !machine_is_manual(s, &m->setup.rules) &&
        s->step < plan_steps(m->setup.plan)) {
        *as = CONFIG_HOOK_BEFORE_STEP;
        *next = s->by_hand ? plan_step_above(m->setup.plan, s->share_bp) : s->step + 1;
    } else if (event == MACHINE_COMMIT_DUE || (event == MACHINE_DRAINED && s->phase == MIGRATION_DRAINING &&
                                               (!m->setup.rules.commit_manual || s->commit_given))) {
        *as = CONFIG_HOOK_BEFORE_COMMIT;
    } else {
        return false;
    }
    return hooks_has(m->setup.hooks, *as);
}

static enum hooks_answer ask(struct migration *m, enum config_hook_event as, uint32_t next,
                             const char **words)
{
    uint64_t key = (uint64_t)m->machine.number << 32 | (uint64_t)as << 24 | (next + 1);
    json_t *data = data_of(m, as, next, "plan", m->why);
    enum hooks_answer answer;
    char share[16];
    char id[96];
    struct hooks_context context = {.service = m->options.config->name,
                                    .migration = id,
                                    .phase = migration_phase_name(m->machine.phase),
                                    .share = share,
                                    .reason = m->why,
                                    .step = next != 0 ? next : m->machine.step,
                                    .data = data};

    units_format_share(next != 0 ? plan_share_bp(m->setup.plan, next) : m->machine.share_bp, share,
                       sizeof(share));
    narrate_id(m, &m->machine, id, sizeof(id));
    answer = hooks_ask(m->setup.hooks, as, key, &context, words);
    json_decref(data);
    return answer;
}

/* A refusal holds the migration; it is said when it is a new one, and asked again after a while. */
static void take_refusal(struct migration *m, const char *words)
{
    uint64_t now_us = m->clock_us(m->clock_context);
    char text[400];

    if (m->hook_retry_us == 0) {
        m->hook_retry_us = now_us + HOOKED_RETRY_US;
        if (strcmp(m->hook_words, words) != 0) {
            snprintf(m->hook_words, sizeof(m->hook_words), "%s", words);
            snprintf(text, sizeof(text), "holding, refused by %s", words);
            migration_note(m, &hook_asker, text);
        }
    } else if (now_us >= m->hook_retry_us) {
        hooks_drop(m->setup.hooks); /* the next turn asks anew */
        m->hook_retry_us = 0;
    }
}

/* The hooks of the start are not through. */
static bool is_starting(const struct migration *m)
{
    return m->machine.phase == MIGRATION_PREFLIGHT && hooks_are_telling(m->setup.hooks);
}

bool hooked_allows(struct migration *m, enum machine_event event)
{
    enum config_hook_event as;
    const char *words;
    uint32_t next;

    m->hook_held = false;
    if (m->setup.hooks == NULL) {
        return true;
    }
    if (!is_asked(m, event, &as, &next)) {
        hooks_drop(m->setup.hooks);
        m->hook_retry_us = 0;
        m->hook_words[0] = '\0';
        return true;
    }
    if (is_starting(m)) { /* its hooks have the first word */
        m->hook_held = true;
        return false;
    }
    switch (ask(m, as, next, &words)) {
    case HOOKS_PASSED:
        return true;
    case HOOKS_REFUSED:
        take_refusal(m, words);
        m->hook_held = true;
        return false;
    case HOOKS_ASKING:
        m->hook_held = true;
        return false;
    case HOOKS_NONE:
        break;
    }
    return true;
}

bool hooked_waits(const struct migration *m)
{
    const char *words;
    enum hooks_answer answer = m->setup.hooks == NULL ? HOOKS_NONE : hooks_answer(m->setup.hooks, &words);

    return answer == HOOKS_ASKING || answer == HOOKS_REFUSED || is_starting(m);
}

void hooked_narrate(const struct migration *m, char *out, size_t out_size)
{
    bool begins = m->machine.phase == MIGRATION_PREFLIGHT;
    bool ramps = begins || m->machine.phase == MIGRATION_RAMPING;
    const char *words = "";
    char left[32];

    if (strays_any(m->strays)) {
        strays_describe(m->strays, out, out_size);
        return;
    }
    if (hooks_answer(m->setup.hooks, &words) == HOOKS_ASKING) {
        snprintf(out, out_size, "asking the hooks before the %s",
                 begins  ? "first step"
                 : ramps ? "next step"
                         : "commit");
        return;
    }
    if (is_starting(m)) {
        snprintf(out, out_size, "waits for the hooks of its start; `skip %s` does not",
                 m->options.config->name);
        return;
    }
    uint64_t now_us = m->clock_us(m->clock_context);
    clock_format_duration(m->hook_retry_us > now_us ? m->hook_retry_us - now_us : 0, left, sizeof(left));
    snprintf(out, out_size, "holding, refused by %.150s; asked again in %s%s%s%s", words, left,
             ramps ? "; `skip " : "; `abort ", m->options.config->name,
             ramps ? "` does not ask" : "` goes back");
}
