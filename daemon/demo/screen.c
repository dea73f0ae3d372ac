/*
 * Answers for how the demo looks: bars, rates, redrawing, colours, and doing without any of them (NO_COLOR, a
 * locale that is not UTF-8, no terminal). What is told is the story's matter. Main thread.
 */
#include "daemon/demo/screen.h"

#include "core/clock.h"
#include "core/units.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SCREEN_BAR_MAX 32u
#define SCREEN_BESIDES_BAR 60u /* columns of a line with a bar that are not the bar */
#define SCREEN_WIDTH_MIN 78u   /* redrawing needs lines that do not wrap */
#define SCREEN_WIDTH 100u
#define SCREEN_INDENT 9u
#define SCREEN_LINE_US CLOCK_US_PER_S
#define SCREEN_RATE_US CLOCK_US_PER_S

void screen_init(struct screen *screen, FILE *out, uint64_t now_us)
{
    struct winsize size;
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    *screen = (struct screen){.out = out, .began_us = now_us, .rated_us = now_us, .width = SCREEN_WIDTH};
    screen->live = isatty(fileno(out)) != 0 && (term == NULL || strcmp(term, "dumb") != 0);
    screen->color = screen->live && (no_color == NULL || no_color[0] == '\0');
    (void)setlocale(LC_CTYPE, "");
    screen->unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    if (screen->live && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > SCREEN_INDENT * 2) {
        screen->width = size.ws_col < SCREEN_WIDTH ? size.ws_col : SCREEN_WIDTH;
        screen->live = screen->width >= SCREEN_WIDTH_MIN;
    }
}

const char *screen_on(const struct screen *screen, enum screen_tone tone)
{
    static const char *const codes[] = {[SCREEN_PLAIN] = "",
                                        [SCREEN_GOOD] = "\033[32m",
                                        [SCREEN_BAD] = "\033[31m",
                                        [SCREEN_FAINT] = "\033[2m",
                                        [SCREEN_STRONG] = "\033[1m"};
    return screen->color ? codes[tone] : "";
}

const char *screen_off(const struct screen *screen)
{
    return screen->color ? "\033[0m" : "";
}

void screen_clear(struct screen *screen)
{
    if (screen->drawn > 0) {
        fprintf(screen->out, "\033[%uA\r\033[J", screen->drawn);
        screen->drawn = 0;
    }
    fflush(screen->out);
}

void screen_say(struct screen *screen, enum screen_tone tone, const char *format, ...)
{
    screen_clear(screen);
    fputs(screen_on(screen, tone), screen->out);
    va_list args;
    va_start(args, format);
    vfprintf(screen->out, format, args);
    va_end(args);
    fprintf(screen->out, "%s\n", screen_off(screen));
    fflush(screen->out);
}

/* Prints text in lines of at most width columns, broken at blanks; all but the first are indented. The texts
 * of the story are ASCII, so a byte is a column. */
static void print_wrapped(FILE *out, const char *text, size_t width)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > 0 && column + 1 + word > width) {
            fprintf(out, "\n%*s", (int)SCREEN_INDENT, "");
            column = 0;
        } else if (column > 0) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, word, out);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
}

static const char *mark(const struct screen *screen, enum screen_tone tone)
{
    switch (tone) {
    case SCREEN_GOOD:
        return screen->unicode ? "✔" : "+";
    case SCREEN_BAD:
        return screen->unicode ? "✖" : "!";
    case SCREEN_FAINT:
        return " ";
    case SCREEN_PLAIN:
    case SCREEN_STRONG:
        break;
    }
    return screen->unicode ? "●" : "*";
}

void screen_tell(struct screen *screen, uint64_t now_us, enum screen_tone tone, const char *text)
{
    screen_clear(screen);
    double since_s = (double)(now_us - screen->began_us) / (double)CLOCK_US_PER_S;
    fprintf(screen->out, "%5.1fs %s%s ", since_s, screen_on(screen, tone), mark(screen, tone));
    print_wrapped(screen->out, text, screen->width - SCREEN_INDENT);
    fprintf(screen->out, "%s\n", screen_off(screen));
    fflush(screen->out);
}

/* Once a second: what each version did in the second before. */
static void rate(struct screen *screen, uint64_t now_us, const struct demo_clients_reading *clients)
{
    if (now_us - screen->rated_us < SCREEN_RATE_US) {
        return;
    }
    double seconds = (double)(now_us - screen->rated_us) / (double)CLOCK_US_PER_S;
    for (unsigned v = 0; v < DEMO_VERSIONS; v++) {
        struct histogram_reading recent;
        histogram_reading_subtract(&clients->version[v].latency_us, &screen->before.version[v].latency_us,
                                   &recent);
        screen->recent[v].rate_per_s =
            (double)(clients->version[v].operations - screen->before.version[v].operations) / seconds;
        screen->recent[v].p50_us = histogram_quantile(&recent, 0.5);
        screen->recent[v].p99_us = histogram_quantile(&recent, 0.99);
    }
    screen->before = *clients;
    screen->rated_us = now_us;
}

static void latency_text(const struct screen *screen, unsigned version, char *out, size_t size)
{
    if (screen->recent[version].p99_us == 0) {
        snprintf(out, size, "%s", "");
        return;
    }
    snprintf(out, size, "p50 %4.1f ms  p99 %4.1f ms", (double)screen->recent[version].p50_us / 1000.0,
             (double)screen->recent[version].p99_us / 1000.0);
}

static void draw_bar(const struct screen *screen, const char *label, uint32_t share_bp, enum screen_tone tone,
                     const char *note)
{
    char share[16];
    units_format_share(share_bp, share, sizeof(share));
    unsigned room = screen->width - SCREEN_BESIDES_BAR;
    unsigned bar = room < SCREEN_BAR_MAX ? room : SCREEN_BAR_MAX;
    unsigned full = (share_bp * bar + UNITS_BP_FULL / 2) / UNITS_BP_FULL;
    fprintf(screen->out, "  %-11s %s", label, screen_on(screen, tone));
    for (unsigned i = 0; i < full; i++) {
        fputs(screen->unicode ? "█" : "#", screen->out);
    }
    fprintf(screen->out, "%s%s", screen_off(screen), screen_on(screen, SCREEN_FAINT));
    for (unsigned i = full; i < bar; i++) {
        fputs(screen->unicode ? "░" : ".", screen->out);
    }
    fprintf(screen->out, "%s %6s  %s\033[K\n", screen_off(screen), share, note);
}

static void draw_group(const struct screen *screen, const struct demo_status *status, unsigned version)
{
    char latency[64];
    bool sound = status->group[version].usable == status->group[version].backends;
    latency_text(screen, version, latency, sizeof(latency));
    fprintf(screen->out, "  %s  version %u  %s%s %u/%u%s  open %3llu  %5.0f requests/s  %s\033[K\n",
            version == 0 ? "old" : "new", version + 1, screen_on(screen, sound ? SCREEN_GOOD : SCREEN_BAD),
            mark(screen, sound ? SCREEN_GOOD : SCREEN_BAD), status->group[version].usable,
            status->group[version].backends, screen_off(screen),
            (unsigned long long)status->group[version].open, screen->recent[version].rate_per_s, latency);
}

static void phase_text(const struct demo_status *status, char *out, size_t size)
{
    if (status->steps > 0 && strcmp(status->phase, "ramping") == 0 && status->step_left_s >= 0) {
        snprintf(out, size, "step %u/%u, next in %.1fs", status->step, status->steps, status->step_left_s);
    } else {
        snprintf(out, size, "%s", status->phase);
    }
}

static void redraw(struct screen *screen, const struct demo_status *status,
                   const struct demo_clients_reading *clients)
{
    char phase[64];
    phase_text(status, phase, sizeof(phase));
    if (screen->drawn > 0) {
        fprintf(screen->out, "\033[%uA\r", screen->drawn);
    }
    fputs("\033[K\n", screen->out);
    draw_bar(screen, "share", status->share_bp, SCREEN_STRONG, phase);
    draw_bar(screen, "live share", status->live_share_bp, SCREEN_GOOD, "of the connections open now");
    for (unsigned v = 0; v < DEMO_VERSIONS; v++) {
        draw_group(screen, status, v);
    }
    fprintf(screen->out, "  clients: %llu requests answered, %s%llu errors%s\033[K\n",
            (unsigned long long)clients->operations,
            screen_on(screen, clients->errors == 0 ? SCREEN_GOOD : SCREEN_BAD),
            (unsigned long long)clients->errors, screen_off(screen));
    screen->drawn = 6;
    fflush(screen->out);
}

static void print_line(struct screen *screen, uint64_t now_us, const struct demo_status *status,
                       const struct demo_clients_reading *clients)
{
    char share[16];
    units_format_share(status->share_bp, share, sizeof(share));
    fprintf(screen->out, "%5.1fs   share %4s  live %5.1f%%",
            (double)(now_us - screen->began_us) / (double)CLOCK_US_PER_S, share,
            (double)status->live_share_bp / 100.0);
    for (unsigned v = 0; v < DEMO_VERSIONS; v++) {
        fprintf(screen->out, " | %s %3llu open %4.0f/s", v == 0 ? "old" : "new",
                (unsigned long long)status->group[v].open, screen->recent[v].rate_per_s);
        if (screen->recent[v].p99_us > 0) {
            fprintf(screen->out, " %4.1f/%4.1f ms", (double)screen->recent[v].p50_us / 1000.0,
                    (double)screen->recent[v].p99_us / 1000.0);
        } else {
            fprintf(screen->out, " %12s", "");
        }
    }
    fprintf(screen->out, " | %llu errors\n", (unsigned long long)clients->errors);
    fflush(screen->out);
}

void screen_show(struct screen *screen, uint64_t now_us, const struct demo_status *status,
                 const struct demo_clients_reading *clients)
{
    rate(screen, now_us, clients);
    if (screen->live) {
        redraw(screen, status, clients);
    } else if (now_us - screen->told_us >= SCREEN_LINE_US) {
        screen->told_us = now_us;
        print_line(screen, now_us, status, clients);
    }
}
