/*
 * The probe by a command: exit status 0 passes. How a command is run, killed at the timeout with all its
 * children, and never left a zombie is core/process.c's; here stands what it is told and what its end means.
 * Never blocks. Control thread.
 */
#include "core/clock.h"
#include "core/process.h"
#include "health/probe_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENVIRONMENT_MAX 8u

struct probe {
    struct probe_spec spec;
    struct process *process; /* the command; NULL: none */
    bool lingers;            /* it was killed and is not gone: its result is told */
    struct event *timer;     /* owned; what ended within start */
    bool ended_in_start;
    enum probe_outcome outcome;
    char reason[PROBE_REASON_MAX];
};

/* Last: the callee may start or destroy the probe. */
static void report(const struct probe *probe, enum probe_outcome outcome, const char *reason)
{
    const struct probe_result result = {.outcome = outcome, .reason = reason};
    probe->spec.done(probe->spec.context, &result);
}

static void on_ended(void *context, const struct process_result *ended)
{
    struct probe *probe = context;
    size_t len = strlen(ended->output);
    if (!ended->lives) {
        probe->process = NULL;
    }
    probe->lingers = ended->lives;
    if (probe->spec.trace != NULL && len > 0) {
        probe->spec.trace(probe->spec.context, PROBE_TRACED_RECEIVED, ended->output, len);
    }
    bool shortage = ended->error == EAGAIN || (ended->error != 0 && probe_is_shortage(ended->error));
    report(probe, ended->passed ? PROBE_PASSED : shortage ? PROBE_SKIPPED : PROBE_FAILED, ended->words);
}

static void on_gone(void *context)
{
    struct probe *probe = context;
    probe->process = NULL;
    probe->lingers = false;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct probe *probe = arg;
    (void)fd;
    (void)what;
    char reason[PROBE_REASON_MAX];
    (void)snprintf(reason, sizeof(reason), "%s", probe->reason);
    probe->ended_in_start = false;
    report(probe, probe->outcome, reason);
}

/* ---- starting */

struct environment {
    char text[ENVIRONMENT_MAX][512];
    char *list[ENVIRONMENT_MAX + 1];
};

static void put(struct environment *environment, unsigned *n, const char *name, const char *value)
{
    (void)snprintf(environment->text[*n], sizeof(environment->text[0]), "%s=%s", name, value);
    environment->list[*n] = environment->text[*n];
    environment->list[++*n] = NULL;
}

static void fill_environment(const struct probe *probe, struct environment *environment)
{
    const struct probe_spec *spec = &probe->spec;
    char address[ADDR_TEXT_MAX];
    char port[8];
    unsigned n = 0;
    const char *path = getenv("PATH");
    addr_format(&spec->address, address, sizeof(address));
    if (!addr_is_unix(&spec->address)) {
        /* The host alone: what stands before the last colon, without brackets. */
        *strrchr(address, ':') = '\0';
        size_t len = strlen(address);
        if (address[0] == '[' && address[len - 1] == ']') {
            memmove(address, address + 1, len - 2);
            address[len - 2] = '\0';
        }
    }
    (void)snprintf(port, sizeof(port), "%u",
                   addr_is_unix(&spec->address) ? 0u : (unsigned)addr_port(&spec->address));
    put(environment, &n, "PATH", path != NULL ? path : "/usr/local/bin:/usr/bin:/bin");
    put(environment, &n, "SHUNT_SERVICE", spec->service);
    put(environment, &n, "SHUNT_GROUP", spec->group);
    put(environment, &n, "SHUNT_BACKEND", spec->backend);
    put(environment, &n, "SHUNT_ADDRESS", address);
    put(environment, &n, "SHUNT_PORT", port);
}

/* ERR_NOMEM, ERR_SYSTEM. */
static int launch(struct probe *probe)
{
    const struct config_health *config = probe->spec.means->config;
    struct environment environment;
    char **arguments = calloc(config->exec.command_len + 1, sizeof(char *));
    if (arguments == NULL) {
        return ERR_NOMEM;
    }
    memcpy((void *)arguments, (void *)config->exec.command, config->exec.command_len * sizeof(char *));
    fill_environment(probe, &environment);
    const struct process_spec spec = {.base = probe->spec.base,
                                      .arguments = arguments,
                                      .environment = environment.list,
                                      .timeout_us = probe->spec.timeout_us,
                                      .done = on_ended,
                                      .gone = on_gone,
                                      .context = probe};
    int rc = process_start(&spec, &probe->process);
    free((void *)arguments);
    return rc;
}

static void end_in_start(struct probe *probe, enum probe_outcome outcome, const char *reason)
{
    probe->outcome = outcome;
    (void)snprintf(probe->reason, sizeof(probe->reason), "%s", reason);
    probe->ended_in_start = true;
    event_active(probe->timer, EV_TIMEOUT, 0);
}

static void start(struct probe *probe)
{
    assert(!probe->ended_in_start && (probe->process == NULL || probe->lingers));
    if (probe->lingers) { /* one a check would soon be many */
        end_in_start(probe, PROBE_FAILED, "the last command cannot be killed");
    } else if (launch(probe) != 0) {
        probe->process = NULL;
        end_in_start(probe, PROBE_SKIPPED, "no descriptors or memory to run the command");
    }
}

static void destroy(struct probe *probe)
{
    if (probe->process != NULL) {
        process_cancel(probe->process);
    }
    if (probe->timer != NULL) {
        event_free(probe->timer);
    }
    free(probe);
}

static int create(const struct probe_spec *spec, struct probe **out)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    if (probe == NULL) {
        return ERR_NOMEM;
    }
    probe->spec = *spec;
    probe->timer = evtimer_new(spec->base, on_timer, probe);
    if (probe->timer == NULL) {
        destroy(probe);
        return ERR_NOMEM;
    }
    *out = probe;
    return 0;
}

const struct probe_type probe_exec = {.create = create, .start = start, .destroy = destroy};
