/* What the files of shuntctl share. One thread. */
#ifndef ADMIN_CTL_CTL_H
#define ADMIN_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>

/* Part of the interface: scripts branch on these. The first few are those of sysexits.h. */
enum ctl_exit {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1,
    EXIT_ROLLED_BACK = 3,
    EXIT_PAUSED = 4,
    EXIT_USAGE = 64,
    EXIT_NO_DAEMON = 69,
    EXIT_NOT_PERMITTED = 77,
    EXIT_TIMED_OUT = 124
};

/* Returns a connected socket, or -1 with errno. */
int ctl_connect(const char *path);
/* False: the connection is gone. */
bool ctl_send_all(int fd, const char *bytes, size_t length);

#endif
