/*
 * A daemon without its data path: configuration, routing, journal and migration of two services as they
 * really are, in a temporary folder, for the tests of the admin room.
 */
#ifndef TESTS_UNIT_ADMIN_SUPPORT_H
#define TESTS_UNIT_ADMIN_SUPPORT_H

#include "admin/admin_internal.h"

#define SUPPORT_SERVICES 2u

struct journal;

struct support {
    char folder[64];
    char socket_path[96];
    struct event_base *base;
    struct config *config;
    struct journal *journal;
    struct events_ring *events;
    struct routing *routing[SUPPORT_SERVICES];
    struct admin_service service[SUPPORT_SERVICES];
    struct admin admin; /* for the dispatcher; has no server */
    struct admin_peer peer;
};

/* Services "api" (groups old with a and b, new with c; holds of an hour) and "web". Asserts that all works.
 */
void support_create(struct support *support);
void support_destroy(struct support *support);
/* As admin_create wants it. */
struct admin_options support_options(struct support *support);

/* Runs a line through the dispatcher. The reply is the caller's (free). */
char *support_run(struct support *support, const char *line);
/* Runs a line and asserts that the reply begins with text. */
void support_expect(struct support *support, const char *line, const char *begin);

#endif
