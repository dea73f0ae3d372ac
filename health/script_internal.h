/*
 * Probe protocols as pure machines: bytes in, bytes out, a verdict. No socket, no clock, no event loop; what
 * is random is an argument. health/dialog.c gives them a connection, the tests cut their input anywhere.
 *
 *     script_begin ─▶ run.out ─▶ peer ─▶ script_feed ─▶ step(all that was not used yet) ─▶ MORE, SECURE,
 *                                                                                       PASSED or FAILED
 */
#ifndef HEALTH_SCRIPT_INTERNAL_H
#define HEALTH_SCRIPT_INTERNAL_H

#include "core/config.h"
#include "core/err.h"
#include "health/agent.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRIPT_REASON_MAX 96u
#define SCRIPT_NONCE_BYTES 18u
/* A reply that was not understood by then never will be. */
#define SCRIPT_REPLY_MAX ((size_t)16 * 1024)
#define SCRIPT_TOTAL_MAX (4 * SCRIPT_REPLY_MAX)

/* SECURE: once run.out is sent, TLS begins; then script->secured goes on. */
enum script_verdict { SCRIPT_MORE, SCRIPT_SECURE, SCRIPT_PASSED, SCRIPT_FAILED };

struct script_run;

struct script {
    enum config_health_type type;
    size_t state_size;  /* of run.state, zeroed at each begin */
    size_t memory_size; /* of run.memory, zeroed once: what one exchange may leave for the next */
    void (*begin)(struct script_run *run); /* NULL: the peer speaks first */
    /*
     * data: all that was received and not used yet, at least one byte unless eof. Sets *used (0 at the call)
     * to the bytes it has dealt with; those come no more. With MORE it is called again at once while it uses
     * some and some are left, else when there are more.
     */
    enum script_verdict (*step)(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used);
    enum script_verdict (*secured)(struct script_run *run); /* NULL where SECURE is never returned */
};

/* The same for all exchanges with one backend, but for the nonce. */
struct script_params {
    const struct config_health *config; /* borrowed */
    const char *host;                   /* borrowed; the address as text, for protocols that name it */
    const char *server_name;            /* borrowed; that of TLS, NULL: none */
    bool ask_tls;                       /* TLS begins by the protocol's own messages, by SECURE */
    const char *password;               /* borrowed; NULL: none */
    uint8_t nonce[SCRIPT_NONCE_BYTES];  /* random */
};

struct script_buffer {
    uint8_t *data; /* owned */
    size_t len, room;
};

/* One exchange at a time; reused for the next. */
struct script_run {
    const struct script *script;
    struct script_params params;
    void *state;  /* owned */
    void *memory; /* owned */
    struct script_buffer in;
    struct script_buffer out; /* to be sent; who sends sets its len back to 0 */
    const char *out_mask;     /* shown instead of out where the exchange is shown; static, NULL: show it */
    size_t received;          /* bytes of this exchange */
    bool secured;             /* the channel is protected by TLS; set by who holds it */
    bool nomem;               /* memory ran out: says nothing of the backend */
    struct agent_report agent;
    char reason[SCRIPT_REASON_MAX];
};

/* By type; NULL for types that are no scripts. */
const struct script *script_find(enum config_health_type type);

/* ERR_NOMEM. params is copied. */
MUST_CHECK int script_create(const struct script *script, const struct script_params *params,
                             struct script_run *run);
void script_destroy(struct script_run *run);

/* Forgets the last exchange and begins one. MORE, or FAILED (run.nomem). */
enum script_verdict script_begin(struct script_run *run);
/* Takes what the peer sent, or its end. len may be 0. With PASSED, FAILED or SECURE the reason is set where
 * there is one, and out may hold a last word to the peer. */
enum script_verdict script_feed(struct script_run *run, const uint8_t *data, size_t len, bool eof);
/* After SECURE, once the handshake is done. */
enum script_verdict script_secured(struct script_run *run);
/* Frees what only an exchange needs. */
void script_rest(struct script_run *run);

/* ---- for the protocols */

/* Without memory run.nomem is set and the exchange ends. */
void script_send(struct script_run *run, const void *data, size_t len);
void script_send_text(struct script_run *run, const char *text);
/* Sets the reason and returns FAILED, or PASSED. */
enum script_verdict script_fail(struct script_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum script_verdict script_pass(struct script_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "NAME VERB: bytes of the peer as printable text". */
enum script_verdict script_fail_quoting(struct script_run *run, const char *what, const void *data,
                                        size_t len);
enum script_line { SCRIPT_LINE_MORE, SCRIPT_LINE_WHOLE, SCRIPT_LINE_ENDLESS };

/* The length of the line at data without its end (\n or \r\n) and, in *whole, with it; both are left alone
 * when it is not whole. One whose \n does not lie within max + 1 bytes is endless, however many bytes are
 * there. */
enum script_line script_line(const uint8_t *data, size_t len, size_t max, size_t *line, size_t *whole);

extern const struct script script_send_expect, script_http, script_redis, script_postgresql, script_mysql,
    script_smtp, script_ldap, script_agent;

#endif
