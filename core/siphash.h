/* SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash of short inputs. Pure; any thread. */
#ifndef CORE_SIPHASH_H
#define CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

/* A key from any text: the same text gives the same key on every machine. */
void siphash_key_from_text(struct siphash_key *key, const char *text);
uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

#endif
