/*
 * A lock for the few places where several threads must agree on more than one word: short, never held over a
 * system call that may wait. The paths of a byte and of a pick take none. A thin name for the system's mutex,
 * so that rooms that know of no threads need not know of them for this.
 */
#ifndef CORE_LOCK_H
#define CORE_LOCK_H

#include <pthread.h>

struct lock {
    pthread_mutex_t mutex;
};

/* 0, or an errno. */
static inline int lock_init(struct lock *lock)
{
    return pthread_mutex_init(&lock->mutex, NULL);
}

/* Nobody holds it or will. */
static inline void lock_destroy(struct lock *lock)
{
    (void)pthread_mutex_destroy(&lock->mutex);
}

/* An ordinary mutex that its own thread does not hold: neither can fail. */
static inline void lock_take(struct lock *lock)
{
    (void)pthread_mutex_lock(&lock->mutex);
}

static inline void lock_release(struct lock *lock)
{
    (void)pthread_mutex_unlock(&lock->mutex);
}

#endif
