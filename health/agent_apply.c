/*
 * What follows from an agent's line: state, weight in percent of the configured one, drain and maint, a limit
 * of connections, each beside what the operator set and never in its place. An agent that does not answer
 * changes nothing. Control thread.
 */
#include "health/health_internal.h"

#include "core/clock.h"

#include <stdio.h>

static void tell(const struct check *check, enum events_severity severity, const char *reason,
                 const char *text)
{
    const struct health *health = check->health;
    events_add(health->events, clock_wall_us(), severity, routing_service(health->routing), "health", "agent",
               reason, "%s/%s %s", routing_group_name(health->routing, backend_group(check->backend)),
               backend_name(check->backend), text);
}

static void tell_silence(struct check *check, const struct probe_result *result)
{
    bool silent = result->agent == NULL;
    if (silent != check->agent_silent) {
        tell(check, silent ? EVENTS_WARN : EVENTS_INFO, result->reason,
             silent ? "agent gives no answer: its state stays as it is" : "agent answers again");
    }
    check->agent_silent = silent;
}

/* True when the state changed. */
static bool apply_state(struct check *check, const struct agent_report *agent)
{
    enum backend_state state = agent->state == AGENT_STATE_UP ? BACKEND_UP : BACKEND_DOWN;
    if (agent->state == AGENT_STATE_SAME || check->verdict.state == state) {
        return false;
    }
    check->verdict.state = state;
    routing_set_state(check->health->routing, check->backend, state);
    tell(check, state == BACKEND_UP ? EVENTS_INFO : EVENTS_WARN, agent->reason, backend_state_name(state));
    return true;
}

static bool apply_rest(struct check *check, const struct agent_report *agent)
{
    static const enum backend_admin admins[] = {[AGENT_ADMIN_READY] = BACKEND_READY,
                                                [AGENT_ADMIN_DRAIN] = BACKEND_DRAIN,
                                                [AGENT_ADMIN_MAINT] = BACKEND_MAINT};
    enum backend_admin admin = agent->admin == AGENT_ADMIN_SAME ? check->agent_admin : admins[agent->admin];
    uint32_t weight = agent->weight_given ? agent->weight_percent : check->agent_weight;
    if (admin == check->agent_admin && weight == check->agent_weight) {
        return false;
    }
    char text[64];
    check->agent_admin = admin;
    check->agent_weight = weight;
    routing_set_agent(check->health->routing, check->backend, admin, weight);
    (void)snprintf(text, sizeof(text), "%s at %u%% of its weight, says its agent", backend_admin_name(admin),
                   weight);
    tell(check, EVENTS_INFO, agent->reason, text);
    return true;
}

/* "maxconn:30": of this and the operator's limit the lower one counts; "maxconn:0" takes it back. */
static bool apply_limit(const struct check *check, const struct agent_report *agent)
{
    uint32_t before = backend_limit_effective(check->backend);
    if (!agent->limit_given || agent->limit == backend_agent_limit(check->backend)) {
        return false;
    }
    routing_set_agent_limit(check->health->routing, check->backend, agent->limit);
    uint32_t now = backend_limit_effective(check->backend);
    char text[96];
    if (agent->limit == 0) {
        (void)snprintf(text, sizeof(text), "agent sets no limit of connections any more");
    } else {
        (void)snprintf(text, sizeof(text), "%u connections at most, says its agent%s", agent->limit,
                       now == agent->limit ? "" : "; the configured limit is lower and stays");
    }
    tell(check, EVENTS_INFO, agent->reason, text);
    return now != before;
}

void health_apply_agent(struct check *check, const struct probe_result *result)
{
    tell_silence(check, result);
    if (result->agent == NULL) {
        return;
    }
    bool state = apply_state(check, result->agent);
    bool rest = apply_rest(check, result->agent);
    bool limit = apply_limit(check, result->agent);
    if (state || rest || limit) {
        event_active(check->health->publish_event, EV_TIMEOUT, 0);
    }
}
