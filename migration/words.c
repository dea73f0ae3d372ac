/*
 * Who set what of a backend, when and why: the last word of operators on its weight, its state and what is
 * forced, kept by name, so that it outlives reloads; the journal brings it back after a restart. Control
 * thread.
 */
#include "migration/migration_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 100000u /* backends that came and went leave theirs behind */

struct word {
    char group[ROUTING_NAME_MAX], backend[ROUTING_NAME_MAX];
    enum migration_word_kind kind;
    uint64_t wall_us;
    char actor[64];
    char reason[256];
};

static const char *const kinds[] = {
    [MIGRATION_WORD_WEIGHT] = "weight", [MIGRATION_WORD_ADMIN] = "admin", [MIGRATION_WORD_FORCED] = "forced"};

bool words_kind(const char *text, enum migration_word_kind *out)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i], text) == 0) {
            *out = (enum migration_word_kind)i;
            return true;
        }
    }
    return false;
}

static struct word *find(const struct migration *m, const struct backend *backend,
                         enum migration_word_kind kind)
{
    const char *group = migration_group_name(m, backend_group(backend));

    for (size_t i = 0; i < m->words.len; i++) {
        struct word *word = &m->words.list[i];

        if (word->kind == kind && strcmp(word->backend, backend_name(backend)) == 0 &&
            strcmp(word->group, group) == 0) {
            return word;
        }
    }
    return NULL;
}

static struct word *add(struct words *words)
{
    if (words->len == words->room) {
        size_t room = words->room > 0 ? 2 * words->room : 8;
        struct word *more = words->len < WORDS_MAX ? realloc(words->list, room * sizeof(*more)) : NULL;

        if (more == NULL) {
            return NULL; /* what is set counts, only nobody can be named for it */
        }
        words->list = more;
        words->room = room;
    }
    return &words->list[words->len++];
}

void words_keep(struct migration *m, const struct backend *backend, enum migration_word_kind kind,
                uint64_t wall_us, const struct migration_asker *who)
{
    struct word *word = find(m, backend, kind);

    if (word == NULL) {
        word = add(&m->words);
    }
    if (word == NULL) {
        return;
    }
    *word = (struct word){.kind = kind, .wall_us = wall_us};
    snprintf(word->group, sizeof(word->group), "%s", migration_group_name(m, backend_group(backend)));
    snprintf(word->backend, sizeof(word->backend), "%s", backend_name(backend));
    snprintf(word->actor, sizeof(word->actor), "%s", who->actor != NULL ? who->actor : "");
    snprintf(word->reason, sizeof(word->reason), "%s", who->reason != NULL ? who->reason : "");
}

bool migration_word(const struct migration *m, const struct backend *backend, enum migration_word_kind kind,
                    struct migration_word *out)
{
    const struct word *word = find(m, backend, kind);

    if (word == NULL) {
        return false;
    }
    *out = (struct migration_word){.wall_us = word->wall_us, .actor = word->actor, .reason = word->reason};
    return true;
}

void words_clear(struct migration *m)
{
    free(m->words.list);
    m->words = (struct words){0};
}
