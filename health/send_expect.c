/*
 * The send/expect probe: what to say and what must come back, step by step, as the operator wrote it. Pure;
 * control thread.
 */
#include "health/script_internal.h"

#include "core/bytes.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX 4096u /* as the settings allow */

struct state {
    size_t step;
};

static const struct config_health_step *step_at(const struct script_run *run, size_t index)
{
    return &run->params.config->send_expect.steps[index];
}

/* Says what the steps say until one expects something. True when none is left. */
static bool go_on(struct script_run *run)
{
    struct state *state = run->state;
    uint8_t bytes[TEXT_MAX];
    for (; state->step < run->params.config->send_expect.steps_len; state->step++) {
        const struct config_health_step *step = step_at(run, state->step);
        size_t len = 0;
        if (step->send != NULL && bytes_unescape(step->send, bytes, sizeof(bytes), &len) == 0) {
            script_send(run, bytes, len);
        }
        if (step->expect != NULL) {
            return false;
        }
    }
    return true;
}

static void begin(struct script_run *run)
{
    (void)go_on(run);
}

/* Bytes before what is expected are passed over; it may be cut anywhere. */
static enum script_verdict step(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used)
{
    struct state *state = run->state;
    size_t steps = run->params.config->send_expect.steps_len;
    if (state->step >= steps) {
        return script_pass(run, "said all of %zu steps", steps);
    }
    uint8_t bytes[TEXT_MAX];
    size_t wanted = 0;
    if (bytes_unescape(step_at(run, state->step)->expect, bytes, sizeof(bytes), &wanted) != 0) {
        return script_fail(run, "step %zu cannot be read", state->step + 1);
    }
    const uint8_t *found = memmem(data, len, bytes, wanted);
    if (found != NULL) {
        *used = (size_t)(found - data) + wanted;
        state->step++;
        return go_on(run) ? script_pass(run, "as expected in %zu of %zu steps", steps, steps) : SCRIPT_MORE;
    }
    if (eof || len >= SCRIPT_REPLY_MAX) {
        char what[48];
        (void)snprintf(what, sizeof(what), "not what step %zu expects", state->step + 1);
        return len > 0 ? script_fail_quoting(run, what, data, len)
                       : script_fail(run, "closed before step %zu was answered", state->step + 1);
    }
    return SCRIPT_MORE;
}

const struct script script_send_expect = {
    .type = CONFIG_HEALTH_SEND_EXPECT, .state_size = sizeof(struct state), .begin = begin, .step = step};
