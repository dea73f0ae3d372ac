/*
 * Messages between the program that hands over and the one that takes over: whole, in order, with open
 * descriptors where they carry some, over a Unix socket pair (SOCK_SEQPACKET, SCM_RIGHTS: unix(7)). What is
 * sent waits in the kernel, so descriptors in it stay open whatever becomes of the sender. One thread.
 */
#ifndef DAEMON_CHANNEL_H
#define DAEMON_CHANNEL_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANNEL_FDS_MAX 64u                  /* in one message */
#define CHANNEL_BODY_MAX (UINT32_C(1) << 28) /* bytes of one message */

struct channel;

struct channel_message {
    uint32_t kind;
    unsigned char *body; /* owned; a NUL follows it, which length does not count */
    size_t length;
    int fds[CHANNEL_FDS_MAX]; /* owned: close those that are not wanted */
    size_t fds_len;
};

/* Both ends of a pair, closed on exec. */
MUST_CHECK int channel_pair(int out[2], struct err_text *err);
/* Takes fd over on success. ERR_NOMEM. */
MUST_CHECK int channel_create(int fd, struct channel **out);
/* NULL is allowed. What was not sent yet is dropped. */
void channel_destroy(struct channel *channel);
int channel_fd(const struct channel *channel);

/*
 * Queues a message and sends what goes without waiting. body is copied, fds are borrowed until they are sent.
 * Messages with descriptors are at most 32 KiB long. ERR_NOMEM, ERR_RANGE; that the other end is gone shows
 * when receiving.
 */
MUST_CHECK int channel_send(struct channel *channel, uint32_t kind, const void *body, size_t length,
                            const int *fds, size_t fds_len);
/* Sends what goes without waiting. True when nothing is left. */
bool channel_flush(struct channel *channel);
/* Sends all, waiting for at most so long. ERR_TIMEOUT, ERR_SYSTEM. */
MUST_CHECK int channel_flush_within(struct channel *channel, uint64_t wait_us);

/* The next whole message: 1 with *out filled, 0 when there is none yet, or ERR_SYSTEM (the other end is
 * gone), ERR_CORRUPT, ERR_NOMEM. Cleared with channel_message_clear. */
MUST_CHECK int channel_receive(struct channel *channel, struct channel_message *out);
/* The same, waiting for at most so long: 1, 0 when the time is over, or an error. */
MUST_CHECK int channel_receive_within(struct channel *channel, uint64_t wait_us, struct channel_message *out);
void channel_message_clear(struct channel_message *message);

#endif
