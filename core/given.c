/*
 * Keeps the sockets that others opened for us until their place is built, and finds them by what they are for
 * and where they are bound. Where they come from is the daemon's business. One thread at a time.
 */
#include "core/given.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void given_purpose_of_service(const char *service, char out[GIVEN_PURPOSE_MAX])
{
    (void)snprintf(out, GIVEN_PURPOSE_MAX, "listen:%s", service);
}

static int examine(int fd, struct given_socket *out, struct err_text *err)
{
    int value = 0;
    socklen_t length = sizeof(value);
    out->bound = (struct addr){.len = sizeof(out->bound.un)};
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length) != 0) {
        return err_set_errno(err, "descriptor %d", fd);
    }
    bool stream = value == SOCK_STREAM;
    length = sizeof(value);
    if (!stream || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) != 0 || value == 0) {
        return err_set(err, ERR_SYSTEM, "descriptor %d is not a stream socket that listens", fd);
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        getsockname(fd, &out->bound.sa, &out->bound.len) != 0) {
        return err_set_errno(err, "descriptor %d", fd);
    }
    return 0;
}

int given_add(struct given *given, int fd, const char *purpose, const struct addr *wanted, bool foreign,
              struct err_text *err)
{
    struct given_socket one = {.fd = fd, .foreign = foreign};
    int rc = examine(fd, &one, err);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    struct given_socket *list = realloc(given->list, (given->len + 1) * sizeof(*list));
    if (list == NULL) {
        (void)close(fd);
        return err_set(err, ERR_NOMEM, "out of memory for a socket that was handed over");
    }
    (void)snprintf(one.purpose, sizeof(one.purpose), "%s", purpose);
    one.wanted = wanted != NULL ? *wanted : one.bound;
    given->list = list;
    given->list[given->len++] = one;
    return 0;
}

/* "listen" of "listen:web". */
static size_t kind_length(const char *purpose)
{
    return strcspn(purpose, ":");
}

static bool is_meant(const struct given_socket *one, const char *purpose, const struct addr *address)
{
    return one->fd >= 0 && strcmp(one->purpose, purpose) == 0 && addr_equal(&one->wanted, address);
}

/* Another service may have had the address, or the service manager knows no purpose. */
static bool is_there(const struct given_socket *one, const char *purpose, const struct addr *address)
{
    size_t kind = kind_length(purpose);
    return one->fd >= 0 && addr_equal(&one->bound, address) &&
           (one->purpose[0] == '\0' ||
            (kind_length(one->purpose) == kind && strncmp(one->purpose, purpose, kind) == 0));
}

static struct given_socket *find(const struct given *given, const char *purpose, const struct addr *address)
{
    for (size_t i = 0; given != NULL && i < given->len; i++) {
        if (is_meant(&given->list[i], purpose, address)) {
            return &given->list[i];
        }
    }
    for (size_t i = 0; given != NULL && i < given->len; i++) {
        if (is_there(&given->list[i], purpose, address)) {
            return &given->list[i];
        }
    }
    return NULL;
}

int given_take(struct given *given, const char *purpose, const struct addr *address, bool *foreign)
{
    struct given_socket *one = find(given, purpose, address);
    if (one == NULL) {
        return -1;
    }
    int fd = one->fd;
    one->fd = -1;
    if (foreign != NULL) {
        *foreign = one->foreign;
    }
    return fd;
}

size_t given_count(const struct given *given, const char *purpose, const struct addr *address)
{
    size_t n = 0;
    for (size_t i = 0; given != NULL && i < given->len; i++) {
        n += is_meant(&given->list[i], purpose, address) || is_there(&given->list[i], purpose, address);
    }
    return n;
}

bool given_is_taken(const struct given *given, const char *purpose, const struct addr *wanted)
{
    for (size_t i = 0; given != NULL && i < given->len; i++) {
        const struct given_socket *one = &given->list[i];
        if (one->fd < 0 && strcmp(one->purpose, purpose) == 0 && addr_equal(&one->wanted, wanted)) {
            return true;
        }
    }
    return false;
}

bool given_overlaps(const struct given *given, const struct addr *address)
{
    for (size_t i = 0; given != NULL && i < given->len; i++) {
        const struct given_socket *one = &given->list[i];
        if (one->fd >= 0 && addr_overlaps(&one->bound, address) && !addr_equal(&one->bound, address)) {
            return true;
        }
    }
    return false;
}

void given_clear(struct given *given)
{
    for (size_t i = 0; given != NULL && i < given->len; i++) {
        if (given->list[i].fd >= 0) {
            (void)close(given->list[i].fd);
        }
    }
    if (given != NULL) {
        free(given->list);
        *given = (struct given){0};
    }
}
