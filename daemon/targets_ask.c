/*
 * Asks for all the names of a configuration at once, within one time limit: from a loop that others use too
 * (a reload), or from one of its own before there are threads (a start, a check). What follows from the
 * answers is daemon/targets.c's.
 */
#include "core/clock.h"
#include "daemon/targets.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARALLEL 64u
#define LISTEN_MAX 64u /* addresses of one name that are listened on */

struct question {
    struct targets_questions *questions;
    struct names_host *host; /* borrowed */
    struct lookup *lookup;   /* NULL: over */
};

struct targets_questions {
    const struct config_resolve *resolve; /* borrowed */
    struct event *timer;                  /* owned; the time limit, then the end */
    size_t left;
    void (*done)(void *context);
    void *context;
    size_t len;
    struct question list[];
};

static void take(struct targets_questions *questions, struct names_host *host,
                 const struct name_answer *answer)
{
    const struct config_resolve *resolve = questions->resolve;
    struct name_change change;
    const struct name_rules rules = {.min_ttl_us = resolve->min_ttl_us,
                                     .max_ttl_us = resolve->max_ttl_us,
                                     .hold_us = resolve->hold_us,
                                     .max =
                                         host->group == TARGETS_LISTEN ? LISTEN_MAX : resolve->max_addresses};
    int rc = name_set_take(&host->set, &rules, answer, clock_mono_us(), &change);
    if (rc != 0) {
        const struct name_answer none = {.failed_ipv4 = true, .failed_ipv6 = true, .reason = "out of memory"};
        rc = name_set_take(&host->set, &rules, &none, clock_mono_us(), &change);
    }
    assert(rc == 0); /* an answer without addresses needs no memory */
}

static void on_answer(void *context, const struct name_answer *answer)
{
    struct question *question = context;
    struct targets_questions *questions = question->questions;
    question->lookup = NULL;
    take(questions, question->host, answer);
    if (--questions->left == 0) {
        event_active(questions->timer, EV_TIMEOUT, 0);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct targets_questions *questions = context;
    char timeout[32];
    char reason[NAME_SET_REASON_MAX];
    (void)fd;
    (void)what;
    clock_format_duration(questions->resolve->timeout_us, timeout, sizeof(timeout));
    (void)snprintf(reason, sizeof(reason), "no answer within %s", timeout);
    const struct name_answer none = {.failed_ipv4 = true, .failed_ipv6 = true, .reason = reason};
    for (size_t i = 0; i < questions->len; i++) {
        if (questions->list[i].lookup != NULL) {
            lookup_cancel(questions->list[i].lookup);
            questions->list[i].lookup = NULL;
            take(questions, questions->list[i].host, &none);
        }
    }
    questions->done(questions->context);
}

static bool is_known(const struct names_host *host)
{
    return host->set.outcome != NAME_UNKNOWN;
}

static size_t count_unknown(const struct targets *targets)
{
    size_t n = 0;
    for (size_t s = 0; s < targets->services_len; s++) {
        for (size_t h = 0; h < targets->services[s].hosts_len; h++) {
            n += !is_known(&targets->services[s].hosts[h]);
        }
    }
    return n;
}

bool targets_are_known(const struct targets *targets)
{
    return count_unknown(targets) == 0;
}

static int ask(struct targets_questions *questions, struct resolver *resolver, struct names_host *host)
{
    struct question *question = &questions->list[questions->len];
    question->questions = questions;
    question->host = host;
    int rc = lookup_start(resolver, questions->resolve, host->host, host->port, on_answer, question,
                          &question->lookup);
    if (rc == 0) {
        questions->len++;
        questions->left++;
    }
    return rc;
}

int targets_ask(struct targets *targets, struct event_base *base, struct resolver *resolver,
                void (*done)(void *context), void *context, struct targets_questions **out)
{
    size_t room = count_unknown(targets);
    struct targets_questions *questions = calloc(1, sizeof(*questions) + room * sizeof(questions->list[0]));
    if (questions == NULL) {
        return ERR_NOMEM;
    }
    questions->resolve = &targets->config->resolve;
    questions->done = done;
    questions->context = context;
    questions->timer = evtimer_new(base, on_timer, questions);
    uint64_t wait_us = room > 0 ? questions->resolve->timeout_us : 0;
    const struct timeval wait = {.tv_sec = (time_t)(wait_us / CLOCK_US_PER_S),
                                 .tv_usec = (suseconds_t)(wait_us % CLOCK_US_PER_S)};
    int rc = questions->timer != NULL && evtimer_add(questions->timer, &wait) == 0 ? 0 : ERR_NOMEM;
    for (size_t s = 0; s < targets->services_len; s++) {
        for (size_t h = 0; rc == 0 && h < targets->services[s].hosts_len; h++) {
            struct names_host *host = &targets->services[s].hosts[h];
            rc = is_known(host) ? 0 : ask(questions, resolver, host);
        }
    }
    if (rc != 0) {
        targets_unask(questions);
        return rc;
    }
    *out = questions;
    return 0;
}

void targets_unask(struct targets_questions *questions)
{
    for (size_t i = 0; questions != NULL && i < questions->len; i++) {
        if (questions->list[i].lookup != NULL) {
            lookup_cancel(questions->list[i].lookup);
        }
    }
    if (questions != NULL && questions->timer != NULL) {
        event_free(questions->timer);
    }
    free(questions);
}

/* ---- waiting */

static void on_all(void *context)
{
    (void)event_base_loopbreak(context);
}

static int wait_for_names(struct targets *targets)
{
    struct targets_questions *questions = NULL;
    struct resolver *resolver = NULL;
    struct event_base *base = event_base_new();
    int rc = base != NULL ? resolver_create(base, PARALLEL, &resolver) : ERR_NOMEM;
    if (rc == 0) {
        rc = targets_ask(targets, base, resolver, on_all, base, &questions);
    }
    if (rc == 0) {
        (void)event_base_dispatch(base);
        rc = targets_are_known(targets) ? 0 : ERR_SYSTEM; /* the loop itself failed */
    }
    targets_unask(questions);
    resolver_destroy(resolver);
    if (base != NULL) {
        event_base_free(base);
    }
    return rc;
}

int targets_resolve(const struct config *config, enum targets_purpose purpose, struct targets **out,
                    struct config_errors *errors)
{
    struct targets *targets = NULL;
    int rc = targets_begin(config, &targets, errors);
    if (rc == 0 && !targets_are_known(targets)) {
        rc = wait_for_names(targets);
    }
    if (rc == 0) {
        rc = targets_finish(targets, purpose, errors);
    }
    if (rc != 0) {
        targets_destroy(targets);
        return rc;
    }
    *out = targets;
    return 0;
}
