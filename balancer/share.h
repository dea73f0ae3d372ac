/*
 * The split between old and new, as pure arithmetic: which connection belongs to the target at a given share.
 * By connection it is exact and without dice, by client it is sticky and monotone. Any thread.
 */
#ifndef BALANCER_SHARE_H
#define BALANCER_SHARE_H

#include "core/addr.h"
#include "core/siphash.h"

#include <stdbool.h>
#include <stdint.h>

#define SHARE_BP_FULL 10000u

/*
 * By connection. Connections draw tickets 0, 1, 2 … from one counter that all workers share. Ticket k goes to
 * the target when the running sum phase + k * share passes a multiple of 10000 (Bresenham's line, 1965).
 * After any n tickets the target has had floor(n * share) or ceil(n * share) of them, whatever the phase.
 * ticket: any value, no overflow; phase_bp: 0 to 9999; share_bp: 0 to 10000.
 */
bool share_ticket_to_target(uint64_t ticket, uint32_t phase_bp, uint32_t share_bp);

/*
 * Where the running sum stands after `tickets` tickets (0 to 9999): the phase to start with when the share
 * changes, so that a ramp of many small steps with few connections each still gives the target its due.
 */
uint32_t share_phase_after(uint64_t tickets, uint32_t phase_bp, uint32_t share_bp);

/*
 * By client. The place of a client on the scale from 0 to 9999: a keyed hash of its address behind the
 * prefix; the port does not count. The client belongs to the target when its place is below the share, so
 * raising the share only moves clients to the target. Prefixes: 0 to 32 and 0 to 128 bits. client->family
 * must not be 0.
 */
uint32_t share_client_place(const struct siphash_key *key, const struct addr_ip *client, unsigned prefix_ipv4,
                            unsigned prefix_ipv6);

/* The same by the name of a server, in small letters; its hash is what share_name_place scales. */
uint32_t share_name_place(const struct siphash_key *key, const char *name);
uint64_t share_name_hash(const struct siphash_key *key, const char *name);

/* A keyed hash of a client's address behind the prefix; what share_client_place scales. */
uint64_t share_client_hash(const struct siphash_key *key, const struct addr_ip *client, unsigned prefix_ipv4,
                           unsigned prefix_ipv6);

#endif
