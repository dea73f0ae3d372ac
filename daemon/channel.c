/*
 * Packets on a socket pair: a message is one packet, or several where it is long. The kernel keeps packets
 * whole and descriptors with their packet, so nothing has to be put together but the parts of a long one. One
 * thread.
 */
#include "daemon/channel.h"

#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PART_MAX 32768u
#define ROOM_BYTES (1 << 20) /* asked for in the kernel; it may give less */

/* Ahead of each packet; both programs run on one machine. */
struct head {
    uint32_t kind;
    uint32_t more; /* parts of this message follow */
};

struct packet {
    struct packet *next;
    struct head head;
    size_t length;
    int fds[CHANNEL_FDS_MAX];
    size_t fds_len;
    unsigned char body[];
};

struct channel {
    int fd;
    struct packet *first, **end; /* to be sent; owned */
    unsigned char *parts;        /* of a long message that is coming in; owned */
    size_t parts_len;
};

int channel_pair(int out[2], struct err_text *err)
{
    const int room = ROOM_BYTES;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out) != 0) {
        return err_set_errno(err, "cannot make a channel to the new program");
    }
    for (int i = 0; i < 2; i++) {
        (void)setsockopt(out[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    }
    return 0;
}

int channel_create(int fd, struct channel **out)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL) {
        return ERR_NOMEM;
    }
    channel->fd = fd;
    channel->end = &channel->first;
    int flags = fcntl(fd, F_GETFL);
    (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    *out = channel;
    return 0;
}

static void drop_first(struct channel *channel)
{
    struct packet *packet = channel->first;
    channel->first = packet->next;
    if (channel->first == NULL) {
        channel->end = &channel->first;
    }
    explicit_bzero(packet->body, packet->length); /* it may hold keys */
    free(packet);
}

void channel_destroy(struct channel *channel)
{
    if (channel == NULL) {
        return;
    }
    while (channel->first != NULL) {
        drop_first(channel);
    }
    free(channel->parts);
    (void)close(channel->fd);
    free(channel);
}

int channel_fd(const struct channel *channel)
{
    return channel->fd;
}

/* ---- sending */

static int queue(struct channel *channel, struct head head, const unsigned char *body, size_t length,
                 const int *fds, size_t fds_len)
{
    struct packet *packet = calloc(1, sizeof(*packet) + length);
    if (packet == NULL) {
        return ERR_NOMEM;
    }
    packet->head = head;
    packet->length = length;
    packet->fds_len = fds_len;
    if (length > 0) {
        memcpy(packet->body, body, length);
    }
    if (fds_len > 0) {
        memcpy(packet->fds, fds, fds_len * sizeof(*fds));
    }
    *channel->end = packet;
    channel->end = &packet->next;
    return 0;
}

int channel_send(struct channel *channel, uint32_t kind, const void *body, size_t length, const int *fds,
                 size_t fds_len)
{
    const unsigned char *at = length > 0 ? body : (const unsigned char *)"";
    if (fds_len > CHANNEL_FDS_MAX || length > CHANNEL_BODY_MAX || (fds_len > 0 && length > PART_MAX)) {
        return ERR_RANGE;
    }
    do {
        size_t part = length < PART_MAX ? length : PART_MAX;
        const struct head head = {.kind = kind, .more = part < length};
        if (queue(channel, head, at, part, fds, fds_len) != 0) {
            return ERR_NOMEM;
        }
        at = part > 0 ? at + part : at; /* no body: NULL */
        length -= part;
    } while (length > 0);
    (void)channel_flush(channel);
    return 0;
}

static ssize_t put(int fd, struct packet *packet)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
    } control = {.bytes = {0}};
    struct iovec parts[] = {{.iov_base = &packet->head, .iov_len = sizeof(packet->head)},
                            {.iov_base = packet->body, .iov_len = packet->length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (packet->fds_len > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * packet->fds_len);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * packet->fds_len);
        memcpy(CMSG_DATA(rights), packet->fds, sizeof(int) * packet->fds_len);
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool channel_flush(struct channel *channel)
{
    while (channel->first != NULL) {
        if (put(channel->fd, channel->first) < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EAGAIN || errno == ENOBUFS) {
                return false;
            }
            /* The other end is gone, which is told by receiving: what is left reaches nobody. */
        }
        drop_first(channel);
    }
    return true;
}

static int wait_for(const struct channel *channel, short events, uint64_t until_us)
{
    struct pollfd one = {.fd = channel->fd, .events = events};
    uint64_t now_us = clock_mono_us();
    uint64_t left_ms = until_us > now_us ? (until_us - now_us) / 1000 + 1 : 0;
    int n = poll(&one, 1, left_ms < 60000 ? (int)left_ms : 60000);
    return n > 0 ? 1 : n == 0 || errno == EINTR ? 0 : ERR_SYSTEM;
}

int channel_flush_within(struct channel *channel, uint64_t wait_us)
{
    uint64_t until_us = clock_mono_us() + wait_us;
    while (!channel_flush(channel)) {
        if (clock_mono_us() >= until_us) {
            return ERR_TIMEOUT;
        }
        if (wait_for(channel, POLLOUT, until_us) < 0) {
            return ERR_SYSTEM;
        }
    }
    return 0;
}

/* ---- receiving */

static void keep_fds(struct msghdr *from, struct channel_message *out)
{
    for (struct cmsghdr *one = CMSG_FIRSTHDR(from); one != NULL; one = CMSG_NXTHDR(from, one)) {
        if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_RIGHTS) {
            out->fds_len = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(out->fds, CMSG_DATA(one), out->fds_len * sizeof(int));
        }
    }
}

/* One packet: its length without the head, or -1 with errno; ECONNRESET when the other end is gone. */
static ssize_t take(struct channel *channel, struct head *head, unsigned char *body,
                    struct channel_message *out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
    } control;
    struct iovec parts[] = {{.iov_base = head, .iov_len = sizeof(*head)},
                            {.iov_base = body, .iov_len = PART_MAX}};
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = 2,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0) {
        return -1;
    }
    keep_fds(&message, out);
    if (n == 0) {
        errno = ECONNRESET;
        return -1;
    }
    if ((size_t)n < sizeof(*head) || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        errno = EBADMSG;
        return -1;
    }
    return n - (ssize_t)sizeof(*head);
}

static int append(struct channel *channel, const unsigned char *body, size_t length)
{
    if (channel->parts_len + length > CHANNEL_BODY_MAX) {
        return ERR_CORRUPT;
    }
    unsigned char *parts = realloc(channel->parts, channel->parts_len + length + 1);
    if (parts == NULL) {
        return ERR_NOMEM;
    }
    memcpy(parts + channel->parts_len, body, length);
    channel->parts = parts;
    channel->parts_len += length;
    channel->parts[channel->parts_len] = '\0';
    return 0;
}

static void close_fds(struct channel_message *message)
{
    for (size_t i = 0; i < message->fds_len; i++) {
        if (message->fds[i] >= 0) {
            (void)close(message->fds[i]);
        }
    }
    message->fds_len = 0;
}

int channel_receive(struct channel *channel, struct channel_message *out)
{
    static const int gone = ERR_SYSTEM;
    unsigned char *body = malloc(PART_MAX);
    struct head head = {.more = 1};
    int rc = body == NULL ? ERR_NOMEM : 0;
    *out = (struct channel_message){.kind = 0};
    while (rc == 0 && head.more != 0) {
        ssize_t n = take(channel, &head, body, out);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            int cause = errno;
            free(body);
            close_fds(out);
            return cause == EAGAIN ? 0 : cause == EBADMSG ? ERR_CORRUPT : gone;
        }
        rc = append(channel, body, (size_t)n);
    }
    free(body);
    if (rc != 0) {
        close_fds(out);
        return rc;
    }
    out->kind = head.kind;
    out->body = channel->parts;
    out->length = channel->parts_len;
    channel->parts = NULL;
    channel->parts_len = 0;
    return 1;
}

int channel_receive_within(struct channel *channel, uint64_t wait_us, struct channel_message *out)
{
    uint64_t now_us = clock_mono_us();
    uint64_t until_us = wait_us >= CLOCK_NEVER - now_us ? CLOCK_NEVER : now_us + wait_us;
    for (;;) {
        int rc = channel_receive(channel, out);
        if (rc != 0) {
            return rc;
        }
        if (clock_mono_us() >= until_us) {
            return 0;
        }
        if (wait_for(channel, POLLIN, until_us) < 0) {
            return ERR_SYSTEM;
        }
    }
}

void channel_message_clear(struct channel_message *message)
{
    close_fds(message);
    if (message->body != NULL) {
        explicit_bzero(message->body, message->length);
    }
    free(message->body);
    *message = (struct channel_message){.kind = 0};
}
