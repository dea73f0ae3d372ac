/*
 * Where a connection goes by the name of the server that its client asks for, which is read from the TLS
 * ClientHello without taking part in TLS: to a group of the service, to another service, or nowhere. Runs on
 * the connection's worker; the routes are made once, on the control thread.
 */
#ifndef PROXY_PASSTHROUGH_H
#define PROXY_PASSTHROUGH_H

#include "core/err.h"

#include <stdint.h>

struct config_service;
struct conn;
struct passthrough;
struct routing;

/* Copies what it needs of config. *out is NULL when the service does not look at names. ERR_NOMEM. */
MUST_CHECK int passthrough_create(const struct config_service *config, struct passthrough **out,
                                  struct err_text *err);
/* Finds the groups that routes name, in routing. Before the first connection goes by it. */
void passthrough_resolve(struct passthrough *routes, const struct routing *routing);
/* NULL is allowed. */
void passthrough_destroy(struct passthrough *routes);

/* The client was let in: reads its ClientHello where the service looks at names, then goes on. May close. */
void passthrough_begin(struct conn *conn, uint64_t now_us);
/* CLIENT_HELLO: the client's socket has news; or the time is over. */
void passthrough_go_on(struct conn *conn, uint64_t now_us);
void passthrough_on_timeout(struct conn *conn, uint64_t now_us);

#endif
