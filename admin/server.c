/*
 * The admin socket: its file, who may come in, how many at once. An operator always gets in: when all places
 * are taken, the client that was idle for longest goes; when descriptors ran out, a reserved one is given up.
 * Control thread, on the control base. One connection is left to admin/client.c.
 */
#include "admin/server_internal.h"
#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64 /* who comes last waits for few turns, behind whoever fills the backlog */
#define LISTEN_BACKLOG 1024
static const struct timeval second = {.tv_sec = 1};
#define GROUPS_MAX 256u /* of a process, that are looked at */

static const struct timeval back_off = {.tv_usec = 100000};

/* ---- the file */

/* Whether somebody serves the socket at path: ERR_EXISTS; a stale one is removed. */
static int clear_path(const struct sockaddr_un *address, struct err_text *err)
{
    struct stat found;
    if (lstat(address->sun_path, &found) != 0) {
        return ERR_OK; /* what else is wrong with the path, bind tells */
    }
    if (!S_ISSOCK(found.st_mode)) {
        return err_set(err, ERR_EXISTS, "admin socket %s: there is something else at this path; move it away",
                       address->sun_path);
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        return err_set_errno(err, "admin socket %s", address->sun_path);
    }
    int failed = connect(probe, (const struct sockaddr *)address, sizeof(*address)) != 0 ? errno : 0;
    (void)close(probe);
    if (failed == ECONNREFUSED) {
        if (unlink(address->sun_path) != 0 && errno != ENOENT) {
            return err_set_errno(err, "admin socket %s: cannot remove the stale one", address->sun_path);
        }
        return ERR_OK;
    }
    if (failed == EACCES || failed == EPERM) {
        return err_set(err, ERR_DENIED, "admin socket %s: it exists and is not ours to replace",
                       address->sun_path);
    }
    return err_set(err, ERR_EXISTS, "admin socket %s: another daemon serves it; stop it or set admin.socket",
                   address->sun_path);
}

static int refuse_bind(struct err_text *err, const char *path, int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return err_set(err, ERR_NOT_FOUND,
                       "admin socket %s: its directory does not exist; create it or set "
                       "admin.socket",
                       path);
    case EACCES:
    case EPERM:
    case EROFS:
        return err_set(err, ERR_DENIED, "admin socket %s: cannot be created here: %s", path,
                       strerror(number));
    default:
        errno = number;
        return err_set_errno(err, "admin socket %s", path);
    }
}

/* Binds. A missing folder is made, as state_dir is: those of /run are gone after each start of the system.
 * Only the last part of the path; who may connect is for the socket's own mode to say. It is given to the
 * owner (NULL: stays ours), who would not be able to remove the socket otherwise. */
static int bind_path(int fd, const struct sockaddr_un *address, const struct admin_owner *owner)
{
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
        return 0;
    }
    char folder[sizeof(address->sun_path)];
    memcpy(folder, address->sun_path, sizeof(folder));
    char *end = strrchr(folder, '/');
    if (errno != ENOENT || end == NULL || end == folder) {
        return -1;
    }
    *end = '\0';
    bool made = mkdir(folder, 0755) == 0;
    if (!made && errno != EEXIST) {
        return -1;
    }
    if (made && owner != NULL) { /* where that fails only the socket's file stays at the end */
        (void)fchownat(AT_FDCWD, folder, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW);
    }
    return bind(fd, (const struct sockaddr *)address, sizeof(*address));
}

/* Binds so that the file never has wider rights than mode, not even for a moment. */
static int bind_socket(struct admin_server *server, const struct sockaddr_un *address, uint32_t mode,
                       struct err_text *err)
{
    struct stat made;
    if (fchmod(server->fd, (mode_t)mode) != 0 ||
        bind_path(server->fd, address, server->admin->options.owner) != 0) {
        return refuse_bind(err, address->sun_path, errno);
    }
    if (lstat(address->sun_path, &made) != 0) {
        return err_set_errno(err, "admin socket %s", address->sun_path);
    }
    server->device = made.st_dev;
    server->inode = made.st_ino;
    /* The umask may have taken bits away that were asked for. Never through a link: the folder may be another
     * user's. Where the system cannot do it so, it stays as the umask has it. */
    int rc = fchmodat(AT_FDCWD, address->sun_path, (mode_t)mode, AT_SYMLINK_NOFOLLOW);
    if ((rc != 0 && errno != EOPNOTSUPP) || listen(server->fd, LISTEN_BACKLOG) != 0) {
        return err_set_errno(err, "admin socket %s", address->sun_path);
    }
    return ERR_OK;
}

/* A socket that somebody opened before us; its file is as it was made. False: there is none. */
static bool adopt_socket(struct admin_server *server, const struct sockaddr_un *path)
{
    struct addr address = {.len = sizeof(*path), .un = *path};
    struct stat made;
    server->fd = given_take(server->spec.given, "admin", &address, &server->foreign);
    server->spec.given = NULL;
    if (server->fd < 0) {
        return false;
    }
    server->leaves = true;
    if (lstat(path->sun_path, &made) == 0) {
        server->device = made.st_dev;
        server->inode = made.st_ino;
    }
    return true;
}

static int open_socket(struct admin_server *server, struct err_text *err)
{
    const char *path = server->spec.path;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(address.sun_path)) {
        return err_set(err, ERR_RANGE, "admin socket \"%.120s\": a path of 1 to %zu bytes is possible", path,
                       sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, path, length);
    if (adopt_socket(server, &address)) {
        return ERR_OK;
    }
    int code = clear_path(&address, err);
    if (code != ERR_OK) {
        return code;
    }
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->fd < 0) {
        return err_set_errno(err, "admin socket %s", path);
    }
    return bind_socket(server, &address, server->spec.mode, err);
}

/* ---- who comes in */

/* All groups of the process, its own one among them. Returns how many. */
static size_t groups_of(int fd, const struct ucred *peer, gid_t *gids, size_t max)
{
    socklen_t length = (socklen_t)((max - 1) * sizeof(*gids));
    gids[0] = peer->gid;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids + 1, &length) != 0) {
        return 1; /* an old kernel, or more groups than fit: then only the first one counts */
    }
    return 1 + length / sizeof(*gids);
}

/* What a peer may: by its ids, and not more than the socket allows. */
static enum command_role role_of_peer(const struct admin_server *server, int fd, const struct ucred *peer)
{
    gid_t gids[GROUPS_MAX];
    size_t gids_len = groups_of(fd, peer, gids, GROUPS_MAX);
    enum command_role role = roles_of(server->admin->roles, peer->uid, gids, gids_len);
    return role < server->spec.most ? role : server->spec.most;
}

static void identify(const struct admin_server *server, int fd, struct admin_peer *peer)
{
    struct ucred cred;
    socklen_t length = sizeof(cred);
    *peer = (struct admin_peer){.role = COMMAND_ROLE_NONE, .actor = "operator:unknown", .uid = (uid_t)-1};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) != 0 || length != sizeof(cred)) {
        return; /* nobody known may nothing */
    }
    struct passwd entry;
    struct passwd *found = NULL;
    char text[4096];
    peer->role = role_of_peer(server, fd, &cred);
    peer->uid = cred.uid;
    peer->pid = cred.pid;
    if (getpwuid_r(cred.uid, &entry, text, sizeof(text), &found) == 0 && found != NULL &&
        tokens_is_text(entry.pw_name, strlen(entry.pw_name))) {
        (void)snprintf(peer->actor, sizeof(peer->actor), "operator:%.50s", entry.pw_name);
    } else {
        (void)snprintf(peer->actor, sizeof(peer->actor), "operator:%" PRIu32, (uint32_t)cred.uid);
    }
}

/* Makes a place: the longest idle of those that wait for nothing, else of all. */
static bool evict_one(struct admin_server *server, const char *why)
{
    if (list_empty(&server->clients)) {
        return false;
    }
    struct admin_client *victim = list_entry(server->clients.next, struct admin_client, node);
    list_each (node, &server->clients) {
        struct admin_client *client = list_entry(node, struct admin_client, node);
        if (client->follow.kind == COMMAND_FOLLOW_NONE) {
            victim = client;
            break;
        }
    }
    client_evict(victim, why);
    return true;
}

static void take_reserve(struct admin_server *server)
{
    if (server->reserve_fd < 0) {
        server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

/* Called when accept found no descriptor left. False: there is nothing to be done now. */
static bool free_descriptor(struct admin_server *server)
{
    if (server->reserve_fd >= 0) {
        (void)close(server->reserve_fd);
        server->reserve_fd = -1;
        return true;
    }
    return evict_one(server, "descriptors ran out");
}

bool server_take(struct admin_server *server, struct bufferevent *stream, const struct admin_peer *peer)
{
    if (server->clients_len >= SERVER_CLIENTS_MAX) {
        (void)evict_one(server, "all places are taken and it was idle for longest");
    }
    if (stream == NULL || client_create(server, stream, peer) != ERR_OK) {
        log_line(LOG_LEVEL_WARN, "admin client refused", LOG_TEXT("actor", peer->actor),
                 LOG_TEXT("reason", "out of memory"));
        return false;
    }
    if (!evtimer_pending(server->sweep, NULL)) {
        (void)evtimer_add(server->sweep, &second);
    }
    return true;
}

static void welcome(struct admin_server *server, int fd)
{
    struct admin_peer peer;
    identify(server, fd, &peer);
    struct bufferevent *stream =
        bufferevent_socket_new(server->admin->options.base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!server_take(server, stream, &peer) && stream == NULL) {
        (void)close(fd);
    }
}

static bool is_somebody_waiting(int listener)
{
    struct pollfd probe = {.fd = listener, .events = POLLIN};
    int kept = errno;
    bool waiting = poll(&probe, 1, 0) > 0;
    errno = kept;
    return waiting;
}

static void on_accept(evutil_socket_t listener, short what, void *context)
{
    struct admin_server *server = context;
    (void)what;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            welcome(server, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) {
            continue;
        }
        if (errno == EAGAIN) {
            return;
        }
        if ((errno == EMFILE || errno == ENFILE) && !is_somebody_waiting(listener)) {
            return; /* accept looks for a descriptor before it looks who is there */
        }
        if ((errno != EMFILE && errno != ENFILE) || !free_descriptor(server)) {
            log_line(LOG_LEVEL_WARN, "admin socket cannot accept", LOG_TEXT("error", strerror(errno)));
            (void)event_del(server->accept_event);
            (void)evtimer_add(server->back_off, &back_off);
            return;
        }
    }
}

static void on_back_off_end(evutil_socket_t fd, short what, void *context)
{
    struct admin_server *server = context;
    (void)fd;
    (void)what;
    if (!server->held && event_add(server->accept_event, NULL) != 0) {
        (void)evtimer_add(server->back_off, &back_off);
    }
}

static void on_sweep(evutil_socket_t fd, short what, void *context)
{
    struct admin_server *server = context;
    uint64_t now_us = clock_mono_us();
    (void)fd;
    (void)what;
    list_each (node, &server->clients) {
        client_sweep(list_entry(node, struct admin_client, node), now_us);
    }
    take_reserve(server);
    if (!list_empty(&server->clients) || server->reserve_fd < 0) {
        (void)evtimer_add(server->sweep, &second);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *context)
{
    struct admin_server *server = context;
    (void)fd;
    (void)what;
    list_each (node, &server->clients) {
        client_follow(list_entry(node, struct admin_client, node));
    }
}

void server_wake(struct admin_server *server)
{
    if (server != NULL) {
        event_active(server->wake, EV_TIMEOUT, 0);
    }
}

void server_tell_stop(struct admin_server *server)
{
    if (server->leaves) {
        return; /* another process goes on: whoever asks again finds it */
    }
    list_each (node, &server->clients) {
        client_tell_stop(list_entry(node, struct admin_client, node));
    }
}

/* ---- another process takes over */

void server_sockets(const struct admin_server *server, given_visit_fn *visit, void *context)
{
    struct addr wanted = {.len = sizeof(wanted.un), .un = {.sun_family = AF_UNIX}};
    (void)snprintf(wanted.un.sun_path, sizeof(wanted.un.sun_path), "%s", server->spec.path);
    visit(context, "admin", &wanted, server->foreign, server->fd);
}

void server_hold(struct admin_server *server, bool hold)
{
    server->held = hold;
    (void)event_del(server->accept_event);
    (void)event_del(server->back_off);
    if (!hold && event_add(server->accept_event, NULL) != 0) {
        (void)evtimer_add(server->back_off, &back_off);
    }
}

void server_leave(struct admin_server *server, bool leaves)
{
    server->leaves = leaves;
}

/* ---- life */

int server_create(struct admin *admin, const struct server_spec *spec, struct admin_server **out,
                  struct err_text *err)
{
    struct admin_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the admin socket");
    }
    struct event_base *base = admin->options.base;
    server->admin = admin;
    server->spec = *spec;
    server->fd = -1;
    server->reserve_fd = -1;
    list_init(&server->clients);
    int code = open_socket(server, err);
    if (code != ERR_OK) {
        server_destroy(server);
        return code;
    }
    server->accept_event = event_new(base, server->fd, EV_READ | EV_PERSIST, on_accept, server);
    server->back_off = evtimer_new(base, on_back_off_end, server);
    server->sweep = evtimer_new(base, on_sweep, server);
    server->wake = evtimer_new(base, on_wake, server);
    if (server->accept_event == NULL || server->back_off == NULL || server->sweep == NULL ||
        server->wake == NULL || event_add(server->accept_event, NULL) != 0) {
        server_destroy(server);
        return err_set(err, ERR_NOMEM, "out of memory for the admin socket");
    }
    take_reserve(server);
    *out = server;
    return ERR_OK;
}

/* Another daemon may have put its own socket at our path meanwhile: that one stays. */
static void unlink_own(const struct admin_server *server)
{
    struct stat found;
    const char *path = server->spec.path;
    if (server->inode != 0 && !server->foreign && !server->leaves && lstat(path, &found) == 0 &&
        found.st_dev == server->device && found.st_ino == server->inode) {
        (void)unlink(path);
    }
}

void server_destroy(struct admin_server *server)
{
    struct event *const events[] = {server->accept_event, server->back_off, server->sweep, server->wake};
    list_each (node, &server->clients) {
        client_destroy(list_entry(node, struct admin_client, node));
    }
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (events[i] != NULL) {
            event_free(events[i]);
        }
    }
    unlink_own(server);
    if (server->fd >= 0) {
        (void)close(server->fd);
    }
    if (server->reserve_fd >= 0) {
        (void)close(server->reserve_fd);
    }
    free(server);
}
