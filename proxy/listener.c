/*
 * Answers for listening sockets: binding, accepting, pausing when descriptors run out. Binding runs on the
 * control thread before anything is accepted, the rest on the workers. Each worker has its own socket for a
 * TCP address (SO_REUSEPORT), so the kernel spreads the connections; a Unix path has one that they share.
 */
#include "core/clock.h"
#include "proxy/proxy_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTENER_BACKLOG 4096
#define LISTENER_BUDGET 32 /* connections accepted in one callback */

/* What kept a bind from working; for the message. */
static int bind_failed(int fd, const struct addr *address, const char *what, struct err_text *err)
{
    char text[ADDR_TEXT_MAX];
    int saved = errno;
    addr_format(address, text, sizeof(text));
    if (fd >= 0) {
        close(fd);
    }
    errno = saved;
    (void)err_set_errno(err, "%s: cannot %s", text, what);
    switch (saved) {
    case EADDRINUSE:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    default:
        return ERR_SYSTEM;
    }
}

/* Inherited by what is accepted: one system call here instead of two for each connection. */
static bool set_options(int fd, const struct addr *address, bool reuseport)
{
    const int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
        return false;
    }
    if (address->sa.sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) {
        return false;
    }
    return !reuseport || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0;
}

static int socket_bind(const struct addr *address, bool reuseport, int *out, struct err_text *err)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return bind_failed(fd, address, "open a socket", err);
    }
    if (!addr_is_unix(address) && !set_options(fd, address, reuseport)) {
        return bind_failed(fd, address, "set socket options", err);
    }
    if (bind(fd, &address->sa, address->len) != 0) {
        return bind_failed(fd, address, "listen", err);
    }
    *out = fd;
    return 0;
}

/* SO_REUSEPORT lets any process of the same user share a port unseen: a first bind without it tells whether
 * somebody listens there already. */
static int probe_free(const struct addr *address, struct err_text *err)
{
    int fd = -1;
    int code = addr_port(address) == 0 ? 0 : socket_bind(address, false, &fd, err);
    if (code == 0 && fd >= 0) {
        if (listen(fd, 1) != 0) {
            return bind_failed(fd, address, "listen", err);
        }
        close(fd);
    }
    return code;
}

/* A worker listens on one socket for each address, or on several where more were given than there are
 * workers: closing one would reset those who wait in it. */
static int make_listeners(struct proxy_service *service, size_t rounds, struct err_text *err)
{
    for (unsigned w = 0; w < service->proxy->workers; w++) {
        struct service_worker *home = service->per_worker[w];
        home->listeners = calloc(rounds * service->listen_len + 1, sizeof(*home->listeners));
        if (home->listeners == NULL) {
            return err_set(err, ERR_NOMEM, "service %s: out of memory", service->name);
        }
        home->listeners_len = rounds * service->listen_len;
        for (size_t i = 0; i < home->listeners_len; i++) {
            struct listener *listener = &home->listeners[i];
            listener->fd = -1;
            listener->home = home;
            list_init(&listener->node);
            deadline_init(&listener->retry);
        }
    }
    return 0;
}

/* The place of the n-th socket of an address. */
static struct listener *listener_at(const struct proxy_service *service, size_t index, size_t n)
{
    unsigned workers = service->proxy->workers;
    return &service->per_worker[n % workers]->listeners[n / workers * service->listen_len + index];
}

/* For a socket that others made; those that only count for a bind are theirs. */
static void inherit_options(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Sockets that were given are shared where there are fewer of them than workers. */
static int adopt_tcp(struct proxy_service *service, size_t index, struct given *given, struct err_text *err)
{
    struct addr *address = &service->listen[index];
    char purpose[GIVEN_PURPOSE_MAX];
    size_t n = 0;
    given_purpose_of_service(service->name, purpose);
    for (int fd = given_take(given, purpose, address, &service->foreign[index]); fd >= 0;
         fd = given_take(given, purpose, address, &service->foreign[index])) {
        listener_at(service, index, n++)->fd = fd;
        inherit_options(fd);
        if (service->proxy->paces) {
            stream_avoid_pacing(fd, address);
        }
    }
    assert(n > 0); /* they were counted before */
    for (size_t w = n; w < service->proxy->workers; w++) {
        listener_at(service, index, w)->fd =
            fcntl(listener_at(service, index, w % n)->fd, F_DUPFD_CLOEXEC, 0);
        if (listener_at(service, index, w)->fd < 0) {
            return bind_failed(-1, address, "share a socket", err);
        }
    }
    address->len = sizeof(address->in6);
    (void)getsockname(listener_at(service, index, 0)->fd, &address->sa, &address->len);
    return 0;
}

static int bind_tcp(struct proxy_service *service, size_t index, struct err_text *err)
{
    struct addr *address = &service->listen[index];
    int code = probe_free(address, err);
    for (unsigned w = 0; code == 0 && w < service->proxy->workers; w++) {
        struct listener *listener = listener_at(service, index, w);
        code = socket_bind(address, true, &listener->fd, err);
        if (code == 0 && service->proxy->paces) {
            stream_avoid_pacing(listener->fd, address);
        }
        if (code == 0 && listen(listener->fd, LISTENER_BACKLOG) != 0) {
            code = bind_failed(-1, address, "listen", err);
        }
        if (code == 0 && w == 0) {
            address->len = sizeof(address->in6);
            (void)getsockname(listener->fd, &address->sa, &address->len); /* the port that was chosen */
        }
    }
    return code;
}

/* Removes a path left behind by a process that is gone. Whether one lives there is told by connecting. */
static void unlink_stale(const struct addr *address)
{
    struct stat status;
    if (stat(address->un.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        return;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    if (connect(fd, &address->sa, address->len) != 0 && errno == ECONNREFUSED) {
        (void)unlink(address->un.sun_path);
    }
    close(fd);
}

static int bind_unix(struct proxy_service *service, size_t index, struct given *given, struct err_text *err)
{
    const struct addr *address = &service->listen[index];
    char purpose[GIVEN_PURPOSE_MAX];
    int code = 0;
    given_purpose_of_service(service->name, purpose);
    service->unix_fd[index] = given_take(given, purpose, address, &service->foreign[index]);
    if (service->unix_fd[index] >= 0) {
        atomic_store(&service->leaves_paths, true); /* until proxy_service_own */
    } else {
        unlink_stale(address);
        code = socket_bind(address, false, &service->unix_fd[index], err);
        if (code == 0 && listen(service->unix_fd[index], LISTENER_BACKLOG) != 0) {
            code = bind_failed(-1, address, "listen", err);
        }
    }
    for (unsigned w = 0; code == 0 && w < service->proxy->workers; w++) {
        listener_at(service, index, w)->fd = service->unix_fd[index];
    }
    return code;
}

static int bind_one(struct proxy_service *service, size_t index, struct given *given, struct err_text *err)
{
    char purpose[GIVEN_PURPOSE_MAX];
    if (addr_is_unix(&service->listen[index])) {
        return bind_unix(service, index, given, err);
    }
    given_purpose_of_service(service->name, purpose);
    return given_count(given, purpose, &service->listen[index]) > 0 ? adopt_tcp(service, index, given, err)
                                                                    : bind_tcp(service, index, err);
}

int listener_bind_all(struct proxy_service *service, struct given *given, struct err_text *err)
{
    char purpose[GIVEN_PURPOSE_MAX];
    size_t most = 1;
    given_purpose_of_service(service->name, purpose);
    for (size_t i = 0; i < service->listen_len; i++) {
        size_t n = given_count(given, purpose, &service->listen[i]);
        most = n > most ? n : most;
    }
    int code = make_listeners(service, (most + service->proxy->workers - 1) / service->proxy->workers, err);
    for (size_t i = 0; code == 0 && i < service->listen_len; i++) {
        code = bind_one(service, i, given, err);
    }
    return code;
}

void proxy_service_sockets(const struct proxy_service *service, given_visit_fn *visit, void *context)
{
    char purpose[GIVEN_PURPOSE_MAX];
    given_purpose_of_service(service->name, purpose);
    for (size_t i = 0; i < service->listen_len; i++) {
        size_t rounds = addr_is_unix(&service->listen[i]) ? 0 : service->per_worker[0]->listeners_len;
        if (service->unix_fd[i] >= 0) {
            visit(context, purpose, &service->wanted[i], service->foreign[i], service->unix_fd[i]);
        }
        for (size_t n = 0; n < rounds / service->listen_len * service->proxy->workers; n++) {
            int fd = listener_at(service, i, n)->fd;
            if (fd >= 0) {
                visit(context, purpose, &service->wanted[i], service->foreign[i], fd);
            }
        }
    }
}

static void pause_one(struct listener *listener, uint64_t now_us)
{
    struct proxy_worker *shared = listener->home->shared;
    if (listener->paused || !listener->registered || shared->held) {
        return;
    }
    event_del(&listener->event);
    listener->paused = true;
    list_append(&shared->paused, &listener->node);
    deadline_arm(shared->accept, &listener->retry, now_us);
    stats_add(&listener->home->stats.accept_pauses, 1);
}

static void resume_one(struct listener *listener)
{
    deadline_cancel(&listener->retry);
    list_remove(&listener->node);
    listener->paused = false;
    if (event_add(&listener->event, NULL) != 0) {
        pause_one(listener, clock_mono_us());
    }
}

void listener_pause_all(struct service_worker *home, uint64_t now_us)
{
    for (size_t i = 0; home->listeners != NULL && i < home->listeners_len; i++) {
        pause_one(&home->listeners[i], now_us);
    }
}

void listener_hold(struct proxy_worker *shared)
{
    list_each (node, &shared->homes) {
        struct service_worker *home = list_entry(node, struct service_worker, node);
        for (size_t i = 0; home->listeners != NULL && i < home->listeners_len; i++) {
            struct listener *listener = &home->listeners[i];
            if (listener->paused) {
                deadline_cancel(&listener->retry);
                list_remove(&listener->node);
                listener->paused = false;
            } else if (listener->registered) {
                event_del(&listener->event);
            }
        }
    }
    shared->held = true;
}

void listener_unhold(struct proxy_worker *shared)
{
    if (!shared->held) {
        return;
    }
    shared->held = false;
    list_each (node, &shared->homes) {
        struct service_worker *home = list_entry(node, struct service_worker, node);
        for (size_t i = 0; home->listeners != NULL && i < home->listeners_len; i++) {
            struct listener *listener = &home->listeners[i];
            if (listener->registered && event_add(&listener->event, NULL) != 0) {
                pause_one(listener, clock_mono_us());
            }
        }
    }
}

void listener_resume(struct proxy_worker *shared)
{
    list_each (node, &shared->paused) {
        resume_one(list_entry(node, struct listener, node));
    }
}

uint64_t listener_on_retry(struct deadline *deadline, uint64_t now_us, void *context)
{
    (void)now_us;
    (void)context;
    resume_one(list_entry(deadline, struct listener, retry));
    return 0;
}

/* A slot under the limit over all services and workers. */
static bool slot_take(struct proxy *proxy)
{
    if (atomic_fetch_add_explicit(&proxy->open, 1, memory_order_relaxed) < proxy->max_connections) {
        return true;
    }
    atomic_fetch_sub_explicit(&proxy->open, 1, memory_order_relaxed);
    return false;
}

static bool is_exhausted(int code)
{
    return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM;
}

bool listener_hold_spare(struct proxy_worker *shared)
{
    if (shared->spare_fd < 0) {
        shared->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    return shared->spare_fd >= 0;
}

bool listener_use_spare(struct proxy_worker *shared)
{
    if (shared->spare_fd < 0) {
        return false;
    }
    close(shared->spare_fd);
    shared->spare_fd = -1;
    return true;
}

/* False when there is nothing more to accept now. */
static bool accept_one(struct listener *listener)
{
    struct proxy *proxy = listener->home->shared->proxy;
    struct addr peer = {.len = sizeof(peer.un)};
    if (!listener_hold_spare(listener->home->shared)) {
        pause_one(listener, clock_mono_us());
        return false;
    }
    if (!slot_take(proxy)) {
        pause_one(listener, clock_mono_us());
        return false;
    }
    int fd = accept4(listener->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 && conn_accept(listener->home, fd, &peer) == 0) {
        return !listener->paused;
    }
    int code = fd >= 0 ? ENOMEM : errno;
    atomic_fetch_sub_explicit(&proxy->open, 1, memory_order_relaxed);
    if (is_exhausted(code)) {
        pause_one(listener, clock_mono_us());
        return false;
    }
    return code != EAGAIN; /* others concern one connection that is gone already */
}

static void on_accept(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct listener *listener = context;
    worker_note_activity(listener->home->shared->worker);
    for (int i = 0; i < LISTENER_BUDGET; i++) {
        if (!accept_one(listener)) {
            return;
        }
    }
}

void listener_start(struct service_worker *home)
{
    for (size_t i = 0; i < home->listeners_len; i++) {
        struct listener *listener = &home->listeners[i];
        struct event_base *base = worker_base(home->shared->worker);
        if (listener->registered || listener->fd < 0 ||
            event_assign(&listener->event, base, listener->fd, EV_READ | EV_PERSIST, on_accept, listener)) {
            continue;
        }
        listener->registered = true;
        if (!home->shared->held && event_add(&listener->event, NULL) != 0) {
            pause_one(listener, clock_mono_us());
        }
    }
}

/* The last worker closes the descriptors of Unix paths and removes the paths. */
static void close_unix(struct proxy_service *service)
{
    for (size_t i = 0; i < service->listen_len; i++) {
        if (service->unix_fd[i] >= 0) {
            close(service->unix_fd[i]);
            service->unix_fd[i] = -1;
            if (!service->foreign[i] && !atomic_load(&service->leaves_paths)) {
                (void)unlink(service->listen[i].un.sun_path);
            }
        }
    }
}

void listener_stop(struct service_worker *home)
{
    struct proxy_service *service = home->service;
    if (home->listeners == NULL) {
        return;
    }
    for (size_t i = 0; i < home->listeners_len; i++) {
        struct listener *listener = &home->listeners[i];
        if (listener->registered) {
            event_del(&listener->event);
            deadline_cancel(&listener->retry);
            list_remove(&listener->node);
        }
        listener->registered = false;
        if (listener->fd >= 0 && !addr_is_unix(&service->listen[i % service->listen_len])) {
            close(listener->fd);
        }
        listener->fd = -1;
    }
    free(home->listeners);
    home->listeners = NULL;
    if (atomic_fetch_sub(&service->listening, 1) == 1) {
        close_unix(service);
    }
}
