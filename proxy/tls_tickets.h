/*
 * The keys of session tickets (RFC 5077 4): one ring for the whole program. The newest key encrypts, all
 * decrypt, so that a ticket outlives a change of keys. Changed on the control thread; workers read a ring
 * without locks, and what is replaced is freed when none of them can still do so.
 */
#ifndef PROXY_TLS_TICKETS_H
#define PROXY_TLS_TICKETS_H

#include "core/err.h"
#include "core/openssl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_TICKETS_KEYS 3u        /* kept: the newest, and those of two changes ago at most */
#define TLS_TICKETS_BYTES_MAX 512u /* of an export */

struct tls_tickets;

/* retire(context, ptr, destroy): as worker_pool_retire; NULL: at once (tests with one thread). With one
 * random key. ERR_NOMEM, ERR_SYSTEM (no randomness). */
MUST_CHECK int tls_tickets_create(void (*retire)(void *context, void *ptr, void (*destroy)(void *ptr)),
                                  void *context, struct tls_tickets **out, struct err_text *err);
/* No worker uses it any more. NULL is allowed. */
void tls_tickets_destroy(struct tls_tickets *tickets);
/* A new key from now on; the oldest goes. ERR_NOMEM, ERR_SYSTEM: all stays. Control thread. */
MUST_CHECK int tls_tickets_rotate(struct tls_tickets *tickets);

/* All keys as bytes, for another process of ours: secret. Returns the length, at most TLS_TICKETS_BYTES_MAX,
 * which is what out must have room for. Control thread. */
size_t tls_tickets_export(const struct tls_tickets *tickets, uint8_t *out);
/* Takes the keys of an export in place of its own. ERR_PARSE: these are none, all stays; ERR_NOMEM. */
MUST_CHECK int tls_tickets_import(struct tls_tickets *tickets, const uint8_t *bytes, size_t len);

/* For a ticket that is made (name and iv are filled) or that came back: sets up the contexts. 1: done. 2:
 * done, and the client should get a new ticket. 0: not a key of ours. Below 0: failed. Any thread. */
int tls_tickets_use(struct tls_tickets *tickets, unsigned char name[16], unsigned char *iv,
                    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool encrypt);

#endif
