/*
 * Answers for the sockets of the addresses that a service listens on: made or taken over, shown, closed to
 * those who would come, let go. All on the control thread, but that the last worker that lets go of an
 * address closes and frees what the workers shared. Each worker has its own socket for a TCP address
 * (SO_REUSEPORT), so the kernel spreads the connections; a Unix path has one that they share. Accepting is
 * proxy/listener.c's.
 */
#include "proxy/proxy_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTENER_BACKLOG 4096

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
    case EADDRNOTAVAIL:
        return ERR_UNAVAILABLE;
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

/* ---- places */

static struct place *place_create(struct proxy_service *service, const struct addr *address, size_t sockets)
{
    unsigned workers = service->proxy->workers;
    struct place *place = calloc(1, sizeof(*place));
    /* As many for each worker as it takes to have all that were given: closing one would reset those who wait
     * in it. */
    size_t len = (sockets + workers - 1) / workers * workers;
    if (place != NULL) {
        place->listeners = calloc(len, sizeof(*place->listeners));
        place->parts = calloc(workers, sizeof(*place->parts));
        place->resting = calloc(1, sizeof(*place->resting));
    }
    if (place == NULL || place->listeners == NULL || place->parts == NULL || place->resting == NULL) {
        place_destroy(place);
        return NULL;
    }
    place->service = service;
    place->bound = place->wanted = *address;
    place->unix_fd = -1;
    place->listeners_len = len;
    atomic_init(&place->held, (unsigned)len);
    for (size_t i = 0; i < len; i++) {
        struct listener *listener = &place->listeners[i];
        *listener = (struct listener){.fd = -1, .place = place, .home = service->per_worker[i % workers]};
        list_init(&listener->at_home);
        list_init(&listener->node);
        deadline_init(&listener->retry);
    }
    for (unsigned w = 0; w < workers; w++) {
        place->parts[w] = (struct place_part){.place = place, .home = service->per_worker[w]};
    }
    return place;
}

static bool read_path(const struct place *place, struct stat *out)
{
    return stat(place->bound.un.sun_path, out) == 0 && S_ISSOCK(out->st_mode);
}

/* Unless somebody else has put something there since. */
static void unlink_own(const struct place *place)
{
    struct stat now;
    if (place->inode != 0 && read_path(place, &now) && now.st_dev == place->device &&
        now.st_ino == place->inode) {
        (void)unlink(place->bound.un.sun_path);
    }
}

static void close_unix(struct place *place)
{
    if (place->unix_fd >= 0) {
        close(place->unix_fd);
        place->unix_fd = -1;
        if (!place->foreign && !atomic_load(&place->leaves_path)) {
            unlink_own(place);
        }
    }
}

void place_destroy(struct place *place)
{
    if (place == NULL) {
        return;
    }
    for (size_t i = 0; i < place->listeners_len; i++) {
        if (place->listeners[i].fd >= 0 && !addr_is_unix(&place->bound)) {
            close(place->listeners[i].fd);
        }
    }
    if (place->listeners_len > 0) {
        close_unix(place);
    }
    free(place->listeners);
    free(place->parts);
    if (!place->detached) {
        free(place->resting);
    }
    free(place);
}

void place_put(struct place *place)
{
    if (atomic_fetch_sub(&place->held, 1) == 1) {
        close_unix(place);
        if (place->detached) {
            struct resting *resting = place->resting;
            atomic_fetch_sub(&place->service->resting, 1);
            place_destroy(place);
            atomic_store(&resting->closed, true);
        }
    }
}

void places_sweep(struct proxy *proxy)
{
    list_each (node, &proxy->resting) {
        struct resting *one = list_entry(node, struct resting, node);
        if (atomic_load(&one->closed)) {
            list_remove(node);
            free(one);
        }
    }
}

/* Whether what is in the way of a bind is ours and about to go: it left a moment ago, or leaves with what is
 * being prepared (0.0.0.0:80 becomes 127.0.0.1:80, say). Both are ours for a moment then. */
static bool is_about_to_go(const struct proxy *proxy, const struct given *given, const struct addr *address)
{
    bool any = given_overlaps(given, address);
    list_each (node, &proxy->resting) {
        const struct resting *one = list_entry(node, struct resting, node);
        any |= !atomic_load(&one->closed) && addr_overlaps(&one->bound, address);
    }
    return any;
}

/* For a socket that others made; those that only count for a bind are theirs. */
static void inherit_options(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void read_address(struct place *place)
{
    place->bound.len = sizeof(place->bound.in6);
    (void)getsockname(place->listeners[0].fd, &place->bound.sa, &place->bound.len);
}

/* Sockets that were given are shared where there are fewer of them than workers. */
static int adopt_tcp(struct place *place, struct given *given, const char *purpose, struct err_text *err)
{
    const struct proxy *proxy = place->service->proxy;
    size_t n = 0;
    for (int fd = given_take(given, purpose, &place->wanted, &place->foreign); fd >= 0;
         fd = given_take(given, purpose, &place->wanted, &place->foreign)) {
        place->listeners[n++].fd = fd;
        inherit_options(fd);
        if (proxy->paces) {
            stream_avoid_pacing(fd, &place->wanted);
        }
    }
    assert(n > 0); /* they were counted before */
    for (size_t w = n; w < proxy->workers; w++) {
        place->listeners[w].fd = fcntl(place->listeners[w % n].fd, F_DUPFD_CLOEXEC, 0);
        if (place->listeners[w].fd < 0) {
            return bind_failed(-1, &place->wanted, "share a socket", err);
        }
    }
    read_address(place);
    return 0;
}

/* probe: whether others than this service may listen there. */
static int bind_tcp(struct place *place, bool probe, struct err_text *err)
{
    const struct proxy *proxy = place->service->proxy;
    int code = probe ? probe_free(&place->wanted, err) : 0;
    for (unsigned w = 0; code == 0 && w < proxy->workers; w++) {
        int fd = -1;
        code = socket_bind(&place->bound, true, &fd, err);
        place->listeners[w].fd = fd;
        if (code == 0 && proxy->paces) {
            stream_avoid_pacing(fd, &place->wanted);
        }
        if (code == 0 && listen(fd, LISTENER_BACKLOG) != 0) {
            code = bind_failed(-1, &place->wanted, "listen", err);
        }
        if (code == 0 && w == 0) {
            read_address(place); /* the port that was chosen */
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

static int bind_unix(struct place *place, struct given *given, const char *purpose, struct err_text *err)
{
    const struct addr *address = &place->wanted;
    struct stat path;
    int code = 0;
    place->unix_fd = given_take(given, purpose, address, &place->foreign);
    if (place->unix_fd >= 0) {
        atomic_store(&place->leaves_path, true); /* until proxy_service_own */
    } else {
        unlink_stale(address);
        code = socket_bind(address, false, &place->unix_fd, err);
    }
    if (code == 0 && read_path(place, &path)) {
        place->device = path.st_dev;
        place->inode = path.st_ino;
    }
    if (code == 0 && !atomic_load(&place->leaves_path) && listen(place->unix_fd, LISTENER_BACKLOG) != 0) {
        code = bind_failed(-1, address, "listen", err);
    }
    for (size_t w = 0; code == 0 && w < place->listeners_len; w++) {
        place->listeners[w].fd = place->unix_fd;
    }
    return code;
}

int place_open(struct proxy_service *service, const struct addr *address, struct given *given,
               struct place **out, struct err_text *err)
{
    char purpose[GIVEN_PURPOSE_MAX];
    given_purpose_of_service(service->name, purpose);
    size_t n = addr_is_unix(address) ? 0 : given_count(given, purpose, address);
    struct place *place = place_create(service, address, n > 0 ? n : 1);
    int code = 0;
    if (place == NULL) {
        return err_set(err, ERR_NOMEM, "service %s: out of memory", service->name);
    }
    if (addr_is_unix(address)) {
        code = bind_unix(place, given, purpose, err);
    } else if (n > 0) {
        code = adopt_tcp(place, given, purpose, err);
    } else {
        code = bind_tcp(place, !is_about_to_go(service->proxy, given, address), err);
    }
    if (code != 0) {
        place_destroy(place);
        return code;
    }
    *out = place;
    return 0;
}

void place_show(const struct place *place, given_visit_fn *visit, void *context)
{
    char purpose[GIVEN_PURPOSE_MAX];
    given_purpose_of_service(place->service->name, purpose);
    if (place->unix_fd >= 0) {
        visit(context, purpose, &place->wanted, place->foreign, place->unix_fd);
    }
    for (size_t i = 0; !addr_is_unix(&place->bound) && i < place->listeners_len; i++) {
        if (place->listeners[i].fd >= 0) {
            visit(context, purpose, &place->wanted, place->foreign, place->listeners[i].fd);
        }
    }
}

/* ---- taken away while the program runs */

/* Drops what would begin a connection (SYN without ACK, RFC 9293); what has begun still gets into the queue.
 * Packets begin with the header of TCP here. */
static void refuse_beginnings(int fd)
{
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),       /* the flags */
                                 BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),    /* SYN and ACK of them */
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 1), /* SYN alone? */
                                 BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)};
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    /* Without it who comes between the last accept and the close is reset. */
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* Nobody gets into the queues any more; who is in them stays. */
static void shut_door(struct place *place)
{
    if (place->unix_fd >= 0) {
        unlink_own(place);
        atomic_store(&place->leaves_path, true);
        (void)shutdown(place->unix_fd, SHUT_RD); /* unix(7): connecting is refused, accepting goes on */
    }
    for (size_t i = 0; place->unix_fd < 0 && i < place->listeners_len; i++) {
        refuse_beginnings(place->listeners[i].fd);
    }
}

void place_leave(struct place *place, bool handed_on)
{
    struct proxy_service *service = place->service;
    unsigned workers = service->proxy->workers; /* with the last message the place may be gone */
    place->detached = true;
    place->serves = !handed_on;
    place->resting->bound = place->bound;
    places_sweep(service->proxy);
    list_append(&service->proxy->resting, &place->resting->node);
    if (handed_on) {
        atomic_store(&place->leaves_path, true);
    } else if (!place->foreign) {
        shut_door(place);
    }
    atomic_fetch_add(&service->resting, 1);
    atomic_fetch_add(&place->held, workers);
    for (unsigned w = 0; w < workers; w++) {
        struct service_worker *home = service->per_worker[w];
        place->parts[w].leave.run = listener_on_leave;
        worker_post(home->shared->worker, &place->parts[w].leave);
    }
}

void place_join(struct place *place)
{
    atomic_store(&place->leaves_path, false);
    for (unsigned w = 0; w < place->service->proxy->workers; w++) {
        struct service_worker *home = place->service->per_worker[w];
        place->parts[w].join.run = listener_on_join;
        worker_post(home->shared->worker, &place->parts[w].join);
    }
}
