/*
 * What an agent says of its server in one line: "75% up", "drain", "maint", "down#reason", "ready",
 * "stopped", "fail", "maxconn:30"; words with blanks or commas between them, as HAProxy's agent-check has
 * them. What a line does not name stays as it is. Pure.
 */
#ifndef HEALTH_AGENT_H
#define HEALTH_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENT_REASON_MAX 64u
#define AGENT_WEIGHT_MAX 1000u

enum agent_state { AGENT_STATE_SAME, AGENT_STATE_UP, AGENT_STATE_DOWN };
enum agent_admin { AGENT_ADMIN_SAME, AGENT_ADMIN_READY, AGENT_ADMIN_DRAIN, AGENT_ADMIN_MAINT };

struct agent_report {
    bool heard; /* a line came and was understood; else nothing else here counts */
    enum agent_state state;
    enum agent_admin admin;
    bool weight_given, limit_given;
    uint32_t weight_percent;       /* of the configured weight, 0 to AGENT_WEIGHT_MAX */
    uint32_t limit;                /* of connections */
    char reason[AGENT_REASON_MAX]; /* behind "#", printable; may be empty */
};

/* Reads a line of len bytes without its end. False, with *out cleared, when it holds a word that is not known
 * or no word at all: then none of it counts. */
bool agent_parse(const void *line, size_t len, struct agent_report *out);

#endif
