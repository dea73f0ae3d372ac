/*
 * What the parts of bench_load share: options, sockets, samples, the report. One thread a process, no
 * libevent: the measuring tool shares no code with what it measures.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LOAD_SCRATCH_BYTES (128u * 1024u)
#define LOAD_EVENTS_MAX 256
#define LOAD_TAGS_MAX 256

struct load_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

struct load_options {
    const char *mode;
    struct load_addr address; /* server: where to listen; client: whom to call */
    uint32_t size;            /* of a request and of its reply, bytes */
    uint32_t connections;     /* at once */
    uint64_t operations;      /* end after so many; 0: no such end */
    uint64_t duration_ns;     /* end after so long; 0: no such end */
    uint64_t bytes;           /* bulk and stream: how much, over all connections and each way */
    uint64_t seed;            /* stream: what the bytes are made from */
    char tag;                 /* server: the byte that replies are made of */
    bool start_at_once;       /* client: do not wait for "go" */
    bool uneven;              /* stream: pieces of random size */
    bool resume;              /* tls-connect: offers the last session */
};

/* Why operations failed. */
struct load_errors {
    uint64_t connect, reset, early_end, timeout, mismatch;
};

/* Latencies in ns; when the array is full, later ones replace earlier ones in turn. */
struct load_samples {
    uint32_t *ns;
    size_t capacity, len;
    uint64_t seen;
};

struct load_result {
    uint64_t operations, bytes, started_ns, ended_ns, cpu_started_ns, cpu_ns;
    struct load_errors errors;
    struct load_samples samples;
    uint64_t tags[LOAD_TAGS_MAX]; /* operations by the first byte of the reply: which server answered */
};

/* Monotonic time, and this process's CPU time by the scheduler's account. */
uint64_t load_now_ns(void);
uint64_t load_cpu_ns(void);

/* "127.0.0.1:80", "[::1]:80", "unix:/path". Ends the program with a message when it is none of these. */
void load_addr_parse(const char *text, struct load_addr *out);
/* A non-blocking listener; prints "port N" (0 for a Unix path) on standard output. Ends the program on
 * failure. */
int load_listen(const struct load_addr *address);
/* Connects, waiting, and makes the socket non-blocking without delay of small segments. -1 on failure. */
int load_connect(const struct load_addr *address);
/* As load_connect but does not wait; the connection may be under way. */
int load_connect_begin(const struct load_addr *address);
void load_set_nodelay(int fd, const struct load_addr *address);
/* Adds fd to the epoll set, both directions, edge-triggered; index comes back in data.u32. */
void load_watch(int epoll, int fd, uint32_t index);
/* Ends the program with a message and the description of errno. */
_Noreturn void load_die(const char *what);
/* Never NULL: memory that runs out ends the program. */
void *load_calloc(size_t n, size_t size);

void load_samples_create(struct load_samples *samples, size_t capacity);
void load_samples_add(struct load_samples *samples, uint64_t ns);

/* Prints "ready" and waits for a line on standard input ("go"), unless told to start at once. */
void load_wait_go(const struct load_options *options);
/* One line from standard input into line; false at its end. Waits. */
bool load_read_line(char *line, size_t size);
/* Index that load_watch_input uses for standard input. */
#define LOAD_INPUT_INDEX UINT32_MAX
/* Standard input in the epoll set: a client without another end runs until a line or the end comes there. */
void load_watch_input(int epoll);

void load_result_start(struct load_result *result);
void load_result_stop(struct load_result *result);
/* One line of JSON on standard output; sorts the samples. */
void load_result_print(const struct load_options *options, struct load_result *result);
uint64_t load_errors_sum(const struct load_errors *errors);

/* The modes. Each returns the exit code: 0, or 1 when an operation failed. */
int load_server(const struct load_options *options);
int load_client_round_trips(const struct load_options *options);
int load_client_idle(const struct load_options *options);
int load_client_connect(const struct load_options *options);
int load_client_bulk(const struct load_options *options);
int load_client_stream(const struct load_options *options);
int load_client_tls(const struct load_options *options);

/* The server's side of a stream on one accepted, non-blocking connection: until it ends. */
struct load_stream;
struct load_stream *load_stream_accept(int fd, bool uneven);
/* Sends and receives what goes without waiting. False once it has ended (freed, fd is the caller's to close).
 */
bool load_stream_turn(struct load_stream *stream);

#endif
