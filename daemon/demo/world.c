/*
 * Answers for everything around the app in the demo: the temporary folder and its removal, the text of the
 * configuration, and the control thread. Nothing here is special to the demo from the app's point of view.
 */
#include "daemon/demo/world.h"

#include "core/clock.h"
#include "core/config.h"
#include "core/mailbox.h"
#include "daemon/app.h"
#include "daemon/targets.h"

#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

struct demo_world {
    char dir[64];
    char socket[96];
    char log[96];
    int log_fd;
    struct config *config;
    struct targets *targets;
    struct app *app;
    struct mailbox *mailbox; /* into the app's loop */
    struct mailbox_message stop;
    pthread_t thread;
    bool running;
};

static void *run(void *context)
{
    struct demo_world *world = context;
    struct err_text err;
    if (app_run(world->app, &err) != 0) {
        dprintf(world->log_fd, "%s\n", err.text);
    }
    return NULL;
}

static void on_stop(struct mailbox_message *message, void *receiver)
{
    (void)message;
    app_stop(receiver, false, "the demo is over");
}

/* In TMPDIR, but a socket's path has little room: then in /tmp. */
static int make_dir(struct demo_world *world, struct err_text *err)
{
    static const char leaf[] = "/shunt-demo-XXXXXX";
    const char *tmp = getenv("TMPDIR");
    if (tmp == NULL || tmp[0] != '/' || strlen(tmp) + sizeof(leaf) > sizeof(world->dir)) {
        tmp = "/tmp";
    }
    snprintf(world->dir, sizeof(world->dir), "%s%s", tmp, leaf);
    if (mkdtemp(world->dir) == NULL) {
        int code = err_set_errno(err, "cannot make a temporary folder %s", world->dir);
        world->dir[0] = '\0';
        return code;
    }
    snprintf(world->socket, sizeof(world->socket), "%s/admin.sock", world->dir);
    snprintf(world->log, sizeof(world->log), "%s/log", world->dir);
    world->log_fd = open(world->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return world->log_fd >= 0 ? 0 : err_set_errno(err, "cannot write %s", world->log);
}

static void write_group(FILE *out, const struct demo_backends *backends, unsigned version)
{
    fprintf(out,
            "      { name = \"%s\"; balance = \"round-robin\";\n"
            "        health = { type = \"tcp\"; interval = \"100ms\"; rise = 1; fall = 2; };\n"
            "        backends = (",
            version == 0 ? "old" : "new");
    for (unsigned i = 0; i < DEMO_BACKENDS_PER_VERSION; i++) {
        fprintf(out, "%s { address = \"127.0.0.1:%u\"; }", i == 0 ? "" : ",",
                demo_backends_port(backends, version, i));
    }
    fprintf(out, " ); }%s\n", version + 1 < DEMO_VERSIONS ? "," : "");
}

static void write_plan(FILE *out, const struct demo_plan *plan)
{
    static const char *const shares[] = {"5%", "25%", "50%", "100%"};
    fputs("    migration = { steps = (", out);
    for (size_t i = 0; i < sizeof(shares) / sizeof(*shares); i++) {
        fprintf(out, "%s { share = \"%s\"; hold = \"%llums\"; }", i == 0 ? "" : ",", shares[i],
                (unsigned long long)(plan->hold_us[i] / CLOCK_US_PER_MS));
    }
    fprintf(out, " );\n      drain = { timeout = \"%llums\"; }; };\n",
            (unsigned long long)(plan->drain_us / CLOCK_US_PER_MS));
}

/* The configuration, owned by the caller; NULL without memory. */
static char *write_config(const struct demo_world *world, const struct demo_backends *backends,
                          const struct demo_plan *plan)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL) {
        return NULL;
    }
    fprintf(out,
            "state_dir = \"%s/state\";\n"
            "shutdown_timeout = \"2s\";\n"
            "admin = { socket = \"%s\"; };\n"
            "services = ( {\n"
            "    name = \"demo\";\n"
            "    listen = [ \"127.0.0.1:0\" ];\n"
            "    groups = (\n",
            world->dir, world->socket);
    for (unsigned v = 0; v < DEMO_VERSIONS; v++) {
        write_group(out, backends, v);
    }
    fputs("    );\n", out);
    write_plan(out, plan);
    fputs("} );\n", out);
    return fclose(out) == 0 ? text : NULL;
}

static int load(struct demo_world *world, const char *text, struct err_text *err)
{
    struct config_errors errors;
    int rc = config_load_text(text, world->dir, &world->config, &errors);
    if (rc == 0) {
        config_errors_clear(&errors);
        rc = targets_resolve(world->config, TARGETS_START, &world->targets, &errors);
    }
    if (rc != 0) {
        err_set(err, rc, "the configuration of the demo does not load: %s",
                errors.len > 0 ? errors.list[0].text : err_describe(rc));
    }
    config_errors_clear(&errors);
    return rc;
}

static int start(struct demo_world *world, const struct demo_backends *backends, const struct demo_plan *plan,
                 struct err_text *err)
{
    int rc = make_dir(world, err);
    if (rc != 0) {
        return rc;
    }
    char *text = write_config(world, backends, plan);
    rc = text == NULL ? err_set(err, ERR_NOMEM, "out of memory") : load(world, text, err);
    free(text);
    if (rc != 0) {
        return rc;
    }
    const struct app_options options = {
        .config = world->config, .targets = world->targets, .log_fd = world->log_fd};
    rc = app_create(&options, &world->app, err);
    if (rc == 0) {
        rc = mailbox_create(app_base(world->app), world->app, &world->mailbox, err);
    }
    if (rc != 0) {
        return rc;
    }
    int code = pthread_create(&world->thread, NULL, run, world);
    if (code != 0) {
        return err_set(err, ERR_SYSTEM, "cannot start the control thread: %s", strerror(code));
    }
    world->running = true;
    return 0;
}

int demo_world_create(const struct demo_backends *backends, const struct demo_plan *plan,
                      struct demo_world **out, struct err_text *err)
{
    struct demo_world *world = calloc(1, sizeof(*world));
    if (world == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    world->log_fd = -1;
    world->stop.run = on_stop;
    int rc = start(world, backends, plan, err);
    if (rc != 0) {
        demo_world_destroy(world, false);
        return rc;
    }
    *out = world;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

void demo_world_destroy(struct demo_world *world, bool keep)
{
    if (world == NULL) {
        return;
    }
    if (world->running) {
        mailbox_post(world->mailbox, &world->stop);
        pthread_join(world->thread, NULL);
    }
    if (world->mailbox != NULL) {
        mailbox_destroy(world->mailbox);
    }
    app_destroy(world->app);
    targets_destroy(world->targets);
    config_free(world->config);
    if (world->log_fd >= 0) {
        close(world->log_fd);
    }
    if (world->dir[0] != '\0' && !keep) {
        (void)nftw(world->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
    free(world);
}

const char *demo_world_socket(const struct demo_world *world)
{
    return world->socket;
}

const char *demo_world_log(const struct demo_world *world)
{
    return world->log;
}
