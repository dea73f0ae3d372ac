/* SCRAM-SHA-256: see health/scram_internal.h. Pure; control thread. */
#include "health/scram_internal.h"

#include "core/openssl.h"

#include <stdio.h>
#include <string.h>

/* A mandatory attribute of a server's message. */
struct field {
    const char *text;
    size_t len;
};

void scram_first(struct scram *scram, const uint8_t *nonce, size_t nonce_len, char out[SCRAM_MESSAGE_MAX])
{
    unsigned char text[32];
    (void)EVP_EncodeBlock(text, nonce, (int)(nonce_len < 18 ? nonce_len : 18));
    (void)snprintf(scram->nonce, sizeof(scram->nonce), "%s", (const char *)text);
    /* PostgreSQL takes the name from its own startup message. */
    (void)snprintf(scram->first_bare, sizeof(scram->first_bare), "n=,r=%s", scram->nonce);
    (void)snprintf(out, SCRAM_MESSAGE_MAX, "n,,%s", scram->first_bare);
}

/* "NAME=value" up to the comma, at *at; moves behind it. */
static bool take_field(const char **at, const char *end, char name, struct field *out)
{
    if (end - *at < 2 || (*at)[0] != name || (*at)[1] != '=') {
        return false;
    }
    out->text = *at + 2;
    const char *comma = memchr(out->text, ',', (size_t)(end - out->text));
    out->len = (size_t)((comma != NULL ? comma : end) - out->text);
    *at = comma != NULL ? comma + 1 : end;
    return true;
}

/* At most 4 * (room / 3) characters. Returns the bytes, or -1. */
static int decode_base64(const struct field *field, uint8_t *out, size_t room)
{
    uint8_t bytes[SCRAM_SALT_MAX + 8];
    if (field->len == 0 || field->len % 4 != 0 || field->len / 4 * 3 > sizeof(bytes) ||
        memchr(field->text, '\n', field->len) != NULL || memchr(field->text, ' ', field->len) != NULL) {
        return -1;
    }
    int n = EVP_DecodeBlock(bytes, (const unsigned char *)field->text, (int)field->len);
    if (n < 0) {
        return -1;
    }
    n -= field->text[field->len - 1] == '=';
    n -= field->text[field->len - 2] == '=';
    if (n < 1 || (size_t)n > room) {
        return -1;
    }
    memcpy(out, bytes, (size_t)n);
    return n;
}

static bool parse_rounds(const struct field *field, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < field->len; i++) {
        if (field->text[i] < '0' || field->text[i] > '9') {
            return false;
        }
        *out = *out * 10 + (uint32_t)(field->text[i] - '0');
    }
    return field->len > 0 && field->len <= 9 && *out > 0;
}

static bool hmac(const uint8_t *key, const void *data, size_t len, uint8_t out[SCRAM_KEY_BYTES])
{
    return HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES, data, len, out, NULL) != NULL;
}

/* SaltedPassword := Hi(password, salt, rounds) (RFC 5802, 2.2) */
static bool salt_password(struct scram_memory *memory, const char *password, const uint8_t *salt,
                          size_t salt_len, uint32_t rounds)
{
    if (memory->known && memory->rounds == rounds && memory->salt_len == salt_len &&
        memcmp(memory->salt, salt, salt_len) == 0) {
        return true;
    }
    memory->known = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_len, (int)rounds,
                                      EVP_sha256(), SCRAM_KEY_BYTES, memory->salted) == 1;
    memory->rounds = rounds;
    memory->salt_len = salt_len;
    memcpy(memory->salt, salt, salt_len);
    return memory->known;
}

/* The proof and the signature to expect, over AuthMessage (RFC 5802, 3). */
static bool prove(struct scram *scram, const uint8_t *salted, const char *message, uint8_t *proof)
{
    uint8_t client_key[SCRAM_KEY_BYTES];
    uint8_t stored_key[SCRAM_KEY_BYTES];
    uint8_t server_key[SCRAM_KEY_BYTES];
    uint8_t signature[SCRAM_KEY_BYTES];
    size_t len = strlen(message);
    bool good = hmac(salted, "Client Key", 10, client_key) &&
                EVP_Digest(client_key, sizeof(client_key), stored_key, NULL, EVP_sha256(), NULL) == 1 &&
                hmac(stored_key, message, len, signature) && hmac(salted, "Server Key", 10, server_key) &&
                hmac(server_key, message, len, scram->server_signature);
    for (size_t i = 0; good && i < SCRAM_KEY_BYTES; i++) {
        proof[i] = client_key[i] ^ signature[i];
    }
    return good;
}

int scram_final(struct scram *scram, struct scram_memory *memory, const char *password, const uint8_t *first,
                size_t len, char out[SCRAM_MESSAGE_MAX])
{
    const char *at = (const char *)first;
    const char *end = at + len;
    struct field nonce;
    struct field salt_text;
    struct field rounds_text;
    uint8_t salt[SCRAM_SALT_MAX];
    uint32_t rounds = 0;
    if (len >= SCRAM_MESSAGE_MAX / 2 || memchr(first, '\0', len) != NULL ||
        !take_field(&at, end, 'r', &nonce) || !take_field(&at, end, 's', &salt_text) ||
        !take_field(&at, end, 'i', &rounds_text) || !parse_rounds(&rounds_text, &rounds) ||
        nonce.len <= strlen(scram->nonce) || memcmp(nonce.text, scram->nonce, strlen(scram->nonce)) != 0) {
        return ERR_PARSE;
    }
    int salt_len = decode_base64(&salt_text, salt, sizeof(salt));
    if (salt_len < 0) {
        return ERR_PARSE;
    }
    if (rounds > SCRAM_ROUNDS_MAX) {
        return ERR_LIMIT;
    }
    char bare[SCRAM_MESSAGE_MAX];
    char message[2 * SCRAM_MESSAGE_MAX];
    uint8_t proof[SCRAM_KEY_BYTES];
    unsigned char proof_text[64];
    /* "biws" is "n,,": no channel binding. */
    (void)snprintf(bare, sizeof(bare), "c=biws,r=%.*s", (int)nonce.len, nonce.text);
    (void)snprintf(message, sizeof(message), "%s,%.*s,%s", scram->first_bare, (int)len, (const char *)first,
                   bare);
    if (!salt_password(memory, password, salt, (size_t)salt_len, rounds) ||
        !prove(scram, memory->salted, message, proof)) {
        return ERR_NOMEM;
    }
    (void)EVP_EncodeBlock(proof_text, proof, sizeof(proof));
    int n = snprintf(out, SCRAM_MESSAGE_MAX, "%s,p=%s", bare, (const char *)proof_text);
    return n > 0 && n < (int)SCRAM_MESSAGE_MAX ? 0 : ERR_PARSE;
}

bool scram_verify(const struct scram *scram, const uint8_t *final, size_t len)
{
    const char *at = (const char *) final;
    struct field text;
    uint8_t signature[SCRAM_SALT_MAX];
    return take_field(&at, at + len, 'v', &text) &&
           decode_base64(&text, signature, sizeof(signature)) == (int)SCRAM_KEY_BYTES &&
           CRYPTO_memcmp(signature, scram->server_signature, SCRAM_KEY_BYTES) == 0;
}
