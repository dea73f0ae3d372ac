/*
 * What the two sides of an upgrade share: the messages between them, and what the program that takes over is
 * told. How it goes, message by message:
 *
 *     former                                   successor (started by the starter)
 *       SOCKETS…, OFFER   ──▶ wait in the channel until it reads them: they stay open whatever happens
 *                                              reads its configuration
 *                         ◀── HELLO            or REFUSED with the reason
 *                                              builds everything, workers run, nothing is accepted
 *                         ◀── READY
 *       nothing is accepted or decided any more
 *       TAKE with sections ──▶                 journal, counters and states taken up; accepts, decides
 *                         ◀── TAKEN
 *       a moment later, when it still lives:
 *       LEFT              ──▶                  is the service's main process now
 *       COUNTS            ──▶                  until the former's last connection has ended
 *                         ◀── CLOSE, KILL, STOP  some connections, or all
 *
 * Before TAKEN the former can take everything back; it does so after LEFT was not sent yet and the successor
 * dies. A successor that finds the former gone goes on alone from what it has. Control thread.
 */
#ifndef DAEMON_HANDOVER_INTERNAL_H
#define DAEMON_HANDOVER_INTERNAL_H

#include "core/given.h"
#include "core/list.h"
#include "daemon/app_internal.h"
#include "daemon/channel.h"
#include "daemon/handover.h"

#include <jansson.h>

/* Raised when a message changes so that an older program would misread it. */
#define HANDOVER_PROTOCOL 1
/* The channel and what is started with it have so long to react where nothing but them is waited for. */
#define HANDOVER_MOMENT_US UINT64_C(5000000)

enum handover_kind {
    HANDOVER_SOCKETS = 1, /* JSON: a list that says what each descriptor of the message is */
    HANDOVER_OFFER,       /* JSON: protocol, version, pid */
    HANDOVER_HELLO,       /* JSON: the same */
    HANDOVER_REFUSED,     /* text */
    HANDOVER_READY,
    HANDOVER_TAKE, /* sections */
    HANDOVER_TAKEN,
    HANDOVER_LEFT,
    HANDOVER_COUNTS, /* JSON: a report */
    HANDOVER_CLOSE,  /* JSON: service, group, max, idle_us, idle_first */
    HANDOVER_STOP,   /* JSON: at_once */
    HANDOVER_KILL /* JSON: service, group, backend, before_us, idle_us, client, client_bits; an older former
                     passes over it */
};

/* value as a JSON message; lets go of value. ERR_NOMEM, also when it is NULL. */
MUST_CHECK int handover_send_json(struct channel *channel, uint32_t kind, json_t *value, const int *fds,
                                  size_t fds_len);
/* { protocol, version, pid }, with the other side's read back. */
json_t *handover_introduction(void);
/* 0, or ERR_UNAVAILABLE with the words for why the two do not go together. */
MUST_CHECK int handover_check(const json_t *introduction, struct err_text *err);

/* handover_offer.c: all descriptors, then the word that these were all. ERR_NOMEM. */
MUST_CHECK int handover_offer(const struct app *app, struct channel *channel);

/* ---- handover_sections.c: what is handed over besides descriptors, as named sections */

/* Owned by the caller, NULL without memory. */
unsigned char *handover_sections_write(struct app *app, size_t *length);
/* Sections that are not known are passed over when they say that they may be. ERR_CORRUPT, ERR_UNAVAILABLE (a
 * section that is needed is not known), ERR_NOMEM. */
MUST_CHECK int handover_sections_read(struct app *app, const unsigned char *body, size_t length,
                                      struct err_text *err);

/* ---- handover_report.c: counters as nested JSON objects whose leaves are numbers, so that they can be added
 * up */

/* Of all services, with what was inherited. Owned by the caller, NULL without memory. */
json_t *report_make(const struct app *app);
/* Adds every number of from to the one at the same place in to. ERR_NOMEM. */
MUST_CHECK int report_add(json_t *to, const json_t *from);
/* Makes the report of a process that is gone: what it had open has ended. */
void report_end(json_t *report);
/* Client connections that are open by it. NULL is allowed. */
uint64_t report_open(const json_t *report);
/* Puts the sum into the services and backends of these names, in place of what was there. */
void report_inherit(struct app *app, const json_t *sum);

/* ---- former.c: programs before this one whose connections are still open */

struct former {
    struct list node;
    struct app *app;
    struct channel *channel; /* owned */
    struct event *event;     /* owned; NULL: not listened to yet */
    pid_t pid;
    bool last;      /* this program took over from it */
    json_t *report; /* owned; its last one. NULL: none yet */
};

/* Takes channel over, also on failure. last: this program took over from it. ERR_NOMEM. */
MUST_CHECK int former_add(struct app *app, struct channel *channel, pid_t pid, bool last);
/* The one that this program took over from; NULL: it is gone. */
struct former *former_last(const struct app *app);
/* Begins to listen to all of them. ERR_NOMEM. */
MUST_CHECK int formers_listen(struct app *app);
/* Stops listening, and lets go of what they counted: somebody else takes them over. */
void formers_pause(struct app *app);
/* The counters of all of them, those that are gone included, are shown as ours. */
void formers_sum(struct app *app);
/* Those that are there, oldest first, with what they have open; their number. context: struct app. */
size_t formers_list(void *context, struct admin_former *out, size_t max);
void formers_close(struct app *app, const char *service, const char *group,
                   const struct migration_close *what);
/* For an operator: those of the service that filter means (group and backend by name; NULL: all). context:
 * struct app. */
void formers_kill(void *context, const char *service, const char *group, const char *backend,
                  const struct proxy_close_filter *filter);
void formers_stop(struct app *app, bool at_once);
void formers_destroy(struct app *app);

/* ---- former_left.c */

/* Backends that this program does not have and on which something is open by sum come into sight as removed.
 */
void formers_recall(struct app *app, const json_t *sum);
/* Shows what each has open, backend by backend. context: struct app. */
void formers_elsewhere(void *context, admin_elsewhere_fn *visit, void *visit_context);

/* ---- successor.c */

/* Carries out what the former asks for after TAKEN. */
void successor_on_left(struct app *app);

/* ---- what a former does (handover_leave.c); settled: the upgrade that brought this program is over */

void handover_asked_by(const struct handover *handover, const char **actor, const char **reason);
void handover_settled(struct handover *handover);
void handover_do_close(struct app *app, const unsigned char *body);
void handover_do_kill(struct app *app, const unsigned char *body);
void handover_do_stop(struct app *app, const unsigned char *body);

#endif
