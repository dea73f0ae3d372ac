/*
 * Answers for the order of events in the demo and for the words. It only does what an operator could do: it
 * sends commands to the admin socket and looks at the status; the one exception is switching off the new
 * backends for --break. Main thread, which blocks a tenth of a second at a time.
 */
#include "daemon/demo/story.h"

#include "core/clock.h"
#include "core/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STORY_LOOK_US (100 * CLOCK_US_PER_MS)
#define STORY_BEFORE_S 2.0  /* the old version alone */
#define STORY_BROKEN_S 3.5  /* how long the operator watches the broken new version */
#define STORY_AFTER_S 1.5   /* the new version alone */
#define STORY_PATIENCE_S 30 /* on top of twice the planned time, for anything to come */
#define STORY_BREAK_AT_BP 5000u

typedef bool story_condition(const struct story *story);

static const struct {
    uint32_t share_bp;
    const char *text;
} share_sentences[] = {
    {500, "Step 1: one new connection in twenty goes to version 2, so that a bad version would hurt few."},
    {2500, "Step 2: a quarter of the new connections; those already open stay where they are."},
    {5000,
     "Step 3: half and half. The live share lags behind, since long-lived connections move only when they "
     "renew."},
    {10000, "Step 4: every new connection goes to version 2; version 1 keeps only what is still open."},
};

static const struct {
    const char *phase;
    enum screen_tone tone;
    const char *text;
} phase_sentences[] = {
    {"draining", SCREEN_PLAIN,
     "Drain: the last connections on version 1 may finish; those that stay too long are closed, and their "
     "clients "
     "come back on version 2."},
    {"completed", SCREEN_GOOD,
     "Completed: version 2 is the active group now, and version 1 can be switched off."},
    {"rolling-back", SCREEN_PLAIN,
     "Rolling back: new connections go to version 1 again, at once; those open on version 2 may finish."},
    {"rolled-back", SCREEN_GOOD, "Rolled back: everybody is on version 1, as if nothing had happened."},
};

static bool phase_is(const struct story *story, const char *phase)
{
    return strcmp(story->status.phase, phase) == 0;
}

/* Locales without UTF-8 get the arrows of the events in ASCII. */
static void to_ascii(const char *text, char *out, size_t size)
{
    size_t n = 0;
    while (*text != '\0' && n + 3 < size) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x80) {
            out[n++] = *text++;
            continue;
        }
        if (strncmp(text, "→", strlen("→")) == 0) {
            out[n++] = '-';
            out[n++] = '>';
        } else {
            out[n++] = '?';
        }
        do {
            text++;
        } while (((unsigned char)*text & 0xC0u) == 0x80u);
    }
    out[n] = '\0';
}

static void on_event(void *context, const char *kind, const char *text, const char *severity)
{
    struct story *story = context;
    char plain[512];
    bool routine = strcmp(kind, "health") == 0 || strcmp(kind, "start") == 0;
    if (routine && strcmp(severity, "info") == 0) {
        return; /* every check that passed for the first time: of no interest here */
    }
    to_ascii(text, plain, sizeof(plain));
    screen_say(story->screen, SCREEN_FAINT, "         event  %-9s %s", kind,
               story->screen->unicode ? text : plain);
}

static void narrate(struct story *story)
{
    uint64_t now_us = clock_mono_us();
    if (story->status.share_bp != story->told_share_bp) {
        story->told_share_bp = story->status.share_bp;
        for (size_t i = 0; i < sizeof(share_sentences) / sizeof(*share_sentences); i++) {
            if (share_sentences[i].share_bp == story->status.share_bp && phase_is(story, "ramping")) {
                screen_tell(story->screen, now_us, SCREEN_PLAIN, share_sentences[i].text);
            }
        }
    }
    if (strcmp(story->status.phase, story->told_phase) != 0) {
        snprintf(story->told_phase, sizeof(story->told_phase), "%s", story->status.phase);
        for (size_t i = 0; i < sizeof(phase_sentences) / sizeof(*phase_sentences); i++) {
            if (phase_is(story, phase_sentences[i].phase)) {
                screen_tell(story->screen, now_us, phase_sentences[i].tone, phase_sentences[i].text);
            }
        }
    }
}

/* Looks at everything, shows it, and rests a moment. ERR_STATE when a signal asks to end. */
static int turn(struct story *story, struct err_text *err)
{
    const struct timespec rest = {.tv_nsec = STORY_LOOK_US * 1000};
    if (sigtimedwait(story->signals, NULL, &rest) > 0) {
        story->interrupted = true;
        return err_set(err, ERR_STATE, "interrupted");
    }
    int rc = demo_operator_status(story->admin, &story->status, err);
    if (rc == 0) {
        rc = demo_operator_events(story->admin, &story->events_seen, on_event, story, err);
    }
    if (rc != 0) {
        return rc;
    }
    demo_clients_read(story->clients, &story->seen);
    narrate(story);
    screen_show(story->screen, clock_mono_us(), &story->status, &story->seen);
    return 0;
}

static int watch_for(struct story *story, double seconds, struct err_text *err)
{
    uint64_t until_us = clock_mono_us() + (uint64_t)(seconds * story->pace * (double)CLOCK_US_PER_S);
    int rc = 0;
    while (rc == 0 && clock_mono_us() < until_us) {
        rc = turn(story, err);
    }
    return rc;
}

/* what: ends the sentence "waited in vain for …". */
static int watch_until(struct story *story, story_condition *condition, const char *what,
                       struct err_text *err)
{
    uint64_t patience_us = (uint64_t)((40.0 * story->pace + STORY_PATIENCE_S) * (double)CLOCK_US_PER_S);
    uint64_t until_us = clock_mono_us() + patience_us;
    int rc = 0;
    while (rc == 0 && !condition(story)) {
        if (clock_mono_us() > until_us) {
            return err_set(err, ERR_TIMEOUT, "waited in vain for %s (phase %s, share %u bp, %s)", what,
                           story->status.phase, story->status.share_bp, story->status.reason);
        }
        rc = turn(story, err);
    }
    return rc;
}

/* Types a command and shows it and the reply. */
static int command(struct story *story, const char *text, struct err_text *err)
{
    char *reply = NULL;
    screen_say(story->screen, SCREEN_STRONG, "       $ shuntctl %s", text);
    int rc = demo_operator_command(story->admin, text, &reply, err);
    if (rc != 0) {
        return rc;
    }
    char *rest = reply;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (line[0] != '\0') {
            char plain[512];
            to_ascii(line, plain, sizeof(plain));
            screen_say(story->screen, SCREEN_FAINT, "         %s", story->screen->unicode ? line : plain);
        }
    }
    free(reply);
    return 0;
}

static bool is_served(const struct story *story)
{
    return story->seen.operations > 0 && story->status.group[0].usable == DEMO_BACKENDS_PER_VERSION &&
           story->status.group[1].usable == DEMO_BACKENDS_PER_VERSION;
}

static bool is_at_break(const struct story *story)
{
    return story->status.share_bp == STORY_BREAK_AT_BP && story->seen.version[1].operations > 0;
}

static bool is_saved(const struct story *story)
{
    return story->status.spilled > 0;
}

static bool is_ended(const struct story *story)
{
    return phase_is(story, "completed") || phase_is(story, "rolled-back");
}

/* The new version breaks while half of the new connections go to it. */
static int break_new(struct story *story, struct err_text *err)
{
    int rc = watch_until(story, is_at_break, "a share of 50 %", err);
    if (rc == 0) {
        rc = watch_for(story, 0.6, err);
    }
    if (rc != 0) {
        return rc;
    }
    demo_backends_break_new(story->backends);
    screen_tell(
        story->screen, clock_mono_us(), SCREEN_BAD,
        "Version 2 breaks: its backends stop listening, and connecting to them is refused. Connections meant "
        "for it are served by version 1 instead.");
    rc = watch_until(story, is_saved, "a connection that the old group saved", err);
    if (rc == 0) {
        rc = watch_for(story, STORY_BROKEN_S, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (story->status.share_bp != STORY_BREAK_AT_BP) {
        return err_set(err, ERR_STATE, "the ramp went on to %u bp although version 2 was broken",
                       story->status.share_bp);
    }
    screen_tell(
        story->screen, clock_mono_us(), SCREEN_PLAIN,
        "The ramp holds where it is: nothing moves on to a group without a usable backend. The operator has "
        "seen enough.");
    return command(story, "abort demo reason \"version 2 refuses connections\"", err);
}

int story_run(struct story *story, struct err_text *err)
{
    int rc = watch_until(story, is_served, "the first answers", err);
    if (rc != 0) {
        return rc;
    }
    screen_tell(
        story->screen, clock_mono_us(), SCREEN_PLAIN,
        "Before: version 1 serves everybody. Version 2 is up and passes its checks, but gets no traffic.");
    rc = watch_for(story, STORY_BEFORE_S, err);
    uint64_t began_us = clock_mono_us();
    if (rc == 0) {
        screen_tell(story->screen, began_us, SCREEN_PLAIN, "The operator starts the migration:");
        rc = command(story, "start demo reason \"version 2 is ready\"", err);
    }
    if (rc == 0 && story->break_new) {
        rc = break_new(story, err);
    }
    if (rc == 0) {
        rc = watch_until(story, is_ended, "the end of the migration", err);
    }
    if (rc != 0) {
        return rc;
    }
    story->migration_s = (double)(clock_mono_us() - began_us) / (double)CLOCK_US_PER_S;
    if (!phase_is(story, story->break_new ? "rolled-back" : "completed")) {
        return err_set(err, ERR_STATE, "the migration ended as %s: %s", story->status.phase,
                       story->status.reason);
    }
    return watch_for(story, STORY_AFTER_S, err);
}

static bool is_quiet(const struct story *story)
{
    return story->seen.busy == 0;
}

int story_finish(struct story *story, struct err_text *err)
{
    demo_clients_finish(story->clients);
    return watch_until(story, is_quiet, "the clients to finish", err);
}

static void print_group(const struct story *story, unsigned version)
{
    FILE *out = story->screen->out;
    const struct demo_clients_reading *seen = &story->seen;
    uint64_t all = seen->version[0].connections + seen->version[1].connections;
    fprintf(out, "  %-4s version %u  %11llu %8.1f%% %10llu %7.1f ms %7.1f ms\n", version == 0 ? "old" : "new",
            version + 1, (unsigned long long)seen->version[version].connections,
            all == 0 ? 0.0 : 100.0 * (double)seen->version[version].connections / (double)all,
            (unsigned long long)seen->version[version].operations,
            (double)histogram_quantile(&seen->version[version].latency_us, 0.5) / 1000.0,
            (double)histogram_quantile(&seen->version[version].latency_us, 0.99) / 1000.0);
}

static void print_connections(const struct story *story)
{
    FILE *out = story->screen->out;
    const struct demo_clients_reading *seen = &story->seen;
    fprintf(out, "  connections  %llu opened by the clients", (unsigned long long)seen->connections);
    unsigned long long closed = seen->asked_to_go;
    closed += seen->repeated;
    if (closed > 0) {
        fprintf(out, "; %llu closed by Shunt at the end of the drain, and opened again", closed);
    }
    fputc('\n', out);
    if (story->break_new) {
        fprintf(out,
                "  saved        %llu connections were meant for version 2 while it was broken: version 1 "
                "served them\n",
                (unsigned long long)story->status.spilled);
    }
}

void story_summary(struct story *story)
{
    struct screen *screen = story->screen;
    const struct demo_clients_reading *seen = &story->seen;
    screen_clear(screen);
    fprintf(screen->out, "\n%sSummary%s\n", screen_on(screen, SCREEN_STRONG), screen_off(screen));
    fprintf(screen->out, "  migration    %s %s after %.1f s, active group: %s\n", story->status.migration,
            story->status.phase, story->migration_s, story->status.active);
    print_connections(story);
    fprintf(screen->out, "  requests     %llu answered, %s%llu errors seen by clients%s",
            (unsigned long long)seen->operations,
            screen_on(screen, seen->errors == 0 ? SCREEN_GOOD : SCREEN_BAD), (unsigned long long)seen->errors,
            screen_off(screen));
    if (seen->repeated > 0) {
        fprintf(screen->out, " (%llu crossed with a closing and were asked again)",
                (unsigned long long)seen->repeated);
    }
    fputs("\n\n", screen->out);
    fprintf(screen->out, "%s  group           connections     share   requests        p50        p99%s\n",
            screen_on(screen, SCREEN_FAINT), screen_off(screen));
    for (unsigned v = 0; v < DEMO_VERSIONS; v++) {
        print_group(story, v);
    }
    if (seen->errors > 0) {
        fprintf(screen->out, "\n  the first error: %s\n", seen->first_error);
    }
    fflush(screen->out);
}
