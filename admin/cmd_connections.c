/*
 * The list of open connections, and counts of them: the workers are asked in slices (proxy_service_visit),
 * one service after the other, and the reply is written when the last one has answered. Control thread;
 * memory is bounded by the limit, or by the number of different things counted.
 */
#include "admin/admin_internal.h"
#include "core/clock.h"
#include "core/siphash.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 100u
#define COUNTS_FIRST 64u /* a power of two */

enum count_by { COUNT_BACKEND, COUNT_CLIENT, COUNT_GROUP };

struct listed {
    struct proxy_connection row;
    size_t service; /* index into names */
};

/* What is the same for all that are counted together; compared as bytes, so cleared before it is filled in.
 */
struct count_key {
    const struct backend *backend;
    size_t service;
    uint32_t group;
    struct addr_ip client;
};

struct count {
    struct count_key key;
    uint64_t open; /* 0: a free place */
};

struct connections_job {
    struct job job;
    struct proxy_close_filter filter;
    bool json, counting, incomplete;
    enum count_by by;
    size_t limit;
    char (*names)[ROUTING_NAME_MAX]; /* of the services that are asked; owned */
    size_t names_len, at;
    char group_name[ROUTING_NAME_MAX], backend_name[ROUTING_NAME_MAX]; /* "": any */
    uint64_t matched;
    struct listed *rows; /* owned; twice the limit, so that it is rarely cut */
    size_t rows_len;
    struct count *counts; /* owned; open addressing */
    size_t counts_len, counts_room;
};

static void ask_next(struct connections_job *self);

static void destroy(struct job *job)
{
    struct connections_job *self = list_entry(job, struct connections_job, job);
    free(self->names);
    free(self->rows);
    free(self->counts);
    free(self);
}

/* ---- collecting */

static int oldest_first(const void *a, const void *b)
{
    uint64_t x = ((const struct listed *)a)->row.age_us;
    uint64_t y = ((const struct listed *)b)->row.age_us;
    return (x < y) - (x > y);
}

static void cut_rows(struct connections_job *self)
{
    qsort(self->rows, self->rows_len, sizeof(*self->rows), oldest_first);
    self->rows_len = self->rows_len < self->limit ? self->rows_len : self->limit;
}

static struct count *find_count(struct count *counts, size_t room, const struct count_key *key)
{
    static const struct siphash_key hash_key = {0x73686f776e, 0x6279};
    size_t at = siphash(&hash_key, key, sizeof(*key)) & (room - 1);
    /* Keys are zeroed before they are filled, so their padding is equal too. */
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
    while (counts[at].open != 0 && memcmp(&counts[at].key, key, sizeof(*key)) != 0) {
        at = (at + 1) & (room - 1);
    }
    return &counts[at];
}

/* Keeps half of the places free. False: no memory; what is new is then not counted. */
static bool grow_counts(struct connections_job *self)
{
    if (self->counts_len * 2 < self->counts_room) {
        return true;
    }
    size_t room = self->counts_room > 0 ? self->counts_room * 2 : COUNTS_FIRST;
    struct count *counts = calloc(room, sizeof(*counts));
    if (counts == NULL) {
        return false;
    }
    for (size_t i = 0; i < self->counts_room; i++) {
        if (self->counts[i].open > 0) {
            *find_count(counts, room, &self->counts[i].key) = self->counts[i];
        }
    }
    free(self->counts);
    self->counts = counts;
    self->counts_room = room;
    return true;
}

static void count_row(struct connections_job *self, const struct proxy_connection *row)
{
    struct count_key key;
    memset(&key, 0, sizeof(key));
    key.service = self->at;
    key.group = row->group;
    if (self->by == COUNT_BACKEND) {
        key.backend = row->backend;
    } else if (self->by == COUNT_CLIENT) {
        key.service = 0;
        key.group = ROUTING_NONE;
        memcpy(key.client.bytes, row->client.bytes, sizeof(key.client.bytes));
        key.client.family = row->client.family;
    }
    if (!grow_counts(self)) {
        self->incomplete = true;
        return;
    }
    struct count *count = find_count(self->counts, self->counts_room, &key);
    self->counts_len += count->open == 0;
    count->key = key;
    count->open++;
}

static void on_rows(void *context, const struct proxy_connection *rows, size_t n)
{
    struct connections_job *self = context;
    self->matched += n;
    for (size_t i = 0; i < n; i++) {
        if (self->counting) {
            count_row(self, &rows[i]);
            continue;
        }
        if (self->rows_len == 2 * self->limit) {
            cut_rows(self);
        }
        self->rows[self->rows_len++] = (struct listed){rows[i], self->at};
    }
}

/* ---- the reply */

static const struct admin_service *service_at(const struct connections_job *self, size_t index)
{
    const struct admin_service *service = NULL;
    if (self->job.admin == NULL ||
        args_find_service(self->job.admin, self->names[index], &service, NULL) != ERR_OK) {
        return NULL;
    }
    return service;
}

/* The name of a backend that may have gone meanwhile: looked up, never followed. */
static const char *name_of_backend(const struct admin_service *service, uint32_t group,
                                   const struct backend *backend)
{
    if (service != NULL && backend != NULL && group < routing_groups(service->routing)) {
        for (size_t b = 0; b < routing_backends(service->routing, group); b++) {
            if (routing_backend_at(service->routing, group, b) == backend) {
                return backend_name(backend);
            }
        }
    }
    return "-";
}

static const char *name_of_group(const struct admin_service *service, uint32_t group)
{
    if (service == NULL || group >= routing_groups(service->routing)) {
        return "-";
    }
    return routing_group_name(service->routing, group);
}

static void write_row(FILE *out, const struct connections_job *self, const struct listed *listed)
{
    const struct proxy_connection *row = &listed->row;
    const struct admin_service *service = service_at(self, listed->service);
    char id[PROXY_ID_TEXT_MAX];
    char client[ADDR_TEXT_MAX];
    char age[32];
    char idle[32];
    proxy_id_format(row->id, id, sizeof(id));
    addr_ip_format(&row->client, client, sizeof(client));
    clock_format_duration(row->age_us, age, sizeof(age));
    clock_format_duration(row->idle_us, idle, sizeof(idle));
    fprintf(out,
            "%-10s %s/%s/%s   client %s   %s   age %s   idle %s   in %" PRIu64 " out %" PRIu64 " bytes\n", id,
            self->names[listed->service], name_of_group(service, row->group),
            name_of_backend(service, row->group, row->backend), client, row->state, age, idle, row->bytes_in,
            row->bytes_out);
}

static json_t *json_of_row(const struct connections_job *self, const struct listed *listed)
{
    const struct proxy_connection *row = &listed->row;
    const struct admin_service *service = service_at(self, listed->service);
    char id[PROXY_ID_TEXT_MAX];
    char client[ADDR_TEXT_MAX];
    proxy_id_format(row->id, id, sizeof(id));
    addr_ip_format(&row->client, client, sizeof(client));
    return json_pack("{s:s,s:s,s:o,s:o,s:s,s:s,s:f,s:f,s:I,s:I}", "id", id, "service",
                     self->names[listed->service], "group",
                     render_json_text(name_of_group(service, row->group)), "backend",
                     render_json_text(name_of_backend(service, row->group, row->backend)), "client", client,
                     "state", row->state, "age_s", (double)row->age_us / (double)CLOCK_US_PER_S, "idle_s",
                     (double)row->idle_us / (double)CLOCK_US_PER_S, "bytes_in", (json_int_t)row->bytes_in,
                     "bytes_out", (json_int_t)row->bytes_out);
}

/* What is asked for, as programs before this one would name it; all services but for one that was named. */
static struct elsewhere_place place_of(const struct connections_job *self)
{
    return (struct elsewhere_place){.service = self->names_len == 1 ? self->names[0] : NULL,
                                    .group = self->group_name[0] != '\0' ? self->group_name : NULL,
                                    .backend = self->backend_name[0] != '\0' ? self->backend_name : NULL};
}

static int write_rows(FILE *out, struct connections_job *self)
{
    const struct elsewhere_place place = place_of(self);
    cut_rows(self);
    if (!self->json) {
        for (size_t i = 0; i < self->rows_len; i++) {
            write_row(out, self, &self->rows[i]);
        }
        fprintf(out, "%zu of %" PRIu64 " connections, oldest first%s\n", self->rows_len, self->matched,
                self->incomplete ? "; incomplete: memory ran out" : "");
        elsewhere_write(out, self->job.admin, &place);
        return ERR_OK;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < self->rows_len; i++) {
        (void)json_array_append_new(list, json_of_row(self, &self->rows[i]));
    }
    return render_json_write(out, json_pack("{s:I,s:b,s:o,s:o}", "matched", (json_int_t)self->matched,
                                            "complete", (int)!self->incomplete, "elsewhere",
                                            elsewhere_json(self->job.admin, &place), "connections", list));
}

static int most_first(const void *a, const void *b)
{
    uint64_t x = ((const struct count *)a)->open;
    uint64_t y = ((const struct count *)b)->open;
    return (x < y) - (x > y);
}

/* What was counted, as one word: "web/old/10.0.0.11:8080", "web/old", "192.0.2.1". */
static void format_key(const struct connections_job *self, const struct count_key *key, char *out,
                       size_t out_size)
{
    const struct admin_service *service = service_at(self, key->service);
    const char *group = name_of_group(service, key->group);
    if (self->by == COUNT_CLIENT) {
        addr_ip_format(&key->client, out, out_size);
        char *port = strrchr(out, ':');
        if (port != NULL) {
            *port = '\0'; /* of all its ports together */
        }
    } else if (self->by == COUNT_GROUP) {
        (void)snprintf(out, out_size, "%s/%s", self->names[key->service], group);
    } else {
        (void)snprintf(out, out_size, "%s/%s/%s", self->names[key->service], group,
                       name_of_backend(service, key->group, key->backend));
    }
}

static int write_counts(FILE *out, struct connections_job *self)
{
    char key[3 * ROUTING_NAME_MAX + 3];
    const struct elsewhere_place place = place_of(self);
    json_t *list = self->json ? json_array() : NULL;
    if (self->counts_room > 0) {
        qsort(self->counts, self->counts_room, sizeof(*self->counts), most_first);
    }
    size_t shown = self->counts_len < self->limit ? self->counts_len : self->limit;
    for (size_t i = 0; i < shown; i++) {
        format_key(self, &self->counts[i].key, key, sizeof(key));
        if (self->json) {
            (void)json_array_append_new(list, json_pack("{s:o,s:I}", "key", render_json_text(key), "open",
                                                        (json_int_t)self->counts[i].open));
        } else {
            fprintf(out, "%8" PRIu64 "  %s\n", self->counts[i].open, key);
        }
    }
    if (self->json) {
        return render_json_write(out, json_pack("{s:I,s:b,s:o,s:o}", "matched", (json_int_t)self->matched,
                                                "complete", (int)!self->incomplete, "elsewhere",
                                                elsewhere_json(self->job.admin, &place), "counts", list));
    }
    fprintf(out, "%8" PRIu64 "  in all; %zu of %zu shown%s\n", self->matched, shown, self->counts_len,
            self->incomplete ? "; incomplete: memory ran out" : "");
    elsewhere_write(out, self->job.admin, &place);
    return ERR_OK;
}

static void finish(struct connections_job *self)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = self->job.admin != NULL ? open_memstream(&text, &length) : NULL;
    if (out != NULL) {
        int code = self->counting ? write_counts(out, self) : write_rows(out, self);
        bool failed = ferror(out) != 0 || code != ERR_OK;
        if (fclose(out) != 0 || failed) {
            free(text);
            text = NULL;
        }
    }
    job_end(&self->job, text, length);
}

/* ---- asking */

static void on_done(void *context, bool complete)
{
    struct connections_job *self = context;
    self->incomplete = self->incomplete || !complete;
    self->at++;
    ask_next(self);
}

static void ask_next(struct connections_job *self)
{
    const struct proxy_visitor visitor = {.rows = on_rows, .done = on_done, .context = self};
    for (; self->at < self->names_len; self->at++) {
        const struct admin_service *service = service_at(self, self->at);
        if (service == NULL || service->proxy == NULL) {
            continue;
        }
        if (proxy_service_visit(service->proxy, &self->filter, &visitor) == ERR_OK) {
            return;
        }
        self->incomplete = true;
    }
    finish(self);
}

/* NULL: out of memory. */
static struct connections_job *create(const struct command_call *call)
{
    const struct admin_options *options = &call->admin->options;
    const struct command_values *values = &call->values;
    struct connections_job *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    self->limit = values->count != 0 ? values->count : LIMIT_DEFAULT;
    self->json = values->json;
    self->counting = values->choice_given;
    self->by = (enum count_by)values->choice; /* the order of the choices in the table is that of the enum */
    self->names = calloc(options->services_len + 1, sizeof(*self->names));
    self->rows = calloc(2 * self->limit, sizeof(*self->rows));
    if (self->names == NULL || self->rows == NULL) {
        destroy(&self->job);
        return NULL;
    }
    for (size_t i = 0; i < options->services_len; i++) {
        if (values->service == NULL || values->service == &options->services[i]) {
            (void)snprintf(self->names[self->names_len++], ROUTING_NAME_MAX, "%s", options->services[i].name);
        }
    }
    if (values->service != NULL && values->group != ROUTING_NONE) {
        (void)snprintf(self->group_name, sizeof(self->group_name), "%s",
                       routing_group_name(values->service->routing, values->group));
    }
    if (values->backend != NULL) {
        (void)snprintf(self->backend_name, sizeof(self->backend_name), "%s", backend_name(values->backend));
    }
    self->filter = (struct proxy_close_filter){.group = values->group,
                                               .backend = values->backend,
                                               .idle_us = values->idle_us,
                                               .client = values->client,
                                               .client_bits = values->client_bits};
    if (values->older_us > 0) {
        uint64_t now_us = clock_mono_us();
        self->filter.before_us = values->older_us < now_us ? now_us - values->older_us : 1;
    }
    return self;
}

int cmd_connections(struct command_call *call, struct err_text *err)
{
    struct connections_job *self = create(call);
    if (self == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the list; a smaller --limit takes less");
    }
    job_begin(&self->job, call, destroy);
    ask_next(self);
    return ERR_OK;
}
