/*
 * Single steps with a file of the journal: open, read all, write all, wait for the disk; with the failpoints
 * that make each fail. Control thread only. Knows nothing of what stands in the file.
 */
#include "core/failpoint.h"
#include "migration/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL_READ_MAX ((off_t)1 << 30)

int journal_file_open(int dir, const char *path, const char *name, int flags, int *out, struct err_text *err)
{
    int folder = (int)(strlen(path) - strlen("/journal"));
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | flags, 0640);
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *out = fd;
        return 0;
    }
    if (fd >= 0) {
        close(fd);
        errno = EINVAL;
    }
    if (errno == ELOOP || errno == EINVAL || errno == ENXIO) {
        return err_set(
            err, ERR_SYSTEM,
            "state_dir: %.*s/%s is %s, which is never written to: a plain file of ours must be there, "
            "or none",
            folder, path, name, errno == ELOOP ? "a symbolic link" : "no plain file");
    }
    return err_set_errno(err, "state_dir: cannot open %.*s/%s", folder, path, name);
}

int journal_file_read(int fd, const char *path, char **text, size_t *len, struct err_text *err)
{
    struct stat st;
    size_t done = 0;

    if (fstat(fd, &st) != 0) {
        return err_set_errno(err, "cannot look at %s", path);
    }
    if (st.st_size > JOURNAL_READ_MAX) {
        return err_set(err, ERR_CORRUPT, "%s is larger than any journal: move it away to begin anew", path);
    }
    *len = (size_t)st.st_size;
    *text = malloc(*len + 1);
    if (*text == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to read %s", path);
    }
    while (done < *len) {
        ssize_t n = pread(fd, *text + done, *len - done, (off_t)done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            free(*text);
            *text = NULL;
            return err_set_errno(err, "cannot read %s", path);
        }
        done += (size_t)n;
    }
    return 0;
}

int journal_file_write(int fd, const char *text, size_t len)
{
    bool split = failpoint_any();

    for (size_t done = 0; done < len;) {
        size_t part = split && done == 0 ? (len + 1) / 2 : len - done;
        ssize_t n = write(fd, text + done, part);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return ERR_SYSTEM;
        }
        done += (size_t)n;
        if (split && (errno = failpoint("journal-half")) != 0) {
            return ERR_SYSTEM;
        }
    }
    return 0;
}

int journal_file_sync(int fd)
{
    if ((errno = failpoint("journal-sync")) != 0 || fdatasync(fd) != 0) {
        return ERR_SYSTEM;
    }
    return 0;
}
