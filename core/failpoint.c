/*
 * Failpoints: parses the setting once, counts passes, answers. Any thread; the counters are atomic, the list
 * never changes after it was read (except through failpoint_set, which tests call while they are alone).
 * What a failure means at a place is up to that place.
 */
#include "core/failpoint.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAILPOINTS_MAX 8
#define FAILPOINT_KILL (-1)
#define FAILPOINT_STOP (-2)

struct failpoint_entry {
    char name[32];
    unsigned long from, to; /* passes, from 1, both included */
    int what;               /* errno or FAILPOINT_KILL */
    atomic_ulong passes;
};

static const struct {
    const char *name;
    int what;
} outcomes[] = {{"kill", FAILPOINT_KILL},
                {"abort", FAILPOINT_KILL},
                {"stop", FAILPOINT_STOP},
                {"enospc", ENOSPC},
                {"eio", EIO},
                {"enomem", ENOMEM},
                {"emfile", EMFILE},
                {"eagain", EAGAIN},
                {"eintr", EINTR}};

static struct failpoint_entry entries[FAILPOINTS_MAX];
static size_t entries_len;
static atomic_bool any;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool parse_when(const char *text, struct failpoint_entry *entry)
{
    char *end;

    if (*text < '1' || *text > '9') {
        return false;
    }
    entry->from = strtoul(text, &end, 10);
    entry->to = entry->from;
    if (*end == '+') {
        entry->to = (unsigned long)-1;
        end++;
    } else if (*end == '-') {
        entry->to = strtoul(end + 1, &end, 10);
    }
    return *end == '\0' && entry->to >= entry->from;
}

/* word: "NAME:WHEN:WHAT", modified. */
static bool parse_one(char *word, struct failpoint_entry *entry)
{
    char *when = strchr(word, ':');
    char *what = when == NULL ? NULL : strchr(when + 1, ':');

    if (what == NULL || (size_t)(when - word) >= sizeof(entry->name) || when == word) {
        return false;
    }
    *when++ = '\0';
    *what++ = '\0';
    snprintf(entry->name, sizeof(entry->name), "%s", word);
    if (!parse_when(when, entry)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        if (strcmp(what, outcomes[i].name) == 0) {
            entry->what = outcomes[i].what;
            return true;
        }
    }
    return false;
}

static int parse_all(const char *text, struct err_text *err)
{
    char copy[512];
    char *save = NULL;

    atomic_store_explicit(&any, false, memory_order_relaxed);
    entries_len = 0;
    if (text == NULL || *text == '\0') {
        return 0;
    }
    if (strlen(text) >= sizeof(copy)) {
        return err_set(err, ERR_PARSE, "failpoints: the text is too long");
    }
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *word = strtok_r(copy, ",", &save); word != NULL; word = strtok_r(NULL, ",", &save)) {
        if (entries_len == FAILPOINTS_MAX || !parse_one(word, &entries[entries_len])) {
            entries_len = 0;
            return err_set(err, ERR_PARSE, "failpoints: want at most %d of NAME:WHEN:WHAT, got \"%s\"",
                           FAILPOINTS_MAX, text);
        }
        atomic_store_explicit(&entries[entries_len++].passes, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&any, entries_len > 0, memory_order_relaxed);
    return 0;
}

static void read_environment(void)
{
    struct err_text err;

    /* A typing error in a test's setting must not look like a test that passed. */
    if (parse_all(getenv("SHUNT_FAILPOINT"), &err) != 0) {
        fprintf(stderr, "SHUNT_FAILPOINT: %s\n", err.text);
        abort();
    }
}

bool failpoint_any(void)
{
    pthread_once(&once, read_environment);
    return atomic_load_explicit(&any, memory_order_relaxed);
}

int failpoint(const char *name)
{
    if (!failpoint_any()) {
        return 0;
    }
    for (size_t i = 0; i < entries_len; i++) {
        struct failpoint_entry *entry = &entries[i];
        unsigned long pass;

        if (strcmp(entry->name, name) != 0) {
            continue;
        }
        pass = atomic_fetch_add_explicit(&entry->passes, 1, memory_order_relaxed) + 1;
        if (pass < entry->from || pass > entry->to) {
            continue;
        }
        if (entry->what == FAILPOINT_STOP) {
            kill(getpid(), SIGSTOP);
            return 0;
        }
        if (entry->what == FAILPOINT_KILL) {
            kill(getpid(), SIGKILL);
        }
        return entry->what;
    }
    return 0;
}

int failpoint_set(const char *text, struct err_text *err)
{
    pthread_once(&once, read_environment);
    return parse_all(text, err);
}
