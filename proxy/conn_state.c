/*
 * Answers for which state of a connection may follow which, and what bounds the stay in each. One table,
 * nothing else: entering a state and arming its deadline is done in conn.c. Pure; any thread.
 */
#include "proxy/conn_state.h"

#define CONN_BIT(name) (1u << CONN_##name)

struct conn_state_rule {
    const char *name;
    unsigned successors;
    enum conn_deadline deadline;
};

static const struct conn_state_rule rules[CONN_STATE_COUNT] = {
#define CONN_RULE(name, text, successors, deadline) {text, successors, CONN_DEADLINE_##deadline},
    CONN_STATES(CONN_RULE)
#undef CONN_RULE
};

const char *conn_state_name(enum conn_state state)
{
    return rules[state].name;
}

bool conn_state_may_follow(enum conn_state from, enum conn_state to)
{
    if (to == CONN_CLOSED) {
        return from != CONN_CLOSED;
    }
    return (rules[from].successors & (1u << to)) != 0;
}

enum conn_deadline conn_state_deadline(enum conn_state state)
{
    return rules[state].deadline;
}
