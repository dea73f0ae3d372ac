/*
 * Answers for the pipes that bulk data is spliced through: opening, pooling, the budget. Runs on the worker
 * that owns the pool. How a pipe is filled and emptied is in relay.c.
 */
#include "proxy/pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void pipes_init(struct pipes_pool *pool, _Atomic long *budget)
{
    *pool = (struct pipes_pool){.budget = budget};
}

static void pipe_close(struct pipes_pool *pool, struct pipes_pipe *pipe)
{
    close(pipe->read_fd);
    close(pipe->write_fd);
    free(pipe);
    atomic_fetch_add_explicit(pool->budget, 1, memory_order_relaxed);
}

void pipes_clear(struct pipes_pool *pool)
{
    while (pool->idle != NULL) {
        struct pipes_pipe *pipe = pool->idle;
        pool->idle = pipe->next;
        pipe_close(pool, pipe);
    }
    pool->idle_len = 0;
}

/* Returns a pipe or NULL; the budget was taken by the caller. */
static struct pipes_pipe *pipe_open(void)
{
    int fds[2];
    struct pipes_pipe *pipe = malloc(sizeof(*pipe));
    if (pipe == NULL || pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(pipe);
        return NULL;
    }
    /* Refused when the user holds too many pipe pages already: then the default must do, or none. */
    int size = fcntl(fds[1], F_SETPIPE_SZ, (int)PIPES_SIZE_BYTES);
    if (size < 0) {
        size = fcntl(fds[1], F_GETPIPE_SZ);
    }
    if (size < (int)PIPES_SIZE_MIN) {
        close(fds[0]);
        close(fds[1]);
        free(pipe);
        return NULL;
    }
    *pipe = (struct pipes_pipe){.read_fd = fds[0], .write_fd = fds[1], .capacity = (size_t)size};
    return pipe;
}

struct pipes_pipe *pipes_get(struct pipes_pool *pool)
{
    struct pipes_pipe *pipe = pool->idle;
    if (pipe != NULL) {
        pool->idle = pipe->next;
        pool->idle_len--;
        pool->lent++;
        return pipe;
    }
    if (atomic_fetch_sub_explicit(pool->budget, 1, memory_order_relaxed) <= 0 ||
        (pipe = pipe_open()) == NULL) {
        atomic_fetch_add_explicit(pool->budget, 1, memory_order_relaxed);
        return NULL;
    }
    pool->lent++;
    return pipe;
}

void pipes_put(struct pipes_pool *pool, struct pipes_pipe *pipe)
{
    pool->lent--;
    if (pipe->bytes > 0 || pool->idle_len >= PIPES_IDLE_MAX) {
        pipe_close(pool, pipe);
        return;
    }
    pipe->next = pool->idle;
    pool->idle = pipe;
    pool->idle_len++;
}
