/*
 * Kills a migration at every write of its journal, with a real SIGKILL in a real process, and starts it
 * again: before the record is written, when half of it is, and when it is on disk. Checks that it never comes
 * back further than the last whole record, and prints a table (Markdown) of what was in force and what came
 * back. Exit 1 when a promise did not hold.
 */
#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log.h"
#include "core/units.h"
#include "migration/journal_internal.h"
#include "migration/machine.h"
#include "tests/sim/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MINUTE (60 * CLOCK_US_PER_S)
#define OLD 0u
#define NEW 1u

/* What the child last saw in force, in memory that outlives it. */
struct seen {
    enum migration_phase phase;
    uint32_t share_bp, active;
};

static struct seen *shared;
static const struct migration_asker operator_asker = {.actor = "operator:sim", .reason = ""};

static void look(struct world *w)
{
    struct migration_status status;

    migration_read(w->migration, &status);
    *shared = (struct seen){status.phase, routing_share_bp(w->routing), routing_active(w->routing)};
}

static void good(struct world *w, int rc)
{
    if (rc != 0) {
        fprintf(stderr, "kill_points: a command of the story was refused\n");
        _exit(70);
    }
    look(w);
}

static void wait_until(struct world *w, unsigned minute)
{
    world_run_to(w, CLOCK_US_PER_S + minute * MINUTE);
    look(w);
}

/* Every phase on the way to the end, with a pause, a share by hand, and connections that stay for a while. */
static void story_completed(struct world *w)
{
    good(w, migration_start(w->migration, "new", 0, false, &operator_asker, NULL));
    wait_until(w, 6); /* at 25 % */
    good(w, migration_pause(w->migration, &operator_asker, NULL));
    wait_until(w, 8);
    good(w, migration_resume(w->migration, &operator_asker, NULL));
    good(w, migration_share(w->migration, 6000, &operator_asker, NULL));
    world_open(w, OLD, 2);
    good(w, migration_resume(w->migration, &operator_asker, NULL)); /* to 100 % */
    wait_until(w, 20);                                              /* draining */
    world_close(w, OLD, 2);
    wait_until(w, 21); /* awaiting commit */
    good(w, migration_commit(w->migration, &operator_asker, NULL));
}

static void story_rolled_back(struct world *w)
{
    good(w, migration_start(w->migration, "new", 0, false, &operator_asker, NULL));
    wait_until(w, 6);
    world_open(w, NEW, 2);
    good(w, migration_abort(w->migration, &operator_asker, NULL));
    wait_until(w, 20); /* past the deadline of the drain */
}

static void story_back_from_the_end(struct world *w)
{
    good(w, migration_share(w->migration, 10000, &operator_asker, NULL));
    good(w, migration_commit(w->migration, &operator_asker, NULL));
    good(w, migration_start(w->migration, "old", 9000, false, &operator_asker, NULL));
    wait_until(w, 11); /* old is drained, waits for the commit */
    good(w, migration_abort(w->migration, &operator_asker, NULL));
}

/* The first step is asked about, the others are skipped to; out of the drain and into it again. */
static void story_asked(struct world *w)
{
    good(w, migration_start(w->migration, "new", 0, false, &operator_asker, NULL));
    world_open(w, OLD, 2);
    good(w, migration_skip(w->migration, &operator_asker, NULL));
    good(w, migration_skip(w->migration, &operator_asker, NULL));
    good(w, migration_skip(w->migration, &operator_asker, NULL)); /* draining */
    good(w, migration_pause(w->migration, &operator_asker, NULL));
    good(w, migration_resume(w->migration, &operator_asker, NULL)); /* draining again */
    good(w, migration_share(w->migration, 5000, &operator_asker, NULL));
    good(w, migration_share(w->migration, 2000, &operator_asker, NULL));
    good(w, migration_resume(w->migration, &operator_asker, NULL)); /* asked, then 25 % */
    good(w, migration_abort(w->migration, &operator_asker, NULL));
}

/* A rollback part by part, its rest at once. */
static void story_falls(struct world *w)
{
    good(w, migration_share(w->migration, 8000, &operator_asker, NULL));
    good(w, migration_abort(w->migration, &operator_asker, NULL));
    wait_until(w, 3);
    good(w, migration_abort(w->migration, &operator_asker, NULL));
}

static void asks(struct world *w)
{
    w->asks = true;
}

static void falls(struct world *w)
{
    w->config.migration.rollback.shape = CONFIG_BACK_LINEAR;
    w->config.migration.rollback.over_us = 10 * MINUTE;
}

static const struct {
    const char *name;
    void (*play)(struct world *w);
    void (*prepare)(struct world *w); /* NULL: nothing */
} stories[] = {{"to the end", story_completed, NULL},
               {"rolled back", story_rolled_back, NULL},
               {"over and back", story_back_from_the_end, NULL},
               {"asked and skipped", story_asked, asks},
               {"falls in parts", story_falls, falls}};

static const struct {
    const char *name, *failpoint;
    unsigned passes, first; /* of the failpoint: per record, and the one of the first record */
    bool record_counts;
} points[] = {{"before it", "journal-append", 1, 1, false},
              {"halfway", "journal-half", 2, 1, false},
              {"after it", "journal-done", 1, 1, true}};

static void make_world(struct world *w, unsigned story)
{
    static const struct config_step steps[] = {{.share_bp = 100, .hold_us = 5 * MINUTE},
                                               {.share_bp = 2500, .hold_us = 10 * MINUTE},
                                               {.share_bp = 10000, .hold_us = 10 * MINUTE}};

    world_init(w);
    memcpy(w->steps, steps, sizeof(steps));
    w->config.migration.present = true;
    w->config.migration.steps_len = 3;
    w->config.migration.commit = CONFIG_COMMIT_MANUAL;
    w->before_turn = look;
    if (stories[story].prepare != NULL) {
        stories[story].prepare(w);
    }
}

/* Plays a story in a process of its own; true when it was killed on the way. */
static bool play(struct world *w, unsigned story, const char *failpoint)
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        if (world_boot(w, NULL) != 0 || failpoint_set(failpoint, NULL) != 0) {
            _exit(71);
        }
        look(w);
        stories[story].play(w);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || (WIFEXITED(status) && WEXITSTATUS(status) != 0)) {
        fprintf(stderr, "kill_points: the story \"%s\" could not be played\n", stories[story].name);
        exit(70);
    }
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* The records that a journal file holds, progress included. */
static struct journal_records read_records(const struct world *w)
{
    struct journal_records records = {0};
    char path[128];
    static char line[JOURNAL_LINE_MAX];
    FILE *in;

    snprintf(path, sizeof(path), "%s/journal", w->dir);
    in = fopen(path, "re");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
        size_t len = strlen(line);
        json_t *record = line[len - 1] == '\n' ? journal_line_decode(line, len - 1) : NULL;

        if (record != NULL && json_object_get(record, "phase") != NULL &&
            journal_records_add(&records, record) != 0) {
            exit(71);
        }
        json_decref(record);
    }
    if (in != NULL) {
        fclose(in);
    }
    return records;
}

static const char *text_of(const json_t *record, const char *key)
{
    return record == NULL ? "idle" : json_string_value(json_object_get(record, key));
}

static uint32_t share_of(const json_t *record)
{
    return record == NULL ? 0 : (uint32_t)json_integer_value(json_object_get(record, "share_bp"));
}

static void describe(const char *phase, uint32_t share_bp, const char *active, char *out, size_t out_size)
{
    char share[16];

    units_format_share(share_bp, share, sizeof(share));
    if (strcmp(phase, "idle") == 0 || strcmp(phase, "completed") == 0 || strcmp(phase, "rolled-back") == 0) {
        snprintf(out, out_size, "%s, all on %s", phase, active);
    } else {
        snprintf(out, out_size, "%s %s", phase, share);
    }
}

/* Starts the daemon again in this process. False when it came back with what no whole record says. */
static bool come_back(struct world *w, const json_t *durable, char *out, size_t out_size)
{
    struct migration_status status;
    const char *phase;
    bool kept;

    if (world_boot(w, NULL) != 0) {
        snprintf(out, out_size, "did not start");
        return false;
    }
    migration_read(w->migration, &status);
    phase = migration_phase_name(status.phase);
    describe(phase, status.share_bp, w->groups[status.active].name, out, out_size);
    kept = strcmp(phase, text_of(durable, "phase")) == 0 && status.share_bp == share_of(durable) &&
           (!machine_is_open(&(struct machine){.phase = status.phase}) ||
            routing_share_bp(w->routing) == share_of(durable)) &&
           (durable == NULL ||
            strcmp(w->groups[routing_active(w->routing)].name, text_of(durable, "active")) == 0);
    world_stop(w, true);
    return kept;
}

/* One kill: at the nth record of a story, at a point of its writing. */
static bool kill_at(unsigned story, unsigned n, unsigned point, const struct journal_records *whole)
{
    const json_t *written = whole->list[n - 1];
    const json_t *durable = points[point].record_counts ? written : n >= 2 ? whole->list[n - 2] : NULL;
    bool is_state = strcmp(text_of(written, "kind"), "state") == 0;
    char failpoint[64];
    char before[64];
    char record[64];
    char after[64];
    struct world w;
    bool kept;

    make_world(&w, story);
    snprintf(failpoint, sizeof(failpoint), "%s:%u:kill", points[point].failpoint,
             (n - 1) * points[point].passes + points[point].first);
    kept = play(&w, story, failpoint);
    describe(migration_phase_name(shared->phase), shared->share_bp, w.groups[shared->active].name, before,
             sizeof(before));
    describe(text_of(written, "phase"), share_of(written), text_of(written, "active"), record,
             sizeof(record));
    kept = come_back(&w, durable, after, sizeof(after)) && kept;
    if (is_state || !kept) {
        printf("| %s | %s | %s: %s | %s | %s |%s\n", stories[story].name, before, text_of(written, "event"),
               record, points[point].name, after, kept ? "" : " BROKEN");
    }
    world_destroy(&w);
    return kept;
}

int main(void)
{
    unsigned kills = 0;
    bool all_kept = true;

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return 71;
    }
    log_set_level(LOG_LEVEL_ERROR);
    printf("| story | in force before | record being written | killed | came back with "
           "|\n|---|---|---|---|---|\n");
    for (unsigned story = 0; story < sizeof(stories) / sizeof(stories[0]); story++) {
        struct journal_records whole;
        struct world w;

        make_world(&w, story);
        if (play(&w, story, NULL)) {
            return 70;
        }
        whole = read_records(&w);
        world_destroy(&w);
        for (unsigned n = 1; n <= whole.len; n++) {
            for (unsigned point = 0; point < sizeof(points) / sizeof(points[0]); point++) {
                all_kept = kill_at(story, n, point, &whole) && all_kept;
                kills++;
            }
        }
        all_kept = all_kept && whole.len >= 6;
        journal_records_clear(&whole);
    }
    printf("\n%u kills, %s\n", kills,
           all_kept ? "each came back with exactly what its last whole record says" : "PROMISES WERE BROKEN");
    return all_kept ? 0 : 1;
}
