/*
 * Reads from /proc what the kernel lets this process do. Any thread; the note on Landlock is written once,
 * before threads start.
 */
#include "core/confinement.h"

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
}
