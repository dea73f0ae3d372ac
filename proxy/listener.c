/*
 * Answers for accepting: on the sockets of proxy/place.c, pausing when descriptors run out, and serving who
 * still waits where a service listens no longer. Runs on the workers.
 */
#include "core/clock.h"
#include "proxy/proxy_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <unistd.h>

#define LISTENER_BUDGET 32 /* connections accepted in one callback */
/* Of a place that was taken away so many more at most for each socket: as many as its queue can have held. A
 * service manager that has the socket too lets others come all the while. */
#define LISTENER_REST 4096

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
    if (listener->leaving) {
        worker_continue(listener->home->shared->worker, &listener->rest);
    } else if (event_add(&listener->event, NULL) != 0) {
        pause_one(listener, clock_mono_us());
    }
}

void listener_pause_all(struct service_worker *home, uint64_t now_us)
{
    list_each (at, &home->listeners) {
        pause_one(list_entry(at, struct listener, at_home), now_us);
    }
}

void listener_hold(struct proxy_worker *shared)
{
    list_each (node, &shared->homes) {
        struct service_worker *home = list_entry(node, struct service_worker, node);
        list_each (at, &home->listeners) {
            struct listener *listener = list_entry(at, struct listener, at_home);
            worker_cancel(shared->worker, &listener->rest);
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
        list_each (at, &home->listeners) {
            struct listener *listener = list_entry(at, struct listener, at_home);
            if (listener->leaving) {
                worker_continue(shared->worker, &listener->rest);
            } else if (listener->registered && event_add(&listener->event, NULL) != 0) {
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
    return code != EAGAIN && code != EINVAL; /* others concern one connection that is gone already */
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

static void start_one(struct listener *listener)
{
    struct proxy_worker *shared = listener->home->shared;
    struct event_base *base = worker_base(shared->worker);
    if (listener->registered || listener->fd < 0 ||
        event_assign(&listener->event, base, listener->fd, EV_READ | EV_PERSIST, on_accept, listener)) {
        return;
    }
    listener->registered = true;
    if (!shared->held && event_add(&listener->event, NULL) != 0) {
        pause_one(listener, clock_mono_us());
    }
}

void listener_start(struct service_worker *home)
{
    list_each (at, &home->listeners) {
        start_one(list_entry(at, struct listener, at_home));
    }
}

/* Stops accepting and closes. The place may be gone then. */
static void let_go(struct listener *listener)
{
    if (listener->registered) {
        event_del(&listener->event);
        deadline_cancel(&listener->retry);
        list_remove(&listener->node);
        worker_cancel(listener->home->shared->worker, &listener->rest);
    }
    listener->registered = false;
    listener->gone = true;
    list_remove(&listener->at_home);
    if (listener->fd >= 0 && !addr_is_unix(&listener->place->bound)) {
        close(listener->fd);
    }
    listener->fd = -1;
    place_put(listener->place);
}

/* Serves who waits in the queue of a place that was taken away, some in each turn, then lets go. */
static void serve_rest(struct listener *listener)
{
    for (int i = 0; i < LISTENER_BUDGET && listener->rest_left > 0; i++) {
        listener->rest_left--;
        if (!accept_one(listener)) {
            listener->rest_left = listener->paused ? listener->rest_left + 1 : 0;
            break;
        }
    }
    if (listener->paused) {
        return; /* until there are descriptors again */
    }
    if (listener->rest_left == 0) {
        let_go(listener);
    } else {
        worker_continue(listener->home->shared->worker, &listener->rest);
    }
}

static void on_rest(struct worker_task *task, struct worker *worker)
{
    worker_note_activity(worker);
    serve_rest(list_entry(task, struct listener, rest));
}

static void leave_one(struct listener *listener)
{
    struct service_worker *home = listener->home;
    listener->leaving = true;
    listener->rest.run = on_rest;
    listener->rest_left = LISTENER_REST;
    if (!listener->registered || !listener->place->serves) {
        let_go(listener);
    } else if (!listener->paused) {
        event_del(&listener->event);
        if (!home->shared->held) {
            serve_rest(listener);
        }
    }
}

void listener_on_join(struct mailbox_message *message, void *receiver)
{
    (void)receiver;
    struct place_part *part = list_entry(message, struct place_part, join);
    struct place *place = part->place;
    for (size_t i = worker_index(part->home->shared->worker); i < place->listeners_len;
         i += place->service->proxy->workers) {
        if (part->home->ended || part->home->stopped) {
            let_go(&place->listeners[i]);
        } else {
            list_append(&part->home->listeners, &place->listeners[i].at_home);
            start_one(&place->listeners[i]);
        }
    }
}

void listener_on_leave(struct mailbox_message *message, void *receiver)
{
    (void)receiver;
    struct place_part *part = list_entry(message, struct place_part, leave);
    struct place *place = part->place;
    for (size_t i = worker_index(part->home->shared->worker); i < place->listeners_len;
         i += place->service->proxy->workers) {
        if (!place->listeners[i].gone) {
            leave_one(&place->listeners[i]);
        }
    }
    place_put(place);
}

void listener_stop(struct service_worker *home)
{
    list_each (at, &home->listeners) {
        struct listener *listener = list_entry(at, struct listener, at_home);
        if (!listener->leaving) {
            let_go(listener);
        }
    }
}

void listener_end(struct service_worker *home)
{
    list_each (at, &home->listeners) {
        let_go(list_entry(at, struct listener, at_home));
    }
}
