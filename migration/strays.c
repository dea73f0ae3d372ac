/*
 * Writes down which hooks run, finds those that outlived the program that started them, and sees to their
 * end. Nothing is believed of a file but for which process to look at. Control thread. See
 * migration/strays.h.
 */
#include "migration/strays.h"

#include "core/clock.h"
#include "core/log.h"
#include "migration/migration_internal.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PREFIX "hook."
#define NAME_MAX_BYTES 32u
#define FILE_MAX 4096u
#define BOOT_MAX 64u

struct stray {
    struct strays *strays;
    struct event *event; /* owned: its pidfd, and the end of its time */
    int pidfd;           /* owned; -1: none */
    pid_t pid;
    uint64_t started; /* in ticks since the boot */
    uint64_t due_us;  /* monotonic */
    bool over;        /* it has ended */
    char words[STRAYS_WORDS_MAX / 2];
};

struct strays {
    struct strays_options options;
    size_t len, running;
    struct stray list[];
};

/* ---- which process is meant */

static size_t read_text(int folder, const char *path, char *out, size_t size)
{
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;

    if (fd >= 0) {
        (void)close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* The 22nd field of its line; 0: it is not there. The second is a name in brackets, which may hold anything.
 */
static uint64_t started_of(pid_t pid)
{
    char path[NAME_MAX_BYTES];
    char text[1024];
    const char *at;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    at = read_text(AT_FDCWD, path, text, sizeof(text)) > 0 ? strrchr(text, ')') : NULL;
    for (unsigned field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL ? strtoull(at, NULL, 10) : 0;
}

static void read_boot(char out[BOOT_MAX])
{
    size_t n = read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", out, BOOT_MAX);

    out[n > 0 ? n - 1 : 0] = '\0'; /* without the newline */
}

static void name_of(pid_t pid, char out[NAME_MAX_BYTES])
{
    (void)snprintf(out, NAME_MAX_BYTES, PREFIX "%d", (int)pid);
}

/* ---- writing down */

void strays_note(int folder, const char *service, pid_t pid, const char *words, uint64_t timeout_us)
{
    char name[NAME_MAX_BYTES];
    uint64_t due_us = clock_mono_us() + timeout_us;
    char boot[BOOT_MAX];
    char part[STRAYS_WORDS_MAX / 2];
    json_t *what;
    char *text;
    int fd;

    read_boot(boot);
    (void)snprintf(part, sizeof(part), "%s", words);
    what = json_pack("{s:o, s:i, s:I, s:s, s:I, s:o}", "service", record_text(service), "pid", (int)pid,
                     "started", (json_int_t)started_of(pid), "boot", boot, "due_us", (json_int_t)due_us,
                     "words", record_text(part));
    text = json_dumps(what, JSON_COMPACT);
    json_decref(what);
    name_of(pid, name);
    fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
    if (fd < 0 || text == NULL || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        log_line(LOG_LEVEL_WARN, "a hook that runs cannot be written down in state_dir",
                 LOG_TEXT("file", name));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(text);
}

void strays_forget(int folder, pid_t pid)
{
    char name[NAME_MAX_BYTES];

    name_of(pid, name);
    (void)unlinkat(folder, name, 0);
}

/* ---- finding them */

/* Whether a file is about a process of the service that runs now; one that is about none that runs is
 * removed. */
static bool is_running(const struct strays_options *options, const char *name, const char *boot,
                       struct stray *out)
{
    char text[FILE_MAX];
    json_int_t started = 0;
    json_int_t due_us = 0;
    const char *service = "";
    const char *words = "";
    const char *then = "";
    int pid = 0;
    size_t n = read_text(options->folder, name, text, sizeof(text));
    json_t *what = json_loadb(text, n, 0, NULL);
    bool clear = json_unpack(what, "{s:s, s:i, s:I, s:s, s:I, s:s}", "service", &service, "pid", &pid,
                             "started", &started, "boot", &then, "due_us", &due_us, "words", &words) == 0;
    bool ours = clear && strcmp(service, options->service) == 0;
    bool runs = clear && pid > 1 && started > 0 && strcmp(boot, then) == 0;

    *out = (struct stray){.pidfd = -1, .pid = pid, .started = (uint64_t)started, .due_us = (uint64_t)due_us};
    (void)snprintf(out->words, sizeof(out->words), "%s", words);
    /* First the descriptor, then the look: what it stands for cannot change any more. */
    out->pidfd = runs ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    runs = out->pidfd >= 0 && started_of(pid) == out->started;
    if (out->pidfd >= 0 && !(runs && ours)) {
        (void)close(out->pidfd);
    }
    if (!runs) {
        (void)unlinkat(options->folder, name, 0);
    }
    json_decref(what);
    return runs && ours;
}

static int add(struct strays **all, const struct strays_options *options, const struct stray *one)
{
    size_t len = *all != NULL ? (*all)->len : 0;
    struct strays *more = realloc(*all, sizeof(*more) + (len + 1) * sizeof(more->list[0]));

    if (more == NULL) {
        (void)close(one->pidfd);
        return ERR_NOMEM;
    }
    more->options = *options;
    more->list[len] = *one;
    more->len = len + 1;
    *all = more;
    return 0;
}

static int look(const struct strays_options *options, struct strays **out)
{
    int fd =
        openat(options->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* its own place in the folder */
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    char boot[BOOT_MAX];
    int rc = 0;

    if (folder == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return ERR_SYSTEM;
    }
    read_boot(boot);
    while (rc == 0 &&
           (entry = readdir(folder)) != NULL) { /* NOLINT(concurrency-mt-unsafe): a folder of our own */
        struct stray one;

        if (strncmp(entry->d_name, PREFIX, sizeof(PREFIX) - 1) == 0 &&
            is_running(options, entry->d_name, boot, &one)) {
            rc = add(out, options, &one);
        }
    }
    (void)closedir(folder);
    return rc;
}

/* ---- seeing to their end */

static void arm(struct stray *stray)
{
    uint64_t now_us = clock_mono_us();
    uint64_t wait_us = stray->due_us > now_us ? stray->due_us - now_us : CLOCK_US_PER_S;
    const struct timeval limit = {.tv_sec = (time_t)(wait_us / CLOCK_US_PER_S),
                                  .tv_usec = (suseconds_t)(wait_us % CLOCK_US_PER_S)};

    if (event_add(stray->event, &limit) != 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory: a hook of the program before is not watched",
                 LOG_UINT("pid", (uint64_t)stray->pid));
    }
}

/* It leads a group of its own, as every command does, whose number is taken as long as it lives. */
static void kill_group(const struct stray *stray)
{
    if (kill(-stray->pid, SIGKILL) != 0 && errno != ESRCH) {
        log_line(LOG_LEVEL_ERROR, "a hook of the program before cannot be killed",
                 LOG_TEXT("hook", stray->words), LOG_UINT("pid", (uint64_t)stray->pid),
                 LOG_INT("errno", errno));
    }
}

static void on_event(evutil_socket_t fd, short what, void *context)
{
    struct stray *stray = context;
    struct strays *strays = stray->strays;
    char text[STRAYS_WORDS_MAX];

    (void)fd;
    if ((what & EV_READ) == 0) { /* its time is over */
        kill_group(stray);
        arm(stray);
        return;
    }
    (void)event_del(stray->event);
    stray->over = true;
    strays->running--;
    strays_forget(strays->options.folder, stray->pid);
    (void)snprintf(text, sizeof(text), "%s of the program before this one has ended, pid %d", stray->words,
                   (int)stray->pid);
    strays->options.ended(strays->options.context, text);
}

int strays_find(const struct strays_options *options, struct strays **out)
{
    int rc;

    *out = NULL;
    rc = look(options, out);
    for (size_t i = 0; *out != NULL && i < (*out)->len; i++) {
        struct stray *stray = &(*out)->list[i];

        stray->strays = *out;
        stray->event = event_new(options->base, stray->pidfd, EV_READ | EV_PERSIST, on_event, stray);
        if (stray->event == NULL) {
            rc = ERR_NOMEM;
        } else {
            arm(stray);
        }
    }
    if (*out != NULL) {
        (*out)->running = (*out)->len;
    }
    if (rc != 0) {
        strays_destroy(*out);
        *out = NULL;
    }
    return rc;
}

void strays_destroy(struct strays *strays)
{
    for (size_t i = 0; strays != NULL && i < strays->len; i++) {
        if (strays->list[i].event != NULL) {
            event_free(strays->list[i].event);
        }
        (void)close(strays->list[i].pidfd);
    }
    free(strays);
}

bool strays_any(const struct strays *strays)
{
    return strays != NULL && strays->running > 0;
}

void strays_describe(const struct strays *strays, char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; strays != NULL && i < strays->len; i++) {
        const struct stray *stray = &strays->list[i];
        uint64_t now_us = clock_mono_us();
        char left[32];

        if (!stray->over) {
            clock_format_duration(stray->due_us > now_us ? stray->due_us - now_us : 0, left, sizeof(left));
            (void)snprintf(out, size, "%s of the program before this one still runs, pid %d, killed in %s",
                           stray->words, (int)stray->pid, left);
            return;
        }
    }
}
