/*
 * The side of the program that was started to take over: reads what the former offers, says when it is ready,
 * and takes up what it is told. Waiting for the former is all it does until then, so it waits in place; a
 * former that hangs is killed by whoever looks after it, and one that is gone leaves all to this one. Control
 * thread, before its loop runs.
 */
#include "daemon/handover_internal.h"

#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log.h"
#include "daemon/starter.h"

#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct successor {
    struct channel *channel; /* owned; NULL: the former is gone, or has become one of the app's */
    pid_t pid;               /* of the former */
    struct given given;
    int lock; /* owned; of the journal; -1: none */
    struct {
        int fd;
        pid_t pid;
    } * before; /* owned: the channels to those before it */
    size_t before_len;
};

/* ---- both sides */

int handover_send_json(struct channel *channel, uint32_t kind, json_t *value, const int *fds, size_t fds_len)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    int rc = text != NULL ? channel_send(channel, kind, text, strlen(text), fds, fds_len) : ERR_NOMEM;
    free(text);
    json_decref(value);
    return rc;
}

json_t *handover_introduction(void)
{
    return json_pack("{s:i, s:s, s:i}", "protocol", HANDOVER_PROTOCOL, "version", SHUNT_VERSION, "pid",
                     (int)getpid());
}

int handover_check(const json_t *introduction, struct err_text *err)
{
    const json_t *protocol = json_object_get(introduction, "protocol");
    const char *version = json_string_value(json_object_get(introduction, "version"));
    if (json_is_integer(protocol) && json_integer_value(protocol) == HANDOVER_PROTOCOL) {
        return 0;
    }
    return err_set(err, ERR_UNAVAILABLE,
                   "version %s hands over in another way than %s (protocol %d, here %d): it needs a restart",
                   version != NULL ? version : "?", SHUNT_VERSION, (int)json_integer_value(protocol),
                   HANDOVER_PROTOCOL);
}

/* ---- what is offered */

static int keep_before(struct successor *successor, int fd, pid_t pid)
{
    void *more = realloc(successor->before, (successor->before_len + 1) * sizeof(*successor->before));
    if (more == NULL) {
        (void)close(fd);
        return ERR_NOMEM;
    }
    successor->before = more;
    successor->before[successor->before_len].fd = fd;
    successor->before[successor->before_len++].pid = pid;
    return 0;
}

/* Takes fd over in any case. A socket that cannot be used is left: the address is then bound, or refused. */
static int keep(struct successor *successor, const json_t *what, int fd)
{
    const char *purpose = json_string_value(json_object_get(what, "purpose"));
    const char *wanted_text = json_string_value(json_object_get(what, "wanted"));
    struct addr wanted;
    struct err_text err;
    if (purpose == NULL) {
        (void)close(fd);
        return 0;
    }
    if (strcmp(purpose, "journal") == 0) {
        if (successor->lock >= 0) {
            (void)close(successor->lock);
        }
        successor->lock = fd;
        return 0;
    }
    if (strcmp(purpose, "former") == 0) {
        return keep_before(successor, fd, (pid_t)json_integer_value(json_object_get(what, "pid")));
    }
    bool known = wanted_text != NULL && addr_parse(wanted_text, NULL, &wanted, &err) == 0;
    int rc = given_add(&successor->given, fd, purpose, known ? &wanted : NULL,
                       json_is_true(json_object_get(what, "foreign")), &err);
    return rc == ERR_NOMEM ? rc : 0;
}

static int keep_all(struct successor *successor, struct channel_message *message)
{
    json_t *list = json_loadb((const char *)message->body, message->length, 0, NULL);
    int rc = 0;
    for (size_t i = 0; i < message->fds_len && rc == 0; i++) {
        rc = keep(successor, json_array_get(list, i), message->fds[i]);
        message->fds[i] = -1;
    }
    json_decref(list);
    return rc;
}

static void is_gone(struct successor *successor)
{
    channel_destroy(successor->channel);
    successor->channel = NULL;
}

static int read_offer(struct successor *successor, struct err_text *err)
{
    struct channel_message message;
    for (bool all = false; !all;) {
        int rc = channel_receive_within(successor->channel, HANDOVER_MOMENT_US, &message);
        if (rc == 0) {
            return err_set(err, ERR_TIMEOUT, "the program that started this one does not say what for");
        }
        if (rc < 0) {
            is_gone(successor);
            return 0;
        }
        rc = message.kind == HANDOVER_SOCKETS ? keep_all(successor, &message) : 0;
        if (message.kind == HANDOVER_OFFER) {
            json_t *offer = json_loadb((const char *)message.body, message.length, 0, NULL);
            rc = handover_check(offer, err);
            successor->pid = (pid_t)json_integer_value(json_object_get(offer, "pid"));
            json_decref(offer);
            all = true;
        }
        channel_message_clear(&message);
        if (rc != 0) {
            return rc == ERR_NOMEM ? err_set(err, rc, "out of memory") : rc;
        }
    }
    return 0;
}

/* The number in the environment, if it is a socket. */
static int find_channel(void)
{
    const char *text = getenv(STARTER_CHANNEL);
    char *end = NULL;
    int type = 0;
    socklen_t length = sizeof(type);
    long fd = text != NULL ? strtol(text, &end, 10) : -1;
    if (text == NULL || end == text || *end != '\0' || fd < 3 || fd > 65535 ||
        getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_SEQPACKET) {
        return -1;
    }
    (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return (int)fd;
}

int successor_create(struct successor **out, struct err_text *err)
{
    int fd = find_channel();
    (void)unsetenv(STARTER_CHANNEL);
    *out = NULL;
    if (fd < 0) {
        return 0;
    }
    struct successor *successor = calloc(1, sizeof(*successor));
    if (successor == NULL || channel_create(fd, &successor->channel) != 0) {
        free(successor);
        (void)close(fd);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    successor->lock = -1;
    (void)failpoint("successor-begin");
    int rc = read_offer(successor, err);
    if (rc != 0) {
        successor_refuse(successor, err->text);
        successor_destroy(successor);
        return rc;
    }
    *out = successor;
    return 0;
}

void successor_destroy(struct successor *successor)
{
    if (successor == NULL) {
        return;
    }
    channel_destroy(successor->channel);
    given_clear(&successor->given);
    for (size_t i = 0; i < successor->before_len; i++) {
        (void)close(successor->before[i].fd);
    }
    free(successor->before);
    if (successor->lock >= 0) {
        (void)close(successor->lock);
    }
    free(successor);
}

void successor_hello(struct successor *successor)
{
    if (successor != NULL && successor->channel != NULL) {
        (void)failpoint("successor-loaded");
        (void)(handover_send_json(successor->channel, HANDOVER_HELLO, handover_introduction(), NULL, 0) == 0);
    }
}

void successor_refuse(struct successor *successor, const char *why)
{
    if (successor != NULL && successor->channel != NULL) {
        (void)(channel_send(successor->channel, HANDOVER_REFUSED, why, strlen(why), NULL, 0) == 0);
        (void)(channel_flush_within(successor->channel, CLOCK_US_PER_S) == 0);
    }
}

bool successor_is_awaited(const struct successor *successor)
{
    return successor != NULL && successor->channel != NULL;
}

struct given *successor_given(struct successor *successor)
{
    return successor != NULL ? &successor->given : NULL;
}

int successor_take_lock(struct successor *successor)
{
    int lock = successor != NULL ? successor->lock : -1;
    if (successor != NULL) {
        successor->lock = -1;
    }
    return lock;
}

/* ---- taking over */

/* Waits for the word; *sections stays empty when the former is gone. */
static int await(struct successor *successor, struct channel_message *take)
{
    *take = (struct channel_message){.kind = 0};
    (void)failpoint("successor-built");
    if (successor->channel != NULL) {
        (void)(channel_send(successor->channel, HANDOVER_READY, NULL, 0, NULL, 0) == 0);
        (void)failpoint("successor-ready");
    }
    while (successor->channel != NULL) {
        int rc = channel_receive_within(successor->channel, CLOCK_NEVER, take);
        if (rc > 0 && take->kind == HANDOVER_TAKE) {
            return 0;
        }
        channel_message_clear(take);
        if (rc < 0) {
            is_gone(successor);
        }
    }
    return 0;
}

/* The former and those before it are the app's from now on. */
static int hand_to_app(struct successor *successor, struct app *app)
{
    int rc = 0;
    for (size_t i = 0; i < successor->before_len && rc == 0; i++) {
        struct channel *channel = NULL;
        rc = channel_create(successor->before[i].fd, &channel);
        if (rc == 0) {
            successor->before[i].fd = -1;
            rc = former_add(app, channel, successor->before[i].pid, false);
        }
    }
    if (rc == 0 && successor->channel != NULL) {
        app->settling = true;
        rc = former_add(app, successor->channel, successor->pid, true);
        successor->channel = NULL;
    }
    return rc;
}

/* The checks go on from the states that were handed over. */
static int begin_checks(struct app *app, struct err_text *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < app->services_len; i++) {
        struct app_service *service = &app->services[i];
        rc = routing_publish(service->routing, err);
        if (rc == 0 && app_has_health(service->config)) {
            rc = health_renew(app->base, service->routing, service->config, app->events, &service->health,
                              err);
            if (service->names != NULL) {
                names_set_health(service->names, service->health);
            }
            app->admin_services[i].health = service->health; /* the console was there before the checks */
        }
    }
    return rc;
}

int successor_take(struct successor *successor, struct app *app, struct err_text *err)
{
    struct channel_message take;
    int rc = await(successor, &take);
    (void)failpoint("successor-taking");
    given_clear(&successor->given); /* what the configuration does not name any more */
    if (rc == 0) {
        rc = journal_resume(app->journal, err);
    }
    if (rc == 0 && take.length == 0) {
        migration_recall(app->journal, app->events);
        events_add(app->events, clock_wall_us(), EVENTS_WARN, NULL, "upgrade", "upgrade", NULL,
                   "the former program ended before it could hand over: goes on from the journal");
    }
    if (rc == 0 && hand_to_app(successor, app) != 0) {
        rc = err_set(err, ERR_NOMEM, "out of memory");
    }
    if (rc == 0) {
        rc = handover_sections_read(app, take.body, take.length, err);
    }
    if (rc == 0) {
        rc = begin_checks(app, err);
    }
    if (rc == 0 && formers_listen(app) != 0) {
        rc = err_set(err, ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; rc == 0 && i < app->services_len; i++) {
        migration_take(app->services[i].migration, true);
    }
    channel_message_clear(&take);
    return rc;
}

static void do_nothing(struct worker *worker, void *arg)
{
    (void)worker;
    (void)arg;
}

/* The workers have passed the word to accept. The newest former is the last. */
static void on_accepting(void *context)
{
    struct app *app = context;
    (void)failpoint("successor-accepting");
    struct former *former = former_last(app);
    if (former != NULL) {
        (void)(channel_send(former->channel, HANDOVER_TAKEN, NULL, 0, NULL, 0) == 0);
    }
    (void)failpoint("successor-taken");
}

int successor_taken(struct app *app)
{
    return worker_pool_call(app->pool, do_nothing, on_accepting, app);
}

void successor_on_left(struct app *app)
{
    if (!app->settling) {
        return;
    }
    app->settling = false;
    struct err_text err;
    if (app_tell_manager(app, &err) != 0) {
        log_line(LOG_LEVEL_ERROR, "the service manager is not told anything", LOG_TEXT("error", err.text));
    }
    handover_settled(app->handover);
}
