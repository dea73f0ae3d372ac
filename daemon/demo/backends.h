/*
 * The embedded servers of the demo: two that run version 1 and two that run version 2, on free loopback
 * ports. The protocol: a request is a line "GET NUMBER", the answer a line "NUMBER version V"; a connection
 * carries any number of them. All four live on one thread of their own.
 */
#ifndef DAEMON_DEMO_BACKENDS_H
#define DAEMON_DEMO_BACKENDS_H

#include "core/err.h"

#include <stdint.h>

#define DEMO_VERSIONS 2u
#define DEMO_BACKENDS_PER_VERSION 2u

struct demo_backends;

/* Binds, listens and serves. *out is owned by the caller. */
MUST_CHECK int demo_backends_create(struct demo_backends **out, struct err_text *err);
/* Ends the thread, closes everything. NULL is allowed. */
void demo_backends_destroy(struct demo_backends *backends);
/* version: 0 (version 1) or 1 (version 2); index: 0 to DEMO_BACKENDS_PER_VERSION - 1. Host order. */
uint16_t demo_backends_port(const struct demo_backends *backends, unsigned version, unsigned index);
/* Version 2 stops listening, so that connecting to it is refused; open connections go on. Any thread but
 * the backends' own; does not wait; once. */
void demo_backends_break_new(struct demo_backends *backends);

#endif
