/*
 * The program itself at the end of `status`: how much it can hold and holds, what the kernel keeps it from,
 * and which programs before it still have connections. Control thread.
 */
#include "admin/admin_internal.h"

#include "core/clock.h"
#include "core/confinement.h"

#include <inttypes.h>
#include <unistd.h>

#define FORMERS_SHOWN 16u

static void write_limits(FILE *out, const struct admin *admin)
{
    struct proxy_limits limits;
    if (admin->options.proxy == NULL) {
        return; /* it carries nothing */
    }
    proxy_read_limits(admin->options.proxy, &limits);
    fprintf(out,
            "limits        %" PRIu64 " of at most %" PRIu64 " connections open, which hold %" PRIu64
            " MiB at most (descriptors %" PRIu64 ", pipes %" PRIu64 ")\n",
            limits.open, limits.connections, limits.memory_bytes >> 20, limits.descriptors, limits.pipes);
}

static void write_confinement(FILE *out)
{
    struct confinement confinement;
    confinement_read(&confinement);
    fprintf(out,
            "confinement   user %s, capabilities %s, new privileges %s, seccomp %s, workers' seccomp %s, "
            "landlock %s\n",
            confinement.user, confinement.capabilities, confinement.no_new_privileges ? "none" : "possible",
            confinement.seccomp ? "on" : "off", confinement.workers ? "on" : "off", confinement.landlock);
}

static size_t read_formers(const struct admin *admin, struct admin_former *out)
{
    return admin->options.formers != NULL
               ? admin->options.formers(admin->options.reload_context, out, FORMERS_SHOWN)
               : 0;
}

static void write_formers(FILE *out, const struct admin *admin)
{
    struct admin_former formers[FORMERS_SHOWN];
    size_t len = read_formers(admin, formers);
    for (size_t i = 0; i < len; i++) {
        fprintf(out, "%s pid %d: %" PRIu64 " open", i == 0 ? "before it    " : ",", (int)formers[i].pid,
                formers[i].open);
    }
    if (len > 0) {
        fputs(len == 1 ? ", and ends with the last\n" : ", and each ends with its last\n", out);
    }
}

void render_program(FILE *out, const struct admin *admin)
{
    char age[32];
    clock_format_duration(clock_mono_us() - admin->options.started_us, age, sizeof(age));
    fprintf(out, "program       shuntd %s pid %d, up %s\n", SHUNT_VERSION, (int)getpid(), age);
    write_formers(out, admin);
    write_limits(out, admin);
    write_confinement(out);
}

json_t *render_json_formers(const struct admin *admin)
{
    struct admin_former formers[FORMERS_SHOWN];
    size_t len = read_formers(admin, formers);
    json_t *list = json_array();
    for (size_t i = 0; i < len; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:i,s:I}", "pid", (int)formers[i].pid, "open", (json_int_t)formers[i].open));
    }
    return list;
}
