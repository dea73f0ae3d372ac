/*
 * The addresses behind one host name, as answers come and go: which are there, which are held although the
 * last answers lacked them, which drain, and when to ask again. Pure: time is an argument, no socket, no
 * routing. One thread at a time.
 *
 *     answer has it          PRESENT ◀──────────────┐ answer has it
 *     answer lacks it        PRESENT ──▶ HELD ──▶ LEAVING ──▶ removed by the owner, when nothing is open
 *     failure, or no address     nothing changes
 */
#ifndef HEALTH_NAME_SET_H
#define HEALTH_NAME_SET_H

#include "core/addr.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_SET_REASON_MAX 96u
/* Those that drain keep their place: at most so many times the addresses that may be present. */
#define NAME_SET_PLACES 4u

enum name_place { NAME_PRESENT, NAME_HELD, NAME_LEAVING };
/* PARTLY: one family was told, the other could not be. */
enum name_outcome { NAME_UNKNOWN, NAME_GOOD, NAME_PARTLY, NAME_EMPTY, NAME_FAILED };

struct name_rules {
    uint64_t min_ttl_us, max_ttl_us; /* between two questions */
    uint64_t hold_us;                /* an address that answers lack serves so much longer */
    uint32_t max;                    /* addresses that may be present */
};

/* What was heard; everything borrowed for the call. */
struct name_answer {
    const struct addr *addresses; /* with the port; repeats are allowed */
    size_t len;
    uint64_t ttl_us;
    bool failed_ipv4, failed_ipv6; /* asked for, and nobody could say */
    const char *reason;            /* why, where something failed or nothing was there; never NULL */
};

struct name_member {
    struct addr address;
    enum name_place place;
    uint64_t absent_us; /* since when answers lack it; HELD */
};

struct name_set {
    struct name_member *members; /* owned; in no order that means something, but a stable one */
    size_t len;
    enum name_outcome outcome; /* of the last answer */
    bool ever;                 /* some answer had addresses */
    uint64_t asked_us;         /* when the last answer came */
    uint64_t good_us;          /* when the last one with addresses came; 0: never */
    uint64_t due_us;           /* when to ask again */
    uint64_t failures;         /* in a row, EMPTY ones too */
    size_t left_out;           /* addresses of the last good answer beyond the rule's max */
    char reason[NAME_SET_REASON_MAX];
};

/* What an answer did. */
struct name_change {
    size_t added, returned, leaving;
    bool outcome; /* differs from that of the answer before */
    bool left_out;
};

void name_set_init(struct name_set *set);
void name_set_clear(struct name_set *set);
/* ERR_NOMEM: to is empty. */
MUST_CHECK int name_set_copy(struct name_set *to, const struct name_set *from);

/*
 * Takes an answer into account. now_us: monotonic. Where there are more addresses than may be present, those
 * that are there stay, then the lowest come in: so every order of the same records leads to the same set.
 * ERR_NOMEM: nothing changed but due_us.
 */
MUST_CHECK int name_set_take(struct name_set *set, const struct name_rules *rules,
                             const struct name_answer *answer, uint64_t now_us, struct name_change *change);
/* Forgets a member; those behind it move up. */
void name_set_remove(struct name_set *set, size_t index);
/* Members in a place. */
size_t name_set_count(const struct name_set *set, enum name_place place);
/* "ok", "partly", "empty", "failed", "unknown". */
const char *name_outcome_name(enum name_outcome outcome);

#endif
