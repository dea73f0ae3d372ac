/*
 * Pipes for splice(2): a small pool on every worker, bounded over all workers so that pipes never eat the
 * descriptors of connections. A pool belongs to one thread.
 */
#ifndef PROXY_PIPES_H
#define PROXY_PIPES_H

#include <stdatomic.h>
#include <stddef.h>

#define PIPES_SIZE_BYTES (256u * 1024u) /* asked for */
#define PIPES_SIZE_MIN 65536u           /* 64 KiB; below it copying is no worse */
#define PIPES_IDLE_MAX 32u              /* kept for later in one pool */

struct pipes_pipe {
    struct pipes_pipe *next; /* in the pool */
    int read_fd, write_fd;
    size_t bytes;    /* held now; counted by the owner */
    size_t capacity; /* granted by the kernel */
};

struct pipes_pool {
    struct pipes_pipe *idle; /* owned */
    unsigned idle_len;
    unsigned lent;
    _Atomic long *budget; /* pipes that may still be opened, shared by all pools; borrowed */
};

void pipes_init(struct pipes_pool *pool, _Atomic long *budget);
/* Closes the idle pipes; lent ones must have been given back. */
void pipes_clear(struct pipes_pool *pool);
/* Lends an empty pipe; NULL when the budget, descriptors or memory do not allow one: then copy. */
struct pipes_pipe *pipes_get(struct pipes_pool *pool);
/* Takes a pipe back. One that still holds data is closed, since the data is somebody's. */
void pipes_put(struct pipes_pool *pool, struct pipes_pipe *pipe);

#endif
