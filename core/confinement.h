/*
 * What the process may still do: as which user it runs, which capabilities are left, which of the kernel's
 * fences stand around it. Set up by daemon/, shown by admin/.
 */
#ifndef CORE_CONFINEMENT_H
#define CORE_CONFINEMENT_H

#include <stdbool.h>
#include <stddef.h>

#define CONFINEMENT_TEXT_MAX 160u

struct confinement {
    char user[64];                           /* name, or the number where it has none */
    char capabilities[CONFINEMENT_TEXT_MAX]; /* "none", "all", or names with commas: "net_bind_service" */
    bool no_new_privileges;
    bool seccomp;                        /* a filter is in force */
    bool workers;                        /* and every worker has one more, of its own */
    char landlock[CONFINEMENT_TEXT_MAX]; /* "on", or "off" with the reason */
};

/* Reads it from the kernel (/proc/thread-self/status); what cannot be read is "unknown". Any thread. */
void confinement_read(struct confinement *out);
/* The kernel does not tell whether Landlock is in force, so who puts it in force says so here. Before threads
 * start. text is copied. */
void confinement_note_landlock(const char *text);

#endif
