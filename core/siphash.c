/*
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012). Pure; any thread.
 * What is hashed, and in which byte order, is the caller's contract.
 */
#include "core/siphash.h"

#include <endian.h>
#include <string.h>

struct sip_state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64u - bits));
}

static void sip_rounds(struct sip_state *s, unsigned n)
{
    while (n--) {
        s->v0 += s->v1;
        s->v1 = rotate_left(s->v1, 13) ^ s->v0;
        s->v0 = rotate_left(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate_left(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate_left(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate_left(s->v1, 17) ^ s->v2;
        s->v2 = rotate_left(s->v2, 32);
    }
}

static void sip_word(struct sip_state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_rounds(s, 2);
    s->v0 ^= word;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len)
{
    struct sip_state s = {
        key->k0 ^ UINT64_C(0x736f6d6570736575),
        key->k1 ^ UINT64_C(0x646f72616e646f6d),
        key->k0 ^ UINT64_C(0x6c7967656e657261),
        key->k1 ^ UINT64_C(0x7465646279746573),
    };
    const unsigned char *p = data;
    size_t left = len;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        sip_word(&s, le64toh(word));
    }
    /* The last word: the rest of the input and the length's low byte on top. */
    uint64_t last = (uint64_t)(len & 0xff) << 56;
    for (size_t i = 0; i < left; i++) {
        last |= (uint64_t)p[i] << (8 * i);
    }
    sip_word(&s, last);
    s.v2 ^= 0xff;
    sip_rounds(&s, 4);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* Two hashes of the text under two fixed keys, which mean nothing but must never change. */
void siphash_key_from_text(struct siphash_key *key, const char *text)
{
    static const struct siphash_key first = {UINT64_C(0x7368756e742e6b30), 1};
    static const struct siphash_key second = {UINT64_C(0x7368756e742e6b31), 2};
    size_t len = strlen(text);
    key->k0 = siphash(&first, text, len);
    key->k1 = siphash(&second, text, len);
}
