/*
 * Closing connections by hand: one by its id, or all that are meant, at once or at a pace. The closing itself
 * is done by the workers (proxy_service_close); here are the pace and the reply. Control thread. A kill goes
 * on when whoever asked for it has gone.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TICKS_PER_S 10u

struct kill_job {
    struct job job;
    struct proxy_close_filter filter;
    bool all_services; /* by id, which may be of any */
    char what[3 * ROUTING_NAME_MAX];
    char group[ROUTING_NAME_MAX], backend[ROUTING_NAME_MAX]; /* names; "": any */
    char service[ROUTING_NAME_MAX]; /* the one that is meant, or at which the search by id is */
    char actor[64];
    char reason[COMMAND_REASON_MAX + 1];
    size_t at;          /* by id: index of the service */
    uint64_t rate;      /* a second; 0: at once */
    uint64_t asked;     /* how many the present round may close */
    uint64_t closed;    /* in all */
    struct event *tick; /* owned; NULL without a rate */
};

static void round_begin(struct kill_job *self);

static void destroy(struct job *job)
{
    struct kill_job *self = list_entry(job, struct kill_job, job);
    free(self);
}

/* Programs before this one are told to do the same, once. At a pace only this one can close; and an id is of
 * this one. Writes what of that is worth knowing. */
static void reach_elsewhere(const struct kill_job *self, const struct admin *admin, char *out, size_t size)
{
    const struct elsewhere_place place = {.service = self->all_services ? NULL : self->service,
                                          .group = self->group[0] != '\0' ? self->group : NULL,
                                          .backend = self->backend[0] != '\0' ? self->backend : NULL};
    struct elsewhere_programs programs;
    char who[64];
    uint64_t open = elsewhere_open(admin, &place, &programs);
    out[0] = '\0';
    if (open == 0 || admin->options.elsewhere_kill == NULL) {
        return;
    }
    (void)snprintf(who, sizeof(who),
                   programs.len == 1 ? "the program before it, pid %d" : "programs before it",
                   (int)programs.last);
    if (self->all_services) {
        (void)snprintf(out, size, "; %" PRIu64 " open in %s have no id here: kill SERVICE/GROUP[/BACKEND]",
                       open, who);
        return;
    }
    if (self->rate > 0) {
        (void)snprintf(out, size, "; %" PRIu64 " more in %s are not reached with --rate", open, who);
        return;
    }
    admin->options.elsewhere_kill(admin->options.reload_context, place.service, place.group, place.backend,
                                  &self->filter);
    (void)snprintf(out, size, "; %s, with %" PRIu64 " open there, is told to do the same", who, open);
}

/* The timer goes as soon as the work is over: the loop may end before the last count goes. */
static void finish(struct kill_job *self, const char *trouble)
{
    char *text = NULL;
    size_t length = 0;
    struct admin *admin = self->job.admin;
    FILE *out = admin != NULL ? open_memstream(&text, &length) : NULL;
    if (self->tick != NULL) {
        event_free(self->tick);
        self->tick = NULL;
    }
    char elsewhere[200] = "";
    if (admin != NULL && (self->closed == 0 || !self->all_services)) {
        reach_elsewhere(self, admin, elsewhere, sizeof(elsewhere));
    }
    if (out != NULL && self->all_services && self->closed == 0) {
        fprintf(out, "error: no connection %s is open; connections lists them%s\n", self->what, elsewhere);
    } else if (out != NULL) {
        fprintf(out, "closed %" PRIu64 " connection%s: %s%s%s\n", self->closed, self->closed == 1 ? "" : "s",
                self->what, trouble, elsewhere);
    }
    if (admin != NULL && (self->closed > 0 || !self->all_services)) {
        events_add(admin->options.events, clock_wall_us(), EVENTS_WARN, self->service, "kill", self->actor,
                   self->reason, "closed %" PRIu64 " connection%s: %s%s%s", self->closed,
                   self->closed == 1 ? "" : "s", self->what, trouble, elsewhere);
    }
    if (out != NULL && fclose(out) != 0) {
        free(text);
        text = NULL;
    }
    job_end(&self->job, text, length);
}

/* Between two rounds nothing but the timer would go on with it. */
static void orphan(struct job *job)
{
    struct kill_job *self = list_entry(job, struct kill_job, job);
    if (self->tick != NULL && evtimer_pending(self->tick, NULL)) {
        finish(self, "");
    }
}

static const struct admin_service *find_service(struct kill_job *self)
{
    const struct admin_service *service = NULL;
    struct admin *admin = self->job.admin;
    if (admin == NULL) {
        return NULL;
    }
    if (self->all_services) {
        if (self->at >= admin->options.services_len) {
            return NULL;
        }
        service = &admin->options.services[self->at];
        (void)snprintf(self->service, sizeof(self->service), "%s", service->name);
        return service;
    }
    return args_find_service(admin, self->service, &service, NULL) == ERR_OK ? service : NULL;
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    round_begin(context);
}

static void on_closed(void *context, uint64_t closed)
{
    struct kill_job *self = context;
    self->closed += closed;
    if (self->all_services && closed == 0) {
        self->at++;
        round_begin(self);
    } else if (self->tick == NULL || closed < self->asked) {
        finish(self, "");
    } else {
        uint64_t pause_us = CLOCK_US_PER_S * self->asked / self->rate;
        const struct timeval pause = {.tv_sec = (time_t)(pause_us / CLOCK_US_PER_S),
                                      .tv_usec = (suseconds_t)(pause_us % CLOCK_US_PER_S)};
        if (event_add(self->tick, &pause) != 0) {
            finish(self, "; memory ran out: some are still open");
        }
    }
}

static void round_begin(struct kill_job *self)
{
    const struct admin_service *service = find_service(self);
    while (self->all_services && service != NULL && service->proxy == NULL) {
        self->at++;
        service = find_service(self);
    }
    if (service == NULL || service->proxy == NULL) {
        finish(self, "");
        return;
    }
    if (proxy_service_close(service->proxy, &self->filter, STATS_CLOSE_KILLED, on_closed, self) != ERR_OK) {
        finish(self, "; memory ran out: some are still open");
    }
}

/* "web/old/10.0.0.11:8080", "web/old", "web" or the id. */
static void describe(struct kill_job *self, const struct command_values *values)
{
    if (values->service == NULL) {
        proxy_id_format(values->connection, self->what, sizeof(self->what));
        return;
    }
    const char *group =
        values->group != ROUTING_NONE ? routing_group_name(values->service->routing, values->group) : "";
    (void)snprintf(self->what, sizeof(self->what), "%s%s%s%s%s", values->service->name,
                   *group != '\0' ? "/" : "", group, values->backend != NULL ? "/" : "",
                   values->backend != NULL ? backend_name(values->backend) : "");
    (void)snprintf(self->service, sizeof(self->service), "%s", values->service->name);
    (void)snprintf(self->group, sizeof(self->group), "%s", group);
    (void)snprintf(self->backend, sizeof(self->backend), "%s",
                   values->backend != NULL ? backend_name(values->backend) : "");
}

static void fill_filter(struct kill_job *self, const struct command_values *values)
{
    uint64_t now_us = clock_mono_us();
    self->filter =
        (struct proxy_close_filter){.group = values->group,
                                    .backend = values->backend,
                                    .idle_us = values->idle_us,
                                    .client = values->client,
                                    .client_bits = values->client_bits,
                                    .id = values->connection,
                                    .before_us = values->older_us < now_us ? now_us - values->older_us : 1};
    self->rate = values->rate;
    if (self->rate > 0) {
        self->asked = self->rate >= TICKS_PER_S ? self->rate / TICKS_PER_S : 1;
        self->filter.max = self->asked;
    }
}

static int check(const struct command_values *values, struct err_text *err)
{
    /* 0.0.0.0/0 is a way to say everybody, so it is asked about as that is. */
    bool some_clients = values->client.family != 0 && values->client_bits > 0;
    bool narrowed = values->older_us > 0 || values->idle_us > 0 || some_clients;
    if (values->service != NULL && values->group == ROUTING_NONE && !narrowed) {
        return err_set(err, ERR_INVALID,
                       "all connections of %s? say which: kill %s/GROUP, or add --older, --idle or a smaller "
                       "--client",
                       values->service->name, values->service->name);
    }
    return ERR_OK;
}

int cmd_kill(struct command_call *call, struct err_text *err)
{
    const struct command_values *values = &call->values;
    int code = check(values, err);
    if (code != ERR_OK) {
        return code;
    }
    struct kill_job *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    self->all_services = values->service == NULL;
    describe(self, values);
    fill_filter(self, values);
    (void)snprintf(self->actor, sizeof(self->actor), "%s", call->peer->actor);
    (void)snprintf(self->reason, sizeof(self->reason), "%s", values->reason != NULL ? values->reason : "");
    if (self->rate > 0) {
        self->tick = evtimer_new(call->admin->options.base, on_tick, self);
        if (self->tick == NULL) {
            free(self);
            return err_set(err, ERR_NOMEM, "out of memory");
        }
    }
    self->job.orphan = orphan;
    job_begin(&self->job, call, destroy);
    round_begin(self);
    return ERR_OK;
}
