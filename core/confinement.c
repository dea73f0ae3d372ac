/*
 * Reads from /proc what the kernel lets this process do. Any thread; the note on Landlock is written once,
 * before threads start.
 */
#include "core/confinement.h"

#include <dirent.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char landlock_note[CONFINEMENT_TEXT_MAX] = "off";

void confinement_note_landlock(const char *text)
{
    (void)snprintf(landlock_note, sizeof(landlock_note), "%s", text);
}

/* Names as in linux/capability.h, for those that a server may meet; others by number. */
static const char *capability_name(unsigned number)
{
    static const char *const names[] = {
        [0] = "chown",    [1] = "dac_override", [2] = "dac_read_search",   [5] = "kill",
        [6] = "setgid",   [7] = "setuid",       [10] = "net_bind_service", [12] = "net_admin",
        [13] = "net_raw", [21] = "sys_admin",   [24] = "sys_resource"};
    return number < sizeof(names) / sizeof(names[0]) ? names[number] : NULL;
}

static void write_capabilities(uint64_t mask, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    if (mask == 0) {
        (void)snprintf(out, size, "none");
        return;
    }
    if (__builtin_popcountll(mask) > 20) {
        (void)snprintf(out, size, "all");
        return;
    }
    for (unsigned i = 0; i < 64 && len + 1 < size; i++) {
        if ((mask >> i & 1) == 0) {
            continue;
        }
        const char *name = capability_name(i);
        const char *comma = len > 0 ? "," : "";
        int n = name != NULL ? snprintf(out + len, size - len, "%s%s", comma, name)
                             : snprintf(out + len, size - len, "%s%u", comma, i);
        len += n > 0 ? (size_t)n : 0;
    }
}

static void write_user(char *out, size_t size)
{
    char buffer[1024];
    struct passwd entry;
    struct passwd *found = NULL;
    if (getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found != NULL) {
        (void)snprintf(out, size, "%s", entry.pw_name);
    } else {
        (void)snprintf(out, size, "%u", (unsigned)geteuid());
    }
}

/* The number behind a name in a status file of /proc; fallback when it is not there. */
static unsigned long status_number(const char *path, const char *name, unsigned long fallback)
{
    char line[256];
    unsigned long number = fallback;
    FILE *in = fopen(path, "re");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            number = strtoul(line + strlen(name), NULL, 10);
        }
    }
    if (in != NULL) {
        (void)fclose(in);
    }
    return number;
}

static bool is_worker(const char *task)
{
    char path[64];
    char name[32] = "";
    (void)snprintf(path, sizeof(path), "/proc/self/task/%.16s/comm", task);
    FILE *in = fopen(path, "re");
    bool is = in != NULL && fgets(name, sizeof(name), in) != NULL && strncmp(name, "shunt-w", 7) == 0;
    if (in != NULL) {
        (void)fclose(in);
    }
    return is;
}

/* Whether there are workers and all of them have more filters than this thread. */
static bool workers_have_more(void)
{
    unsigned long own = status_number("/proc/thread-self/status", "Seccomp_filters:", 0);
    unsigned seen = 0;
    bool more = true;
    DIR *tasks = opendir("/proc/self/task");
    for (const struct dirent *task = tasks != NULL ? readdir(tasks) : NULL; task != NULL;
         task = readdir(tasks)) {
        if (task->d_name[0] != '.' && is_worker(task->d_name)) {
            char path[64];
            (void)snprintf(path, sizeof(path), "/proc/self/task/%.16s/status", task->d_name);
            more = more && status_number(path, "Seccomp_filters:", 0) > own;
            seen++;
        }
    }
    if (tasks != NULL) {
        (void)closedir(tasks);
    }
    return more && seen > 0;
}

void confinement_read(struct confinement *out)
{
    char line[256];
    *out = (struct confinement){.capabilities = "unknown"};
    write_user(out->user, sizeof(out->user));
    (void)snprintf(out->landlock, sizeof(out->landlock), "%s", landlock_note);
    FILE *in = fopen("/proc/thread-self/status", "re");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
        if (strncmp(line, "CapEff:", 7) == 0) {
            write_capabilities(strtoull(line + 7, NULL, 16), out->capabilities, sizeof(out->capabilities));
        } else if (strncmp(line, "NoNewPrivs:", 11) == 0) {
            out->no_new_privileges = strtoul(line + 11, NULL, 10) == 1;
        } else if (strncmp(line, "Seccomp:", 8) == 0) {
            out->seccomp = strtoul(line + 8, NULL, 10) == 2;
        }
    }
    if (in != NULL) {
        (void)fclose(in);
    }
    out->workers = workers_have_more();
}
