/*
 * Preloaded into a program under test: makes calls of the C library fail, or move less than asked for. What
 * is armed stands in a file that the test shares ($SHUNT_FAULTS; see tests/support/shunt/faults.py), so that
 * it can be changed while the program runs. A slot with after = n lets n calls pass and then applies to times
 * calls. Clocks can be set apart from the system's. Any thread.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum slot_index {
    SLOT_RECV,
    SLOT_SEND,
    SLOT_SPLICE,
    SLOT_ACCEPT,
    SLOT_SOCKET,
    SLOT_CONNECT,
    SLOT_PIPE,
    SLOT_EPOLL_CTL,
    SLOT_MALLOC,
    SLOT_FDATASYNC,
    SLOT_WRITE,
    SLOT_WALL, /* this and the next: `times` is by how many µs that clock is ahead, while armed */
    SLOT_MONOTONIC,
    SLOT_COUNT
};

/* As faults.py writes it: little endian, 32 bytes. */
struct slot {
    _Atomic int64_t after; /* calls that pass first; below 0: not armed */
    _Atomic int64_t times; /* calls it applies to then */
    _Atomic int32_t error; /* errno; 0: the call moves at most `most` bytes */
    _Atomic int32_t most;
    _Atomic int64_t hits; /* calls it was applied to */
};
_Static_assert(sizeof(struct slot) == 32, "faults.py counts on it");

static struct slot *slots; /* NULL: nothing is armed, ever */

__attribute__((constructor)) static void begin(void)
{
    /* What the program under test starts inherits the preload, not the faults. */
    bool meant = strcmp(program_invocation_short_name, "shuntd") == 0;
    const char *path = getenv("SHUNT_FAULTS");
    int fd = meant && path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *map = mmap(NULL, SLOT_COUNT * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        slots = map != MAP_FAILED ? map : NULL;
        (void)close(fd);
    }
}

static bool is_hit(enum slot_index index)
{
    struct slot *slot = slots != NULL ? &slots[index] : NULL;
    if (slot == NULL || atomic_load_explicit(&slot->after, memory_order_relaxed) < 0) {
        return false;
    }
    if (atomic_fetch_sub(&slot->after, 1) > 0) {
        return false;
    }
    atomic_store(&slot->after, 0);
    if (atomic_fetch_sub(&slot->times, 1) <= 0) {
        atomic_store(&slot->after, -1);
        return false;
    }
    atomic_fetch_add(&slot->hits, 1);
    return true;
}

/* True when the call is to fail (errno is set); else *size may have become smaller. */
static bool strikes(enum slot_index index, size_t *size)
{
    if (!is_hit(index)) {
        return false;
    }
    int error = atomic_load(&slots[index].error);
    if (error != 0) {
        errno = error;
        return true;
    }
    size_t most = (size_t)atomic_load(&slots[index].most);
    if (size != NULL && *size > most) {
        *size = most;
    }
    return false;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the library has its own names */
#define NEXT(name)                                                                                           \
    static __typeof__(name) *next;                                                                           \
    if (next == NULL) {                                                                                      \
        void *found = dlsym(RTLD_NEXT, #name);                                                               \
        memcpy(&next, &found, sizeof(next));                                                                 \
    }

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    NEXT(recv)
    return strikes(SLOT_RECV, &size) ? -1 : next(fd, buffer, size, flags);
}

ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
    NEXT(send)
    return strikes(SLOT_SEND, &size) ? -1 : next(fd, buffer, size, flags);
}

ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size, unsigned flags)
{
    NEXT(splice)
    return strikes(SLOT_SPLICE, &size) ? -1 : next(from, from_offset, to, to_offset, size, flags);
}

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *length, int flags)
{
    NEXT(accept4)
    return strikes(SLOT_ACCEPT, NULL) ? -1 : next(fd, address, length, flags);
}

int socket(int domain, int type, int protocol)
{
    NEXT(socket)
    return strikes(SLOT_SOCKET, NULL) ? -1 : next(domain, type, protocol);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t length)
{
    NEXT(connect)
    return strikes(SLOT_CONNECT, NULL) ? -1 : next(fd, address, length);
}

int pipe2(int fds[2], int flags)
{
    NEXT(pipe2)
    return strikes(SLOT_PIPE, NULL) ? -1 : next(fds, flags);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    NEXT(epoll_ctl)
    /* Taking out is what never fails. */
    return operation != EPOLL_CTL_DEL && strikes(SLOT_EPOLL_CTL, NULL) ? -1
                                                                       : next(epoll, operation, fd, event);
}

int fdatasync(int fd)
{
    NEXT(fdatasync)
    return strikes(SLOT_FDATASYNC, NULL) ? -1 : next(fd);
}

ssize_t write(int fd, const void *buffer, size_t size)
{
    NEXT(write)
    return strikes(SLOT_WRITE, &size) ? -1 : next(fd, buffer, size);
}

static int64_t ahead_us(clockid_t clock)
{
    bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    bool is_monotonic = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE;
    struct slot *slot = slots != NULL ? &slots[is_wall ? SLOT_WALL : SLOT_MONOTONIC] : NULL;
    bool counts = slot != NULL && (is_wall || is_monotonic) && atomic_load(&slot->after) >= 0;
    return counts ? atomic_load(&slot->times) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    NEXT(clock_gettime)
    int rc = next(clock, now);
    int64_t ahead = rc == 0 ? ahead_us(clock) : 0;
    if (ahead != 0) {
        int64_t ns = now->tv_nsec + ahead % 1000000 * 1000;
        int64_t carry = ns < 0 ? -1 : ns / 1000000000;
        now->tv_sec += ahead / 1000000 + carry;
        now->tv_nsec = ns - carry * 1000000000;
    }
    return rc;
}

/* Through glibc's own names: dlsym itself allocates. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    return strikes(SLOT_MALLOC, NULL) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return strikes(SLOT_MALLOC, NULL) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return strikes(SLOT_MALLOC, NULL) ? NULL : __libc_realloc(old, size);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
