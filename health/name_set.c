/*
 * Answers for what follows from an answer about a host name: a failure or an answer without addresses changes
 * nothing, an address that is new comes in, one that is missing is held for a while and then drains. Pure.
 * Asking is health/lookup.c's, backends are made of it by daemon/names.c.
 */
#include "health/name_set.h"

#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* However long the least time between questions is: after a failure somebody waits for it to end. */
#define RETRY_MAX_US (30 * CLOCK_US_PER_S)

void name_set_init(struct name_set *set)
{
    *set = (struct name_set){.len = 0};
}

void name_set_clear(struct name_set *set)
{
    free(set->members);
    name_set_init(set);
}

int name_set_copy(struct name_set *to, const struct name_set *from)
{
    struct name_member *members = calloc(from->len + 1, sizeof(*members));
    name_set_init(to);
    if (members == NULL) {
        return ERR_NOMEM;
    }
    if (from->len > 0) {
        memcpy(members, from->members, from->len * sizeof(*members));
    }
    *to = *from;
    to->members = members;
    return 0;
}

void name_set_remove(struct name_set *set, size_t index)
{
    set->len--;
    memmove(&set->members[index], &set->members[index + 1], (set->len - index) * sizeof(set->members[0]));
}

size_t name_set_count(const struct name_set *set, enum name_place place)
{
    size_t n = 0;
    for (size_t i = 0; i < set->len; i++) {
        n += set->members[i].place == place;
    }
    return n;
}

const char *name_outcome_name(enum name_outcome outcome)
{
    static const char *const names[] = {"unknown", "ok", "partly", "empty", "failed"};
    return names[outcome];
}

/* IPv4 first, then by the bytes of the address. */
static int compare(const void *a, const void *b)
{
    const struct addr *left = a;
    const struct addr *right = b;
    if (left->sa.sa_family != right->sa.sa_family) {
        return left->sa.sa_family == AF_INET ? -1 : 1;
    }
    return left->sa.sa_family == AF_INET
               ? memcmp(&left->in.sin_addr, &right->in.sin_addr, sizeof(left->in.sin_addr))
               : memcmp(&left->in6.sin6_addr, &right->in6.sin6_addr, sizeof(left->in6.sin6_addr));
}

static uint64_t retry_us(const struct name_rules *rules)
{
    return rules->min_ttl_us < RETRY_MAX_US ? rules->min_ttl_us : RETRY_MAX_US;
}

static void note_outcome(struct name_set *set, enum name_outcome outcome, const char *reason,
                         struct name_change *change)
{
    change->outcome = set->outcome != outcome;
    set->outcome = outcome;
    set->failures = outcome == NAME_EMPTY || outcome == NAME_FAILED ? set->failures + 1 : 0;
    (void)snprintf(set->reason, sizeof(set->reason), "%s", outcome == NAME_GOOD ? "" : reason);
}

static bool family_failed(const struct name_answer *answer, const struct addr *address)
{
    return address->sa.sa_family == AF_INET ? answer->failed_ipv4 : answer->failed_ipv6;
}

/* Members that the answer has are present; those that it lacks are held, then leave. sorted loses nothing:
 * taken[i] says that a member stands for sorted[i]. */
static void match(struct name_set *set, const struct name_rules *rules, const struct name_answer *answer,
                  const struct addr *sorted, size_t len, bool *taken, uint64_t now_us,
                  struct name_change *change)
{
    for (size_t m = 0; m < set->len; m++) {
        struct name_member *member = &set->members[m];
        const struct addr *found =
            len > 0 ? bsearch(&member->address, sorted, len, sizeof(*sorted), compare) : NULL;
        if (found != NULL) {
            taken[found - sorted] = true;
            change->returned += member->place == NAME_LEAVING;
            member->place = NAME_PRESENT;
        } else if (family_failed(answer, &member->address) || member->place == NAME_LEAVING) {
            continue;
        } else if (member->place == NAME_PRESENT) {
            member->place = NAME_HELD;
            member->absent_us = now_us;
        }
        if (member->place == NAME_HELD && now_us - member->absent_us >= rules->hold_us) {
            member->place = NAME_LEAVING;
            change->leaving++;
        }
    }
}

/* What may come in, lowest first. The room for it was made by the caller. */
static void add_new(struct name_set *set, const struct name_rules *rules, const struct addr *sorted,
                    size_t len, const bool *taken, struct name_change *change)
{
    size_t present = name_set_count(set, NAME_PRESENT);
    size_t left_out = 0;
    for (size_t i = 0; i < len; i++) {
        if (taken[i]) {
            continue;
        }
        if (present == rules->max || set->len >= (size_t)rules->max * NAME_SET_PLACES) {
            left_out++;
            continue;
        }
        set->members[set->len++] = (struct name_member){.address = sorted[i], .place = NAME_PRESENT};
        present++;
        change->added++;
    }
    change->left_out = left_out > 0 && set->left_out == 0;
    set->left_out = left_out;
}

/* The addresses in order and without repeats; NULL without memory. */
static struct addr *sort(const struct name_answer *answer, size_t *len)
{
    struct addr *sorted = calloc(answer->len, sizeof(*sorted));
    if (sorted == NULL) {
        return NULL;
    }
    memcpy(sorted, answer->addresses, answer->len * sizeof(*sorted));
    qsort(sorted, answer->len, sizeof(*sorted), compare);
    *len = 1;
    for (size_t i = 1; i < answer->len; i++) {
        if (compare(&sorted[i], &sorted[*len - 1]) != 0) {
            sorted[(*len)++] = sorted[i];
        }
    }
    return sorted;
}

static int take_addresses(struct name_set *set, const struct name_rules *rules,
                          const struct name_answer *answer, uint64_t now_us, struct name_change *change)
{
    size_t len = 0;
    struct addr *sorted = sort(answer, &len);
    bool *taken = calloc(answer->len, sizeof(*taken));
    size_t room = set->len + (len < rules->max ? len : rules->max);
    struct name_member *members = realloc(set->members, room * sizeof(*members));
    if (members != NULL) {
        set->members = members;
    }
    int rc = sorted != NULL && taken != NULL && members != NULL ? 0 : ERR_NOMEM;
    if (rc == 0) {
        match(set, rules, answer, sorted, len, taken, now_us, change);
        add_new(set, rules, sorted, len, taken, change);
    }
    free(taken);
    free(sorted);
    return rc;
}

/* By the time to live, sooner where a family is missing or the time of a held address is over before. */
static uint64_t next_us(const struct name_set *set, const struct name_rules *rules, uint64_t ttl_us,
                        uint64_t now_us)
{
    uint64_t wait_us = ttl_us < rules->max_ttl_us ? ttl_us : rules->max_ttl_us;
    wait_us = wait_us > rules->min_ttl_us ? wait_us : rules->min_ttl_us;
    if (set->outcome == NAME_PARTLY && wait_us > retry_us(rules)) {
        wait_us = retry_us(rules);
    }
    uint64_t due_us = now_us + wait_us;
    for (size_t i = 0; i < set->len; i++) {
        const struct name_member *member = &set->members[i];
        if (member->place == NAME_HELD && member->absent_us + rules->hold_us < due_us) {
            due_us = member->absent_us + rules->hold_us;
        }
    }
    return due_us;
}

int name_set_take(struct name_set *set, const struct name_rules *rules, const struct name_answer *answer,
                  uint64_t now_us, struct name_change *change)
{
    *change = (struct name_change){.added = 0};
    set->due_us = now_us + retry_us(rules);
    bool failed = answer->failed_ipv4 || answer->failed_ipv6;
    if (answer->len == 0) {
        note_outcome(set, failed ? NAME_FAILED : NAME_EMPTY, answer->reason, change);
        set->asked_us = now_us;
        return 0;
    }
    int rc = take_addresses(set, rules, answer, now_us, change);
    if (rc != 0) {
        return rc;
    }
    note_outcome(set, failed ? NAME_PARTLY : NAME_GOOD, answer->reason, change);
    set->ever = true;
    set->asked_us = now_us;
    set->good_us = now_us;
    set->due_us = next_us(set, rules, answer->ttl_us, now_us);
    return 0;
}
