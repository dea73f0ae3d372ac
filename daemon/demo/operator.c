/*
 * Answers for talking to the admin socket: one command a line out, lines up to an empty one back, and the
 * few fields of the JSON that the demo shows. Main thread; blocks, at most for a few seconds.
 */
#include "daemon/demo/operator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define OPERATOR_TIMEOUT_S 10

struct demo_operator {
    int fd;
    FILE *in; /* owns fd */
};

int demo_operator_create(const char *path, struct demo_operator **out, struct err_text *err)
{
    struct demo_operator *admin = calloc(1, sizeof(*admin));
    if (admin == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    admin->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval timeout = {.tv_sec = OPERATOR_TIMEOUT_S};
    if (admin->fd < 0 || setsockopt(admin->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
        connect(admin->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        (admin->in = fdopen(admin->fd, "r")) == NULL) {
        int code = err_set_errno(err, "cannot reach the admin socket %s", path);
        demo_operator_destroy(admin);
        return code;
    }
    *out = admin;
    return 0;
}

void demo_operator_destroy(struct demo_operator *admin)
{
    if (admin == NULL) {
        return;
    }
    if (admin->in != NULL) {
        fclose(admin->in);
    } else if (admin->fd >= 0) {
        close(admin->fd);
    }
    free(admin);
}

static int send_line(struct demo_operator *admin, const char *command, struct err_text *err)
{
    char line[512];
    int n = snprintf(line, sizeof(line), "%s\n", command);
    if (n < 0 || (size_t)n >= sizeof(line)) {
        return err_set(err, ERR_RANGE, "the command is too long");
    }
    if (send(admin->fd, line, (size_t)n, MSG_NOSIGNAL) != n) {
        return err_set_errno(err, "cannot send \"%s\" to the admin socket", command);
    }
    return 0;
}

/* Reads up to the empty line that ends a reply. */
static int read_reply(struct demo_operator *admin, const char *command, char **reply, struct err_text *err)
{
    char *text = NULL;
    char *line = NULL;
    size_t text_len = 0;
    size_t capacity = 0;
    ssize_t n = 0;
    FILE *memory = open_memstream(&text, &text_len);
    if (memory == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    while ((n = getline(&line, &capacity, admin->in)) > 1) {
        fputs(line, memory);
    }
    free(line);
    if (fclose(memory) != 0 || text == NULL) {
        free(text);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (n != 1) {
        free(text);
        return err_set_errno(err, "no whole reply to \"%s\" from the admin socket", command);
    }
    *reply = text;
    return 0;
}

int demo_operator_command(struct demo_operator *admin, const char *command, char **reply,
                          struct err_text *err)
{
    char *text = NULL;
    int rc = send_line(admin, command, err);
    if (rc == 0) {
        rc = read_reply(admin, command, &text, err);
    }
    if (rc != 0 || text == NULL) {
        return rc != 0 ? rc : ERR_NOMEM;
    }
    if (strncmp(text, "error: ", strlen("error: ")) == 0) {
        rc = err_set(err, ERR_STATE, "\"%s\" was refused: %s", command, text + strlen("error: "));
        free(text);
        return rc;
    }
    *reply = text;
    return 0;
}

static int command_json(struct demo_operator *admin, const char *command, json_t **out, struct err_text *err)
{
    char *reply = NULL;
    int rc = demo_operator_command(admin, command, &reply, err);
    if (rc != 0) {
        return rc;
    }
    *out = json_loads(reply, 0, NULL);
    free(reply);
    return *out != NULL ? 0 : err_set(err, ERR_PARSE, "the reply to \"%s\" is not JSON", command);
}

static void copy_text(char *to, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(to, size, "%s", text != NULL ? text : "");
}

static uint64_t number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void read_group(const json_t *group, unsigned index, struct demo_status *out)
{
    const json_t *backends = json_object_get(group, "backends");
    size_t i = 0;
    const json_t *backend = NULL;
    out->group[index].usable = (unsigned)number(group, "usable");
    out->group[index].backends = (unsigned)json_array_size(backends);
    json_array_foreach(backends, i, backend)
    {
        out->group[index].open += number(backend, "open");
        out->group[index].connections += number(backend, "connections");
        out->group[index].refused += number(json_object_get(backend, "errors"), "connect");
    }
}

int demo_operator_status(struct demo_operator *admin, struct demo_status *out, struct err_text *err)
{
    json_t *root = NULL;
    int rc = command_json(admin, "status --json", &root, err);
    if (rc != 0) {
        return rc;
    }
    *out = (struct demo_status){0};
    const json_t *service = json_array_get(json_object_get(root, "services"), 0);
    const json_t *listen = json_array_get(json_object_get(service, "listen"), 0);
    const json_t *left = json_object_get(service, "step_left_s");
    const json_t *groups = json_object_get(service, "groups");
    snprintf(out->listen, sizeof(out->listen), "%s", json_is_string(listen) ? json_string_value(listen) : "");
    copy_text(out->phase, sizeof(out->phase), service, "phase");
    copy_text(out->reason, sizeof(out->reason), service, "reason");
    copy_text(out->migration, sizeof(out->migration), service, "migration");
    copy_text(out->active, sizeof(out->active), service, "active");
    out->share_bp = (uint32_t)number(service, "share_bp");
    out->live_share_bp = (uint32_t)number(service, "live_share_bp");
    out->step = (unsigned)number(service, "step");
    out->steps = (unsigned)number(service, "steps");
    out->step_left_s = json_is_number(left) ? json_number_value(left) : -1.0;
    out->spilled = number(json_object_get(service, "connections"), "spilled");
    for (unsigned g = 0; g < DEMO_VERSIONS; g++) {
        read_group(json_array_get(groups, g), g, out);
    }
    json_decref(root);
    return out->phase[0] != '\0' ? 0 : err_set(err, ERR_PARSE, "the status does not name a phase");
}

int demo_operator_events(struct demo_operator *admin, uint64_t *seen,
                         void (*fn)(void *context, const char *kind, const char *text, const char *severity),
                         void *context, struct err_text *err)
{
    json_t *root = NULL;
    int rc = command_json(admin, "events 50 --json", &root, err);
    if (rc != 0) {
        return rc;
    }
    size_t i = 0;
    const json_t *event = NULL;
    json_array_foreach(json_object_get(root, "events"), i, event)
    {
        uint64_t this = number(event, "number");
        if (this > *seen) {
            const char *kind = json_string_value(json_object_get(event, "kind"));
            const char *text = json_string_value(json_object_get(event, "text"));
            const char *severity = json_string_value(json_object_get(event, "severity"));
            *seen = this;
            fn(context, kind != NULL ? kind : "", text != NULL ? text : "", severity != NULL ? severity : "");
        }
    }
    json_decref(root);
    return 0;
}
