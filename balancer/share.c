/*
 * The split between old and new: Bresenham's running sum for connections, a keyed hash for clients. Pure; any
 * thread. Who owns the ticket counter and when it is replaced is the view's matter.
 */
#include "balancer/share.h"

#include <string.h>

uint32_t share_phase_after(uint64_t tickets, uint32_t phase_bp, uint32_t share_bp)
{
    /* The sum modulo 10000 repeats every 10000 tickets, so the product stays small for any ticket. */
    uint64_t sum = (tickets % SHARE_BP_FULL) * share_bp + phase_bp;
    return (uint32_t)(sum % SHARE_BP_FULL);
}

bool share_ticket_to_target(uint64_t ticket, uint32_t phase_bp, uint32_t share_bp)
{
    return share_phase_after(ticket, phase_bp, share_bp) + share_bp >= SHARE_BP_FULL;
}

uint64_t share_client_hash(const struct siphash_key *key, const struct addr_ip *client, unsigned prefix_ipv4,
                           unsigned prefix_ipv6)
{
    struct addr_ip masked = *client;
    addr_ip_mask(&masked, prefix_ipv4, prefix_ipv6);
    uint8_t text[1 + sizeof(masked.bytes)];
    size_t len = masked.family == 4 ? 4 : sizeof(masked.bytes);
    text[0] = masked.family;
    memcpy(text + 1, masked.bytes, len);
    return siphash(key, text, 1 + len);
}

/* Multiply and shift instead of modulo: monotone in the hash, even to one part in 400000. */
static uint32_t place_of(uint64_t hash)
{
    return (uint32_t)(((hash >> 32) * SHARE_BP_FULL) >> 32);
}

uint32_t share_client_place(const struct siphash_key *key, const struct addr_ip *client, unsigned prefix_ipv4,
                            unsigned prefix_ipv6)
{
    return place_of(share_client_hash(key, client, prefix_ipv4, prefix_ipv6));
}

/* Begins with a letter, digit or the like: never what a family's number begins with. */
uint64_t share_name_hash(const struct siphash_key *key, const char *name)
{
    return siphash(key, name, strlen(name));
}

uint32_t share_name_place(const struct siphash_key *key, const char *name)
{
    return place_of(share_name_hash(key, name));
}
