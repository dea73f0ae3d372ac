/*
 * The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. Pure but for OpenSSL's
 * digests; control thread.
 */
#ifndef HEALTH_SCRAM_INTERNAL_H
#define HEALTH_SCRAM_INTERNAL_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRAM_KEY_BYTES 32u
#define SCRAM_MESSAGE_MAX 512u
#define SCRAM_SALT_MAX 64u
/* A server that asks for more rounds would hold up the thread. */
#define SCRAM_ROUNDS_MAX 100000u

/* Kept from one exchange to the next, so that the rounds are done only when the server's salt changes. */
struct scram_memory {
    bool known;
    uint32_t rounds;
    size_t salt_len;
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t salted[SCRAM_KEY_BYTES];
};

struct scram {
    char nonce[32];      /* ours, as text */
    char first_bare[64]; /* client-first-message-bare */
    uint8_t server_signature[SCRAM_KEY_BYTES];
};

/* Writes the client's first message. nonce: random bytes, at most 18. */
void scram_first(struct scram *scram, const uint8_t *nonce, size_t nonce_len, char out[SCRAM_MESSAGE_MAX]);
/* Answers the server's first message (len bytes). ERR_PARSE; ERR_LIMIT (too many rounds); ERR_NOMEM. */
MUST_CHECK int scram_final(struct scram *scram, struct scram_memory *memory, const char *password,
                           const uint8_t *first, size_t len, char out[SCRAM_MESSAGE_MAX]);
/* Whether the server's last message proves that it knows the password, too. */
bool scram_verify(const struct scram *scram, const uint8_t *final, size_t len);

#endif
