/*
 * Connections that are open in programs before this one, where commands speak of connections: these have no
 * ids here and are not listed one by one, but nobody shall believe that they are not there. Control thread.
 */
#include "admin/admin_internal.h"

#include <inttypes.h>
#include <string.h>

#define LINES_MAX 20u

struct gathering {
    const struct elsewhere_place *place;
    FILE *out;    /* NULL: no text */
    json_t *list; /* NULL: no JSON */
    uint64_t open;
    size_t lines;
    struct elsewhere_programs programs;
};

static bool is_meant(const struct elsewhere_place *place, const struct admin_elsewhere *one)
{
    return (place->service == NULL || strcmp(place->service, one->service) == 0) &&
           (place->group == NULL || strcmp(place->group, one->group) == 0) &&
           (place->backend == NULL || strcmp(place->backend, one->backend) == 0);
}

static void gather(void *context, const struct admin_elsewhere *one)
{
    struct gathering *g = context;
    if (!is_meant(g->place, one)) {
        return;
    }
    g->open += one->open;
    if (g->programs.last != one->pid) {
        g->programs.last = one->pid;
        g->programs.len++;
    }
    if (g->list != NULL) {
        (void)json_array_append_new(
            g->list, json_pack("{s:i,s:o,s:o,s:o,s:I}", "pid", (int)one->pid, "service",
                               render_json_text(one->service), "group", render_json_text(one->group),
                               "backend", render_json_text(one->backend), "open", (json_int_t)one->open));
    }
    if (g->out != NULL && g->lines++ < LINES_MAX) {
        fprintf(g->out, "not listed: %" PRIu64 " of %s/%s/%s in the program before it, pid %d\n", one->open,
                one->service, one->group, one->backend, (int)one->pid);
    }
}

static struct gathering go_over(const struct admin *admin, const struct elsewhere_place *place, FILE *out,
                                json_t *list)
{
    struct gathering g = {.place = place, .out = out, .list = list};
    if (admin->options.elsewhere != NULL) {
        admin->options.elsewhere(admin->options.reload_context, gather, &g);
    }
    return g;
}

void elsewhere_write(FILE *out, const struct admin *admin, const struct elsewhere_place *place)
{
    struct gathering g = go_over(admin, place, out, NULL);
    if (g.lines > LINES_MAX) {
        fprintf(out, "not listed: %" PRIu64 " in all, on %zu backends, in programs before it\n", g.open,
                g.lines);
    }
}

json_t *elsewhere_json(const struct admin *admin, const struct elsewhere_place *place)
{
    json_t *list = json_array();
    (void)go_over(admin, place, NULL, list);
    return list;
}

uint64_t elsewhere_open(const struct admin *admin, const struct elsewhere_place *place,
                        struct elsewhere_programs *programs)
{
    struct gathering g = go_over(admin, place, NULL, NULL);
    if (programs != NULL) {
        *programs = g.programs;
    }
    return g.open;
}
