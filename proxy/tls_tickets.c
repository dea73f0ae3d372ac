/* The ring of ticket keys: see proxy/tls_tickets.h. Who rotates it, and when: proxy/handshake.c.
 */
#include "proxy/tls_tickets.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC_LEN 4u

struct ticket_key {
    unsigned char name[16], cipher[32], mac[32];
};

static const uint8_t magic[MAGIC_LEN] = {'S', 'T', 'K', '1'}; /* of an export */

/* Immutable once it is in force. */
struct ring {
    size_t len;
    struct ticket_key key[TLS_TICKETS_KEYS]; /* newest first */
};

struct tls_tickets {
    _Atomic(struct ring *) ring; /* owned */
    EVP_CIPHER *cipher;          /* owned */
    void (*retire)(void *context, void *ptr, void (*destroy)(void *ptr));
    void *context;
};

static void ring_free(void *ring)
{
    OPENSSL_cleanse(ring, sizeof(struct ring));
    free(ring);
}

static void put_in_force(struct tls_tickets *tickets, struct ring *ring)
{
    struct ring *before = atomic_exchange(&tickets->ring, ring);
    if (before == NULL) {
        return;
    }
    if (tickets->retire != NULL) {
        tickets->retire(tickets->context, before, ring_free);
    } else {
        ring_free(before);
    }
}

int tls_tickets_rotate(struct tls_tickets *tickets)
{
    const struct ring *before = atomic_load(&tickets->ring);
    struct ring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL) {
        return ERR_NOMEM;
    }
    if (RAND_priv_bytes((unsigned char *)&ring->key[0], sizeof(ring->key[0])) != 1) {
        ERR_clear_error();
        free(ring);
        return ERR_SYSTEM;
    }
    ring->len = 1;
    for (size_t i = 0; before != NULL && i < before->len && ring->len < TLS_TICKETS_KEYS; i++) {
        ring->key[ring->len++] = before->key[i];
    }
    put_in_force(tickets, ring);
    return 0;
}

int tls_tickets_create(void (*retire)(void *context, void *ptr, void (*destroy)(void *ptr)), void *context,
                       struct tls_tickets **out, struct err_text *err)
{
    struct tls_tickets *tickets = calloc(1, sizeof(*tickets));
    if (tickets == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for TLS");
    }
    tickets->retire = retire;
    tickets->context = context;
    tickets->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    int rc = tickets->cipher != NULL ? tls_tickets_rotate(tickets) : ERR_NOMEM;
    if (rc != 0) {
        tls_tickets_destroy(tickets);
        return err_set(err, rc, "no keys for TLS sessions: %s", err_describe(rc));
    }
    *out = tickets;
    return 0;
}

void tls_tickets_destroy(struct tls_tickets *tickets)
{
    if (tickets == NULL) {
        return;
    }
    struct ring *ring = atomic_load(&tickets->ring);
    if (ring != NULL) {
        ring_free(ring);
    }
    EVP_CIPHER_free(tickets->cipher);
    free(tickets);
}

size_t tls_tickets_export(const struct tls_tickets *tickets, uint8_t *out)
{
    const struct ring *ring = atomic_load(&tickets->ring);
    memcpy(out, magic, sizeof(magic));
    memcpy(out + MAGIC_LEN, ring->key, ring->len * sizeof(ring->key[0]));
    return MAGIC_LEN + ring->len * sizeof(ring->key[0]);
}

int tls_tickets_import(struct tls_tickets *tickets, const uint8_t *bytes, size_t len)
{
    size_t n = len >= MAGIC_LEN ? (len - MAGIC_LEN) / sizeof(struct ticket_key) : 0;
    if (n == 0 || n > TLS_TICKETS_KEYS || len != MAGIC_LEN + n * sizeof(struct ticket_key) ||
        memcmp(bytes, magic, sizeof(magic)) != 0) {
        return ERR_PARSE;
    }
    struct ring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL) {
        return ERR_NOMEM;
    }
    ring->len = n;
    memcpy(ring->key, bytes + MAGIC_LEN, n * sizeof(struct ticket_key));
    put_in_force(tickets, ring);
    return 0;
}

static bool set_mac(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
    unsigned char copy[sizeof(key->mac)]; /* parameters are not const */
    char digest[] = "SHA256";
    memcpy(copy, key->mac, sizeof(copy));
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, copy, sizeof(copy)),
                           OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    bool good = EVP_MAC_CTX_set_params(mac, params) == 1;
    OPENSSL_cleanse(copy, sizeof(copy));
    return good;
}

int tls_tickets_use(struct tls_tickets *tickets, unsigned char name[16], unsigned char *iv,
                    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool encrypt)
{
    const struct ring *ring = atomic_load_explicit(&tickets->ring, memory_order_acquire);
    size_t at = 0;
    while (!encrypt && at < ring->len && memcmp(ring->key[at].name, name, sizeof(ring->key[at].name)) != 0) {
        at++;
    }
    if (at == ring->len) {
        return 0;
    }
    const struct ticket_key *key = &ring->key[at];
    if (!set_mac(mac, key)) {
        return -1;
    }
    if (!encrypt) {
        return EVP_DecryptInit_ex2(cipher, tickets->cipher, key->cipher, iv, NULL) != 1 ? -1
               : at == 0                                                                ? 1
                                                                                        : 2;
    }
    memcpy(name, key->name, sizeof(key->name));
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(tickets->cipher)) != 1 ||
        EVP_EncryptInit_ex2(cipher, tickets->cipher, key->cipher, iv, NULL) != 1) {
        return -1;
    }
    return 1;
}
