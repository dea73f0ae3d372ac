/*
 * The client that reconnects for each operation: connect, one round trip, close, on a number of connections
 * at a time. What an operation takes counts from connect to the last byte of the reply.
 */
#include "bench/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SAMPLES_MAX ((size_t)4 * 1024 * 1024)
#define LINGER_NS (UINT64_C(5) * 1000000000)

struct slot {
    uint64_t started_ns;
    uint32_t sent, received;
    int fd; /* -1: no operation under way */
};

struct connector {
    const struct load_options *options;
    struct slot *slots;
    int epoll;
    uint32_t busy;
    uint64_t begun; /* operations */
    uint64_t until_ns;
    bool stop;
    struct load_result result;
    char in[LOAD_SCRATCH_BYTES], out[LOAD_SCRATCH_BYTES];
};

static bool connector_may_begin(const struct connector *c, uint64_t now_ns)
{
    return !c->stop && (!c->until_ns || now_ns < c->until_ns) &&
           (!c->options->operations || c->begun < c->options->operations);
}

static void slot_begin(struct connector *c, struct slot *slot)
{
    uint64_t now_ns = load_now_ns();
    slot->fd = -1;
    if (!connector_may_begin(c, now_ns)) {
        return;
    }
    c->begun++;
    *slot = (struct slot){.started_ns = now_ns, .fd = load_connect_begin(&c->options->address)};
    if (slot->fd < 0) {
        c->result.errors
            .connect++; /* begun again by the next turn, so that a dead peer makes no endless recursion */
        return;
    }
    c->busy++;
    load_watch(c->epoll, slot->fd, (uint32_t)(slot - c->slots));
}

static void slot_end(struct connector *c, struct slot *slot, uint64_t *error)
{
    if (error) {
        ++*error;
    } else {
        load_samples_add(&c->result.samples, load_now_ns() - slot->started_ns);
        c->result.operations++;
        c->result.bytes += slot->received;
        c->result.tags[(unsigned char)c->in[0]]++;
    }
    close(slot->fd);
    c->busy--;
    slot_begin(c, slot);
}

static void slot_event(struct connector *c, struct slot *slot, uint32_t events)
{
    struct load_errors *errors = &c->result.errors;
    uint32_t size = c->options->size;
    if (slot->sent < size && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        ssize_t n = send(slot->fd, c->out, size - slot->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            slot_end(c, slot,
                     slot->sent || errno == EPIPE || errno == ECONNRESET ? &errors->reset : &errors->connect);
            return;
        }
        slot->sent += n > 0 ? (uint32_t)n : 0;
    }
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))) {
        return;
    }
    ssize_t n = recv(slot->fd, c->in, sizeof(c->in), 0);
    if (n > 0) {
        slot->received += (uint32_t)n;
        if (slot->received >= size) {
            slot_end(c, slot, slot->received == size ? NULL : &errors->mismatch);
        }
    } else if (n == 0) {
        slot_end(c, slot, &errors->early_end);
    } else if (errno != EAGAIN && errno != EINTR) {
        slot_end(c, slot, &errors->reset);
    }
}

static void connector_turn(struct connector *c)
{
    struct epoll_event events[LOAD_EVENTS_MAX];
    int n = epoll_wait(c->epoll, events, LOAD_EVENTS_MAX, 100);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == LOAD_INPUT_INDEX) {
            c->stop = true;
            epoll_ctl(c->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        } else if (c->slots[events[i].data.u32].fd >= 0) {
            slot_event(c, &c->slots[events[i].data.u32], events[i].events);
        }
    }
    if (c->busy == c->options->connections) {
        return;
    }
    for (uint32_t i = 0; i < c->options->connections; i++) {
        if (c->slots[i].fd < 0) {
            slot_begin(c, &c->slots[i]);
        }
    }
}

int load_client_connect(const struct load_options *options)
{
    struct connector *c = load_calloc(1, sizeof(*c));
    c->options = options;
    c->slots = load_calloc(options->connections, sizeof(*c->slots));
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    memset(c->out, options->tag, sizeof(c->out));
    load_samples_create(&c->result.samples, SAMPLES_MAX);
    load_wait_go(options);
    load_watch_input(c->epoll);
    load_result_start(&c->result);
    c->until_ns = options->duration_ns ? load_now_ns() + options->duration_ns : 0;
    for (uint32_t i = 0; i < options->connections; i++) {
        slot_begin(c, &c->slots[i]);
    }
    uint64_t linger_until_ns = 0;
    for (;;) {
        uint64_t now_ns = load_now_ns();
        if (!connector_may_begin(c, now_ns)) {
            linger_until_ns = linger_until_ns ? linger_until_ns : now_ns + LINGER_NS;
            if (!c->busy || now_ns > linger_until_ns) {
                break;
            }
        }
        connector_turn(c);
    }
    c->result.errors.timeout += c->busy;
    load_result_stop(&c->result);
    load_result_print(options, &c->result);
    int code = load_errors_sum(&c->result.errors) ? 1 : 0;
    free(c->result.samples.ns);
    free(c->slots);
    free(c);
    return code;
}
