/*
 * The log's queue and its writer thread. Any thread may log: it formats on its own stack, copies the line
 * into a bounded ring under a short lock and goes on. Only the writer thread waits for the descriptor.
 * How a line looks is log_format.c's business.
 */
#include "core/log.h"

#include "core/clock.h"
#include "core/log_internal.h"
#include "core/log_sink.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_BYTES ((size_t)256 * 1024)
/* One write: a pipe that polls as writable takes this much without blocking. */
#define CHUNK_BYTES ((size_t)PIPE_BUF)
/* How often a writer that waits for its descriptor looks whether it is still wanted. */
#define POLL_MS 100
/* How long log_stop waits for the queue to empty, and then for a writer that hangs in the kernel. */
#define STOP_WAIT_US CLOCK_US_PER_S
#define CANCEL_WAIT_US (CLOCK_US_PER_S / 10)

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the writer's: something is queued, or stopping */
    pthread_t thread;
    bool started;          /* between log_start and log_stop */
    bool running;          /* lines go into the ring; else straight to standard error */
    bool stopping;         /* the writer ends once the ring is empty */
    bool reopen;           /* the writer is to open its file again */
    unsigned generation;   /* changes when a writer that hangs is left behind: it then ends by itself */
    int facility;          /* below 0: lines are not for the system's log */
    struct log_sink *next; /* where the writer is to go on once it has written `before` bytes of the ring */
    size_t before;
    uint64_t unreported; /* lines dropped of which no line tells yet */
    size_t head, used;   /* the ring: first byte and bytes in use */
    char ring[QUEUE_BYTES];
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .facility = -1};

static _Atomic int threshold = LOG_LEVEL_INFO;
static _Atomic int line_format = LOG_FORMAT_LOGFMT;
static _Atomic uint64_t dropped_total;

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    return (unsigned)level < sizeof(names) / sizeof(names[0]) ? names[level] : "unknown";
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum log_level log_threshold(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&dropped_total, memory_order_relaxed);
}

/* With the lock held. Wakes the writer. False when there is no room. */
static bool ring_push(const char *text, size_t len)
{
    if (len > QUEUE_BYTES - queue.used) {
        return false;
    }
    size_t tail = (queue.head + queue.used) % QUEUE_BYTES;
    size_t first = len < QUEUE_BYTES - tail ? len : QUEUE_BYTES - tail;
    memcpy(queue.ring + tail, text, first);
    memcpy(queue.ring, text + first, len - first);
    if (queue.used == 0) {
        (void)pthread_cond_signal(&queue.wake);
    }
    queue.used += len;
    return true;
}

/* With the lock held. Bytes of the oldest line, with its newline. */
static size_t ring_line(void)
{
    size_t len = 0;
    while (len < queue.used && queue.ring[(queue.head + len) % QUEUE_BYTES] != '\n') {
        len++;
    }
    return len < queue.used ? len + 1 : len;
}

/* With the lock held. Takes up to CHUNK_BYTES of the oldest bytes, or one line. */
static size_t ring_pop(char *out, bool line)
{
    size_t len = line ? ring_line() : queue.used;
    len = queue.next != NULL && len > queue.before ? queue.before : len;
    len = len < CHUNK_BYTES ? len : CHUNK_BYTES;
    size_t first = len < QUEUE_BYTES - queue.head ? len : QUEUE_BYTES - queue.head;
    memcpy(out, queue.ring + queue.head, first);
    memcpy(out + first, queue.ring, len - first);
    queue.head = (queue.head + len) % QUEUE_BYTES;
    queue.used -= len;
    queue.before -= queue.next != NULL ? len : 0;
    return len;
}

static void count_dropped(uint64_t lines)
{
    atomic_fetch_add_explicit(&dropped_total, lines, memory_order_relaxed);
}

/* Formats a line, for the system's log with its prefix. */
static void format_line(struct log_buffer *line, int facility, enum log_level level, const char *message,
                        const struct log_field *fields)
{
    uint64_t wall_us = clock_wall_us();
    char prefix[64];
    size_t len = facility >= 0 ? log_sink_prefix(prefix, sizeof(prefix), facility, level, wall_us) : 0;
    log_format_line(line, (enum log_format)atomic_load_explicit(&line_format, memory_order_relaxed), wall_us,
                    level, message, fields);
    if (len > 0 && line->len + len <= sizeof(line->text)) {
        memmove(line->text + len, line->text, line->len);
        memcpy(line->text, prefix, len);
        line->len += len;
    }
}

/* With the lock held. False when there is no room. */
static bool push_line(enum log_level level, const char *message, const struct log_field *fields)
{
    struct log_buffer line;
    format_line(&line, queue.facility, level, message, fields);
    return ring_push(line.text, line.len);
}

/* With the lock held: queues the line that tells of dropped ones, as soon as there is room for it. */
static void report_dropped(void)
{
    if (queue.unreported == 0) {
        return;
    }
    const struct log_field fields[] = {LOG_UINT("lines", queue.unreported), {.kind = LOG_KIND_END}};
    if (push_line(LOG_LEVEL_WARN, "log lines were lost: the log could not be written, or not fast enough",
                  fields)) {
        queue.unreported = 0;
    }
}

/* Writes all of it. False when this writer is no longer wanted or the descriptor is broken. */
static bool write_chunk(struct log_sink *sink, unsigned generation, const char *chunk, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct pollfd poller = {.fd = log_sink_fd(sink), .events = POLLOUT};
        int cancel_state;
        /* The one place where a writer may be cancelled: it holds no lock here. */
        (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel_state);
        int ready = poll(&poller, 1, POLL_MS);
        /* A log socket without a daemon polls as nothing; writing connects it again. */
        ssize_t n = ready > 0 || poller.fd < 0 ? log_sink_write(sink, chunk + done, len - done) : 0;
        int saved = errno;
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && saved != EAGAIN && saved != EINTR) {
            return false;
        }
        (void)pthread_mutex_lock(&queue.lock);
        bool stuck = ready <= 0 && poller.fd >= 0 && queue.next != NULL;
        bool wanted = queue.generation == generation && !stuck;
        (void)pthread_mutex_unlock(&queue.lock);
        if (!wanted && done < len) {
            return false;
        }
    }
    return true;
}

static uint64_t count_lines(const char *chunk, size_t len)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < len; i++) {
        lines += chunk[i] == '\n';
    }
    return lines;
}

/* With the lock held on the way in and out, not while the file is opened. */
static void reopen(struct log_sink *sink)
{
    char text[128];
    queue.reopen = false;
    if (!log_sink_is_file(sink)) {
        (void)push_line(LOG_LEVEL_WARN, "the log does not go to a file: there is none to open again",
                        &(const struct log_field){.kind = LOG_KIND_END});
        return;
    }
    (void)pthread_mutex_unlock(&queue.lock);
    bool good = log_sink_reopen(sink);
    const char *why = good ? "" : strerror_r(errno, text, sizeof(text));
    const struct log_field fields[] = {LOG_TEXT("error", why), {.kind = LOG_KIND_END}};
    (void)pthread_mutex_lock(&queue.lock);
    (void)(good ? push_line(LOG_LEVEL_INFO, "the log was opened again", fields + 1)
                : push_line(LOG_LEVEL_ERROR, "the log cannot be opened again, the old file goes on", fields));
}

/* Goes on with the sink that was made for it. With the lock held. */
static void take_next(struct log_sink **sink)
{
    log_sink_destroy(*sink);
    *sink = queue.next;
    queue.next = NULL;
}

/* Writes until it is to end. With the lock held on the way in and out. */
static void writer_serve(struct log_sink **sink, unsigned generation)
{
    char chunk[CHUNK_BYTES];
    uint64_t lost = 0; /* told once something can be written again */
    for (;;) {
        while (queue.used == 0 && !queue.stopping && !queue.reopen && queue.next == NULL &&
               queue.generation == generation) {
            (void)pthread_cond_wait(&queue.wake, &queue.lock);
        }
        if (queue.next != NULL && queue.before == 0 && queue.generation == generation) {
            take_next(sink);
            continue;
        }
        if (queue.reopen && queue.generation == generation) {
            reopen(*sink);
            continue;
        }
        if (queue.used == 0 || queue.generation != generation) {
            return;
        }
        size_t len = ring_pop(chunk, log_sink_wants_lines(*sink));
        report_dropped();
        (void)pthread_mutex_unlock(&queue.lock);
        bool written = write_chunk(*sink, generation, chunk, len);
        if (!written) {
            count_dropped(count_lines(chunk, len));
            lost += count_lines(chunk, len);
        }
        (void)pthread_mutex_lock(&queue.lock);
        if (written) {
            queue.unreported += lost;
            lost = 0;
        }
    }
}

static void *writer_run(void *context)
{
    struct log_sink *sink = context;
    int cancel_state;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    (void)pthread_mutex_lock(&queue.lock);
    unsigned generation = queue.generation;
    writer_serve(&sink, generation);
    if (queue.generation == generation) {
        /* Under the same lock as the look at the empty ring: no line falls between. */
        queue.running = false;
    }
    (void)pthread_mutex_unlock(&queue.lock);
    log_sink_destroy(sink);
    return NULL;
}

/* A forked child has no writer thread; whatever the ring holds is the parent's to write. */
static void fork_prepare(void)
{
    (void)pthread_mutex_lock(&queue.lock);
}

static void fork_parent(void)
{
    (void)pthread_mutex_unlock(&queue.lock);
}

static void fork_child(void)
{
    queue.started = queue.running = queue.stopping = false;
    queue.head = queue.used = 0;
    queue.unreported = 0;
    queue.generation++;
    (void)pthread_mutex_unlock(&queue.lock);
    (void)pthread_cond_init(&queue.wake, NULL);
}

static void register_fork_handlers(void)
{
    /* Fails only without memory; then a child that logs may hang, which the parent survives. */
    (void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* The main thread handles all signals. */
static int start_thread(struct log_sink *sink)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&queue.thread, NULL, writer_run, sink);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int log_start_on(const struct log_target *target, enum log_level level, enum log_format format,
                 struct err_text *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct log_sink *sink = NULL;
    (void)pthread_once(&once, register_fork_handlers);
    int rc = log_sink_create(target, &sink, err);
    if (rc != ERR_OK) {
        return rc;
    }
    log_set_level(level);
    atomic_store_explicit(&line_format, (int)format, memory_order_relaxed);
    (void)pthread_mutex_lock(&queue.lock);
    if (queue.started) {
        (void)pthread_mutex_unlock(&queue.lock);
        log_sink_destroy(sink);
        return err_set(err, ERR_STATE, "the log is running already");
    }
    queue.stopping = queue.reopen = false;
    queue.facility = log_sink_facility(sink);
    rc = start_thread(sink);
    queue.started = queue.running = rc == 0;
    (void)pthread_mutex_unlock(&queue.lock);
    if (rc != 0) {
        log_sink_destroy(sink);
        errno = rc;
        return err_set_errno(err, "the log's writer thread cannot be started");
    }
    return ERR_OK;
}

int log_start(int fd, enum log_level level, enum log_format format, struct err_text *err)
{
    const struct log_target target = {.kind = LOG_SINK_FD, .fd = fd};
    return log_start_on(&target, level, format, err);
}

void log_set_format(enum log_format format)
{
    atomic_store_explicit(&line_format, (int)format, memory_order_relaxed);
}

void log_move(struct log_sink *sink)
{
    (void)pthread_mutex_lock(&queue.lock);
    if (queue.running) {
        struct log_sink *never_used = queue.next;
        queue.next = sink;
        queue.before = queue.used;
        queue.facility = log_sink_facility(sink);
        sink = never_used;
        (void)pthread_cond_signal(&queue.wake);
    }
    (void)pthread_mutex_unlock(&queue.lock);
    log_sink_destroy(sink);
}

void log_reopen(void)
{
    (void)pthread_mutex_lock(&queue.lock);
    queue.reopen = queue.running;
    (void)pthread_cond_signal(&queue.wake);
    (void)pthread_mutex_unlock(&queue.lock);
}

/* pthread_join with a bound. The clock of pthread_timedjoin_np is the wall clock. */
static bool join_within(pthread_t thread, uint64_t wait_us)
{
    uint64_t until_us = clock_wall_us() + wait_us;
    struct timespec until = {.tv_sec = (time_t)(until_us / CLOCK_US_PER_S),
                             .tv_nsec = (long)(until_us % CLOCK_US_PER_S) * 1000};
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

/* What the writer did not get rid of is lost: counted, so that the figure stays true. */
static void discard_ring(void)
{
    char chunk[CHUNK_BYTES];
    while (queue.used > 0) {
        size_t len = ring_pop(chunk, false);
        count_dropped(count_lines(chunk, len));
    }
    queue.unreported = 0;
}

void log_stop(void)
{
    (void)pthread_mutex_lock(&queue.lock);
    if (!queue.started) {
        (void)pthread_mutex_unlock(&queue.lock);
        return;
    }
    queue.stopping = true;
    pthread_t thread = queue.thread;
    (void)pthread_cond_signal(&queue.wake);
    (void)pthread_mutex_unlock(&queue.lock);
    bool joined = join_within(thread, STOP_WAIT_US);
    (void)pthread_mutex_lock(&queue.lock);
    queue.started = queue.running = false;
    discard_ring();
    struct log_sink *never_used = queue.next;
    queue.next = NULL;
    queue.generation += joined ? 0 : 1;
    (void)pthread_mutex_unlock(&queue.lock);
    log_sink_destroy(never_used);
    if (!joined && !join_within(thread, 2 * (uint64_t)POLL_MS * CLOCK_US_PER_MS)) {
        (void)pthread_cancel(thread);
        if (!join_within(thread, CANCEL_WAIT_US)) {
            /* In the kernel on a dead disk. It touches nothing of a later writer when it comes back. */
            (void)pthread_detach(thread);
        }
    }
}

/* One write, so that lines of several threads do not mix; an error has nowhere to be told. */
static void write_direct(const struct log_buffer *line)
{
    ssize_t n;
    do {
        n = write(STDERR_FILENO, line->text, line->len);
    } while (n < 0 && errno == EINTR);
}

/* ---- how much of one message */

#define RATED_MESSAGES 64u /* as many as have a limit; of more, the rest has none */

struct rated {
    const char *message; /* static storage: told apart by address */
    uint64_t second;
    uint32_t written, left_out; /* in that second; left_out until it was told */
};

static _Atomic uint32_t rate_limit;
static _Atomic uint64_t left_out_total;
static struct rated rated[RATED_MESSAGES]; /* under queue.lock */

void log_set_rate(uint32_t lines_a_second)
{
    atomic_store_explicit(&rate_limit, lines_a_second, memory_order_relaxed);
}

uint64_t log_left_out(void)
{
    return atomic_load_explicit(&left_out_total, memory_order_relaxed);
}

/* With the lock held. What was left out in a second that is over is told. */
static void tell_left_out(struct rated *entry, uint64_t second)
{
    if (entry->message == NULL || entry->left_out == 0 || entry->second == second) {
        return;
    }
    const struct log_field fields[] = {
        LOG_TEXT("of", entry->message), LOG_UINT("lines", entry->left_out), {.kind = LOG_KIND_END}};
    if (push_line(LOG_LEVEL_WARN, "too many log lines of one kind, some were left out", fields)) {
        entry->left_out = 0;
    }
}

/* With the lock held. False: this line is left out. */
static bool is_within_rate(const char *message)
{
    uint32_t limit = atomic_load_explicit(&rate_limit, memory_order_relaxed);
    uint64_t second = clock_mono_us() / CLOCK_US_PER_S;
    struct rated *mine = NULL;
    if (limit == 0) {
        return true;
    }
    for (size_t i = 0; i < RATED_MESSAGES; i++) {
        tell_left_out(&rated[i], second);
        if (mine == NULL && (rated[i].message == message || rated[i].message == NULL)) {
            mine = &rated[i];
        }
        if (rated[i].message == NULL) {
            break;
        }
    }
    if (mine == NULL) {
        return true;
    }
    if (mine->message != message || mine->second != second) {
        *mine = (struct rated){.message = message, .second = second, .left_out = mine->left_out};
    }
    if (mine->written < limit) {
        mine->written++;
        return true;
    }
    mine->left_out++;
    atomic_fetch_add_explicit(&left_out_total, 1, memory_order_relaxed);
    return false;
}

void log_write(enum log_level level, const char *message, const struct log_field *fields)
{
    int saved = errno;
    struct log_buffer line;
    (void)pthread_mutex_lock(&queue.lock);
    int facility = queue.running ? queue.facility : -1;
    (void)pthread_mutex_unlock(&queue.lock);
    format_line(&line, facility, level, message, fields);
    (void)pthread_mutex_lock(&queue.lock);
    bool running = queue.running;
    if (running) {
        if (!ring_push(line.text, line.len)) {
            queue.unreported++;
            count_dropped(1);
        }
    }
    (void)pthread_mutex_unlock(&queue.lock);
    if (!running) {
        write_direct(&line);
    }
    errno = saved;
}

void log_write_rated(enum log_level level, const char *message, const struct log_field *fields)
{
    if (level > LOG_LEVEL_DEBUG && atomic_load_explicit(&rate_limit, memory_order_relaxed) > 0) {
        (void)pthread_mutex_lock(&queue.lock);
        bool wanted = !queue.running || is_within_rate(message);
        (void)pthread_mutex_unlock(&queue.lock);
        if (!wanted) {
            return;
        }
    }
    log_write(level, message, fields);
}
