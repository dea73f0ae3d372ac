/*
 * One connection that carries seeded bytes in both directions at once, compared byte by byte and digested on
 * both ends. Word i of a stream is splitmix64(seed + i) (Steele, Lea, Flood 2014), so that each end can make
 * any part of it again. The client opens with a header (how much each way, the seed); after its stream the
 * server sends the digest of what it received, which must be the digest of what the client sent.
 */
#include "bench/load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)64 * 1024)
/* Calls in one direction before the other has its turn. */
#define TURN_CALLS 16
#define HEADER_MAGIC UINT64_C(0x53545245414d3031)
/* The two directions of a connection must differ, or an echo would pass for the right answer. */
#define DOWN_SEED_OFFSET UINT64_C(0x9e3779b97f4a7c15)

struct header {
    uint64_t magic, up_bytes, down_bytes, seed;
};

/* One direction at one end: which part of the seeded stream is at hand. */
struct flow {
    uint64_t seed, total, done; /* done: bytes sent, or received and found right */
    uint64_t digest;
    uint64_t block; /* number of the block made, UINT64_MAX: none yet */
    uint64_t words[BLOCK_BYTES / 8];
};

struct load_stream {
    int fd;
    bool is_client, uneven, have_header, sent_end, wrong;
    bool again; /* a turn was cut short: there is more to do without waiting */
    uint64_t random;
    struct header header;
    size_t header_done, trailer_done;
    uint64_t trailer; /* digest of what the server received */
    struct flow in, out;
    char buffer[BLOCK_BYTES];
};

static uint64_t splitmix64(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void flow_start(struct flow *flow, uint64_t seed, uint64_t total)
{
    flow->seed = seed;
    flow->total = total;
    flow->done = 0;
    flow->digest = seed;
    flow->block = UINT64_MAX;
}

/* The bytes at flow->done up to the end of their block; *len tells how many. */
static const char *flow_bytes(struct flow *flow, size_t *len)
{
    uint64_t block = flow->done / BLOCK_BYTES;
    size_t at = (size_t)(flow->done % BLOCK_BYTES);
    if (block != flow->block) {
        uint64_t first = flow->seed + block * (BLOCK_BYTES / 8);
        for (size_t i = 0; i < BLOCK_BYTES / 8; i++) {
            flow->words[i] = splitmix64(first + i);
        }
        flow->block = block;
    }
    uint64_t left = flow->total - flow->done;
    *len = left < BLOCK_BYTES - at ? (size_t)left : BLOCK_BYTES - at;
    return (const char *)flow->words + at;
}

/* Counts n bytes as done. The digest (in the manner of FNV-1a, by words) is taken when a block is finished,
 * so that the sizes of the pieces do not matter. */
static void flow_advance(struct flow *flow, size_t n)
{
    flow->done += n;
    if (flow->done % BLOCK_BYTES == 0 || flow->done == flow->total) {
        size_t words = (size_t)((flow->done - flow->block * BLOCK_BYTES) / 8);
        for (size_t i = 0; i < words; i++) {
            flow->digest = (flow->digest ^ flow->words[i]) * UINT64_C(0x100000001b3);
            flow->digest ^= flow->digest >> 29;
        }
    }
}

static size_t piece(struct load_stream *s, size_t most)
{
    if (!s->uneven || most == 0) {
        return most;
    }
    s->random = splitmix64(s->random);
    /* Now a few bytes, now a lot: the proxy is to change between copying and splicing. */
    size_t limit = (s->random & 0xf00) ? BLOCK_BYTES : 200;
    size_t n = 1 + (size_t)((s->random >> 16) % limit);
    return n < most ? n : most;
}

static bool would_wait(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* False when the connection failed. */
static bool stream_send(struct load_stream *s)
{
    for (int calls = 0; s->out.done < s->out.total; calls++) {
        size_t len;
        if (calls == TURN_CALLS) {
            s->again = true;
            return true;
        }
        const char *bytes = flow_bytes(&s->out, &len);
        ssize_t n = send(s->fd, bytes, piece(s, len), MSG_NOSIGNAL);
        if (n < 0) {
            return would_wait();
        }
        flow_advance(&s->out, (size_t)n);
    }
    /* The server's last word needs all of the client's bytes. */
    bool received_all = s->in.done == s->in.total;
    while (!s->is_client && received_all && s->trailer_done < sizeof(s->trailer)) {
        s->trailer = s->in.digest;
        ssize_t n = send(s->fd, (char *)&s->trailer + s->trailer_done, sizeof(s->trailer) - s->trailer_done,
                         MSG_NOSIGNAL);
        if (n < 0) {
            return would_wait();
        }
        s->trailer_done += (size_t)n;
    }
    if (!s->sent_end && (s->is_client || s->trailer_done == sizeof(s->trailer))) {
        s->sent_end = true;
        shutdown(s->fd, SHUT_WR);
    }
    return true;
}

/* Takes received bytes: header (server), stream, trailer (client), in that order. */
static void stream_take(struct load_stream *s, const char *bytes, size_t n)
{
    if (!s->have_header) {
        size_t part = sizeof(s->header) - s->header_done < n ? sizeof(s->header) - s->header_done : n;
        memcpy((char *)&s->header + s->header_done, bytes, part);
        s->header_done += part;
        bytes += part;
        n -= part;
        if (s->header_done < sizeof(s->header)) {
            return;
        }
        s->have_header = true;
        s->wrong = s->header.magic != HEADER_MAGIC;
        flow_start(&s->in, s->header.seed, s->header.up_bytes);
        flow_start(&s->out, s->header.seed + DOWN_SEED_OFFSET, s->header.down_bytes);
    }
    while (n && s->in.done < s->in.total && !s->wrong) {
        size_t len;
        const char *expected = flow_bytes(&s->in, &len);
        len = len < n ? len : n;
        s->wrong = memcmp(bytes, expected, len) != 0;
        flow_advance(&s->in, len);
        bytes += len;
        n -= len;
    }
    if (n && s->is_client && s->trailer_done + n <= sizeof(s->trailer)) {
        memcpy((char *)&s->trailer + s->trailer_done, bytes, n);
        s->trailer_done += n;
        n = 0;
    }
    s->wrong = s->wrong || n > 0;
}

/* 1: more may come, 0: the peer has ended, -1: failed or wrong bytes. */
static int stream_receive(struct load_stream *s)
{
    for (int calls = 0; calls < TURN_CALLS; calls++) {
        ssize_t n = recv(s->fd, s->buffer, piece(s, sizeof(s->buffer)), 0);
        if (n > 0) {
            stream_take(s, s->buffer, (size_t)n);
            if (s->wrong) {
                return -1;
            }
        } else if (n == 0) {
            return 0;
        } else {
            return would_wait() ? 1 : -1;
        }
    }
    s->again = true;
    return 1;
}

struct load_stream *load_stream_accept(int fd, bool uneven)
{
    struct load_stream *s = load_calloc(1, sizeof(*s));
    s->fd = fd;
    s->uneven = uneven;
    s->random = 7;
    return s;
}

bool load_stream_turn(struct load_stream *s)
{
    int more;
    bool good;
    do {
        s->again = false;
        more = stream_receive(s);
        good = more >= 0 && (!s->have_header || stream_send(s));
    } while (good && s->again);
    bool complete = s->sent_end && s->in.done == s->in.total;
    if (good && !(more == 0 && (complete || s->in.done < s->in.total || !s->have_header))) {
        return true;
    }
    if (!complete || !good) {
        fprintf(stderr, "bench_load: a stream ended early: %ju of %ju bytes in, %ju of %ju out%s\n",
                (uintmax_t)s->in.done, (uintmax_t)s->in.total, (uintmax_t)s->out.done,
                (uintmax_t)s->out.total, s->wrong ? ", wrong bytes" : "");
    }
    free(s);
    return false;
}

static struct load_stream *client_create(const struct load_options *options)
{
    struct load_stream *s = load_calloc(1, sizeof(*s));
    s->fd = load_connect(&options->address);
    if (s->fd < 0) {
        load_die("connect");
    }
    s->is_client = s->have_header = true;
    s->uneven = options->uneven;
    s->random = options->seed;
    s->header = (struct header){HEADER_MAGIC, options->bytes, options->bytes, options->seed};
    flow_start(&s->out, options->seed, options->bytes);
    flow_start(&s->in, options->seed + DOWN_SEED_OFFSET, options->bytes);
    return s;
}

/* No byte in either direction for so long is a stall. */
#define STALL_MS 5000

/* Until both directions have ended. Counts what went wrong; *stall_ns: the longest wait for any progress. */
static void client_run(struct load_stream *s, struct load_errors *errors, uint64_t *stall_ns)
{
    for (;;) {
        bool unsent = s->out.done < s->out.total;
        struct pollfd poll_fd = {.fd = s->fd, .events = (short)(POLLIN | (unsent ? POLLOUT : 0))};
        uint64_t before_ns = load_now_ns();
        int n = poll(&poll_fd, 1, STALL_MS);
        uint64_t waited_ns = load_now_ns() - before_ns;
        *stall_ns = waited_ns > *stall_ns ? waited_ns : *stall_ns;
        if (n == 0) {
            errors->timeout++;
            return;
        }
        bool good = stream_send(s);
        int more = stream_receive(s);
        if (!good || more < 0) {
            ++*(s->wrong ? &errors->mismatch : &errors->reset);
            return;
        }
        if (more == 0) {
            errors->early_end += s->in.done < s->in.total || s->trailer_done < sizeof(s->trailer);
            return;
        }
    }
}

int load_client_stream(const struct load_options *options)
{
    struct load_result result = {0};
    uint64_t stall_ns = 0;
    struct load_stream *s = client_create(options);
    load_wait_go(options);
    load_result_start(&result);
    if (send(s->fd, &s->header, sizeof(s->header), MSG_NOSIGNAL) != sizeof(s->header)) {
        load_die("send of the header");
    }
    client_run(s, &result.errors, &stall_ns);
    load_result_stop(&result);
    if (!load_errors_sum(&result.errors) && s->trailer != s->out.digest) {
        result.errors.mismatch++;
    }
    result.operations = 1;
    result.bytes = s->out.done + s->in.done;
    printf("{\"sent\":%ju,\"received\":%ju,\"sent_digest\":\"%016jx\",\"server_digest\":\"%016jx\","
           "\"received_digest\":\"%016jx\",\"longest_wait_ms\":%.1f}\n",
           (uintmax_t)s->out.done, (uintmax_t)s->in.done, (uintmax_t)s->out.digest, (uintmax_t)s->trailer,
           (uintmax_t)s->in.digest, (double)stall_ns / 1e6);
    load_result_print(options, &result);
    close(s->fd);
    free(s);
    return load_errors_sum(&result.errors) ? 1 : 0;
}
