/*
 * Webhooks: an event as JSON to an HTTP server, in the form of CloudEvents 1.0 or as a chat tool takes it.
 * Sent beside everything else, tried again with growing pauses, given up after a number of tries. Control
 * thread.
 */
#ifndef MIGRATION_WEBHOOKS_H
#define MIGRATION_WEBHOOKS_H

#include "core/config.h"
#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>

struct event_base;
struct webhooks;

struct webhooks_options {
    struct event_base *base; /* borrowed, as is config */
    const struct config_migration *config;
    /* One was given up, or could not be sent. */
    void (*failed)(void *context, const char *words);
    void *context;
};

/* What is told; borrowed for the call. */
struct webhooks_event {
    const char *event;     /* "rollback" */
    const char *service;   /* "web" */
    const char *migration; /* "web-1" */
    const char *time;      /* RFC 3339 */
    const char *text;      /* one line for people */
    const json_t *data;
};

MUST_CHECK int webhooks_create(const struct webhooks_options *options, struct webhooks **out);
/* Gives up what is under way. NULL is allowed. */
void webhooks_destroy(struct webhooks *webhooks);
/* Nothing is under way; also with NULL. */
bool webhooks_idle(const struct webhooks *webhooks);
/* Sends to every webhook that wants events of this name. Returns at once. */
void webhooks_tell(struct webhooks *webhooks, const struct webhooks_event *event);

#endif
